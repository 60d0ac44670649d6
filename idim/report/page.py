"""The figures of a store as files, and one page with all that it knows.

What writes comes after an answer is printed, so that a full disk or a broken figure takes no
answer away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from idim.answers.published import Published
from idim.errors import IdimError
from idim.made import Made
from idim.report.drawer import Drawer, studies
from idim.report.figures.catalogue import KEPT, Spectra, of_study
from idim.report.html.build import Builder
from idim.store import Store, write
from idim.values.summary import Summary


def draw(
    store: Store, summaries: Sequence[Summary], made: Made | None = None
) -> Iterator[tuple[str, Path | IdimError]]:
    """Draw every curve: ``(id of the question that it answers, its path)``, or why there is none.

    One figure's failure leaves the others alone.
    """
    drawer = Drawer(store, made)
    for group in studies(summaries):
        for drawing in of_study(drawer.records, group):
            if drawing.kind in KEPT:
                try:
                    yield drawing.id, drawer.drawn(drawing, "png")[0]
                except IdimError as error:
                    yield drawing.id, error
    drawer.made.close()


def page(
    store: Store,
    summaries: Sequence[Summary],
    home: Path,
    command: str = "",
    made: Made | None = None,
    published: Published | None = None,
    spectra: Spectra | None = None,
) -> str:
    """One page with nothing outside it, which tells all that the store knows.

    Args:
        store: is read, and keeps the figures.
        summaries: as ``derive`` made them.
        home: the folder that the page will lie in, for its links to the records.
        command: what made the page, in words.
        made: what is made already.
        published: values for the table of models.
        spectra: of the projections, where somebody computed them.

    Cost: a tenth of a second for each figure that is not drawn yet.
    """
    builder = Builder(store, made, home, spectra or {})
    text = builder.page(summaries, command, published)
    builder.drawer.made.close()
    return text


def write_html(text: str, file: Path) -> None:
    """Write the page.

    Raises:
        IdimError: there is no room, or no permission.
    """
    # The page says UTF-8, whatever the locale. A name that is no text is shown by its escapes.
    page_bytes = text.encode("utf-8", "backslashreplace")
    try:
        # Through a link, and into a device or a pipe: a name that is in use keeps what it names.
        file = file.resolve()
        if file.exists() and not file.is_file():
            file.write_bytes(page_bytes)
        else:
            write(file, page_bytes)
    except (OSError, RuntimeError, ValueError, IdimError) as error:
        raise IdimError(f"--html: {error}") from None
