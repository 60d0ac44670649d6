"""Full disks and power cuts: is a finished run ever lost, and does the search go on?

    python scripts/fill_disk.py --out results/robustness

Needs the right to mount a tmpfs. A whole search is made on a small disk, for many sizes of it, so
that the disk is full at every kind of write. Then the disk grows, and the search goes on. For power
cuts, every sync of a whole search is followed by one: of what was not synced by then, nothing is
left. Runs are imagined (``imagined.py``): they cost nothing, and their scores follow a curve.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from imagined import Imagined, planned

from idim import conductor, runs
from idim.errors import IdimError
from idim.store import Store
from idim.values.plan import Plan


def searched(plan: Plan, folder: Path, executor: Imagined) -> str:
    """The summary of a search in a folder, as JSON."""
    runs.EXECUTORS["local"] = lambda *_: executor
    found = conductor.measure(plan, Store(folder))
    return json.dumps(found.to_json(), sort_keys=True)


class Acknowledged(Store):
    """A store that counts the records that it has said are kept."""

    kept: set[str]

    def put(self, record, claim=None) -> None:
        super().put(record, claim)
        self.kept.add(record.key)


# Full disks.


@contextlib.contextmanager
def disk(size: int) -> Iterator[Path]:
    """An empty disk of so many KiB."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def filled(plan: Plan, size: int, workers: int) -> dict[str, object]:
    """A search on a disk of so many KiB, which then grows."""
    made: Counter[str] = Counter()
    with disk(size) as folder:
        said = ""
        try:
            searched(plan, folder / "o", Imagined(workers, size, made))
        except IdimError as error:
            said = str(error)
        ended = dict(made)
        store = Store(folder / "o", create=False) if (folder / "o/runs").is_dir() else None
        kept = {r.key for r in store.all()} if store else set()
        claims = len(list((folder / "o/claims").glob("*"))) if store else 0
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        searched(plan, folder / "o", Imagined(workers, size + 1, made))
        after = Store(folder / "o", create=False)
        return {
            "KiB": size,
            "full": bool(said),
            "said what to do": not said or "free some" in said,
            "lines": said.count("\n") + 1,
            "runs ended": len(ended),
            "lost": len(set(ended) - kept),
            "claims left": claims,
            "files that do not fit": len(store.skipped) if store else 0,
            "trained twice": sum(n > 1 for n in made.values()),
            "runs at the end": len(after.all()),
        }


# Power cuts.


class Power:
    """Knows what would be left of a folder if the power went now.

    Of a file that is what it held when it was last synced; of a folder, the names that it had when
    it was last synced.
    """

    def __init__(self, root: Path):
        self.root, self.syncs = root, 0
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}
        self._real = os.fsync

    def fsync(self, handle: int) -> None:
        """Stands for ``os.fsync``."""
        self._real(handle)
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = {
                e.name: (e.inode(), e.is_dir()) for e in os.scandir(f"/proc/self/fd/{handle}")
            }
        else:
            self._contents[found.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()
        self.syncs += 1
        self.after()

    def after(self) -> None:
        """Called after each sync."""

    def left(self, to: Path) -> None:
        """Write what would be left."""
        self._copy(self.root.parent.stat().st_ino, self.root.name, to)

    def _copy(self, folder: int, name: str, to: Path) -> None:
        inode, is_dir = self._names.get(folder, {}).get(name, (0, False))
        if not inode:
            return
        if is_dir:
            to.mkdir(parents=True, exist_ok=True)
            for inner in self._names.get(inode, {}):
                self._copy(inode, inner, to / inner)
        else:
            to.write_bytes(self._contents.get(inode, b""))


def cut(plan: Plan, workers: int, every: int) -> list[dict[str, object]]:
    """A search with a power cut after every sync; every so many of them, it goes on."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "disk" / "o"
        root.parent.mkdir()
        power, kept = Power(root), set()
        cuts: list[tuple[int, Path, set[str]]] = []

        def after() -> None:
            there = Path(folder) / "cuts" / str(power.syncs)
            power.left(there)
            cuts.append((power.syncs, there, set(kept)))

        power.after = after  # type: ignore[method-assign]
        made: Counter[str] = Counter()
        real, os.fsync = os.fsync, power.fsync
        try:
            runs.EXECUTORS["local"] = lambda *_: Imagined(workers, 1, made)
            store = Acknowledged(root)
            store.kept = kept
            conductor.measure(plan, store)
        finally:
            os.fsync = real
        for n, there, acknowledged in cuts:
            row: dict[str, object] = {"sync": n, "kept before": len(acknowledged)}
            found = Store(there)
            row["lost"] = len(acknowledged - {r.key for r in found.all()})
            found.questions()
            row["files that do not fit"] = len(found.skipped)
            if n % every == 0:
                again: Counter[str] = Counter()
                searched(plan, there, Imagined(workers, n, again))
                row["finished runs made again"] = len(acknowledged & set(again))
            rows.append(row)
            shutil.rmtree(there)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--step", type=int, default=8, help="KiB between two sizes of the disk")
    parser.add_argument("--every", type=int, default=20, help="go on after each so many-th cut")
    args = parser.parse_args()
    plan = planned(tune=False, checks=False)
    full = [filled(plan, size, workers) for workers in (1, 2) for size in range(16, 400, args.step)]
    cuts = {workers: cut(plan, workers, args.every) for workers in (1, 2)}
    rows = [row for found in cuts.values() for row in found]
    found = {
        "disk full": {
            "searches": len(full),
            "found the disk full": sum(bool(r["full"]) for r in full),
            **{
                name: sum(int(r[name]) for r in full)  # type: ignore[call-overload]
                for name in ("runs ended", "lost", "claims left", "trained twice")
            },
            "files that do not fit": sum(int(r["files that do not fit"]) for r in full),  # type: ignore[call-overload]
            "said in one line what to do": all(
                r["said what to do"] and r["lines"] == 1 for r in full
            ),
            "rows": full,
        },
        "power cuts": {
            "cuts": len(rows),
            **{
                name: sum(int(r.get(name, 0)) for r in rows)  # type: ignore[call-overload]
                for name in ("lost", "files that do not fit", "finished runs made again")
            },
            "searches that went on": sum("finished runs made again" in r for r in rows),
        },
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "disk.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, part in found.items():
        print(name, {k: v for k, v in part.items() if k != "rows"})


if __name__ == "__main__":
    main()
