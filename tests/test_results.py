"""Every kept summary is what its records say: nothing in results/ was typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from idim.report.summary import summarise, summarise_sweep
from idim.store import Store

RESULTS = Path(__file__).resolve().parent.parent / "results"
KEPT = sorted(RESULTS.glob("*/summaries/*.json"))


def test_there_are_kept_results():
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_a_summary_follows_from_its_records(path):
    store = Store(path.parent.parent, create=False)
    question = json.loads((store.root / "searches" / path.name).read_text())
    derive = summarise_sweep if question["arm"] == "lora" else summarise
    kept = json.loads(path.read_text())
    again = json.loads(json.dumps(derive(store.all(), question)))
    assert {k: kept[k] for k in again} == again


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/runs/*.json")), ids=lambda p: p.stem)
def test_a_record_is_whole_and_says_nothing_of_the_machine_it_was_made_on(path):
    text = path.read_text()
    record = json.loads(text)
    assert record["key"] == path.stem and record["schema"] == 1
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
