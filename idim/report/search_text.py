"""What a person reads at the end of a search."""

from __future__ import annotations

from idim.report.curve_frame import curve_frame
from idim.report.words import answer_text, cost_text, shown
from idim.search.pairs import SURE
from idim.values.findings import Levels, Moved
from idim.values.search_summary import SearchSummary
from idim.values.verdict import Verdict

#: Below these numbers of steps and examples an answer says little.
_FEW_STEPS, _FEW_EXAMPLES = 100, 500
#: So many octaves at most are told of a change.
_MOST_OCTAVES = 10


def search_text(s: SearchSummary) -> str:
    """The verdict, the scores by size, the answers, the checks and the cost."""
    lines = [
        f"{s.model} × {s.task}, arm {s.arm}, protocol {s.protocol}: {s.verdict} — {sentence(s)}"
    ]
    if not s.levels:
        return lines[0]
    levels, gain = s.levels, s.levels.full - s.levels.chance
    if s.rule == "raw" and gain > 0:
        asked = max((levels.tau - levels.chance) / gain, 0)
        lines.append(
            f"The raw rule asks for {asked:.0%} of what full fine-tuning gains over chance."
        )
    lines += [
        f"full fine-tuning {s.metric} {levels.full:.4f} {_spread(levels)}; "
        f"chance {levels.chance:.4f}; D = {s.D:,}; {s.steps} steps a run",
        arm_text(s),
        "examples: " + ", ".join(f"{n:,} {split}" for split, n in s.examples.items()),
        "",
    ]
    if s.curve:
        lines += [shown(curve_frame(s)), ""]
    answers = _answers(s, levels) if s.letter else []
    lines += [*answers, *checks_text(s), *warnings_of(s)]
    if s.locked:
        there, whole = s.locked.d90, s.locked.full
        lines.append(
            f"locked split, which decided nothing: {there.mean:.4f} near {s.asked} "
            f"(n = {there.n}), {whole.mean:.4f} with full fine-tuning (n = {whole.n})"
        )
    lines.append(cost_text(s))
    if s.left_out:
        lines.append("Left out: " + "; ".join(s.left_out) + ".")
    return "\n".join(lines)


def sentence(s: SearchSummary) -> str:
    """What the verdict says, and what it would hide."""
    if s.verdict == Verdict.REACHED and s.remark and s.answer and s.answer.low is None:
        return s.remark  # no smaller one was there to fail
    return "; ".join(filter(None, [s.verdict.of(s.letter, s.asked), s.remark]))


def arm_text(s: SearchSummary) -> str:
    """How the arm was set up."""
    if s.letter == "d":
        scales = f"{s.m} (by {s.structure}), counted in d" if s.m else "none"
        return f"projection {s.projection}, scope {s.scope}, scales: {scales}; head inside D"
    said = {k: ", ".join(v) if isinstance(v, list) else v for k, v in s.adapted.items()}
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in said.items())


def _spread(levels: Levels) -> str:
    if levels.se is None:
        return "one run, no error"
    return f"± {levels.se:.4f} (standard error of {levels.n} runs)"


def _answers(s: SearchSummary, levels: Levels) -> list[str]:
    """The lines that say d90 or r90, by each rule and at each level."""
    lines = []
    for name, rule, tau in (
        ("chance-corrected", "chance", levels.tau_chance),
        ("raw", "raw", levels.tau_raw),
    ):
        used = "  <- the rule of this search" if s.rule == rule else ""
        found = answer_text(s.crossing(rule))
        line = f"{s.level}, {name:<16} threshold {tau:.4f}: {found:<18}{used}"
        lines.append(line.rstrip())
    if s.rule == "absolute":
        lines.append(
            f"{s.letter} at the absolute  threshold {levels.tau:.4f}: {answer_text(s.answer):<18}"
            "  <- the rule of this search"
        )
    names = [name for name in s.found if name != "answer" and "_" not in name and s.found[name]]
    names.sort(key=lambda name: float(name[len(s.letter) :]))
    each = ", ".join(f"{name} {answer_text(s.found[name])}" for name in names)
    lines.append(f"by {'chance' if s.rule == 'absolute' else s.rule} rule: {each}")
    if s.answer and s.answer.level:
        lines.append(
            f"estimate [low, high]: low and high are the ends of a {s.answer.level:.0%} interval; "
            "'..' lies beyond what can be tried."
        )
    else:
        lines.append(
            f"A bracket is (largest failing {s.letter}, smallest passing {s.letter}]; "
            "it is not a confidence interval."
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
        most = "d up to D" if s.letter == "d" else f"{s.letter} that the model allows"
        lines.append(f"probability that any {most} passes: {s.reachable:.2f}")
    return lines


def checks_text(s: SearchSummary) -> list[str]:
    """A line for each check that was made."""
    checks, letter, lines = s.checks, s.letter, []
    if full := checks.converged:
        lines.append(
            f"check, full fine-tuning at twice the budget ({full.pairs} pairs): "
            f"gains {full.gain:+.4f} [{full.low:+.4f}, {full.high:+.4f}]"
            + (": FULL IS UNDERTRAINED" if full.undertrained else "")
        )
    if budget := checks.budget:
        lines.append(f"check, twice the budget ({budget.pairs} pairs): {_moved(budget, s.asked)}")
    for factor, change in sorted((checks.rate or {}).items()):
        lines.append(
            f"check, {factor} times the rate ({change.pairs} pairs): {_moved(change, s.asked)}"
        )
    if shape := checks.isotonic:
        where = "crosses nowhere" if shape.d is None else f"crosses at {shape.d}"
        stands = "leave the interval standing" if shape.agrees else "CONTRADICT THE INTERVAL"
        lines.append(f"check, no shape assumed: the isotonic curve {where}; the runs {stands}")
    if point := checks.point:
        lines.append(
            f"{point.mean:.4f} (n = {point.n}), {point.share:.0%} of full's gain; "
            f"probability that it passes: {point.probability:.2f}"
        )
    if floor := checks.floor:
        lines.append(
            f"check, the head alone: {floor.mean:.4f} (n = {floor.n}), {floor.share:.0%} of full's "
            f"gain; probability that it passes: {floor.probability:.2f}"
        )
    if witness := checks.witness:
        lines.append(
            f"largest {letter} tried, {witness.d:,}: {witness.share:.0%} of full's gain "
            f"(n = {witness.n})"
        )
    return lines


def _moved(change: Moved, name: str) -> str:
    """Octaves by which the answer moves, and how sure it is that it falls by a quarter."""
    shown = "yes" if change.probability >= SURE else "not shown"
    by = abs(change.octaves)
    # Runs that fail are worth no number of octaves.
    many = f"{by:.2f}" if by <= _MOST_OCTAVES else f"more than {_MOST_OCTAVES}"
    return (
        f"{name} {'larger' if change.octaves < 0 else 'smaller'} by {many} octaves; "
        f"smaller by 0.32 or more: {shown} (probability {change.probability:.2f})"
    )


def warnings_of(s: SearchSummary) -> list[str]:
    """What makes an answer say little."""
    lines, measured = [], s.examples.get("measure", 0)
    if 1 < s.steps < _FEW_STEPS:
        lines.append(f"warning: {s.steps} steps are few; full fine-tuning may not have converged")
    if 10 < measured < _FEW_EXAMPLES:
        lines.append(
            f"warning: {measured} evaluation examples are few; "
            "their error is that of the interval for other examples"
        )
    return lines
