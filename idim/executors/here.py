"""Runs in this process, one after another."""

from __future__ import annotations

from idim.executors.base import Executor, Lost
from idim.executors.same_bits import same_bits
from idim.run import execute
from idim.source import Source
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress


class Here(Executor):
    """This process. A run begins when somebody waits for it."""

    def __init__(self, source: Source, saves: str = "", same: bool = False):
        self._source, self._saves, self._same = source, saves, same
        self._next: tuple[Spec, Progress | None, str] | None = None

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
        (spec, progress, save), self._next = self._next, None
        with same_bits(self._same):
            return spec, execute(spec, progress, save, self._source, self._saves)

    def close(self) -> None:
        self._next = None
