"""The subspace as a PEFT method: ``get_peft_model(model, SubspaceConfig(d=10_000))``, and all that follows from it in peft."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from huggingface_hub import ModelCard
from peft import PeftConfig, TaskType, get_peft_model
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

import projections
from idim import models
from idim.errors import IdimError, expected
from idim.subspace import Subspace

NAME = "IDIM_SUBSPACE"
#: The method's name in an adapter's file. Where idim is not imported, peft knows no more than to print it.
SAVED_NAME = f"{NAME}: run `import idim` first (pip install idim-lab)"
_CARD = """# Adapter: a {d}-dimensional subspace of the base model's weights

`import idim` makes the method known to peft, before the adapter is loaded:

```python
# pip install idim-lab
import idim
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this folder")  # base_model: {base}
```

`idim export` writes the same as plain weights or as a LoRA adapter, which need no idim.

"""
_PREFIX = "idim_subspace_"


@dataclass
class SubspaceConfig(PeftConfig):
    """A d-dimensional subspace of a model's weights, as a peft method.

    Args:
        d: trained numbers in all, scales included.
        projection, structure, scope: as for ``idim.Subspace``; structure "layer" is SAID, None is DID.
        target_modules: names of modules whose weights move (a list of name endings, a regular expression, or "all-linear": every
            linear layer but the output). None: all weights.
        projection_seed: of P, which is made anew from it wherever the adapter is loaded.
        fresh_modules: modules or parameters whose starting weights are saved with the adapter.
            Those that the base model on disk lacks, and a classifier's output layers, are added
            to them (``idim.models.fresh``).
        lean: hold theta_0 alone; see ``idim.Subspace``.
        frozen: modules and weights that their owner had frozen (``requires_grad=False``) when the adapter was made, and which it does not move; filled in.
        D: numbers that it moves; filled in.
        num_labels: of the base model, where it is a classifier; filled in.
        projection_checksum: of P; filled in.

    What is filled in when the adapter is made is compared when it is loaded. Cost of the checksum: P's ingredients are made once more.
    """

    d: int = field(default=1000, metadata={"help": "Trained numbers in all, scales included."})
    projection: str = field(default="orthonormal", metadata={"help": "A family of projections."})
    structure: str | None = field(
        default="layer",
        metadata={"help": "What a scale belongs to: layer, module, tensor; None for none."},
    )
    scope: str = field(
        default=projections.GLOBAL,
        metadata={"help": "Where P's columns have unit length: global or tensor."},
    )
    target_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Modules whose weights move; None for all."}
    )
    projection_seed: int = field(default=0, metadata={"help": "The seed of P."})
    fresh_modules: list[str] | None = field(
        default=None, metadata={"help": "Modules whose starting weights are saved too."}
    )
    lean: bool = field(
        default=False,
        metadata={"help": "Hold theta_0 alone and form weights while their block runs."},
    )
    frozen: list[str] | None = field(
        default=None, metadata={"help": "What its owner had frozen; filled in."}
    )
    D: int | None = field(default=None, metadata={"help": "Numbers that move; filled in."})
    num_labels: int | None = field(default=None, metadata={"help": "Of the base model; filled in."})
    projection_checksum: str | None = field(default=None, metadata={"help": "Of P; filled in."})

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = NAME
        if isinstance(self.target_modules, (set, tuple)):
            self.target_modules = sorted(self.target_modules)

    def to_dict(self) -> dict:
        return super().to_dict() | {"peft_type": SAVED_NAME}

    def save_pretrained(self, save_directory: str, **kwargs) -> None:
        super().save_pretrained(save_directory, **kwargs)
        path = Path(save_directory, "README.md")
        card = ModelCard.load(path) if path.exists() else ModelCard("")
        if "import idim" not in card.text:
            card.text = (
                _CARD.format(
                    d=self.d,
                    base=self.base_model_name_or_path or "the model that it was trained on",
                )
                + card.text.lstrip()
            )
            card.save(path)


def is_fresh(name: str, config: SubspaceConfig) -> bool:
    """Whether this parameter's start, or that of a parameter which this module itself owns, is
    saved with the adapter."""
    return any(name in (kept, kept.rpartition(".")[0]) for kept in config.fresh_modules or ())


def _fresh(model: nn.Module, asked: list[str] | None) -> list[str]:
    """The parameters that the base model on disk lacks, and those in a module (or of a name) that
    was asked for."""
    wanted = [
        name
        for name, _ in model.named_parameters()
        for part in asked or ()
        if f"{name}.".startswith(f"{part}.") or ("." not in part and part in name.split("."))
    ]
    return sorted({*wanted, *models.fresh(model)})


class Held(nn.Module, BaseTunerLayer):
    """A Subspace where peft looks for adapters. ``fresh``: starting weights that are saved with it."""

    adapter_layer_names = ("subspace",)
    other_param_names = ()

    def __init__(self, model: nn.Module, config: SubspaceConfig, adapter: str):
        nn.Module.__init__(self)
        config.fresh_modules = _fresh(model, config.fresh_modules)
        were = [(p, p.requires_grad) for p in model.parameters()]
        classes = _num_labels(model)
        if config.projection_checksum is None:
            config.frozen = _frozen(model)
        else:
            if config.num_labels not in (None, classes):
                raise expected(
                    "num_labels", f"{config.num_labels}, as the adapter's base model had", classes
                )
            _freeze(model, config.frozen or [])
        sub = None
        try:
            sub = Subspace(
                model,
                config.d,
                config.projection,
                config.structure,
                config.scope,
                config.projection_seed,
                include=_included(model, config.target_modules),
                lean=config.lean,
                quiet=True,
            )
            if config.D not in (None, sub.D):
                raise expected(
                    "base model",
                    f"one of which the adapter moves {config.D} weights, as where it was made",
                    f"{sub.D}",
                )
            if config.projection_checksum:
                sub.projection.verify(config.projection_checksum)
        except (IdimError, projections.ProjectionError) as error:
            if sub is not None:
                sub.undo()
            _set_required(were)
            raise IdimError(str(error)) from None
        sub.owner_had(were)
        config.D, config.num_labels, config.projection_checksum = (
            sub.D,
            classes,
            sub.projection.checksum(),
        )
        self.subspace = nn.ModuleDict({adapter: sub})
        self._active_adapter = adapter
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        fresh = [name for name, _ in model.named_parameters() if is_fresh(name, config)]
        # A buffer of a fresh module, as the statistics of a norm, is as fresh as its weights.
        owners = {name.rpartition(".")[0] for name in fresh}
        sub.fresh = (
            *fresh,
            *(
                name
                for name, _ in model.named_buffers()
                if is_fresh(name, config) or name.rpartition(".")[0] in owners
            ),
        )

    @property
    def sub(self) -> Subspace:
        return self.subspace[self._active_adapter]

    def enable_adapters(self, enabled: bool) -> None:
        self._disable_adapters = not enabled
        self.sub.enabled = enabled
        self.sub.requires_grad_(enabled)


class SubspaceTuner(BaseTuner):
    """What peft calls a tuner: the model, and beside it the subspace that moves its weights in place. One adapter a model."""

    prefix = _PREFIX
    tuner_layer_cls = Held
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def __init__(
        self, model: nn.Module, peft_config: PeftConfig | dict[str, PeftConfig], *args, **kwargs
    ):
        if isinstance(peft_config, PeftConfig):
            # So it comes from transformers' add_adapter and load_adapter, and from peft's inject_adapter_in_model.
            raise expected(
                "adapter",
                "PeftModel.from_pretrained(model, folder) or get_peft_model(model, config), because a subspace moves the model as a whole",
                "one put into the model itself (add_adapter, load_adapter, pipeline)",
            )
        super().__init__(model, peft_config, *args, **kwargs)

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, *args, low_cpu_mem_usage: bool = False, **kwargs
    ) -> None:
        if low_cpu_mem_usage:
            raise expected(
                "low_cpu_mem_usage", "False: P is made from its seed in any case", low_cpu_mem_usage
            )
        if hasattr(self, _PREFIX):
            raise expected(
                "adapter", "one subspace a model; unload the present one first", adapter_name
            )
        config = self.peft_config[adapter_name]
        setattr(self, _PREFIX, Held(model, config, adapter_name))
        if config.inference_mode:
            self.held.sub.requires_grad_(False)

    @property
    def held(self) -> Held:
        return getattr(self, _PREFIX)

    def _create_and_replace(self, *args, **kwargs):  # no module is replaced
        raise NotImplementedError

    def _enable_adapter_layers(self, enabled: bool = True) -> None:
        self.held.enable_adapters(enabled)

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
        if names != [self.held._active_adapter]:
            raise expected("adapter", self.held._active_adapter, ", ".join(names))
        self.held.sub.requires_grad_(not inference_mode)

    def set_requires_grad(self, adapter_names, requires_grad: bool = True) -> None:
        self.held.sub.requires_grad_(requires_grad)

    def delete_adapter(self, adapter_name: str) -> None:
        raise expected(
            "delete_adapter", "unload(), which gives the model back as it was", adapter_name
        )

    def merge_adapter(self, *args, **kwargs) -> None:
        """The weights are formed in place, so there is nothing to merge but what no batch has asked for yet."""
        self.held.sub.sync()

    def unmerge_adapter(self) -> None:
        pass

    def _unload_and_optionally_merge(self, merge: bool = True, **kwargs) -> nn.Module:
        sub = self.held.sub
        model = sub.bake() if merge else sub.undo()
        del model.peft_config
        return model

    # What an adapter file holds: theta, scales and fresh starts, under keys without the adapter's name.

    @classmethod
    def _get_adapter_state_dict(
        cls, model, config, adapter_name, state_dict, unwanted_adapter_names
    ):
        return {k: v for k, v in state_dict.items() if f"{_PREFIX}.subspace.{adapter_name}." in k}

    @classmethod
    def _remap_adapter_state_dict_for_load(cls, model, config, adapter_name, state_dict):
        _check(
            model.base_model.held.sub.state_dict(),
            {key.rpartition(".")[2]: x for key, x in state_dict.items()},
        )
        # Not by what the model has now: of the buffers it has those that moved.
        where = f"{_PREFIX}.subspace."
        return {
            key.replace(where, f"{where}{adapter_name}.", 1): x for key, x in state_dict.items()
        }


def _check(needed: dict[str, torch.Tensor], came: dict[str, torch.Tensor]) -> None:
    """An adapter that lacks something, or is not of numbers, would leave the model as it is and say nothing."""
    for key in needed:
        if key not in came and not key.startswith("buffer_"):
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


def _num_labels(model: nn.Module) -> int | None:
    config = getattr(model, "config", None)
    return (
        getattr(config, "num_labels", None)
        if "ForSequenceClassification" in type(model).__name__
        else None
    )


def _frozen(model: nn.Module) -> list[str]:
    """The outermost modules of which all weights are frozen, and frozen weights elsewhere."""
    found: list[str] = []
    for name, module in model.named_modules():
        if f"{name}.".startswith(tuple(f"{outer}." for outer in found)):
            continue
        if (
            name
            and next(module.parameters(), None) is not None
            and not any(p.requires_grad for p in module.parameters())
        ):
            found.append(name)
        else:
            found += [
                f"{name}.{key}".lstrip(".")
                for key, p in module.named_parameters(recurse=False)
                if not p.requires_grad
            ]
    return found


def _freeze(model: nn.Module, frozen: list[str]) -> None:
    """These modules and weights, and nothing else, whatever whoever loads an adapter has frozen."""
    inside = tuple(f"{name}." for name in frozen)
    for name, p in model.named_parameters():
        if p.is_floating_point():
            p.requires_grad_(not f"{name}.".startswith(inside))


def _set_required(were: list[tuple[nn.Parameter, bool]]) -> None:
    for p, required in were:
        p.requires_grad_(required)


def _included(model: nn.Module, targets: list[str] | str | None):
    """A predicate on parameter names, or None for all of them."""
    if targets is None:
        return None
    if isinstance(targets, str):
        names = set(models.matching(model, targets))
    else:
        names = {
            n
            for n, _ in model.named_modules()
            if any(n == t or n.endswith("." + t) for t in targets)
        }
    owned = {
        f"{n}.{p}" if n else p
        for n, m in model.named_modules()
        if n in names
        for p, _ in m.named_parameters()
    }
    if not owned:
        raise expected("target_modules", "names of modules with weights", targets)
    return owned.__contains__


def save_subspace(sub: Subspace, folder: str) -> None:
    """Write a transformers model's trained subspace as an adapter, and give the model back as it was before it was wrapped."""
    language = sub.model.get_output_embeddings() is not None
    # peft has no type of task for images.
    kind = None if sub.model.main_input_name == "pixel_values" else TaskType.SEQ_CLS
    if language:
        kind = TaskType.SEQ_2_SEQ_LM if sub.model.config.is_encoder_decoder else TaskType.CAUSAL_LM
    config = SubspaceConfig(
        d=sub.d,
        projection=sub.projection.family,
        structure=sub.structure,
        scope=sub.scope,
        projection_seed=sub.projection.identity["seed"],
        task_type=kind,
    )
    trained = sub.state_dict()
    wrapped = get_peft_model(sub.undo(), config)
    wrapped.base_model.held.sub.load_state_dict(trained, strict=False)
    wrapped.save_pretrained(folder)
    wrapped.unload()


def register() -> None:
    """Make the method known to peft, once. Its three tables take a plain string."""
    PEFT_TYPE_TO_CONFIG_MAPPING[NAME] = PEFT_TYPE_TO_CONFIG_MAPPING[SAVED_NAME] = SubspaceConfig
    PEFT_TYPE_TO_TUNER_MAPPING[NAME] = SubspaceTuner
    PEFT_TYPE_TO_PREFIX_MAPPING[NAME] = _PREFIX


register()
