"""The answer of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from idim.values.fields import Json
from idim.values.findings import Cost, Crossing, Levels, Tried
from idim.values.summary import Summary, made, plain
from idim.values.verdict import Verdict

_SWEEP = ("model", "task", "arm", "protocol", "n_scored", "metric", "D", "tuned", "alpha_rule")


@dataclass(frozen=True, kw_only=True)
class SweepSummary(Summary):
    """The answer of a sweep over ranks: score against rank, and r90.

    Sweeps of today are searches with a grid. This is what a store keeps of older ones.
    """

    letter: str = "r"

    n_scored: int
    #: Whether the rates were tuned.
    tuned: bool
    #: How alpha follows from the rank, and what was adapted; None where nothing was swept.
    alpha_rule: str | None = None
    targets: tuple[str, ...] | None = None
    #: By the rule of the question, by the raw rule, and corrected for chance.
    r90: Crossing | None = None
    r90_raw: Crossing | None = None
    r90_chance: Crossing | None = None

    def crossing(self, rule: str) -> Crossing | None:
        return {"raw": self.r90_raw, "chance": self.r90_chance}[rule]

    def to_json(self) -> Json:
        out: Json = {name: getattr(self, name) for name in _SWEEP}
        out |= {
            "targets": None if self.targets is None else list(self.targets),
            "verdict": str(self.verdict),
            "full": None,
        }
        if self.levels is not None:
            levels = self.levels.to_json()
            order = ("tau", "chance", "full", "tau_raw", "tau_chance")
            out |= {name: levels[name] for name in order}
            out["rule"] = self.rule
            out["curve"] = [
                {
                    "rank": t.size,
                    "d_total": t.trained,
                    "rate": t.rate,
                    "mean": t.mean,
                    "n": t.n,
                    "passes": t.passes,
                }
                for t in self.curve
            ]
            for name in ("r90", "r90_raw", "r90_chance"):
                out[name] = plain(getattr(self, name))
        return out | self.cost.to_json() | {"study": self.study, "id": self.id}

    @classmethod
    def from_json(cls, value: Json) -> SweepSummary:
        """The summary that ``to_json`` made. It trusts what it reads."""
        names = (*_SWEEP, "study", "id")
        targets = value["targets"]
        return cls(
            **{name: value[name] for name in names if name in value and name != "targets"},
            verdict=Verdict(value["verdict"]),
            rule=value.get("rule", ""),
            levels=Levels.from_json(value),
            curve=tuple(
                Tried(t["rank"], t["mean"], t["n"], t["passes"], 0, t["d_total"], t["rate"])
                for t in value.get("curve", ())
            ),
            targets=None if targets is None else tuple(targets),
            **{name: made(Crossing, value.get(name)) for name in ("r90", "r90_raw", "r90_chance")},
            cost=Cost.from_json(value),
        )
