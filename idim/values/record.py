"""What a run leaves: its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from idim.errors import first_line
from idim.values import fields
from idim.values.fields import Field, Json, Unfit, same
from idim.values.purpose import Purpose
from idim.values.spec import Spec, digest
from idim.values.training import FIELDS as TRAINING
from idim.values.training import Status, Training, check_scores


@dataclass(frozen=True)
class Origin:
    """When the run was made, and by which code. A record keeps it as ``run_info``."""

    started: float = 0.0
    git_commit: str | None = None
    git_dirty: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = ""


@dataclass(frozen=True)
class Setting:
    """The model, the data and the machine of a run. A record keeps it as ``meta_info``."""

    D: int
    model_fingerprint: str = ""
    task_fingerprint: str = ""
    device: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Record:
    """One run: what decided its result, and what came out."""

    spec: Spec
    status: Status
    training: Training
    setting: Setting
    origin: Origin = Origin()
    #: Why the run ended without a score.
    reason: str = ""
    #: The model, task and budget that it was made under, as a digest.
    study: str = ""
    #: What the runs of one curve have in common. A record keeps it as ``curve``.
    arm_key: str = ""
    #: The key that it was stored under; by itself that of its specification.
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.spec.key)

    @property
    def kind(self) -> Purpose:
        return self.spec.kind

    @property
    def score(self) -> float | None:
        """The score; None for a run that failed."""
        return self.training.score if self.status.scored else None

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.spec.recipe.learning_rate

    def to_json(self) -> Json:
        """What the store keeps."""
        return {
            "schema": SCHEMA,
            "key": self.key,
            "kind": str(self.kind),
            "status": str(self.status),
            "reason": self.reason,
            "run_info": {"config": self.spec.to_json(), **dataclasses.asdict(self.origin)},
            "train_info": self.training.to_json(),
            "meta_info": dataclasses.asdict(self.setting),
            "study": self.study,
            "curve": self.arm_key,
        }

    @classmethod
    def from_json(cls, value: Json, stem: str = "") -> Record:
        """The record in this JSON, if it is whole and agrees with itself.

        Args:
            value: what ``to_json`` made, or an older version, with or without a checksum.
            stem: the name of its file without the ending, which must be the key.

        Raises:
            Unfit: says what is wrong.
        """
        if "schema" not in value:
            raise Unfit("schema is missing")
        new = fields.migrated(value, _MIGRATIONS)
        fields.check(new, _FIELDS)
        if stem:
            same("the file's name and the key", stem, new["key"])
        same("the digest of the configuration and the key", _digest(new), new["key"])
        if "checksum" in value:
            same(
                "the checksum of what it holds and the one it was stored with",
                checksum(value),
                value["checksum"],
            )
        spec = Spec.from_json(new["run_info"]["config"])
        same("kind, in the record and in its configuration", new["kind"], str(spec.kind))
        status, training = Status(new["status"]), Training.from_json(new["train_info"])
        check_scores(status, training, spec.recipe.rule)
        setting = Setting(**_known(Setting, new["meta_info"]))
        return cls(
            spec,
            status,
            training,
            setting,
            Origin(**_known(Origin, new["run_info"])),
            new["reason"],
            new["study"],
            new["curve"],
            new["key"],
        )


def checksum(record: Mapping[str, Any]) -> str:
    """A checksum of all that a record holds, so that an edit shows.

    It is no secret: it guards against accidents, not against a forger.
    """
    kept = {k: v for k, v in record.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _filled(value: Json) -> Json:
    """Schema 1: older records lack what later ones always say."""
    new: Json = {"study": "", "curve": ""} | value
    for name, missing in _LACKING.items():
        if isinstance(new.get(name), dict):
            new[name] = missing | new[name]
    config = new["run_info"].get("config") if isinstance(new.get("run_info"), dict) else None
    if isinstance(config, dict):
        new["run_info"]["config"] = {"model_fingerprint": "", "stop": None} | config
    return new


#: By the part of the record: what schema 1 may lack, and what stands for it.
_LACKING: dict[str, Json] = {
    "run_info": {"git_commit": None, "git_dirty": False, "packages": {}, "python": ""},
    "train_info": {"locked": None, "warnings": [], "stopped": None},
}
_MIGRATIONS = {1: _filled}
#: The newest schema. Older records are read, and kept as they are.
SCHEMA = max(_MIGRATIONS) + 1

_FIELDS: dict[str, Field] = {
    "key": fields.KEY,
    "kind": fields.one_of(Purpose),
    "status": fields.one_of(Status),
    "reason": fields.TEXT,
    "study": fields.TEXT,
    "curve": fields.TEXT,
    "run_info.started": fields.NUMBER,
    "run_info.git_commit": fields.maybe(fields.TEXT),
    "run_info.git_dirty": fields.BOOL,
    "run_info.packages": fields.TEXTS_BY_NAME,
    "run_info.python": fields.TEXT,
    "run_info.config": fields.OBJECT,
    "run_info.config.settings": fields.OBJECT,
    **{f"train_info.{name}": field for name, field in TRAINING.items()},
    "meta_info.D": fields.POSITIVE,
    **{
        f"meta_info.{name}": fields.TEXT
        for name in ("model_fingerprint", "task_fingerprint", "device")
    },
    "meta_info.threads": fields.POSITIVE,
}


def _digest(value: Json) -> str:
    try:
        return digest(value["run_info"]["config"])
    except (TypeError, ValueError, AttributeError) as error:
        raise Unfit(f"run_info.config: {first_line(error)}") from None


def _known(kind: type, value: Json) -> Json:
    return {f.name: value[f.name] for f in dataclasses.fields(kind)}
