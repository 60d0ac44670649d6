"""The process that workers are forked from. It has loaded torch, and has never used it.

So a worker starts in milliseconds, where a fresh process would load torch for seconds. A process
that has used torch cannot be forked: its threads do not survive that. Loads no torch itself, so
that the command line can begin before it loads torch, too.
"""

from __future__ import annotations

from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

#: What every worker needs.
_LOADED = ["idim.executors.working"]


def context() -> ForkServerContext:
    """Where workers come from."""
    found = get_context("forkserver")
    found.set_forkserver_preload(_LOADED)
    return found


def begin() -> None:
    """Start that process, if it does not run yet. Returns at once; it loads torch meanwhile."""
    context()
    forkserver.ensure_running()
