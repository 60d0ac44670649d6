"""One question at work: its plan, its runs so far, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

from idim import specs
from idim.answers.evidence import baseline_of, belief_of, points_of, size_of_spec, target_of
from idim.answers.outlook import BUDGET_CHECK, RATE_CHECK, outlook_of
from idim.answers.summary import summarise
from idim.errors import IdimError
from idim.flight import Flight
from idim.open_question import OpenQuestion
from idim.runs import Runs
from idim.search.answer import Belief
from idim.search.threshold import Baseline, Point, Target
from idim.source import CATALOGUES, Source
from idim.store import Store
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.spec import Spec
from idim.values.summary import Summary
from idim.watcher import SILENT, Watcher


class Inquiry:
    """A question, its store, and what is known so far.

    Attributes:
        plan: what is measured.
        say: gets a line for what happens.
        asked: the question, which the store keeps.
        full: the runs of full fine-tuning that set the threshold.
        history: the runs of the search, in the order in which they were asked for, but for those
            that fly.
        flight: the runs of the search, and what was known at each decision.
    """

    def __init__(
        self, plan: Plan, store: Store, watcher: Watcher = SILENT, source: Source = CATALOGUES
    ):
        self.plan, self.say, self._watcher = plan, watcher.say, watcher
        self._store = store
        self._runs = Runs(plan, store, watcher, source)
        self.flight = Flight(plan, store, self._runs)
        self.asked = OpenQuestion(plan.question(), store)
        self._later: list[Spec] = []
        self.full: list[Record] = []
        self.history: list[Record] = []

    def execute(self, wanted: Sequence[Spec]) -> list[Record]:
        """The records for these specifications of one arm, noted as made for the question."""
        records = self._runs.of(wanted, self._curve(wanted[0])) if wanted else []
        self.asked.made(wanted)
        return records

    @property
    def several(self) -> bool:
        """Whether several runs are made at once."""
        return self._runs.at_once > 1

    def ahead(self, wanted: Sequence[Spec]) -> None:
        """Name runs that are sure to be wanted later. They begin where others leave room.

        It changes no decision: a run counts once it is asked for.
        """
        self._later += wanted
        for spec in wanted:
            self._runs.name(spec, self._curve(spec))

    def _curve(self, spec: Spec) -> str:
        """What a run has in common with the others of its curve."""
        return self.plan.arm_key if spec.arm == self.plan.arm else spec.arm

    def decide(self, together: bool) -> tuple[int, ...]:
        """Set ``history`` to what is known at the next decision.

        Args:
            together: whether all runs must be back.

        Returns:
            The sizes of the runs that fly.
        """
        known, flying = self.flight.decide(together)
        self.asked.made(s for s in self.flight.asked if s not in flying)
        self.history = known
        return tuple(size_of_spec(s) for s in flying)

    def close(self) -> None:
        """End what still runs."""
        self._runs.close()

    def train_full(self, rate: float, n: int) -> None:
        """Make full runs until there are ``n``."""
        self.full += self.execute(
            [
                specs.make(self.plan, Purpose.BASELINE, None, i, rate)
                for i in range(len(self.full), n)
            ]
        )

    @property
    def question(self) -> Question:
        return self.asked.value

    @property
    def base(self) -> Baseline | None:
        """Full fine-tuning; None where no run of it ended well."""
        return baseline_of(self.full, self.question.n_scored, self.question.metric)

    @property
    def sure_base(self) -> Baseline:
        """Full fine-tuning, where it is known that a run of it ended well."""
        base = self.base
        assert base is not None
        return base

    @property
    def target(self) -> Target:
        return target_of(self.sure_base, self.question)

    @property
    def gain(self) -> float:
        """What full fine-tuning gains over chance."""
        return self.sure_base.mean - self.sure_base.chance

    @property
    def points(self) -> list[Point]:
        return points_of(self.history)

    @property
    def made(self) -> list[Record]:
        """The runs that were made for the question, or found made, since it was taken up."""
        return self._store.some(self.asked.asked)

    @property
    def can_cross(self) -> bool:
        """Whether the curve can be asked where it crosses tau."""
        return bool(self.history) and self.sure_base.chance < self.target.tau

    @property
    def belief(self) -> Belief:
        return belief_of(self.points, self.target, self.question)

    @property
    def estimate(self) -> int | None:
        """The size that the curve crosses tau at, as far as the runs tell."""
        found: int | None = self.belief.interval(self.target)["estimate"]
        return found

    def tell(self) -> None:
        """Tell the watcher what a stop now would answer, and what the rest will take."""
        if self._watcher.knows and self.history:
            protocol = self.plan.protocol
            later = sum(
                (s.recipe.max_steps or self.plan.steps) / self.plan.steps
                for s in self._later
                if self._runs.done(s) is None
            )
            checks = BUDGET_CHECK * protocol.budget_check + RATE_CHECK * protocol.rate_check
            checks += round(later)
            asked = self.question, self.plan.limits, self.plan.letter
            found = outlook_of(*asked, self.full, self.history, checks, self._runs.at_once)
            if found:
                self._watcher.knows(found)

    def answer(self, finished: bool) -> Summary:
        """Note how the question ends, and answer it from its records."""
        try:
            self.asked.end(finished)
        except IdimError as error:  # a full disk: the answer is known all the same
            self.say(f"warning: the question was not kept; {error}")
        return summarise(self._store.some(self.question.keys), self.question)
