"""The process that workers are forked from. It has loaded torch, and has never used it.

So a worker starts in milliseconds, where a fresh process would load torch for seconds. A process
that has used torch cannot be forked: its threads do not survive that. Loads no torch itself, so
that the command line can begin before it loads torch, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

#: What every worker needs. The last ones are loaded by a first run, which would take two seconds:
#: an optimiser's first step loads torch's compiler.
_LOADED = (
    *("idim.executors.working", "idim.run", "idim.arms.subspace_adapted", "projections"),
    *("torch._dynamo", "sklearn.metrics"),
)


def context(also: Sequence[str] = ()) -> ForkServerContext:
    """Where workers come from, with the packages that this process has.

    ``also``: modules that it loads, if it does not run yet.
    """
    found = get_context("forkserver")
    found.set_forkserver_preload([*_LOADED, *also])
    # Python 3.11 would let it load what lies in the present folder before what is installed here.
    path = {
        "PYTHONPATH": os.pathsep.join(place or os.getcwd() for place in sys.path),
        "PYTHONSAFEPATH": "1",
    }
    before = {name: os.environ.get(name) for name in path}
    os.environ.update(path)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return found


def begin(also: Sequence[str] = ()) -> None:
    """Start that process, if it does not run yet. Returns at once; it loads torch meanwhile.

    Args:
        also: modules that the runs will load. What is loaded before the fork is loaded once.
    """
    context(also)
