"""What a store can do without: leavings of crashes, and runs that answer nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from idim.errors import expected
from idim.store import claims, files
from idim.store.folder import Store
from idim.values.purpose import Purpose
from idim.values.training import Status

#: Seconds after which a file that somebody was writing is left over.
_LEFT = 3600.0


@dataclass(frozen=True)
class Garbage:
    """A file that can go, and why."""

    path: Path
    why: str
    bytes: int


def _partial(store: Store) -> Iterator[tuple[Path, str]]:
    """Files that were never finished, and files of runs that did not fit."""
    now = time.time()
    for path in sorted(store.root.rglob(".*")):
        if path.suffix in (files.PARTIAL, ".probe") and path.is_file():
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > _LEFT:
                    yield path, "its writer died"
    for path in sorted((store.root / "partial").glob("*.pt")):
        if (store.root / "runs" / f"{path.stem}.json").exists():
            yield path, "what a run that is done needed to go on"
    for path in sorted((store.root / "runs").glob("*.unfit-*")):
        yield path, "did not fit, and was set aside"


def _claims(store: Store) -> Iterator[tuple[Path, str]]:
    """Claims of processes that are gone, and the room that they had set aside."""
    for path, holder, lives in store.claims.all().values():
        if not lives:
            who = f"process {holder.pid} on {holder.host}" if holder else "nobody knows whom"
            yield path, f"the claim of {who}, which is gone"
            if holder:
                yield path.with_name(f".{holder.token}-{path.name[:20]}.room"), "its room"
    for path in claims.rooms(store.root / "claims"):
        yield path, "the room of a claim that is gone"


def _failed(store: Store) -> Iterator[tuple[Path, str]]:
    """Runs that failed: their process was killed, or memory ran out. They are made again."""
    for head in store.heads():
        if head.status == Status.FAILED:
            yield store.root / "runs" / f"{head.key}.json", "failed, and would be made again"


def _unasked(store: Store) -> Iterator[tuple[Path, str]]:
    """Runs and decisions of no question. Single runs are asked for by themselves."""
    questions = store.questions()
    asked = {key for q in questions for key in q.keys}
    for head in store.heads():
        if head.kind != Purpose.SINGLE and head.key not in asked:
            yield store.root / "runs" / f"{head.key}.json", "of no question"
    known = {path.stem for path in (store.root / "searches").glob("*.json")}
    for path in sorted((store.root / "decisions").glob("*/*.json")):
        if path.parent.name not in known:
            yield path, "of no question"


#: What can go, by the word for it.
KINDS: dict[str, Callable[[Store], Iterator[tuple[Path, str]]]] = {
    "partial": _partial,
    "claims": _claims,
    "failed": _failed,
    "unasked": _unasked,
}
#: What is of no use to anybody.
SAFE = ("partial", "claims")


def garbage(store: Store, kinds: tuple[str, ...] = SAFE) -> list[Garbage]:
    """What can go. Deletes nothing.

    Args:
        store: where to look.
        kinds: of what, in the words of ``KINDS``.

    Raises:
        IdimError: runs would go while a search is at work.
    """
    at_work = [holder for _, holder, lives in store.claims.all().values() if lives]
    if at_work and not set(kinds) <= set(SAFE):
        raise expected(
            "gc", "no search at work in this store, to take runs away", f"{len(at_work)} claims"
        )
    found = {}
    for kind in kinds:
        for path, why in KINDS[kind](store):
            with contextlib.suppress(OSError):
                found[path] = Garbage(path, why, path.lstat().st_size)
    return list(found.values())


def delete(found: list[Garbage]) -> None:
    """Delete these files.

    Raises:
        IdimError: one cannot be deleted.
    """
    for item in found:
        try:
            item.path.unlink(missing_ok=True)
        except OSError as error:
            raise expected(str(item.path), "a file to delete", files.why(error)) from None
