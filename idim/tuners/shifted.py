"""LongLoRA's shifted sparse attention (Chen et al. 2024), by transformers' registry of attentions.

In training each token attends within its group. Half of the heads are shifted by half a group, so
that neighbouring groups meet. In evaluation attention is whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from idim.errors import expected

NAME = "idim_shifted"
#: Groups to a text, as in the paper.
GROUPS = 4


def shift(model: Any) -> None:
    """Let a decoder attend so while it trains.

    Raises:
        IdimError: a model that does not look its attention up in transformers' registry.
    """
    causal = [m for m in model.modules() if getattr(m, "is_causal", False)]
    exchanged = getattr(model, "_supports_attention_backend", False)
    if not causal or not exchanged or model.config.is_encoder_decoder:
        raise expected(
            "model",
            "a decoder whose attention can be exchanged, as LongLoRA asks",
            type(model).__name__,
        )
    AttentionInterface.register(NAME, _attention)
    model.config._attn_implementation = NAME


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """(b, heads, n, size) -> (b, n, heads, size)."""
    heads, n = query.shape[1], query.shape[2]
    if key.shape[1] != heads:
        key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    allowed = torch.ones(n, key.shape[2], dtype=torch.bool, device=query.device).tril()
    allowed = allowed.expand(query.shape[0], heads, -1, -1)
    if attention_mask is not None:
        mask = attention_mask[..., : key.shape[2]]
        allowed = allowed & (mask if mask.dtype == torch.bool else mask >= 0)
    if module.training and n == key.shape[2]:
        allowed = allowed & _near(heads, n, query.device)
    # A row that may see nothing is padding; it sees itself, so that no number is lost to NaN.
    allowed = allowed | torch.eye(n, key.shape[2], dtype=torch.bool, device=query.device)
    out = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, dropout_p=dropout, scale=scaling
    )
    return out.transpose(1, 2).contiguous(), None


def _near(heads: int, n: int, device: torch.device) -> torch.Tensor:
    """Who is in whose group: (heads, n, n). The later half of the heads has shifted groups."""
    size = max(1, -(-n // GROUPS))
    at = torch.arange(n, device=device)
    plain, shifted = at // size, (at + size // 2) // size
    groups = torch.stack([plain] * (heads - heads // 2) + [shifted] * (heads // 2))
    return groups[:, :, None] == groups[:, None, :]
