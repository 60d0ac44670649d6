"""From what was asked for to its answer, with progress on standard error."""

from __future__ import annotations

from idim.cli.terminal import watching
from idim.config import Config
from idim.values.summary import Summary


def measured(config: Config) -> Summary:
    """Check what was asked for, and measure it."""
    # Here, because these load torch, and a mistyped flag must not wait for that.
    from idim import conductor
    from idim.resolve import resolve
    from idim.store import Store

    with watching(config.report_to, config.out) as watcher:
        return conductor.measure(resolve(config), Store(config.out), watcher)
