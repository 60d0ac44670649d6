"""Mistakes in a task's data that train well and answer wrongly. They are found before training.

What leaves nothing to measure is an ``IdimError``. What a user may have meant is a note.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from idim.errors import expected, listed

#: The split that is measured on. All others come from the training part.
MEASURE = "measure"
_SHOWN = 5


def of_classes(
    name: str,
    splits: Mapping[str, Sequence[Any]],
    shown: Callable[[Any], str] = str,
    parts: tuple[str, str] = ("train", "evaluation"),
) -> tuple[str, ...]:
    """What is wrong with the classes of each split.

    Args:
        name: the task, for the message.
        splits: the label of each example, by split.
        shown: what a label is called.
        parts: what a message calls the training part and the part that is measured on.

    Returns: notes on classes that are not measured, not trained, or rarer than the splits.
    Raises: IdimError for a part of one class, and for a class that training never shows.
    """
    train = Counter(v for split, labels in splits.items() if split != MEASURE for v in labels)
    asked = Counter(splits[MEASURE])
    for part, found in zip(parts, (train, asked), strict=True):
        if len(found) == 1:
            alone = f"{shown(next(iter(found)))} alone"
            raise expected(f"{part}: labels", "at least two classes", alone)
    strange = [v for v in asked if v not in train]
    if strange:
        known, came = _few(train, shown), _few(strange, shown)
        raise expected(f"{parts[1]}: labels", f"the classes of {parts[0]}: {known}", came)
    notes = []
    unmeasured = [v for v in train if v not in asked]
    if unmeasured:
        notes.append(f"{name}: no example of {_few(unmeasured, shown)} is measured on")
    untrained = [v for v in train if v in asked and v not in set(splits["train"])]
    if untrained:
        notes.append(
            f"{name}: no example of {_few(untrained, shown)} is left to train on, "
            "after some were set aside for tuning and for the locked score"
        )
    rare = [v for v in train if train[v] + asked[v] < len(splits)]
    if rare:
        notes.append(
            f"{name}: fewer examples than the {len(splits)} splits have the classes "
            + _few(rare, lambda v: f"{shown(v)} ({train[v] + asked[v]})")
        )
    return tuple(notes)


def of_numbers(
    splits: Mapping[str, Sequence[float]], metric: str, parts: tuple[str, str]
) -> tuple[str, ...]:
    """Raises: IdimError where a part of a regression has one number only."""
    train = {v for split, labels in splits.items() if split != MEASURE for v in labels}
    for part, found in zip(parts, (train, set(splits[MEASURE])), strict=True):
        if len(found) == 1:
            alone = f"{next(iter(found)):g} alone"
            raise expected(f"{part}: labels", f"numbers that differ, as {metric} asks", alone)
    return ()


def of_rows(name: str, train: Iterable[Hashable], measure: Sequence[Hashable]) -> tuple[str, ...]:
    """A note that counts the examples that are both trained and measured on."""
    known = set(train)
    both = sum(row in known for row in measure)
    if not both:
        return ()
    return (
        f"{name}: {both} of the {len(measure)} evaluation examples are in the training part too; "
        "the score says too much",
    )


def digest(parts: Iterable[bytes]) -> bytes:
    """What stands for an example among many."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(part)
    return made.digest()


def of_texts(name: str, texts: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """A note that counts the examples whose texts are all empty."""
    empty = sum(not any(text.strip() for text in row) for row in texts)
    return (f"{name}: {empty} examples have an empty text",) if empty else ()


def _few(labels: Iterable[Any], shown: Callable[[Any], str]) -> str:
    """Some of the labels, in order where they have one."""
    found = list(labels)
    try:
        found.sort()
    except TypeError:
        found.sort(key=repr)
    return listed(map(shown, found), _SHOWN)
