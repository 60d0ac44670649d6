"""Every kept summary is what its records say: nothing in results/ was typed."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idim.answers.summary import summarise
from idim.report.drawer import studies
from idim.report.figures.catalogue import KEPT as DRAWN
from idim.report.figures.catalogue import of_study
from idim.report.style import png
from idim.store import Store
from idim.values.record import SCHEMA
from idim.values.search_summary import SearchSummary
from idim.values.sweep_summary import SweepSummary

RESULTS = Path(__file__).resolve().parent.parent / "results"
KEPT = sorted(RESULTS.glob("*/summaries/*.json"))


def test_there_are_kept_results():
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_a_summary_follows_from_its_records(path):
    """Byte for byte, and through the values that rooms pass to each other."""
    store = Store(path.parent.parent, create=False)
    question = store.question(path.stem)
    made = summarise(store.all(), question)
    text = json.dumps(made.to_json(), indent=1, allow_nan=False) + "\n"
    assert text.encode() == path.read_bytes() and not store.skipped
    kind = SweepSummary if question.arm == "lora" else SearchSummary
    kept = kind.from_json(json.loads(text))
    assert kept == replace(made, keys=frozenset()) and kept.to_json() == made.to_json()


@pytest.mark.parametrize("folder", sorted({p.parent.parent for p in KEPT}), ids=lambda p: p.name)
def test_a_figure_shows_what_its_records_say(folder):
    """Dot by dot, but for what another version of a font moves."""
    records, summaries = Store(folder, create=False).all(), []
    for path in (folder / "summaries").glob("*.json"):
        question = Store(folder, create=False).question(path.stem)
        kind = SearchSummary if question.tuned is None else SweepSummary
        made = kind.from_json(json.loads(path.read_text()))
        summaries.append(replace(made, keys=frozenset(question.keys)))
    summaries.sort(key=lambda s: s.id)
    drawings = {
        f"{d.name}.png": d
        for group in studies(summaries)
        for d in of_study(records, group)
        if d.kind in DRAWN
    }
    assert {p.name for p in (folder / "figures").glob("*.png")} == set(drawings)
    for name, drawing in drawings.items():
        kept, now = (
            np.asarray(Image.open(source).convert("L"), dtype=float)
            for source in (folder / "figures" / name, io.BytesIO(png(drawing.make())))
        )
        assert kept.shape == now.shape, "run python scripts/write_tables.py"
        assert np.sqrt(np.mean((kept - now) ** 2)) < 6, "run python scripts/write_tables.py"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/runs/*.json")), ids=lambda p: p.stem)
def test_a_record_is_whole_and_says_nothing_of_the_machine_it_was_made_on(path):
    text = path.read_text()
    record = json.loads(text)
    assert record["key"] == path.stem and 1 <= record["schema"] <= SCHEMA
    assert {"kind", "status", "study", "curve", "run_info", "train_info", "meta_info"} <= set(
        record
    )
    assert set(record["run_info"]["config"]["seeds"]) == {
        "projection",
        "theta_0",
        "data",
        "dropout",
    }
    assert not any(home in text for home in ("/home/", "/root/", "/tmp/"))
    assert '"data_dir"' not in text and not re.search(r'": "/', text)
