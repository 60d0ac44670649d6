"""Draws the figures of a store, and keeps them until what they show changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from idim.errors import IdimError, first_line
from idim.made import Made, code_of, digest_of
from idim.report.figures.catalogue import Drawing
from idim.store import Store
from idim.values.summary import Summary


class Drawer:
    """Draws the figures of a store, each in each form once, until what it shows changes."""

    def __init__(self, store: Store, made: Made | None = None):
        self.store, self.made = store, made or Made(store)
        self.records = self.made.records

    def drawn(self, drawing: Drawing, form: str) -> tuple[Path, bytes]:
        """A figure's file in the store, and its content.

        Raises:
            IdimError: it cannot be drawn or written.
        """
        name = f"{drawing.name}.{form}"
        keys = sorted(k for s in drawing.summaries for k in s.keys)
        of = digest_of(
            code_of("report", "arms"),
            [self.made.marks.get(k, "") for k in keys],
            [str(s.to_json()) for s in drawing.summaries],
        )
        if data := self.made.kept("figures", name, of):
            return self.store.root / "figures" / name, data
        try:
            # Here, because matplotlib takes a second to load, and most figures are there already.
            from idim.report.style import FORMS

            data = FORMS[form](drawing.make())
            return self.made.keep("figures", name, data), data
        except IdimError:
            raise
        except Exception as error:  # a figure is worth no answer; matplotlib raises what it likes
            raise IdimError(
                f"figure {name}: not drawn; {type(error).__name__}: {first_line(error)}"
            ) from None


def studies(summaries: Sequence[Summary]) -> list[list[Summary]]:
    """The summaries by study, in the order in which they come."""
    return [
        [s for s in summaries if s.study == study]
        for study in dict.fromkeys(s.study for s in summaries)
    ]
