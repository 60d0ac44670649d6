"""``idim compare``: one table over models, tasks and arms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idim.arms import over
from idim.cli.answers import as_text, code_of, draw, table
from idim.cli.flags import MEASURING, Asked, all_but, names_in, takes
from idim.cli.terminal import answer, watching
from idim.config import WHAT
from idim.errors import one_of
from idim.values.summary import Summary

EXAMPLE = "idim compare --models minilm --tasks movie-reviews --arms did,said,lora --quick"


@takes(all_but("model", "task", "arm", "absolute", "d", "rank", "save"), MEASURING)
def command(
    asked: Asked,
    models: Annotated[
        str | None, typer.Option(help="Models, with commas between.", rich_help_panel=WHAT)
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks, with commas between.", rich_help_panel=WHAT)
    ] = None,
    arms: Annotated[
        str,
        typer.Option(help="Arms, with commas between; see `idim ls arms`.", rich_help_panel=WHAT),
    ] = ",".join(over("d")),
) -> int:
    """Make the table of d90 by model, task and arm. Runs only what the store does not hold yet."""
    from idim import conductor
    from idim.study import Study

    measured = (*over("d"), *over("r"))
    configs = [
        asked.config(model=model, task=task, arm=arm)
        for model in names_in(models, "--models")
        for task in names_in(tasks, "--tasks")
        for arm in names_in(arms, "--arms")
    ]
    for config in configs:
        if config.arm not in measured:
            raise one_of("--arms", measured, config.arm)
        # All of them, before any is trained.
        study = Study(config)
        if config.arm in over("d"):
            conductor.check_search(study)
    summaries: list[Summary] = []
    try:
        with watching() as watcher:
            for config in configs:
                measure = conductor.search if config.arm in over("d") else conductor.sweep
                summaries.append(measure(config, watcher))
    finally:
        # Whatever ends the comparison early, what is answered is printed.
        if summaries:
            answer(
                as_text({"summaries": [s.to_json() for s in summaries]})
                if asked.as_json
                else table(summaries)
            )
    draw(Path(configs[0].out))
    return code_of(*summaries)
