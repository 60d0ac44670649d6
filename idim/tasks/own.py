"""A task of the user's own: a table, a folder of tables, or a TOML file that declares one."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idim.errors import expected, one_of
from idim.tasks.base import Task
from idim.tasks.classes import Classes
from idim.tasks.completion import Completion
from idim.tasks.frames import Table, counted, divide, named, rows
from idim.tasks.reading import Part, beginning, part_of, read
from idim.tasks.scores import COMPLETION, METRICS, REGRESSION
from idim.tasks.splits import EVALUATION, carve
from idim.tasks.text import Text
from idim.values.options import Options


@dataclass(frozen=True)
class Declared:
    """What a table of the user's own holds, from flags or from a task file.

    Its columns decide what is left empty.
    """

    name: str
    parts: dict[str, Part]
    text: tuple[str, ...] = ()
    label: str = ""
    metric: str = ""
    chance: float | None = None

    def resolved(self, columns: Iterable[str]) -> Declared:
        """This, with what the columns decide filled in.

        A column ``completion``, and nothing said of labels, means prompts and completions.
        """
        completes = self.metric in COMPLETION or (
            not (self.metric or self.label) and "completion" in columns and "label" not in columns
        )
        text = ("prompt",) if completes else ("text", "text2") if "text2" in columns else ("text",)
        label, metric = ("completion", "loss") if completes else ("label", "accuracy")
        return dataclasses.replace(
            self, text=self.text or text, label=self.label or label, metric=self.metric or metric
        )


def files(path: str, tokenizer: Any, options: Options) -> Task:
    """A task of the user's own files: csv, json, jsonl or parquet.

    A folder with train.* and validation.*, one such file, or a TOML file that declares a task.
    In a folder a part is one file, or all shards of one. One file alone is split by a fixed seed: a
    fifth measures. Columns are ``text`` (and ``text2`` for pairs) and ``label``, or ``prompt`` and
    ``completion``, unless the options say otherwise. Labels are whole numbers, or names. Names are
    numbered as the model's configuration numbers them, or alphabetically where it does not know
    them. So are numbers other than 0..C-1, but in the numbers' order. Rows with a missing value are
    left out, and counted.
    """
    declared = _declared(Path(path), options)
    frames = {part: read(file) for part, file in declared.parts.items()}
    declared = declared.resolved(frames["train"].columns)
    if len(frames) == 1:
        frame = frames["train"]
        cut = carve(len(frame), {"test": 0.2}, cap=len(frame))
        frames = {part: frame.iloc[index.tolist()] for part, index in cut.items()}
    labels = frames["train"].get(declared.label)
    classes = (
        named(labels, options, f"{path}, train: {declared.label}")
        if declared.metric in METRICS and labels is not None
        else None
    )
    number = classes.number if classes else None
    parts = {
        part: rows(frame, declared.text, declared.label, f"{path}, {part}", declared.metric, number)
        for part, frame in frames.items()
    }
    if not parts["train"].labels:
        raise expected(f"{path}, train", "at least one example", "none")
    if declared.metric in METRICS and classes is None:
        parts, classes = counted(parts, options, path)
    made = _made(declared, parts, classes, tokenizer, options)
    if declared.chance is not None:
        if made.metric == "-loss" and declared.chance > 0:
            raise expected(f"{path}: chance", "minus a loss, which is not above 0", declared.chance)
        made.majority = declared.chance
    dropped = sum(len(frame) for frame in frames.values()) - sum(
        len(table.labels) for table in parts.values()
    )
    if dropped:
        made.notes = (*made.notes, f"{path}: {dropped} rows with a missing value were left out")
    return made


def _made(
    declared: Declared,
    parts: dict[str, Table],
    named: Classes | None,
    tokenizer: Any,
    options: Options,
) -> Task:
    if declared.metric in COMPLETION:
        if len(declared.text) != 1:
            raise expected("--text-columns", "one column with the prompt", ",".join(declared.text))
        return Completion(
            declared.name,
            declared.metric,
            divide(parts, options),
            tokenizer,
            options.max_seq_length,
        )
    classes = len(named.names) if named else len(set(parts["train"].labels))
    return Text(
        declared.name,
        declared.metric,
        divide(parts, options),
        1 if declared.metric in REGRESSION else max(2, classes),
        tokenizer,
        options.max_seq_length,
        named,
    )


def _declared(path: Path, options: Options) -> Declared:
    if path.suffix == ".toml":
        declared = read_task_file(path)
    elif path.is_dir():
        declared = Declared(
            path.name, {"train": part_of(path, ("train",)), "test": _evaluation(path)}
        )
    else:
        declared = Declared(path.name, {"train": Part((path,))})
    flags: dict[str, Any] = {
        "text": options.text_columns,
        "label": options.label_column,
        "metric": options.metric,
    }
    declared = dataclasses.replace(declared, **{k: v for k, v in flags.items() if v})
    known = (*METRICS, *REGRESSION, *COMPLETION)
    if declared.metric and declared.metric not in known:
        raise one_of("metric", known, declared.metric)
    return declared


def read_task_file(path: Path) -> Declared:
    """A task in TOML.

    Its keys: ``text`` (a column or a list of two), ``label``, ``metric``, ``train`` and
    ``evaluation`` (files, from the TOML file's folder), ``chance``.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise expected(str(path), "a task in TOML", str(error)) from None
    known: dict[str, Any] = {
        "name": str,
        "train": str,
        "evaluation": str,
        "text": (str, list),
        "label": str,
        "metric": str,
        "chance": (int, float),
    }
    for key, value in raw.items():
        if key not in known:
            raise one_of(f"{path}: key", known, key)
        if isinstance(value, bool) or not isinstance(value, known[key]):
            raise expected(
                f"{path}: {key}",
                "text"
                if known[key] is str
                else "text or a list of texts"
                if key == "text"
                else "a number",
                value,
            )
    if "train" not in raw:
        raise expected(f"{path}: train", "the file with the training examples", None)
    parts = {
        part: path.parent / raw[key]
        for part, key in (("train", "train"), ("test", "evaluation"))
        if key in raw
    }
    for part, file in parts.items():
        if "\0" in str(file) or not file.is_file():
            raise expected(f"{path}: {part}", "a file beside it", str(file))
    if not math.isfinite(raw.get("chance", 0)):
        raise expected(f"{path}: chance", "a finite number", raw["chance"])
    text = raw.get("text", ())
    if not all(isinstance(column, str) for column in text):
        raise expected(f"{path}: text", "text or a list of texts", text)
    return Declared(
        raw.get("name", path.stem),
        {part: Part((file,)) for part, file in parts.items()},
        (text,) if isinstance(text, str) else tuple(text),
        raw.get("label", ""),
        raw.get("metric", ""),
        raw.get("chance"),
    )


def _evaluation(folder: Path) -> Part:
    """What a folder is measured on: its validation part, or where it has none its test part."""
    *validation, _ = EVALUATION
    return part_of(folder, validation if beginning(folder, validation) else EVALUATION)
