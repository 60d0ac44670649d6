"""A worker: takes runs through a pipe, and sends their records back."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Thread

import torch

from idim.executors.same_bits import same_bits
from idim.source import Source
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress

#: ``run.execute``, or what stands for it.
Execute = Callable[[Spec, Progress | None, str, Source, str], Record]
#: What a worker is sent, and what it sends back.
Order = tuple[Execute, Spec, Source, str]
Answer = Record | BaseException


def work(
    orders: Connection, alive: Connection, threads: int, device: int | None, same: bool = False
) -> None:
    """Make the runs that come, until nobody sends any more.

    Args:
        orders: takes each order, and its answer.
        alive: closes when the process that leads ends.
        threads: of torch.
        device: the number of the one GPU that it may use. None: all that there are.
        same: whether a run's bits must not depend on the number of threads.
    """
    if device is not None:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[device] if seen else str(device)
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of the terminal; the one that leads tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(alive,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            order: Order = orders.recv()
            _send(orders, _made(*order, same))


def _made(execute: Execute, spec: Spec, source: Source, saves: str, same: bool) -> Answer:
    try:
        with same_bits(same):
            return execute(spec, None, "", source, saves)
    except BaseException as error:
        return error


def _send(orders: Connection, answer: Answer) -> None:
    try:
        raw = pickle.dumps(answer)
        pickle.loads(raw)
    except Exception:  # an error that does not travel
        raw = pickle.dumps(RuntimeError(repr(answer)))
    orders.send_bytes(raw)


def _end_with(alive: Connection) -> None:
    """End this worker when the other end of the pipe is closed, or its process gone.

    So a search that is killed leaves no worker behind.
    """
    with contextlib.suppress(EOFError, OSError):
        alive.recv_bytes()
    os._exit(1)
