"""From what a program holds to examples by number: pairs, or mappings with ``labels``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, default_collate, default_convert

from idim.errors import IdimError, expected
from idim.models import reader
from idim.tasks.splits import check_split
from idim.tasks.takes import LABELS, READ, Brought, Takes, reads
from idim.tasks.text import tokenised
from idim.values.options import Options

Collate = Callable[[list[Any]], Any]


class _Made(Sequence[Any]):
    """A data set whose examples are made when they are asked for."""

    def __init__(self, data: Any, make: Callable[[Any], Any]):
        self._data, self._make = data, make

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, i: Any) -> Any:
        return self._make(self._data[i])

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


def indexed(what: str, data: Any) -> tuple[Any, Collate | None]:
    """The data set by number, and the collator that a DataLoader brings."""
    collate = None
    if isinstance(data, DataLoader):
        own = data.collate_fn
        collate, data = None if own in (default_collate, default_convert) else own, data.dataset
    if (
        isinstance(data, tuple)
        and len(data) == 2
        and all(hasattr(v, "__len__") for v in data)
        and len(data[0]) == len(data[1]) > 2
    ):
        data = list(zip(*data, strict=True))  # inputs and labels apart
    if hasattr(data, "to_dict") and hasattr(data, "iloc"):  # a pandas data frame
        data = data.to_dict("records")
    if isinstance(data, Mapping):
        data = _rows(what, data)
    if isinstance(data, (IterableDataset, str)) or not (
        hasattr(data, "__len__") and hasattr(data, "__getitem__")
    ):
        raise expected(what, "a data set with a length, indexed by number", type(data).__name__)
    check_split(len(data), what)
    try:
        data[0]
    except Exception as error:  # whatever the data set raises
        raise expected(
            what, "a data set indexed by number", f"{type(error).__name__}: {error}"[:160]
        ) from None
    return data, collate


def _rows(what: str, data: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Columns by name as rows."""
    columns = {str(k): v for k, v in data.items()}
    if not columns or not all(
        hasattr(v, "__len__")
        and not isinstance(v, (str, Mapping))
        and not hasattr(v, "column_names")
        for v in columns.values()
    ):
        raise expected(
            what, "one data set, not several by name", ", ".join(columns) or "an empty mapping"
        )
    if len({len(v) for v in columns.values()}) > 1:
        lengths = ", ".join(f"{k}: {len(v)}" for k, v in columns.items())
        raise expected(what, "columns of one length", lengths)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def with_tokenizer(example: Any, takes: Takes, brought: Brought) -> Brought:
    """Where there are texts and no tokenizer, take the one beside the model's checkpoint."""
    values: Any = ()
    if isinstance(example, Mapping):
        values = example.items()
    elif isinstance(example, (tuple, list)) and example:
        values = [("", example[0])]
    labels = (*LABELS, brought.label_column)
    texts = any(isinstance(v, str) and key not in labels for key, v in values)
    if not texts or reads(example) or brought.tokenizer is not None or not takes.fields:
        return brought
    try:
        found = reader(takes.source) if takes.source else None
    except IdimError:
        found = None
    return dataclasses.replace(brought, tokenizer=found)


def prepared(
    what: str, data: Any, takes: Takes, brought: Brought, options: Options
) -> tuple[Any, list[str]]:
    """Examples as pairs, or as mappings of what the model takes and ``labels``.

    Returns: the examples, and where they were made of texts those texts, else none.
    """
    first = data[0]
    if (
        isinstance(first, (tuple, list))
        and len(first) >= 2
        and isinstance(first[0], (str, Mapping))
        and takes.fields
    ):
        make = _of_text if isinstance(first[0], str) else _of_mapping
        data = _Made(data, make)
        first = data[0]
    if isinstance(first, (tuple, list)):
        if len(first) < 2:
            raise expected(f"{what}: example", "inputs and a label", f"{len(first)} value")
        return data, []
    if not isinstance(first, Mapping):
        raise expected(
            f"{what}: example", "inputs and a label, or a mapping with labels", type(first).__name__
        )
    label = brought.label_column or next((key for key in LABELS if key in first), "")
    if label not in first:
        raise expected(
            f"{what}: example",
            f"a label, called {brought.label_column or ' or '.join(LABELS[:2])}",
            ", ".join(map(str, first)),
        )
    if not takes.fields:
        return _Made(
            data,
            lambda row: {
                **{k: v for k, v in row.items() if k != label},
                "labels": _there(what, row, label),
            },
        ), []
    kept = [
        key
        for key in first
        if key in takes.fields and key not in (*LABELS, label) and not isinstance(first[key], str)
    ]
    if any(key in kept for key in READ):
        return _Made(
            data,
            lambda row: {
                **{k: _there(what, row, k) for k in kept},
                "labels": _there(what, row, label),
            },
        ), []
    return _tokenised(what, data, label, takes, brought, options)


def _tokenised(
    what: str, data: Any, label: str, takes: Takes, brought: Brought, options: Options
) -> tuple[list[dict[str, Any]], list[str]]:
    """Examples of texts, and the texts."""
    first = data[0]
    columns = brought.text_columns or tuple(
        key for key in first if isinstance(first[key], str) and key != label
    )
    if not 1 <= len(columns) <= 2 or not all(key in first for key in columns):
        raise expected(
            f"{what}: example",
            "what the model takes (" + ", ".join(takes.fields[:4]) + " …), or one or two texts",
            ", ".join(map(str, first)),
        )
    if brought.tokenizer is None:
        raise expected("tokenizer", f"one for the texts of {what}", None)
    rows = [data[i] for i in range(len(data))]
    strange = [row.get(key) for row in rows for key in columns if not isinstance(row.get(key), str)]
    if strange:
        raise expected(f"{what}: {columns[0]}", "a text in every example", str(strange[0])[:80])
    most = min(options.max_seq_length, takes.longest or options.max_seq_length)
    texts = [tuple(row[key] for key in columns) for row in rows]
    encoded = tokenised(texts, brought.tokenizer, most)
    return [
        {**{k: v for k, v in code.items() if k in takes.fields}, "labels": _there(what, row, label)}
        for code, row in zip(encoded, rows, strict=True)
    ], [" ".join(text) for text in texts]


def _of_text(pair: Any) -> dict[str, Any]:
    return {"text": pair[0], "labels": pair[1]}


def _of_mapping(pair: Any) -> dict[str, Any]:
    return {**pair[0], "labels": pair[1]}


def _there(what: str, row: Mapping[str, Any], key: str) -> Any:
    if row.get(key) is None:
        raise expected(f"{what}: example", f"a value of {key}", "none")
    return row[key]
