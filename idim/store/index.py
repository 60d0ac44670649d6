"""An index of the runs in a store: one line of each, so that many are listed quickly.

It is derived, and can be thrown away. Each line counts only while the size and the time of its file
are those that it names. So it may be old, broken or written by several at once: what does not fit
is read anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from idim.arms import ARMS
from idim.errors import IdimError
from idim.store import files
from idim.values.record import Record

_SCHEMA = 1
#: The index is written again once so many of its lines are new.
_NEW = 200


@dataclass(frozen=True)
class Head:
    """What a list shows of a run."""

    key: str
    kind: str
    status: str
    model: str
    task: str
    arm: str
    #: d, or a rank; 0 where the arm has none.
    size: int
    rate: float
    score: float | None
    seconds: float
    started: float
    study: str
    arm_key: str

    @classmethod
    def of(cls, record: Record) -> Head:
        """The head of a record."""
        spec, size = record.spec, ARMS[record.spec.arm].size
        found = spec.settings.get(size.name) if size else None
        return cls(
            record.key,
            str(record.kind),
            str(record.status),
            spec.model,
            spec.task,
            spec.arm,
            found if isinstance(found, int) else 0,
            record.rate,
            record.score,
            record.training.seconds,
            record.origin.started,
            record.study,
            record.arm_key,
        )


def heads(runs: Path, index: Path, read: Callable[[Path], Record | None]) -> list[Head]:
    """The heads of all records in a folder, those that began first ahead.

    Args:
        runs: the folder of the records.
        index: the file that holds what is known of them. It is written where much is new, if it can
            be.
        read: reads and checks a record; None where it does not fit.

    Cost: for 10,000 records a fifth of a second; a thousandth of one for each that is new.
    """
    known, found, new = _known(index), {}, 0
    for name, stamp in _files(runs):
        line = known.get(name)
        if line is None or line[0] != stamp:
            record = read(runs / name)
            new += 1
            if record is None:
                continue
            line = stamp, Head.of(record)
        found[name] = line
    if new >= _NEW:
        lines = {name: [*stamp, *astuple(head)] for name, (stamp, head) in found.items()}
        body = json.dumps({"schema": _SCHEMA, "runs": lines}).encode()
        # Where the store can only be read, or the disk is full, there is no index.
        with contextlib.suppress(IdimError):
            files.write(index, _sum(body) + b"\n" + body)
    return sorted((head for _, head in found.values()), key=lambda h: (h.started, h.key))


def _files(runs: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """The names of the records, with what tells whether a file has changed."""
    with os.scandir(runs) as entries:
        for entry in entries:
            if entry.name.endswith(".json"):
                try:
                    stat = entry.stat()
                except OSError:  # a link to nowhere, or taken away meanwhile
                    yield entry.name, (0, 0)
                else:
                    yield entry.name, (stat.st_mtime_ns, stat.st_size)


def _known(index: Path) -> dict[str, tuple[tuple[int, int], Head]]:
    try:
        total, _, body = index.read_bytes().partition(b"\n")
        if total != _sum(body):
            return {}
        found = json.loads(body)
        if found["schema"] != _SCHEMA:
            return {}
    except (OSError, ValueError):
        return {}
    return {name: ((line[0], line[1]), Head(*line[2:])) for name, line in found["runs"].items()}


def _sum(body: bytes) -> bytes:
    """A checksum: an edit or a cut shows, and the index is made anew."""
    return hashlib.sha256(body).hexdigest().encode()
