"""What a notebook shows of a summary and of a record: a table, and the figure."""

from __future__ import annotations

import html
from collections.abc import Sequence

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.errors import printable
from idim.report.curve_frame import curve_frame
from idim.report.figures.captions import against_size
from idim.report.html import sentences
from idim.report.svg import inline
from idim.values.record import Record
from idim.values.spec import SEEDS
from idim.values.summary import Summary

#: The page's colours, where there is no page.
_LOOK = "--muted:#757575;--faint:#a6a6a6;--ground:none;max-width:34rem"


def summary_html(s: Summary, records: Sequence[Record] = ()) -> str:
    """The question, the answer, the scores by size and the curve. ``records``: its points."""
    parts = [
        f"<p>{_safe(sentences.question(s))}<br><strong>{_safe(sentences.answer(s))}</strong> "
        f"{_safe(str(s.verdict))}: {_safe(s.verdict.of(s.letter, s.asked))}.</p>"
    ]
    if s.levels and s.curve:
        parts.append(curve_frame(s).to_html(index=False, border=0, float_format="{:.4f}".format))
        from idim.report.figures.against_size import figure_against_size
        from idim.report.style import svg

        drawn = svg(figure_against_size(records, [s]))
        by_key = {r.key: r for r in records}
        parts.append(f'<div style="{_LOOK}">{inline(drawn, s.id, against_size([s]), by_key)}</div>')
    return "\n".join(parts)


def record_html(r: Record) -> str:
    """One run: what decided it, what came out, and its learning curve."""
    size, training = ARMS[r.spec.arm].size, r.training
    score = r.reason or "none" if r.score is None else f"{r.score:.4f}"
    rows = {
        "record": r.key,
        "model × task": f"{r.spec.model} × {r.spec.task}",
        "purpose": str(r.kind),
        "arm": ARMS[r.spec.arm].shown + (f", {size.letter} = {size_of(r):,}" if size else ""),
        training.metric: f"{score} ({r.status})",
        "trained numbers": f"{training.d_total:,} of {r.setting.D:,}",
        "rate": f"{r.rate:.3g}",
        "steps": f"{training.steps:,} in {training.seconds:,.1f} s on {r.setting.device}",
        "seeds": ", ".join(f"{name} {r.spec.seeds.get(name, '')}" for name in SEEDS),
    }
    cells = "".join(
        f"<tr><th style='text-align:left'>{_safe(k)}</th>"
        f"<td style='text-align:left'>{_safe(v)}</td></tr>"
        for k, v in rows.items()
    )
    table = f"<table>{cells}</table>"
    if not any(p.score is not None for p in training.curve):
        return table
    from idim.report.figures.training import figure_of_run
    from idim.report.style import svg

    about = f"{training.metric} at each evaluation of run {r.key}"
    return f'{table}<div style="{_LOOK}">{inline(svg(figure_of_run(r)), r.key, about, {})}</div>'


def _safe(text: str) -> str:
    return html.escape(printable(text))
