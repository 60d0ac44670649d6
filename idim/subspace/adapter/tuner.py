"""What peft calls a tuner: the model, and beside it the subspace that moves its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from idim.errors import expected
from idim.subspace.adapter.config import SubspaceConfig
from idim.subspace.adapter.layer import SubspaceLayer
from idim.subspace.saved import is_buffer

PREFIX = "idim_subspace_"
_NO_TARGETS: dict[str, list[str]] = {}  # of a kind of model; the default is all weights


class SubspaceTuner(BaseTuner):
    """A model with one adapter, which moves the model as a whole."""

    prefix = PREFIX
    tuner_layer_cls = SubspaceLayer
    target_module_mapping = _NO_TARGETS

    def __init__(
        self,
        model: nn.Module,
        peft_config: PeftConfig | dict[str, PeftConfig],
        *args: Any,
        **kwargs: Any,
    ):
        if isinstance(peft_config, PeftConfig):
            # So it comes from add_adapter and load_adapter of transformers, and from
            # inject_adapter_in_model of peft.
            raise expected(
                "adapter",
                "PeftModel.from_pretrained(model, folder) or get_peft_model(model, config), "
                "because a subspace moves the model as a whole",
                "one put into the model itself (add_adapter, load_adapter, pipeline)",
            )
        super().__init__(model, peft_config, *args, **kwargs)

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        *args: Any,
        low_cpu_mem_usage: bool = False,
        **kwargs: Any,
    ) -> None:
        """Wrap the model.

        Raises:
            IdimError: the model has an adapter already, or cannot be wrapped as asked.
        """
        if low_cpu_mem_usage:
            raise expected(
                "low_cpu_mem_usage", "False: P is made from its seed in any case", low_cpu_mem_usage
            )
        if hasattr(self, PREFIX):
            raise expected(
                "adapter", "one subspace a model; unload the present one first", adapter_name
            )
        config = cast(SubspaceConfig, self.peft_config[adapter_name])
        setattr(self, PREFIX, SubspaceLayer(model, config, adapter_name))
        if config.inference_mode:
            self.held.sub.requires_grad_(False)

    @property
    def held(self) -> SubspaceLayer:
        """What holds the subspace."""
        return cast(SubspaceLayer, getattr(self, PREFIX))

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError  # no module is replaced

    def _enable_adapter_layers(self, enabled: bool = True) -> None:
        self.held.enable_adapters(enabled)

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Take the one adapter.

        Raises:
            IdimError: another name.
        """
        names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
        known = list(self.held.subspace)
        if names != known:
            raise expected("adapter", ", ".join(known), ", ".join(names))
        self.held.sub.requires_grad_(not inference_mode)

    def set_requires_grad(
        self, adapter_names: str | Sequence[str], requires_grad: bool = True
    ) -> None:
        """Let theta and the scales be trained, or not."""
        self.held.sub.requires_grad_(requires_grad)

    def delete_adapter(self, adapter_name: str) -> None:
        """Refused.

        Raises:
            IdimError: always; ``unload`` gives the model back as it was.
        """
        raise expected(
            "delete_adapter", "unload(), which gives the model back as it was", adapter_name
        )

    def merge_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Form what no batch has asked for yet. The other weights are formed in place already."""
        self.held.sub.sync()

    def unmerge_adapter(self) -> None:
        """Do nothing: a merged subspace trains on."""

    # peft says that this returns nothing, and returns what it returns.
    def _unload_and_optionally_merge(  # type: ignore[override]
        self, merge: bool = True, **kwargs: Any
    ) -> nn.Module:
        sub = self.held.sub
        model = sub.bake() if merge else sub.undo()
        del model.peft_config
        return model

    # What an adapter's file holds: theta, scales and fresh starts, under keys without its name.

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: PeftConfig,
        adapter_name: str,
        state_dict: dict[str, torch.Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, torch.Tensor]:
        return {k: v for k, v in state_dict.items() if f"{PREFIX}.subspace.{adapter_name}." in k}

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: Any, config: PeftConfig, adapter_name: str, state_dict: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        _check(
            model.base_model.held.sub.state_dict(),
            {key.rpartition(".")[2]: x for key, x in state_dict.items()},
        )
        # Not by what the model has now: of the buffers it has those that moved.
        where = f"{PREFIX}.subspace."
        return {
            key.replace(where, f"{where}{adapter_name}.", 1): x for key, x in state_dict.items()
        }


def _check(needed: dict[str, torch.Tensor], came: dict[str, torch.Tensor]) -> None:
    """Compare an adapter's tensors with those that the subspace needs.

    peft would only warn, and the untouched model would pass for the trained one.

    Raises:
        IdimError: one is missing, of another shape, or has numbers that are not finite.
    """
    for key in needed:
        if key not in came and not is_buffer(key):
            raise expected(
                "adapter", f"a file with {key}", f"one with {', '.join(sorted(came)) or 'nothing'}"
            )
    for key, x in came.items():
        if key in needed and x.shape != needed[key].shape:
            raise expected("adapter", f"{key} of shape {tuple(needed[key].shape)}", tuple(x.shape))
        if not torch.isfinite(x).all():
            raise expected(
                "adapter",
                f"finite numbers in {key}",
                f"{int((~torch.isfinite(x)).sum())} that are not",
            )
