"""How figures look: a column wide, colours that the colour-blind tell apart, legends below."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from idim.arms import ARMS, FULL
from idim.errors import printable

#: Inches: a column of a paper in two columns.
COLUMN = 3.4
#: Lines and letters; what stands behind them; the faintest.
INK, MID, FAINT = "#000000", "#595959", "#a6a6a6"
#: One colour and marker an arm, readable without colour too (Okabe & Ito's palette).
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("*", "o", "s", "^", "v", "D", "P", "X")
#: The longest name of a model or a task in a title.
_NAME = 44
#: Inches of a legend's row.
_ROW = 0.13
#: The most labels on an axis of sizes, one a column wide.
_LABELS = 7

#: From low to high: apart for the colour-blind and in grey, on a light ground and on a dark one.
SCALE = LinearSegmentedColormap.from_list("idim", ["#0072B2", "#E69F00"])

_LOOK: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    # A folder may have two dollar signs, between which matplotlib would read mathematics.
    "text.parse_math": False,
    # Letters stay letters, and the same figure has the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "idim",
    "pdf.fonttype": 42,
}


def look() -> AbstractContextManager[None]:
    """The style, while a figure is drawn and while it is written."""
    return matplotlib.rc_context(_LOOK)  # type: ignore[arg-type] # each name of it is known


def drawn(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """A function that draws, in this style."""

    @wraps(draw)
    def styled(*args: Any, **more: Any) -> Figure:
        with look():
            return draw(*args, **more)

    return styled


def _saved(figure: Figure, **how: Any) -> bytes:
    out = io.BytesIO()
    with look(), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")
        figure.savefig(out, **how)
    return out.getvalue()


def png(figure: Figure) -> bytes:
    """A figure as a picture, 1,020 dots wide for a column."""
    return _saved(figure, format="png", dpi=300)


def svg(figure: Figure) -> bytes:
    """A figure as vectors, without a ground of its own, and with no date."""
    return _saved(figure, format="svg", transparent=True, metadata={"Date": None})


def pdf(figure: Figure) -> bytes:
    """A figure as vectors for LaTeX, with no date."""
    return _saved(figure, format="pdf", metadata={"CreationDate": None})


#: The forms that a figure can be written in, by their endings.
FORMS: dict[str, Callable[[Figure], bytes]] = {"png": png, "svg": svg, "pdf": pdf}


def style(arm: str) -> tuple[str, str]:
    """The colour and the marker of an arm. No two arms have both in common."""
    around, at = divmod(list(ARMS).index(arm), len(_COLOURS))
    return _COLOURS[at], _MARKERS[(at + around) % len(_MARKERS)]


def shown(arm: str) -> str:
    """What a legend calls an arm."""
    return "full fine-tuning" if arm == FULL else ARMS[arm].shown


def short(name: str) -> str:
    """A long path keeps its end, where paths differ."""
    name = " ".join(printable(name).split())
    return name if len(name) <= _NAME else "…" + name[-_NAME:]


def panels(n: int, height: float, **how: Any) -> tuple[Figure, Sequence[Axes]]:
    """A figure of ``n`` panels above each other, each ``height`` inches."""
    figure = Figure(figsize=(COLUMN, n * height + 0.4), layout="constrained")
    return figure, figure.subplots(n, 1, squeeze=False, **how)[:, 0]


def size_axis(axes: Axes, sizes: Sequence[float], own: bool = True) -> None:
    """A logarithmic axis whose labels do not run into each other.

    Few sizes are labelled themselves, unless ``own`` is false; many by round numbers.
    """
    tried = sorted({s for s in sizes if s > 0})
    axes.set_xscale("log", base=10)
    axes.xaxis.set_minor_locator(NullLocator())
    # 1k, 1M, 1G: with no mathematics in a label.
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if not tried:
        return
    if own and len(tried) <= _LABELS and all(f"{s:.3g}" == f"{s:g}" for s in tried):
        axes.xaxis.set_major_locator(FixedLocator(_apart(tried)))
        return
    decades = math.log10(tried[-1] / tried[0])
    if decades < 0.6:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        return
    subs = (1.0, 2.0, 5.0) if decades <= 2 else (1.0, 3.0) if decades <= 3.2 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))


def _apart(tried: list[float]) -> list[float]:
    """Those that lie at least a tenth of the axis apart. The last one stays."""
    room = math.log(tried[-1] / tried[0]) / 10
    shown: list[float] = []
    for size in reversed(tried):
        if not shown or math.log(shown[-1] / size) >= room:
            shown.append(size)
    return shown[::-1]


def legend(figure: Figure, *axes: Axes, columns: int = 2) -> None:
    """One legend below all panels, where it hides nothing. Equal names are told once."""
    named: dict[str, Any] = {}
    for each in axes or figure.axes:
        handles, labels = each.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    if named:
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns)
        # It takes no room from the panels.
        rows = math.ceil(len(named) / columns)
        figure.set_figheight(figure.get_figheight() + _ROW * rows)


def nothing(axes: Axes, why: str) -> None:
    """An empty panel that says why."""
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color=MID)
    axes.set(xticks=[], yticks=[])
