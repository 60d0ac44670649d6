"""One JSON file a run, written atomically. What is in the store is finished; nothing else is."""

from __future__ import annotations

import json
import os
from pathlib import Path

from idim.errors import expected


class Store:
    """A folder with ``runs/<key>.json``. Opening it checks that it can be written, before anything is trained."""

    def __init__(self, root: str | Path, create: bool = True):
        self.root = Path(root)
        self._runs = self.root / "runs"
        if not create:
            if not self._runs.is_dir():
                raise expected("store", "a folder with runs/, as --out made it", str(root))
            return
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
            probe = self._runs / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise expected("--out", "a folder that can be written", f"{root}: {error.strerror}") from None

    def get(self, key: str) -> dict | None:
        path = self._runs / f"{key}.json"
        return _load(path) if path.is_file() else None

    def put(self, record: dict) -> None:
        write_json(self._runs / f"{record['key']}.json", record)

    def all(self) -> list[dict]:
        """Every record, in an order that does not depend on the file system."""
        records = [_load(path) for path in sorted(self._runs.glob("*.json"))]
        return sorted(records, key=lambda r: (r["run_info"]["started"], r["key"]))


def write_json(path: Path, value: dict) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    os.replace(partial, path)


def _load(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise expected(str(path), "a record in JSON", str(error)) from None
