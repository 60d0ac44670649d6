"""A search's summary, derived from its records alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from idim.search.answer import Belief, bracketed, isotonic
from idim.search.design import ADAPTIVE
from idim.search.threshold import Baseline, Point, Target, means, signal

#: How a run ends that has a score; the others failed.
_SCORED = ("ok", "stopped")
LEVELS = (0.5, 0.75, 0.9, 0.95)
#: Octaves of d90 from which a change of the rate is worth saying so: a factor of 1.25.
RATE_MOVES = 0.32
#: What a search can end with; README and science explain each.
VERDICTS = (
    "reached", "not_reached", "trivial", "no_signal", "baseline_failed", "budget_limited", "unfinished", "contradictory",
)


def belongs(record: dict, search: dict) -> bool:
    """Whether a record is one that this search asked for. A store may hold others of the same model and task."""
    return record["key"] in search["keys"]


def baseline_of(records: Iterable[dict]) -> Baseline | None:
    """From the full runs that ended well; None where there is none. Chance: the better of majority and untouched."""
    runs = [r for r in records if r["kind"] == "baseline" and score_of(r) is not None]
    if not runs:
        return None
    infos = [r["train_info"] for r in runs]
    chance = fmean(i["untouched"] or 0.0 for i in infos)
    if infos[0]["majority"] is not None:
        chance = max(chance, infos[0]["majority"])
    return Baseline.of([score_of(r) for r in runs], chance)


def too_few(base: Baseline | None, search: dict) -> bool:
    """No full run ended well; or only one, where the design carries their error and so needs two."""
    return base is None or base.n < 2 and search.get("design") in ADAPTIVE


def points_of(records: Iterable[dict]) -> list[Point]:
    points = []
    for r in records:
        if r["kind"] == "search":
            points.append(Point(r["train_info"]["d_total"], score_of(r), **(r["train_info"].get("stopped") or {})))
    return points


def score_of(record: dict) -> float | None:
    return record["train_info"]["score"] if record["status"] in _SCORED else None


def target_of(base: Baseline, search: dict) -> Target:
    return Target(base, search["rule"], search["threshold"], search["absolute"], search["strict"])


def summarise(records: Iterable[dict], search: dict) -> dict:
    """One JSON object. ``search`` is what the study wrote of the question: names, threshold, rule, whether it is finished.

    The answers are brackets, or intervals where the search's design is built on them; ``interval`` is there for every design.
    """
    mine = [r for r in records if belongs(r, search)]
    base = baseline_of(mine)
    points = points_of(mine)
    out = {
        "model": search["model"], "task": search["task"], "arm": search["arm"], "projection": search["projection"],
        "protocol": search["protocol"], "metric": search["metric"], "D": search["D"], "m": search["m"],
        "scope": search["scope"], "structure": search["structure"], "steps": search["steps"], "design": search.get("design", "bisect"),
        "verdict": None, "rule": search["rule"], "threshold": search["threshold"], "tau": None, "tau_raw": None, "tau_chance": None,
        "chance": None, "full": None, "curve": [], "left_out": search["left_out"],
    }
    if too_few(base, search):
        return out | {"verdict": "baseline_failed"} | _cost(mine)
    target = target_of(base, search)
    out |= _thresholds(target) | {
        "curve": [
            {"d": d, "mean": s, "n": sum(p.d == d for p in points), "stopped": sum(bool(p.side) for p in points if p.d == d),
             "passes": target.passes(s)}
            for d, s in means(points, base.chance).items()
        ],
    }
    belief = None
    if base.n > 1 and points and base.chance < target.tau < base.mean + 0.05 * (base.mean - base.chance):
        belief = Belief(points, target, search["m"] + 1, search["D"] + search["m"])
    out["interval"] = belief and belief.interval(target)
    adaptive = belief is not None and out["design"] in ADAPTIVE
    tried = [row["d"] for row in out["curve"]]
    out["fit"] = belief.band(tried[0], tried[-1]) if adaptive and len(tried) > 1 else None

    def answer(question: Target) -> dict | None:
        return belief.interval(question) if adaptive else bracketed(points, question)

    for level in LEVELS:
        out[f"d{level * 100:.0f}"] = answer(Target(base, search["rule"] if search["rule"] != "absolute" else "chance", level))
    out["d90_raw"], out["d90_chance"] = answer(Target(base, "raw")), answer(Target(base, "chance"))
    # The search's own question; it is d90 unless another threshold or an absolute one was asked for.
    out["answer"] = found = answer(target)
    if search["rule"] != "absolute" and math.isclose(search["threshold"], 0.9):
        out["d90"] = found
    # Those of this answer: a store that answered another threshold too holds checks at other d.
    checks = [score_of(r) for r in mine if r["kind"] == "check" and found and r["train_info"]["d_total"] == found["low"]]
    longer = any(score is not None and target.passes(score) for score in checks)
    locked = [score_of(r) for r in mine if r["kind"] == "locked" and found and r["train_info"]["d_total"] == found["estimate"]]
    out["locked_score"] = locked[0] if locked else None
    crossing = isotonic(points, target) if adaptive else None
    out["checks"] = {
        "twice_the_budget": None if not checks else not longer, "rate": _rates(mine, found, belief, search),
        "isotonic": None if crossing is None else {"d": round(2**crossing), "inside": (found["low"] or 0) <= 2**crossing <= (found["high"] or math.inf)},
    }
    out["verdict"] = _verdict(target, found, search, longer)
    return out | _cost(mine)


def _thresholds(target: Target) -> dict:
    base = target.baseline
    return {
        "tau": target.tau, "chance": base.chance, "full": {"mean": base.mean, "se": base.se, "n": base.n},
        **{f"tau_{rule}": Target(base, rule, target.fraction).tau for rule in ("raw", "chance")},
    }


def _rates(records: list[dict], found: dict | None, belief: Belief | None, search: dict) -> dict | None:
    """By how many octaves d90 would move at twice and at half the rate: one run each, read off the slope of the curve."""
    runs = [r for r in records if r["kind"] == "rate" and found and r["train_info"]["d_total"] == found["estimate"]]
    if not runs or belief is None:
        return None
    chance = belief.known.target.baseline.chance
    shifts = {}
    for r in runs:
        factor = r["run_info"]["config"]["recipe"]["learning_rate"] / search["rate"]
        score = score_of(r)
        shifts[f"{factor:g}"] = belief.shift(found["estimate"], chance if score is None else score)
    return {"shift": shifts, "noise": belief.noise(found["estimate"]), "moved": any(abs(s) > RATE_MOVES for s in shifts.values())}


def _verdict(target: Target, found: dict | None, search: dict, longer: bool = False) -> str:
    base = target.baseline
    if not signal(base, search["n_scored"], search["metric"]):
        return "no_signal"
    if base.chance >= target.tau:
        return "trivial"
    if not search["finished"]:
        return "unfinished"
    if found is None or found["estimate"] is None:
        return "not_reached"
    if found["level"]:
        # The cap came first: the d that passes may still lie above all that can be tried.
        return "unfinished" if found["high"] is None else "budget_limited" if longer else "reached"
    if found["low"] is not None and found["low"] >= found["high"]:
        return "contradictory"
    return "budget_limited" if longer else "reached"


def _cost(records: list[dict]) -> dict:
    runs: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for r in records:
        runs[r["kind"]] = runs.get(r["kind"], 0) + 1
        seconds[r["kind"]] = round(seconds.get(r["kind"], 0.0) + r["train_info"]["seconds"], 1)
    failed = sum(r["status"] not in _SCORED for r in records)
    return {"runs": runs, "seconds": seconds, "failed_runs": failed}


def summarise_sweep(records: Iterable[dict], search: dict) -> dict:
    """Score against LoRA rank, and r90 by both rules."""
    mine = [r for r in records if belongs(r, search)]
    base = baseline_of(mine)
    swept = [r for r in mine if r["kind"] == "sweep"]
    rank = {id(r): r["train_info"]["adaptation"]["rank"] for r in swept}
    points = [Point(rank[id(r)], score_of(r)) for r in swept]
    out = {
        "model": search["model"], "task": search["task"], "arm": "lora", "protocol": search["protocol"], "n_scored": search["n_scored"],
        "metric": search["metric"], "D": search["D"], "tuned": search["tuned"],
        "alpha_rule": swept[0]["train_info"]["adaptation"]["alpha_rule"] if swept else None,
        "targets": swept[0]["train_info"]["adaptation"]["targets"] if swept else None,
        "verdict": "baseline_failed", "full": None,
    }
    if base is None:
        return out | _cost(mine)
    target, floor = target_of(base, search), base.chance
    average = means(points, floor)
    trained = {rank[id(r)]: r["train_info"]["d_total"] for r in swept}
    rates = {rank[id(r)]: r["run_info"]["config"]["recipe"]["learning_rate"] for r in swept}
    found = bracketed(points, target)
    return out | _thresholds(target) | {
        "verdict": _verdict(target, found, search), "rule": search["rule"],
        "curve": [{"rank": r, "d_total": trained[r], "rate": rates[r], "mean": s, "n": sum(p.d == r for p in points),
                   "passes": target.passes(s)} for r, s in average.items()],
        "r90": found, "r90_raw": bracketed(points, Target(base, "raw")), "r90_chance": bracketed(points, Target(base, "chance")),
    } | _cost(mine)
