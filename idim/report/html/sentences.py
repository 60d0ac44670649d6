"""Questions and answers in whole sentences, for somebody who has never seen the project."""

from __future__ import annotations

from idim.answers.recommend import WHY_NOT
from idim.arms import ARMS
from idim.report.words import answer_of, bracket_of, interval_of
from idim.values.findings import Crossing
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.verdict import Verdict

#: How the threshold follows from full fine-tuning.
RULES = {
    "chance": "chance plus the fraction of what full fine-tuning gains over chance",
    "raw": "the fraction of full fine-tuning's score, as the papers print it",
    "absolute": "a score that was given",
}


def question(s: Summary) -> str:
    """What was asked."""
    arm, size = ARMS[s.arm].shown, ARMS[s.arm].size
    fraction = s.threshold if isinstance(s, SearchSummary) else 0.9
    shown = f"{100 * fraction:.3g} %"
    goal = f"to reach {shown} of what full fine-tuning gains"
    if s.rule == "raw":
        goal = f"to reach {shown} of full fine-tuning's score"
    if s.rule == "absolute" and s.levels:
        goal = f"to reach a score of {s.levels.tau:.3g}"
    where = f"when {s.model} learns {s.task}"
    if size is None:
        return f"Does {arm} do enough {goal}, {where}?"
    if size.letter == "d":
        return f"How many numbers d must {arm} train {goal}, {where}?"
    return f"Which {size.name} {size.letter} does {arm} need {goal}, {where}?"


def answer(s: Summary) -> str:
    """What the runs say, in one sentence."""
    letter, found = s.letter, answer_of(s)
    if s.verdict == Verdict.HEAD_ALONE:
        return f"{s.asked} = 0: training the head alone is enough."
    if not letter or found is None or s.levels is None or s.verdict in _NO_SIZE:
        return _whole(s.verdict.of(letter, s.asked))
    name = s.asked
    if bracket := bracket_of(s):
        return f"{_bracket(name, letter, bracket)}{_beside(s)}"
    if found.estimate is None:
        above = f"above {found.low:,}" if found.low else "not bounded by these runs"
        return f"{name} lies {above}: {s.verdict.of(letter, name)}."
    return f"{name} = {found.estimate:,}, {_interval(found)}{_of_weights(s, found.estimate)}."


#: With these verdicts a size would mislead.
_NO_SIZE = (Verdict.TRIVIAL, Verdict.NO_SIGNAL, Verdict.BASELINE_FAILED)


def _whole(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _interval(found: Crossing) -> str:
    level = f"{found.level:.0%}".replace("%", " %") if found.level else ""
    if found.low is not None and found.high is not None:
        return f"{level} interval {found.low:,} to {found.high:,}"
    if found.high is not None:
        return f"{level} interval: at most {found.high:,}, and nothing bounds it from below"
    if found.low is not None:
        return f"{level} interval: at least {found.low:,}, and nothing bounds it from above"
    return f"{level} interval: nothing bounds it"


def _bracket(name: str, letter: str, found: Crossing) -> str:
    low, high = found.low, found.high
    if low is not None and high is not None:
        if low >= high:
            return f"{letter} = {high:,} passes, but {low:,} fails, so {name} is not known."
        return f"{name} lies above {low:,}, which fails, and is at most {high:,}, which passes."
    if high is not None:
        return f"{name} is at most {high:,}, the smallest {letter} that was tried, which passes."
    return f"{name} lies above {low:,}, the largest {letter} that was tried, which fails."


def _beside(s: Summary) -> str:
    """A bracket is no interval; the interval of the same runs stands beside it."""
    found = interval_of(s)
    if found is None:
        return ""
    middle = f"{found.estimate:,}, " if found.estimate else ""
    return f" The same runs, by the model of the curve: {middle}{_interval(found)}."


def _of_weights(s: Summary, estimate: int) -> str:
    """How small a part of the weights that is."""
    if s.letter != "d" or not s.D:
        return ""
    share = 100 * estimate / s.D
    shown = f"{share:.1f}" if share >= 0.1 else f"{share:.2g}"
    return f": {shown} % of the {s.D:,} weights"


def why_not(s: Summary) -> str:
    """Why there is no answer, and what would help; empty where there is one."""
    return _whole(WHY_NOT[s.verdict]) if s.verdict in WHY_NOT else ""


#: Words that a reader may not know, and what they mean here.
TERMS = {
    "D": "The number of weights that full fine-tuning trains. Tied weights count once.",
    "d": "The number of trained numbers in a random subspace. The weights move along a fixed "
    "random map P from d numbers to D weights, and only the d numbers are trained.",
    "d90": "The smallest d that reaches 90 % of what full fine-tuning gains: the intrinsic "
    "dimension of fine-tuning this model to this task under this budget. It says nothing of the "
    "intrinsic dimension of the data or of activations.",
    "r90": "The same for LoRA: the smallest rank that reaches the threshold.",
    "chance": "The better of two scores that need no training: guessing the commonest label, and "
    "the untouched model.",
    "chance-corrected threshold": "Chance plus 90 % of what full fine-tuning gains over chance.",
    "raw threshold": "90 % of full fine-tuning's score, as papers print it. On a task where "
    "chance is high it asks for little.",
    "90 % interval": "Runs of the same d differ, because each draws another P, start, order of "
    "the data and dropout. The interval holds d90 with at least 90 % probability given these "
    "runs, by a model of the curve. It is for these evaluation examples.",
    "bracket": "The largest size that failed and the smallest that passed. It is not an interval "
    "and has no probability.",
    "band": "Where the curve of mean scores lies with 90 % probability.",
    "SAID and DID": "DID trains d numbers. SAID (structure-aware) also learns one scale a layer, "
    "and counts the scales in d.",
    "locked split": "Examples that no decision has seen. They are scored once, at the answer.",
}
