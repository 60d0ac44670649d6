"""One JSON file a run, written atomically. What is in the store is finished; nothing else is.

Beside the runs lie the questions that they answer (``searches``), what was in flight when a search
decided (``decisions``), who makes which run (``claims``), what long runs need to go on
(``partial``), and what is derived: ``summaries``, ``figures`` and ``index``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from idim import arms
from idim.errors import IdimWarning, expected
from idim.store import files
from idim.store.claims import Claim, Claims
from idim.store.index import Head, heads
from idim.values import fields
from idim.values.fields import Json, Unfit
from idim.values.files import file_name, is_file_name, load
from idim.values.question import Question
from idim.values.record import Record, checksum

_Kept = TypeVar("_Kept", Record, Question, tuple[str, ...])


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
                files.make_folder(self._runs)
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
                f"{root}: {files.why(error)}",
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

    def put(self, record: Record, claim: Claim | None = None) -> None:
        """Keep a record, with a checksum of all that it holds.

        A file in its place that does not fit is set aside, not lost.

        Args:
            record: what to keep.
            claim: the claim of its run, whose room it takes. Then a full disk loses nothing.
        """
        path = self._runs / f"{record.key}.json"
        if path.exists() and self._read(path, _record) is None:
            os.replace(path, path.with_name(f"{path.name}.unfit-{secrets.token_hex(4)}"))
            self.skipped.pop(str(path.relative_to(self.root)))
        kept = record.to_json()
        data = files.encoded(kept | {"checksum": checksum(kept)})
        if claim is None:
            files.write(path, data)
        else:
            claim.publish(path, data)

    def all(self) -> list[Record]:
        """Every record that fits, in an order that does not depend on the file system."""
        paths = sorted(self._runs.glob("*.json"))
        found = [r for path in paths if (r := self._read(path, _record)) is not None]
        self._warn()
        return sorted(found, key=_when)

    def some(self, keys: Iterable[str]) -> list[Record]:
        """The records with these keys that there are, in the order of ``all``. Reads no other."""
        paths = [self._runs / f"{key}.json" for key in dict.fromkeys(keys)]
        found = [
            r for path in paths if path.exists() and (r := self._read(path, _record)) is not None
        ]
        self._warn()
        return sorted(found, key=_when)

    def heads(self) -> list[Head]:
        """One line of every record that fits, in the order of ``all``. Reads few files."""
        found = heads(self._runs, self.root / "index", lambda p: self._read(p, _record))
        self._warn()
        return found

    # Who works at what.

    @cached_property
    def claims(self) -> Claims:
        """Who makes which run."""
        self._within(self.root / "claims")
        return Claims(self.root / "claims")

    def drop_save(self, key: str) -> None:
        """Forget what a run needed to go on: it is done."""
        with contextlib.suppress(OSError):
            (self.root / "partial" / f"{key}.pt").unlink()

    def decided(self, question: str, n: int) -> tuple[str, ...] | None:
        """What was in flight when the search for a question decided for the n-th time.

        Returns:
            The keys of those runs; None where nothing is known of it.
        """
        path = self._decision(question, n)
        found = self._read(path, _in_flight) if path.exists() else None
        self._warn()
        return found

    def decide(self, question: str, n: int, in_flight: Sequence[str], anew: bool = False) -> None:
        """Keep what is in flight at a decision, unless somebody has kept that before.

        Searches for the same question so decide alike, and so does one that goes on later.

        Args:
            question: its id.
            n: the number of the decision.
            in_flight: the keys of the runs.
            anew: whether what was kept before does not count.
        """
        path = self._decision(question, n)
        value = {"in_flight": list(in_flight)}
        try:
            self._within(self.root / "decisions")
            if anew:
                files.write_json(path, value)
            elif not files.create(path, files.encoded(value)) and self.decided(question, n) is None:
                files.write_json(path, value)  # it is broken
        except OSError as error:
            raise files.not_written(path, error) from None

    def _decision(self, question: str, n: int) -> Path:
        return self.root / "decisions" / self._question(question).stem / f"{n}.json"

    # Questions.

    def question(self, name: str) -> Question | None:
        """The question with this id; None where there is none that fits."""
        path = self._question(name)
        return self._read(path, _question) if path.exists() else None

    def put_question(self, question: Question) -> None:
        """Keep a question beside the runs that answer it, so that it can be answered again."""
        self._within(self.root / "searches")
        files.write_json(self._question(question.id), question.to_json())

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
        path = self.place(folder, name)
        files.write(path, data)
        return path

    def place(self, folder: str, name: str) -> Path:
        """Where ``keep`` writes a file: a long id has a shorter name there."""
        stem, ending = name.rsplit(".", 1)
        if not is_file_name(stem):
            raise expected("id", "a file's name", stem)
        return self.root / folder / f"{file_name(stem)}.{ending}"

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


def _when(record: Record) -> tuple[float, str]:
    return record.origin.started, record.key


def _in_flight(value: Json, stem: str) -> tuple[str, ...]:
    fields.check(value, {"in_flight": fields.KEYS})
    return tuple(value["in_flight"])


def _record(value: Json, stem: str) -> Record:
    return arms.check_record(Record.from_json(value, stem))


def _question(value: Json, stem: str) -> Question:
    return arms.check_question(Question.from_json(value, stem))
