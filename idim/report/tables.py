"""Tables: what a person reads at the end of a search, a sweep and a comparison."""

from __future__ import annotations

import pandas as pd

from idim.search.pairs import SURE

_MEANING = {
    "reached": "some d passes, and a smaller one does not",
    "not_reached": "no d that was tried passes, though training works there",
    "rate_failed": "even with all of D training falls short of full fine-tuning: the rate failed, not the subspace",
    "trivial": "the untouched model, or guessing the majority, already passes: d90 says nothing here",
    "no_signal": "full training is not above chance by four standard errors: there is nothing to take 90 % of",
    "baseline_failed": "no full run ended well, or only one where an interval needs two",
    "budget_limited": "with twice the budget d90 would be smaller by a quarter or more: this is d90 of the budget",
    "unfinished": "the runs do not yet tell whether some d passes: allow more of them with --max-runs",
    "contradictory": "the runs and the curve, or two runs, disagree on where it passes: add --max-runs or --repeats",
}


def answer_text(interval: dict | None) -> str:
    """A bracket ``512 < d <= 1024`` as ``(512, 1024]``; an interval as its middle and its ends, ``760 [690, 850]``."""
    if not interval:
        return "not measured"
    low, high = interval["low"], interval["high"]
    if interval["level"]:
        if interval["estimate"] is None:
            return f"> {low}" if low else "not bounded"
        return f"{interval['estimate']} [{low or '..'}, {high or '..'}]"
    if high is None:
        return f"> {low}"
    if low is None:
        return f"<= {high}"
    return f"({low}, {high}]" if low < high else f"{high} passes, {low} fails"


def search_text(s: dict) -> str:
    """The end of `idim search`."""
    lines = [
        f"{s['model']} × {s['task']}, arm {s['arm']}, protocol {s['protocol']}: {s['verdict']} — {_MEANING[s['verdict']]}"
    ]
    if not s["full"]:
        return lines[0]
    full, gain = s["full"], s["full"]["mean"] - s["chance"]
    if s["rule"] == "raw" and gain > 0:
        asked = (s["tau"] - s["chance"]) / gain
        lines.append(
            f"The raw rule asks for {max(asked, 0):.0%} of what full fine-tuning gains over chance."
        )
    spread = (
        "one run, no error"
        if full["se"] is None
        else f"± {full['se']:.4f} (standard error of {full['n']} runs)"
    )
    lines += [
        f"full fine-tuning {s['metric']} {full['mean']:.4f} {spread}; chance {s['chance']:.4f}; D = {s['D']:,}; {s['steps']} steps a run",
        f"projection {s['projection']}, scope {s['scope']}, scales: "
        + (f"{s['m']} (by {s['structure']}), counted in d" if s["m"] else "none")
        + "; head inside D",
        "examples: " + ", ".join(f"{n:,} {split}" for split, n in s["examples"].items()),
        "",
    ]
    if s["curve"]:
        frame = pd.DataFrame(s["curve"])
        frame["passes"] = frame["passes"].map({True: "yes", False: "no"})
        if not frame["stopped"].any():
            frame = frame.drop(columns="stopped")
        lines += [frame.to_string(index=False, float_format=lambda v: f"{v:.4f}"), ""]
    rules = [("chance-corrected", "tau_chance", "d90_chance"), ("raw", "tau_raw", "d90_raw")]
    for name, tau, d in rules:
        used = "  <- the rule of this search" if s["rule"] == name.split("-")[0] else ""
        lines.append(
            f"d90, {name:<16} threshold {s[tau]:.4f}: {answer_text(s.get(d)):<18}{used}".rstrip()
        )
    if s["rule"] == "absolute":
        lines.append(
            f"d at the absolute  threshold {s['tau']:.4f}: {answer_text(s['answer']):<18}  <- the rule of this search"
        )
    levels = ", ".join(f"{k} {answer_text(s[k])}" for k in ("d50", "d75", "d90", "d95") if s.get(k))
    lines.append(f"by {'chance' if s['rule'] == 'absolute' else s['rule']} rule: {levels}")
    if s["answer"] and s["answer"]["level"]:
        lines.append(
            f"estimate [low, high]: low and high are the ends of a {s['answer']['level']:.0%} interval; '..' lies beyond what can be tried."
        )
    else:
        lines.append(
            "A bracket is (largest failing d, smallest passing d]; it is not a confidence interval."
        )
        if s.get("interval"):
            lines.append(
                f"{s['interval']['level']:.0%} interval of the same runs, by the model of the curve: {answer_text(s['interval'])}"
            )
    if s.get("interval_new_data"):
        lines.append(
            f"That is for these {s['examples'].get('measure', 0):,} evaluation examples; for others like them: "
            f"{answer_text(s['interval_new_data'])}"
        )
    if s.get("reachable") is not None and s["reachable"] < 0.995:
        lines.append(f"probability that any d up to D passes: {s['reachable']:.2f}")
    lines += _checks_text(s.get("checks") or {}) + _warnings(s)
    if s.get("locked"):
        there, whole = s["locked"]["d90"], s["locked"]["full"]
        lines.append(
            f"locked split, which decided nothing: {there['mean']:.4f} near d90 (n = {there['n']}), "
            f"{whole['mean']:.4f} with full fine-tuning (n = {whole['n']})"
        )
    lines.append(_cost_text(s))
    if s["left_out"]:
        lines.append("Left out: " + "; ".join(s["left_out"]) + ".")
    return "\n".join(lines)


