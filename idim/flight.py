"""The runs of a search: those that are back, those that fly, and what was known at each decision.

With several workers a search decides while runs fly. Which of them are back by then is chance. So
each decision keeps what flew, before anything follows from it. A search that goes on later, and one
that answers the same question in another process, decides by what was kept, and so alike.
"""

from __future__ import annotations

from idim.runs import Runs
from idim.store import Store
from idim.values.plan import Plan
from idim.values.record import Record
from idim.values.spec import Spec


class Flight:
    """The runs that a search asks for.

    Attributes:
        asked: what was asked for, in its order.
    """

    def __init__(self, plan: Plan, store: Store, runs: Runs):
        self._plan, self._store, self._runs = plan, store, runs
        self._decisions = 0
        self.asked: list[Spec] = []

    def ask(self, spec: Spec) -> None:
        """Ask for a run. It begins as soon as there is room for it."""
        self.asked.append(spec)
        self._runs.begin(spec, self._plan.arm_key)

    def decide(self, together: bool) -> tuple[list[Record], list[Spec]]:
        """Wait until something is to be decided.

        Args:
            together: whether that needs all runs that were asked for.

        Returns:
            The records that are back, in the order in which they were asked for; and what flies.
            Together they are ``asked``.
        """
        self._decisions += 1
        flying = set() if together else self._flying()
        while any(s.key not in flying and self._runs.done(s) is None for s in self.asked):
            self._runs.wait()
        back = [r for s in self.asked if s.key not in flying and (r := self._runs.done(s))]
        return back, [s for s in self.asked if s.key in flying]

    def _flying(self) -> set[str]:
        """The keys of what flies at this decision: as it was kept, or as it is now."""
        question, n, asked = self._plan.id, self._decisions, {s.key for s in self.asked}
        if not asked:
            return set()
        while True:
            kept = self._store.decided(question, n)
            if kept is not None and asked.issuperset(kept):
                return set(kept)
            self._runs.look()
            flying = [s.key for s in self.asked if self._runs.done(s) is None]
            if not flying or self._runs.free:
                # What does not fit is of an older search, whose records have changed.
                self._store.decide(question, n, flying, anew=kept is not None)
            else:
                self._runs.wait()
