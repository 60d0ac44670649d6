"""What ``idim.measure`` returns: the summary, which also prints and draws itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from idim.errors import expected
from idim.report import figures, page, tables
from idim.report.summary import summarise
from idim.store import Store


class Measurement(dict[str, Any]):
    """The summary of a measurement: a dict that JSON takes as it is.

    ``print`` shows the text that the command line prints. A notebook shows text and figure.
    """

    def __init__(
        self,
        summary: Mapping[str, Any],
        records: Sequence[dict[str, Any]] = (),
        questions: Sequence[dict[str, Any]] = (),
    ):
        """Args:
        summary: what the search or the sweep found.
        records: the runs that the figure shows.
        questions: the questions of the same study, this one's among them.
        """
        super().__init__(summary)
        self._records, self._questions = list(records), list(questions)

    @classmethod
    def read(cls, summary: Mapping[str, Any], out: str) -> Measurement:
        """With the runs that a store holds. They stay here when the store is deleted."""
        store = Store(out, create=False)
        asked = store.question(summary["id"])
        if asked is None:  # it was not kept, as on a full disk
            return cls(summary)
        together = [q for q in store.questions() if q["study"] == asked["study"]]
        wanted = {key for q in together for key in q["keys"]}
        return cls(summary, [r for r in store.all() if r["key"] in wanted], together)

    def __str__(self) -> str:
        return (tables.sweep_text if self["arm"] == "lora" else tables.search_text)(self)

    def figure(self) -> Figure:
        """Draw the score against d, or against LoRA's rank with the store's other curves beside it.

        Returns: a figure of matplotlib, for ``savefig`` or a notebook.
        Raises: IdimError where there is nothing to draw, because no full run ended well.
        """
        if not self["full"]:
            raise expected("figure", "a full run that ended well", self["verdict"])
        by_id = {q["id"]: q for q in self._questions}
        own = self | {"keys": set(by_id.get(self["id"], {}).get("keys", ()))}
        if self["arm"] != "lora":
            return figures.figure_against_d(self._records, [own])
        others = [
            summarise(self._records, q) | {"keys": set(q["keys"])}
            for q in self._questions
            if q["arm"] != "lora"
        ]
        return figures.figure_against_rank(
            self._records, own, [s for s in others if s["full"] and s["curve"]]
        )

    def _repr_png_(self) -> bytes | None:
        return figures.png(self.figure()) if self["full"] else None

    def _repr_html_(self) -> str:
        picture = self._repr_png_()
        return page.text(str(self)) + (page.image(picture, self["id"]) if picture else "")
