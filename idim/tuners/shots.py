"""A decoder that reads the same tokens before every text."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


class Shown(nn.Module):
    """A decoder with examples put between a text's first special tokens and the text.

    Its logits are those of the text's own places, as if nothing had been put there. Until ``show``
    is called it is the decoder alone.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self._at = 0
        self.register_buffer("_shown", torch.empty(0, dtype=torch.long), persistent=False)

    def show(self, tokens: Sequence[int], at: int) -> None:
        """Put these tokens after the first ``at`` ones of every text."""
        device = next(self.model.parameters()).device
        self._shown, self._at = torch.tensor([*tokens], dtype=torch.long, device=device), at

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **more: Any
    ) -> Any:
        """As the decoder's: ``(b, n)`` tokens to ``.logits`` ``(b, n, V)``."""
        n, at = len(self._shown), self._at
        if n == 0:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **more)
        shown = self._shown.expand(len(input_ids), n)
        ids = torch.cat([input_ids[:, :at], shown, input_ids[:, at:]], 1)
        mask = None
        if attention_mask is not None:
            seen = torch.ones_like(shown)
            mask = torch.cat([attention_mask[:, :at], seen, attention_mask[:, at:]], 1)
        logits = self.model(input_ids=ids, attention_mask=mask, **more).logits
        # A place's logits are of the token after it. So the text's first token is now foretold by
        # the last one that was put before it.
        first = max(0, at - 1)
        return SimpleNamespace(logits=torch.cat([logits[:, :first], logits[:, first + n :]], 1))
