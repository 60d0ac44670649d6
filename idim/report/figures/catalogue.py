"""Every figure of a store: its name, what it shows in words, and how it is drawn."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from idim.arms import ARMS
from idim.report.figures import captions
from idim.report.figures.marked import scaled
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What lies in the store's folder of figures, beside what a page and a paper show.
KEPT = ("d", "rank")


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Attributes:
        kind: d, rank, trained, rates, learning, scales or intervals.
        id: of the question, or of the study, that it is about.
        title: a few words.
        caption: what it shows, in sentences that stand for the picture.
        summaries: what it is drawn from, with their runs.
        make: draws it as a figure of matplotlib, which is loaded only then.
    """

    kind: str
    id: str
    title: str
    caption: str
    summaries: tuple[Summary, ...]
    make: Callable[[], Figure]

    @property
    def name(self) -> str:
        """The name of its file, without an ending."""
        return f"{self.kind}-{self.id}"


def overview(summaries: Sequence[Summary]) -> list[Drawing]:
    """All answers of a store side by side, one figure for each thing that was asked for."""
    found = []
    for name in dict.fromkeys(s.asked for s in summaries if s.letter):
        rows = [s for s in summaries if s.asked == name and captions.bounded(s)]
        if len(rows) > 1:
            found.append(
                Drawing(
                    "intervals",
                    name.replace(" ", "-"),
                    f"{name} side by side",
                    captions.of_intervals(rows),
                    tuple(rows),
                    partial(_drawn, "intervals", "figure_of_intervals", rows),
                )
            )
    return found


#: Of a search, by its id: the family of P, D, d, and the eigenvalues of P^T P.
Spectra = Mapping[str, tuple[str, int, int, tuple[float, ...]]]


def of_study(
    records: Sequence[Record], summaries: Sequence[Summary], spectra: Spectra | None = None
) -> list[Drawing]:
    """The figures of one model, task and budget, each curve once.

    Args:
        records: all at hand.
        summaries: of one study.
        spectra: of the projections that searches used, where somebody computed them.
    """
    group = [s for s in summaries if s.levels and s.curve]
    over_d = [s for s in group if s.letter == "d"]
    found = [_against_size(records, over_d)] if over_d else []
    found += [_against_size(records, [s]) for s in group if s.letter not in ("d", "")]
    if len({s.arm for s in group}) > 1:
        found.append(_trained(records, group))
    for s in group:
        found += _training(records, s)
        if spectra and s.id in spectra:
            found.append(
                Drawing(
                    "spectrum",
                    s.id,
                    f"Spectrum of the projection, {ARMS[s.arm].shown}",
                    captions.of_spectrum(*spectra[s.id]),
                    (s,),
                    partial(_drawn, "spectrum", "figure_of_spectrum", *spectra[s.id]),
                )
            )
    return found


def _against_size(records: Sequence[Record], some: Sequence[Summary]) -> Drawing:
    first = some[0]
    over_d = first.letter == "d"

    name = "d" if over_d else f"{ARMS[first.arm].shown}'s {first.letter}"
    return Drawing(
        KEPT[0] if over_d else KEPT[1],
        first.id,
        f"{captions.upper(first.metric)} against {name}",
        captions.against_size(some),
        tuple(some),
        partial(_drawn, "against_size", "figure_against_size", records, some),
    )


def _trained(records: Sequence[Record], group: Sequence[Summary]) -> Drawing:
    def make() -> Figure:
        from idim.report.figures.trained import figure_against_trained, reached

        first = group[0]
        fits = [
            (s.arm, s.fit)
            for s in group
            if s.letter == "d" and isinstance(s, SearchSummary) and s.fit
        ]
        rows = reached(records, group)
        title = f"{first.model} × {first.task}, {first.protocol}"
        return figure_against_trained(title, rows, first.levels, first.rule, first.metric, (), fits)

    first = group[0]
    return Drawing(
        "trained",
        first.study or first.id,
        f"The frontier: {first.metric} against trained numbers",
        captions.against_trained(group),
        tuple(group),
        make,
    )


def _training(records: Sequence[Record], s: Summary) -> list[Drawing]:
    """Rates, learning curves and scales of one search, where its runs have them."""
    mine, name = [r for r in records if r.key in s.keys], ARMS[s.arm].shown
    found = []
    tried = [r for r in mine if r.kind in (Purpose.TUNE, Purpose.RATE)]
    if tried and s.letter:
        found.append(
            Drawing(
                "rates",
                s.id,
                f"Rates tried and used, {name}",
                captions.of_rates(s, tried),
                (s,),
                partial(_drawn, "training", "figure_of_rates", mine, s),
            )
        )
    found.append(
        Drawing(
            "learning",
            s.id,
            f"Learning curves, {name}",
            captions.of_learning(s, mine),
            (s,),
            partial(_drawn, "training", "figure_of_learning", mine, s),
        )
    )
    if scaled(mine):
        found.append(
            Drawing(
                "scales",
                s.id,
                f"Learned scales by layer, {name}",
                captions.of_scales(s, scaled(mine)),
                (s,),
                partial(_drawn, "scales", "figure_of_scales", mine, s),
            )
        )
    return found


def _drawn(file: str, name: str, *what: object) -> Figure:
    """Draw by a function of another file, which loads matplotlib."""
    made: Figure = getattr(importlib.import_module(f"idim.report.figures.{file}"), name)(*what)
    return made
