"""Where runs are executed. One contract, and a file for each way.

``EXECUTORS`` makes the one of a name. Loads no torch until one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from idim.errors import expected
from idim.executors import torchrun
from idim.executors.base import Executor, Lost
from idim.values.resources import Resources

if TYPE_CHECKING:  # it loads torch
    from idim.source import Source

__all__ = ["EXECUTORS", "Executor", "Lost"]


def _local(resources: Resources, source: Source, saves: str = "") -> Executor:
    """This process, several of this machine, or all that torchrun started.

    Raises:
        IdimError: more workers than there is room for.
    """
    if torchrun.launched():
        if max(resources.workers, resources.per_device) > 1:
            what = "one run at a time where torchrun starts idim"
            raise expected("--workers", what, max(resources.workers, resources.per_device))
        return torchrun.together(source, resources.same_bits)
    import torch

    from idim.executors.here import Here
    from idim.executors.local import Local
    from idim.executors.retrying import Retrying

    devices, each = torch.cuda.device_count(), resources.per_device
    workers = resources.workers or max(1, devices) * each
    if devices and workers > devices * each:
        raise expected(
            "--workers",
            f"at most {devices * each}: {devices} GPUs with --runs-per-device {each}",
            workers,
        )
    if workers == 1:
        return Here.alone(source, saves, resources.same_bits)
    return Retrying(Local(workers, source, saves, devices, resources.same_bits), source)


def check_ray() -> None:
    """Raise IdimError where Ray is not installed."""
    if find_spec("ray") is None:
        raise expected("--executor ray", "Ray: pip install 'idim-lab[ray]'", "no such package")


def _ray(resources: Resources, source: Source, saves: str = "") -> Executor:
    """A Ray cluster.

    Raises:
        IdimError: Ray is not installed, or the cluster cannot be reached.
    """
    check_ray()
    from idim.executors.ray import OnRay
    from idim.executors.retrying import Retrying

    return Retrying(OnRay(resources, source, saves), source)


#: By the name that the flag ``--executor`` takes. They are made from resources, what gives models
#: and tasks, and a folder for what long runs need to go on.
EXECUTORS: dict[str, Callable[[Resources, Source, str], Executor]] = {"local": _local, "ray": _ray}
