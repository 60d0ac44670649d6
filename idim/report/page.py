"""Everything a store holds: summaries made anew from its records, figures, one table, and a page."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path

from idim.errors import expected
from idim.report import figures
from idim.report.summary import summarise, summarise_sweep
from idim.report.tables import compare_frame, search_text, sweep_text
from idim.store import Store, write_json


def note_search(store: Store, search: dict) -> None:
    """Keep the question beside the runs that answer it, so that the answer can be derived again."""
    write_json(store.root / "searches" / f"{search['id']}.json", search)


def render(store: Store) -> tuple[list[dict], list[Path]]:
    """Derive every summary and draw every figure; returns the summaries and the figures' paths."""
    records = store.all()
    questions = [json.loads(p.read_text()) for p in sorted((store.root / "searches").glob("*.json"))]
    if not questions:
        raise expected("store", "at least one search or sweep", f"{store.root} has none")
    summaries, paths = [], []
    for q in questions:
        make = summarise_sweep if q["arm"] == "lora" else summarise
        summary = make(records, q) | {"study": q["study"], "id": q["id"]}
        write_json(store.root / "summaries" / f"{q['id']}.json", summary)
        summaries.append(summary | {"keys": set(q["keys"])})
    for study in dict.fromkeys(s["study"] for s in summaries):
        group = [s for s in summaries if s["study"] == study and s["full"]]
        searches = [s for s in group if s["arm"] != "lora" and s["curve"]]
        if searches:
            paths.append(figures.score_against_d(records, searches, store.root / "figures" / f"d-{searches[0]['id']}.png"))
        for sweep in (s for s in group if s["arm"] == "lora"):
            paths.append(figures.score_against_rank(records, sweep, searches, store.root / "figures" / f"rank-{sweep['id']}.png"))
    return summaries, paths


def write_html(store: Store, summaries: list[dict], paths: list[Path], file: Path) -> None:
    """One page with nothing outside it: the table, then each answer, then the figures."""
    texts = [sweep_text(s) if s["arm"] == "lora" else search_text(s) for s in summaries]
    images = [f'<img alt="{p.stem}" src="data:image/png;base64,{base64.b64encode(p.read_bytes()).decode()}">' for p in paths]
    body = "\n".join([
        compare_frame(summaries).to_html(index=False, float_format=lambda v: f"{v:.4f}", border=0),
        *images, *(f"<pre>{html.escape(t)}</pre>" for t in texts),
    ])
    style = "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}img{max-width:100%}" \
            "td,th{padding:.2em .7em;text-align:left}pre{background:#f5f5f5;padding:1em;overflow:auto}table{border-collapse:collapse}" \
            "tr:nth-child(even){background:#f7f7f7}"
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Intrinsic dimension</title><style>{style}</style>' \
           f"<h1>Intrinsic dimension of fine-tuning</h1>{body}</html>\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page)
    except OSError as error:
        raise expected("--html", "a file that can be written", f"{file}: {error.strerror}") from None
