"""Draw the eigenvalues of P^T P for every family.

    python scripts/plot_spectra.py

If all eigenvalues are equal, P moves all directions alike. The script writes spectra.png and
spectra.json into --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import projections
from idim.store import write_json

#: Not a multiple of a block and not a power of two, so it is no family's best case.
D = 5_000
FRACTIONS = (0.02, 0.2)


def eigenvalues(family: str, d: int) -> list[float]:
    """The eigenvalues of P^T P, from the smallest to the largest."""
    matrix = projections.make(family, D, d, seed=1, dtype=torch.float64).as_matrix()
    return torch.linalg.eigvalsh(matrix.T @ matrix).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="results/projections")
    out = Path(parser.parse_args().out)
    found = {
        family: {str(f): eigenvalues(family, round(f * D)) for f in FRACTIONS}
        for family in projections.KINDS
    }
    figure, panels = plt.subplots(
        1, len(FRACTIONS), figsize=(9.5, 3.6), sharey=True, layout="constrained"
    )
    styles = dict(
        zip(
            projections.KINDS,
            (("-", 4), ("--", 1.2), ("--", 1.8), (":", 1.8), ("-", 1.8), ("--", 1.8)),
            strict=True,
        )
    )
    for panel, f in zip(panels, FRACTIONS, strict=True):
        panel.axhspan(
            (1 - f**0.5) ** 2,
            (1 + f**0.5) ** 2,
            color="0.92",
            zorder=0,
            label="Marchenko-Pastur's range",
        )
        for family, values in found.items():
            y = values[str(f)]
            line, width = styles[family]
            panel.plot(
                [i / (len(y) - 1) for i in range(len(y))], y, line, linewidth=width, label=family
            )
        panel.set(
            title=f"d = {round(f * D):,} of D = {D:,}",
            xlabel="eigenvalues in order (fraction)",
            yscale="log",
        )
    panels[0].set(ylabel=r"eigenvalue of $P^T P$", yticks=[0.1, 0.2, 0.5, 1, 2, 4], ylim=(0.05, 5))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].yaxis.set_minor_formatter("")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(out / "spectra.png", dpi=130)
    rows = [
        {"family": family, "d": round(float(f) * D), "D": D, "lowest": min(v), "highest": max(v)}
        for family, by in found.items()
        for f, v in by.items()
    ]
    write_json(out / "spectra.json", {"rows": rows})
    for row in rows:
        span = f"{row['lowest']:.4f} to {row['highest']:.4f}"
        print(f"{row['family']:<15}d = {row['d']:<6}eigenvalues {span}")


if __name__ == "__main__":
    main()
