"""Local processes that share the cores, or have a GPU each."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import weakref
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from idim.executors import forking
from idim.executors.base import Executor, Lost
from idim.executors.working import work
from idim.run import execute
from idim.source import CATALOGUES, Source
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress


@dataclass
class _Worker:
    process: ForkServerProcess
    orders: Connection
    #: Closed to end the worker. It lives as long as this process.
    alive: Connection
    #: What it makes now.
    spec: Spec | None = None

    def end(self) -> None:
        self.alive.close()
        self.orders.close()
        with contextlib.suppress(OSError):
            self.process.kill()


class Local(Executor):
    """Local processes. A worker that dies costs the run that it made.

    Args:
        workers: how many.
        source: gives models and tasks.
        saves: a folder for what long runs need to go on.
        devices: how many GPUs there are. Each worker gets one, in turn.
        same: whether a run's bits must not depend on the number of threads.
    """

    def __init__(
        self,
        workers: int,
        source: Source = CATALOGUES,
        saves: str = "",
        devices: int = 0,
        same: bool = False,
    ):
        self._slots, self._source, self._devices, self._same = workers, source, devices, same
        self._saves = saves
        self._workers: list[_Worker] = []
        self._defects: list[BaseException] = []
        weakref.finalize(self, _end, self._workers)

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def free(self) -> int:
        return 0 if self._defects else self._slots - len(self._busy)

    @property
    def _busy(self) -> list[_Worker]:
        return [w for w in self._workers if w.spec is not None]

    def submit(self, spec: Spec, progress: Progress | None = None, save: str = "") -> None:
        order = execute, spec, self._source, self._saves
        while True:
            worker = next((w for w in self._workers if w.spec is None), None) or self._started()
            try:
                worker.orders.send(order)
            except OSError:  # it died while it was idle
                self._gone(worker)
                continue
            worker.spec = spec
            return

    def wait(self, seconds: float | None = None) -> tuple[Spec, Record | Lost] | None:
        while busy := self._busy:
            by = {w.orders: w for w in busy} | {w.process.sentinel: w for w in busy}
            ready = connection.wait(list(by), seconds)
            if not ready:
                return None
            worker = by[ready[0]]  # type: ignore[index] # of the kinds that were given
            spec = worker.spec
            assert spec is not None
            answer = self._answer(worker)
            if isinstance(answer, BaseException):
                # One run's defect must not lose what its siblings are about to finish. It is
                # raised when they are kept.
                self._defects.append(answer)
            else:
                return spec, answer
        if self._defects:
            defect, self._defects = self._defects[0], []
            raise defect
        return None

    def _answer(self, worker: _Worker) -> Record | Lost | BaseException:
        try:
            # A worker may have died after it sent its answer.
            if worker.orders.poll():
                answer: Record | BaseException = pickle.loads(worker.orders.recv_bytes())
                worker.spec = None
                return answer
        except (EOFError, OSError):
            pass
        return Lost(self._gone(worker))

    def _gone(self, worker: _Worker) -> str:
        """Take a dead worker off the list. Why it died."""
        worker.process.join(1)
        code = worker.process.exitcode
        self._workers.remove(worker)
        worker.end()
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            return f"killed by {name}; the usual cause is a lack of memory"
        return f"ended with exit code {code}"

    def _started(self) -> _Worker:
        context = forking.context()
        number = next(i for i in range(self._slots) if i not in self._numbers())
        ours, orders = context.Pipe()
        alive, watched = context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self._slots)
        device = number % self._devices if self._devices else None
        process = context.Process(
            target=work,
            args=(orders, watched, threads, device, self._same),
            daemon=True,
            name=str(number),
        )
        process.start()
        orders.close()
        watched.close()
        self._workers.append(_Worker(process, ours, alive))
        return self._workers[-1]

    def _numbers(self) -> set[int]:
        return {int(w.process.name) for w in self._workers}

    def close(self) -> None:
        _end(self._workers)
        self._defects.clear()


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.end()
    workers.clear()
