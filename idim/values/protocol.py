"""What a way of measuring fixes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Protocol:
    """A published or recommended way of measuring d90. One row of the table of protocols.

    Args:
        name, about: what it is called, and one line for a list.
        projection, scope, structure: the family of P, the scope of its unit columns, and by what
            the scales are grouped.
        rule: sets the threshold. "chance" is c + q (full - c), "raw" is q x full, "absolute" is
            the score ``absolute``.
        strict: whether a run must score more than the threshold.
        design: how the next size is chosen (search/design.py).
        official: keeps the published split whole.
        baselines, most_baselines: so many full runs set the threshold, and more, up to the second
            number, where their error keeps the interval wide.
        repeats: runs with fresh seeds that decide each size of a bracket or a grid.
        ratio: a bracket is narrowed until high / low is at most this, and an interval until either
            end lies within it of the middle.
        tune: chooses rates on the tuning split first.
        early: lets runs far from the answer stop early.
        budget_check, rate_check: pairs of runs after a search, at twice the budget, and at twice
            and half the rate.
        witness: where no size passes for sure, two runs with all of D.
        rate_law: "law" (``RATE_EXPONENTS``), or "constant": ``rate`` for every d.
        recipe: what it fixes of the training recipe.
        left_out: is printed: what a number from this protocol does not carry.
    """

    name: str
    about: str
    projection: str = "orthonormal"
    scope: str = "global"
    structure: str = "layer"
    rule: str = "chance"
    absolute: float | None = None
    strict: bool = False
    design: str = "bisect"
    official: bool = False
    baselines: int = 3
    most_baselines: int = 0
    repeats: int = 3
    ratio: float = 1.25
    tune: bool = False
    early: bool = False
    budget_check: bool = False
    rate_check: bool = False
    witness: bool = False
    rate_law: str = "law"
    rate: float | None = None
    recipe: dict[str, object] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
