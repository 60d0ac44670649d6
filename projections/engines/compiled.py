"""What the loops that numba compiles for the CPU have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

import numba
import numpy as np
import torch


def jit(function: Callable, **options):
    """Compiled at its first call and kept on disk; in memory alone where nothing can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True, **options)
    except RuntimeError:
        return numba.njit(function, nogil=True, **options)


#: Floats below which a second thread, which takes a tenth of a millisecond to wake, costs more than it does.
_A_THREADS_WORK = 1 << 19


def parallel(run: Callable[[int, int], None], work: int, most: int = 1 << 30) -> None:
    """``run(part, parts)`` for every part, on as many threads as torch uses; on one where the work (floats) is small."""
    parts = min(torch.get_num_threads(), max(1, work // _A_THREADS_WORK), most)
    if parts == 1:
        return run(0, 1)
    others = [_pool(parts - 1).submit(run, part, parts) for part in range(1, parts)]
    run(0, parts)
    wait(others)
    for other in others:
        other.result()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="idim")


@lru_cache(maxsize=2)
def sign_table(dtype: torch.dtype) -> np.ndarray:
    """Byte -> its eight signs, lowest bit first: ``(256, 8)``."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    return np.ascontiguousarray((1 - 2 * bits).astype(np.float64 if dtype == torch.float64 else np.float32))


def array(x: torch.Tensor) -> np.ndarray:
    """The tensor's own memory as an array."""
    return x.detach().numpy()


def places(starts: int | torch.Tensor) -> np.ndarray:
    return np.array([starts]) if isinstance(starts, int) else array(starts)
