"""The head alone: what an arm that trains the head freely is at size 0."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from idim.cli import app
from idim.config import Config
from idim.report.tables import summary_text
from idim.resolve import resolve
from idim.values.search_summary import SearchSummary
from idim.values.verdict import Verdict

#: Rates are given, so that only the head's is tuned.
WORDS = [
    "--model",
    "mlp:64-32-10",
    "--task",
    "digits",
    "--arm",
    "lora",
    "--max-steps",
    "100",
    "--learning-rate",
    "0.03",
    "--lora-learning-rate",
    "0.08",
    "--max-runs",
    "8",
]


def idim(*words) -> dict:
    result = CliRunner().invoke(app, ["search", *WORDS, *map(str, words), "--json"])
    assert result.exit_code in (0, 3), result.stderr
    return json.loads(result.stdout)


def test_where_the_head_alone_passes_no_rank_is_needed(tmp_path):
    found = idim("--threshold", 0.5, "--out", tmp_path)
    assert found["verdict"] == "head_alone" and found["curve"] == []
    floor = found["checks"]["floor"]
    assert floor["probability"] >= 0.98 and floor["n"] >= 2 and 0.5 < floor["share"] < 1.1
    # No rank was trained.
    assert set(found["runs"]) == {"baseline", "check", "floor", "tune"}
    again = SearchSummary.from_json(found)
    assert again.to_json() == found
    text = summary_text(again)
    assert "head_alone — the head alone passes: r50 is 0" in text
    assert "check, the head alone: 0." in text


def test_where_it_does_not_the_search_goes_on(tmp_path):
    found = idim("--threshold", 0.97, "--out", tmp_path)
    assert found["verdict"] != "head_alone" and found["curve"]
    assert found["checks"]["floor"]["probability"] < 0.98
    # It is asked once, and a resumed search finds its runs.
    assert idim("--threshold", 0.97, "--out", tmp_path) == found


@pytest.mark.parametrize(
    ("arm", "floor"),
    [("lora", "head"), ("bottleneck", "head"), ("topk", "head"), ("did", ""), ("said", "")],
)
def test_arms_that_free_the_head_have_a_floor(arm, floor):
    assert resolve(Config("mlp:64-16-10", "digits", arm=arm)).floor == floor


def test_the_verdict_answers():
    assert Verdict.HEAD_ALONE.answers and Verdict.HEAD_ALONE.of("p", "p90") == (
        "the head alone passes: p90 is 0"
    )


@pytest.mark.parametrize(("threshold", "verdict"), [(0.5, "reached"), (0.99, "not_reached")])
def test_an_arm_without_a_size_passes_or_not(threshold, verdict, tmp_path):
    words = ["bitfit" if word == "lora" else word for word in WORDS]
    words[words.index("--lora-learning-rate")] = "--arm-learning-rate"
    asked = ["search", *words, "--threshold", str(threshold), "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, asked)
    found = json.loads(result.stdout)
    assert found["verdict"] == verdict and found["letter"] == ""
    assert result.exit_code == (0 if verdict == "reached" else 3)
    point = found["checks"]["point"]
    assert point["n"] >= 3 and (point["probability"] > 0.98) == (verdict == "reached")
    (row,) = found["curve"]
    assert row["n"] == point["n"] and row["mean"] == pytest.approx(point["mean"])
    again = SearchSummary.from_json(found)
    assert again.to_json() == found and "probability that it passes" in summary_text(again)
    # The same question again trains nothing.
    assert json.loads(CliRunner().invoke(app, asked).stdout) == found
