"""What a measurement asks: the question that its runs answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from idim.values import fields
from idim.values.fields import Field, Json, Unfit, same
from idim.values.files import file_name, is_file_name
from idim.values.record import Record


@dataclass(frozen=True)
class Question:
    """What a summary needs to know besides the records."""

    id: str
    #: The model, task and budget, as a digest. Questions of one study share their full runs.
    study: str
    #: What the runs of its curve have in common. The store keeps it as ``curve``.
    arm_key: str
    model: str
    task: str
    arm: str
    projection: str
    scope: str
    structure: str | None
    protocol: str
    design: str
    metric: str
    #: The numbers that full fine-tuning trains, and how many scales are counted in d.
    D: int
    m: int
    #: The smallest and the largest size that can be tried.
    smallest: int
    largest: int
    #: How the threshold follows from full fine-tuning: raw, chance or absolute.
    rule: str
    absolute: float | None
    #: A run must be better than the threshold, not only as good.
    strict: bool
    #: The fraction of full fine-tuning to reach.
    threshold: float
    #: What the protocol leaves out, for the summary's reader.
    left_out: tuple[str, ...]
    #: How many examples a score is measured on.
    n_scored: int
    steps: int
    #: The keys of the runs that were made for it.
    keys: tuple[str, ...] = ()
    finished: bool = False
    #: Whether a sweep's rates were tuned; None of a search.
    tuned: bool | None = None
    #: What the error of the rate may cost at the answer, as a share of the gain.
    loss: float = 0.0
    #: What its rate is thought to have cost each run, as a share of the gain, by key.
    handicaps: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> Json:
        """What the store keeps."""
        plain = dataclasses.asdict(self)
        plain["curve"] = plain.pop("arm_key")
        lists = {"keys": list(self.keys), "left_out": list(self.left_out)}
        return {"schema": max(_MIGRATIONS) + 1} | plain | lists

    @classmethod
    def from_json(cls, value: Json, stem: str = "") -> Question:
        """The question in this JSON, if it is whole.

        Args:
            value: what ``to_json`` made, or an older version.
            stem: the name of its file without the ending, which must be that of its id.

        Raises:
            Unfit: says what is wrong.
        """
        new = fields.migrated(value, _MIGRATIONS)
        fields.check(new, _FIELDS)
        if not is_file_name(new["id"]):
            raise Unfit(f"id: expected a file's name; got {new['id']!r:.80}")
        if stem:
            same("the file's name and the id", stem, file_name(new["id"]))
        if new["rule"] == "absolute" and new["absolute"] is None:
            raise Unfit("absolute: expected a score, as the rule asks; got null")
        new = new | {"arm_key": new["curve"]}
        given = {f.name: new[f.name] for f in dataclasses.fields(cls)}
        return cls(**given | {"keys": tuple(new["keys"]), "left_out": tuple(new["left_out"])})

    def of(self, records: Iterable[Record]) -> list[Record]:
        """Those of these records that were made for it. A store may hold others."""
        asked = set(self.keys)
        return [r for r in records if r.key in asked]


def _filled(value: Json) -> Json:
    """Schema 1: what older questions do not say, and two rates that nothing reads."""
    kept = {k: v for k, v in value.items() if k not in ("rate", "learning_rate")}
    new = {"design": "bisect", "tuned": None, "loss": 0.0, "handicaps": {}} | kept
    D, m = new.get("D"), new.get("m")
    if isinstance(D, int) and isinstance(m, int):
        new |= {"smallest": m + 1, "largest": D + m}
    return new


_MIGRATIONS = {1: _filled}

_FIELDS: dict[str, Field] = {
    "id": fields.TEXT,
    "study": fields.TEXT,
    "curve": fields.TEXT,
    "model": fields.TEXT,
    "task": fields.TEXT,
    "arm": fields.TEXT,
    "projection": fields.TEXT,
    "scope": fields.TEXT,
    "structure": fields.maybe(fields.TEXT),
    "protocol": fields.TEXT,
    "design": fields.TEXT,
    "metric": fields.TEXT,
    "D": fields.POSITIVE,
    "m": fields.WHOLE,
    "smallest": fields.POSITIVE,
    "largest": fields.POSITIVE,
    "rule": fields.one_of(("raw", "chance", "absolute")),
    "absolute": fields.maybe(fields.NUMBER),
    "strict": fields.BOOL,
    "threshold": fields.FRACTION,
    "left_out": fields.TEXTS,
    "n_scored": fields.WHOLE,
    "steps": fields.POSITIVE,
    "keys": fields.KEYS,
    "finished": fields.BOOL,
    "tuned": fields.maybe(fields.BOOL),
    "loss": fields.SHARE,
    "handicaps": fields.SHARES,
}
