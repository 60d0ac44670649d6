"""Tables: what a person reads at the end of a search, a sweep and a comparison."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from idim.report.curve_frame import curve_frame
from idim.report.search_text import search_text
from idim.report.words import answer_text, cost_text, shown
from idim.values.fields import Json
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.sweep_summary import SweepSummary


def summary_text(s: Summary) -> str:
    """What stands at the end of `idim search` or `idim sweep`."""
    if isinstance(s, SweepSummary):
        return _sweep_text(s)
    assert isinstance(s, SearchSummary)
    return search_text(s)


def _sweep_text(s: SweepSummary) -> str:
    head = f"{s.model} × {s.task}, LoRA: {s.verdict}"
    if not s.levels:
        return head
    levels = s.levels
    frame = curve_frame(s)
    chance, raw = answer_text(s.r90_chance), answer_text(s.r90_raw)
    return "\n".join(
        [
            head,
            f"{s.alpha_rule}, rates {'tuned' if s.tuned else 'not tuned'}, "
            f"targets {', '.join(s.targets or ())}; head trained freely and counted in d_total",
            f"full {levels.full:.4f} (n = {levels.n}); chance {levels.chance:.4f}",
            "",
            shown(frame),
            "",
            f"r90, chance-corrected threshold {levels.tau_chance:.4f}: {chance}",
            f"r90, raw              threshold {levels.tau_raw:.4f}: {raw}",
            cost_text(s),
        ]
    )


#: An adapter that grows by so much is worth a word.
_GROWS = 100


def export_text(
    folder: str,
    layers: list[Json],
    scores: dict[str, float],
    metric: str | None,
    sizes: tuple[int, int] = (0, 0),
) -> str:
    """The end of `idim export`. ``sizes``: bytes of the weights before and after."""
    lines = [f"wrote {folder}"]
    if layers:
        frame = pd.DataFrame(layers)
        frame["shape"] = [" x ".join(map(str, shape)) for shape in frame["shape"]]
        frame["kept"] = frame["kept"].map("{:.3f}".format)
        before, after = sizes
        lines += [
            frame.rename(columns={"full": "of", "kept": "energy kept"}).to_string(index=False),
            "The ranks are those of a random subspace's move. They say nothing of the task: "
            "`idim sweep` finds the rank that it needs.",
            f"weights: {before:,} bytes as a subspace, {after:,} bytes as LoRA",
        ]
        if before and after >= _GROWS * before:
            lines.append(
                f"warning: the adapter grows {after / before:,.0f} times; "
                "--rank or a smaller --energy keeps less of the move"
            )
    lines += [f"{metric} of the {name}: {score:.4f}" for name, score in scores.items()]
    return "\n".join(lines)


def compare_frame(summaries: Iterable[Summary]) -> pd.DataFrame:
    """One row a model, task and arm: the size that reaches the level asked for, by both rules."""
    rows = []
    for s in summaries:
        levels = s.levels
        rows.append(
            {
                "model": s.model,
                "task": s.task,
                "arm": s.arm,
                "protocol": s.protocol,
                "D": s.D,
                "full": levels and levels.full,
                "n": levels and levels.n,
                "chance": levels and levels.chance,
                "verdict": str(s.verdict),
                "chance-corrected": f"{s.level} {answer_text(s.crossing('chance'))}",
                "raw": f"{s.level} {answer_text(s.crossing('raw'))}",
                "runs": sum(s.cost.runs.values()),
                "seconds": round(sum(s.cost.seconds.values())),
            }
        )
    return pd.DataFrame(rows)
