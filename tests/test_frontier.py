"""Every arm on one scale of trained numbers, published results, and a recommendation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import peft
import pytest
from typer.testing import CliRunner

from idim import arms
from idim.answers import frontier
from idim.answers.imported import read
from idim.answers.recommend import recommend
from idim.cli import app
from idim.errors import IdimError
from idim.store import Store
from idim.values.arm import ModelFacts
from idim.values.findings import Checks, Cost, Crossing, Tried
from idim.values.search_summary import SearchSummary
from idim.values.verdict import Verdict

SHARED = Path(__file__).resolve().parents[2] / "shared/reference/peft_method_comparison"
NET = ["--model", "mlp:64-32-10", "--task", "digits", "--max-steps", "60"]
RATES = ["--learning-rate", "0.03", "--no-tune", "--no-checks"]


def idim(*words, codes=(0, 3)):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code in codes, (result.exit_code, result.stderr)
    return result


def published(folder: Path, **changes) -> Path:
    value = {
        "run_info": {"train_config": {"model_id": "someone/a-model"}},
        "train_info": {
            "metrics": [{"step": 1}, {"test accuracy": 0.25, "test loss": 1.0}],
            "num_trainable_params": 1000,
            "train_time": 12.5,
            "file_size": 4000,
        },
    }
    value["train_info"] |= changes
    path = folder / "lora--a-model-3B-rank4.json"
    path.write_text(json.dumps(value))
    return path


def test_a_frontier_names_the_arm_with_the_fewest_numbers(tmp_path):
    words = ["--arms", "lora:1/4,did:16/900,bitfit,head", "--repeats", 2, "--baselines", 2]
    words += ["--imported", published(tmp_path), "--out", tmp_path / "out"]
    found = json.loads(idim("frontier", *NET, *RATES, *words, "--json").stdout)
    places = found["places"]
    assert {(p["arm"], p["size"]) for p in places} == {
        ("lora", 1), ("lora", 4), ("did", 16), ("did", 900), ("bitfit", 0), ("head", 0),
    }  # fmt: skip
    assert all(p["n"] == 2 or p["arm"] in ("bitfit", "head") for p in places)
    trained = [p["trained"] for p in places]
    assert trained == sorted(trained)
    assert {p["arm"]: p["trained"] for p in places if not p["size"]} == {"head": 330, "bitfit": 362}
    least = found["cheapest"]
    passing = [p for p in places if p["probability"] >= frontier.SURE]
    assert least == min(passing, key=lambda p: p["trained"])
    assert set(found["latency"]) == {"lora", "did", "bitfit", "head"}
    assert all(v["unmerged"] > 0 and v["merged"] > 0 for v in found["latency"].values())
    (figure,) = (tmp_path / "out/figures").glob("frontier-*.png")
    assert figure.stat().st_size > 10_000
    # Again it trains nothing, and says it as a table.
    before = len(list((tmp_path / "out/runs").iterdir()))
    text = idim("frontier", *NET, *RATES, *words, "--no-latency").stdout
    assert f"fewest numbers that surely pass: {least['trained']}" in text and "latency " not in text
    assert len(list((tmp_path / "out/runs").iterdir())) == before


def test_an_arm_that_does_not_fit_is_left_out_with_its_reason(tmp_path):
    words = ["--arms", "head,llamaadapter", "--baselines", 2, "--no-latency", "--out", tmp_path]
    found = json.loads(idim("frontier", *NET, *RATES, *words, "--json").stdout)
    assert [p["arm"] for p in found["places"]] == ["head"]
    (left,) = found["left_out"]
    assert left.startswith("llamaadapter: model: expected a transformers model for text")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nosuch", "--arms: expected one of did, said, lora"),
        ("full", "--arms: expected one of did, said, lora"),
        ("bitfit:3", "--arms: expected no sizes for bitfit, which has none"),
        ("lora:", "--arms: expected an arm and its sizes, as lora:1/8"),
        ("lora:1/x", "--arms: expected an arm and its sizes, as lora:1/8"),
        ("lora:0/2", "--ranks: expected distinct whole numbers of at least 1"),
        ("lora:2/9999", "--ranks: expected values of r from 1 to"),
        ("prefixtuning:2", "model: expected a transformers model for text"),
    ],
)
def test_mistakes_of_a_frontier(asked, said, tmp_path):
    result = idim("frontier", *NET, "--arms", asked, "--out", tmp_path / "out", codes=(2,))
    assert said in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out/runs").exists() or not list((tmp_path / "out/runs").iterdir())


@pytest.mark.parametrize("arm", arms.measured())
def test_usual_sizes_are_allowed(arm):
    facts = ModelFacts(D=10**6, tensors=40, groups=8, width=384, depth=6, exponent=0.75)
    found = arms.ARMS[arm]
    if found.size:
        low, high = found.limits(facts)
        sizes = found.frontier_sizes(facts)
        assert 2 <= len(sizes) <= 4 and low <= sizes[0] < sizes[-1] <= high


def test_published_results_are_read(tmp_path):
    (one,) = read(str(published(tmp_path)))
    assert (one.method, one.score, one.trained) == ("lora rank4", 0.25, 1000)
    text = idim("import", tmp_path, "--figure", tmp_path / "all.png").stdout
    assert "lora rank4" in text and (tmp_path / "all.png").stat().st_size > 5_000
    assert json.loads(idim("import", tmp_path, "--json").stdout)["results"][0]["trained"] == 1000
    if SHARED.is_dir():
        real = read(str(SHARED))
        assert len(real) == 25 and real[-1].trained == 3_212_749_824


@pytest.mark.parametrize(
    "change",
    [
        {"num_trainable_params": "many"},
        {"num_trainable_params": -1},
        {"metrics": []},
        {"metrics": [{"test accuracy": "high"}]},
        {"metrics": [{"test accuracy": 7}]},
        {"metrics": 3},
        {"train_time": None},
    ],
)
def test_a_file_that_is_no_result_is_named(change, tmp_path):
    path = published(tmp_path, **change)
    with pytest.raises(IdimError, match=f"{path.name}: expected a result of peft's method"):
        read(str(path))


def test_no_files_are_one_line(tmp_path):
    assert "import: expected a JSON file" in idim("import", tmp_path, codes=(2,)).stderr
    assert "import: expected a JSON file" in idim("import", tmp_path / "x", codes=(2,)).stderr


def summary(verdict: Verdict, **more) -> SearchSummary:
    return SearchSummary(
        model="m", task="t", arm="lora", protocol="trust", metric="accuracy", D=1000, steps=100,
        design="posterior", examples={"measure": 500}, verdict=verdict, rule="chance",
        threshold=0.9, left_out=(), cost=Cost({}, {}, 0), letter="r", **more,
    )  # fmt: skip


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_recommendation_or_a_reason(verdict):
    found = {"answer": Crossing(low=2, high=6, estimate=4, level=0.9)}
    said = recommend(
        summary(
            verdict,
            found=found,
            interval_new_data=Crossing(low=2, high=9, estimate=4, level=0.9),
            curve=(Tried(4, 0.9, 1, True, rate=0.02), Tried(8, 0.9, 1, True, rate=0.01)),
            checks=Checks(),
        )
    )
    if verdict in (Verdict.REACHED, Verdict.BUDGET_LIMITED):
        assert (said.size, said.low, said.estimate, said.high) == (9, 2, 4, 9)
        assert said.rate == 0.01
    elif verdict == Verdict.HEAD_ALONE:
        assert said.size == 0
    else:
        assert said.size is None and said.why
    open_ended = recommend(
        summary(verdict, found={"answer": Crossing(low=2, high=None, estimate=4, level=0.9)})
    )
    assert not open_ended.size


def test_a_recommendation_is_a_configuration_for_peft(tmp_path):
    words = ["--threshold", 0.97, "--learning-rate", 0.03, "--lora-learning-rate", 0.1]
    words += ["--max-runs", 6, "--baselines", 2, "--budget", 5, "--out", tmp_path, "--json"]
    found = json.loads(idim("recommend", *NET, *words).stdout)
    told = found["recommendation"]
    if told["size"]:
        config = peft.LoraConfig.from_pretrained(str(Path(found["config"]).parent))
        assert (config.r, config.lora_alpha) == (told["size"], 4)
        assert set(config.target_modules) == set(found["targets"])
    else:
        assert told["why"] and found["config"] == ""
    # What is in the store was held against the same threshold.
    (question,) = Store(tmp_path).questions()
    assert question.threshold == 0.97


def test_a_budget_that_is_spent_ends_the_search(tmp_path):
    words = ["--learning-rate", 0.03, "--lora-learning-rate", 0.1, "--no-checks", "--baselines", 2]
    words += ["--threshold", 0.97, "--out", tmp_path, "--json"]
    found = json.loads(idim("recommend", *NET, *words, "--budget", 0.0001).stdout)
    first = sum(row["n"] for row in found["summary"]["curve"])
    more = json.loads(idim("recommend", *NET, *words).stdout)
    assert 1 <= first < sum(row["n"] for row in more["summary"]["curve"])
    said = idim("recommend", *NET, "--budget", -1, "--out", tmp_path, codes=(2,)).stderr
    assert "--budget: expected minutes, 0 for no limit; got -1" in said


def test_places_need_a_baseline():
    assert frontier.places([], []) == [] and frontier.cheapest([]) is None
    assert dataclasses.is_dataclass(frontier.Place)


def test_an_arm_stands_once_with_all_its_sizes(tmp_path):
    words = ["--model", "mlp:64-8-10", "--task", "digits", "--quick", "--max-steps", 60]
    words += ["--learning-rate", 0.02, "--no-latency", "--out", tmp_path, "--arms"]
    refused = idim("frontier", *words, "did:64,did:128", codes=(2,))
    assert "--arms: expected did once, with all its sizes as did:64/128" in refused.stderr
    assert not list(tmp_path.iterdir())
    for wanted in ("did:64/128", "did:64/128,bitfit"):
        idim("frontier", *words, wanted)
    drawn = list((tmp_path / "figures").glob("frontier-*.png"))
    assert len(drawn) == 2  # one beside the other
    for command, names in (("compare", "--arms did,did"), ("compare", "--arms did,said,did")):
        asked = ["--models", "mlp:64-8-10", "--tasks", "digits", "--quick", *names.split()]
        refused = idim(command, *asked, "--out", tmp_path / "other", codes=(2,))
        assert "--arms: expected each name once" in refused.stderr


def test_a_sweep_goes_over_d_too(tmp_path):
    words = ["--model", "mlp:64-8-10", "--task", "digits", "--quick", "--max-steps", 60]
    words += ["--learning-rate", 0.02, "--out", tmp_path, "--arm", "did"]
    found = json.loads(idim("sweep", *words, "--grid", "10,20", "--json").stdout)
    assert [row["d"] for row in found["curve"]] == [10, 20]
