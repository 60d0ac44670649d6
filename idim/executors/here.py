"""Runs in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable

from idim.executors.base import Executor, Lost
from idim.executors.same_bits import same_bits
from idim.run import execute
from idim.source import Source
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress


class Here(Executor):
    """This process. A run begins when somebody waits for it.

    Args:
        make: makes a run, as ``submit`` is told of it.
    """

    def __init__(self, make: Callable[[Spec, Progress | None, str], Record]):
        self._make = make
        self._next: tuple[Spec, Progress | None, str] | None = None

    @classmethod
    def alone(cls, source: Source, saves: str = "", same: bool = False) -> Here:
        """This process alone.

        Args:
            source: gives models and tasks.
            saves: a folder for what long runs need to go on.
            same: whether a run's bits must not depend on the number of threads.
        """

        def make(spec: Spec, progress: Progress | None, save: str) -> Record:
            with same_bits(same):
                return execute(spec, progress, save, source, saves)

        return cls(make)

    @property
    def slots(self) -> int:
        return 1

    @property
    def free(self) -> int:
        return int(self._next is None)

    def submit(self, spec: Spec, progress: Progress | None = None, save: str = "") -> None:
        self._next = spec, progress, save

    def wait(self, seconds: float | None = None) -> tuple[Spec, Record | Lost] | None:
        if self._next is None:
            return None
        asked, self._next = self._next, None
        return asked[0], self._make(*asked)

    def close(self) -> None:
        self._next = None
