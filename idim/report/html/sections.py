"""What stands on the page: values for its template, and no HTML."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.protocols import PROTOCOLS
from idim.report.curve_frame import curve_frame
from idim.report.figures.marked import CURVE
from idim.report.html import sentences
from idim.report.search_text import arm_text, checks_text, sentence, warnings_of
from idim.report.tables import summary_text
from idim.report.words import answer_of, answer_text, cost_text, interval_of, ratio_text
from idim.values.findings import Comparison
from idim.values.recipe import Recipe
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.spec import SEEDS
from idim.values.summary import Summary
from idim.values.training import Status

#: A table: its heads, and its rows of cells.
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


@dataclass(frozen=True)
class Figure:
    """A figure on the page: what is drawn, as a part of the page, and its words."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Answer:
    """One search: its question and its answer."""

    id: str
    arm: str
    question: str
    answer: str
    verdict: str
    meaning: str
    help: str
    checks: tuple[str, ...]
    left_out: tuple[str, ...]
    locked: str
    cost: str
    curve: Table
    measured: tuple[tuple[str, str], ...]
    text: str


@dataclass(frozen=True)
class Run:
    """One row of the table of runs. ``link``: where its record lies, as the page sees it."""

    key: str
    link: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """One model, task and budget."""

    id: str
    title: str
    answers: tuple[Answer, ...]
    ratios: tuple[str, ...]
    #: The curves and the frontier; then rates, learning curves and scales.
    main: tuple[Figure, ...]
    trained: tuple[Figure, ...]
    runs: tuple[Run, ...]


#: The most values of one setting that are listed. The records have them all.
_SHOWN = 4
RUN_HEADS = (
    "record", "purpose", "arm", "size", "score", "status", "rate", "steps", "seconds",
    *(f"seed: {name}" for name in SEEDS),
)  # fmt: skip


def overview(summaries: Iterable[Summary]) -> Table:
    """One row a search: both rules, the interval, the verdict and the cost."""
    rows: list[tuple[str, ...]] = []
    for s in summaries:
        levels, letter = s.levels, s.letter
        full = "–"
        if levels:
            error = "" if levels.se is None else f" ± {levels.se:.2g}"
            full = f"{levels.full:.4f}{error} (n = {levels.n})"
        rows.append(
            (
                s.model,
                s.task,
                ARMS[s.arm].shown,
                s.protocol,
                str(s.verdict),
                f"{s.asked} {answer_text(answer_of(s))}" if letter and levels else "–",
                answer_text(found) if (found := interval_of(s)) else "–",
                answer_text(s.crossing("chance")) if letter and levels else "–",
                answer_text(s.crossing("raw")) if letter and levels else "–",
                full,
                f"{levels.chance:.4f}" if levels else "–",
                str(sum(s.cost.runs.values())),
                f"{sum(s.cost.seconds.values()):,.0f}",
            )
        )
    heads = (
        "model", "task", "arm", "protocol", "verdict", "answer", "90 % interval",
        "chance-corrected rule", "raw rule", "full fine-tuning ± its error", "chance", "runs",
        "seconds",
    )  # fmt: skip
    return heads, rows


def answered(s: Summary, records: Sequence[Record], seed: str = "") -> Answer:
    """All that one search says. ``seed``: which of several master seeds it is from."""
    search = s if isinstance(s, SearchSummary) else None
    levels = s.levels
    checks: tuple[str, ...] = ()
    if search and levels:
        checks = (*checks_text(search), *warnings_of(search))
    frame = curve_frame(s) if s.curve else None
    if frame is not None and levels:
        gain = levels.full - levels.chance
        parts = [100 * (t.mean - levels.chance) / gain if gain else 0.0 for t in s.curve]
        frame["of full's gain"] = [f"{part:.0f} %" for part in parts]
        frame["mean"] = [f"{t.mean:.4f}" for t in s.curve]
    locked = ""
    if search and search.locked:
        there, whole = search.locked.d90, search.locked.full
        locked = (
            f"On the locked split, which decided nothing, runs near {s.asked} score "
            f"{there.mean:.4f} (n = {there.n}) and full fine-tuning {whole.mean:.4f} "
            f"(n = {whole.n})."
        )
    return Answer(
        s.id,
        ARMS[s.arm].shown,
        sentences.question(s) + (f" ({seed})" if seed else ""),
        sentences.answer(s),
        str(s.verdict),
        sentence(search) if search else s.verdict.of(s.letter, s.asked),
        sentences.why_not(s),
        checks,
        search.left_out if search else (),
        locked,
        cost_text(s),
        _cells(frame),
        tuple(_measured(s, [r for r in records if r.key in s.keys])),
        summary_text(s),
    )


