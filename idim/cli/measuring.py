"""From what was asked for to its answer, with progress on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from idim.cli.terminal import remark, watching
from idim.config import Config
from idim.executors import check_ray
from idim.values.summary import Summary


def measured(config: Config) -> Summary:
    """Check what was asked for, and measure it."""
    (found,) = all_measured([config])
    return found


def all_measured(configs: Sequence[Config]) -> Iterator[Summary]:
    """The answer to each, in turn. All are checked before anything is trained for one.

    An answer that the store holds takes neither the model nor the data.
    """
    # Here, because the command line must start without what the search loads.
    from idim.cli import known

    names = [known.name_of(config) for config in configs]
    held = [known.answer(*asked) for asked in zip(configs, names, strict=True)]
    if None not in held:
        remark("idim: every run of it is in the store")
        yield from filter(None, held)
        return
    prepare(configs[0])
    # These load torch, and a mistyped flag must not wait for that.
    from idim import conductor
    from idim.resolve import resolve
    from idim.store import Store

    with watching(configs[0].report_to, configs[0].out) as watcher:
        plans = [
            None if answer else resolve(config)
            for config, answer in zip(configs, held, strict=True)
        ]
        for config, name, answer, plan in zip(configs, names, held, plans, strict=True):
            if plan is None:
                assert answer is not None
                yield answer
                continue
            found = conductor.measure(plan, Store(config.out), watcher)
            known.note(config, name, found)
            yield found


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
