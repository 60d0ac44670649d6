"""The published layout: a row a model, and columns of methods and tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from idim.answers.published import Published
from idim.arms import ARMS
from idim.report.words import answer_of, answer_text, bracket_of, interval_of
from idim.values.summary import Summary

#: What stands where nothing was measured, or published.
_NONE = "–"


def layout_frame(summaries: Sequence[Summary], published: Published | None = None) -> pd.DataFrame:
    """One row a model; for each method and task our answer, and the published one beside it.

    Models that only the publication has follow, for tasks that we measured.

    Args:
        summaries: of any models, tasks and arms. Several of one cell stand beside each other.
        published: what to compare with.
    """
    arms = list(dict.fromkeys((s.arm, s.asked) for s in summaries if s.letter))
    tasks = list(dict.fromkeys(s.task for s in summaries))
    models = list(dict.fromkeys(s.model for s in summaries))
    rows = []
    for model in models:
        row = {"model": model}
        for arm, asked in arms:
            for task in tasks:
                of = model, arm, asked, task
                found = [s for s in summaries if (s.model, s.arm, s.asked, s.task) == of]
                row[_head(arm, asked, task)] = "; ".join(map(cell, found)) or _NONE
                if _told(published, arm, asked, task):
                    value = published and published.value(model, ARMS[arm].shown, task)
                    row[_head(arm, asked, task) + ", published"] = f"{value:g}" if value else _NONE
        rows.append(row)
    for theirs in published.values if published else ():
        row = {"model": f"{theirs} (published)"}
        for arm, asked in arms:
            for task in tasks:
                value = published and published.value(theirs, ARMS[arm].shown, task)
                if _told(published, arm, asked, task):
                    row[_head(arm, asked, task)] = _NONE
                    row[_head(arm, asked, task) + ", published"] = f"{value:g}" if value else _NONE
        if any(v != _NONE for k, v in row.items() if k != "model"):
            rows.append(row)
    return pd.DataFrame(rows).fillna(_NONE)


def source_of(published: Published, summaries: Sequence[Summary]) -> str:
    """Where published values are from, and by which rule ours are asked for."""
    rules = ", ".join(dict.fromkeys(s.rule for s in summaries))
    return f"{published.source} Ours by the rule {rules}; theirs may have another."


def _head(arm: str, asked: str, task: str) -> str:
    return f"{ARMS[arm].shown} {asked}, {task}"


def _told(published: Published | None, arm: str, asked: str, task: str) -> bool:
    """Whether the publication has this method on this task. It says what reaches 90 %."""
    return (
        published is not None
        and asked.endswith("90")
        and any(
            published.value(model, ARMS[arm].shown, task) is not None for model in published.values
        )
    )


def cell(s: Summary) -> str:
    """An answer with its interval, which stands beside a bracket too."""
    if not s.levels:
        return str(s.verdict)
    text = answer_text(answer_of(s))
    if bracket_of(s) and (interval := interval_of(s)):
        text += f", 90 %: {answer_text(interval)}"
    return text
