"""Runs whose bits depend neither on how many threads there are nor on who makes them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from idim.errors import expected, first_line

#: What cuBLAS must be told before it starts, to add in one order.
_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextlib.contextmanager
def same_bits(wanted: bool = True) -> Iterator[None]:
    """Within it torch adds in one order: on one thread, by algorithms that repeat themselves.

    ``wanted``: False changes nothing.

    Raises:
        IdimError: an operation has no such algorithm.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault(*_CUBLAS)
    threads = torch.get_num_threads()
    strict, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        what = "operations that give the same bits each time"
        raise expected("--deterministic", what, first_line(error)) from None
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.set_num_threads(threads)
