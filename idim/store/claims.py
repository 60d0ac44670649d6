"""Claims: who makes which run, so that searches and machines that share a folder share the work.

A claim is a file, ``claims/<key>.<n>.json``, that one process creates and keeps touching. Of the
claims of one run the one with the largest n counts. Nothing is locked. A claim whose process is
gone, or silent for too long, is dead: whoever finds it creates the claim n + 1, and of several who
try one succeeds.

With a claim comes room on the disk for the record, so that a full disk is found before a run and
not after it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from idim.store import files
from idim.values.fields import Json, Unfit
from idim.values.files import load

#: Seconds between two touches of a claim.
BEAT = 10.0
#: A claim that was not touched for so many seconds is dead. On the same machine, where the process
#: is known to live, it may be silent for longer: a laptop may have slept.
STALE, STALE_HERE = 60.0, 600.0
_NAME = re.compile(r"([0-9a-f]{20})\.(\d+)\.json")
#: Bytes that are set aside for a record.
ROOM = 1 << 15
_PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """Who holds a claim.

    Args:
        host: the machine's name, for a reader.
        machine: tells machines apart, and a machine from itself before it started anew.
        pid: of the process.
        born: when the process began, as the system counts; 0 where it does not say.
        since: seconds since 1970 at which the claim was made.
        token: no two claimants share one.
    """

    host: str
    machine: str
    pid: int
    born: int
    since: float
    token: str

    @classmethod
    def of(cls, value: Json) -> Holder:
        """The holder that a claim names. Raises ``Unfit`` where it names none."""
        kinds = {"host": str, "machine": str, "pid": int, "born": int, "since": float, "token": str}
        for name, kind in kinds.items():
            if type(value.get(name)) is not kind:
                raise Unfit(f"{name}: expected {kind.__name__}; got {value.get(name)!r:.80}")
        return cls(**{name: value[name] for name in kinds})

    @property
    def is_gone(self) -> bool:
        """Whether its process is known to be gone. Of another machine nothing is known."""
        return self.machine == _machine() and not _lives(self.pid, self.born)


@dataclass(frozen=True)
class Claim:
    """A run that is ours to make."""

    key: str
    path: Path
    #: A file as large as the record may become.
    room: Path

    def publish(self, path: Path, data: bytes) -> None:
        """Write the record into the room that was set aside, and move it into its place.

        Raises:
            IdimError: it cannot be written, for another reason than a full disk.
        """
        try:
            with open(self.room, "r+b") as file:
                file.write(data)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.room, path)
            files.sync_folder(path.parent)
        except OSError:  # cleared away, or on another disk
            files.write(path, data)

    def release(self) -> None:
        """Give the run up, or say that it is done."""
        for path in (self.room, self.path):
            with contextlib.suppress(OSError):
                path.unlink()


class Claims:
    """The claims in a folder, and those of ours.

    Claims that are held are touched every ``BEAT`` seconds by a thread, until ``close`` or the end
    of this process.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._token = secrets.token_hex(8)
        self._held: dict[str, Claim] = {}
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        weakref.finalize(self, _let_go, self._held, self._ended)

    def take(self, key: str, room: int = ROOM) -> Claim | None:
        """Claim a run. None where somebody else makes it.

        Whoever gets a claim looks into the store again: the run may have been finished meanwhile.

        Args:
            key: of the run.
            room: bytes to set aside for its record.

        Raises:
            IdimError: there is no room, or no permission.
        """
        newest = self._newest(key)
        if newest and self.lives(newest[1]):
            return None
        n = newest[0] + 1 if newest else 0
        path = self.folder / f"{key}.{n}.json"
        claim = Claim(key, path, self.folder / f".{self._token}-{key}.room")
        try:
            if not files.create(path, files.encoded(asdict(self._holder()))):
                return None
            newest = self._newest(key)
            if newest and newest[0] > n:
                claim.release()
                return None
            _set_aside(claim.room, room)
        except OSError as error:
            claim.release()
            raise files.not_written(claim.room, error) from None
        for older, dead in self._of(key):
            if older < n:
                _clear(dead)
        self._held[key] = claim
        self._beat()
        return claim

    def release(self, claim: Claim) -> None:
        """Give a run up, or say that it is done."""
        self._held.pop(claim.key, None)
        claim.release()

    def close(self) -> None:
        """Give up all that is held."""
        _let_go(self._held, self._ended)
        self._thread = None
        self._ended = threading.Event()
        weakref.finalize(self, _let_go, self._held, self._ended)

    def clear(self, kept: Callable[[str], bool]) -> None:
        """Remove the claims of processes that died between keeping a run and giving up its claim.

        ``kept``: whether the store has the run of this key.
        """
        for key, (path, _, lives) in self.all().items():
            if not lives and kept(key):
                _clear(path)

    def holder(self, key: str) -> Holder | None:
        """Who makes this run now; None where nobody does."""
        newest = self._newest(key)
        return holder_of(newest[1]) if newest and self.lives(newest[1]) else None

    def all(self) -> dict[str, tuple[Path, Holder | None, bool]]:
        """Every run that is claimed: the claim, its holder if it can be read, whether it lives."""
        found: dict[str, tuple[int, Path]] = {}
        for key, n, path in self._files():
            if n > found.get(key, (-1, path))[0]:
                found[key] = n, path
        return {key: (path, holder_of(path), self.lives(path)) for key, (_, path) in found.items()}

    def lives(self, path: Path) -> bool:
        """Whether somebody works for this claim."""
        holder = holder_of(path)
        if holder is not None and holder.is_gone:
            return False
        try:
            silent = self._now() - path.stat().st_mtime
        except OSError:
            return False
        here = holder is not None and holder.machine == _machine()
        return silent < (STALE_HERE if here else STALE)

    def _newest(self, key: str) -> tuple[int, Path] | None:
        return max(self._of(key), default=None)

    def _of(self, key: str) -> list[tuple[int, Path]]:
        return [(n, path) for found, n, path in self._files() if found == key]

    def _files(self) -> Iterator[tuple[str, int, Path]]:
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if found := _NAME.fullmatch(name):
                    yield found[1], int(found[2]), self.folder / name

    def _now(self) -> float:
        """The time by the clock that stamps the folder's files. Machines' own clocks may differ."""
        probe = self.folder / f".{secrets.token_hex(8)}{files.PARTIAL}"
        try:
            with open(probe, "xb") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def _holder(self) -> Holder:
        pid = os.getpid()
        return Holder(socket.gethostname(), _machine(), pid, _born(pid), time.time(), self._token)

    def _beat(self) -> None:
        if self._thread is None:
            args = (self._held, self._ended)
            self._thread = threading.Thread(target=_touch, args=args, daemon=True)
            self._thread.start()


