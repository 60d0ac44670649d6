"""Every kept summary is what its records say: nothing in results/ was typed."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
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

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
sys.path.insert(0, str(ROOT / "scripts"))
import derived  # noqa: E402 # it lies among the scripts

AGAIN = "run python scripts/write_tables.py"
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
    kind = SearchSummary if question.tuned is None else SweepSummary
    kept = kind.from_json(json.loads(text))
    assert kept == replace(made, keys=frozenset()) and kept.to_json() == made.to_json()


@pytest.mark.parametrize("folder", sorted({p.parent.parent for p in KEPT}), ids=lambda p: p.name)
def test_a_figure_shows_what_its_records_say(folder):
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
        assert looks_like(folder / "figures" / name, drawing.make()), AGAIN


def looks_like(kept: Path, figure: Figure) -> bool:
    """Dot by dot, but for what another version of a font moves."""
    old, new = (
        np.asarray(Image.open(source).convert("L"), dtype=float)
        for source in (kept, io.BytesIO(png(figure)))
    )
    return old.shape == new.shape and bool(np.sqrt(np.mean((old - new) ** 2)) < 6)


def test_a_study_tells_its_numbers():
    """Numbers of records, texts and figures are those that one command writes."""
    made = {path: json.dumps(found) for path, found in derived.numbers(RESULTS)}
    assert made and all(json.loads(t) == json.loads(p.read_text()) for p, t in made.items()), AGAIN
    texts, figures = dict(derived.texts(RESULTS)), dict(derived.figures(RESULTS))
    for path, text in texts.items():
        assert path.read_text() == text, AGAIN
    for path, figure in figures.items():
        assert looks_like(path, figure), AGAIN
    # What no study tells was printed by a command of idim.
    printed = {RESULTS / "huggingface" / "export.txt"}
    assert {*RESULTS.glob("*/*.txt")} - printed == set(texts)
    assert {*RESULTS.glob("*/*.png")} == set(figures)


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
