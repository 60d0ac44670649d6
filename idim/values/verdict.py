"""What a measurement can end with."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What a search or a sweep ends with. Each member carries its sentence: ``sentence``."""

    #: With {d} where the letter of the size stands, and {d90} for what was asked for; and of an arm
    #: that has no size.
    _form: str
    _sizeless: str

    def __new__(cls, value: str, form: str = "", sizeless: str = "") -> Verdict:
        member = str.__new__(cls, value)
        member._value_ = value
        member._form, member._sizeless = form, sizeless or form
        return member

    @property
    def sentence(self) -> str:
        """What it says of a search over d."""
        return self.of("d", "d90")

    def of(self, letter: str, asked: str) -> str:
        """What it says of a search over the size of this letter; "" for an arm without a size.

        ``asked``: what the size is called that was asked for.
        """
        return self._form.format(d=letter, d90=asked) if letter else self._sizeless

    REACHED = "reached", "some {d} passes, and a smaller one does not", "it passes"
    NOT_REACHED = (
        "not_reached",
        "no {d} that was tried passes, though training works there",
        "it does not pass",
    )
    RATE_FAILED = (
        "rate_failed",
        "even with all of D training falls short of full fine-tuning: the rate failed, "
        "not the subspace",
    )
    TRIVIAL = (
        "trivial",
        "the untouched model, or guessing the majority, already passes: {d90} says nothing here",
    )
    HEAD_ALONE = "head_alone", "the head alone passes: {d90} is 0"
    NO_SIGNAL = ("no_signal", "full training lies within four standard errors of chance")
    BASELINE_FAILED = (
        "baseline_failed",
        "no full run ended well, or only one where an interval needs two",
    )
    BUDGET_LIMITED = (
        "budget_limited",
        "with twice the budget {d90} would be smaller by a quarter or more: "
        "this is {d90} of the budget",
    )
    UNFINISHED = (
        "unfinished",
        "the runs do not yet tell whether some {d} passes: allow more of them with --max-runs",
        "the runs do not tell whether it passes",
    )
    CONTRADICTORY = (
        "contradictory",
        "runs disagree on where it passes: add --max-runs or --repeats",
    )

    @property
    def answers(self) -> bool:
        """Whether the question is answered: a size, or that any size would do."""
        return self in (
            Verdict.REACHED,
            Verdict.TRIVIAL,
            Verdict.HEAD_ALONE,
            Verdict.BUDGET_LIMITED,
        )
