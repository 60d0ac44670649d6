"""Put ranges of D that follow on each other together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

_LARGEST_RUN = 1 << 18  # floats

Job = TypeVar("Job")


def coalesce(
    jobs: Iterable[Job], span: Callable[[Job], tuple[int, int, object]]
) -> list[list[Job]]:
    """Sort jobs by their place in D and put small neighbours into one run.

    One call of a torch operation costs as much as its work on some 2^15 floats. So one call for
    several small neighbours is cheaper than one call for each.

    Args:
        jobs: anything that covers a range of D.
        span: gives a job's start, its length and a key. Only jobs of one key go into one run.

    Returns:
        Runs in the order of D. A run of several jobs has no gap and at most 2^18 floats.
    """
    runs: list[list[Job]] = []
    stop, total, run_key = -1, 0, None
    for job in sorted(jobs, key=lambda job: span(job)[0]):
        start, n, key = span(job)
        if runs and start == stop and key == run_key and total + n <= _LARGEST_RUN:
            runs[-1].append(job)
            total += n
        else:
            runs.append([job])
            total, run_key = n, key
        stop = start + n
    return runs
