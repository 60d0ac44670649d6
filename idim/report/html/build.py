"""Puts the page together: its values, and the template that takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from idim import __version__
from idim.answers.published import Published
from idim.answers.ratio import ratios
from idim.arms import ARMS
from idim.errors import IdimError, printable
from idim.made import Made
from idim.report.drawer import Drawer, studies
from idim.report.figures.catalogue import KEPT, Drawing, Spectra, of_study, overview
from idim.report.figures.marked import by_master_seed
from idim.report.html import sections, sentences
from idim.report.layout import layout_frame, source_of
from idim.report.svg import inline
from idim.store import Store
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.verdict import Verdict

_HERE = Path(__file__).resolve().parent


class Builder:
    """Makes the page of one store.

    Args:
        store: is read, and keeps the figures.
        made: what is made already.
        home: the folder that the page will lie in, for its links to the records.
        spectra: of the projections, where somebody computed them.
    """

    def __init__(self, store: Store, made: Made | None, home: Path, spectra: Spectra):
        self._store, self._home, self._spectra = store, home, spectra
        self.drawer = Drawer(store, made)
        self._records = self.drawer.records
        self._by_key = {r.key: r for r in self._records}

    def page(self, summaries: Sequence[Summary], command: str, published: Published | None) -> str:
        """The page as text: a function of the store, the code and these arguments."""
        environment = Environment(
            loader=FileSystemLoader(_HERE),
            autoescape=True,
            trim_blocks=True,
            keep_trailing_newline=True,
            finalize=_plain,
        )
        name = self._store.root.name
        return environment.get_template("page.html.j2").render(
            version=__version__,
            store=self._store.root.resolve().name,
            count=f"{len(summaries)} question" + "s" * (len(summaries) != 1),
            runs=f"{len(self._records):,}",
            dates=self._days(),
            command=command or f"idim report {name} --html {name}/report.html",
            css=Markup((_HERE / "page.css").read_text()),
            studies=self._studies(summaries),
            overview=sections.overview(summaries),
            layout=_layout(summaries, published),
            figures=self._shown(overview(summaries)),
            run_heads=sections.RUN_HEADS,
            terms=sentences.TERMS,
            verdicts={str(v): v.sentence for v in Verdict},
        )

    def _days(self) -> str:
        """When the runs were made."""
        made = [r.origin.started for r in self._records if r.origin.started > 0]
        if not made:
            return "on days that are not kept"
        return " to ".join(dict.fromkeys(map(sections.date_of, (min(made), max(made)))))

    def _studies(self, summaries: Sequence[Summary]) -> list[sections.Study]:
        found: list[sections.Study] = []
        for group in studies(summaries):
            title = _title(group)
            again = sum(s.title.partition(" (")[0] == title for s in found) + 1
            found.append(self._study(group, f"{title} ({again})" if again > 1 else title))
        return found

    def _study(self, group: Sequence[Summary], title: str) -> sections.Study:
        keys = frozenset[str]().union(*(s.keys for s in group))
        mine = [r for r in self._records if r.key in keys]
        seeds = by_master_seed(mine, group)
        drawings = of_study(mine, group, self._spectra)
        main = [d for d in drawings if d.kind in (*KEPT, "trained")]
        return sections.Study(
            group[0].study or group[0].id,
            title,
            tuple(
                sections.answered(s, mine, f"master seed {i}" if len(seeds) > 1 else "")
                for i, same in enumerate(seeds, 1)
                for s in same
            ),
            tuple(line for same in seeds for line in self._ratios(mine, same)),
            self._shown(main),
            self._shown([d for d in drawings if d not in main]),
            sections.runs_of(mine, {r.key: self._link(r.key) for r in mine}),
        )

    def _shown(self, drawings: Sequence[Drawing]) -> tuple[sections.Figure, ...]:
        """Figures as parts of the page; where one cannot be drawn, why."""
        found = []
        for drawing in drawings:
            try:
                svg = self.drawer.drawn(drawing, "svg")[1]
            except IdimError as error:
                found.append(sections.Figure(drawing.title, str(error), ""))
                continue
            part = inline(svg, drawing.name, drawing.caption, self._by_key)
            found.append(sections.Figure(drawing.title, drawing.caption, Markup(part)))
        return tuple(found)

    def _link(self, key: str) -> str:
        """Where a record lies, seen from the page."""
        path = (self._store.root / "runs" / f"{key}.json").resolve()
        try:
            return Path(os.path.relpath(path, self._home.resolve())).as_posix()
        except ValueError:  # on another drive
            return ""

    def _ratios(self, records: Sequence[Record], group: Sequence[Summary]) -> tuple[str, ...]:
        letters = {arm.name: arm.size.letter for arm in ARMS.values() if arm.size}
        asked = [q for s in group if s.verdict.answers and (q := self._store.question(s.id))]
        return sections.compared(ratios(records, asked, letters))


def _title(group: Sequence[Summary]) -> str:
    """The model, the task, the protocol and the budget."""
    first = group[0]
    steps = next((s.steps for s in group if isinstance(s, SearchSummary)), 0)
    return f"{first.model} × {first.task}, {first.protocol}" + (
        f", {steps:,} steps" if steps else ""
    )


def _layout(summaries: Sequence[Summary], published: Published | None) -> object:
    """The published layout: heads, rows, and where the published values are from."""
    if published is None:
        return None
    frame = layout_frame(summaries, published)
    return list(frame), frame.to_numpy().tolist(), source_of(published, summaries)


def _plain(value: object) -> object:
    """Names come from files: no control character of theirs reaches the page."""
    return printable(value) if type(value) is str else value
