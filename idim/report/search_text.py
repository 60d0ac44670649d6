"""What a person reads at the end of a search."""

from __future__ import annotations

import pandas as pd

from idim.report.words import answer_text, cost_text, shown
from idim.search.pairs import SURE
from idim.values.findings import Checks, Levels, Moved
from idim.values.search_summary import SearchSummary

#: Below these numbers of steps and examples an answer says little.
_FEW_STEPS, _FEW_EXAMPLES = 100, 500


def search_text(s: SearchSummary) -> str:
    """The verdict, the scores by d, the answers, the checks and the cost."""
    lines = [
        f"{s.model} × {s.task}, arm {s.arm}, protocol {s.protocol}: "
        f"{s.verdict} — {s.verdict.sentence}"
    ]
    if not s.levels:
        return lines[0]
    levels, gain = s.levels, s.levels.full - s.levels.chance
    if s.rule == "raw" and gain > 0:
        asked = max((levels.tau - levels.chance) / gain, 0)
        lines.append(
            f"The raw rule asks for {asked:.0%} of what full fine-tuning gains over chance."
        )
    scales = f"{s.m} (by {s.structure}), counted in d" if s.m else "none"
    lines += [
        f"full fine-tuning {s.metric} {levels.full:.4f} {_spread(levels)}; "
        f"chance {levels.chance:.4f}; D = {s.D:,}; {s.steps} steps a run",
        f"projection {s.projection}, scope {s.scope}, scales: {scales}; head inside D",
        "examples: " + ", ".join(f"{n:,} {split}" for split, n in s.examples.items()),
        "",
    ]
    if s.curve:
        frame = pd.DataFrame(
            {
                "d": t.size,
                "mean": t.mean,
                "n": t.n,
                "stopped": t.stopped,
                "passes": "yes" if t.passes else "no",
            }
            for t in s.curve
        )
        if not frame["stopped"].any():
            frame = frame.drop(columns="stopped")
        lines += [shown(frame), ""]
    lines += [*_answers(s, levels), *_checks_text(s.checks), *_warnings(s)]
    if s.locked:
        there, whole = s.locked.d90, s.locked.full
        lines.append(
            f"locked split, which decided nothing: {there.mean:.4f} near d90 (n = {there.n}), "
            f"{whole.mean:.4f} with full fine-tuning (n = {whole.n})"
        )
    lines.append(cost_text(s))
    if s.left_out:
        lines.append("Left out: " + "; ".join(s.left_out) + ".")
    return "\n".join(lines)


def _spread(levels: Levels) -> str:
    if levels.se is None:
        return "one run, no error"
    return f"± {levels.se:.4f} (standard error of {levels.n} runs)"


def _answers(s: SearchSummary, levels: Levels) -> list[str]:
    """The lines that say d90, by each rule and at each level."""
    lines = []
    for name, rule, tau in (
        ("chance-corrected", "chance", levels.tau_chance),
        ("raw", "raw", levels.tau_raw),
    ):
        used = "  <- the rule of this search" if s.rule == rule else ""
        found = answer_text(s.crossing(rule))
        lines.append(f"d90, {name:<16} threshold {tau:.4f}: {found:<18}{used}".rstrip())
    if s.rule == "absolute":
        lines.append(
            f"d at the absolute  threshold {levels.tau:.4f}: {answer_text(s.answer):<18}"
            "  <- the rule of this search"
        )
    names = [name for name in ("d50", "d75", "d90", "d95") if s.found.get(name)]
    each = ", ".join(f"{name} {answer_text(s.found[name])}" for name in names)
    lines.append(f"by {'chance' if s.rule == 'absolute' else s.rule} rule: {each}")
    if s.answer and s.answer.level:
        lines.append(
            f"estimate [low, high]: low and high are the ends of a {s.answer.level:.0%} interval; "
            "'..' lies beyond what can be tried."
        )
    else:
        lines.append(
            "A bracket is (largest failing d, smallest passing d]; it is not a confidence interval."
        )
        if s.interval:
            lines.append(
                f"{s.interval.level:.0%} interval of the same runs, by the model of the curve: "
                f"{answer_text(s.interval)}"
            )
    if s.interval_new_data:
        lines.append(
            f"That is for these {s.examples.get('measure', 0):,} evaluation examples; "
            f"for others like them: {answer_text(s.interval_new_data)}"
        )
    if s.reachable is not None and s.reachable < 0.995:
        lines.append(f"probability that any d up to D passes: {s.reachable:.2f}")
    return lines


def _checks_text(checks: Checks) -> list[str]:
    lines = []
    if full := checks.converged:
        lines.append(
            f"check, full fine-tuning at twice the budget ({full.pairs} pairs): "
            f"gains {full.gain:+.4f} [{full.low:+.4f}, {full.high:+.4f}]"
            + (": FULL IS UNDERTRAINED" if full.undertrained else "")
        )
    if budget := checks.budget:
        lines.append(f"check, twice the budget ({budget.pairs} pairs): {_moved(budget)}")
    for factor, change in sorted((checks.rate or {}).items()):
        lines.append(f"check, {factor} times the rate ({change.pairs} pairs): {_moved(change)}")
    if shape := checks.isotonic:
        where = "crosses nowhere" if shape.d is None else f"crosses at {shape.d}"
        stands = "leave the interval standing" if shape.agrees else "CONTRADICT THE INTERVAL"
        lines.append(f"check, no shape assumed: the isotonic curve {where}; the runs {stands}")
    if witness := checks.witness:
        lines.append(
            f"largest d tried, {witness.d:,}: {witness.share:.0%} of full's gain (n = {witness.n})"
        )
    return lines


def _moved(change: Moved) -> str:
    """Octaves by which d90 falls, and how sure it is that it falls by a quarter."""
    shown = "yes" if change.probability >= SURE else "not shown"
    return (
        f"d90 smaller by {change.octaves:.2f} octaves; by 0.32 or more: {shown} "
        f"(probability {change.probability:.2f})"
    )


def _warnings(s: SearchSummary) -> list[str]:
    lines, measured = [], s.examples.get("measure", 0)
    if 1 < s.steps < _FEW_STEPS:
        lines.append(f"warning: {s.steps} steps are few; full fine-tuning may not have converged")
    if 10 < measured < _FEW_EXAMPLES:
        lines.append(
            f"warning: {measured} evaluation examples are few; "
            "their error is that of the interval for other examples"
        )
    return lines
