"""Where runs are executed: in this process, or in local processes that share the cores."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from threading import Thread

import torch

from idim.run import Spec, execute

Progress = Callable[[int, int, float | None], None]


class Local:
    """Yields ``(spec, record)`` as runs finish. With one worker, in this process and in order."""

    def __init__(self, workers: int = 1):
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, specs: Sequence[Spec], progress: Progress | None = None, save: str = "") -> Iterator[tuple[Spec, dict]]:
        """``save``: a folder for what one run trains; with it, give one run."""
        if self.workers == 1 or len(specs) <= 1:
            for spec in specs:
                yield spec, execute(spec, progress, save)
            return
        pool = self._started()
        futures = {pool.submit(execute, spec): spec for spec in specs}
        broken = []
        for future in as_completed(futures):
            # One run's defect must not lose what its siblings are about to finish: it is raised when they are kept.
            if future.exception() is None:
                yield futures[future], future.result()
            else:
                broken.append(future)
        for future in broken:
            future.result()

    def _started(self) -> ProcessPoolExecutor:
        """Kept for the next batch: a process takes seconds to start, and holds the task it has read."""
        if self._pool is None:
            threads = max(1, (os.cpu_count() or 1) // self.workers)
            # Spawned, not forked: torch's threads do not survive a fork.
            self._pool = ProcessPoolExecutor(self.workers, get_context("spawn"), initializer=_start, initargs=(threads,))
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        return self._pool


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    # A search that is killed outright must not leave its workers behind.
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
