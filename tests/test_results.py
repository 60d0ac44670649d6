"""Every kept summary is what its records say: nothing in results/ was typed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from idim.answers.summary import summarise
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
