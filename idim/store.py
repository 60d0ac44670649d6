"""One JSON file a run, written atomically. What is in the store is finished; nothing else is.

Beside the runs lie the questions that they answer (``searches``), and what is derived from both: ``summaries`` and ``figures``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import warnings
from pathlib import Path

from idim import stored
from idim.errors import IdimWarning, expected
from idim.stored import Unfit


class Store:
    """A folder with ``runs/<key>.json``. Opening it checks that it can be written, before anything is trained.

    What is read is checked (``idim.stored``). A file that is not what it should be is skipped: one warning counts such files and
    says why, and ``skipped`` keeps the reasons. Nothing is written outside the folder, wherever links inside of it lead.
    """

    def __init__(self, root: str | Path, create: bool = True):
        if not str(root):
            raise expected("--out" if create else "store", "the name of a folder", "")
        self.root = Path(root)
        self._runs = self.root / "runs"
        #: Files that are not what they should be, by their path in the store, each with the reason.
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

    def get(self, key: str) -> dict | None:
        """The record of this run; None where there is none that fits, so that the run is made again."""
        path = self._runs / f"{key}.json"
        if not path.exists():
            return None
        found = self._read(path)
        self._warn()
        return found

    def put(self, record: dict) -> None:
        """Keep a record, with a checksum of all that it holds. A file in its place that does not fit is set aside, not lost."""
        path = self._runs / f"{record['key']}.json"
        if path.exists() and self._read(path) is None:
            os.replace(path, path.with_name(f"{path.name}.unfit-{secrets.token_hex(4)}"))
            self.skipped.pop(str(path.relative_to(self.root)))
        write_json(path, record | {"checksum": stored.checksum(record)})

    def all(self) -> list[dict]:
        """Every record that fits, in an order that does not depend on the file system."""
        found = [
            record
            for path in sorted(self._runs.glob("*.json"))
            if (record := self._read(path)) is not None
        ]
        self._warn()
        return sorted(found, key=lambda r: (r["run_info"]["started"], r["key"]))

    def _read(self, path: Path) -> dict | None:
        try:
            record = stored.check_record(stored.load(path), path.stem)
        except Unfit as error:
            self.skip(path, error)
            return None
        # It guards the file. What a run gave does not hold it.
        record.pop("checksum", None)
        return record

    # Questions.

    def question(self, name: str) -> dict | None:
        """The question with this id; None where there is none that fits."""
        path = self._question(name)
        return self._read_question(path) if path.exists() else None

    def put_question(self, question: dict) -> None:
        """Keep a question beside the runs that answer it, so that the answer can be derived again."""
        self._within(self.root / "searches")
        write_json(self._question(question["id"]), question)

    def questions(self) -> list[dict]:
        """Every question that fits, by the names of their files."""
        paths = sorted((self.root / "searches").glob("*.json"))
        found = [question for path in paths if (question := self._read_question(path)) is not None]
        self._warn()
        return found

    def _question(self, name: str) -> Path:
        if not stored.is_file_name(name):
            raise expected("id", "a file's name", name)
        return self.root / "searches" / f"{stored.file_name(name)}.json"

    def _read_question(self, path: Path) -> dict | None:
        try:
            return stored.check_question(stored.load(path), path.stem)
        except Unfit as error:
            self.skip(path, error)
            return None

    # What is derived.

    def keep(self, folder: str, name: str, data: bytes) -> Path:
        """Write a file of what is derived from the records, into a folder of the store. ``name``: an id, and an ending."""
        self._within(self.root / folder)
        stem, ending = name.rsplit(".", 1)
        if not stored.is_file_name(stem):
            raise expected("id", "a file's name", stem)
        path = self.root / folder / f"{stored.file_name(stem)}.{ending}"
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

    def skip(self, path: Path, why: Unfit) -> None:
        """Note a file of the store that is not what it should be."""
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


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file as ``write`` does. Errors: ValueError for a number that JSON lacks."""
    write(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write(path: Path, data: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a part, also after a power cut.

    Errors: ``IdimError`` where there is no room or no permission.
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
