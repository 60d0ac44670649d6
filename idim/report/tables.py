"""Tables: what a person reads at the end of a search, a sweep and a comparison."""

from __future__ import annotations

import pandas as pd

_MEANING = {
    "reached": "some d passes, and a smaller one does not",
    "not_reached": "no d that was tried passes",
    "trivial": "the untouched model, or guessing the majority, already passes: d90 says nothing here",
    "no_signal": "full training is not above chance by four standard errors: there is nothing to take 90 % of",
    "baseline_failed": "no full run ended well, or only one where an interval needs two",
    "budget_limited": "a d that fails here passes with twice the budget: this is d90 of the budget, not of the task",
    "unfinished": "the cap on runs came before d90 was known to be bounded",
    "contradictory": "a smaller d passed and a larger one failed: the noise is wider than the bracket; add --repeats",
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
    lines = [f"{s['model']} × {s['task']}, arm {s['arm']}, protocol {s['protocol']}: {s['verdict']} — {_MEANING[s['verdict']]}"]
    if not s["full"]:
        return lines[0]
    full = s["full"]
    spread = "one run, no error" if full["se"] is None else f"± {full['se']:.4f} (standard error of {full['n']} runs)"
    lines += [
        f"full fine-tuning {s['metric']} {full['mean']:.4f} {spread}; chance {s['chance']:.4f}; D = {s['D']:,}; {s['steps']} steps a run",
        f"projection {s['projection']}, scope {s['scope']}, scales: "
        + (f"{s['m']} (by {s['structure']}), counted in d" if s["m"] else "none") + "; head inside D",
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
        lines.append(f"d90, {name:<16} threshold {s[tau]:.4f}: {answer_text(s.get(d)):<18}{used}".rstrip())
    if s["rule"] == "absolute":
        lines.append(f"d at the absolute  threshold {s['tau']:.4f}: {answer_text(s['answer']):<18}  <- the rule of this search")
    levels = ", ".join(f"{k} {answer_text(s[k])}" for k in ("d50", "d75", "d90", "d95") if s.get(k))
    lines.append(f"by {'chance' if s['rule'] == 'absolute' else s['rule']} rule: {levels}")
    if s["answer"] and s["answer"]["level"]:
        lines.append(f"estimate [low, high]: low and high are the ends of a {s['answer']['level']:.0%} interval; '..' lies beyond what can be tried.")
    else:
        lines.append("A bracket is (largest failing d, smallest passing d]; it is not a confidence interval.")
        if s.get("interval"):
            lines.append(f"{s['interval']['level']:.0%} interval of the same runs, by the model of the curve: {answer_text(s['interval'])}")
    lines += _checks_text(s.get("checks") or {})
    if s.get("locked_score") is not None:
        lines.append(f"score on the locked split at the estimate: {s['locked_score']:.4f}")
    lines.append(_cost_text(s))
    if s["left_out"]:
        lines.append("Left out: " + "; ".join(s["left_out"]) + ".")
    return "\n".join(lines)


def _checks_text(checks: dict) -> list[str]:
    lines = []
    twice, rate, shape = (checks.get(k) for k in ("twice_the_budget", "rate", "isotonic"))
    if twice is not None:
        lines.append("check, twice the budget at the interval's low end: " + ("still fails" if twice else "passes: d90 is limited by the budget"))
    if rate:
        moves = ", ".join(f"x{factor} {shift:+.2f}" for factor, shift in sorted(rate["shift"].items()))
        lines.append(f"check, the rate: log2 d90 would move by {moves} octaves (one run each, noise {rate['noise']:.2f})"
                     + (": MORE THAN 0.32, d90 depends on the rate" if rate["moved"] else ""))
    if shape:
        lines.append(f"check, no shape assumed: the isotonic curve crosses at {shape['d']}, {'inside' if shape['inside'] else 'OUTSIDE'} the interval")
    return lines


def sweep_text(s: dict) -> str:
    """The end of `idim sweep`."""
    lines = [f"{s['model']} × {s['task']}, LoRA: {s['verdict']}"]
    if not s["full"]:
        return lines[0]
    frame = pd.DataFrame(s["curve"])
    frame["passes"] = frame["passes"].map({True: "yes", False: "no"})
    return "\n".join([
        *lines, f"{s['alpha_rule']}, rates {'tuned' if s['tuned'] else 'not tuned'}, targets {', '.join(s['targets'])}; head trained freely and counted in d_total",
        f"full {s['full']['mean']:.4f} (n = {s['full']['n']}); chance {s['chance']:.4f}", "",
        frame.to_string(index=False, float_format=lambda v: f"{v:.4f}"), "",
        f"r90, chance-corrected threshold {s['tau_chance']:.4f}: {answer_text(s['r90_chance'])}",
        f"r90, raw              threshold {s['tau_raw']:.4f}: {answer_text(s['r90_raw'])}",
        _cost_text(s),
    ])


#: An adapter that grows by so much is worth a word.
_GROWS = 1000


def export_text(folder: str, layers: list[dict], scores: dict[str, float], metric: str | None, sizes: tuple[int, int] = (0, 0)) -> str:
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
            lines.append(f"warning: the adapter grows {after / before:,.0f} times; --rank or a smaller --energy keeps less of the move")
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
        rows.append({
            "model": s["model"], "task": s["task"], "arm": s["arm"], "protocol": s["protocol"], "D": s["D"],
            "full": full.get("mean"), "n": full.get("n"), "chance": s.get("chance"), "verdict": s["verdict"],
            "90 % chance-corrected": f"{letter} {answer_text(s.get(letter + '90_chance'))}",
            "90 % raw": f"{letter} {answer_text(s.get(letter + '90_raw'))}",
            "runs": sum(s["runs"].values()), "seconds": round(sum(s["seconds"].values())),
        })
    return pd.DataFrame(rows)
