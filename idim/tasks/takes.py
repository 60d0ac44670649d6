"""What a model takes as input, and what a caller brings beside the data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from idim.models import labels_of, positions_of

#: What a label may be called among an example's fields.
LABELS = ("labels", "label", "label_ids")
#: Of the fields that a transformers model takes, those that hold what it reads.
READ = ("input_ids", "pixel_values", "inputs_embeds", "input_values", "input_features")


@dataclass(frozen=True)
class Takes:
    """What a model takes: the names of its inputs, its classes' names, its outputs, its padding.

    ``fields``: empty for a module that is not of transformers, which is given what an example
    holds. ``outputs``: 0 where the model does not tell.
    """

    fields: tuple[str, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()
    outputs: int = 0
    pad: int = 0
    longest: int | None = None
    language: bool = False
    source: str = ""

    @classmethod
    def of(cls, module: nn.Module) -> Takes:
        from transformers import PreTrainedModel

        if not isinstance(module, PreTrainedModel):
            return cls()
        config, language = module.config, module.get_output_embeddings() is not None
        return cls(
            tuple(inspect.signature(module.forward).parameters),
            tuple(labels_of(config).items()),
            0 if language else config.num_labels or 0,
            getattr(config.get_text_config(), "pad_token_id", None) or 0,
            positions_of(config),
            language,
            module.name_or_path or "",
        )


@dataclass(frozen=True)
class Brought:
    """What a caller may bring: a tokenizer, a collator, and the names of columns."""

    tokenizer: Any = None
    collate: Callable[[list[Any]], Any] | None = None
    text_columns: tuple[str, ...] = ()
    label_column: str = ""


def reads(example: object) -> bool:
    """Whether an example is a mapping that holds what a transformers model reads."""
    return isinstance(example, Mapping) and any(key in example for key in READ)
