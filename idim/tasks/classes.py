"""The classes of a task: their names, and the number of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from idim.errors import expected, listed


@dataclass(frozen=True)
class Classes:
    """Names of classes in their order, the number of each name that the data uses, and what their
    owner should know."""

    names: tuple[str, ...]
    number: Mapping[str, int]
    notes: tuple[str, ...] = ()


def classes_of(names: Iterable[str], labels: Iterable[tuple[str, int]], where: str) -> Classes:
    """Classes numbered as the model numbers them where it knows all their names (in any case of
    letters), else in the order given; sets are sorted.

    ``labels``: the model's names and their numbers, each of 0..n-1 once. Where it has names that
    are not these, a note says so.
    """
    names = sorted(names) if isinstance(names, (set, frozenset)) else list(names)
    known = dict(labels)
    folded = {_folded(name): number for name, number in known.items()}
    for own, key in ((known, str), (folded, _folded)):
        if (
            names
            and len(own) == len(known)
            and len({key(name) for name in names}) == len(names)
            and all(key(name) in own for name in names)
        ):
            return Classes(
                tuple(sorted(known, key=lambda name: known[name])),
                {name: own[key(name)] for name in names},
            )
    notes: tuple[str, ...] = ()
    if known:
        notes = (
            f"{where}: the model calls its classes {listed(known, 5)}, the data "
            f"{listed(names, 5)}; the data's order was taken",
        )
    return Classes(tuple(names), {name: i for i, name in enumerate(names)}, notes)


def classes_of_numbers(
    numbers: Iterable[int], labels: Iterable[tuple[str, int]], where: str
) -> Classes:
    """Classes of labels that are whole numbers other than 0..C-1.

    The numbers, in their order, are the names. A note says which class each of them is.
    """
    made = classes_of(map(str, sorted(numbers)), labels, where)
    came, became = listed(made.number, 5), listed(made.number.values(), 5)
    note = f"{where}: the labels {came} are the classes {became}"
    return dataclasses.replace(made, notes=(*made.notes, note))


def _folded(name: str) -> str:
    return name.strip().casefold()


def check_labels(labels: torch.Tensor, classes: int, where: str) -> None:
    bad = labels[(labels < 0) | (labels >= classes)]
    if bad.numel():
        raise expected(
            f"{where}: labels", f"whole numbers 0..{classes - 1}", sorted(set(bad.tolist()))[:5]
        )
