"""Small ranges of D that follow on each other, put together: in torch operations a call costs as much as some 2^15 floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

_MOST = 1 << 18  # floats

J = TypeVar("J")


def together(jobs: Iterable[J], span: Callable[[J], tuple[int, int, object]]) -> list[list[J]]:
    """Jobs by their place in D. ``span`` gives a job's start, its length and a key that those put together share."""
    runs: list[list[J]] = []
    stop, total, of = -1, 0, None
    for job in sorted(jobs, key=lambda job: span(job)[0]):
        start, n, key = span(job)
        if runs and start == stop and key == of and total + n <= _MOST:
            runs[-1].append(job)
            total += n
        else:
            runs.append([job])
            total, of = n, key
        stop = start + n
    return runs
