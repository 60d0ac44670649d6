"""From a subspace adapter to what other tools can load: plain weights, or a LoRA adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn

from idim import models
from idim.errors import expected, first_line
from idim.export.adapter import classes_of, configuration, head_of, loaded, shapes_of
from idim.export.lora import Layer, to_lora
from idim.source import CATALOGUES
from idim.values.options import Options


def export(
    adapter: str,
    base: str | None,
    merged_into: str | None,
    lora_into: str | None,
    rank: int,
    energy: float,
    task: str | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The work of ``idim export``.

    Args:
        adapter: the adapter's folder.
        base: a name as ``--model`` takes it. Default: where the adapter says its base model lies.
        merged_into: a folder for the model with plain weights, or None.
        lora_into: a folder for a LoRA adapter, where the other is None.
        rank: LoRA's rank, or all of a layer too small for it; 0: what ``energy`` asks for.
        energy: the fraction of each layer's move that LoRA keeps.
        task: scores the model before and after, on the task's measuring split.
        options: how to load the task.

    Returns:
        What was written, LoRA's layers, and the scores.

    Raises:
        IdimError: before anything is written, for an adapter that is not whole or does not belong
            to the base model.
    """
    config, shapes = configuration(adapter), shapes_of(adapter)
    name = base or config.base_model_name_or_path
    if not isinstance(name, str) or not name:
        raise expected("--base", "the base model's name, which this adapter does not tell", base)
    if not models.is_pretrained(name):
        raise expected("--base", "a transformers model", name)
    given = Options(**{k: v for k, v in options.items() if v})
    data = CATALOGUES.task(name, task, given) if task else None
    names = data.names if data else models.saved_labels(adapter)
    classes = data.classes if data else len(names) or classes_of(shapes)
    head = data.head if data else head_of(name, config)
    model = loaded(adapter, shapes, models.load(name, classes, 0, head, names), name)
    scores: dict[str, float] = {}

    def score(which: str, module: nn.Module) -> None:
        if data:
            with torch.no_grad():
                scores[which] = data.score(module.eval(), "measure")

    score("subspace", model)
    layers: list[Layer] = []
    folder, flag = (merged_into, "--merged") if merged_into else (lora_into, "--lora")
    if not folder:
        raise expected("--merged, --lora", "one of them", "neither")
    try:
        if merged_into:
            result = merged(model, folder)
            models.reader(name).save_pretrained(folder)
        else:
            result, layers = to_lora(model, rank, energy)
            result.save_pretrained(folder)
            models.save_labels(result.get_base_model(), folder)
    except (OSError, SafetensorError) as error:
        what = f"{folder}: {first_line(error)}"
        raise expected(flag, "a folder with room to write in", what) from None
    score("merged" if merged_into else "LoRA", result)
    return {
        "folder": folder,
        "layers": [asdict(layer) for layer in layers],
        "scores": scores,
        "metric": data.metric if data else None,
        "sizes": (_size(Path(adapter)), _size(Path(folder))),
    }


def merged(model: PeftModel, folder: str | Path) -> nn.Module:
    """Write the model with plain weights into a folder for ``from_pretrained``, and return it."""
    plain: Any = model.merge_and_unload()
    plain.save_pretrained(folder)
    whole: nn.Module = plain
    return whole


def _size(folder: Path) -> int:
    """Bytes of the weights in it."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
