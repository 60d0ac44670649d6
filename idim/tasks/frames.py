"""Tables in files: csv, json, jsonl and parquet, and what rows a task takes from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from idim.errors import expected
from idim.tasks.base import COMPLETION, REGRESSION, Options, carve

READERS = {".csv": "read_csv", ".json": "read_json", ".jsonl": "read_json", ".parquet": "read_parquet"}


@dataclass(frozen=True)
class Table:
    """Rows of text: one tuple of texts and one label each, a class, a number or what completes the text."""

    texts: list[tuple[str, ...]]
    labels: list[int] | list[float] | list[str]

    def take(self, index: torch.Tensor) -> Table:
        chosen = index.tolist()
        return Table([self.texts[i] for i in chosen], [self.labels[i] for i in chosen])


def read(path: Path):
    """A data frame with texts as they are written: pandas would make numbers of 007 and missing values of None."""
    import pandas as pd

    if path.suffix not in READERS:
        raise expected(str(path), "a file ending in " + ", ".join(READERS), path.suffix or "no ending")
    try:
        kwargs = {
            ".csv": {"dtype": str, "keep_default_na": False, "na_values": [""]}, ".json": {"dtype": False},
            ".jsonl": {"lines": True, "dtype": False}, ".parquet": {},
        }[path.suffix]
        return getattr(pd, READERS[path.suffix])(path, **kwargs)
    except Exception as error:  # a broken file raises what its parser likes
        raise expected(str(path), f"a readable {path.suffix[1:]} file", str(error).splitlines()[0][:160]) from None


def rows(frame, columns: Iterable[str], label: str, where: str, metric: str, classes: dict[object, int] | None = None) -> Table:
    """``classes`` gives the labels' numbers where they have names."""
    columns = tuple(columns)
    for column in (*columns, label):
        if column not in frame.columns:
            raise expected(where, f"a column {column!r}", ", ".join(map(str, frame.columns)))
    frame = frame.dropna(subset=[*columns, label])
    for column in (*columns, *([label] if metric in COMPLETION else [])):
        strange = [v for v in frame[column] if not isinstance(v, (str, int, float))]
        if strange:
            raise expected(f"{where}: {column}", "text", strange[0])
    texts = list(zip(*(frame[c].astype(str) for c in columns), strict=True))
    if metric in COMPLETION:
        return Table(texts, [str(v) for v in frame[label]])
    numbers = as_numbers(frame[label])
    values = (frame[label] if numbers is None or classes is not None else numbers).tolist()
    if metric in REGRESSION:
        if numbers is None:
            raise expected(f"{where}: labels", f"numbers, as {metric} asks", next((v for v in values if isinstance(v, str)), values[:1]))
        return Table(texts, [float(v) for v in values])
    if classes is not None:
        strange = sorted({str(v) for v in values if str(v) not in classes})
        if strange:
            raise expected(f"{where}: labels", "the classes of the training part: " + ", ".join(map(str, classes)), ", ".join(strange[:5]))
        values = [classes[str(v)] for v in values]
    wrong = [v for v in values if isinstance(v, (str, bool)) or int(v) != v]
    if wrong:
        raise expected(f"{where}: labels", "whole numbers 0..C-1", wrong[0])
    return Table(texts, [int(v) for v in values])


def as_numbers(column):
    """The column where all that it holds are numbers, written as such or not; else None."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype

    if is_bool_dtype(column):
        return None
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return None


def divide(parts: dict[str, Table], options: Options) -> dict[str, Table]:
    """``parts`` has train and test, or more; tune and locked are carved from train unless they came or none is wanted."""
    train = parts["train"]
    wanted = {} if options.official else {k: 0.1 for k in ("tune", "locked") if k not in parts}
    cut = carve(len(train.labels), wanted)
    tables = {k: train.take(i) for k, i in cut.items()} | {k: v for k, v in parts.items() if k not in ("train", "test")}
    tables["measure"] = parts["test"]
    caps = {"train": options.max_train_samples, "measure": options.max_eval_samples}
    for split, most in caps.items():
        tables[split] = tables[split].take(options.capped(torch.arange(len(tables[split].labels)), most))
    return tables