def holder_of(path: Path) -> Holder | None:
    """Who made a claim; None where it cannot be read."""
    try:
        return Holder.of(load(path))
    except Unfit:
        return None


def rooms(folder: Path) -> list[Path]:
    """The rooms in a folder of claims whose claim is gone."""
    tokens = {h.token for path in folder.glob("*.json") if (h := holder_of(path))}
    found = sorted(folder.glob(".*.room"))
    return [path for path in found if path.name[1:].partition("-")[0] not in tokens]


def _touch(held: dict[str, Claim], ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        for claim in list(held.values()):
            with contextlib.suppress(OSError):
                os.utime(claim.path)


def _let_go(held: dict[str, Claim], ended: threading.Event) -> None:
    ended.set()
    for claim in list(held.values()):
        claim.release()
    held.clear()


def _clear(dead: Path) -> None:
    """Remove a dead claim, and the room that it had."""
    if holder := holder_of(dead):
        key = dead.name.partition(".")[0]
        with contextlib.suppress(OSError):
            dead.with_name(f".{holder.token}-{key}.room").unlink()
    with contextlib.suppress(OSError):
        dead.unlink()


def _set_aside(path: Path, size: int) -> None:
    with open(path, "xb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except AttributeError:  # not everywhere
            file.write(bytes(size))
        except OSError as error:
            if error.errno not in (22, 95):  # EINVAL, EOPNOTSUPP: this file system cannot
                raise
            file.write(bytes(size))


@lru_cache(maxsize=1)
def _machine() -> str:
    """This machine, since it started, and this process's space of process numbers."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _stat(pid: int) -> list[str] | None:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _born(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _lives(pid: int, born: int) -> bool:
    """Whether the process runs, and is the one that began then."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    if not (fields := _stat(pid)):
        return True
    # A dead process keeps its number until its parent asks for its end.
    return fields[0] not in "ZX" and (not born or int(fields[19]) == born)
