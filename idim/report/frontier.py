"""Score against trained numbers: the table and the sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from idim.answers.frontier import Place, cheapest
from idim.answers.imported import Imported
from idim.values.findings import Levels


def title(model: str, task: str, protocol: str, steps: int) -> str:
    """What was measured."""
    return f"{model} × {task}, protocol {protocol}, {steps} steps"


def frontier_text(
    head: str, found: Sequence[Place], levels: Levels, times: dict[str, tuple[float, float | None]]
) -> str:
    """Every arm at every size, what each costs, and which passes with the fewest numbers.

    Args:
        head: what was measured.
        found: smallest first.
        levels: full fine-tuning and the thresholds.
        times: of an arm, its evaluation unmerged and merged, over that of the untouched model.
    """
    rows = []
    for p in found:
        unmerged, merged = times.get(p.arm, (None, None))
        rows.append(
            {
                "arm": p.arm,
                "size": f"{p.letter} = {p.size}" if p.letter else "",
                "trained": f"{p.trained:,}",
                "mean": f"{p.mean:.4f}",
                "±": "" if p.error is None else f"{p.error:.4f}",
                "n": p.n,
                "of gain": f"{p.share:.0%}",
                "P(passes)": f"{p.probability:.2f}",
                "file MB": f"{p.file_bytes / 1e6:.3g}",
                "peak MB": f"{p.memory / 1e6:,.0f}",
                "ms/step": f"{1e3 * p.seconds:.0f}",
                "latency": "" if unmerged is None else f"{unmerged:.2f}",
                "merged": "" if merged is None else f"{merged:.2f}",
            }
        )
    frame = pd.DataFrame(rows)
    for name in ("latency", "merged"):
        if rows and not frame[name].any():
            frame = frame.drop(columns=name)
    least = cheapest(found)
    answer = "no arm surely passes at a size that was tried"
    if least is not None:
        at = f" at {least.letter} = {least.size}" if least.letter else ""
        answer = f"the fewest numbers that surely pass: {least.trained:,}, by {least.arm}{at}"
    return "\n".join(
        [
            head,
            f"full fine-tuning {levels.full:.4f} (n = {levels.n}); chance {levels.chance:.4f}; "
            f"a run passes from {levels.tau:.4f}",
            "",
            frame.to_string(index=False),
            "",
            answer,
            "trained: with the head, where it is trained freely. latency: an evaluation over the "
            "untouched model's.",
        ]
    )


def imported_frame(results: Sequence[Imported]) -> pd.DataFrame:
    """One row a published result."""
    return pd.DataFrame(
        {
            "method": r.method,
            "model": r.model,
            "trained": f"{r.trained:,}",
            r.metric: f"{r.score:.3f}",
            "runs": 1,
            "seconds": f"{r.seconds:,.0f}",
            "file MB": f"{r.file_bytes / 1e6:.3g}",
        }
        for r in results
    )
