"""r90: the search over whole ranks, the sweep as its grid, and what both say."""

from __future__ import annotations

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from idim.answers.search import search_summary
from idim.cli import app
from idim.config import Config
from idim.report.tables import summary_text
from idim.resolve import resolve
from idim.store import Store
from idim.values.options import Options
from idim.values.purpose import Purpose
from idim.values.recipe import Recipe
from idim.values.record import Record, Setting
from idim.values.search_summary import SearchSummary
from idim.values.spec import Spec
from idim.values.training import Status, Training

#: With rates given, so that nothing is tuned.
WORDS = [
    "--model",
    "mlp:64-16-10",
    "--task",
    "digits",
    "--max-steps",
    "100",
    "--baselines",
    "2",
    "--learning-rate",
    "0.03",
    "--lora-learning-rate",
    "0.08",
]


def idim(*words) -> dict:
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code in (0, 3), result.stderr
    return json.loads(result.stdout)


def test_r90_is_found_by_the_posterior_and_a_sweep_shares_its_runs(tmp_path):
    store = Store(tmp_path)
    search = ["search", *WORDS, "--arm", "lora", "--max-runs", 8, "--out", tmp_path, "--json"]
    found = idim(*search)
    assert found["letter"] == "r" and found["design"] == "posterior"
    assert {"baseline", "search", "check", "rate", "tune", "floor"} == set(found["runs"])
    assert found["checks"]["floor"]["n"] >= 2
    for name in ("r50", "r75", "r90", "r90_raw"):
        answer = found[name]
        ends = (answer["low"] or 1, answer["estimate"], answer["high"] or 16)
        assert answer["level"] == 0.9 and all(isinstance(v, int) for v in ends)
        assert 1 <= ends[0] <= ends[1] <= ends[2] <= 16
    tried = {row["r"]: row for row in found["curve"]}
    # Of 64 x 16 weights, beside the head and the bias.
    assert all(row["d_total"] == (64 + 16) * r + 170 for r, row in tried.items())
    assert set(found["checks"]["rate"]) == {"0.5", "2"} and found["checks"]["budget"]["pairs"] >= 2
    again = SearchSummary.from_json(found)
    assert again.to_json() == found
    text = summary_text(again)
    assert "r90, chance-corrected" in text and "; smaller by 0.32" in text and "d90" not in text

    near = [r for r in store.all() if r.kind == Purpose.SEARCH and r.spec.stop is None]
    ranks = sorted({r.spec.settings["rank"] for r in near})[:2]
    swept = idim(
        "sweep", *WORDS, "--no-checks", "--ranks", ",".join(map(str, ranks)), "--repeats", 1,
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert swept["design"] == "grid" and swept["interval"]["level"] == 0.9 and swept["fit"]
    assert [row["r"] for row in swept["curve"]] == ranks
    one, other = (set(store.question(s["id"]).keys) for s in (found, swept))
    shared = {r.key for r in near if r.spec.settings["rank"] in ranks}
    # The first run at each rank is the same run, and so are both full runs.
    assert len(one & other & shared) == len(ranks) and len(other) == len(ranks) + 2
    assert other <= one


QUESTION = dataclasses.replace(
    resolve(Config("mlp:64-16-10", "digits", arm="lora", max_steps=60)).question(), finished=True
)


def records(scores: dict[int, float], head: str) -> list[Record]:
    """Three full runs, and four at each rank."""
    made = []
    for rank, score in [(0, 0.95)] * 3 + [(r, s) for r, s in scores.items() for _ in range(4)]:
        arm, kind = ("lora", Purpose.SEARCH) if rank else ("full", Purpose.BASELINE)
        settings = {"rank": rank, "lora_alpha": 0, "targets": []} if rank else {}
        spec = Spec(
            QUESTION.model, QUESTION.task, arm, Recipe(0.1), Options(), "trust", kind, "measure",
            {"data": len(made)}, settings,
        )  # fmt: skip
        said = {"rank": rank, "alpha_rule": "alpha = 2 r", "targets": ["1"], "head": head}
        training = Training(
            QUESTION.metric,
            score + 0.002 * (len(made) % 3),
            0.1,
            0.1,
            d_total=80 * rank,
            adaptation=said if rank else {},
        )
        key = f"{len(made)}"
        made.append(Record(spec, Status.OK, training, Setting(1210), key=key))
    return made


def summary_of(made: list[Record]) -> SearchSummary:
    """What a search says that made these runs."""
    return search_summary(made, dataclasses.replace(QUESTION, keys=tuple(r.key for r in made)))


@pytest.mark.parametrize(
    ("head", "remark"),
    [
        ("trained freely, counted", "passes at r = 1 already: the head alone may do"),
        ("none", "passes at r = 1 already"),
    ],
)
def test_where_the_smallest_rank_passes_the_verdict_says_so(head, remark):
    found = summary_of(records({1: 0.94, 2: 0.945, 4: 0.945}, head))
    assert found.verdict == "reached" and found.remark == remark
    assert summary_text(found).splitlines()[0].endswith(f"reached — {remark}")
    assert found.adapted == {"alpha_rule": "alpha = 2 r", "targets": ["1"], "head": head}


def test_elsewhere_it_says_nothing_of_the_head_and_tells_r90_in_whole_ranks():
    head = "trained freely, counted"
    found = summary_of(records({1: 0.4, 2: 0.6, 4: 0.93, 8: 0.945}, head))
    assert not found.remark and 2 <= found.answer.low <= 4 <= found.answer.high < 8
    kept = SearchSummary.from_json(json.loads(json.dumps(found.to_json())))
    assert kept == dataclasses.replace(found, keys=frozenset())
    answer = found.answer
    shown = f"r90, chance-corrected threshold {found.levels.tau_chance:.4f}: "
    assert f"{shown}{answer.estimate} [{answer.low}, {answer.high}]" in summary_text(found)
    assert "some r passes, and a smaller one does not" in summary_text(found)
