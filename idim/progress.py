"""Progress on standard error: a bar for the run at work, and a line for each finished run."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from idim.errors import printable
from idim.watcher import Progress as Told
from idim.watcher import Watcher

LOGGER = logging.getLogger("idim")


@contextlib.contextmanager
def shown(on_failure: Callable[[], None] = lambda: None) -> Iterator[Watcher]:
    """A Watcher that draws a bar and prints lines above it.

    ``on_failure`` is called when standard error takes no more, as on a full disk. That stops no
    training. A reader who went away does.
    """
    # Here, because rich takes a while to load, and a silent measurement does without it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, soft_wrap=True),
        transient=True,
    )

    def run(name: str) -> Told:
        # Not before the first run: a mistake found while checking must leave one line and no bar.
        bar.start()
        for task in bar.task_ids:
            bar.remove_task(task)
        task = bar.add_task(name, total=None)

        def progress(step: int, steps: int, score: float) -> None:
            bar.update(task, completed=step, total=steps)

        return progress

    def say(line: str) -> None:
        try:
            bar.console.print(printable(line), markup=False, highlight=False)
        except BrokenPipeError:
            raise
        except OSError:
            on_failure()
            bar.console.quiet = True

    try:
        yield Watcher(say, run)
    finally:
        if bar.live.is_started:
            bar.stop()


@contextlib.contextmanager
def watching(progress: bool | None, say: Callable[[str], None] | None) -> Iterator[Watcher]:
    """What a program sees of its measurement.

    Args:
        progress: whether a bar is drawn. None: only where standard error is a terminal.
        say: gets each line. None: the lines go above the bar, or without a bar to the logger
            ``idim``, which shows them where the program asks for its level INFO.
    """
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    if not progress:
        yield Watcher(say or LOGGER.info)
        return
    with shown() as watcher:
        yield Watcher(say or watcher.say, watcher.run)
