"""One JSON file a run, written atomically. What is in the store is finished; nothing else is.

Beside the runs lie the questions that they answer (``searches``), and what is derived from both:
``summaries`` and ``figures``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from idim import arms
from idim.errors import IdimWarning, expected
from idim.values.fields import Json, Unfit
from idim.values.files import file_name, is_file_name, load
from idim.values.question import Question
from idim.values.record import Record, checksum

_Kept = TypeVar("_Kept", Record, Question)


class Store:
    """A folder with ``runs/<key>.json``.

    Opening it checks that it can be written, before anything is trained. What is read is checked
    (``Record.from_json``, ``arms.check_record``). A file that is not what it should be is skipped:
    one warning counts such files and says why, and ``skipped`` keeps the reasons. Nothing is
    written outside the folder, wherever links inside of it lead.
    """

    def __init__(self, root: str | Path, create: bool = True):
        if not str(root):
            raise expected("--out" if create else "store", "the name of a folder", "")
        self.root = Path(root)
        self._runs = self.root / "runs"
        #: Files that are not what they should be, by their path in the store, with the reason.
        self.skipped: dict[str, str] = {}
        try:
            if create:
                self._runs.mkdir(parents=True, exist_ok=True)
                self._within(self._runs)
                probe = self._runs / f".{secrets.token_hex(8)}.probe"
                probe.touch()
                probe.unlink()
            elif not self._runs.is_dir():
                raise expected("store", "a folder with runs/, as --out made it", str(root))
        except (OSError, ValueError) as error:
            raise expected(
                "--out" if create else "store",
                "a folder that can be written",
                f"{root}: {_why(error)}",
            ) from None

    # Records.

    def get(self, key: str) -> Record | None:
        """The record of this run; None where none fits, so that the run is made again."""
        path = self._runs / f"{key}.json"
        if not path.exists():
            return None
        found = self._read(path, _record)
        self._warn()
        return found

    def put(self, record: Record) -> None:
        """Keep a record, with a checksum of all that it holds.

        A file in its place that does not fit is set aside, not lost.
        """
        path = self._runs / f"{record.key}.json"
        if path.exists() and self._read(path, _record) is None:
            os.replace(path, path.with_name(f"{path.name}.unfit-{secrets.token_hex(4)}"))
            self.skipped.pop(str(path.relative_to(self.root)))
        kept = record.to_json()
        write_json(path, kept | {"checksum": checksum(kept)})

    def all(self) -> list[Record]:
        """Every record that fits, in an order that does not depend on the file system."""
        paths = sorted(self._runs.glob("*.json"))
        found = [r for path in paths if (r := self._read(path, _record)) is not None]
        self._warn()
        return sorted(found, key=lambda r: (r.origin.started, r.key))

    # Questions.

    def question(self, name: str) -> Question | None:
        """The question with this id; None where there is none that fits."""
        path = self._question(name)
        return self._read(path, _question) if path.exists() else None

    def put_question(self, question: Question) -> None:
        """Keep a question beside the runs that answer it, so that it can be answered again."""
        self._within(self.root / "searches")
        write_json(self._question(question.id), question.to_json())

    def ask(self, question: Question) -> Question:
        """Take up a question, and keep it.

        What was found for it before stays: its runs, its end, and what its rates may cost.

        Returns:
            The question with what was found.
        """
        if before := self.question(question.id):
            question = replace(
                question,
                keys=before.keys,
                finished=before.finished,
                loss=before.loss,
                handicaps=before.handicaps,
            )
        self.put_question(question)
        return question

    def questions(self) -> list[Question]:
        """Every question that fits, by the names of their files."""
        paths = sorted((self.root / "searches").glob("*.json"))
        found = [q for path in paths if (q := self._read(path, _question)) is not None]
        self._warn()
        return found

    def skip_question(self, question: Question, why: Unfit) -> None:
        """Note a question that its runs cannot answer."""
        self._skip(self._question(question.id), why)

    def _question(self, name: str) -> Path:
        if not is_file_name(name):
            raise expected("id", "a file's name", name)
        return self.root / "searches" / f"{file_name(name)}.json"

    # What is derived.

    def keep(self, folder: str, name: str, data: bytes) -> Path:
        """Write a file of what is derived from the records.

        Args:
            folder: a folder of the store.
            name: an id, and an ending.
            data: the file's content.

        Returns:
            The file's path.
        """
        self._within(self.root / folder)
        stem, ending = name.rsplit(".", 1)
        if not is_file_name(stem):
            raise expected("id", "a file's name", stem)
        path = self.root / folder / f"{file_name(stem)}.{ending}"
        write(path, data)
        return path

    def _within(self, folder: Path) -> None:
        try:
            inside = folder.resolve().is_relative_to(self.root.resolve())
        except (OSError, RuntimeError):  # links that lead in a circle
            inside = False
        if not inside:
            raise expected(
                "store", f"{folder.name} inside of it", f"{folder}, a link to another place"
            )

    # What does not fit.

    def _read(self, path: Path, read: Callable[[Json, str], _Kept]) -> _Kept | None:
        try:
            return read(load(path), path.stem)
        except Unfit as error:
            self._skip(path, error)
            return None

    def _skip(self, path: Path, why: Unfit) -> None:
        self.skipped.setdefault(str(path.relative_to(self.root)), str(why))

    def _warn(self) -> None:
        if self.skipped:
            first = next(iter(self.skipped.items()))
            more = (
                f", and {len(self.skipped) - 1} more; see idim doctor --verify"
                if len(self.skipped) > 1
                else ""
            )
            many = f"{len(self.skipped)} file{'s' * (len(self.skipped) > 1)}"
            warnings.warn(
                f"{self.root}: skipped {many} that do not fit: {first[0]}: {first[1]}{more}",
                IdimWarning,
                stacklevel=3,
            )


def _record(value: Json, stem: str) -> Record:
    return arms.check_record(Record.from_json(value, stem))


def _question(value: Json, stem: str) -> Question:
    return arms.check_question(Question.from_json(value, stem))


def write_json(path: Path, value: Json) -> None:
    """Write a JSON file as ``write`` does.

    Raises:
        ValueError: a number that JSON lacks.
    """
    write(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write(path: Path, data: bytes) -> None:
    """Write a file at once: a reader sees the old one or the new one, also after a power cut.

    Raises:
        IdimError: there is no room, or no permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data)
    except (OSError, ValueError) as error:
        raise expected(str(path), "a file that can be written", _why(error)) from None


def _write(path: Path, data: bytes) -> None:
    # Not the process's number: two containers may have the same.
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
