"""What a user asked for, checked and frozen.

Flags and TOML keys are the fields of Config. An unknown key is an error. A flag's help, its panel
and the values that it takes are declared here, once, beside the field.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idim.arms import ARMS, DEFAULT, FULL, SIZE_FLAGS
from idim.errors import expected, first_line, is_unicode, one_of
from idim.protocols import ALPHA, PROTOCOLS
from idim.values.protocol import Protocol
from idim.values.recipe import CHOICES

EXECUTORS = ("local", "ray")
#: Fields that say where runs are made and kept. They change neither the runs nor the answer.
WHERE = ("out", "save", "executor", "workers", "runs_per_device", "ray_address")
#: Trackers that accelerate knows, and none.
REPORTS = ("none", "tensorboard", "wandb", "mlflow")
ENGINES = ("auto", "plain", "native", "triton", "fht")

#: The panels of the help, in the order in which it shows them.
WHAT, BUDGET, RUNS, DATA, SUBSPACE, LORA, OUTPUT = PANELS = (
    "What to measure",
    "Budget",
    "Where runs are made",
    "Data",
    "Subspace",
    "LoRA",
    "Output",
)


def _flag(
    panel: str,
    about: str,
    default: object = dataclasses.MISSING,
    *,
    choices: Iterable[str] = (),
    least: int | None = None,
) -> Any:
    """A field with its flag's panel and help.

    Args:
        panel: one of ``PANELS``.
        about: the help, one or two short sentences.
        default: what holds where the user says nothing. Without it the field must be given.
        choices: the only values that a string takes.
        least: the smallest value that a number takes.
    """
    metadata = {"panel": panel, "about": about, "choices": tuple(choices), "least": least}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """One measurement.

    0, None and the empty string mean: let the protocol or the kind of model decide.
    """

    model: str = _flag(
        WHAT, "A built-in net, an alias, a folder or a hub id; see `idim ls models`."
    )
    task: str = _flag(
        WHAT, "A task, a table of your own, or a folder of pictures; see `idim ls tasks`."
    )
    arm: str = _flag(
        WHAT, f"What is trained; see `idim ls arms`. Default: {DEFAULT}.", DEFAULT, choices=ARMS
    )
    protocol: str = _flag(
        WHAT, "A preset; see `idim ls protocols`. Default: trust.", "trust", choices=PROTOCOLS
    )
    projection: str = _flag(SUBSPACE, "A family of projections; see `idim ls projections`.", "")
    engine: str = _flag(
        SUBSPACE,
        "What computes the projection: auto, plain, native, triton or fht. Default: auto.",
        "auto",
        choices=ENGINES,
    )
    design: str = _flag(
        WHAT,
        "How the next d is chosen: posterior, quantiles, bisect or grid. Default: the protocol's.",
        "",
    )
    threshold: float = _flag(WHAT, "The fraction of full fine-tuning to reach. Default: 0.9.", 0.9)
    absolute: float | None = _flag(
        WHAT, "A score to reach, in place of a fraction of full fine-tuning.", None
    )
    grid: tuple[int, ...] = _flag(WHAT, "Try exactly these d, with commas between.", ())
    d: int = _flag(WHAT, "How many numbers to train, scales included.", 0, least=0)
    size: int = _flag(
        WHAT, "The size of an arm that has neither d nor rank; see `idim ls arms`.", 0, least=0
    )
    sizes: tuple[int, ...] = _flag(
        WHAT, "Try exactly these sizes of an arm that has neither d nor rank.", ()
    )
    rank: int = _flag(LORA, "The rank of LoRA and its kin.", 0, least=0)
    ranks: tuple[int, ...] = _flag(
        LORA, "Score exactly these ranks, with commas between. Default of sweep: 1,2,4,8,16.", ()
    )
    targets: tuple[str, ...] = _flag(
        LORA,
        "The modules that LoRA and its kin adapt, with commas; default for peft's choice. "
        "Default: every linear layer.",
        (),
    )
    lora_alpha: int = _flag(
        LORA, f"LoRA's alpha, the same at every rank. Default: {ALPHA}.", 0, least=0
    )
    alpha_twice_rank: bool = _flag(LORA, "LoRA's alpha is twice the rank, in its place.", False)
    learning_rate: float = _flag(BUDGET, "The learning rate of full fine-tuning.", 0.0, least=0)
    subspace_learning_rate: float = _flag(
        SUBSPACE, "One learning rate for every d, in place of the rate law.", 0.0, least=0
    )
    lora_learning_rate: float = _flag(
        LORA, "The learning rate of LoRA, in place of tuning.", 0.0, least=0
    )
    arm_learning_rate: float = _flag(
        BUDGET,
        "The learning rate of an arm whose rate has no flag of its own, in place of tuning.",
        0.0,
        least=0,
    )
    num_train_epochs: float = _flag(
        BUDGET, "Passes over the training split, for every arm.", 0.0, least=0
    )
    max_steps: int = _flag(
        BUDGET, "Optimiser steps, for every arm; in place of epochs.", 0, least=0
    )
    batch_size: int = _flag(BUDGET, "Examples a step.", 0, least=0)
    precision: str = _flag(
        BUDGET,
        "fp32, or bf16 or fp16 by autocast (weights and theta stay fp32). Default: fp32.",
        "fp32",
        choices=CHOICES["precision"],
    )
    lean: bool = _flag(
        SUBSPACE,
        "Hold theta_0 alone and form a block's weights while it runs: less memory, more time. "
        "Default: off.",
        False,
    )
    max_seq_length: int = _flag(
        DATA, "Cut a text to this many tokens. Default: 128, or the protocol's.", 0, least=0
    )
    max_train_samples: int = _flag(DATA, "Train on a fixed random subset of this size.", 0, least=0)
    max_eval_samples: int = _flag(DATA, "Score on a fixed random subset of this size.", 0, least=0)
    baselines: int = _flag(BUDGET, "Full runs that set the threshold.", 0, least=0)
    repeats: int = _flag(BUDGET, "Runs with fresh seeds at each d or rank.", 0, least=0)
    max_runs: int = _flag(
        BUDGET, "The most runs of a search, baselines and tuning aside. Default: 30.", 30, least=1
    )
    tune: bool = _flag(
        BUDGET,
        "Choose rates on the tuning split first, or use the default rate law. "
        "Default: the protocol's.",
        True,
    )
    early: bool = _flag(
        BUDGET,
        "Stop runs far from d90 once it is known on which side they end. Default: the protocol's.",
        True,
    )
    checks: bool = _flag(
        BUDGET,
        "After a search, run pairs at twice the budget and at twice and half the rate. "
        "Default: on.",
        True,
    )
    seed: int = _flag(
        BUDGET, "The master seed; each run draws four fresh ones from it. Default: 0.", 0, least=0
    )
    data_dir: str = _flag(DATA, "A folder with the task's files, in place of the hub.", "")
    text_columns: tuple[str, ...] = _flag(
        DATA,
        "In a table of your own: the column with the text, or two with a comma for pairs. "
        "Default: text, text2; or prompt.",
        (),
    )
    label_column: str = _flag(
        DATA,
        "In a table of your own: the column with the class or number, or with what follows the "
        "prompt. Default: label; or completion.",
        "",
    )
    metric: str = _flag(
        DATA,
        "For a table of your own: accuracy or matthews for classes, pearson or spearman for "
        "numbers; loss, token_accuracy or exact_match for completions. "
        "Default: accuracy; or loss.",
        "",
    )
    out: str = _flag(
        OUTPUT, "The store: a folder for records and figures. Default: idim-out.", "idim-out"
    )
    report_to: str = _flag(
        OUTPUT,
        "Also report every run to a tracker: tensorboard, wandb or mlflow. Default: to none.",
        "none",
        choices=REPORTS,
    )
    save: str = _flag(OUTPUT, "A folder for what was trained: an adapter, or a full model.", "")
    workers: int = _flag(
        RUNS,
        "Runs at once. Default: one a GPU; one where there is none; with ray, all that it has "
        "room for.",
        0,
        least=0,
    )
    runs_per_device: int = _flag(RUNS, "Runs that share one GPU. Default: 1.", 1, least=1)
    executor: str = _flag(
        RUNS, "Where runs are made: local, or ray. Default: local.", "local", choices=EXECUTORS
    )
    deterministic: bool = _flag(
        RUNS,
        "Make each run on one thread, so that its record has the same bits whoever makes it. "
        "It takes longer.",
        False,
    )
    ray_address: str = _flag(
        RUNS, "The address of a Ray cluster. Default: one that is started here.", ""
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = of_kind(_flag_name(field.name), str(field.type), getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, str) and ("\0" in part or not is_unicode(part)):
                    raise expected(
                        _flag_name(field.name), "text in Unicode without a null character", part
                    )
                if isinstance(part, int) and not -(1 << 63) <= part < 1 << 63:
                    raise expected(_flag_name(field.name), "a number of at most 64 bits", part)
        if not self.out:
            raise expected("--out", "the name of a folder", self.out)
        for field in dataclasses.fields(self):
            choices, value = field.metadata["choices"], getattr(self, field.name)
            if choices and value not in choices:
                raise one_of(_flag_name(field.name), choices, value)
        if self.alpha_twice_rank and self.lora_alpha:
            raise expected("--lora-alpha", "none with --alpha-twice-rank", self.lora_alpha)
        if self.ray_address and self.executor != "ray":
            raise expected("--ray-address", "--executor ray with it", self.ray_address)
        # Here, because the search loads NumPy and SciPy, and a flag's help must not wait for them.
        from idim.search.design import DESIGNS

        if self.design and self.design not in DESIGNS:
            raise one_of("--design", DESIGNS, self.design)
        if not 0 < self.threshold < 1:
            raise expected("--threshold", "a fraction between 0 and 1", self.threshold)
        if self.absolute is not None and not math.isfinite(self.absolute):
            raise expected("--absolute", "a finite score", self.absolute)
        for field in dataclasses.fields(self):
            least, value = field.metadata["least"], getattr(self, field.name)
            if least is not None and not least <= value < math.inf:
                what = "a whole number of at least 1" if least else "a number that is not negative"
                raise expected(_flag_name(field.name), what, value)
        for name in ("grid", "ranks", "sizes"):
            values = getattr(self, name)
            if any(v < 1 for v in values) or len(set(values)) != len(values):
                raise expected(
                    _flag_name(name),
                    "distinct whole numbers of at least 1",
                    ",".join(map(str, values)),
                )

    @property
    def chosen(self) -> Protocol:
        """The protocol with what the user changed in it."""
        changes: dict[str, Any] = {}
        if self.projection:
            changes["projection"] = self.projection
        if self.baselines:
            changes |= {"baselines": self.baselines, "most_baselines": 0}
        if self.repeats:
            changes["repeats"] = self.repeats
        if self.absolute is not None:
            changes |= {"rule": "absolute", "absolute": self.absolute}
        size = ARMS[self.arm].size
        if self.design or (size and getattr(self, size.several)):
            changes["design"] = self.design or "grid"
        if not self.early:
            changes["early"] = False
        named, left_out = PROTOCOLS[self.protocol], []
        if not self.tune and named.tune:
            changes["tune"] = False
            left_out.append("rate tuning: a default rate law was used")
        if not self.checks and named.budget_check:
            changes |= {"budget_check": False, "rate_check": False, "witness": False}
            left_out += ["the check at twice the budget", "the check at twice and half the rate"]
            if ARMS[self.arm].spans:
                left_out.append("the witness at d = D")
            if ARMS[self.arm].frees_head:
                left_out.append("whether the head alone passes")
        changes["left_out"] = (*named.left_out, *left_out)
        return dataclasses.replace(PROTOCOLS[self.protocol], **changes)


#: What a program or a file may give for a type, beside bool: what it is called, and how it is read.
_KINDS: dict[str, tuple[str, tuple[type, ...], Callable[[Any], Any]]] = {
    "int": ("a whole number", (numbers.Integral,), int),
    "float": ("a number", (numbers.Real,), float),
    "str": ("text", (str, os.PathLike), os.fspath),
}


def _flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def of_kind(name: str, kind: str, value: Any) -> Any:
    """A value as its field holds it: 2 as 2.0, a path as text, a list as a tuple.

    So a program that says 2 asks for the same runs as a flag that reads 2.0.

    Args:
        name: what the message calls the value.
        kind: the field's type, as it is written in ``Config``.

    Raises:
        IdimError: the value has another type.
    """
    if kind.endswith(" | None"):
        return value if value is None else of_kind(name, kind.removesuffix(" | None"), value)
    if kind == "bool":
        if not isinstance(value, bool):
            raise expected(name, "true or false", value)
        return value
    inner = kind.removeprefix("tuple[").removesuffix(", ...]")
    what, types, read_as = _KINDS[inner]
    whole = kind != inner
    if whole and not isinstance(value, list | tuple):
        raise expected(name, f"a list, each {what}", value)
    for part in value if whole else (value,):
        if not isinstance(part, types) or isinstance(part, bool):
            raise expected(name, f"a list, each {what}" if whole else what, value)
    try:
        return tuple(map(read_as, value)) if whole else read_as(value)
    except OverflowError:
        raise expected(name, "a number of at most 64 bits", value) from None


def read(path: str) -> dict[str, Any]:
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
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise one_of(f"{path}: key", fields, key)
        values[name] = of_kind(f"{path}: {key}", str(fields[name].type), value)
    return values


#: Fields whose 0 stands for "let the protocol, or the kind of model, decide". A size is held
#: against the model, which says more.
_UNSET = {
    f.name
    for f in dataclasses.fields(Config)
    if f.metadata["least"] == 0 and f.default == 0 and f.name not in ("seed", *SIZE_FLAGS)
}


def check_read(arm: str, given: Mapping[str, Any]) -> None:
    """Check that an arm reads what was given for it alone.

    Args:
        arm: its name.
        given: values by the names of their fields. What every arm reads is never refused.

    Raises:
        IdimError: it would be ignored.
    """
    found, others = ARMS[arm], set().union(*map(_own, ARMS)) - _own(arm) - _own(FULL)
    for field in sorted(others & given.keys()):
        instead = ""
        if field in SIZE_FLAGS:
            size = found.size
            instead = f", whose size is --{size.flag}" if size else ", which has no size"
        elif field.endswith("learning_rate"):
            instead = f", whose rate is {_flag_name(found.rate_flag)}"
        raise expected(_flag_name(field), f"none with {arm}{instead}", given[field])


def _own(arm: str) -> set[str]:
    """The fields that an arm reads, and not every arm does. Lists of sizes are looked at later."""
    found = ARMS[arm]
    told = {f.name for f in dataclasses.fields(found.Settings)}
    told |= {"alpha_twice_rank"} if "lora_alpha" in told else set()
    sizes = {found.size.flag} if found.size else set()
    return {found.rate_flag} | sizes | told


def make(
    given: dict[str, Any], config_file: str | None = None, default: Mapping[str, Any] | None = None
) -> Config:
    """Flags over the file's keys over ``default`` over Config's defaults."""
    values = {**(default or {}), **(read(config_file) if config_file else {}), **given}
    for name, value in values.items():
        # In a Config a 0 is what nobody gave. Whoever writes 0 means 0.
        if name in _UNSET and not isinstance(value, bool) and value == 0:
            raise expected(_flag_name(name), "more than 0; leave it out for the default", value)
    for name in ("model", "task"):
        if not values.get(name):
            raise expected(
                _flag_name(name), "a name; `idim ls models` and `idim ls tasks` list them", None
            )
    return Config(**values)
