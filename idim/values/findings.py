"""The parts of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from idim.values.fields import Json


@dataclass(frozen=True)
class Crossing:
    """Where a curve crosses a threshold.

    With a level it is an interval. Without one it is a bracket: ``low`` is the largest size that
    fails, ``high`` the smallest that passes, and ``estimate`` is ``high``.
    """

    estimate: int | None
    #: None where it may lie below, or above, all that can be tried.
    low: int | None
    high: int | None
    level: float | None


@dataclass(frozen=True)
class Ratio:
    """How many times as large one d90 is as another. An end is None where nothing bounds it."""

    estimate: float | None
    low: float | None
    high: float | None
    level: float


@dataclass(frozen=True)
class Comparison:
    """The ratio of one arm's answer to another's, on one model and task."""

    model: str
    task: str
    #: What the sizes are called: d90.
    name: str
    one: str
    other: str
    ratio: Ratio


@dataclass(frozen=True)
class Mean:
    """A mean score of ``n`` runs."""

    mean: float
    n: int


@dataclass(frozen=True)
class Levels:
    """The scores that a run is held against."""

    #: What a run must reach by the rule of the question, and by the two common rules.
    tau: float
    tau_raw: float
    tau_chance: float
    #: The score of knowing nothing.
    chance: float
    #: Full fine-tuning: its mean, the standard error of the mean (None for one run), its runs.
    full: float
    se: float | None
    n: int

    def to_json(self) -> Json:
        """As a summary keeps it, among its own fields."""
        return {
            "tau": self.tau,
            "tau_raw": self.tau_raw,
            "tau_chance": self.tau_chance,
            "chance": self.chance,
            "full": {"mean": self.full, "se": self.se, "n": self.n},
        }

    @classmethod
    def from_json(cls, value: Json) -> Levels | None:
        """From a summary's fields; None where full fine-tuning failed."""
        full = value["full"]
        if full is None:
            return None
        named = {name: value[name] for name in ("tau", "tau_raw", "tau_chance", "chance")}
        return cls(**named, full=full["mean"], se=full["se"], n=full["n"])


@dataclass(frozen=True)
class Tried:
    """The runs at one size."""

    size: int
    mean: float
    n: int
    passes: bool
    #: How many of them stopped early.
    stopped: int = 0
    #: The numbers that they train, and their rate.
    trained: int = 0
    rate: float = 0.0


@dataclass(frozen=True)
class Fit:
    """The curve at one d: its mean, and the ends of its band."""

    d: float
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Converged:
    """What full fine-tuning gains from twice the budget."""

    pairs: int
    gain: float
    low: float
    high: float
    probability: float
    undertrained: bool


@dataclass(frozen=True)
class Moved:
    """By how many octaves a change makes d90 smaller, and how surely by a quarter."""

    pairs: int
    octaves: float
    probability: float


@dataclass(frozen=True)
class Shapeless:
    """Where the runs cross with no curve assumed, and whether the interval stands."""

    d: int | None
    agrees: bool


@dataclass(frozen=True)
class Witness:
    """What the largest d reaches, as a share of what full fine-tuning gains."""

    d: int
    share: float
    n: int


@dataclass(frozen=True)
class Passes:
    """What an arm without a size scores, and how likely it passes."""

    mean: float
    n: int
    #: Of what full fine-tuning gains.
    share: float
    #: How likely it is that it passes.
    probability: float


@dataclass(frozen=True)
class Checks:
    """What the checks say. Each is None where it was not made."""

    converged: Converged | None = None
    budget: Moved | None = None
    #: By the factor on the rate.
    rate: Mapping[str, Moved] | None = None
    isotonic: Shapeless | None = None
    witness: Witness | None = None
    #: The head alone, where an arm trains it freely; and an arm that has no size.
    floor: Passes | None = None
    point: Passes | None = None


@dataclass(frozen=True)
class Locked:
    """Scores on the split that decides nothing."""

    full: Mean
    d90: Mean


@dataclass(frozen=True)
class Cost:
    """Runs and seconds by purpose, and how many runs failed."""

    runs: Mapping[str, int]
    seconds: Mapping[str, float]
    failed_runs: int

    def to_json(self) -> Json:
        """As a summary keeps it, among its own fields."""
        return {
            "runs": dict(self.runs),
            "seconds": dict(self.seconds),
            "failed_runs": self.failed_runs,
        }

    @classmethod
    def from_json(cls, value: Json) -> Cost:
        """From a summary's fields."""
        return cls(value["runs"], value["seconds"], value["failed_runs"])
