"""Which rank to take, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from idim.values.search_summary import SearchSummary
from idim.values.verdict import Verdict

#: What keeps the runs of a search from supporting a choice, by its verdict.
WHY_NOT = {
    Verdict.NOT_REACHED: "no size that was tried reaches the threshold: full fine-tuning does more",
    Verdict.RATE_FAILED: "training failed even with all of D",
    Verdict.TRIVIAL: "guessing, or the untouched model, passes already: nothing has to be trained",
    Verdict.NO_SIGNAL: "full fine-tuning itself is not told apart from chance: "
    "more data, or more steps",
    Verdict.BASELINE_FAILED: "no full fine-tuning ended well, so nothing says what to reach",
    Verdict.UNFINISHED: "the runs do not tell yet which size passes: allow more of them",
    Verdict.CONTRADICTORY: "the runs contradict each other: allow more of them",
}


@dataclass(frozen=True)
class Recommendation:
    """A size to train with, or why there is none.

    Attributes:
        size: what to take; 0 for the head alone; None where the runs support no choice.
        why: in a sentence.
        rate: near that size; None where no run was made.
        low, estimate, high: the answer of the search; an end is None where nothing bounds it.
        notes: what its reader should know.
    """

    size: int | None
    why: str
    rate: float | None = None
    low: int | None = None
    estimate: int | None = None
    high: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoraFile:
    """A configuration for peft, as it was written: where, the modules that are adapted, alpha."""

    path: str
    targets: tuple[str, ...]
    alpha: int


def recommend(summary: SearchSummary) -> Recommendation:
    """The upper end of the interval: a size that passes even where the runs were lucky.

    The interval for other examples of the same kind is taken where there is one, because the model
    will see others. Without an upper end there is no choice.
    """
    letter, verdict, asked = summary.letter, summary.verdict, summary.asked
    if verdict == Verdict.HEAD_ALONE:
        return Recommendation(0, "the head alone reaches the threshold: train nothing else")
    if verdict in WHY_NOT:
        return Recommendation(None, WHY_NOT[verdict])
    inner, outer = summary.answer, summary.interval_new_data or summary.answer
    if inner is None or outer is None or outer.high is None or not outer.level:
        what = f"nothing bounds {asked} from above: allow more runs, or more evaluation examples"
        return Recommendation(None, what)
    size = outer.high
    nearest = min(summary.curve, key=lambda t: abs(t.size - size), default=None)
    notes = []
    if verdict == Verdict.BUDGET_LIMITED:
        notes.append(f"with more steps a smaller {letter} would do")
    if summary.checks.converged and summary.checks.converged.undertrained:
        notes.append("full fine-tuning gains from more steps, and then asks for more")
    if inner.high is not None and outer.high > 2 * inner.high:
        notes.append("the evaluation split is small: most of the interval comes from that")
    return Recommendation(
        size,
        f"the upper end of the 90 % interval of {asked}",
        nearest.rate if nearest else None,
        outer.low,
        outer.estimate,
        outer.high,
        tuple(notes),
    )
