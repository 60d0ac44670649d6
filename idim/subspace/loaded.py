"""Weights that were copied in from outside, as ``load_state_dict`` does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import projections
from idim.errors import expected
from idim.subspace.forming import Former
from idim.subspace.mapped import Origins
from idim.subspace.point import Point

#: How far two ways to form a weight (engines, devices) lie apart in fp32, and more than that.
_ARITHMETIC = 256 * torch.finfo(torch.float32).eps


class Loaded:
    """Compares what was copied into weights with what theta makes of theta_0.

    theta and theta_0 alone say what a weight is, so a copy of anything else would be lost at the
    next change of theta. It is compared when a weight is next used and not when it is copied,
    because theta may be loaded after the weights.

    Args:
        params: the weights.
        names: of the weights.
        former: makes weights.
        origins: theta_0.
    """

    def __init__(
        self, params: Sequence[torch.Tensor], names: list[str], former: Former, origins: Origins
    ):
        self._params, self._names, self._former, self._origins = params, names, former, origins
        self._errors: dict[int, float] = {}

    def note(self, i: int, dtype: torch.dtype) -> None:
        """Weight i holds a copy of numbers of this dtype."""
        dtypes = [x for x in (dtype, self._params[i].dtype) if x.is_floating_point]
        rounding = max(torch.finfo(x).eps for x in dtypes)
        self._errors[i] = max(self._errors.get(i, 0.0), _ARITHMETIC + 2 * rounding)

    def drop(self) -> None:
        """What was copied is gone."""
        self._errors.clear()

    def compare(self, p: projections.Projection, point: Point) -> None:
        """Look at what was copied since the last time. Call it before weights are formed.

        Raises:
            IdimError: a weight is not what P makes of this point. It stays noted.
        """
        if not self._errors:
            return
        # A state belongs to theta, whether the adapter is off while it is loaded or not.
        self._former.go_to(p, point._replace(enabled=True))
        for i, error in self._errors.items():
            came, right = self._params[i].detach(), [self._former.make(i)]
            if not point.enabled:
                right.append(self._origins.tensors[i])
            if not any(_close(came, x, error) for x in right):
                raise expected(
                    "load_state_dict",
                    f"{self._names[i]} as theta makes it of this base (load the model's state and "
                    "the subspace's, both of one moment, on the base that was trained)",
                    f"numbers up to {float((came - right[0]).abs().max()):.2g} away",
                )
        self.drop()


def _close(x: torch.Tensor, right: torch.Tensor, error: float) -> bool:
    """Whether x is right up to this fraction of its largest number. NaN is right where it was."""
    most = right.abs().nan_to_num().max() if right.numel() else right.new_zeros(())
    return torch.allclose(x, right, rtol=0.0, atol=error * float(most), equal_nan=True)
