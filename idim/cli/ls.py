"""``idim ls``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from idim.cli.answers import as_text
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer
from idim.errors import DONE, one_of

EXAMPLE = "idim ls tasks"


def _models() -> dict[str, str]:
    from idim import models

    return {name: models.ABOUT.get(name, "") for name in models.names()}


def _tasks() -> dict[str, str]:
    from idim.tasks import CATALOGUE, task_files

    named = {name: about for name, (about, _) in CATALOGUE.items()}
    forms = {
        "<file or folder>": "csv, json, jsonl or parquet with columns text (and text2) and label, "
        "or prompt and completion; --text-columns and --label-column name others",
        "<folder of pictures>": "train/<class>/*.png (or jpg ...), and the same under validation, "
        "val or test",
        "<file>.toml": "a task file: text, label, metric, train, evaluation, chance",
    }
    return named | forms | dict(task_files(Path(".")))


def _projections() -> dict[str, str]:
    from projections import KINDS

    return {name: (kind.__doc__ or "").strip().splitlines()[0] for name, kind in KINDS.items()}


def _protocols() -> dict[str, str]:
    from idim.protocols import PROTOCOLS

    return {p.name: p.about for p in PROTOCOLS.values()}


def _arms() -> dict[str, str]:
    from idim.arms import ARMS

    return {name: arm.about for name, arm in ARMS.items()}


#: What can be listed: name -> (what it is, the list).
LISTS: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "models": ("what --model takes", _models),
    "tasks": ("what --task takes", _tasks),
    "projections": ("the families of random maps, for --projection", _projections),
    "protocols": ("the presets, for --protocol", _protocols),
    "arms": ("what can be trained, for --arm", _arms),
}


def _names(incomplete: str) -> list[str]:
    return [name for name in LISTS if name.startswith(incomplete)]


@takes()
def command(
    asked: Asked,
    what: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(LISTS)}; all lists' names without it.", autocompletion=_names
        ),
    ] = None,
) -> int:
    """Show what there is to choose from."""
    if what is not None and what not in LISTS:
        raise one_of("ls", LISTS, what)
    found = LISTS[what][1]() if what else {name: about for name, (about, _) in LISTS.items()}
    if asked.as_json:
        answer(as_text(found))
    else:
        answer("\n".join(f"{name:<22}{about}" for name, about in found.items()))
    return DONE
