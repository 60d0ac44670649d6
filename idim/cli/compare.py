"""``idim compare``: one table over models, tasks and arms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from idim.answers.published import Published
from idim.arms import ARMS, SIZE_FLAGS, SIZES_FLAGS, measured, over
from idim.cli.answers import as_text, code_of, draw, table
from idim.cli.flags import MEASURING, Asked, all_but, names_in, takes
from idim.cli.measuring import all_measured
from idim.cli.terminal import answer, remark
from idim.config import WHAT
from idim.errors import IdimError, one_of
from idim.values.findings import Comparison
from idim.values.summary import Summary

EXAMPLE = "idim compare --models minilm --tasks movie-reviews --arms did,said,lora --quick"


@takes(all_but("model", "task", "arm", "absolute", "save", *SIZE_FLAGS), MEASURING)
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
    published: Annotated[
        str | None,
        typer.Option(
            help="JSON of published d90 by model, method and task, to stand beside ours.",
            rich_help_panel=WHAT,
        ),
    ] = None,
) -> int:
    """Make the table of d90 by model, task and arm. Runs only what the store does not hold yet."""
    from idim.answers.published import read
    from idim.report.words import comparison_text

    theirs = read(published) if published else None
    configs = [
        asked.config(model=model, task=task, arm=arm, **_not_for(arm))
        for model in names_in(models, "--models")
        for task in names_in(tasks, "--tasks")
        for arm in names_in(arms, "--arms")
    ]
    for config in configs:
        if config.arm not in measured():
            raise one_of("--arms", measured(), config.arm)
    summaries: list[Summary] = []
    try:
        for summary in all_measured(configs):
            summaries.append(summary)
    finally:
        # Whatever ends the comparison early, what is answered is printed.
        if summaries:
            found = _ratios(Path(configs[0].out), summaries)
            answer(
                as_text(
                    {
                        "summaries": [s.to_json() for s in summaries],
                        "ratios": [dataclasses.asdict(c) for c in found],
                    }
                )
                if asked.as_json
                else "\n".join(
                    [
                        table(summaries),
                        "",
                        *map(comparison_text, found),
                        "",
                        _layout(summaries, theirs),
                    ]
                ).rstrip()
            )
    draw(Path(configs[0].out))
    return code_of(*summaries)


def _layout(summaries: list[Summary], published: Published | None) -> str:
    """A row a model, columns of methods and tasks, as the papers print it."""
    from idim.report.layout import layout_frame, source_of

    text = str(layout_frame(summaries, published).to_string(index=False))
    return text + (f"\npublished: {source_of(published, summaries)}" if published else "")


def _not_for(arm: str) -> dict[str, object]:
    """The flags that list the sizes of other arms, left out."""
    size = ARMS[arm].size if arm in ARMS else None
    return {flag: () for flag in SIZES_FLAGS if size is None or flag != size.several}


def _ratios(out: Path, summaries: list[Summary]) -> list[Comparison]:
    """How the answers of two arms compare, where both have one. A failure leaves the answers."""
    from idim.answers.ratio import ratios
    from idim.store import Store

    letters = {arm.name: arm.size.letter for arm in ARMS.values() if arm.size}
    try:
        store = Store(out, create=False)
        ids = [s.id for s in summaries if s.verdict.answers]
        return ratios(store.all(), [q for name in ids if (q := store.question(name))], letters)
    except Exception as error:
        remark(f"idim: warning: {error if isinstance(error, IdimError) else repr(error)}")
        return []
