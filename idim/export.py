"""From a subspace adapter to what other tools can load: plain weights, or a LoRA adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
)
from peft.utils import AuxiliaryTrainingWrapper
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers.pytorch_utils import Conv1D

import projections
from idim import models
from idim.errors import IdimError, expected, first_line
from idim.peft_plugin import NAME, SubspaceConfig, is_fresh
from idim.pixels import Pixels
from idim.source import CATALOGUES
from idim.subspace import Subspace
from idim.values.files import load
from idim.values.options import Options


@dataclass(frozen=True)
class Layer:
    """What became of one weight matrix.

    Its rank in the adapter, of at most ``full``, and the fraction of its move's energy (squared
    norm) that was kept.
    """

    name: str
    shape: tuple[int, int]
    rank: int
    full: int
    kept: float


def export(
    adapter: str,
    base: str | None,
    merged_into: str | None,
    lora_into: str | None,
    rank: int,
    energy: float,
    task: str | None,
    options: dict,
) -> dict:
    """The work of ``idim export``.

    Args:
        adapter: the adapter's folder.
        base: a name as ``--model`` takes it. Default: where the adapter says its base model lies.
        merged_into: a folder for the model with plain weights, or None.
        lora_into: a folder for a LoRA adapter, or None.
        rank: LoRA's rank, for every layer; 0: what ``energy`` asks for.
        energy: the fraction of each layer's move that LoRA keeps.
        task: scores the model before and after, on the task's measuring split.
        options: how to load the task.

    Returns: what was written, LoRA's layers, and the scores.
    Raises: IdimError, before anything is written, for an adapter that is not whole or does not
        belong to the base model.
    """
    config, shapes = _config(adapter), _shapes(adapter)
    name = base or config.base_model_name_or_path
    if not isinstance(name, str) or not name:
        raise expected("--base", "the base model's name, which this adapter does not tell", base)
    if not models.is_pretrained(name):
        raise expected("--base", "a transformers model", name)
    data = task and CATALOGUES.task(name, task, Options(**{k: v for k, v in options.items() if v}))
    names = data.names if data else models.saved_labels(adapter)
    classes = data.classes if data else len(names) or _classes(shapes)
    head = data.head if data else _head(name, config)
    model = _loaded(adapter, shapes, models.load(name, classes, 0, head, names), name)

    def score(module: nn.Module) -> float:
        with torch.no_grad():
            return data.score(module.eval(), "measure")

    scores = {"subspace": score(model)} if data else {}
    layers: list[Layer] = []
    folder = merged_into or lora_into
    try:
        if merged_into:
            result = merged(model, merged_into)
            models.reader(name).save_pretrained(merged_into)
        else:
            result, layers = to_lora(model, rank, energy)
            result.save_pretrained(lora_into)
            models.save_labels(result.get_base_model(), lora_into)
    except (OSError, SafetensorError) as error:
        raise expected(
            "--merged" if merged_into else "--lora",
            "a folder with room to write in",
            f"{folder}: {first_line(error)}",
        ) from None
    if data:
        scores["merged" if merged_into else "LoRA"] = score(result)
    return {
        "folder": folder,
        "layers": [asdict(layer) for layer in layers],
        "scores": scores,
        "metric": data.metric if data else None,
        "sizes": (_size(Path(adapter)), _size(Path(folder))),
    }


def _size(folder: Path) -> int:
    """Bytes of the weights in it."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


#: What the fields of an adapter's configuration must be that we read.
_FIELDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "d": (
        "a whole number of at least 1",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and 1 <= v < 1 << 63,
    ),
    "projection": (
        "one of " + ", ".join(projections.KINDS | projections.FLAWED),
        lambda v: v in [*projections.KINDS, *projections.FLAWED],
    ),
    "structure": (
        "layer, module, tensor or null",
        lambda v: v in ("layer", "module", "tensor", None),
    ),
    "scope": ("global or tensor", lambda v: v in (projections.GLOBAL, projections.TENSOR)),
    "projection_seed": (
        "a whole number",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and -(1 << 63) <= v < 1 << 63,
    ),
    "projection_checksum": ("text or null", lambda v: v is None or isinstance(v, str)),
    "target_modules": (
        "text, a list of texts or null",
        lambda v: v is None or isinstance(v, str) or _is_texts(v),
    ),
    "fresh_modules": ("a list of texts or null", lambda v: v is None or _is_texts(v)),
    "lean": ("true or false", lambda v: isinstance(v, bool)),
}


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _config(adapter: str) -> SubspaceConfig:
    """The adapter's configuration, each field of ours checked."""
    path = Path(adapter) / "adapter_config.json"
    if not path.is_file():
        raise expected("adapter", "a folder with adapter_config.json", adapter)
    try:
        kind = load(path).get("peft_type")
        if not str(kind).startswith(NAME):
            raise expected("adapter", f"one of type {NAME}", kind)
        config = PeftConfig.from_pretrained(adapter)
    except IdimError:
        raise
    except Exception as error:  # peft and its dataclasses raise what they like
        raise expected(str(path), "a readable configuration", first_line(error)) from None
    for name, (what, holds) in _FIELDS.items():
        if not holds(getattr(config, name)):
            raise expected(f"{path}: {name}", what, getattr(config, name))
    return config


