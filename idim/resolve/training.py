"""How long and how to train, and how to load the task: defaults, the protocol's, the user's."""

from __future__ import annotations

import dataclasses
from typing import Any

from idim import models
from idim.config import Config
from idim.errors import expected
from idim.protocols import FEWEST_STEPS, QUICK, RECIPES
from idim.source import Source
from idim.tasks.base import Task
from idim.values.options import Options
from idim.values.protocol import Protocol
from idim.values.recipe import Recipe


def options(config: Config, protocol: Protocol, kind: str, source: Source) -> Options:
    """How to load the task."""
    quick = _quick(config, kind)
    return Options(
        data_dir=config.data_dir or None,
        official=protocol.official,
        max_train_samples=config.max_train_samples or int(quick.get("max_train_samples", 0)),
        max_eval_samples=config.max_eval_samples or int(quick.get("max_eval_samples", 0)),
        max_seq_length=_length(config, source, int(quick.get("max_seq_length", 128))),
        text_columns=config.text_columns,
        label_column=config.label_column,
        metric=config.metric,
    )


def recipe(config: Config, protocol: Protocol, kind: str, task: Task) -> Recipe:
    """How to train: the default of the kind of model, then the protocol's, then the user's."""
    values: dict[str, Any] = dict(RECIPES[kind])
    if config.model in models.RATES:
        values["learning_rate"] = models.RATES[config.model]
    quick = _quick(config, kind)
    values |= {k: v for k, v in quick.items() if k in ("epochs", "evaluations")}
    values |= protocol.recipe
    given = {
        "learning_rate": config.learning_rate,
        "epochs": config.num_train_epochs,
        "max_steps": config.max_steps,
        "batch_size": config.batch_size,
    }
    values |= {k: v for k, v in given.items() if v}
    if config.num_train_epochs and not config.max_steps:
        values["max_steps"] = 0
    made = Recipe(**values, precision=config.precision)
    said = config.max_steps or config.num_train_epochs or quick or "epochs" in protocol.recipe
    if not said and kind in FEWEST_STEPS:
        # A few passes over a small data set are too few steps to converge in.
        fewest = FEWEST_STEPS[kind]
        if made.steps(task.train_size()) < fewest:
            made = dataclasses.replace(made, max_steps=fewest)
    return made


def _quick(config: Config, kind: str) -> dict[str, float]:
    """What makes a whole search take minutes, where that was asked for."""
    return QUICK if config.protocol == "quick" and kind == "transformer" else {}


def _length(config: Config, source: Source, default: int) -> int:
    """Tokens a text is cut to: as given, or the default where the model has that many positions."""
    longest = source.positions(config.model) or max(default, config.max_seq_length)
    if config.max_seq_length > longest:
        raise expected(
            "--max-seq-length",
            f"at most {longest}, the positions of {config.model}",
            config.max_seq_length,
        )
    return config.max_seq_length or min(default, longest)
