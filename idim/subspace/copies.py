"""What a subspace puts on a model's modules, in a form that copies and pickles leave out.

So a copy of the model is a plain model, with the weights of its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Hook:
    """A hook of ours. A compiler need not look into it."""

    def __init__(self, call: Callable[..., None]):
        self._call = torch.compiler.disable(call)

    def __call__(self, *args: Any) -> None:
        self._call(*args)

    @staticmethod
    def nothing(*_: object) -> None:
        """What a copied hook does."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Only where a module has its own way of being copied; else ``Guest`` leaves it out.
        return getattr, (Hook, "nothing")


class Guest:
    """The ``__getstate__`` of a module that carries hooks of ours: its state without them.

    Args:
        module: the module.
        changed: what else was set on it, by name, with its value before; None where the instance
            had no such attribute.
    """

    def __init__(self, module: nn.Module, **changed: object):
        self._module, self._changed = module, changed
        vars(module)["__getstate__"] = self

    def __call__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(type(self._module).__getstate__(self._module))
        del state["__getstate__"]
        hooks = [
            value
            for key, value in state.items()
            if key.endswith("_hooks") and isinstance(value, dict)
        ]
        # torch wraps some hooks in an object of its own.
        ours = {
            key
            for each in hooks
            for key, value in each.items()
            if isinstance(value, Hook) or isinstance(getattr(value, "hook", None), Hook)
        }
        for key, value in state.items():
            if "_hooks" in key and isinstance(value, dict) and ours & value.keys():
                state[key] = type(value)((k, v) for k, v in value.items() if k not in ours)
        for name, before in self._changed.items():
            if before is None:
                state.pop(name, None)
            else:
                state[name] = before
        return state

    def leave(self) -> None:
        """Give the module its own ``__getstate__`` back."""
        vars(self._module).pop("__getstate__", None)
