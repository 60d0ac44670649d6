"""Published d90 by model, method and task, as a JSON file tells them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from idim.errors import expected, first_line

_FORM = 'JSON with {"source": …, "d90": {model: {method: {task: number}}}}'


@dataclass(frozen=True)
class Published:
    """What somebody published.

    Attributes:
        source: who, and where.
        values: d90 by model, method and task, as they are printed there.
    """

    source: str
    values: Mapping[str, Mapping[str, Mapping[str, float]]]

    def value(self, model: str, method: str, task: str) -> float | None:
        """The published value for one of our names; None where there is none.

        ``bert-base-uncased`` is their BERT-Base, and ``mrpc`` their MRPC.
        """
        theirs = self.model(model)
        tasks = self.values.get(theirs or "", {}).get(method, {})
        found = {_plain(name): v for name, v in tasks.items()}
        return found.get(_plain(task))

    def model(self, ours: str) -> str | None:
        """Their name of a model of ours: the whole name, but for its owner and its case.

        ``distilbert-base`` and ``bert-base-v2`` are other models than BERT-Base.
        """
        name = _whole(ours.rpartition("/")[2])
        return next((theirs for theirs in self.values if _whole(theirs) == name), None)


def read(path: str) -> Published:
    """Read published values.

    Args:
        path: of a JSON file.

    Raises:
        IdimError: there is none, or it has another form.
    """
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise expected("--published", _FORM, f"{path}: {first_line(error)}") from None
    values = found.get("d90") if isinstance(found, dict) else None
    if values is None or not _fits(values):
        raise expected("--published", _FORM, path)
    return Published(str(found.get("source", path)), values)


def _fits(values: object) -> bool:
    return isinstance(values, dict) and all(
        isinstance(methods, dict)
        and all(
            isinstance(tasks, dict)
            and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in tasks.values())
            for tasks in methods.values()
        )
        for methods in values.values()
    )


def _whole(model: str) -> str:
    """A model's name without the word for whether its vocabulary knows capitals."""
    words = re.split(r"[^a-z0-9]+", model.lower())
    return "".join(word for word in words if word not in ("cased", "uncased"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
