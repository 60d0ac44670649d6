"""Which of a model's weights its checkpoint holds, and which are fresh."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from idim.errors import expected
from idim.marks import moved
from idim.models.catalogue import source_of
from idim.models.hub import quiet

#: transformers' mark of a parameter that it read from a checkpoint.
_MARK = "_is_hf_initialized"


def head(module: nn.Module) -> frozenset[str]:
    """Names of the parameters of a classifier's output layers: all that transformers keeps outside
    its backbone.

    Empty for a language model, whose output layer belongs to its vocabulary, and for a net that
    transformers did not make.
    """
    from transformers import PreTrainedModel

    if (
        not isinstance(module, PreTrainedModel)
        or module.base_model is module
        or module.get_output_embeddings() is not None
    ):
        return frozenset()
    inside = {id(p) for p in module.base_model.parameters()}
    return frozenset(name for name, p in module.named_parameters() if id(p) not in inside)


def fresh(module: nn.Module) -> frozenset[str]:
    """Names of the parameters that a saved adapter must bring along, because its base model on disk
    does not hold them.

    These are the weights that the checkpoint lacked or had in another shape, and a classifier's
    output layers in any case: people set those before they train. transformers marks each weight
    that it reads from a checkpoint. Copies (``copy.deepcopy``) lose the marks: transformers is then
    asked again, which reads the checkpoint once more. Where it cannot be read, everything is fresh.
    A model that names no checkpoint is its maker's to build again: of it only the output layers are
    fresh.
    """
    from transformers import PreTrainedModel

    found = set(head(module))
    within: set[nn.Module] = set()
    for prefix, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and part not in within:
            within.update(part.modules())
            found |= {f"{prefix}.{name}" if prefix else name for name in _lacking(part)}
    return frozenset(found)


def _lacking(model: Any) -> set[str]:
    """Names of the parameters that this transformers model's checkpoint lacks; none where it names
    no checkpoint. A weight that a subspace moved for good is not the checkpoint's."""
    named, changed = dict(model.named_parameters()), moved(model)
    unmarked = {n for n, p in named.items() if n in changed or not getattr(p, _MARK, False)}
    if changed or len(unmarked) < len(named):
        return unmarked
    if not model.name_or_path:
        return set()
    source, kwargs = source_of(model.name_or_path)
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            _, report = type(model).from_pretrained(
                source,
                config=copy.deepcopy(model.config),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **kwargs,
            )
    except Exception:  # whatever a checkpoint that is gone or another kind of file raises
        return unmarked
    return unmarked & {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}


def copied(module: nn.Module) -> nn.Module:
    """A deep copy that still knows which of its weights came from a checkpoint."""
    made = copy.deepcopy(module)
    for p, q in zip(module.parameters(), made.parameters(), strict=True):
        if hasattr(p, _MARK):
            setattr(q, _MARK, getattr(p, _MARK))
    return made


def layers(module: nn.Module, names: Iterable[str]) -> list[str]:
    """The largest modules, the whole one excepted, that hold no other parameters than these; in
    their order.

    A parameter that lies beside others in its module brings that whole module. Errors: a parameter
    of the whole module itself.
    """
    wanted, found = set(names), list[str]()
    owned = {
        name: {n for n, _ in part.named_parameters(name)}
        for name, part in module.named_modules()
        if name
    }
    for name, inside in owned.items():
        if inside and inside <= wanted and not any(name.startswith(f"{other}.") for other in found):
            found.append(name)
    covered = {n for name in found for n in owned[name]}
    for name in sorted(wanted - covered):
        owner = name.rpartition(".")[0]
        if not owner:
            raise expected("model", "fresh weights in layers of their own", name)
        found = [*(other for other in found if not other.startswith(f"{owner}.")), owner]
    return list(dict.fromkeys(found))


def is_encoder_decoder(module: nn.Module) -> bool:
    """Of a transformers model, or of what wraps one."""
    from transformers import PreTrainedModel

    return next(
        (m.config.is_encoder_decoder for m in module.modules() if isinstance(m, PreTrainedModel)),
        False,
    )
