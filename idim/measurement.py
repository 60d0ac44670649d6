"""What ``idim.measure`` returns: the summary, which also prints and draws itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from idim.answers.summary import summarise
from idim.errors import expected
from idim.store import Store
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary

if TYPE_CHECKING:  # it takes a second, and a measurement that is not drawn needs none
    from matplotlib.figure import Figure


class Measurement(dict[str, Any]):
    """The summary of a measurement: a dict that JSON takes as it is.

    ``print`` shows the text that the command line prints. A notebook shows text and figure.
    """

    def __init__(
        self, summary: Summary, records: Sequence[Record] = (), questions: Sequence[Question] = ()
    ):
        """Args:
        summary: what the search or the sweep found.
        records: the runs that the figure shows.
        questions: the other questions of the same study.
        """
        super().__init__(summary.to_json())
        self.summary = summary
        self._records, self._questions = list(records), list(questions)

    @classmethod
    def read(cls, summary: Summary, out: str) -> Measurement:
        """With the runs that a store holds. They stay here when the store is deleted."""
        store = Store(out, create=False)
        others = [q for q in store.questions() if q.study == summary.study and q.id != summary.id]
        wanted = summary.keys.union(*(q.keys for q in others))
        return cls(summary, [r for r in store.all() if r.key in wanted], others)

    def __str__(self) -> str:
        from idim.report import tables

        return tables.summary_text(self.summary)

    def figure(self) -> Figure:
        """Draw the score against d, or against LoRA's rank with the store's other curves beside it.

        Returns: a figure of matplotlib, for ``savefig`` or a notebook.
        Raises: IdimError where there is nothing to draw, because no full run ended well.
        """
        from idim.report import figures

        summary = self.summary
        if not summary.levels:
            raise expected("figure", "a full run that ended well", str(summary.verdict))
        if summary.letter != "d":
            others = [summarise(self._records, q) for q in self._questions]
            over_d = [s for s in others if isinstance(s, SearchSummary) and s.letter == "d"]
            searches = [s for s in over_d if s.levels and s.curve]
            return figures.figure_against_rank(self._records, summary, searches)
        assert isinstance(summary, SearchSummary)
        return figures.figure_against_d(self._records, [summary])

    def _repr_png_(self) -> bytes | None:
        from idim.report import figures

        return figures.png(self.figure()) if self.summary.levels else None

    def _repr_html_(self) -> str:
        from idim.report import page

        picture = self._repr_png_()
        return page.text(str(self)) + (page.image(picture, self.summary.id) if picture else "")
