"""From examples to a batch, and from a batch to what the model and the loss make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers.trainer_pt_utils import nested_concat

from idim.tasks.takes import LABELS

#: The label of a token that nothing is asked of, as transformers has it.
IGNORED = -100
Padder = Callable[[list[Any]], Mapping[str, torch.Tensor]]


def padded(examples: list[Any], padder: Padder | None, pad: int) -> dict[str, torch.Tensor]:
    """A batch of mappings. Fields of unequal length are padded at their end.

    Args:
        examples: mappings with the same fields.
        padder: the tokenizer's own padding, where there is a tokenizer.
        pad: the token that pads, where there is none. An attention mask says where.
    """
    rows = [{k: torch.as_tensor(v) for k, v in example.items()} for example in examples]
    uneven = {k for k, v in rows[0].items() if v.dim() and len({len(row[k]) for row in rows}) > 1}
    batch: dict[str, torch.Tensor] = {}
    if uneven and padder and "input_ids" in rows[0]:
        taken = [k for k in rows[0] if k in ("input_ids", "attention_mask", "token_type_ids")]
        batch = dict(padder([{k: row[k].tolist() for k in taken} for row in rows]))
    elif "input_ids" in uneven and "attention_mask" not in rows[0]:
        rows = [{**row, "attention_mask": torch.ones_like(row["input_ids"])} for row in rows]
        uneven.add("attention_mask")
    fill = {"input_ids": pad, "labels": IGNORED}
    for k in rows[0]:
        if k not in batch:
            values = [row[k] for row in rows]
            batch[k] = (
                pad_sequence(values, batch_first=True, padding_value=fill.get(k, 0))
                if k in uneven
                else torch.stack(values)
            )
    return batch


def relabelled(batch: Any) -> Any:
    """A collator may call the labels ``label``."""
    if isinstance(batch, Mapping):
        key = next((key for key in LABELS if key in batch), "labels")
        return {("labels" if k == key else k): v for k, v in batch.items()}
    return batch


def moved(batch: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """The batch on a device. Floats get this precision."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, Mapping):
        return {k: moved(v, device, dtype) for k, v in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [moved(v, device, dtype) for v in batch]
    return batch


def where(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where and how finely a module computes: a model in bf16 takes its inputs so."""
    # A subspace trains numbers in fp32, whatever the weights of its model are in.
    parts = (getattr(module, "model", None), module)
    p = next(
        p
        for part in parts
        if isinstance(part, nn.Module)
        for p in part.parameters()
        if p.is_floating_point()
    )
    return p.device, p.dtype


def outputs_of(module: nn.Module, batch: Any) -> torch.Tensor:
    """The module's logits, or the first of what it returns."""
    out = module(**batch) if isinstance(batch, Mapping) else module(*batch[:-1])
    if isinstance(out, Mapping) and "logits" in out:
        out = out["logits"]
    else:
        out = getattr(out, "logits", out)
    found: torch.Tensor = out[0] if isinstance(out, (tuple, list)) else out
    return found


def labels_in(batch: Any) -> torch.Tensor:
    """The batch's labels."""
    found: torch.Tensor = batch["labels"] if isinstance(batch, Mapping) else batch[-1]
    return found


def default_loss(module: nn.Module, batch: Any) -> torch.Tensor:
    """The model's own loss for mappings, cross entropy for pairs."""
    if isinstance(batch, Mapping):
        loss: torch.Tensor = module(**batch).loss
        return loss
    return F.cross_entropy(outputs_of(module, batch).float(), batch[-1])


def joined(batches: list[torch.Tensor]) -> torch.Tensor:
    """All batches as one. Where their rows differ in length, they are padded as Trainer does."""
    if len({batch.shape[1:] for batch in batches}) == 1:
        return torch.cat(batches)
    found: torch.Tensor = reduce(partial(nested_concat, padding_index=IGNORED), batches)
    return found
