"""What goes into a paper: figures as PNG, SVG and PDF, tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from idim.answers.published import Published
from idim.errors import IdimError
from idim.report import forms
from idim.report.curve_frame import curve_frame
from idim.report.drawer import studies
from idim.report.figures.catalogue import of_study, overview
from idim.report.html import sections
from idim.report.layout import layout_frame, source_of
from idim.store import Store, write
from idim.values.files import file_name
from idim.values.summary import Summary


def write_paper(
    store: Store, summaries: Sequence[Summary], folder: Path, published: Published | None = None
) -> Iterator[Path | IdimError]:
    """Write all figures and tables of a store into a folder: each path, or why it is not there.

    Args:
        store: has the records.
        summaries: as ``derive`` made them.
        folder: is made where it is not there.
        published: values for the table of models.

    Cost: half a second a figure.
    """
    from idim.report.style import FORMS

    for name, (about, frame) in tables(summaries, published).items():
        for ending, form in forms.FORMS.items():
            path = folder / f"{name}.{ending}"
            write(path, (form(frame, about).rstrip() + "\n").encode("utf-8", "backslashreplace"))
            yield path
    records = store.all()
    drawings = overview(summaries)
    drawings += [d for group in studies(summaries) for d in of_study(records, group)]
    for drawing in drawings:
        try:
            figure = drawing.make()
            captions = folder / f"{file_name(drawing.name)}.txt"
            write(captions, f"{drawing.title}. {drawing.caption}\n".encode(errors="replace"))
            for ending, saved in FORMS.items():
                path = folder / f"{file_name(drawing.name)}.{ending}"
                write(path, saved(figure))
                yield path
        except IdimError as error:
            yield error
        except Exception as error:  # a figure is worth no answer
            yield IdimError(f"figure {drawing.name}: not drawn; {error!r:.200}")


def tables(
    summaries: Sequence[Summary], published: Published | None = None
) -> dict[str, tuple[str, pd.DataFrame]]:
    """Each table by the name of its file, with its caption."""
    heads, rows = sections.overview(summaries)
    found = {
        "answers": (
            "The size that reaches the threshold, by search, with 90 % intervals.",
            pd.DataFrame(rows, columns=list(heads)),
        ),
        "models": (
            "Rows are models, columns are methods and tasks. "
            + (f"Published: {source_of(published, summaries)}" if published else ""),
            layout_frame(summaries, published),
        ),
    }
    for s in summaries:
        if s.curve:
            about = f"{s.model} on {s.task}, {s.arm}: {s.metric} by size."
            found[f"scores-{file_name(s.id)}"] = (about, curve_frame(s))
    return found
