"""The processes that torchrun started make each run together, on a GPU each where there are any.

The first one is idim as ever. The others wait for its orders. Importing this loads no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from idim.errors import IdimError, expected

if TYPE_CHECKING:
    from idim.executors.base import Executor
    from idim.ranks import Ranks
    from idim.source import Source
    from idim.values.record import Record
    from idim.values.spec import Spec
    from idim.watcher import Progress

#: What torchrun, and whoever does as it does, tells each process.
_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: How long a process waits for the others. The first one may wait for a run that another search
#: makes; where a process dies, torchrun ends the others at once.
_PATIENCE = timedelta(days=7)
#: What this process met in the midst of a run. The others are in it still, and hear nothing; they
#: are ended when this process ends.
_PARTED: list[BaseException] = []


def launched() -> bool:
    """Whether this is one of several processes that were started together."""
    return all(name in os.environ for name in _TOLD) and int(os.environ["WORLD_SIZE"]) > 1


def lead_or_follow(command: Callable[[], None]) -> None:
    """Run a command in the first process, while the others make its runs with it.

    Raises:
        SystemExit: as the command does; 0 in the other processes.
    """
    if os.environ["RANK"] != "0":
        _follow()
        sys.exit(0)
    try:
        command()
    except SystemExit:  # how every command ends that met no defect
        if not _PARTED:
            _joined()
            _tell(None)
            _leave()
        raise


def together(source: Source, same: bool = False) -> Executor:
    """All processes, for one run after another. It lives in the first one.

    A run that does not fit into one's memory ends them all: they cannot go on without it.
    """
    from idim.executors.here import Here

    def make(spec: Spec, progress: Progress | None, save: str) -> Record:
        ranks = _joined()
        _tell((spec, source, same))
        try:
            return _made(ranks, spec, source, same, progress, save)
        except IdimError:  # every process meets it
            raise
        except BaseException as error:
            _PARTED.append(error)
            raise

    return Here(make)


def _made(
    ranks: Ranks,
    spec: Spec,
    source: Source,
    same: bool,
    progress: Progress | None = None,
    save: str = "",
) -> Record:
    from idim.executors.same_bits import same_bits
    from idim.run import execute

    with same_bits(same):
        return execute(spec, progress, save, source, ranks=ranks)


def _follow() -> None:
    """Make runs with the first process until it says that there are no more."""
    from idim.ranks import Dismissed

    ranks = _joined()
    while (order := _heard()) is not None:
        try:
            _made(ranks, *order)
        except IdimError:  # the first process meets it too, and says so
            continue
        except Dismissed:
            break
    _leave()


def _tell(order: tuple[Spec, Source, bool] | None) -> None:
    from torch import distributed

    distributed.broadcast_object_list([order])


def _heard() -> tuple[Spec, Source, bool] | None:
    from torch import distributed

    order: list[tuple[Spec, Source, bool] | None] = [None]
    distributed.broadcast_object_list(order)
    return order[0]


def _leave() -> None:
    """Before the process ends: a group that ends with it may abort it."""
    from torch import distributed

    distributed.destroy_process_group()


def _joined() -> Ranks:
    """This process among the others, each with its own GPU or its part of the cores."""
    import torch
    from torch import distributed

    from idim.ranks import Ranks

    here, several = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ["WORLD_SIZE"])
    if not distributed.is_initialized():
        gpus = torch.cuda.device_count()
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", several))
        if gpus and beside > gpus:
            raise expected("torchrun", f"at most {gpus} processes: as many as GPUs", beside)
        if gpus:
            torch.cuda.set_device(here)
        elif "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // beside))
        distributed.init_process_group("nccl" if gpus else "gloo", timeout=_PATIENCE)
    return Ranks(distributed.get_rank(), several)
