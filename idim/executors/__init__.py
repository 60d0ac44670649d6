"""Where runs are executed. One contract, and a file for each way.

``EXECUTORS`` makes the one of a name, from the number of its workers and what gives models and
tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from idim.executors.base import Executor
from idim.executors.local import Local
from idim.source import Source

__all__ = ["EXECUTORS", "Executor", "Local"]

EXECUTORS: dict[str, Callable[[int, Source], Executor]] = {"local": Local}
