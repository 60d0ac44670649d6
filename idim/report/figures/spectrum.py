"""The eigenvalues of P^T P: whether P moves all directions alike."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from idim.report.style import INK, MID, drawn, legend, panels


@drawn
def figure_of_spectrum(family: str, D: int, d: int, values: Sequence[float]) -> Figure:
    """All eigenvalues in order, or the two ends, and the range of a Gaussian matrix."""
    figure, (axes,) = panels(1, 1.7)
    root = (d / D) ** 0.5
    axes.axhspan(
        (1 - root) ** 2,
        (1 + root) ** 2,
        color=MID,
        alpha=0.2,
        lw=0,
        label="a Gaussian matrix's range",
    )
    places = [i / max(len(values) - 1, 1) for i in range(len(values))]
    whole = len(values) == d
    axes.plot(
        places,
        values,
        "-" if whole else "o",
        color=INK,
        label=f"{family}, d = {d:,}" + ("" if whole else ": smallest and largest"),
    )
    axes.set_xlabel("eigenvalues in order (fraction)")
    axes.set_ylabel("eigenvalue of PᵀP")
    legend(figure, axes, columns=1)
    return figure
