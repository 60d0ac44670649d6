"""Mistakes in data that would train well and answer wrongly, in whatever holds the data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from idim import tasks
from idim.errors import IdimError
from idim.tasks.base import Task
from idim.tasks.in_memory import InMemoryTask
from idim.tasks.takes import Brought, Takes
from idim.values.options import Options

WORDS = ("good", "bad", "film", "the", "very", "not", "a")
TEXT = Takes(fields=("input_ids", "attention_mask"), labels=(), outputs=0)


def rows(labels: str, first: int = 0) -> list[tuple[str, str]]:
    """One row a letter. No two rows, from whatever ``first``, have the same text."""
    return [
        (" ".join(WORDS[(first + i) // 7**k % 7] for k in range(4)), label)
        for i, label in enumerate(labels)
    ]


Rows = list[tuple[str, str]]


def table(folder: Path, tokenizer, train: Rows, evaluation: Rows) -> Task:
    for name, part in (("train", train), ("validation", evaluation)):
        lines = [json.dumps({"text": text, "label": label}) for text, label in part]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return tasks.load(str(folder), tokenizer, Options())


def numbers_in_a_table(folder: Path, tokenizer, train: Rows, evaluation: Rows) -> Task:
    train, evaluation = ([(t, "abc".index(y)) for t, y in part] for part in (train, evaluation))
    return table(folder, tokenizer, train, evaluation)


def texts_in_memory(folder: Path, tokenizer, train: Rows, evaluation: Rows) -> Task:
    brought = Brought(tokenizer)
    return InMemoryTask("t", train, evaluation, "accuracy", None, takes=TEXT, brought=brought)


def vectors_in_memory(folder: Path, tokenizer, train: Rows, evaluation: Rows) -> Task:
    train, evaluation = (
        [
            (torch.tensor([float(WORDS.index(w)) for w in t.split()]), "abc".index(y))
            for t, y in part
        ]
        for part in (train, evaluation)
    )
    return InMemoryTask("t", train, evaluation, "accuracy", None)


def pictures(folder: Path, tokenizer, train: Rows, evaluation: Rows) -> Task:
    for name, part in (("train", train), ("validation", evaluation)):
        for i, (text, label) in enumerate(part):
            file = folder / name / label / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            shown = np.array([[WORDS.index(word) for word in text.split()]], np.uint8)
            Image.fromarray(shown).save(file)
    return tasks.load(str(folder), None, Options())


HOLDERS = (table, numbers_in_a_table, texts_in_memory, vectors_in_memory, pictures)
MANY = "ab" * 30


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture(params=HOLDERS, ids=lambda holder: holder.__name__)
def hold(request, tmp_path, tokenizer):
    return lambda train, evaluation: request.param(tmp_path, tokenizer, train, evaluation)


def test_data_without_a_mistake_have_no_note(hold):
    assert hold(rows(MANY), rows("abab", 100)).notes == ()


@pytest.mark.parametrize(
    ("train", "evaluation", "says"),
    [
        (MANY, "aaaa", "labels: expected at least two classes; got '.* alone'"),
        ("a" * 60, "aaaa", "at least two classes|each of two classes"),
        ("a" * 60, "abab", "at least two classes|each of two classes|the classes of t|0..1|0..0"),
        (MANY, "abca", "the classes of t|whole numbers 0..1"),
    ],
    ids=["one class measured", "one class", "one class trained", "a class that is not trained"],
)
def test_what_leaves_nothing_to_measure_is_one_line(hold, train, evaluation, says):
    with pytest.raises(IdimError, match=says) as told:
        hold(rows(train), rows(evaluation, 100))
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("train", "evaluation", "says"),
    [
        (rows(MANY + "c" * 30), rows("abab", 100), "no example of [c2] is measured on"),
        (rows(MANY + "c"), rows("abc", 100), r"splits have the classes [c2] \(2\)"),
        (rows(MANY), rows("abab", 100) + rows("ab"), "2 of the 6 evaluation examples are in the"),
    ],
    ids=["a class that is not measured", "a rare class", "rows in both parts"],
)
def test_what_a_user_may_have_meant_is_a_note(hold, train, evaluation, says):
    notes = hold(train, evaluation).notes
    assert any(re.search(says, note) for note in notes), notes


@pytest.mark.parametrize("holder", [table, texts_in_memory])
def test_empty_texts_are_counted(holder, tmp_path, tokenizer):
    blank = [("  ", "a"), ("\t", "b"), ("", "a")]
    notes = holder(tmp_path, tokenizer, rows(MANY) + blank, rows("abab", 100)).notes
    assert any("3 examples have an empty text" in note for note in notes), notes


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_label_that_is_no_number_is_refused_in_memory_and_left_out_of_a_table(
    value, tmp_path, tokenizer
):
    train = [(torch.zeros(3) + i, i % 2) for i in range(30)]
    with pytest.raises(IdimError, match=r"train: labels: expected (finite numbers|names or)"):
        InMemoryTask("t", [*train, (torch.zeros(3), value)], train, "accuracy", None)
    if value != float("inf"):
        notes = table(tmp_path, tokenizer, [*rows(MANY), ("good", value)], rows("abab", 100)).notes
        assert any("1 rows with a missing value were left out" in note for note in notes), notes


@pytest.mark.parametrize("part", ["train", "evaluation"])
@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_regression_of_one_number_is_refused(metric, part):
    data = {
        name: [(torch.zeros(3) + i, 0.5 if name == part else i / 7) for i in range(30)]
        for name in ("train", "evaluation")
    }
    with pytest.raises(IdimError, match=f"{part}: labels: expected numbers that differ"):
        InMemoryTask("t", data["train"], data["evaluation"], metric, None)
