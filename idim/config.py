"""What a user asked for, checked and frozen. Flags and TOML keys are the fields of Config; unknown ones are errors."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from idim.errors import expected, first_line, is_unicode, one_of
from idim.protocols import PROTOCOLS, Protocol
from idim.search.design import DESIGNS

EXECUTORS = ("local",)
PRECISIONS = ("fp32", "bf16", "fp16")
ENGINES = ("auto", "plain", "native", "triton", "fht")
ARMS = ("full", "did", "said", "lora")


@dataclass(frozen=True)
class Config:
    """One measurement. 0, None and the empty string mean: let the protocol or the kind of model decide."""

    model: str
    task: str
    arm: str = "said"
    protocol: str = "trust"
    projection: str = ""
    engine: str = "auto"
    design: str = ""
    threshold: float = 0.9
    absolute: float | None = None
    grid: tuple[int, ...] = ()
    d: int = 0
    rank: int = 0
    ranks: tuple[int, ...] = ()
    targets: tuple[str, ...] = ()
    lora_alpha: int = 0
    learning_rate: float = 0.0
    subspace_learning_rate: float = 0.0
    lora_learning_rate: float = 0.0
    num_train_epochs: float = 0.0
    max_steps: int = 0
    batch_size: int = 0
    precision: str = "fp32"
    lean: bool = False
    max_seq_length: int = 0
    max_train_samples: int = 0
    max_eval_samples: int = 0
    baselines: int = 0
    repeats: int = 0
    max_runs: int = 30
    tune: bool = True
    early: bool = True
    checks: bool = True
    seed: int = 0
    data_dir: str = ""
    text_columns: tuple[str, ...] = ()
    label_column: str = ""
    metric: str = ""
    out: str = "idim-out"
    save: str = ""
    workers: int = 1
    executor: str = "local"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, str) and ("\0" in part or not is_unicode(part)):
                    raise expected(
                        _flag(field.name), "text in Unicode without a null character", part
                    )
                if isinstance(part, int) and not -(1 << 63) <= part < 1 << 63:
                    raise expected(_flag(field.name), "a number of at most 64 bits", part)
        if not self.out:
            raise expected("--out", "the name of a folder", self.out)
        for name, known in (
            ("arm", ARMS),
            ("protocol", PROTOCOLS),
            ("executor", EXECUTORS),
            ("precision", PRECISIONS),
            ("engine", ENGINES),
        ):
            if getattr(self, name) not in known:
                raise one_of(_flag(name), known, getattr(self, name))
        if self.design and self.design not in DESIGNS:
            raise one_of("--design", DESIGNS, self.design)
        if not 0 < self.threshold < 1:
            raise expected("--threshold", "a fraction between 0 and 1", self.threshold)
        for name in ("max_runs", "workers"):
            if getattr(self, name) < 1:
                raise expected(_flag(name), "a whole number of at least 1", getattr(self, name))
        if self.absolute is not None and not math.isfinite(self.absolute):
            raise expected("--absolute", "a finite score", self.absolute)
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise expected(_flag(name), "a number that is not negative", getattr(self, name))
        for name in ("grid", "ranks"):
            values = getattr(self, name)
            if any(v < 1 for v in values) or len(set(values)) != len(values):
                raise expected(
                    _flag(name), "distinct whole numbers of at least 1", ",".join(map(str, values))
                )

    @property
    def chosen(self) -> Protocol:
        """The protocol with what the user changed in it."""
        changes: dict[str, object] = {}
        if self.projection:
            changes["projection"] = self.projection
        if self.baselines:
            changes |= {"baselines": self.baselines, "most_baselines": 0}
        if self.repeats:
            changes["repeats"] = self.repeats
        if self.absolute is not None:
            changes |= {"rule": "absolute", "absolute": self.absolute}
        if self.design or self.grid:
            changes["design"] = self.design or "grid"
        if not self.early:
            changes["early"] = False
        named, left_out = PROTOCOLS[self.protocol], []
        if not self.tune and named.tune:
            changes["tune"] = False
            left_out.append("rate tuning: a default rate law was used")
        if not self.checks and named.budget_check:
            changes |= {"budget_check": False, "rate_check": False, "witness": False}
            left_out += [
                "the check at twice the budget",
                "the check at twice and half the rate",
                "the witness at d = D",
            ]
        changes["left_out"] = (*named.left_out, *left_out)
        return dataclasses.replace(PROTOCOLS[self.protocol], **changes)


_NOT_NEGATIVE = (
    "d",
    "rank",
    "lora_alpha",
    "learning_rate",
    "subspace_learning_rate",
    "lora_learning_rate",
    "num_train_epochs",
    "max_steps",
    "batch_size",
    "max_seq_length",
    "max_train_samples",
    "max_eval_samples",
    "baselines",
    "repeats",
    "seed",
)
_KINDS = {"int": int, "float": (int, float), "str": str, "bool": bool}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def read(path: str) -> dict[str, object]:
    """The keys of a TOML file, in fields of Config. Dashes and underscores are the same."""
    file = Path(path)
    try:
        if not file.is_file():
            raise expected("--config", "a TOML file", path)
        # Editors on Windows begin a file with a byte-order mark.
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise expected("--config", "a file that can be read", f"{path}: {error.strerror}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOML that is none, bytes that are no UTF-8, a number of thousands of digits
        raise expected("--config", "valid TOML", first_line(error)) from None
    fields = {f.name: f for f in dataclasses.fields(Config)}
    values: dict[str, object] = {}
    for key, value in raw.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise one_of(f"{path}: key", fields, key)
        kind = str(fields[name].type)
        if kind.startswith("tuple"):
            inner = int if "int" in kind else str
            if not isinstance(value, list) or not all(
                isinstance(v, inner) and not isinstance(v, bool) for v in value
            ):
                raise expected(f"{path}: {key}", f"a list of {inner.__name__}", value)
            value = tuple(value)
        elif isinstance(value, bool) != (kind == "bool") or not isinstance(
            value, _KINDS[kind.split(" |")[0]]
        ):
            raise expected(f"{path}: {key}", kind, value)
        values[name] = value
    return values


def make(given: dict[str, object], config_file: str | None = None) -> Config:
    """Flags over the file's keys over the defaults."""
    values = {**(read(config_file) if config_file else {}), **given}
    for name in ("model", "task"):
        if not values.get(name):
            raise expected(
                _flag(name), "a name; `idim ls models` and `idim ls tasks` list them", None
            )
    return Config(**values)
