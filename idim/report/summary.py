"""A search's summary, derived from its records alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from statistics import fmean, median

from idim.search.answer import Belief, bracketed
from idim.search.design import ADAPTIVE, SURE
from idim.search.isotonic import isotonic
from idim.search.pairs import SURE as PAIRS_SURE
from idim.search.pairs import Change
from idim.search.threshold import (
    Baseline,
    Point,
    Target,
    means,
    sampling_error,
    score_error,
    signal,
)

#: How a run ends that has a score; the others failed.
_SCORED = ("ok", "stopped")
LEVELS = (0.5, 0.75, 0.9, 0.95)
#: What a search can end with; README and science explain each.
VERDICTS = (
    "reached",
    "not_reached",
    "rate_failed",
    "trivial",
    "no_signal",
    "baseline_failed",
    "budget_limited",
    "unfinished",
    "contradictory",
)


NO_CHECKS = {"witness": None, "budget": None}


def belongs(record: dict, search: dict) -> bool:
    """Whether a record is one that this search asked for. A store may hold others of the same model and task."""
    return record["key"] in search["keys"]


def baseline_of(records: Iterable[dict], n_scored: int = 0, metric: str = "") -> Baseline | None:
    """From the full runs that ended well; None where there is none. Chance: the better of majority and untouched."""
    runs = [r for r in records if r["kind"] == "baseline" and score_of(r) is not None]
    if not runs:
        return None
    infos = [r["train_info"] for r in runs]
    chance = fmean(i["untouched"] or 0.0 for i in infos)
    if infos[0]["majority"] is not None:
        chance = max(chance, infos[0]["majority"])
    base = Baseline.of([score_of(r) for r in runs], chance)
    return dataclasses.replace(base, assumed=score_error(base.mean, n_scored, metric))


def too_few(base: Baseline | None, search: dict) -> bool:
    """No full run ended well; or only one, where the design carries their error and so needs two."""
    return base is None or (base.n < 2 and search.get("design") in ADAPTIVE)


def points_of(records: Iterable[dict], search: dict | None = None) -> list[Point]:
    """``search`` knows what the rate of each run is thought to have cost it."""
    cost = (search or {}).get("handicaps", {})
    points = []
    for r in records:
        if r["kind"] == "search":
            stopped = r["train_info"].get("stopped") or {}
            points.append(
                Point(
                    r["train_info"]["d_total"],
                    score_of(r),
                    **stopped,
                    handicap=cost.get(r["key"], 0.0),
                )
            )
    return points


def score_of(record: dict) -> float | None:
    return record["train_info"]["score"] if record["status"] in _SCORED else None


def target_of(base: Baseline, search: dict) -> Target:
    return Target(
        base,
        search["rule"],
        search["threshold"],
        search["absolute"],
        search["strict"],
        search.get("loss", 0.0),
    )


def summarise(records: Iterable[dict], search: dict) -> dict:
    """One JSON object. ``search`` is what the study wrote of the question: names, threshold, rule, whether it is finished.

    The answers are brackets, or intervals where the search's design is built on them; ``interval`` is there for every design.
    """
    mine = [r for r in records if belongs(r, search)]
    base = baseline_of(mine, search["n_scored"], search["metric"])
    points = points_of(mine, search)
    out = {
        "model": search["model"],
        "task": search["task"],
        "arm": search["arm"],
        "projection": search["projection"],
        "protocol": search["protocol"],
        "metric": search["metric"],
        "D": search["D"],
        "m": search["m"],
        "scope": search["scope"],
        "structure": search["structure"],
        "steps": search["steps"],
        "design": search.get("design", "bisect"),
        "examples": _examples(mine, search),
        "verdict": None,
        "rule": search["rule"],
        "threshold": search["threshold"],
        "tau": None,
        "tau_raw": None,
        "tau_chance": None,
        "chance": None,
        "full": None,
        "curve": [],
        "left_out": search["left_out"],
    }
    if too_few(base, search):
        return out | {"verdict": "baseline_failed"} | _cost(mine)
    target = target_of(base, search)
    out |= _thresholds(target) | {
        "curve": [
            {
                "d": d,
                "mean": s,
                "n": sum(p.d == d for p in points),
                "stopped": sum(bool(p.side) for p in points if p.d == d),
                "passes": target.passes(s),
            }
            for d, s in means(points, base.chance).items()
        ]
    }
    belief, gain = None, base.mean - base.chance
    if points and gain > 0 and base.chance < target.tau < base.mean + 0.05 * gain:
        belief = Belief(points, target, search["m"] + 1, search["D"] + search["m"])
    sampling = sampling_error(base, search["n_scored"], search["metric"], search["threshold"])
    out["interval"] = belief and belief.interval(target)
    # For other examples than those of this evaluation split.
    out["interval_new_data"] = (
        belief.interval(target, sampling / gain) if belief and sampling else None
    )
    out["reachable"] = belief and belief.reached
    adaptive = belief is not None and out["design"] in ADAPTIVE
    tried = [row["d"] for row in out["curve"]]
    out["fit"] = belief.band(tried[0], tried[-1]) if adaptive and len(tried) > 1 else None

    def answer(question: Target) -> dict | None:
        return belief.interval(question) if adaptive else bracketed(points, question)

    def asked(rule: str, fraction: float = 0.9) -> Target:
        return dataclasses.replace(target, rule=rule, fraction=fraction)

    for level in LEVELS:
        out[f"d{level * 100:.0f}"] = answer(
            asked(search["rule"] if search["rule"] != "absolute" else "chance", level)
        )
    out["d90_raw"], out["d90_chance"] = answer(asked("raw")), answer(asked("chance"))
    # The search's own question; it is d90 unless another threshold or an absolute one was asked for.
    out["answer"] = found = answer(target)
    if search["rule"] != "absolute" and math.isclose(search["threshold"], 0.9):
        out["d90"] = found
    out["locked"] = _locked(mine, found)
    out["checks"] = checks_of(mine, base, target, belief, found, search)
    out["verdict"] = _verdict(target, found, search, belief, out["checks"])
    return out | _cost(mine)


def _examples(records: list[dict], search: dict) -> dict[str, int]:
    """How many examples train, tune, measure and are locked."""
    sizes = next(
        (r["train_info"].get("splits") for r in records if r["train_info"].get("splits")), None
    )
    return sizes or {"measure": search["n_scored"]}


def _thresholds(target: Target) -> dict:
    base = target.baseline
    return {
        "tau": target.tau,
        "chance": base.chance,
        "full": {"mean": base.mean, "se": base.se, "n": base.n},
        **{f"tau_{rule}": Target(base, rule, target.fraction).tau for rule in ("raw", "chance")},
    }


#: Runs this many octaves from d90 are taken together for the locked score.
_LOCKED_NEAR = 0.35


def _locked(records: list[dict], found: dict | None) -> dict | None:
    """Scores on the split that decides nothing: of the full runs, and of the runs nearest to d90."""
    if not found or not found["estimate"]:
        return None
    scores: dict[str, list[float]] = {"full": [], "d90": []}
    for r in records:
        value = r["train_info"].get("locked")
        if value is not None and r["kind"] == "baseline":
            scores["full"].append(value)
        elif (
            value is not None
            and abs(math.log2(r["train_info"]["d_total"] / found["estimate"])) <= _LOCKED_NEAR
        ):
            scores["d90"].append(value)
    return (
        {k: {"mean": fmean(v), "n": len(v)} for k, v in scores.items()}
        if all(scores.values())
        else None
    )


def checks_of(
    records: list[dict],
    base: Baseline,
    target: Target,
    belief: Belief | None,
    found: dict | None,
    search: dict,
) -> dict:
    """What the checks say so far; each is None where it was not made."""
    out: dict = {
        "converged": None,
        "budget": None,
        "rate": None,
        "isotonic": None,
        "witness": _witness(records, base),
    }
    gain = base.mean - base.chance
    spread = base.se * math.sqrt(base.n) if base.se else 0.02 * gain
    longer = pairs_of(records, base.chance, "check", "full")
    full = Change.of([b - a for a, b, _ in longer], spread) if longer and gain > 0 else None
    if full:
        low, high = full.interval()
        sure = full.above(UNDERTRAINED * gain)
        out["converged"] = {
            "pairs": full.n,
            "gain": full.mean,
            "low": low,
            "high": high,
            "probability": sure,
            "undertrained": sure >= 0.95,
        }
    if belief is None or not found or not found["estimate"]:
        return out
    known, steep = belief.known, belief.slope(found["estimate"])
    noise = known.sigma * gain
    moves = MOVES * steep
    budget = pairs_of(records, base.chance, "check", search["arm"])
    if budget:
        change = Change.of([b - a for a, b, _ in budget], noise)
        weight = target.at(1.0) - target.at(0.0)
        out["budget"] = {
            "pairs": change.n,
            "octaves": (change.mean - (weight * full.mean if full else 0.0)) / steep,
            "probability": change.above(moves, full, weight),
        }
    rate = pairs_of(records, base.chance, "rate", search["arm"])
    if rate:
        out["rate"] = {}
        for factor in sorted({f for *_, f in rate}):
            change = Change.of([b - a for a, b, f in rate if f == factor], noise)
            out["rate"][f"{factor:g}"] = {
                "pairs": change.n,
                "octaves": change.mean / steep,
                "probability": change.above(moves),
            }
    if search.get("design") in ADAPTIVE:
        crossing = isotonic([*belief.points], target)
        out["isotonic"] = {
            "d": None if crossing is None else round(2**crossing),
            "agrees": belief.agrees(target),
        }
    return out


def pairs_of(
    records: Iterable[dict], floor: float, kind: str, arm: str
) -> list[tuple[float, float, float]]:
    """Score of a run, of the same run with one change, and the factor by which the rate was changed. A failed run scores the floor."""

    def same(r: dict) -> str:
        config = r["run_info"]["config"]
        return json.dumps(
            [config["arm"], config["seeds"], r["train_info"]["d_total"]], sort_keys=True
        )

    first = {
        same(r): r
        for r in records
        if r["kind"] in ("search", "baseline") and r["status"] != "stopped"
    }
    found = []
    for r in records:
        if r["kind"] != kind or r["run_info"]["config"]["arm"] != arm or same(r) not in first:
            continue
        one = first[same(r)]
        scores = [floor if score_of(v) is None else score_of(v) for v in (one, r)]
        rates = [v["run_info"]["config"]["recipe"]["learning_rate"] for v in (one, r)]
        found.append((*scores, float(f"{rates[1] / rates[0]:.2g}")))
    return found


#: Octaves: what counts as another d90 (a factor of 1.25).
MOVES = 0.32
#: Shares of full's gain: what counts as undertrained, where twice the budget surely gains more.
UNDERTRAINED = 0.01
#: A witness must reach this share of full's gain, or the rate failed.
WITNESS = 0.9


def _witness(records: list[dict], base: Baseline) -> dict | None:
    """What the largest d that was tried reaches, as a share of what full fine-tuning gains."""
    runs = [r for r in records if r["kind"] in ("search", "witness") and r["status"] != "stopped"]
    if not runs or base.mean <= base.chance:
        return None
    d = max(r["train_info"]["d_total"] for r in runs)
    scores = [score_of(r) for r in runs if r["train_info"]["d_total"] == d]
    shares = [0.0 if s is None else (s - base.chance) / (base.mean - base.chance) for s in scores]
    return {"d": d, "share": median(shares), "n": len(shares)}


def _verdict(
    target: Target, found: dict | None, search: dict, belief: Belief | None, checks: dict
) -> str:
    base = target.baseline
    if not signal(base, search["n_scored"], search["metric"]):
        return "no_signal"
    if base.chance >= target.tau:
        return "trivial"
    if not search["finished"]:
        return "unfinished"
    witness = checks["witness"]
    failed = witness is not None and witness["share"] < min(
        WITNESS, (target.tau - base.chance) / (base.mean - base.chance)
    )
    whole = witness is not None and witness["d"] >= (search["D"] + search["m"]) / 2
    missed = "rate_failed" if failed and whole else "not_reached"
    if found is None or found["estimate"] is None:
        return missed
    if found["level"]:
        if belief.reached < SURE:
            # Too few runs to tell whether any d reaches tau.
            return "rate_failed" if failed and whole else "unfinished"
        if not belief.agrees(target):
            return "contradictory"
    elif found["low"] is not None and found["low"] >= found["high"]:
        return "contradictory"
    budget = checks["budget"]
    return "budget_limited" if budget and budget["probability"] >= PAIRS_SURE else "reached"


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
        "model": search["model"],
        "task": search["task"],
        "arm": "lora",
        "protocol": search["protocol"],
        "n_scored": search["n_scored"],
        "metric": search["metric"],
        "D": search["D"],
        "tuned": search["tuned"],
        "alpha_rule": swept[0]["train_info"]["adaptation"]["alpha_rule"] if swept else None,
        "targets": swept[0]["train_info"]["adaptation"]["targets"] if swept else None,
        "verdict": "baseline_failed",
        "full": None,
    }
    if base is None:
        return out | _cost(mine)
    target, floor = target_of(base, search), base.chance
    average = means(points, floor)
    trained = {rank[id(r)]: r["train_info"]["d_total"] for r in swept}
    rates = {rank[id(r)]: r["run_info"]["config"]["recipe"]["learning_rate"] for r in swept}
    found = bracketed(points, target)
    return (
        out
        | _thresholds(target)
        | {
            "verdict": _verdict(target, found, search, None, NO_CHECKS),
            "rule": search["rule"],
            "curve": [
                {
                    "rank": r,
                    "d_total": trained[r],
                    "rate": rates[r],
                    "mean": s,
                    "n": sum(p.d == r for p in points),
                    "passes": target.passes(s),
                }
                for r, s in average.items()
            ],
            "r90": found,
            "r90_raw": bracketed(points, Target(base, "raw")),
            "r90_chance": bracketed(points, Target(base, "chance")),
        }
        | _cost(mine)
    )
