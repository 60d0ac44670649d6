"""What a classifier's classes are called, kept beside an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from idim.errors import expected
from idim.models.weights import head

_FILE = "labels.json"


def save_labels(module: nn.Module, folder: str | Path) -> None:
    """Write beside an adapter what a classifier's classes are called; the adapter's own files do
    not tell it.

    Not as a config.json: transformers would take the folder for a whole model.
    """
    if head(module):
        config: Any = module.config
        written = json.dumps(config.id2label, indent=2) + "\n"
        Path(folder, _FILE).write_text(written, encoding="utf-8")


def saved_labels(folder: str | Path) -> tuple[str, ...]:
    """What ``save_labels`` wrote, in order; () where it wrote nothing."""
    file = Path(folder, _FILE)
    if not file.is_file():
        return ()
    try:
        found = {
            int(number): str(name)
            for number, name in json.loads(file.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise expected(str(file), "names of classes by number", str(error)[:160]) from None
    return tuple(found[i] for i in sorted(found))