def _cells(frame: pd.DataFrame | None) -> Table:
    """A data frame as a table of text."""
    if frame is None:
        return (), []
    rows = [tuple(_cell(v) for v in row) for row in frame.itertuples(index=False, name=None)]
    return tuple(map(str, frame.columns)), rows


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _measured(s: Summary, mine: Sequence[Record]) -> Iterable[tuple[str, str]]:
    """How it was measured, as names and values."""
    about = PROTOCOLS[s.protocol].about if s.protocol in PROTOCOLS else ""
    yield "protocol", f"{s.protocol}: {about}" if about else s.protocol
    if isinstance(s, SearchSummary):
        yield "what is trained", arm_text(s)
        fraction = f"{s.threshold:.0%}".replace("%", " %")
        yield "threshold", f"{sentences.RULES.get(s.rule, s.rule)} (fraction: {fraction})"
        yield "how sizes are chosen", s.design
        yield "examples", ", ".join(f"{n:,} {split}" for split, n in s.examples.items())
    recipes = {r.spec.recipe for r in mine if r.kind in CURVE}
    if recipes:
        yield "budget", _each(_recipe(r) for r in recipes)
    yield "steps of a run", _each(f"{r.training.steps:,}" for r in mine if r.status == Status.OK)
    yield "device", _each(r.setting.device for r in mine)
    yield "threads", _each(str(r.setting.threads) for r in mine)
    packages = dict.fromkeys(
        f"{name} {version}" for r in mine for name, version in r.origin.packages.items()
    )
    yield "versions", ", ".join(packages) or "not kept"
    yield (
        "code",
        _each(
            f"{r.origin.git_commit[:12]}{' with changes' if r.origin.git_dirty else ''}"
            for r in mine
            if r.origin.git_commit
        ),
    )
    yield "model", _each(r.setting.model_fingerprint for r in mine)
    yield "data", _each(r.setting.task_fingerprint for r in mine)
    yield "made", _dates(mine)
    yield "record of the question", s.id


def _recipe(r: Recipe) -> str:
    long = f"{r.max_steps:,} steps" if r.max_steps else f"{r.epochs:g} epochs"
    return (
        f"{long}, batches of {r.batch_size}, {r.optimizer}, schedule {r.schedule}, {r.precision}, "
        f"{r.evaluations} evaluations, score by {r.rule.replace('_', ' ')}"
    )


def _each(values: Iterable[str]) -> str:
    found = [v for v in dict.fromkeys(values) if v]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ("; ".join(found[:_SHOWN]) or "not kept") + more


def _dates(mine: Sequence[Record]) -> str:
    started = sorted(r.origin.started for r in mine if r.origin.started > 0)
    if not started:
        return "not kept"
    first, last = (date_of(t) for t in (started[0], started[-1]))
    return first if first == last else f"{first} to {last}"


def date_of(seconds: float) -> str:
    """A day, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def runs_of(records: Iterable[Record], links: Mapping[str, str]) -> tuple[Run, ...]:
    """Every run as a row, in the order in which they were made."""
    rows = []
    for r in records:
        size = ARMS[r.spec.arm].size
        shown = f"{size.letter} = {size_of(r):,}" if size else ""
        cells = (
            str(r.kind),
            ARMS[r.spec.arm].shown,
            shown,
            "–" if r.score is None else f"{r.score:.4f}",
            str(r.status) + (f": {r.reason}" if r.reason else ""),
            f"{r.rate:.3g}",
            f"{r.training.steps:,}",
            f"{r.training.seconds:,.1f}",
            *(str(r.spec.seeds.get(name, "")) for name in SEEDS),
        )
        rows.append(Run(r.key, links.get(r.key, ""), cells))
    return tuple(rows)


def compared(found: Iterable[Comparison]) -> tuple[str, ...]:
    """Each ratio of two answers in a sentence."""
    return tuple(
        f"{ARMS[c.one].shown} against {ARMS[c.other].shown}: {c.name} of the first over that "
        f"of the second is {ratio_text(c.ratio)} (the middle of the ratio, and its 90 % interval)."
        for c in found
    )
