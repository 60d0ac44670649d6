"""``idim.measure``: the search for a model and data that a program holds in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from idim import conductor, config, models
from idim.errors import expected
from idim.source import InMemory
from idim.study import Watcher
from idim.tasks.given import Brought, Loss, Metric, Takes, given


def measure(
    model: nn.Module | Callable[[int], nn.Module],
    train: Sequence,
    evaluation: Sequence,
    metric: str | Metric = "accuracy",
    *,
    loss: Loss | None = None,
    tokenizer: object = None,
    data_collator: Callable[[list], object] | None = None,
    name: str = "model",
    task: str = "task",
    say: Callable[[str], None] = lambda line: None,
    **options: object,
) -> dict:
    """Find d90 of this model on this data, as ``idim search`` does, and return its summary (the fields of ``idim search --json``).

    Args:
        model: a module, copied for every run, whose weights are theta_0; or a function of a seed that makes one, where the start is random.
        train, evaluation: a ``datasets.Dataset``, a list, a DataLoader (whose data set and collator
            are used), a pandas data frame, columns by name, or anything with a length that is
            indexed by number. Examples are pairs ``(inputs, label)`` or mappings with ``labels`` or
            ``label``. Of a mapping a transformers model gets the fields that it takes; rows of
            unequal length are padded at their end; texts are tokenised. Labels are classes 0..C-1,
            names, truth values, -1 and 1, or numbers for a regression. A tenth of train (at most
            1,000 each) is set aside for tuning rates and for the locked score.
        metric: "accuracy", "matthews", "pearson", "spearman", or a function
            ``(outputs, labels) -> float`` of the whole split, larger being better.
        loss: ``(module, batch) -> scalar``; default: the model's own for mappings, cross entropy
            for pairs.
        tokenizer: for texts, and for padding; default: the one beside the model's checkpoint.
        data_collator: from a list of examples to a batch: a pair or a mapping with ``labels``.
        name, task: what records and tables call them.
        say: gets a line for each run.
        options: as on the command line, with underscores: ``arm="did"``, ``protocol="trust"``, ``out="idim-out"``, ``learning_rate=1e-3``, ``seed=0`` …

    Every run is a record in ``out``; the same call finds them there. One process: ``workers`` must be 1, because what is in memory does not travel.
    Errors: ``IdimError``, one line, before anything is trained.
    """
    if options.get("workers", 1) != 1:
        raise expected(
            "workers", "1: a model and data in memory stay in this process", options["workers"]
        )
    if not callable(model):
        raise expected(
            "model", "a module, or a function of a seed that makes one", type(model).__name__
        )
    made: Callable[[int], nn.Module] = (
        (lambda seed: models.copied(model)) if isinstance(model, nn.Module) else model
    )
    # Draws of the caller's own function must not move anybody else's.
    with torch.random.fork_rng(devices=[]):
        try:
            first = model if isinstance(model, nn.Module) else made(0)
        except Exception as error:  # whatever a function that takes no seed raises
            raise expected(
                "model",
                "a module, or a function of a seed that makes one",
                f"{type(error).__name__}: {error}"[:160],
            ) from None
    if not isinstance(first, nn.Module) or not any(
        p.is_floating_point() for p in first.parameters()
    ):
        raise expected(
            "model",
            "a module with weights, or a function of a seed that makes one",
            type(first).__name__,
        )
    columns = options.pop("text_columns", ())
    brought = Brought(
        tokenizer,
        data_collator,
        (columns,) if isinstance(columns, str) else tuple(columns),
        options.pop("label_column", ""),
    )
    read = given(task, train, evaluation, metric, loss, Takes.of(first), brought)
    source = InMemory(name, made, task, read)
    asked = config.make({"model": name, "task": task, **options})
    return conductor.search(asked, Watcher(say=say), source)
