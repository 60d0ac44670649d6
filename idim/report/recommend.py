"""One screen for an engineer: which rank, which targets, which rate, what it cost."""

from __future__ import annotations

from idim.answers.frontier import Place
from idim.answers.recommend import LoraFile, Recommendation
from idim.report.words import cost_text
from idim.values.search_summary import SearchSummary

#: What a threshold is, by its rule.
_OF = {
    "chance": "{:.0%} of what full fine-tuning gains",
    "raw": "{:.0%} of full fine-tuning's score",
    "absolute": "a score that was given",
}


def recommend_text(
    s: SearchSummary, found: Recommendation, least: Place | None, made: LoraFile | None
) -> str:
    """What to take, why, and how sure it is.

    Args:
        s: the search over ranks.
        found: what follows from it.
        least: the place with the fewest numbers that surely passes, over all arms of the store.
        made: the configuration for peft; None where there is none.
    """
    lines = [f"{s.model} × {s.task}, {s.arm}, {s.steps} steps a run"]
    if found.size is None:
        lines.append(f"no recommendation: {found.why}")
    elif found.size == 0:
        lines.append(f"rank 0: {found.why}")
    else:
        ends = f"[{found.low or '..'}, {found.high}]"
        lines += [
            f"rank {found.size}: {found.why}, {found.estimate} {ends}",
            f"learning rate {found.rate:.2g}"
            + (f", alpha {made.alpha}, targets: {_some(made.targets)}" if made else ""),
        ]
    if s.levels:
        lines.append(
            f"to reach: {s.metric} {s.levels.tau:.4f}, {_OF[s.rule].format(s.threshold)} "
            f"(full {s.levels.full:.4f}, chance {s.levels.chance:.4f})"
        )
    lines += [f"note: {note}" for note in found.notes]
    if least is not None:
        at = f" at {least.letter} = {least.size}" if least.letter else ""
        lines.append(
            f"fewest trained numbers that surely pass in this store: {least.trained:,}, by "
            f"{least.arm}{at}"
        )
    lines.append(f"verdict of the search: {s.verdict}; {cost_text(s)}")
    if made:
        lines.append(f"for peft: {made.path}")
    return "\n".join(lines)


def _some(names: tuple[str, ...]) -> str:
    """A few names, and how many more there are."""
    ends = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    return ", ".join(ends) or "peft's for this model"
