"""From what was asked for to its answer, with progress on standard error."""

from __future__ import annotations

from idim.cli.terminal import remark, watching
from idim.config import Config
from idim.values.summary import Summary


def measured(config: Config) -> Summary:
    """Check what was asked for, and measure it."""
    # Here, because the command line must start without what the search loads.
    from idim import known

    if (found := known.answer(config)) is not None:
        remark("idim: every run of it is in the store")
        return found
    # These load torch, and a mistyped flag must not wait for that.
    from idim import conductor
    from idim.resolve import resolve
    from idim.store import Store

    with watching() as watcher:
        found = conductor.measure(resolve(config), Store(config.out), watcher)
    known.note(config, found)
    return found
