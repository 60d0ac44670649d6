"""Bottleneck adapters (Houlsby et al. 2019), as a method of peft.

Importing this makes the method known to peft.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from torch.nn import functional as F

from idim.errors import expected
from idim.tuners.register import register

NAME = "IDIM_BOTTLENECK"
PREFIX = "bottleneck_"


@dataclass
class BottleneckConfig(PeftConfig):
    """Adapters of one width, each after a layer.

    Args:
        width: of each bottleneck.
        target_modules: names of the linear layers that get an adapter.
        modules_to_save: names of the layers that are trained freely.
    """

    width: int = field(default=16, metadata={"help": "Of each bottleneck."})
    target_modules: list[str] | str | None = field(
        default=None, metadata={"help": "The linear layers that get an adapter."}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "The layers that are trained freely."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # peft has no types here
        self.peft_type = NAME
        if isinstance(self.target_modules, (list, tuple)):
            self.target_modules = sorted(self.target_modules)


class Bottleneck(nn.Module):
    """``x + up(gelu(down(x)))``; the identity at first."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        nn.init.normal_(self.down.weight, std=0.01)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = self.up(F.gelu(self.down(x.to(self.down.weight.dtype))))
        return x + moved.to(x.dtype)


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear layer with adapters after it, by name."""

    adapter_layer_names = ("bottleneck_adapters",)
    other_param_names = ()

    def __init__(self, base_layer: nn.Module, name: str, config: BottleneckConfig):
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_adapters = nn.ModuleDict({})
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter: Any = name
        self.update_layer(name, config)

    def update_layer(self, name: str, config: BottleneckConfig) -> None:
        """Add an adapter of this name."""
        layer: Any = self.base_layer
        size = getattr(layer, "out_features", None) or getattr(layer, "nf", None)
        if size is None:
            raise ValueError(f"{type(layer).__name__} is no linear layer")
        made = Bottleneck(size, config.width)
        # In fp32, as peft keeps what it trains.
        self.bottleneck_adapters[name] = made.to(layer.weight.device, torch.float32)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output, through the active adapters."""
        out: torch.Tensor = self.base_layer(x, *args, **kwargs)
        if not self.disable_adapters:
            for name in self.active_adapters:
                if name in self.bottleneck_adapters:
                    out = self.bottleneck_adapters[name](out)
        return out


class BottleneckTuner(BaseTuner):
    """Puts the adapters into a model. They are not linear, so nothing can be merged."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  # peft's name; nothing in it

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        assert isinstance(peft_config, BottleneckConfig)
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        made = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            made.requires_grad_(False)
        self._replace_module(parent, target_name, made, target)

    # peft says that this returns nothing, and returns what it returns.
    def _unload_and_optionally_merge(  # type: ignore[override]
        self, merge: bool = True, **kwargs: Any
    ) -> nn.Module:
        if merge:
            raise expected(
                "merge", "a method whose move is linear in a layer's input", "bottleneck adapters"
            )
        for name, layer in list(self.model.named_modules()):
            if isinstance(layer, BottleneckLayer):
                parent, _, last = name.rpartition(".")
                setattr(self.model.get_submodule(parent), last, layer.base_layer)
        model: nn.Module = self.model
        return model


register(NAME, BottleneckConfig, BottleneckTuner, PREFIX)
