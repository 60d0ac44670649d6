"""``idim.measure``: the search for a model and data that a program holds in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import contextmanager

from torch import nn

from idim import conductor, config, models, tasks
from idim.errors import expected
from idim.run import task_for
from idim.study import Watcher
from idim.tasks.given import Loss, Metric, given


def measure(
    model: nn.Module | Callable[[int], nn.Module], train: Sequence, evaluation: Sequence, metric: str | Metric = "accuracy", *,
    loss: Loss | None = None, name: str = "model", task: str = "task", say: Callable[[str], None] = lambda line: None, **options: object,
) -> dict:
    """Find d90 of this model on this data, as ``idim search`` does, and return its summary (the fields of ``idim search --json``).

    Args:
        model: a module, copied for every run, whose weights are theta_0; or a function of a seed that makes one, where the start is random.
        train, evaluation: data sets indexed by number, of pairs ``(inputs, label)`` or of mappings with ``labels``. A tenth of train (at most 1,000 each)
            is set aside for tuning rates and for the locked score.
        metric: "accuracy", "matthews", or a function ``(outputs, labels) -> float`` of the whole split, larger being better.
        loss: ``(module, batch) -> scalar``; default: the model's own for mappings, cross entropy for pairs.
        name, task: what records and tables call them.
        say: gets a line for each run.
        options: as on the command line, with underscores: ``arm="did"``, ``protocol="trust"``, ``out="idim-out"``, ``learning_rate=1e-3``, ``seed=0`` …

    Every run is a record in ``out``; the same call finds them there. One process: ``workers`` must be 1, because what is in memory does not travel.
    Errors: ``IdimError``, one line, before anything is trained.
    """
    if options.get("workers", 1) != 1:
        raise expected("workers", "1: a model and data in memory stay in this process", options["workers"])
    if isinstance(model, nn.Module):
        start = model
        model = lambda seed: copy.deepcopy(start)  # noqa: E731
    with _known(name, model, task, given(task, train, evaluation, metric, loss)):
        return conductor.search(config.make({"model": name, "task": task, **options}), Watcher(say=say))


@contextmanager
def _known(name: str, model: Callable[[int], nn.Module], task: str, loader: Callable):
    """Both under their names in the catalogues, as long as the measurement runs."""
    for kind, taken, new in (("name", [*models.NETS, *models.ALIASES], name), ("task", tasks.CATALOGUE, task)):
        if new in taken:
            raise expected(kind, "one that idim does not use itself", new)
    models.GIVEN[name], tasks.GIVEN[task] = model, loader
    # Kept by name; another measurement may have used the same one.
    task_for.cache_clear()
    try:
        yield
    finally:
        del models.GIVEN[name], tasks.GIVEN[task]
        task_for.cache_clear()
