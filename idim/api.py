"""``idim.measure``: the search or the sweep for a model and data that a program holds in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from idim import conductor, config, models
from idim.errors import expected, one_of
from idim.measurement import Measurement
from idim.progress import watching
from idim.resolve import resolve
from idim.source import InMemory
from idim.store import Store
from idim.tasks.in_memory import InMemoryTask, Loss
from idim.tasks.takes import Brought, Takes
from idim.tasks.user_metric import ComputeMetrics, Metric, chosen
from idim.values.options import Options

#: What measure takes by names of its own, or cannot do with what is in memory.
_NOT_HERE = ("model", "task", "metric", "data_dir", "save")
_MODEL = "a module, or a function of a seed that makes one"


def measure(
    model: nn.Module | Callable[[int], nn.Module],
    train: object,
    evaluation: object,
    metric: str | Metric | None = None,
    *,
    loss: Loss | None = None,
    tokenizer: object = None,
    data_collator: Callable[[list[Any]], object] | None = None,
    compute_metrics: ComputeMetrics | None = None,
    name: str = "model",
    task: str = "task",
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Measurement:
    """Find d90 of this model on this data, or with ``arm="lora"`` r90.

    Args:
        model: a module, whose weights are theta_0 and which is copied for every run. Or a function
            of a seed that makes a module, where the start is random.
        train: a ``datasets.Dataset``, a list, a DataLoader (whose data set and collator are used),
            a pandas data frame, columns by name, or anything with a length that is indexed by
            number. Examples are pairs ``(inputs, label)`` or mappings with ``labels`` or ``label``.
            Of a mapping a transformers model gets the fields that it takes. Rows of unequal length
            are padded at their end. Texts are tokenised. Labels are classes 0..C-1, names, truth
            values, other whole numbers such as -1 and 1 (which become classes in their order), or
            numbers for a regression. A tenth of train (at most 1,000 each) is set aside for tuning
            rates and for the locked score.
        evaluation: the examples that every run is scored on, in the same form.
        metric: "accuracy" (the default), "matthews", "pearson", "spearman", or a function
            ``(outputs, labels) -> float`` of the whole split. Larger is better. With
            ``compute_metrics``: which of its entries is measured.
        loss: ``(module, batch) -> scalar``. Default: the model's own for mappings, cross entropy
            for pairs.
        tokenizer: for texts, and for padding. Default: the one beside the model's checkpoint.
        data_collator: from a list of examples to a batch: a pair or a mapping with ``labels``.
        compute_metrics: as Trainer takes it: a function of an ``EvalPrediction`` (logits and
            labels of the whole split, as arrays) that returns a dict of scores.
        name: what records and tables call the model.
        task: what they call the task.
        progress: whether a bar and a line a run are shown on standard error. Default: only where
            that is a terminal. Without a bar the lines go to the logger ``idim``, level INFO.
        say: a function that gets each line instead.
        options: as on the command line, with underscores: ``arm="did"``, ``protocol="trust"``,
            ``ranks=(1, 2, 4)``, ``out="idim-out"``, ``learning_rate=1e-3``, ``seed=0`` …

    Returns:
        The summary: the dict that ``idim search --json`` or ``idim sweep --json`` prints. ``print``
        shows it as text, and ``figure()`` draws it.

    Raises:
        IdimError: one line, before anything is trained.

    Every run is a record in ``out``, and the same call finds them there: that of the same weights,
    modules and examples, whose first losses and score are the same. One process does all:
    ``workers`` must be 1, because what is in memory does not travel.
    """
    make, first = _maker(model)
    columns = options.pop("text_columns", ())
    brought = Brought(
        tokenizer,
        data_collator,
        (columns,) if isinstance(columns, str) else tuple(columns),
        options.pop("label_column", ""),
    )
    asked = _config(name, task, options)
    wanted = chosen(metric, compute_metrics)
    takes = Takes.of(first)

    def read(options: Options) -> InMemoryTask:
        return InMemoryTask(task, train, evaluation, wanted, loss, options, takes, brought)

    source = InMemory(name, make, task, read)
    with watching(progress, say) as watcher:
        plan = resolve(asked, source)
        found = conductor.measure(plan, Store(asked.out), watcher, source)
        return Measurement.read(found, asked.out)


def _maker(
    model: nn.Module | Callable[[int], nn.Module],
) -> tuple[Callable[[int], nn.Module], nn.Module]:
    """A function of a seed that makes the model, and the model that it makes of seed 0."""
    if isinstance(model, nn.Module):
        module = model
        make: Callable[[int], nn.Module] = lambda seed: models.copied(module)  # noqa: E731
        first: object = module
    elif callable(model):
        make = model
        # Draws of the caller's own function must not move anybody else's.
        with torch.random.fork_rng(devices=[]):
            try:
                first = make(0)
            except Exception as error:  # whatever a function that takes no seed raises
                said = f"{type(error).__name__}: {error}"[:160]
                raise expected("model", _MODEL, said) from None
    else:
        raise expected("model", _MODEL, type(model).__name__)
    if not isinstance(first, nn.Module) or not any(
        p.is_floating_point() for p in first.parameters()
    ):
        raise expected(
            "model",
            "a module with weights, or a function of a seed that makes one",
            type(first).__name__,
        )
    return make, first


def _config(name: str, task: str, options: dict[str, Any]) -> config.Config:
    """The options of the command line, checked as they are there."""
    options = {"workers": 1} | options
    for option, only in (("workers", 1), ("executor", "local")):
        if options.get(option, only) != only:
            raise expected(
                option, f"{only}: a model and data in memory stay in this process", options[option]
            )
    known = [f.name for f in dataclasses.fields(config.Config) if f.name not in _NOT_HERE]
    for option in options:
        if option not in known:
            raise one_of("options", known, option)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    asked = config.make({"model": name, "task": task, **values})
    config.check_read(asked.arm, values)
    return asked
