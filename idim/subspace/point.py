"""Where in the subspace a model's weights are."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Point(NamedTuple):
    """A place in the subspace: the trained numbers, and whether they act.

    Attributes:
        enabled: False puts the weights at theta_0, whatever theta is.
        theta: ``(d - m,)``.
        scales: ``(m,)``, or None where the subspace has none.
        version: what autograd sees of weights that were formed here.
    """

    enabled: bool
    theta: torch.Tensor
    scales: torch.Tensor | None
    version: int = 0

    def equals(self, other: Point) -> bool:
        """Compare by value, which takes d comparisons.

        torch's count of a tensor's changes (``_version``) would cost less. But its fused
        optimisers do not raise it.
        """
        return (
            self.enabled == other.enabled
            and torch.equal(self.theta, other.theta)
            and (
                self.scales is None
                or other.scales is None
                or torch.equal(self.scales, other.scales)
            )
        )

    def copy(self, version: int) -> Point:
        """The same place, in memory that nobody else writes."""
        scales = None if self.scales is None else self.scales.detach().clone()
        return Point(self.enabled, self.theta.detach().clone(), scales, version)
