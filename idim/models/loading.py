"""A model at theta_0, by its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from idim.models.catalogue import ALIASES, one_line, source_of
from idim.models.configuration import config_of
from idim.models.nets import NETS, he_normal, mlp, sizes_of
from idim.models.readers import reader


@dataclass(frozen=True)
class Loaded:
    """A model at theta_0 and a digest of its weights."""

    module: nn.Module
    fingerprint: str

    @property
    def D(self) -> int:
        """The numbers that full fine-tuning trains: what its owner froze is none of them."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)


def load(
    name: str, classes: int, seed: int, head: str = "sequence", names: Sequence[str] = ()
) -> Loaded:
    """The model at theta_0.

    Args:
        name: a name of the catalogue, ``mlp:`` and sizes, a folder or a hub id.
        classes: how many outputs it needs.
        seed: draws what is fresh: a net's weights, or a transformer's new head.
        head: what a transformers model ends in, as a task has it.
        names: what its classes are called, which a saved model tells.

    Raises: IdimError for an unknown name, for an ``mlp:`` whose sizes are not numbers, and for a
        folder or hub id that does not load.
    """
    # Initialisers draw from torch's generator: fork it, so that nobody else's draws move.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % (1 << 63))
        if name in NETS:
            module = NETS[name](classes)
        elif name.startswith("mlp:"):
            module = he_normal(mlp(sizes_of(name, classes)))
        else:
            module = _pretrained(name, classes, head, names)
    return Loaded(module, fingerprint(module))


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _pretrained(name: str, classes: int, head: str, names: Sequence[str] = ()) -> nn.Module:
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source, kwargs = source_of(name)
    # A checkpoint's own head, of other classes, gives way to a fresh one.
    kwargs |= {"num_labels": classes, "ignore_mismatched_sizes": True} if head != "language" else {}
    if names:
        kwargs |= {
            "id2label": dict(enumerate(names)),
            "label2id": {name: i for i, name in enumerate(names)},
        }
    auto = {
        "sequence": "AutoModelForSequenceClassification",
        "image": "AutoModelForImageClassification",
    }.get(head)
    auto = auto or (
        "AutoModelForSeq2SeqLM" if config_of(name).is_encoder_decoder else "AutoModelForCausalLM"
    )
    with one_line(name, auto.removeprefix("AutoModelFor")):
        kind = getattr(transformers, auto)
        made: Any = kind.from_pretrained(source, dtype=torch.float32, **kwargs)
    if "gguf_file" in kwargs:
        # An adapter notes where its base model is found. Nobody else's tools find it inside a
        # package.
        hubs = [hub for alias, (*_, hub) in ALIASES.items() if name in (alias, hub)]
        made.name_or_path = hubs[0]
    if head != "image":
        # What batches are padded with, which need not be the configuration's end-of-sequence token.
        made.config.get_text_config().pad_token_id = reader(name).pad_token_id
    module: nn.Module = made
    return module
