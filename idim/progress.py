"""Progress on standard error: a bar for the run at work, and a line for each finished run."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from idim.errors import printable
from idim.values.outlook import Outlook
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
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Shown(Progress):
        """The bar of the run at work, and below it what the search knows so far."""

        known = ""

        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            if self.known:
                yield Text(self.known)

    bar = Shown(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[steps]}"),
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
        # How many steps there are is known at the first evaluation.
        task = bar.add_task(name, total=None, steps="")

        def progress(step: int, steps: int, score: float) -> None:
            said = f"{step}/{steps} steps" if steps else ""
            bar.update(task, completed=step, total=steps, steps=said)

        return progress

    def say(line: str) -> None:
        try:
            bar.console.print(printable(line), markup=False, highlight=False)
        except BrokenPipeError:
            raise
        except OSError:
            on_failure()
            bar.console.quiet = True

    began = time.monotonic()

    def knows(outlook: Outlook) -> None:
        line = known_text(outlook, time.monotonic() - began)
        if bar.console.is_terminal:
            bar.known = printable(line)
        else:
            say(line)

    try:
        yield Watcher(say, run, knows)
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
        yield Watcher(say or watcher.say, watcher.run, watcher.knows)


def known_text(known: Outlook, elapsed: float = 0.0) -> str:
    """What a search knows so far, in a line.

    Args:
        known: after the latest decision.
        elapsed: seconds since the beginning.
    """
    found, name = known.answer, known.name
    answer = "nothing yet"
    if found and found.level:
        low, high = found.low or "..", found.high or ".."
        answer = f"{name} = {found.estimate or '..'} [{low}, {high}]"
    elif found:
        parts = (found.low and f"{found.low} < ", name, found.high and f" <= {found.high}")
        answer = "".join(p for p in parts if p)
    rest = f"about {known.more} more run" + "s" * (known.more != 1)
    if known.seconds is not None:
        rest += f", {duration(known.seconds)} left of {duration(elapsed + known.seconds)}"
    runs = f"{known.runs} run" + "s" * (known.runs != 1)
    return f"a stop now would answer, after {runs}: {answer}; {rest}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"
