"""Runs in this process, or in local processes that share the cores."""

from __future__ import annotations

import contextlib
import os
import signal
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread

import torch

from idim.executors.base import Executor
from idim.run import execute, lost
from idim.source import CATALOGUES, Source
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress


class Local(Executor):
    """Local processes. With one worker it runs in this process, and in order."""

    def __init__(self, workers: int = 1, source: Source = CATALOGUES):
        self.workers, self._source = workers, source
        self._pool: ProcessPoolExecutor | None = None
        self._alive: Connection | None = None

    def run(
        self, specs: Sequence[Spec], progress: Progress | None = None, save: str = ""
    ) -> Iterator[tuple[Spec, Record]]:
        """As the contract says. Ctrl-C ends the workers at once."""
        if self.workers == 1 or len(specs) <= 1:
            for spec in specs:
                yield spec, execute(spec, progress, save, self._source)
            return
        try:
            killed: list[Spec] = []
            yield from self._together(specs, killed)
            # Which run a dead worker had is not known. All that were not done are made again, one
            # at a time, so that only a run that ends its worker alone is blamed. Two that did not
            # fit into memory together may do so in turn.
            for spec in killed:
                again: list[Spec] = []
                yield from self._together([spec], again)
                if again:
                    yield (
                        spec,
                        lost(
                            spec,
                            "its worker process was killed twice; "
                            "the usual cause is a lack of memory",
                            source=self._source,
                        ),
                    )
        except BaseException:
            self.close()
            raise

    def _together(self, specs: Sequence[Spec], killed: list[Spec]) -> Iterator[tuple[Spec, Record]]:
        """Those that a worker's death left undone go into ``killed``."""
        pool = self._started()
        futures = {pool.submit(execute, spec, None, "", self._source): spec for spec in specs}
        broken = []
        for future in as_completed(futures):
            error = future.exception()
            # One run's defect must not lose what its siblings are about to finish. It is raised
            # when they are kept.
            if error is None:
                yield futures[future], future.result()
            elif isinstance(error, BrokenProcessPool):
                killed.append(futures[future])
            else:
                broken.append(error)
        if killed:
            self.close()
        for error in broken:
            raise error

    def _started(self) -> ProcessPoolExecutor:
        """Kept for the next batch: a process starts in seconds, and holds the task it has read."""
        if self._pool is None:
            threads = max(1, (os.cpu_count() or 1) // self.workers)
            # Spawned, not forked: torch's threads do not survive a fork.
            context = get_context("spawn")
            watched, self._alive = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self.workers, context, initializer=_start, initargs=(threads, watched)
            )
            weakref.finalize(self, _end, self._pool, self._alive)
        return self._pool

    def close(self) -> None:
        """End the workers at once, in whatever they do. The next batch starts new ones."""
        if self._pool is not None and self._alive is not None:
            _end(self._pool, self._alive)
            self._pool = self._alive = None


def _end(pool: ProcessPoolExecutor, alive: Connection) -> None:
    alive.close()
    pool.shutdown(wait=False, cancel_futures=True)


def _start(threads: int, watched: Connection) -> None:
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of the terminal; the one that leads tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: Connection) -> None:
    """End this worker when the other end of the pipe is closed, or its process gone.

    So a search that is killed leaves no worker behind.
    """
    with contextlib.suppress(EOFError, OSError):
        watched.recv_bytes()
    os._exit(1)
