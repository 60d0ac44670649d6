"""Draw the eigenvalues of P^T P for every family.

    python scripts/plot_spectra.py

If all eigenvalues are equal, P moves all directions alike. The script writes spectra.json,
spectra.txt and spectra.png into --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import kept
import torch
from matplotlib.figure import Figure

import projections

#: Not a multiple of a block and not a power of two, so it is no family's best case.
D = 5_000
FRACTIONS = (0.02, 0.2)
#: So many eigenvalues of a P are kept and drawn.
KEPT = 100
#: Each family's dashes and width, so that lines on one another are all seen.
LINES = (("-", 4), ("--", 1.2), ("--", 1.8), (":", 1.8), ("-", 1.8), ("--", 1.8))


def eigenvalues(family: str, d: int) -> list[float]:
    """``KEPT`` of P^T P, evenly spaced in their order, the smallest and the largest among them."""
    matrix = projections.make(family, D, d, seed=1, dtype=torch.float64).as_matrix()
    found = torch.linalg.eigvalsh(matrix.T @ matrix)
    places = torch.linspace(0, d - 1, KEPT).round().long()
    return [float(f"{value:.6g}") for value in found[places].tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/projections"))
    args = parser.parse_args()
    rows = [
        {"family": family, "d": round(f * D), "D": D, "values": eigenvalues(family, round(f * D))}
        for f in FRACTIONS
        for family in projections.KINDS
    ]
    kept.write(args.out / "spectra.json", {"rows": rows}, text, figure)


def text(found: dict) -> str:
    """The range of each family's eigenvalues."""
    return "".join(
        f"{r['family']:<15}d = {r['d']:<6}eigenvalues {r['values'][0]:.4f} to "
        f"{r['values'][-1]:.4f}\n"
        for r in found["rows"]
    )


def figure(found: dict) -> Figure:
    """A panel for each d, a line for each family."""
    sizes = sorted({r["d"] for r in found["rows"]})
    drawn = Figure(figsize=(9.5, 3.6), layout="constrained")
    panels = drawn.subplots(1, len(sizes), sharey=True)
    for panel, d in zip(panels, sizes, strict=True):
        mine = [r for r in found["rows"] if r["d"] == d]
        whole = mine[0]["D"]
        edges = [(1 + sign * (d / whole) ** 0.5) ** 2 for sign in (-1, 1)]
        panel.axhspan(*edges, color="0.92", zorder=0, label="Marchenko-Pastur's range")
        for row, (line, width) in zip(mine, LINES, strict=True):
            y = row["values"]
            x = [i / (len(y) - 1) for i in range(len(y))]
            panel.plot(x, y, line, linewidth=width, label=row["family"])
        panel.set(
            title=f"d = {d:,} of D = {whole:,}",
            xlabel="eigenvalues in order (fraction)",
            yscale="log",
        )
    panels[0].set(ylabel=r"eigenvalue of $P^T P$", yticks=[0.1, 0.2, 0.5, 1, 2, 4], ylim=(0.05, 5))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].yaxis.set_minor_formatter("")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return drawn


if __name__ == "__main__":
    main()
