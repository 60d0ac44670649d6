"""Writes files so that neither a crash nor a power cut leaves half of one.

A file is written beside its place, synced to the disk, moved into its place, and then its folder is
synced too. Without the last step a power cut may take the new name back.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from idim.errors import IdimError, expected
from idim.values.fields import Json

#: How a file is named while it is written.
PARTIAL = ".part"
#: A folder cannot be synced there: some network file systems say so with one of these.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_json(path: Path, value: Json) -> None:
    """Write a JSON file as ``write`` does.

    Raises:
        ValueError: a number that JSON lacks.
    """
    write(path, encoded(value))


def encoded(value: Json) -> bytes:
    """The content of a JSON file.

    Raises:
        ValueError: a number that JSON lacks.
    """
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write(path: Path, data: bytes) -> None:
    """Write a file at once: a reader sees the old one or the new one, also after a power cut.

    Raises:
        IdimError: there is no room, or no permission.
    """
    try:
        make_folder(path.parent)
        partial = written(path.parent, data)
        with _gone_on_error(partial):
            os.replace(partial, path)
        sync_folder(path.parent)
    except (OSError, ValueError) as error:
        raise not_written(path, error) from None


def create(path: Path, data: bytes) -> bool:
    """Write a file only where there is none. Of several writers one alone succeeds.

    Returns:
        Whether the file is ours.

    Raises:
        OSError: there is no room, or no permission.
    """
    make_folder(path.parent)
    partial = written(path.parent, data)
    try:
        return _linked(partial, path, data)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _linked(partial: Path, path: Path, data: bytes) -> bool:
    try:
        os.link(partial, path)
    except FileExistsError:
        # A network file system may carry a link out, lose its answer, and try again.
        return os.stat(partial).st_nlink > 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOENT):
            raise
        # No links there. An exclusive open is as safe, but a reader may see the file half written.
        try:
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
    sync_folder(path.parent)
    return True


def written(folder: Path, data: bytes) -> Path:
    """A new file in a folder with this content, synced, under a name that nobody reads.

    Raises:
        OSError: there is no room, or no permission.
    """
    # Not the process's number: two containers may have the same.
    partial = folder / f".{secrets.token_hex(8)}{PARTIAL}"
    with _gone_on_error(partial), open(partial, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return partial


@contextlib.contextmanager
def _gone_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and sync the ones that got a new name.

    Raises:
        OSError: there is no room, or no permission.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut.

    Raises:
        OSError: the disk failed.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def not_written(path: Path, error: Exception) -> IdimError:
    """The one line about a file that could not be written. It says what to do."""
    what = "a file that can be written"
    if getattr(error, "errno", None) in _FULL:
        what = (
            "room on the disk (free some and give the same command again: finished runs are kept)"
        )
    return expected(str(path), what, why(error))


def why(error: Exception) -> str:
    """What the system says of an error."""
    return getattr(error, "strerror", None) or str(error)
