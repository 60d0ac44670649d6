"""QLoRA's base weights: four bits each (Dettmers et al. 2023), by bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from idim.errors import expected, first_line


def quantise(model: nn.Module, names: Iterable[str]) -> None:
    """Keep the weights of linear layers in NF4, in place. Their biases stay as they are.

    Args:
        model: is changed.
        names: ends of the layers' names. One that no layer has is left to peft to complain of.

    Layers that transformers keeps in fp32, as T5's ``wo``, stay so.

    Raises:
        IdimError: bitsandbytes is not installed, or one is no linear layer of torch.
    """
    try:
        bnb: Any = import_module("bitsandbytes")
    except ImportError:
        needs = "bitsandbytes, for weights of four bits (pip install bitsandbytes)"
        raise expected("arm", needs, "none that can be imported") from None
    ends = tuple(f".{name}" for name in names)
    whole = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    found = [(n, part) for n, part in model.named_modules() if f".{n}".endswith(ends)]
    for name, part in found:
        if name.rpartition(".")[2] in whole:
            continue
        layer: Any = part
        if type(layer) is not nn.Linear:
            raise expected(
                "model", f"linear layers of torch; {name} is another", type(layer).__name__
            )
        made = bnb.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=layer.weight.dtype,
            quant_type="nf4",
        )
        made.weight = bnb.nn.Params4bit(
            layer.weight.detach().clone(), requires_grad=False, quant_type="nf4"
        )
        if layer.bias is not None:
            made.bias = layer.bias
        parent, _, last = name.rpartition(".")
        # On some CPUs an evaluation repacks the weights for inference. Training would go on with
        # those, without their gradients.
        made.support_avx512bf16_for_cpu = False
        # The move to its device is what packs the weights.
        made = made.to(layer.weight.device)
        try:
            with torch.no_grad():
                made(layer.weight.new_zeros(1, layer.in_features))
        except (AssertionError, RuntimeError) as error:
            what = f"layers that bitsandbytes can keep in four bits on {layer.weight.device}"
            raise expected("model", what, f"{name}: {first_line(error)}") from None
        setattr(model.get_submodule(parent), last, made)
