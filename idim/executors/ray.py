"""Runs as tasks of a Ray cluster, which somebody has started, or which is started here."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from idim.errors import expected, first_line
from idim.executors.base import Executor, Lost
from idim.executors.same_bits import same_bits
from idim.run import execute
from idim.source import Source
from idim.values.record import Record
from idim.values.resources import Resources
from idim.values.spec import Spec
from idim.watcher import Progress


class OnRay(Executor):
    """Tasks of Ray core. A run takes one CPU, and where the cluster has GPUs a share of one.

    Every machine needs the same versions installed, and a task that is read from files needs the
    same files. The store is written by this process alone.

    Raises:
        IdimError: the cluster cannot be reached, or has no room for a run.
    """

    def __init__(self, resources: Resources, source: Source, saves: str = ""):
        self._resources, self._source, self._saves = resources, source, saves
        self._busy: dict[Any, Spec] = {}
        self._defects: list[BaseException] = []
        self._ours = not ray.is_initialized()
        if self._ours:
            _start(resources)
            weakref.finalize(self, ray.shutdown)
        gpus = ray.cluster_resources().get("GPU", 0)
        # Ray allots whole CPUs. A run on a GPU needs one CPU too.
        self._task = ray.remote(
            num_cpus=1, num_gpus=1 / resources.per_device if gpus else 0, max_retries=0
        )(_made)
        self._per = {"CPU": 1.0} | ({"GPU": 1 / resources.per_device} if gpus else {})
        if not self.slots:
            raise expected("--executor ray", f"a cluster with {self._per}", ray.cluster_resources())

    @property
    def slots(self) -> int:
        there = ray.cluster_resources()
        room = min(int(there.get(name, 0) / each + 1e-9) for name, each in self._per.items())
        # Between the loss of a machine and the next, there may be none. Ray waits for one.
        return min(self._resources.workers or room, max(room, len(self._busy)))

    @property
    def free(self) -> int:
        return 0 if self._defects else max(0, self.slots - len(self._busy))

    def submit(self, spec: Spec, progress: Progress | None = None, save: str = "") -> None:
        threads = 0 if "GPU" in self._per else 1
        given = execute, spec, self._source, self._saves, threads, self._resources.same_bits
        self._busy[self._task.remote(*given)] = spec

    def wait(self, seconds: float | None = None) -> tuple[Spec, Record | Lost] | None:
        while self._busy:
            ready, _ = ray.wait(list(self._busy), num_returns=1, timeout=seconds)
            if not ready:
                return None
            spec = self._busy.pop(ready[0])
            try:
                found: Record = ray.get(ready[0])
            except RayTaskError as error:
                # One run's defect must not lose what its siblings are about to finish. It is
                # raised when they are kept.
                self._defects.append(error.cause or error)
            except RayError as error:  # the process, its machine or its memory is gone
                return spec, Lost(f"{type(error).__name__}: {first_line(error)}")
            else:
                return spec, found
        if self._defects:
            defect, self._defects = self._defects[0], []
            raise defect
        return None

    def close(self) -> None:
        for task in self._busy:
            with contextlib.suppress(RayError):
                ray.cancel(task, force=True)
        self._busy.clear()
        self._defects.clear()


def _start(resources: Resources) -> None:
    address = resources.address or os.environ.get("RAY_ADDRESS", "") or "local"
    more = {}
    if address == "local":
        more = {"num_cpus": max(os.cpu_count() or 1, resources.workers), "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise expected(
            "--ray-address", "the address of a Ray cluster", f"{address}: {first_line(error)}"
        ) from None


def _made(make: Any, spec: Spec, source: Source, saves: str, threads: int, same: bool) -> Record:
    """One run, in a process of the cluster."""
    if threads:
        torch.set_num_threads(threads)
    with same_bits(same):
        record: Record = make(spec, None, "", source, saves)
    return record
