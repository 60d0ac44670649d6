"""What ``idim.measure`` returns: the summary, which also prints and draws itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from idim.errors import expected
from idim.store import Store
from idim.values.record import Record
from idim.values.summary import Summary

if TYPE_CHECKING:  # it takes a second, and a measurement that is not drawn needs none
    from matplotlib.figure import Figure


class Measurement(dict[str, Any]):
    """The summary of a measurement: a dict that JSON takes as it is.

    ``print`` shows the text that the command line prints. A notebook shows text and figure.
    """

    def __init__(self, summary: Summary, records: Sequence[Record] = ()):
        """Args:
        summary: what the search or the sweep found.
        records: the runs that the figure shows.
        """
        super().__init__(summary.to_json())
        # Where full fine-tuning failed there is no answer. It is None, as where none was found.
        for answer in ("answer", "interval", summary.level):
            self.setdefault(answer, None)
        self.summary = summary
        self._records = list(records)

    @classmethod
    def read(cls, summary: Summary, out: str) -> Measurement:
        """With the runs that a store holds. They stay here when the store is deleted."""
        store = Store(out, create=False)
        return cls(summary, [r for r in store.all() if r.key in summary.keys])

    def __str__(self) -> str:
        from idim.report import tables

        return tables.summary_text(self.summary)

    def figure(self) -> Figure:
        """Draw the score against d, or against the size of another arm.

        Returns: a figure of matplotlib, for ``savefig`` or a notebook.
        Raises: IdimError where there is nothing to draw, because no full run ended well.
        """
        from idim.report.figures.against_size import figure_against_size

        if not self.summary.levels:
            raise expected("figure", "a full run that ended well", str(self.summary.verdict))
        return figure_against_size(self._records, [self.summary])

    def _repr_png_(self) -> bytes | None:
        from idim.report.style import png

        return png(self.figure()) if self.summary.levels else None

    def _repr_html_(self) -> str:
        from idim.report import notebook

        return notebook.summary_html(self.summary, self._records)