def _shapes(adapter: str) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the adapter's file. Cost: the file is read once.

    Raises: IdimError for a file that is cut, and for numbers that are not finite.
    """
    path, shapes = Path(adapter) / "adapter_model.safetensors", {}
    if not path.is_file():
        raise expected("adapter", "a folder with adapter_model.safetensors", adapter)
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 (safetensors files have keys, but no iterator)
                tensor = file.get_tensor(key)
                if not torch.isfinite(tensor).all():
                    raise expected(f"{path}: {key}", "finite numbers", "NaN or infinity")
                shapes[key] = tuple(tensor.shape)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise expected(str(path), "a readable safetensors file", first_line(error)) from None
    return shapes


def _loaded(
    adapter: str, shapes: dict[str, tuple[int, ...]], base: models.Loaded, name: str
) -> PeftModel:
    """The adapter on its base model, of a file that holds nothing else."""
    D = base.D
    try:
        model = PeftModel.from_pretrained(base.module, adapter)
    except IdimError as error:
        if str(error).startswith("checksum"):
            raise expected(
                "base model",
                "the one that this adapter was made for",
                f"{name} with D = {D:,}: D differs, or P's seed does",
            ) from None
        raise
    except Exception as error:
        raise expected(
            "adapter", f"one that loads onto {name}, D = {D:,}", first_line(error)
        ) from None
    known = set(get_peft_model_state_dict(model))
    if unknown := sorted(shapes.keys() - known):
        raise expected(
            f"{adapter}: adapter_model.safetensors",
            f"{len(known)} tensors for {name}",
            f"unknown: {', '.join(unknown)}",
        )
    return model


def _head(name: str, config: SubspaceConfig) -> str:
    if config.task_type in (TaskType.CAUSAL_LM, TaskType.SEQ_2_SEQ_LM):
        return "language"
    return "image" if isinstance(models.reader(name), Pixels) else "sequence"


def _classes(shapes: dict[str, tuple[int, ...]]) -> int:
    """Outputs of the head that is saved with the adapter: no other layer of it has fewer."""
    return min((shape[0] for key, shape in shapes.items() if "fresh_" in key and shape), default=2)


def merged(model: PeftModel, folder: str | Path) -> nn.Module:
    """Write the model with plain weights into a folder for ``from_pretrained``, and return it."""
    plain = model.merge_and_unload()
    plain.save_pretrained(folder)
    return plain


def to_lora(model: PeftModel, rank: int = 0, energy: float = 1.0) -> tuple[PeftModel, list[Layer]]:
    """The same model under a LoRA adapter that makes the subspace's move, or the nearest to it.

    Linear layers and embeddings get factors from the singular value decomposition of their move:
    of ``rank``, or of the least rank that keeps ``energy`` of it (1: all). Biases, norms, fresh
    heads and whatever else moved are kept whole, as peft's ``bias`` and ``modules_to_save``.
    The model is used up. Cost: one singular value decomposition a matrix.

    Raises: IdimError for an energy outside (0, 1] and for a rank below 0.
    """
    if not 0 < energy <= 1:
        raise expected("energy", "a share above 0 and at most 1", energy)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
        raise expected("rank", "a whole number of at least 1", rank)
    sub: Subspace = model.base_model.held.sub
    config = model.peft_config[model.active_adapter]
    moves = sub.moves()
    base = model.unload()
    names = {
        id(p): moves[name]
        for name, p in base.named_parameters(remove_duplicate=False)
        if name in moves
    }
    modules = dict(base.named_modules())
    owners = {
        name: module
        for name, module in modules.items()
        if any(id(p) in names for p in module.parameters(recurse=False))
    }
    factors, layers = {}, []
    for name, module in owners.items():
        # The base model on disk lacks a fresh module: factors would be added to another start.
        if _has_factors(module) and id(module.weight) in names and not is_fresh(name, config):
            factors[name], layer = _factored(name, module, names[id(module.weight)], rank, energy)
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
        getattr(owners[name], "bias", None) is not None and id(owners[name].bias) in names
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
            copy = (
                held.modules_to_save["default"]
                if isinstance(held, AuxiliaryTrainingWrapper)
                else held
            )
            for (_, p), q in zip(
                modules[name].named_parameters(recurse=False),
                copy.parameters(recurse=False),
                strict=True,
            ):
                if id(p) in names:
                    q += names[id(p)]
    return lora.eval(), layers


def _has_factors(module: nn.Module) -> bool:
    """Whether peft's LoRA can hold its move as factors.

    An embedding of another class scales what it looks up, or looks up something else.
    """
    return isinstance(module, (nn.Linear, Conv1D)) or type(module) is nn.Embedding


def _factored(
    name: str, module: nn.Module, move: torch.Tensor, rank: int, energy: float
) -> tuple[tuple[torch.Tensor, torch.Tensor], Layer]:
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
