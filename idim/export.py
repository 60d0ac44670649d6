"""From an adapter to what tools that never heard of us can load: plain weights, or LoRA factors with the rank that each layer needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from idim.errors import expected
from idim.subspace import Subspace

#: Modules whose moves peft's LoRA can hold as factors.
_FACTORED = (nn.Linear, nn.Embedding, Conv1D)


@dataclass(frozen=True)
class Layer:
    """What became of one weight matrix: its rank in the adapter, of at most ``full``, and the share of its move's energy (squared norm) kept."""

    name: str
    shape: tuple[int, int]
    rank: int
    full: int
    kept: float


def merged(model: PeftModel, folder: str | Path) -> nn.Module:
    """Write the model with plain weights as a folder that ``from_pretrained`` reads, and return it."""
    plain = model.merge_and_unload()
    plain.save_pretrained(folder)
    return plain


def to_lora(model: PeftModel, rank: int = 0, energy: float = 1.0) -> tuple[PeftModel, list[Layer]]:
    """The same model under a LoRA adapter that makes the subspace's move, or the nearest to it of lower rank.

    Linear layers and embeddings get factors from the singular value decomposition of their move: of ``rank``, or of the least rank that keeps ``energy`` of
    it (1: all). Biases, norms, fresh heads and whatever else moved are kept whole, as peft's ``bias`` and ``modules_to_save``. Consumes ``model``.
    Cost: one singular value decomposition a matrix. Errors: ``IdimError`` for an energy outside (0, 1] and a rank below 0.
    """
    if not 0 < energy <= 1:
        raise expected("energy", "a share above 0 and at most 1", energy)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
        raise expected("rank", "a whole number of at least 1", rank)
    sub: Subspace = model.base_model.held.sub
    fresh = model.peft_config[model.active_adapter].fresh_modules or ()
    moves = sub.moves()
    base = model.unload()
    names = {id(p): moves[name] for name, p in base.named_parameters(remove_duplicate=False) if name in moves}
    owners = {name: module for name, module in base.named_modules() if any(id(p) in names for p in module.parameters(recurse=False))}
    factors, layers = {}, []
    for name, module in owners.items():
        # The base model on disk lacks a fresh module, so its factors would be added to some other start.
        if isinstance(module, _FACTORED) and id(module.weight) in names and not set(name.split(".")) & set(fresh):
            factors[name], layer = _factored(name, module, names[id(module.weight)], rank, energy)
            layers.append(layer)
    whole = [name for name, module in owners.items() if name not in factors]
    if not factors:
        raise expected("target_modules", "at least one linear layer or embedding that moved", "none")
    for name in whole:
        if any(other.startswith(name + ".") for other in factors):
            raise expected("export to LoRA", "moved weights in layers of their own", f"{name}, which has moved weights beside its layers")
    ranks = {name: a.shape[0] for name, (a, _) in factors.items()}
    moved_bias = any(getattr(owners[name], "bias", None) is not None and id(owners[name].bias) in names for name in factors)
    r = max(ranks.values())
    lora = get_peft_model(base, LoraConfig(
        r=r, lora_alpha=r, target_modules=list(factors), rank_pattern=ranks, alpha_pattern=ranks, modules_to_save=whole or None,
        bias="all" if moved_bias else "none", lora_dropout=0.0,
    ))
    with torch.no_grad():
        for name, (a, b) in factors.items():
            layer = lora.base_model.model.get_submodule(name)
            if "default" in layer.lora_A:
                layer.lora_A["default"].weight.copy_(a)
                layer.lora_B["default"].weight.copy_(b)
            else:
                layer.lora_embedding_A["default"].copy_(a)
                layer.lora_embedding_B["default"].copy_(b)
            bias = getattr(layer.get_base_layer(), "bias", None)
            if bias is not None and id(bias) in names:
                bias += names[id(bias)]
        for name in whole:
            held = lora.base_model.model.get_submodule(name)
            copy = held.modules_to_save["default"] if isinstance(held, AuxiliaryTrainingWrapper) else held
            for (_, p), q in zip(owners[name].named_parameters(recurse=False), copy.parameters(recurse=False), strict=True):
                if id(p) in names:
                    q += names[id(p)]
    return lora.eval(), layers


def _factored(name: str, module: nn.Module, move: torch.Tensor, rank: int, energy: float) -> tuple[tuple[torch.Tensor, torch.Tensor], Layer]:
    """A and B with B A the move, in the orientation of peft's factors for this kind of layer."""
    matrix = move if isinstance(module, nn.Linear) else move.T
    u, s, v = torch.linalg.svd(matrix.float(), full_matrices=False)
    share = s.double().square().cumsum(0) / s.double().square().sum().clamp_min(1e-300)
    wanted = min(rank or len(s), len(s))
    if not rank and energy < 1:
        wanted = int(torch.searchsorted(share, energy)) + 1
    root = s[:wanted].sqrt()
    a, b = root[:, None] * v[:wanted], u[:, :wanted] * root
    return (a.contiguous(), b.contiguous()), Layer(name, tuple(move.shape), wanted, len(s), float(share[wanted - 1]))
