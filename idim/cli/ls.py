"""``idim ls``: what there is to choose from."""

from __future__ import annotations

import dataclasses
import time
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
#: What a store holds, and who works there.
_RUNS = "runs"
_ALL = {name: about for name, (about, _) in LISTS.items()} | {
    _RUNS: "the runs of a store, and those that are being made"
}


def _names(incomplete: str) -> list[str]:
    return [name for name in _ALL if name.startswith(incomplete)]


@takes()
def command(
    asked: Asked,
    what: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(_ALL)}; all lists' names without it.", autocompletion=_names
        ),
    ] = None,
    out: Annotated[str, typer.Option(help="The store whose runs are listed.")] = "idim-out",
) -> int:
    """Show what there is to choose from, or the runs of a store."""
    if what is not None and what not in _ALL:
        raise one_of("ls", _ALL, what)
    if what == _RUNS:
        return _runs(out, asked.as_json)
    found = LISTS[what][1]() if what else _ALL
    if asked.as_json:
        answer(as_text(found))
    else:
        answer("\n".join(f"{name:<22}{about}" for name, about in found.items()))
    return DONE


def _runs(out: str, as_json: bool) -> int:
    from idim.store import Store

    store = Store(out, create=False)
    heads = store.heads()
    at_work = {
        key: holder for key, (_, holder, lives) in store.claims.all().items() if holder and lives
    }
    if as_json:
        made = [dataclasses.asdict(head) for head in heads]
        now = [
            {"key": k, "host": h.host, "pid": h.pid, "since": h.since} for k, h in at_work.items()
        ]
        answer(as_text({"runs": made, "at_work": now}))
        return DONE
    for h in heads:
        score = "-" if h.score is None else f"{h.score:.4f}"
        size = f"{h.arm} {h.size}" if h.size else h.arm
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(h.started))
        answer(
            f"{h.key}  {began}  {h.kind:<9}{size:<16}{h.status:<9}{score:>9}{h.seconds:>8.0f} s"
            f"  {h.model} × {h.task}"
        )
    for key, holder in at_work.items():
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder.since))
        answer(f"{key}  {since}  being made by process {holder.pid} on {holder.host}")
    answer(f"{len(heads)} runs, {len(at_work)} being made")
    return DONE
