"""DyLoRA (Valipour et al. 2023): LoRA whose first ranks work without the later ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Ranks:
    """Cuts every LoRA layer of a model to its first ranks.

    In training each forward pass draws a rank from 1 to the largest, and cuts to it. In evaluation
    it cuts to ``rank``. The scale is that of the largest rank, ``alpha / r``, at every rank. With
    alpha = 2 r it is 2, so each rank is what a LoRA of that rank is.

    Args:
        model: a peft model with LoRA layers.
        largest: their rank.
        seed: of the draws.
    """

    def __init__(self, model: nn.Module, largest: int, seed: int):
        self.largest = self.rank = self._now = largest
        self._draw = torch.Generator().manual_seed(seed)
        model.register_forward_pre_hook(self._before)
        for name, part in model.named_modules():
            if name.endswith("lora_A.default"):
                part.register_forward_hook(self._cut)

    def set_rank(self, rank: int) -> None:
        """Evaluate at this rank from now on."""
        self.rank = rank

    def _before(self, model: nn.Module, args: Any) -> None:
        self._now = self.rank
        if model.training:
            drawn = torch.randint(1, self.largest + 1, (1,), generator=self._draw)
            self._now = int(drawn)

    def _cut(self, layer: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
        # (..., r): what lies beyond the rank is cut, in its gradient too.
        keep = torch.arange(out.shape[-1], device=out.device) < self._now
        return out * keep.to(out.dtype)
