"""What is put on a model: hooks around its passes, and a copy's way past them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from idim.errors import expected
from idim.subspace.by_hand import by_our_hand
from idim.subspace.copies import Guest, Hook
from idim.subspace.gradients import Gradients
from idim.subspace.home import Bookmark
from idim.subspace.outputs import entries
from idim.subspace.watched import unwatch, watch
from idim.subspace.weights import Weights, in_backward


class Hooks:
    """Calls the weights before a pass of the whole model, and lets them be watched after it.

    Args:
        model: the whole model.
        weights: formed before each forward pass, and whole in every state dictionary.
        gradients: of the weights.
        quiet: let the weights ask for gradients only from a forward pass to the end of its backward
            pass.
    """

    def __init__(self, model: nn.Module, weights: Weights, gradients: Gradients, quiet: bool):
        self._weights, self._gradients, self._quiet = weights, gradients, quiet
        # First of all hooks: others may read the weights.
        self._hooks = [
            model.register_forward_pre_hook(Hook(self._before), prepend=True),
            model.register_forward_hook(Hook(self._after), always_call=True),
            model.register_state_dict_pre_hook(Hook(self._on_state_dict)),
            model.register_load_state_dict_pre_hook(Hook(self._on_load)),
            *gradients.hooks,
        ]
        tables = weights.tables.values()
        changed = {id(table.owner): table.before for table in tables}
        touched = [model, *(t.owner for t in tables), *(block.module for block in weights.blocks)]
        self._guests = [
            Guest(module, **changed.get(id(module), {}))
            for module in {id(module): module for module in touched}.values()
        ]
        watch(weights.loose)

    def _before(self, *_: object) -> None:
        weights = self._weights
        # At theta_0 no weight asks for a gradient, as no base weight does under a LoRA.
        enabled = not self._quiet or weights.where().enabled
        awake = self._quiet and enabled and torch.is_grad_enabled()
        weights.running = False
        with by_our_hand():
            if not in_backward():
                self._gradients.drop()
            weights.renew()
            if awake or not enabled:
                for p in weights.params:
                    p.requires_grad_(awake)
        unwatch(weights.loose)
        weights.running = True

    def _after(self, module: nn.Module, args: object, out: object) -> None:
        weights = self._weights
        weights.running = False
        watch(weights.loose)
        if torch.is_grad_enabled() and not in_backward():
            bookmark = Bookmark(weights)
            for tensor in entries(out):
                node = tensor.grad_fn
                assert node is not None
                # A hook of the tensor itself would take three times as long.
                node.register_prehook(bookmark)

    def _on_state_dict(self, *_: object) -> None:
        self._weights.sync()

    def _on_load(
        self, _: nn.Module, state: object, prefix: str, about: dict[str, Any], *more: object
    ) -> None:
        # New parameters would take the place of those that are moved.
        if (
            about.get("assign_to_params_buffers")
            or torch.__future__.get_swap_module_params_on_conversion()
        ):
            raise expected(
                "load_state_dict",
                "numbers to copy into the weights that the subspace moves (assign=False)",
                "weights that would take their place",
            )

    def remove(self) -> None:
        """Take everything off the model again."""
        for hook in self._hooks:
            hook.remove()
        for guest in self._guests:
            guest.leave()
