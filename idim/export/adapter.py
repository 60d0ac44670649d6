"""A subspace adapter's folder: read, checked, and loaded onto its base model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from peft import PeftConfig, PeftModel, TaskType, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

import projections
from idim import models
from idim.errors import IdimError, expected, first_line
from idim.peft_plugin import NAME, SubspaceConfig
from idim.pixels import Pixels
from idim.values.files import load

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


def configuration(adapter: str) -> SubspaceConfig:
    """The adapter's configuration, each field of ours checked.

    Raises:
        IdimError: names the field and what it must be.
    """
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
    return cast(SubspaceConfig, config)


def shapes_of(adapter: str) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the adapter's file. Cost: the file is read once.

    Raises:
        IdimError: for a file that is cut, and for numbers that are not finite.
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


def loaded(
    adapter: str, shapes: dict[str, tuple[int, ...]], base: models.Loaded, name: str
) -> PeftModel:
    """The adapter on its base model.

    Raises:
        IdimError: the adapter is for another model, or its file holds something else.
    """
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


def head_of(name: str, config: SubspaceConfig) -> str:
    """The kind of head that the adapter was trained with."""
    if config.task_type in (TaskType.CAUSAL_LM, TaskType.SEQ_2_SEQ_LM):
        return "language"
    return "image" if isinstance(models.reader(name), Pixels) else "sequence"


def classes_of(shapes: dict[str, tuple[int, ...]]) -> int:
    """Outputs of the head that is saved with the adapter: no other layer of it has fewer."""
    return min((shape[0] for key, shape in shapes.items() if "fresh_" in key and shape), default=2)
