"""Long pieces of P theta, each made once for all the ranges that lie in it.

A family whose rows come in long blocks makes a whole block for any range in it. A model's weights
are formed layer by layer, and many of them may lie in one block. So the block is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

#: Blocks of more floats than this are kept (`scripts/benchmark_layers.py`).
LONG = 1 << 19


class Pieces:
    """P theta in pieces. The one that was asked for last is kept.

    Args:
        D: the length of P theta.
        grain: the length of a piece, but the last one's.
        make: makes the piece that begins at a place in D, of a length. It must not hold what
            holds the pieces: an image's memory is to be free when the image is.

    Cost: one piece of memory.
    """

    def __init__(self, D: int, grain: int, make: Callable[[int, int], torch.Tensor]) -> None:
        self._D, self._grain, self._make = D, grain, make
        self._start, self._kept = -1, torch.empty(0)

    def cover(self, start: int, n: int) -> Iterator[tuple[int, slice, slice]]:
        """The pieces that ``[start, start + n)`` touches.

        Yields:
            Where the piece begins in D, and the part of the range in the piece and in the range.
        """
        for first in range(start - start % self._grain, start + n, self._grain):
            lo, hi = max(first, start), min(first + self._grain, start + n)
            yield first, slice(lo - first, hi - first), slice(lo - start, hi - start)

    def whole(self, start: int, n: int) -> bool:
        """Whether ``[start, start + n)`` cuts no piece."""
        return all(at % self._grain == 0 or at == self._D for at in (start, start + n))

    def length(self, first: int) -> int:
        """How long the piece is that begins here."""
        return min(self._grain, self._D - first)

    def piece(self, first: int) -> torch.Tensor:
        """P theta on the piece that begins here. Read it only; the next call may overwrite it."""
        if self._start != first:
            self._kept, self._start = torch.empty(0), -1  # the next one may use its memory
            self._kept, self._start = self._make(first, self.length(first)), first
        return self._kept

    def write(self, out: torch.Tensor, start: int) -> None:
        """Write P theta on ``[start, start + n)`` into ``out`` ``(n,)``."""
        for first, inside, at in self.cover(start, out.numel()):
            out[at] = self.piece(first)[inside]
