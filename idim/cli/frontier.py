"""``idim frontier``: score against trained numbers, for every arm that fits the model."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Annotated

import typer

from idim.arms import ARMS, DEFAULT, SIZE_FLAGS, SIZES_FLAGS, measured
from idim.cli.answers import as_text
from idim.cli.flags import MEASURING, Asked, all_but, names_in, takes
from idim.cli.measuring import prepare
from idim.cli.terminal import answer, remark, watching
from idim.config import BUDGET, WHAT, Config
from idim.errors import DONE, NOT_REACHED, IdimError, expected, one_of

if TYPE_CHECKING:
    from idim.values.plan import Plan

EXAMPLE = "idim frontier --model minilm --task movie-reviews --quick --arms lora:1/8,did:256/4096"


@takes(
    all_but("arm", "absolute", "save", "design", "max_runs", "early", *SIZES_FLAGS, *SIZE_FLAGS),
    MEASURING,
)
def command(
    asked: Asked,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Arms, with commas between, each with its sizes: lora:1/8,did:256/4096,bitfit. "
            "Default: all that fit the model, at usual sizes.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    latency: Annotated[
        bool,
        typer.Option(
            help="Also time evaluations with each arm, unmerged and merged.", rich_help_panel=BUDGET
        ),
    ] = True,
    imported: Annotated[
        str | None,
        typer.Option(
            help="Results of peft's method comparison, for a panel beside yours.",
            rich_help_panel=WHAT,
        ),
    ] = None,
) -> int:
    """Measure every arm at a few sizes, and say which passes with the fewest trained numbers.

    Each size is run three times, or --repeats times, at a rate tuned for its arm. An arm that the
    model cannot carry is left out, with its reason.
    """
    from idim import conductor
    from idim.answers import frontier
    from idim.answers.imported import read
    from idim.latency import latency as timed
    from idim.store import Store

    published = read(imported) if imported else []
    prepare(asked.config())
    plans, left = _plans(asked, _asked_for(arms))
    for reason in left:
        remark(f"idim: note: {reason}")
    if not plans:
        raise expected("--arms", "at least one that the model can carry", "; ".join(left))
    config = asked.config(arm=plans[0].arm)
    store = Store(config.out)
    times: dict[str, tuple[float, float | None]] = {}
    with watching(config.report_to, config.out) as watcher:
        for plan in plans:
            conductor.measure(plan, store, watcher)
        for plan in plans if latency else ():
            found = timed(plan, max(plan.limits.grid, default=0))
            times[plan.arm] = found.unmerged, found.merged
    questions = [q for plan in plans if (q := store.question(plan.id))]
    places = frontier.places(store.all(), questions)
    levels = frontier.levels(store.all(), questions)
    if not places or levels is None:
        answer("full fine-tuning gave nothing to hold the arms against")
        return NOT_REACHED
    from idim.report.figures.trained import figure_against_trained, of_places
    from idim.report.frontier import frontier_text, title
    from idim.report.style import png

    first = plans[0]
    named = first.model, first.task, first.protocol.name, first.steps
    if asked.as_json:
        answer(
            as_text(
                {
                    "model": first.model,
                    "task": first.task,
                    "protocol": first.protocol.name,
                    "rule": first.protocol.rule,
                    "metric": first.data.metric,
                    "steps": first.steps,
                    "questions": [q.id for q in questions],
                    "levels": levels.to_json(),
                    "places": [dataclasses.asdict(p) for p in places],
                    "latency": {a: {"unmerged": u, "merged": m} for a, (u, m) in times.items()},
                    "cheapest": (p := frontier.cheapest(places)) and dataclasses.asdict(p),
                    "left_out": left,
                }
            )
        )
    else:
        answer(frontier_text(title(*named), places, levels, times))
    try:
        drawn = png(
            figure_against_trained(
                f"{first.model} × {first.task}, {first.protocol.name}",
                of_places(places),
                levels,
                first.protocol.rule,
                first.data.metric,
                published,
            )
        )
        # One store may hold frontiers of several lists of arms.
        of = hashlib.sha256(" ".join(q.id for q in questions).encode()).hexdigest()[:6]
        path = store.keep("figures", f"frontier-{first.study}-{of}.png", drawn)
        if not asked.as_json:
            answer(f"figure: {path}")
    except Exception as error:  # the answer is out already
        remark(f"idim: warning: {error if isinstance(error, IdimError) else repr(error)}")
    return DONE if frontier.cheapest(places) else NOT_REACHED


def _asked_for(text: str | None) -> dict[str, tuple[int, ...] | None]:
    """The arms by name, each with its sizes; None where the usual ones are meant."""
    if text is None:
        return dict.fromkeys(measured())
    found: dict[str, tuple[int, ...] | None] = {}
    for part in names_in(text, "--arms"):
        name, colon, sizes = part.partition(":")
        if name not in measured():
            raise one_of("--arms", measured(), name)
        if name in found:
            raise expected("--arms", f"{name} once, with all its sizes as {name}:64/128", text)
        if colon and ARMS[name].size is None:
            raise expected("--arms", f"no sizes for {name}, which has none", part)
        try:
            found[name] = tuple(int(size) for size in sizes.split("/")) if colon else None
        except ValueError:
            raise expected("--arms", "an arm and its sizes, as lora:1/8", part) from None
    return found


def _plans(asked: Asked, wanted: dict[str, tuple[int, ...] | None]) -> tuple[list[Plan], list[str]]:
    """A plan for each arm that fits, and why others do not."""
    from idim.resolve import resolve

    # The same for every arm, so the model is loaded for them once. This arm carries every model.
    facts = resolve(dataclasses.replace(asked.config(arm=DEFAULT), repeats=0)).facts
    plans, left = [], []
    for name, sizes in wanted.items():
        size = ARMS[name].size
        try:
            config = asked.config(arm=name)
            if size is None:
                plans.append(resolve(config))
                continue
            grid = sizes or ARMS[name].frontier_sizes(facts)
            more: dict[str, object] = {size.several: grid, "design": "grid"}
            plans.append(resolve(_with_repeats(dataclasses.replace(config, **more))))  # type: ignore[arg-type]
        except IdimError as error:
            if sizes is not None or len(wanted) == 1:
                raise
            left.append(f"{name}: {error}")
    return plans, left


def _with_repeats(config: Config) -> Config:
    """Three runs at each size, unless another number was asked for."""
    return config if config.repeats else dataclasses.replace(config, repeats=3)
