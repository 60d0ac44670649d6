"""Where a measurement tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from idim.values.outlook import Outlook
from idim.values.record import Record

#: Called at each evaluation of a run: the step, all steps, and the score.
Progress = Callable[[int, int, float], None]


def _nothing(line: str) -> None:
    """Tell nobody."""


def _ignored(value: object) -> None:
    """Take no notice."""


def _no_progress(name: str) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Watcher:
    """``say`` gets a line. ``run`` returns a progress callback for the run that it names."""

    say: Callable[[str], object] = _nothing
    run: Callable[[str], Progress | None] = _no_progress
    #: Gets what is known after each decision of a search; None where nobody asks for it.
    knows: Callable[[Outlook], object] | None = None
    #: Gets each run that was made.
    finished: Callable[[Record], object] = _ignored


#: Tells nobody anything.
SILENT = Watcher()
