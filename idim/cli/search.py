"""``idim search``: the smallest d, or rank, that reaches 90 % of full fine-tuning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from idim.arms import SIZE_FLAGS
from idim.cli.answers import as_text, finish
from idim.cli.flags import MEASURING, Asked, all_but, takes
from idim.cli.measuring import measured
from idim.cli.terminal import answer, aside
from idim.config import BUDGET, Config
from idim.errors import DONE

EXAMPLE = "idim search --model minilm --task movie-reviews --quick"


@takes(all_but("save", *SIZE_FLAGS), MEASURING)
def command(
    asked: Asked,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train a few steps, keep nothing, and say what the search will take.",
            rich_help_panel=BUDGET,
        ),
    ] = False,
) -> int:
    """Find the smallest size that reaches 90 % of what full fine-tuning gains: d90, or LoRA's r90.

    First it trains the full model for a baseline. Then it trains subspaces of growing and
    shrinking d, or adapters of growing and shrinking rank, until the answer is known well enough.
    """
    config = asked.of_one_arm()
    if dry_run:
        return _planned(config, asked.as_json)
    return finish(measured(config), asked.as_json, Path(config.out))


def _planned(config: Config, as_json: bool) -> int:
    """Print what the search will take. Keeps nothing."""
    from idim.progress import duration
    from idim.rehearsal import rehearse
    from idim.report.plan_text import plan_text
    from idim.resolve import resolve

    with aside():
        plan = resolve(config)
        found = rehearse(plan)
    parts = [dataclasses.asdict(p) for p in found.parts]
    totals = {which: found.total(which) for which in ("least", "usual", "most")}
    if as_json:
        answer(as_text({"parts": parts, "seconds": totals, "memory": found.memory}))
        return DONE
    least, usual, most = (duration(seconds) for seconds in totals.values())
    limits = plan.limits
    sizes = f"{plan.letter} from {limits.smallest:,} to {limits.largest:,}, " if plan.letter else ""
    title = (
        f"{plan.model} × {plan.task}, arm {plan.arm}, protocol {plan.protocol.name}: {sizes}"
        f"D = {plan.facts.D:,}, {plan.steps:,} steps a run"
    )
    answer(plan_text(title, parts, (least, usual, most), found.memory))
    return DONE
