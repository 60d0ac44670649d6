"""From a subspace's move of the weights to a LoRA adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from idim.errors import expected
from idim.peft_plugin import SubspaceConfig, SubspaceTuner, is_fresh


@dataclass(frozen=True)
class Layer:
    """What became of one weight matrix.

    Its rank in the adapter, of at most ``full``, and the fraction of its move's energy (squared
    norm) that was kept.
    """

    name: str
    shape: tuple[int, ...]
    rank: int
    full: int
    kept: float


#: LoRA's A and B.
Factors = tuple[torch.Tensor, torch.Tensor]


def to_lora(model: PeftModel, rank: int = 0, energy: float = 1.0) -> tuple[PeftModel, list[Layer]]:
    """The same model under a LoRA adapter that makes the subspace's move, or the nearest to it.

    Linear layers and embeddings get factors from the singular value decomposition of their move:
    of ``rank``, or of the least rank that keeps ``energy`` of it (1: all). Biases, norms, fresh
    heads and whatever else moved are kept whole, as peft's ``bias`` and ``modules_to_save``.
    The model is used up. Cost: one singular value decomposition a matrix.

    Raises:
        IdimError: for an energy outside (0, 1], a rank below 0 or above what any layer's move can
            have, and a model whose moves LoRA cannot hold.
    """
    if not 0 < energy <= 1:
        raise expected("energy", "a share above 0 and at most 1", energy)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
        raise expected("rank", "a whole number of at least 1", rank)
    config = cast(SubspaceConfig, model.peft_config[model.active_adapter])
    by_name = cast(SubspaceTuner, model.base_model).held.sub.moves()
    base: nn.Module = model.unload()
    named = base.named_parameters(remove_duplicate=False)
    moves = {id(p): by_name[name] for name, p in named if name in by_name}
    modules = dict(base.named_modules())
    owners = {
        name: module
        for name, module in modules.items()
        if any(id(p) in moves for p in module.parameters(recurse=False))
    }
    # The base model on disk lacks a fresh module: factors would be added to another start.
    by_layer = {
        name: moves[id(module.weight)]
        for name, module in owners.items()
        if _has_factors(module) and id(module.weight) in moves and not is_fresh(name, config)
    }
    largest = max((min(move.shape) for move in by_layer.values()), default=0)
    if by_layer and rank > largest:
        raise expected("rank", f"at most {largest}, the largest rank of a layer's move", rank)
    factors: dict[str, Factors] = {}
    layers: list[Layer] = []
    for name, move in by_layer.items():
        factors[name], layer = _factored(name, modules[name], move, rank, energy)
        layers.append(layer)
    fresh = [
        name
        for name, module in modules.items()
        if is_fresh(name, config) and next(module.parameters(recurse=False), None) is not None
    ]
    whole = list(dict.fromkeys([*(name for name in owners if name not in factors), *fresh]))
    if not factors:
        raise expected(
            "target_modules", "at least one linear layer or embedding that moved", "none"
        )
    for name in whole:
        if any(other.startswith(name + ".") for other in factors):
            raise expected(
                "export to LoRA",
                "moved weights in layers of their own",
                f"{name}, which has moved weights beside its layers",
            )
    ranks = {name: a.shape[0] for name, (a, _) in factors.items()}
    moved_bias = any(
        getattr(owners[name], "bias", None) is not None and id(owners[name].bias) in moves
        for name in factors
    )
    r = max(ranks.values())
    lora = get_peft_model(
        base,
        LoraConfig(
            r=r,
            lora_alpha=r,
            target_modules=list(factors),
            rank_pattern=ranks,
            alpha_pattern=ranks,
            modules_to_save=whole or None,
            bias="all" if moved_bias else "none",
            lora_dropout=0.0,
        ),
    )
    with torch.no_grad():
        _fill(lora, factors, moves)
        _move(lora, {name: modules[name] for name in whole}, moves)
    return lora.eval(), layers


def _fill(
    lora: PeftModel, factors: Mapping[str, Factors], moves: Mapping[int, torch.Tensor]
) -> None:
    """Give the adapted layers their factors, and add their biases' moves."""
    for name, (a, b) in factors.items():
        layer: Any = lora.get_base_model().get_submodule(name)
        if "default" in layer.lora_A:
            layer.lora_A["default"].weight.copy_(a)
            layer.lora_B["default"].weight.copy_(b)
        else:
            layer.lora_embedding_A["default"].copy_(a)
            layer.lora_embedding_B["default"].copy_(b)
        bias = getattr(layer.get_base_layer(), "bias", None)
        if bias is not None and id(bias) in moves:
            bias += moves[id(bias)]


def _move(
    lora: PeftModel, whole: Mapping[str, nn.Module], moves: Mapping[int, torch.Tensor]
) -> None:
    """Add the moves to the modules that are saved whole."""
    for name, module in whole.items():
        held: Any = lora.get_base_model().get_submodule(name)
        saved = (
            held.modules_to_save["default"] if isinstance(held, AuxiliaryTrainingWrapper) else held
        )
        starts, copies = module.parameters(recurse=False), saved.parameters(recurse=False)
        for p, q in zip(starts, copies, strict=True):
            if id(p) in moves:
                q += moves[id(p)]


def _has_factors(module: nn.Module) -> bool:
    """Whether peft's LoRA can hold its move as factors.

    An embedding of another class scales what it looks up, or looks up something else.
    """
    return isinstance(module, (nn.Linear, Conv1D)) or type(module) is nn.Embedding


def _factored(
    name: str, module: nn.Module, move: torch.Tensor, rank: int, energy: float
) -> tuple[Factors, Layer]:
    """A and B with B A the move, in the orientation of peft's factors for this kind of layer."""
    matrix = move if isinstance(module, nn.Linear) else move.T
    u, s, v = torch.linalg.svd(matrix.float(), full_matrices=False)
    share = s.double().square().cumsum(0) / s.double().square().sum().clamp_min(1e-300)
    wanted = min(rank or len(s), len(s))
    if not rank and energy < 1:
        wanted = int(torch.searchsorted(share, energy)) + 1
    root = s[:wanted].sqrt()
    a, b = root[:, None] * v[:wanted], u[:, :wanted] * root
    return (a.contiguous(), b.contiguous()), Layer(
        name, tuple(move.shape), wanted, len(s), float(share[wanted - 1])
    )
