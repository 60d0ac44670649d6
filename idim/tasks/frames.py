"""What rows a task takes from a table."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from idim.errors import expected, listed
from idim.tasks.classes import Classes, classes_of, classes_of_numbers
from idim.tasks.reading import column_names
from idim.tasks.scores import COMPLETION, REGRESSION
from idim.tasks.splits import capped, carve
from idim.values.options import Options

#: Above this two whole numbers may be one float.
_EXACT = 1 << 53
#: For who took a column of numbers for one of classes.
_WAY_OUT = " (for numbers to predict use --metric pearson)"


@dataclass(frozen=True)
class Table:
    """Rows of text. A row has a tuple of texts and a label: a class, a number or a completion."""

    texts: list[tuple[str, ...]]
    labels: list[Any]  # all of one kind: int, float or str

    def take(self, index: torch.Tensor) -> Table:
        chosen = index.tolist()
        return Table([self.texts[i] for i in chosen], [self.labels[i] for i in chosen])


def rows(
    frame: Any,
    columns: Iterable[str],
    label: str,
    where: str,
    metric: str,
    classes: Mapping[str, int] | None = None,
) -> Table:
    """``classes`` gives the labels' numbers where they have names. Rows with a missing value are
    left out."""
    columns = tuple(columns)
    for column in (*columns, label):
        if column not in frame.columns:
            raise expected(where, f"a column {column!r}", column_names(frame))
    frame = frame.dropna(subset=[*columns, label])
    for column in (*columns, *([label] if metric in COMPLETION else [])):
        strange = [v for v in frame[column] if not isinstance(v, (str, int, float))]
        if strange:
            raise expected(f"{where}: {column}", "text", strange[0])
    if metric not in COMPLETION:
        frame = frame[_said(frame[label], f"{where}: {label}")]
    texts = list(zip(*(frame[c].astype(str) for c in columns), strict=True))
    if metric in COMPLETION:
        return Table(texts, [str(v) for v in frame[label]])
    values = as_numbers(frame[label])
    where = f"{where}: labels"
    if metric in REGRESSION:
        if values is None:
            raise expected(
                where,
                f"numbers, as {metric} asks",
                next((v for v in frame[label] if isinstance(v, str)), frame[label].tolist()[:1]),
            )
        strange = [v for v in values if not math.isfinite(v)]
        if strange:
            raise expected(where, f"finite numbers, as {metric} asks", strange[0])
        return Table(texts, [float(v) for v in values])
    if classes is not None:
        written = [as_written(v) for v in frame[label]]
        strange = sorted({v for v in written if v not in classes})
        if strange:
            raise expected(
                where, f"the classes of the training part: {listed(classes)}", listed(strange, 5)
            )
        return Table(texts, [classes[v] for v in written])
    values = frame[label].tolist() if values is None else values
    wrong = [
        v
        for v in values
        if isinstance(v, (str, bool)) or not math.isfinite(v) or int(v) != v or abs(v) > _EXACT
    ]
    if wrong:
        raise expected(where, f"whole numbers or names as classes{_WAY_OUT}", wrong[0])
    return Table(texts, [int(v) for v in values])


def _said(column: Any, where: str) -> Any:
    """Of each label whether it is there: one of blanks alone is missing. Errors: a label that is
    neither text nor a number."""
    strange = [v for v in column if not isinstance(v, (str, numbers.Real))]
    if strange:
        raise expected(where, "text or numbers as labels", str(strange[0])[:80])
    return np.array([not isinstance(v, str) or bool(v.strip()) for v in column], dtype=bool)


def as_written(label: object) -> str:
    """A label as a name: 1.0, which pandas makes of 1 in a column with missing values, is 1."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def as_numbers(column: Any) -> list[Any] | None:
    """The column where all that it holds are numbers, written as such or not; else None."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype

    if is_bool_dtype(column) or any(isinstance(v, bool) for v in column):
        return None
    for read in (
        lambda: pd.to_numeric(column).tolist(),
        lambda: [float(v) for v in column],
    ):  # nan, too, is a number
        try:
            return read()
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def named(column: Any, options: Options, where: str) -> Classes | None:
    """The classes of a column of labels that are names, or that the model's configuration names;
    None where they are numbers."""
    column = column.dropna()
    column = column[_said(column, where)]
    names = {as_written(v) for v in column}
    plain = as_numbers(column) is not None
    if not names or (plain and not names <= set(dict(options.labels))):
        return None
    return classes_of(names, options.labels, where)


def counted(
    parts: dict[str, Table], options: Options, where: str
) -> tuple[dict[str, Table], Classes | None]:
    """Tables whose labels are 0..C-1, of ones whose labels are whole numbers.

    Numbers that are 0..C-1 stay as they are and name nothing. Of others each that the training part
    has names a class, in the numbers' order.

    Raises: IdimError for a number that the training part lacks, where numbers are names.
    """
    numbers = sorted(set(parts["train"].labels))
    if numbers == list(range(len(numbers))):
        return parts, None
    for part, table in parts.items():
        strange = sorted(set(table.labels) - set(numbers))
        if strange:
            raise expected(
                f"{where}, {part}: labels",
                f"the classes of the training part: {listed(numbers)}{_WAY_OUT}",
                listed(strange, 5),
            )
    classes = classes_of_numbers(numbers, options.labels, where)
    return {
        part: dataclasses.replace(table, labels=[classes.number[str(v)] for v in table.labels])
        for part, table in parts.items()
    }, classes


def renumbered(
    parts: dict[str, Table], names: Sequence[str], options: Options, where: str
) -> tuple[dict[str, Table], Classes]:
    """Tables whose labels number these names, numbered as the model does where it knows them, else
    as they are."""
    classes = classes_of(names, options.labels, where)
    return {
        part: dataclasses.replace(
            table,
            labels=[classes.number[names[i]] if 0 <= i < len(names) else i for i in table.labels],
        )
        for part, table in parts.items()
    }, classes


def divide(parts: dict[str, Table], options: Options) -> dict[str, Table]:
    """The splits of a task. ``parts`` has train and test, or more.

    tune and locked are carved from train, unless they came or none is wanted.
    """
    train = parts["train"]
    wanted = {} if options.official else {k: 0.1 for k in ("tune", "locked") if k not in parts}
    cut = carve(len(train.labels), wanted)
    tables = {k: train.take(i) for k, i in cut.items()} | {
        k: v for k, v in parts.items() if k not in ("train", "test")
    }
    tables["measure"] = parts["test"]
    caps = {"train": options.max_train_samples, "measure": options.max_eval_samples}
    for split, most in caps.items():
        tables[split] = tables[split].take(capped(torch.arange(len(tables[split].labels)), most))
    return tables
