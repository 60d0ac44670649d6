"""Which files of a store still follow from what they were made of, so that none is made twice."""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path

from idim.store import Store, write_json
from idim.values.fields import Json
from idim.values.record import Record, checksum

_HOME = Path(__file__).resolve().parent
#: Beside the folders of what was made.
_NOTES = "made.json"


def digest_of(*parts: Json | str | list[str]) -> str:
    """A digest of what something is made of."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@cache
def code_of(*rooms: str) -> str:
    """A digest of the code of these rooms: what other code made is made again."""
    found = hashlib.sha256()
    for room in rooms:
        for path in sorted((_HOME / room).rglob("*")):
            if path.suffix in (".py", ".j2", ".css"):
                found.update(path.read_bytes())
    return found.hexdigest()[:16]


class Made:
    """The files that are made of a store's records, and what each was made of.

    A file that somebody changed, or that other code made, does not count as made.
    """

    def __init__(self, store: Store):
        self.store = store
        self._of: dict[str, str] = {}
        try:
            noted = json.loads((store.root / _NOTES).read_bytes())
            self._noted = {str(k): str(v) for k, v in noted.items()}
        except (OSError, ValueError, AttributeError):
            self._noted = {}

    @cached_property
    def records(self) -> list[Record]:
        """Every record of the store, read once."""
        return self.store.all()

    @cached_property
    def marks(self) -> dict[str, str]:
        """A digest of what each record holds, by its key."""
        return {r.key: checksum(r.to_json()) for r in self.records}

    def kept(self, folder: str, name: str, of: str) -> bytes | None:
        """The content of a file, if it was made of ``of``; else None. Remembers ``of``."""
        path = self.store.place(folder, name)
        where = f"{folder}/{path.name}"
        self._of[where] = of
        try:
            data = path.read_bytes()
        except OSError:
            return None
        return data if self._noted.get(where) == _note(of, data) else None

    def keep(self, folder: str, name: str, data: bytes) -> Path:
        """Write a file, and note what it was made of. One that is the same is left alone."""
        path = self.store.place(folder, name)
        where = f"{folder}/{path.name}"
        of = self._of.get(where, "")
        if not of or self.kept(folder, name, of) != data:
            path = self.store.keep(folder, name, data)
        if of:
            self._noted[where] = _note(of, data)
        return path

    def close(self) -> None:
        """Keep the notes. Those of files that are gone are left out."""
        there = {k: v for k, v in self._noted.items() if (self.store.root / k).is_file()}
        write_json(self.store.root / _NOTES, dict(sorted(there.items())))


def _note(of: str, data: bytes) -> str:
    return f"{of}-{hashlib.sha256(data).hexdigest()[:16]}"
