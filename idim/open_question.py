"""A question that is being answered. The store keeps it, with the keys of its runs so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from idim.store import Store
from idim.values.question import Question
from idim.values.spec import Spec


class OpenQuestion:
    """A question that a measurement works at.

    Making one takes the question up in the store: what was found for it before stays.

    Attributes:
        value: the question with what is known of its end so far.
        asked: the keys of the runs that were asked for this time, in that order. Decisions follow
            from these alone: what an earlier time made besides would change them.
    """

    def __init__(self, question: Question, store: Store):
        self._store = store
        # What an earlier time found out of rates is found out again, so that the same runs are
        # asked for.
        self.value = dataclasses.replace(store.ask(question), loss=0.0, handicaps={})
        self.asked: dict[str, None] = {}

    def made(self, specs: Iterable[Spec]) -> None:
        """Keep that these runs were made for it."""
        new = dict.fromkeys(s.key for s in specs)
        self.asked |= new
        keys = tuple(dict.fromkeys([*self.value.keys, *new]))
        if keys != self.value.keys:
            self._keep(dataclasses.replace(self.value, keys=keys))

    def note_loss(self, loss: float) -> None:
        """Keep what the error of the rates may cost at the answer, as a fraction of the gain."""
        self._keep(dataclasses.replace(self.value, loss=round(loss, 5)))

    def end(self, finished: bool) -> None:
        """Keep whether it ended with an answer."""
        self._keep(dataclasses.replace(self.value, finished=finished))

    def _keep(self, value: Question) -> None:
        self.value = value
        self._store.put_question(value)
