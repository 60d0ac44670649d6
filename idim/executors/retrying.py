"""Makes lost runs again, and says in a record which cannot be made."""

from __future__ import annotations

from collections import Counter

from idim.executors.base import Executor, Lost
from idim.run import lost
from idim.source import Source
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress

#: So many times a run is begun.
_TIMES = 3


class Retrying(Executor):
    """Another executor, whose lost runs are made again twice.

    The last time a run has the machine to itself: two that did not fit into memory together may do
    so in turn. What is lost then, too, is a ``failed`` record with its cause.
    """

    def __init__(self, inner: Executor, source: Source):
        self._inner, self._source = inner, source
        self._lost: Counter[str] = Counter()
        #: Runs that wait until they can be made alone, and the one that is.
        self._waiting: list[Spec] = []
        self._alone = ""

    @property
    def slots(self) -> int:
        return self._inner.slots

    @property
    def free(self) -> int:
        return 0 if self._waiting or self._alone else self._inner.free

    def submit(self, spec: Spec, progress: Progress | None = None, save: str = "") -> None:
        self._inner.submit(spec, progress, save)

    def wait(self, seconds: float | None = None) -> tuple[Spec, Record | Lost] | None:
        found = self._inner.wait(seconds)
        if found is None:
            return None
        spec, outcome = found
        if spec.key == self._alone:
            self._alone = ""
        record: Record | Lost | None = outcome
        if isinstance(outcome, Lost):
            record = self._again(spec, outcome.why)
        if self._waiting and not self._alone and self._inner.free == self._inner.slots:
            alone = self._waiting.pop(0)
            self._alone = alone.key
            self._inner.submit(alone)
        return (spec, record) if record else None

    def _again(self, spec: Spec, why: str) -> Record | None:
        self._lost[spec.key] += 1
        times = self._lost[spec.key]
        if times == _TIMES:
            del self._lost[spec.key]
            return lost(spec, f"its process was lost {times} times: {why}", source=self._source)
        if times == _TIMES - 1 or self._waiting or self._inner.free <= 0:
            self._waiting.append(spec)
        else:
            self._inner.submit(spec)
        return None

    def close(self) -> None:
        self._inner.close()
        self._lost.clear()
        self._waiting.clear()
        self._alone = ""
