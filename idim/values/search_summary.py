"""The answer of a search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from idim.values.fields import Json
from idim.values.findings import (
    Checks,
    Converged,
    Cost,
    Crossing,
    Fit,
    Levels,
    Locked,
    Mean,
    Moved,
    Passes,
    Shapeless,
    Tried,
    Witness,
)
from idim.values.summary import Summary, made, plain
from idim.values.verdict import Verdict

_SEARCH = (
    "model",
    "task",
    "arm",
    "projection",
    "protocol",
    "metric",
    "D",
    "m",
    "scope",
    "structure",
    "steps",
    "design",
)
#: A level, after the letter of a size.
_LEVEL = r"[\d.]+(_raw|_chance)?"
#: What a summary over another size than d does not say, and what it says beside.
_OVER_D = ("projection", "m", "scope", "structure")
_BESIDE = ("letter", "adapted", "remark")


@dataclass(frozen=True, kw_only=True)
class SearchSummary(Summary):
    """The answer of a search: d90 or r90, and what stands around it."""

    projection: str = ""
    scope: str = ""
    structure: str | None = None
    m: int = 0
    steps: int
    design: str
    #: How many examples train, tune, measure and are locked.
    examples: Mapping[str, int]
    threshold: float
    left_out: tuple[str, ...]
    #: By the model of the curve, for every design; and for other examples of the same kind.
    interval: Crossing | None = None
    interval_new_data: Crossing | None = None
    #: How likely it is that some d that can be tried passes.
    reachable: float | None = None
    fit: tuple[Fit, ...] | None = None
    #: By name: d50, d75, d90, d95 by the rule; d90_raw and d90_chance, and the same for another
    #: fraction that was asked for; with another letter for another size. And ``answer``, by the
    #: threshold that was asked for.
    found: Mapping[str, Crossing | None] = field(default_factory=dict)
    locked: Locked | None = None
    checks: Checks = field(default_factory=Checks)
    #: What an arm without d says of itself, where it is the same at every size.
    adapted: Mapping[str, Any] = field(default_factory=dict)
    #: What the verdict alone would hide.
    remark: str = ""

    @property
    def answer(self) -> Crossing | None:
        """Where the threshold that was asked for is reached."""
        return self.found.get("answer")

    @property
    def fraction(self) -> float:
        return self.threshold

    def crossing(self, rule: str) -> Crossing | None:
        return self.found.get(f"{self.level}_{rule}")

    def to_json(self) -> Json:
        levels = self.levels
        out: Json = {
            name: getattr(self, name)
            for name in (*_SEARCH, "examples", "verdict", "rule", "threshold")
        }
        out |= {"examples": dict(self.examples), "verdict": str(self.verdict)}
        over_d = self.letter == "d"
        if not over_d:
            out = {name: out[name] for name in out if name not in _OVER_D}
            out |= {name: getattr(self, name) for name in _BESIDE}
        elif self.remark:
            out["remark"] = self.remark
        out |= dict.fromkeys(("tau", "tau_raw", "tau_chance", "chance", "full")) | (
            levels.to_json() if levels else {}
        )
        out["curve"] = [
            ({self.letter: t.size} if self.letter else {})
            | ({} if over_d else {"d_total": t.trained, "rate": t.rate})
            | {"mean": t.mean, "n": t.n, "stopped": t.stopped, "passes": t.passes}
            for t in self.curve
        ]
        out["left_out"] = list(self.left_out)
        if levels is not None:
            out |= {
                "interval": plain(self.interval),
                "interval_new_data": plain(self.interval_new_data),
                "reachable": self.reachable,
                "fit": None if self.fit is None else [plain(f) for f in self.fit],
                **{name: plain(found) for name, found in self.found.items()},
                "locked": plain(self.locked),
                "checks": self._checks(),
            }
        return out | self.cost.to_json() | {"study": self.study, "id": self.id}

    def _checks(self) -> Any:
        """Only those that an arm can have: some have no floor, and some no size."""
        found = plain(self.checks)
        return {k: v for k, v in found.items() if v is not None or k not in ("floor", "point")}

    @classmethod
    def from_json(cls, value: Json) -> SearchSummary:
        """The summary that ``to_json`` made. It trusts what it reads."""
        names = (*_SEARCH, *_BESIDE, "threshold", "reachable", "examples", "rule", "study", "id")
        letter = value.get("letter", "d")
        checks = value.get("checks") or {}
        fit = value.get("fit")
        kinds = {
            "converged": Converged,
            "budget": Moved,
            "isotonic": Shapeless,
            "witness": Witness,
            "floor": Passes,
            "point": Passes,
        }
        locked = value.get("locked")
        return cls(
            **{name: value[name] for name in names if name in value},
            verdict=Verdict(value["verdict"]),
            levels=Levels.from_json(value),
            curve=tuple(
                Tried(
                    t.get(letter, 0),
                    t["mean"],
                    t["n"],
                    t["passes"],
                    t["stopped"],
                    t.get("d_total", 0),
                    t.get("rate", 0.0),
                )
                for t in value["curve"]
            ),
            left_out=tuple(value["left_out"]),
            interval=made(Crossing, value.get("interval")),
            interval_new_data=made(Crossing, value.get("interval_new_data")),
            fit=None if fit is None else tuple(Fit(**f) for f in fit),
            found={
                name: made(Crossing, value[name])
                for name in value
                if name == "answer" or re.fullmatch(rf"{letter}{_LEVEL}", name)
            },
            locked=locked and Locked(**{name: Mean(**m) for name, m in locked.items()}),
            checks=Checks(
                rate=checks.get("rate") and {k: Moved(**v) for k, v in checks["rate"].items()},
                **{name: made(kind, checks.get(name)) for name, kind in kinds.items()},
            ),
            cost=Cost.from_json(value),
        )
