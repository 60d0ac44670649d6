"""How to load a task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from idim.values.fields import Json

#: Where the files lie, and what the model's own classes are: other parts of a record say these.
_ELSEWHERE = ("data_dir", "labels")
#: A record keeps these only where the user said them.
_IF_SAID = ("text_columns", "label_column", "metric")


@dataclass(frozen=True)
class Options:
    """How to load a task.

    ``official`` keeps the published split whole: all of its training part trains, and nothing is
    set aside.
    """

    data_dir: str | None = None
    official: bool = False
    max_train_samples: int = 0
    max_eval_samples: int = 0
    max_seq_length: int = 128
    #: In a table of the user's own: what its columns are called, and how it is scored.
    text_columns: tuple[str, ...] = ()
    label_column: str = ""
    metric: str = ""
    #: What the model calls its classes, and their numbers. ``tasks.load`` fills it in.
    labels: tuple[tuple[str, int], ...] = ()

    def recorded(self) -> Json:
        """What decides the task's content, besides its files and the model."""
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in _ELSEWHERE and (value or name not in _IF_SAID)
        }

    @classmethod
    def from_json(cls, value: Json) -> Options:
        """The options that a record keeps."""
        return cls(**value | {"text_columns": tuple(value.get("text_columns", ()))})
