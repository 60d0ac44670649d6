"""What a transformers model's configuration says of it, before its weights are loaded."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import torch

from idim.models.catalogue import is_pretrained, one_line, source_of
from idim.models.hub import quiet


@lru_cache(maxsize=8)  # of a GGUF file it takes seconds
def config_of(name: str) -> Any:
    """The configuration of a transformers model."""
    from transformers import AutoConfig

    source, kwargs = source_of(name)
    with one_line(name):
        return AutoConfig.from_pretrained(source, **kwargs)


@lru_cache(maxsize=8)
def positions(name: str) -> int | None:
    """The longest input that a transformer has positions for.

    None for nets, and where the configuration sets no limit.
    """
    return positions_of(config_of(name)) if is_pretrained(name) else None


def positions_of(config: Any) -> int | None:
    """As ``positions``, of a configuration. Cost: the model's modules, without their weights.

    RoBERTa and its kin number positions from their padding token on, so that their tables have rows
    that no text reaches.
    """
    from transformers import AutoModel

    config = config.get_text_config()
    # XLNet, which has no limit, says -1.
    keys = {
        "max_position_embeddings",
        *(key for key in vars(config) if re.fullmatch("max_(en|de)coder_position_embeddings", key)),
    }
    limits = [
        value for key in keys if isinstance(value := getattr(config, key, None), int) and value > 0
    ]
    try:
        with torch.device("meta"), quiet():
            tables = list(AutoModel.from_config(config).named_modules())
    except Exception:  # a kind of model that has no backbone of its own
        tables = []
    for part, module in tables:
        if (
            getattr(module, "padding_idx", None) is not None
            and hasattr(module, "weight")
            and "position" in part.rpartition(".")[2]
        ):
            limits.append(len(module.weight) - module.padding_idx - 1)
    return min(limits, default=None)


def labels(name: str) -> dict[str, int]:
    """What a transformers model calls its classes, and their numbers 0..n-1; empty for nets and
    where names or numbers are missing or twice."""
    return labels_of(config_of(name)) if is_pretrained(name) else {}


def labels_of(config: Any) -> dict[str, int]:
    """As ``labels``, of a configuration. Where its two tables differ, the one that has names of its
    own counts: transformers fills the other in."""
    one, other = (getattr(config, key, None) or {} for key in ("id2label", "label2id"))
    for found in ({str(v): k for k, v in one.items()}, {str(k): v for k, v in other.items()}):
        try:
            found = {label: int(number) for label, number in found.items()}
        except (TypeError, ValueError):
            continue
        plain = all(re.fullmatch(r"LABEL_\d+", label) for label in found)
        if sorted(found.values()) == list(range(max(len(one), 1))) and not plain:
            return found
    return {}
