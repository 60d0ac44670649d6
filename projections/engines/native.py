"""The compiled loops of ``native.c``: where they are, what they are given, and on which threads they run."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int, c_int64, c_uint32, c_void_p
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from projections.base import Projection
    from projections.engines.contract import Engine

#: Floats below which a second thread costs more than it does.
_A_THREADS_WORK = 1 << 15
_FORMS = {torch.float64: "f64"}  # torch.float32: the best that the processor has


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(find_spec("projections.engines._native").origin)
    library.idim_generation.restype = ctypes.c_char_p
    _FORMS[torch.float32] = library.idim_generation().decode()
    library.idim_team(_team())
    return library


def _team() -> c_void_p | None:
    """torch's own threads, which are awake while it works. None where its OpenMP library is another one: the loops start some of theirs."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("lib*")):
        named = path.name.startswith(("libgomp", "libomp", "libiomp"))
        team = getattr(ctypes.CDLL(str(path)), "GOMP_parallel", None) if named else None
        if team is not None:
            return ctypes.cast(team, c_void_p)
    return None


_LIBRARY = _load()
#: Parts that the loops cut their work into; each has sums of its own of what v has along P theta.
PARTS = c_int64.in_dll(_LIBRARY, "idim_parts").value


class Ranges(ctypes.Structure):
    """``Ranges`` of native.c: ranges of D and the memory that holds them."""

    _fields_ = [
        ("start", c_int64),
        ("count", c_int64),
        ("length", c_int64),
        ("group", c_int64),
        ("starts", c_void_p),
        ("at", c_void_p),
        ("memory", c_void_p),
        ("origin", c_void_p),
        ("factor", c_double),
    ]


def ranges(jobs: list[tuple]) -> ctypes.Array:
    """Jobs are the fields in their order; tensors in them must live until the loops are done."""
    return (Ranges * len(jobs))(*jobs)


def address(x: torch.Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def call(
    loop: str, dtype: torch.dtype, work: int, *arguments: int | torch.Tensor | ctypes.Array | None
) -> None:
    """A loop of native_sums.h, on as many threads as torch uses, on one where the work (floats) is small."""
    given = [
        c_int64(x)
        if isinstance(x, int)
        else x
        if isinstance(x, ctypes.Array)
        else c_void_p(address(x))
        for x in arguments
    ]
    getattr(_LIBRARY, f"idim_{loop}_{_FORMS[dtype]}")(*given, _threads(work))


def _threads(work: int) -> c_int64:
    return c_int64(torch.get_num_threads() if work >= _A_THREADS_WORK else 1)


def words(key: tuple[int, int], stream: int, first: int, blocks: int) -> torch.Tensor:
    """The words of Philox blocks ``first .. first + blocks``, in order: ``(4 blocks,)`` int64. The bits of ``random.philox``."""
    out = torch.empty(4 * blocks, dtype=torch.int64)
    numbers = c_uint32(stream), c_uint32(key[0]), c_uint32(key[1])
    _LIBRARY.idim_words(
        c_int64(first), c_int64(blocks), *numbers, c_void_p(out.data_ptr()), _threads(out.numel())
    )
    return out


def permute(
    position: torch.Tensor, n: int, low: int, high: int, keys: torch.Tensor
) -> torch.Tensor:
    """Position ``(k,)`` or ``(rows, k)`` through the network of ``random.permute`` with keys ``(rows, rounds)``."""
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


def _places(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int64).contiguous()


def _inside(name: str, starts: int | torch.Tensor, length: int, n: int) -> None:
    """Torch's operations look where they read and write; the loops do not."""
    if isinstance(starts, torch.Tensor):
        first, last = (int(x) for x in torch.aminmax(starts)) if len(starts) else (0, 0)
    else:
        first = last = starts
    if not 0 <= first <= last <= n - length:
        raise IndexError(f"{name}: expected ranges of {length} within {n:,}; got {first} to {last}")


class NativeSums:
    """What the two families' native engines have in common: each has the loops ``_read`` and ``_add`` over ranges."""

    shifts = shifts_rows = True
    worth = 0

    def __init__(self, p: Projection):
        super().__init__(p)
        self._left: dict[int, torch.Tensor] = {}  # by size

    # Fresh pages cost more than the arithmetic on them: values and sums that nobody needs any more are left to the next ones of their size.

    def share(self, other: Engine) -> None:
        if isinstance(other, NativeSums):
            self._left = other._left

    def leave(self, x: torch.Tensor) -> None:
        if not x.is_inference():  # those cannot be written outside of inference mode
            self._left[x.numel()] = x

    def _empty(self, *shape: int) -> torch.Tensor:
        left = self._left.pop(prod(shape), None)
        return torch.empty(shape, dtype=self.p.dtype) if left is None else left.view(shape)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_left": {}}

    @property
    def kept(self) -> list[torch.Tensor]:
        return list(self._left.values())

    # The loops see an address: what they are given must be in order, of the loops' type, and alive.

    def form(self, values, starts, out) -> None:
        _inside("starts", starts, out.shape[1], self.p.D)
        made = (
            out
            if out.is_contiguous() and out.dtype == self.p.dtype
            else torch.empty(out.shape, dtype=self.p.dtype)
        )
        start, places = (0, _places(starts)) if isinstance(starts, torch.Tensor) else (starts, None)
        self._read(
            values,
            out.numel(),
            [(start, *out.shape, 0, address(places), None, made.data_ptr(), None, 1.0)],
        )
        if made is not out:
            out.copy_(made)

    def shift_all(self, values, jobs) -> None:
        for start, out, _, _ in jobs:
            _inside("starts", start, out.numel(), self.p.D)
        self._read(
            values,
            sum(out.numel() for _, out, _, _ in jobs),
            [
                (
                    start,
                    1,
                    out.numel(),
                    0,
                    None,
                    None,
                    out.data_ptr(),
                    origin.data_ptr(),
                    float(scale),
                )
                for start, out, origin, scale in jobs
            ],
        )

    def shift_rows(self, values, start, rows, table, origin, scale) -> None:
        width, rows = table.shape[1], _places(rows)
        _inside("rows", rows, 1, len(table))
        starts = rows * width
        self._read(
            values,
            len(rows) * width,
            [
                (
                    start,
                    len(rows),
                    width,
                    0,
                    starts.data_ptr(),
                    rows.data_ptr(),
                    table.data_ptr(),
                    origin.data_ptr(),
                    float(scale),
                )
            ],
        )

    def fold_all(self, sums, jobs, values=None, scales=None):
        factors = None if scales is None else scales.tolist()
        along = (
            None
            if scales is None
            else torch.zeros(len(factors), self._parts(sums), dtype=torch.float64)
        )
        kept, given = [], []
        for starts, v, group in jobs:
            if v.dtype != self.p.dtype or not v.is_contiguous():
                v = v.to(self.p.dtype).contiguous()
            start, places, order, shape = starts, None, None, (1, v.numel())
            if isinstance(starts, torch.Tensor):
                # In order, neighbours share a block's transform.
                start, shape, (places, order) = 0, v.shape, torch.sort(_places(starts), stable=True)
            _inside("starts", starts, shape[1], self.p.D)
            kept.append((places, order, v))
            scale = (0, 1.0) if factors is None else (group, factors[group])
            given.append(
                (
                    start,
                    *shape,
                    scale[0],
                    address(places),
                    address(order),
                    v.data_ptr(),
                    None,
                    scale[1],
                )
            )
        self._add(
            sums,
            sum(v.numel() for _, v, _ in jobs),
            given,
            None if scales is None else values,
            along,
        )
        return None if along is None else along.sum(1)
