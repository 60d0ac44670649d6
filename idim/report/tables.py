"""Tables: what a person reads at the end of a search, a sweep and a comparison."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from idim.search.pairs import SURE
from idim.values.fields import Json
from idim.values.findings import Checks, Crossing, Levels, Moved
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.sweep_summary import SweepSummary

#: Below these numbers of steps and examples an answer says little.
_FEW_STEPS, _FEW_EXAMPLES = 100, 500


def answer_text(found: Crossing | None) -> str:
    """A bracket ``512 < d <= 1024`` as ``(512, 1024]``; an interval as ``760 [690, 850]``."""
    if not found:
        return "not measured"
    low, high = found.low, found.high
    if found.level:
        if found.estimate is None:
            return f"> {low}" if low else "not bounded"
        return f"{found.estimate} [{low or '..'}, {high or '..'}]"
    if high is None:
        return f"> {low}"
    if low is None:
        return f"<= {high}"
    return f"({low}, {high}]" if low < high else f"{high} passes, {low} fails"


def summary_text(s: Summary) -> str:
    """What stands at the end of `idim search` or `idim sweep`."""
    if isinstance(s, SweepSummary):
        return _sweep_text(s)
    assert isinstance(s, SearchSummary)
    return _search_text(s)


def _search_text(s: SearchSummary) -> str:
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
        lines += [_shown(frame), ""]
    lines += [*_answers(s, levels), *_checks_text(s.checks), *_warnings(s)]
    if s.locked:
        there, whole = s.locked.d90, s.locked.full
        lines.append(
            f"locked split, which decided nothing: {there.mean:.4f} near d90 (n = {there.n}), "
            f"{whole.mean:.4f} with full fine-tuning (n = {whole.n})"
        )
    lines.append(_cost_text(s))
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


def _sweep_text(s: SweepSummary) -> str:
    head = f"{s.model} × {s.task}, LoRA: {s.verdict}"
    if not s.levels:
        return head
    levels = s.levels
    frame = pd.DataFrame(
        {
            "rank": t.size,
            "d_total": t.trained,
            "rate": t.rate,
            "mean": t.mean,
            "n": t.n,
            "passes": "yes" if t.passes else "no",
        }
        for t in s.curve
    )
    chance, raw = answer_text(s.r90_chance), answer_text(s.r90_raw)
    return "\n".join(
        [
            head,
            f"{s.alpha_rule}, rates {'tuned' if s.tuned else 'not tuned'}, "
            f"targets {', '.join(s.targets or ())}; head trained freely and counted in d_total",
            f"full {levels.full:.4f} (n = {levels.n}); chance {levels.chance:.4f}",
            "",
            _shown(frame),
            "",
            f"r90, chance-corrected threshold {levels.tau_chance:.4f}: {chance}",
            f"r90, raw              threshold {levels.tau_raw:.4f}: {raw}",
            _cost_text(s),
        ]
    )


def _shown(frame: pd.DataFrame) -> str:
    text: str = frame.to_string(index=False, float_format=lambda v: f"{v:.4f}")
    return text


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


def _cost_text(s: Summary) -> str:
    runs, seconds, failed = s.cost.runs, s.cost.seconds, s.cost.failed_runs
    kinds = ", ".join(f"{n} {kind} ({seconds[kind]:.0f} s)" for kind, n in runs.items())
    return (
        f"cost: {sum(runs.values())} runs, {sum(seconds.values()):.0f} s of training: {kinds}"
        + (f", {failed} of them failed" if failed else "")
    )


def compare_frame(summaries: Iterable[Summary]) -> pd.DataFrame:
    """One row a model, task and arm: the size that reaches 90 %, by both rules."""
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
                "90 % chance-corrected": f"{s.letter} {answer_text(s.crossing('chance'))}",
                "90 % raw": f"{s.letter} {answer_text(s.crossing('raw'))}",
                "runs": sum(s.cost.runs.values()),
                "seconds": round(sum(s.cost.seconds.values())),
            }
        )
    return pd.DataFrame(rows)
