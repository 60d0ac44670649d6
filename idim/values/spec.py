"""All that decides a run's result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from idim.errors import IdimError
from idim.values import fields
from idim.values.fields import Field, Json, Unfit
from idim.values.options import Options
from idim.values.purpose import Purpose
from idim.values.recipe import Recipe

#: The names of a run's four seeds: P, the fresh weights, the order of the data, dropout.
SEEDS = ("projection", "theta_0", "data", "dropout")
#: Settings that change no result: how P is computed, and how much memory that takes.
_NO_RESULT = ("engine", "lean")
#: Old records lack these, and their keys were made without them.
_IF_SET = ("model_fingerprint", "stop")

_NUMBERS = ("learning_rate", "epochs", "beta2", "weight_decay", "warmup", "l2", "clip")
_COUNTS = ("max_steps", "batch_size", "evaluations")
_FIELDS: dict[str, Field] = {
    **{f"{name}": fields.TEXT for name in ("model", "task", "arm", "protocol", "split")},
    "kind": fields.one_of(Purpose),
    "recipe": fields.OBJECT,
    "options": fields.OBJECT,
    "settings": fields.OBJECT,
    **{f"seeds.{name}": fields.WHOLE for name in SEEDS},
    "task_fingerprint": fields.TEXT,
    "model_fingerprint": fields.TEXT,
    "stop": fields.maybe(fields.EARLY),
    **{f"recipe.{name}": fields.NUMBER for name in _NUMBERS},
    **{f"recipe.{name}": fields.WHOLE for name in _COUNTS},
    **{f"recipe.{name}": fields.TEXT for name in ("optimizer", "schedule", "rule", "precision")},
    "recipe.scale_learning_rate": fields.maybe(fields.NUMBER),
    "options.official": fields.BOOL,
    **{
        f"options.{name}": fields.WHOLE
        for name in ("max_train_samples", "max_eval_samples", "max_seq_length")
    },
    "options.text_columns?": fields.TEXTS,
    "options.label_column?": fields.TEXT,
    "options.metric?": fields.TEXT,
}


def digest(config: Mapping[str, Any]) -> str:
    """A run's key: a digest of its configuration, without what changes no result."""
    kept = dict(config)
    kept["settings"] = {k: v for k, v in kept["settings"].items() if k not in _NO_RESULT}
    for name in _IF_SET:
        if not kept.get(name):
            kept.pop(name, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Spec:
    """All that decides a run's result.

    Two equal specifications are the same run, and the store keeps it once.
    """

    model: str
    task: str
    arm: str
    recipe: Recipe
    options: Options
    protocol: str
    kind: Purpose
    #: What the run is scored on: tune, measure or locked.
    split: str
    #: By the names in ``SEEDS``.
    seeds: Mapping[str, int]
    #: What the arm needs to know.
    settings: Mapping[str, Any] = field(default_factory=dict)
    task_fingerprint: str = ""
    #: The fingerprint of a model in a folder, because a folder's name does not fix its content.
    model_fingerprint: str = ""
    #: The run may stop once its end is known to lie above or below the first of these numbers,
    #: the threshold; the others are chance and the noise of one run.
    stop: tuple[float, ...] | None = None

    @property
    def key(self) -> str:
        """A digest of what a record keeps of it. Equal runs have equal keys."""
        return digest(self.to_json())

    def to_json(self) -> Json:
        """What a record keeps of it.

        Where the data lay on this machine is left out: the task's fingerprint stands for it.
        """
        return dataclasses.asdict(self) | {
            "kind": str(self.kind),
            "options": self.options.recorded(),
        }

    @classmethod
    def from_json(cls, value: Json) -> Spec:
        """The specification that a record keeps.

        Raises:
            Unfit: where a field is missing, unknown or wrong.
        """
        where = "run_info.config"
        try:
            fields.check(value, _FIELDS)
            fields.check_names(value, _names(cls), where)
            fields.check_names(value["recipe"], _names(Recipe), f"{where}.recipe")
            fields.check_names(value["options"], _names(Options), f"{where}.options")
            fields.check_names(value["seeds"], SEEDS, f"{where}.seeds")
            more = {
                "kind": Purpose(value["kind"]),
                "recipe": Recipe(**value["recipe"]),
                "options": Options.from_json(value["options"]),
                "stop": value["stop"] and tuple(value["stop"]),
            }
        except IdimError as error:
            raise Unfit(f"{where}.recipe: {error}") from None
        except Unfit as error:
            said = str(error)
            raise Unfit(said if said.startswith(where) else f"{where}.{said}") from None
        return cls(**value | more)


def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))
