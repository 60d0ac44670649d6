"""What a model keeps beside its weights and training moves, as a BatchNorm's running statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class _Buffer:
    owner: nn.Module
    key: str
    start: torch.Tensor | None
    kept: bool  # its owner's state_dict has it

    @property
    def now(self) -> torch.Tensor | None:
        return self.owner._buffers.get(self.key)

    @torch.no_grad()
    def put(self, x: torch.Tensor | None) -> None:
        """In place, where the place fits."""
        now = self.now
        if (
            x is None
            or now is None
            or now.shape != x.shape
            or (now.is_inference() and not torch.is_inference_mode_enabled())
        ):
            self.owner._buffers[self.key] = None if x is None else x.clone()
        else:
            now.copy_(x)


class Buffers:
    """A model's buffers, and their values at the time that this was made. Holds a copy of each."""

    def __init__(self, model: nn.Module):
        self._all: dict[str, _Buffer] = {}
        for path, module in model.named_modules():
            for key, x in module._buffers.items():
                start = None if x is None else x.detach().clone()
                self._all[f"{path}.{key}".lstrip(".")] = _Buffer(
                    module, key, start, key not in module._non_persistent_buffers_set
                )

    @property
    def names(self) -> list[str]:
        """Names of those that the model's state_dict has or may come to have."""
        return [name for name, b in self._all.items() if b.kept]

    def starts(self) -> dict[str, torch.Tensor | None]:
        """The values at the beginning, by name."""
        return {name: b.start for name, b in self._all.items()}

    def kept(self) -> dict[str, torch.Tensor]:
        """The buffers of the model's state_dict, as they are now."""
        now = {name: b.now for name, b in self._all.items() if b.kept}
        return {name: x for name, x in now.items() if x is not None}

    def moved(self) -> dict[str, torch.Tensor]:
        """The buffers of the model's state_dict that are no longer what they were."""
        return {name: x for name, x in self.kept().items() if not _same(x, self._all[name].start)}

    def put(self, values: Mapping[str, torch.Tensor | None]) -> None:
        """Give these buffers these values."""
        for name, x in values.items():
            self._all[name].put(x)

    def restore(self) -> None:
        """Give every buffer its value at the beginning."""
        self.put(self.starts())


def _same(x: torch.Tensor, start: torch.Tensor | None) -> bool:
    if start is None or x.shape != start.shape or x.layout != torch.strided:
        return False
    return x.dtype == start.dtype and torch.equal(x, start.to(x.device))
