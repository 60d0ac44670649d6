"""How far the weights moved."""

from __future__ import annotations

import torch

from idim.subspace.by_hand import by_our_hand
from idim.subspace.weights import Weights


def moves(weights: Weights) -> dict[str, torch.Tensor]:
    """How far each weight has moved from theta_0, by name, in fp32. Cost: D floats in all."""
    with by_our_hand():
        weights.renew()
        return {
            name: weights.former.make(i, torch.float32) - origin.float()
            for i, (name, origin) in enumerate(
                zip(weights.names, weights.origins.tensors, strict=True)
            )
        }


def rounded_away(weights: Weights, dtype: torch.dtype) -> float:
    """The fraction of the moved weights whose move is lost when they are rounded to ``dtype``."""
    moved = lost = 0
    with by_our_hand():
        weights.renew()
        for i, origin in enumerate(weights.origins.tensors):
            now, before = weights.at(i, torch.float32), origin.float()
            off = now != before
            moved += int(off.sum())
            lost += int((off & (now.to(dtype) == before.to(dtype))).sum())
    return lost / max(1, moved)
