"""What looks after the weights of one subspace, and a mark of where a forward pass was."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol
from weakref import ref

import torch

from idim.subspace.point import Point


class Home(Protocol):
    """Knows where the weights are, and brings them elsewhere.

    Attributes:
        formed: the point that the weights were last formed at.
        running: a forward pass of the whole model runs.
    """

    formed: Point | None
    running: bool

    def renew(self) -> None:
        """Go to the present theta, unless a pass runs. By our hand."""

    def ready(self, indices: list[int]) -> dict[int, torch.Tensor]:
        """Bring the memory of these weights up to date.

        Returns:
            For each weight that has no memory of its own now, a copy with the right numbers.
        """

    def writing(self, index: int, dtype: torch.dtype) -> AbstractContextManager[None]:
        """In here somebody copies numbers of this dtype into this weight."""

    def go_back_to(self, point: Point) -> None:
        """Go to where the forward pass was that a backward pass has reached."""


class Bookmark:
    """Says where the weights are now. Called with a gradient, it brings them back there.

    As a hook on what a forward pass made it lets the backward pass see the same weights.
    """

    __torch_unserializable__ = True  # torch need not warn that a saved output is without it

    def __init__(self, home: Home):
        # Weakly, because a model may keep its output.
        self._home, self._point = ref(home), home.formed

    def __call__(self, *_: object) -> None:
        home = self._home()
        if home is not None and self._point is not None:
            home.go_back_to(self._point)
