"""The compiled loops of ``native.c``: where they are, what they take, on which threads they run."""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_int, c_int64, c_uint32, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

#: What the loops take and leave, as native.c numbers it.
_CONTRACT = 2
#: Below this many floats a second thread costs more than it does.
_THREAD_FLOATS = 1 << 15
#: The suffix of a precision's loops. For torch.float32: the best that the processor has.
_SUFFIXES = {torch.float64: "f64"}


class Ranges(NamedTuple):
    """Ranges of D and the memory that holds them, in the order of native.c's ``Ranges``.

    Addresses are 0 for none. They keep no tensor alive: the caller must, until the loops are done.
    """

    start: int
    number: int
    length: int
    group: int = 0
    starts: int = 0
    at: int = 0
    memory: int = 0
    origin: int = 0
    factor: float = 1.0


#: One of them in memory, as the loops read it.
_PACK = struct.Struct("4q4Pd").pack
#: What a loop takes.
Argument = int | bytes | torch.Tensor | None


def _load() -> ctypes.CDLL:
    spec = find_spec("projections.engines._native")
    if spec is None or spec.origin is None:
        raise ImportError("projections.engines._native was not compiled")
    library = ctypes.CDLL(spec.origin)
    if not hasattr(library, "idim_contract") or _number(library, "idim_contract") != _CONTRACT:
        raise ImportError("the compiled loops are of another version of idim; install it again")
    library.idim_generation.restype = ctypes.c_char_p
    _SUFFIXES[torch.float32] = library.idim_generation().decode()
    library.idim_team(_team())
    return library


def _team() -> c_void_p | None:
    """The entry to torch's own threads, which are awake while torch works.

    None where torch has another OpenMP library: the loops then start threads of their own.
    """
    for path in sorted((Path(torch.__file__).parent / "lib").glob("lib*")):
        named = path.name.startswith(("libgomp", "libomp", "libiomp"))
        team = getattr(ctypes.CDLL(str(path)), "GOMP_parallel", None) if named else None
        if team is not None:
            return ctypes.cast(team, c_void_p)
    return None


def _number(library: ctypes.CDLL, name: str) -> int:
    return c_int64.in_dll(library, name).value


_LIBRARY = _load()
#: Parts that the loops cut their work into. Each has sums of its own of ``<v, P theta>``.
PARTS = _number(_LIBRARY, "idim_parts")


def packed(ranges: list[Ranges]) -> bytes:
    """The ranges in a row in memory, as the loops read them."""
    # A step makes such rows often. Arrays of ctypes' structures take three times as long.
    return b"".join([_PACK(*r) for r in ranges])


def address(x: torch.Tensor | None) -> int:
    """Where the tensor's numbers begin in memory; 0 for none."""
    return 0 if x is None else x.data_ptr()


def call(loop: str, dtype: torch.dtype, work: int, *arguments: Argument) -> None:
    """Call a loop of native_sums.h, on as many threads as torch uses.

    Args:
        loop: its name.
        dtype: of the arithmetic.
        work: in floats. A little work stays on one thread.
        arguments: all but the number of threads. A tensor is passed by its address, so it must be
            contiguous and of the loop's type.
    """
    # In one expression, because a step makes these calls often.
    given = [
        c_int64(x)
        if isinstance(x, int)
        else x
        if isinstance(x, bytes)
        else c_void_p(None if x is None else x.data_ptr())
        for x in arguments
    ]
    getattr(_LIBRARY, f"idim_{loop}_{_SUFFIXES[dtype]}")(*given, _threads(work))


def _threads(work: int) -> c_int64:
    return c_int64(torch.get_num_threads() if work >= _THREAD_FLOATS else 1)


def words(key: tuple[int, int], stream: int, first: int, blocks: int) -> torch.Tensor:
    """The words of Philox blocks ``first .. first + blocks``, in order: ``(4 blocks,)`` int64.

    The bits are those of ``random.philox``.
    """
    out = torch.empty(4 * blocks, dtype=torch.int64)
    numbers = c_uint32(stream), c_uint32(key[0]), c_uint32(key[1])
    _LIBRARY.idim_words(
        c_int64(first), c_int64(blocks), *numbers, c_void_p(out.data_ptr()), _threads(out.numel())
    )
    return out


def permute(
    position: torch.Tensor, n: int, low: int, high: int, keys: torch.Tensor
) -> torch.Tensor:
    """Send positions through the network of ``random.permute``.

    Args:
        position: ``(k,)`` or ``(rows, k)`` int64 in [0, n).
        n: the length of the range that is permuted.
        low: bits of the network's low half.
        high: bits of its high half.
        keys: ``(rows, rounds)`` int64.

    Returns:
        int64 of position's shape. The bits are those of ``random.permute``.
    """
    position, keys = position.contiguous(), keys.contiguous()
    out = torch.empty_like(position)
    rows, rounds = keys.shape
    sizes = c_int64(rows), c_int64(position.numel() // rows), c_int64(n), c_int(low), c_int(high)
    _LIBRARY.idim_permute(
        c_void_p(position.data_ptr()),
        *sizes,
        c_void_p(keys.data_ptr()),
        c_int64(rounds),
        c_void_p(out.data_ptr()),
        _threads(out.numel()),
    )
    return out