def _checks_text(checks: dict) -> list[str]:
    lines = []
    full, budget, rate, shape, witness = (
        checks.get(k) for k in ("converged", "budget", "rate", "isotonic", "witness")
    )
    if full:
        lines.append(
            f"check, full fine-tuning at twice the budget ({full['pairs']} pairs): gains {full['gain']:+.4f} "
            f"[{full['low']:+.4f}, {full['high']:+.4f}]"
            + (": FULL IS UNDERTRAINED" if full["undertrained"] else "")
        )
    if budget:
        lines.append(f"check, twice the budget ({budget['pairs']} pairs): {_moved(budget)}")
    for factor, change in sorted((rate or {}).items()):
        lines.append(f"check, {factor} times the rate ({change['pairs']} pairs): {_moved(change)}")
    if shape:
        where = "crosses nowhere" if shape["d"] is None else f"crosses at {shape['d']}"
        lines.append(
            f"check, no shape assumed: the isotonic curve {where}; the runs "
            + ("leave the interval standing" if shape["agrees"] else "CONTRADICT THE INTERVAL")
        )
    if witness:
        lines.append(
            f"largest d tried, {witness['d']:,}: {witness['share']:.0%} of full's gain (n = {witness['n']})"
        )
    return lines


def _moved(change: dict) -> str:
    """Octaves by which d90 falls, and how sure it is that it falls by a quarter."""
    sure = change["probability"]
    verdict = "yes" if sure >= SURE else "not shown"
    return f"d90 smaller by {change['octaves']:.2f} octaves; by 0.32 or more: {verdict} (probability {sure:.2f})"


#: Below these an answer from a quick look says little.
_FEW_STEPS, _FEW_EXAMPLES = 100, 500


def _warnings(s: dict) -> list[str]:
    lines, measured = [], s["examples"].get("measure", 0)
    if 1 < s["steps"] < _FEW_STEPS:
        lines.append(
            f"warning: {s['steps']} steps are few; full fine-tuning may not have converged"
        )
    if 10 < measured < _FEW_EXAMPLES:
        lines.append(
            f"warning: {measured} evaluation examples are few; their error is that of the interval for other examples"
        )
    return lines


def sweep_text(s: dict) -> str:
    """The end of `idim sweep`."""
    lines = [f"{s['model']} × {s['task']}, LoRA: {s['verdict']}"]
    if not s["full"]:
        return lines[0]
    frame = pd.DataFrame(s["curve"])
    frame["passes"] = frame["passes"].map({True: "yes", False: "no"})
    return "\n".join(
        [
            *lines,
            f"{s['alpha_rule']}, rates {'tuned' if s['tuned'] else 'not tuned'}, targets {', '.join(s['targets'])}; head trained freely and counted in d_total",
            f"full {s['full']['mean']:.4f} (n = {s['full']['n']}); chance {s['chance']:.4f}",
            "",
            frame.to_string(index=False, float_format=lambda v: f"{v:.4f}"),
            "",
            f"r90, chance-corrected threshold {s['tau_chance']:.4f}: {answer_text(s['r90_chance'])}",
            f"r90, raw              threshold {s['tau_raw']:.4f}: {answer_text(s['r90_raw'])}",
            _cost_text(s),
        ]
    )


#: An adapter that grows by so much is worth a word.
_GROWS = 1000


def export_text(
    folder: str,
    layers: list[dict],
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
            "The ranks are those of a random subspace's move. They say nothing of the task: `idim sweep` finds the rank that it needs.",
            f"weights: {before:,} bytes as a subspace, {after:,} bytes as LoRA",
        ]
        if before and after >= _GROWS * before:
            lines.append(
                f"warning: the adapter grows {after / before:,.0f} times; --rank or a smaller --energy keeps less of the move"
            )
    lines += [f"{metric} of the {name}: {score:.4f}" for name, score in scores.items()]
    return "\n".join(lines)


def _cost_text(s: dict) -> str:
    kinds = ", ".join(f"{n} {kind} ({s['seconds'][kind]:.0f} s)" for kind, n in s["runs"].items())
    failed = f", {s['failed_runs']} of them failed" if s["failed_runs"] else ""
    return f"cost: {sum(s['runs'].values())} runs, {sum(s['seconds'].values()):.0f} s of training: {kinds}{failed}"


def compare_frame(summaries: list[dict]) -> pd.DataFrame:
    """One row a model, task and arm: d90 (r90 for LoRA) by both rules."""
    rows = []
    for s in summaries:
        letter = "r" if s["arm"] == "lora" else "d"
        full = s["full"] or {}
        rows.append(
            {
                "model": s["model"],
                "task": s["task"],
                "arm": s["arm"],
                "protocol": s["protocol"],
                "D": s["D"],
                "full": full.get("mean"),
                "n": full.get("n"),
                "chance": s.get("chance"),
                "verdict": s["verdict"],
                "90 % chance-corrected": f"{letter} {answer_text(s.get(letter + '90_chance'))}",
                "90 % raw": f"{letter} {answer_text(s.get(letter + '90_raw'))}",
                "runs": sum(s["runs"].values()),
                "seconds": round(sum(s["seconds"].values())),
            }
        )
    return pd.DataFrame(rows)
