"""A search's summary, derived from its records alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from idim.search.threshold import Baseline, Bracket, Point, bracket, means, passes, signal

LEVELS = (0.5, 0.75, 0.9, 0.95)
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
    chance = max(fmean(i["untouched"] or 0.0 for i in infos), infos[0]["majority"] or 0.0)
    return Baseline.of([score_of(r) for r in runs], chance)


def points_of(records: Iterable[dict]) -> list[Point]:
    return [Point(r["train_info"]["d_total"], score_of(r)) for r in records if r["kind"] == "search"]


def score_of(record: dict) -> float | None:
    return record["train_info"]["score"] if record["status"] == "ok" else None


def summarise(records: Iterable[dict], search: dict) -> dict:
    """One JSON object. ``search`` is what measure wrote of the question: names, threshold, rule, whether it is finished."""
    mine = [r for r in records if belongs(r, search)]
    base = baseline_of(mine)
    points = points_of(mine)
    rule, strict = search["rule"], search["strict"]
    out = {
        "model": search["model"], "task": search["task"], "arm": search["arm"], "projection": search["projection"],
        "protocol": search["protocol"], "metric": search["metric"], "D": search["D"], "m": search["m"],
        "scope": search["scope"], "structure": search["structure"], "steps": search["steps"],
        "verdict": None, "rule": rule, "threshold": search["threshold"], "tau": None, "tau_raw": None, "tau_chance": None,
        "chance": None, "full": None, "curve": [], "left_out": search["left_out"],
    }
    if base is None:
        return out | {"verdict": "baseline_failed"} | _cost(mine)
    q = search["threshold"]
    tau = base.tau(q, rule, search["absolute"])
    floor = base.chance
    out |= {
        "tau": tau, "tau_raw": base.tau(q, "raw"), "tau_chance": base.tau(q, "chance"), "chance": base.chance,
        "full": {"mean": base.mean, "se": base.se, "n": base.n},
        "curve": [{"d": d, "mean": s, "n": sum(p.d == d for p in points), "passes": passes(s, tau, strict)}
                  for d, s in means(points, floor).items()],
    }
    found = bracket(points, tau, floor, strict)
    for level in LEVELS:
        out[f"d{level * 100:.0f}"] = _interval(bracket(points, base.tau(level, rule if rule != "absolute" else "chance"), floor))
    out["d90_raw"] = _interval(bracket(points, base.tau(0.9, "raw"), floor))
    out["d90_chance"] = _interval(bracket(points, base.tau(0.9, "chance"), floor))
    # The search's own question; it is d90 unless another threshold or an absolute one was asked for.
    out["answer"] = _interval(found)
    if rule != "absolute" and math.isclose(q, 0.9):
        out["d90"] = out["answer"]
    # Those of this answer: a store that answered another threshold too holds checks at other d.
    checks = [r for r in mine if r["kind"] == "check" and r["train_info"]["d_total"] == found.low]
    longer = [r for r in checks if score_of(r) is not None and passes(score_of(r), tau, strict)]
    locked = [score_of(r) for r in mine if r["kind"] == "locked" and r["train_info"]["d_total"] == found.high and score_of(r) is not None]
    out["locked_score"] = locked[0] if locked else None
    out["checks"] = {"twice_the_budget": None if not checks else not longer}
    out["verdict"] = _verdict(base, tau, found, search, bool(longer))
    return out | _cost(mine)


def _verdict(base: Baseline, tau: float, found: Bracket, search: dict, longer: bool = False) -> str:
    if not signal(base, search["n_scored"], search["metric"]):
        return "no_signal"
    if base.chance >= tau:
        return "trivial"
    if not search["finished"]:
        return "unfinished"
    if found.high is None:
        return "not_reached"
    if found.low is not None and found.low >= found.high:
        return "contradictory"
    return "budget_limited" if longer else "reached"


def _interval(b: Bracket) -> dict | None:
    """A bracket's estimate is the smallest d seen to pass; it has no level, because it is not a confidence interval."""
    if b.high is None and b.low is None:
        return None
    return {"estimate": b.high, "low": b.low, "high": b.high, "level": None}


def _cost(records: list[dict]) -> dict:
    runs: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for r in records:
        runs[r["kind"]] = runs.get(r["kind"], 0) + 1
        seconds[r["kind"]] = round(seconds.get(r["kind"], 0.0) + r["train_info"]["seconds"], 1)
    failed = sum(r["status"] != "ok" for r in records)
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
        "metric": search["metric"], "D": search["D"], "learning_rate": search["learning_rate"], "tuned": search["tuned"],
        "alpha_rule": swept[0]["train_info"]["adaptation"]["alpha_rule"] if swept else None,
        "targets": swept[0]["train_info"]["adaptation"]["targets"] if swept else None,
        "verdict": "baseline_failed", "full": None,
    }
    if base is None:
        return out | _cost(mine)
    tau, floor = base.tau(search["threshold"], search["rule"], search["absolute"]), base.chance
    average = means(points, floor)
    trained = {rank[id(r)]: r["train_info"]["d_total"] for r in swept}
    strict = search["strict"]
    found = bracket(points, tau, floor, strict)
    return out | {
        "verdict": _verdict(base, tau, found, search), "rule": search["rule"], "tau": tau,
        "tau_raw": base.tau(search["threshold"], "raw"), "tau_chance": base.tau(search["threshold"], "chance"),
        "chance": base.chance, "full": {"mean": base.mean, "se": base.se, "n": base.n},
        "curve": [{"rank": r, "d_total": trained[r], "mean": s, "n": sum(p.d == r for p in points),
                   "passes": passes(s, tau, strict)} for r, s in average.items()],
        "r90": _interval(found), "r90_raw": _interval(bracket(points, base.tau(0.9, "raw"), floor)),
        "r90_chance": _interval(bracket(points, base.tau(0.9, "chance"), floor)),
    } | _cost(mine)
