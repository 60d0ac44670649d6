"""From what was asked for to its answer, with progress on standard error."""

from __future__ import annotations

from idim.cli.terminal import remark, watching
from idim.config import Config
from idim.executors import check_ray
from idim.values.summary import Summary


def measured(config: Config) -> Summary:
    """Check what was asked for, and measure it."""
    # Here, because the command line must start without what the search loads.
    from idim.cli import known

    name = known.name_of(config)
    if (found := known.answer(config, name)) is not None:
        remark("idim: every run of it is in the store")
        return found
    prepare(config)
    # These load torch, and a mistyped flag must not wait for that.
    from idim import conductor
    from idim.resolve import resolve
    from idim.store import Store

    with watching(config.report_to, config.out) as watcher:
        found = conductor.measure(resolve(config), Store(config.out), watcher)
    known.note(config, name, found)
    return found


def prepare(config: Config) -> None:
    """Start what workers are forked from: it loads torch while this process does.

    Raises:
        IdimError: what makes the runs is not installed.
    """
    if config.executor == "ray":
        check_ray()
    if config.executor == "local" and max(config.workers, config.runs_per_device) > 1:
        from idim.executors import forking

        forking.begin(_libraries(config))


def _libraries(config: Config) -> list[str]:
    """What runs will load, as far as names tell. A wrong guess costs some time."""
    found = []
    if config.task == "digits":
        found.append("sklearn.datasets")
    if ":" not in config.model:
        found += ["transformers", "peft"]
    return found
