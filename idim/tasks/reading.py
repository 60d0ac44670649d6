"""Tables in files: csv, json, jsonl and parquet, whole or in shards."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idim.errors import expected, listed

READERS = {
    ".csv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".parquet": "read_parquet",
}
#: One file of several that hold a part of a data set together, as ``datasets`` names them.
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")


@dataclass(frozen=True)
class Part:
    """The files of one part of a task: one, or the shards of one."""

    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        return ", ".join(path.name for path in self.paths)


def beginning(folder: Path, names: Sequence[str], endings: Iterable[str] = READERS) -> list[Path]:
    """Files whose name begins with one of these: train.csv, train_v2.csv and
    train-00000-of-00002.parquet with train, trainer.json not."""
    begins = re.compile(f"({'|'.join(map(re.escape, names))})(?![A-Za-z])")
    return (
        sorted(
            f
            for f in folder.iterdir()
            if f.suffix in tuple(endings) and begins.match(f.name) and f.is_file()
        )
        if folder.is_dir()
        else []
    )


def part_of(folder: Path, names: Sequence[str], endings: Iterable[str] = READERS) -> Part:
    """The one file whose name begins with one of these, or all shards of one.

    Errors: no such file, several that are not the shards of one, and shards that are missing.
    """
    files = beginning(folder, names, endings)
    wanted = f"file that begins with {' or '.join(names)} and ends in {', '.join(endings)}"
    if not files:
        raise expected(str(folder), f"a {wanted}", _listing(folder))
    shards: list[Any] = [_SHARD.fullmatch(f.stem) for f in files]
    if all(shards):
        kinds = {(s[1], s[3], f.suffix) for s, f in zip(shards, files, strict=True)}
        if len(kinds) == 1 and [int(s[2]) for s in shards] == list(range(int(shards[0][3]))):
            return Part(tuple(files))
        raise expected(
            str(folder), f"every shard of one {names[0]} part", ", ".join(f.name for f in files[:6])
        )
    if len(files) > 1:
        raise expected(
            str(folder), f"one {wanted}, or the shards of one", ", ".join(f.name for f in files[:6])
        )
    return Part(tuple(files))


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(f.name for f in folder.iterdir())[:6]) or "an empty folder"


def read(part: Part | Path) -> Any:
    """A data frame with texts as they are written.

    pandas would make numbers of 007, and missing values of None.
    """
    import pandas as pd

    if isinstance(part, Path):
        return _read(part)
    frames = [_read(path) for path in part.paths]
    for path, frame in zip(part.paths, frames, strict=True):
        if list(frame.columns) != list(frames[0].columns):
            raise expected(
                str(path),
                "the columns of the first shard: " + column_names(frames[0]),
                column_names(frame),
            )
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _read(path: Path) -> Any:
    import pandas as pd

    if path.suffix not in READERS:
        raise expected(
            str(path), "a file ending in " + ", ".join(READERS), path.suffix or "no ending"
        )
    text = {"encoding": "utf-8-sig"}  # with a byte-order mark or without
    kwargs: Any = {
        # A row with more fields than there are columns would shift them all.
        ".csv": text
        | {"dtype": str, "keep_default_na": False, "na_values": [""], "index_col": False},
        ".json": text | {"dtype": False},
        ".jsonl": text | {"lines": True, "dtype": False},
        ".parquet": {},
    }[path.suffix]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = getattr(pd, READERS[path.suffix])(path, **kwargs)
    except Exception as error:  # a broken file raises what its parser likes
        raise expected(
            str(path),
            f"a readable {path.suffix[1:]} file",
            (str(error).splitlines() or [type(error).__name__])[0][:160],
        ) from None
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise expected(str(path), "columns of different names", f"two of {twice[0]!r}")
    return frame


def column_names(frame: Any) -> str:
    """The names of a frame's columns, for a message."""
    return listed(frame.columns)
