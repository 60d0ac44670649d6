"""The figures of a store, and one page with all that it knows.

What writes comes after an answer is printed, so that a full disk or a broken figure takes no
answer away.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from idim import __version__
from idim.answers.published import Published
from idim.answers.ratio import ratios
from idim.arms import ARMS
from idim.errors import IdimError, first_line, printable
from idim.made import Made, code_of, digest_of, marks
from idim.report.figures.catalogue import KEPT, Drawing, Spectra, of_study, overview
from idim.report.figures.marked import by_master_seed
from idim.store import Store, write
from idim.values.record import Record
from idim.values.summary import Summary
from idim.values.verdict import Verdict


class Drawer:
    """Draws the figures of a store, each in each form once, until what it shows changes."""

    def __init__(self, store: Store, records: Sequence[Record], made: Made | None = None):
        self.store, self.records = store, records
        self.made = made or Made(store)
        self._marks = marks(records)

    def drawn(self, drawing: Drawing, form: str) -> tuple[Path, bytes]:
        """A figure's file in the store, and its content.

        Raises:
            IdimError: it cannot be drawn or written.
        """
        name = f"{drawing.name}.{form}"
        keys = sorted(k for s in drawing.summaries for k in s.keys)
        of = digest_of(
            code_of("report", "arms"),
            [self._marks.get(k, "") for k in keys],
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


def draw(
    store: Store, summaries: Sequence[Summary], made: Made | None = None
) -> Iterator[tuple[str, Path | IdimError]]:
    """Draw every curve: ``(id of the question that it answers, its path)``, or why there is none.

    One figure's failure leaves the others alone.
    """
    records = store.all()
    drawer = Drawer(store, records, made)
    for group in studies(summaries):
        for drawing in of_study(records, group):
            if drawing.kind in KEPT:
                try:
                    yield drawing.id, drawer.drawn(drawing, "png")[0]
                except IdimError as error:
                    yield drawing.id, error
    drawer.made.close()


def image(png: bytes, about: str) -> str:
    """A picture as HTML that needs no other file."""
    import base64

    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(printable(about))}" src="data:image/png;base64,{data}">'


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
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    from idim.report.html import sections, sentences
    from idim.report.svg import inline

    records = store.all()
    drawer = Drawer(store, records, made)
    titles: list[str] = []
    by_key = {r.key: r for r in records}

    def shown(drawings: Sequence[Drawing]) -> tuple[sections.Figure, ...]:
        found = []
        for drawing in drawings:
            try:
                svg = drawer.drawn(drawing, "svg")[1]
            except IdimError as error:
                found.append(sections.Figure(drawing.title, str(error), ""))
                continue
            part = inline(svg, drawing.name, drawing.caption, by_key)
            found.append(sections.Figure(drawing.title, drawing.caption, Markup(part)))
        return tuple(found)

    def one(group: list[Summary]) -> sections.Study:
        first = group[0]
        keys = frozenset().union(*(s.keys for s in group))
        mine = [r for r in records if r.key in keys]
        links = {r.key: _link(store, r.key, home) for r in mine}
        names = list(dict.fromkeys(f"{s.model} × {s.task}" for s in group))
        steps = getattr(first, "steps", 0)
        seeds = by_master_seed(mine, group)
        title = f"{names[0]}, {first.protocol}" + (f", {steps:,} steps" if steps else "")
        titles.append(title)
        again = titles.count(title)
        drawings = of_study(records, group, spectra)
        main = [d for d in drawings if d.kind in (*KEPT, "trained")]
        return sections.Study(
            first.study or first.id,
            title + (f" ({again})" if again > 1 else ""),
            tuple(
                sections.answered(s, mine, f"master seed {i}" if len(seeds) > 1 else "")
                for i, same in enumerate(seeds, 1)
                for s in same
            ),
            tuple(line for same in seeds for line in _ratios(store, mine, same)),
            shown(main),
            shown([d for d in drawings if d not in main]),
            sections.runs_of(mine, links),
        )

    made_at = [r.origin.started for r in records if r.origin.started > 0]
    span = (min(made_at), max(made_at)) if made_at else ()
    days = list(dict.fromkeys(map(sections.date_of, span)))
    here = Path(__file__).resolve().parent / "html"
    environment = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=_plain,
    )
    text = environment.get_template("page.html.j2").render(
        version=__version__,
        store=store.root.resolve().name,
        count=f"{len(summaries)} question" + "s" * (len(summaries) != 1),
        runs=f"{len(records):,}",
        dates=" to ".join(days) or "on days that are not kept",
        command=command or f"idim report {store.root.name} --html {store.root.name}/report.html",
        css=Markup((here / "page.css").read_text()),
        studies=[one(group) for group in studies(summaries)],
        overview=sections.overview(summaries),
        layout=_layout(summaries, published),
        figures=shown(overview(summaries)),
        run_heads=sections.RUN_HEADS,
        terms=sentences.TERMS,
        verdicts={str(v): v.sentence for v in Verdict},
    )
    drawer.made.close()
    return text


def _layout(summaries: Sequence[Summary], published: Published | None) -> object:
    """The published layout: heads, rows, and where the published values are from."""
    if published is None:
        return None
    from idim.report.layout import layout_frame

    frame = layout_frame(summaries, published)
    return list(frame), frame.to_numpy().tolist(), published.source


def _plain(value: object) -> object:
    """Names come from files: no control character of theirs reaches the page."""
    return printable(value) if type(value) is str else value


def _link(store: Store, key: str, home: Path) -> str:
    """Where a record lies, seen from the page."""
    path = (store.root / "runs" / f"{key}.json").resolve()
    try:
        return Path(os.path.relpath(path, home.resolve())).as_posix()
    except ValueError:  # on another drive
        return ""


def _ratios(store: Store, records: Sequence[Record], group: Sequence[Summary]) -> tuple[str, ...]:
    from idim.report.html.sections import compared

    letters = {arm.name: arm.size.letter for arm in ARMS.values() if arm.size}
    asked = [q for s in group if s.verdict.answers and (q := store.question(s.id))]
    return compared(ratios(records, asked, letters))


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
