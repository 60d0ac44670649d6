"""``idim recommend``: which rank to take for a model and a task."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idim.arms import ARMS, SIZE_FLAGS, SIZES_FLAGS, SWEPT
from idim.cli.answers import as_text, draw
from idim.cli.flags import MEASURING, Asked, all_but, takes
from idim.cli.measuring import prepare
from idim.cli.terminal import answer, remark, watching
from idim.config import BUDGET
from idim.errors import DONE, NOT_REACHED, IdimError, expected
from idim.values.search_summary import SearchSummary

if TYPE_CHECKING:
    from idim.answers.recommend import LoraFile
    from idim.values.plan import Plan

EXAMPLE = "idim recommend --model minilm --task movie-reviews --budget 20"


@takes(
    all_but("arm", "design", "repeats", "absolute", "save", *SIZES_FLAGS, *SIZE_FLAGS), MEASURING
)
def command(
    asked: Asked,
    budget: Annotated[
        float,
        typer.Option(
            help="Minutes. After them no more ranks are tried; checks of the answer may follow. "
            "Default: no limit but --max-runs.",
            rich_help_panel=BUDGET,
        ),
    ] = 0.0,
) -> int:
    """Recommend a rank for LoRA: the search for r90, in the words of who has to choose.

    It also writes the configuration, ready for peft's LoraConfig.from_pretrained. Where the runs
    support no choice, it says so.
    """
    if not 0 <= budget < float("inf"):
        raise expected("--budget", "minutes, 0 for no limit", budget)
    from idim import conductor
    from idim.answers import frontier
    from idim.answers.recommend import recommend
    from idim.report.recommend import recommend_text
    from idim.resolve import resolve
    from idim.store import Store

    config = asked.of_one_arm(arm=SWEPT)
    prepare(config)
    with watching(config.report_to, config.out) as watcher:
        plan = resolve(config)
        summary = conductor.measure(plan, Store(config.out), watcher, minutes=budget)
    assert isinstance(summary, SearchSummary)
    found, store = recommend(summary), Store(config.out, create=False)
    mine = plan.question()
    # What others reached counts where it was held against the same threshold.
    questions = [
        q
        for q in store.questions()
        if (q.study, q.rule, q.threshold, q.absolute)
        == (mine.study, mine.rule, mine.threshold, mine.absolute)
    ]
    least = frontier.cheapest(frontier.places(store.all(), questions))
    made: LoraFile | None = None
    try:
        if found.size:
            made = _written(plan, found.size, Path(config.out))
    except (IdimError, OSError) as error:  # the answer is known all the same
        remark(f"idim: warning: {error}")
    if asked.as_json:
        told = {
            "recommendation": dataclasses.asdict(found),
            "targets": list(made.targets) if made else [],
            "config": made.path if made else "",
            "cheapest": least and dataclasses.asdict(least),
            "summary": summary.to_json(),
        }
        answer(as_text(told))
    else:
        answer(recommend_text(summary, found, least, made))
    draw(Path(config.out))
    return NOT_REACHED if found.size is None else DONE


def _written(plan: Plan, rank: int, out: Path) -> LoraFile:
    """Write the configuration for peft."""
    from idim.answers.recommend import LoraFile
    from idim.source import CATALOGUES

    task = CATALOGUES.task(plan.model, plan.task, plan.options)
    model = CATALOGUES.load(plan.model, task, 0).module
    arm = ARMS[plan.arm]
    module: Any = arm.adapt(model, arm.at(plan.settings, rank), 0).module
    config = module.peft_config["default"]
    folder = out / "recommended" / plan.id
    config.save_pretrained(str(folder))
    targets = tuple(sorted(config.target_modules))
    return LoraFile(str(folder / "adapter_config.json"), targets, config.lora_alpha)
