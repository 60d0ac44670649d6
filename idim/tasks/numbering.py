"""Which class each of a program's labels means: names, truth values, or whole numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from idim.errors import expected, listed
from idim.tasks.batches import IGNORED
from idim.tasks.classes import classes_of, classes_of_numbers
from idim.tasks.takes import Takes

#: The most classes of a model that does not say how many outputs it has. A label above this is
#: no number of a class.
_MOST_CLASSES = 1 << 31
#: Stands for a label that is a list or a vector, as of a model with a label a token.
MANY = object()


@dataclass(frozen=True)
class Numbering:
    """The class of each label. Empty where labels are no classes.

    ``replaces``: whether the loss, too, is given the classes in place of the labels.
    """

    number: Mapping[Any, int]
    replaces: bool = False
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def truth(self, labels: torch.Tensor) -> torch.Tensor:
        """Classes, where the loss is given other labels."""
        if not self.number or self.replaces or (labels.dim() > 1 and labels.shape[-1] > 1):
            return labels
        return torch.tensor([self.number[v] for v in labels.flatten().tolist()], dtype=torch.long)


#: Labels as they are.
AS_THEY_ARE = Numbering({})


def numbered(
    train: set[Any], evaluation: set[Any], takes: Takes, classes: bool, ours: bool
) -> Numbering:
    """Find the class of each label.

    Args:
        train: the labels of the training part, each once.
        evaluation: those of the part that is measured on.
        takes: what the model takes.
        classes: whether the metric asks for classes.
        ours: whether the loss is the default one.

    Raises: IdimError for labels that are no classes where classes are asked for.
    """
    train, evaluation = train - {MANY}, evaluation - {MANY}
    for what, found in (("train", train), ("evaluation", evaluation)):
        strange = [v for v in found if isinstance(v, float) and not math.isfinite(v)]
        if strange:
            raise expected(f"{what}: labels", "finite numbers or names", strange[0])
    names = {v for v in train if isinstance(v, str)}
    if names and names != train:
        raise expected(
            "train: labels", "names or numbers, not both", ", ".join(sorted(map(repr, train))[:4])
        )
    # A loss of the caller's own may ask for any numbers, and so may one output.
    free = takes.outputs == 1 or not ours or any(isinstance(v, float) for v in train)
    if not train or (not names and not classes and free):
        return AS_THEY_ARE
    most = max(takes.outputs, 2) if takes.outputs else _MOST_CLASSES
    number, called, notes = _classes(train, names, takes, most)
    unknown = sorted(map(repr, evaluation - set(number)))
    if unknown:
        what = f"the classes of train: {listed(number, 8)}"
        raise expected("evaluation: labels", what, unknown[0])
    replaces = bool(names) or (
        ours and any(isinstance(v, (bool, float)) or number[v] != v for v in train)
    )
    return Numbering(number, replaces, called, notes)


def _classes(
    train: set[Any], names: set[str], takes: Takes, most: int
) -> tuple[dict[Any, int], tuple[str, ...], tuple[str, ...]]:
    """The class of each label, the classes' names, and what their owner should know."""
    if names:
        named = classes_of(names, takes.labels, "train")
        if takes.outputs and len(named.names) > most:
            raise expected(
                "train: labels",
                f"at most {takes.outputs} names, the outputs of the model",
                len(named.names),
            )
        return dict(named.number), named.names, named.notes
    broken = sorted(v for v in train if v != int(v))
    wrong = broken or sorted(v for v in train if not 0 <= v < most)
    if not wrong:
        return {v: int(v) for v in train}, (), ()
    # The loss passes over the label IGNORED, so that it is no class.
    if not broken and IGNORED not in train and 2 <= len(train) <= most:
        named = classes_of_numbers(map(int, train), takes.labels, "train")
        if len(named.names) <= most:
            return {v: named.number[str(int(v))] for v in train}, named.names, named.notes
    what = "classes 0..C-1, names or other whole numbers"
    if takes.outputs:
        what = f"classes 0..{most - 1}, or at most {most} names or other whole numbers"
    if broken:
        what += ' (for numbers to predict use metric="pearson")'
    raise expected("train: labels", what, wrong[0])


def label_of(example: Any) -> Any:
    """The label among an example's fields, or at the end of a pair."""
    return example["labels"] if isinstance(example, Mapping) else example[-1]


def scalar(label: Any) -> Any:
    """A label as Python has it: of tensors and arrays of one value that value."""
    return label.item() if isinstance(label, (torch.Tensor, np.ndarray, np.generic)) else label


def plain(what: str, label: Any) -> Any:
    """The label, or MANY for one that is a list or a vector.

    Raises: IdimError for anything but text and numbers.
    """
    if (isinstance(label, (torch.Tensor, np.ndarray)) and label.ndim) or isinstance(
        label, (list, tuple)
    ):
        return MANY
    label = scalar(label)
    if not isinstance(label, (str, bool, int, float)):
        raise expected(f"{what}: labels", "names or numbers", type(label).__name__)
    if isinstance(label, int) and abs(label) >= 1 << 63:
        raise expected(f"{what}: labels", "numbers of at most 64 bits", label)
    return label
