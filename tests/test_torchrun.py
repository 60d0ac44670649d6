"""One run by several processes: the same steps as one process makes, or all of them end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from words import WORDS

from idim import models, tasks
from idim.errors import IdimError
from idim.executors import EXECUTORS
from idim.ranks import ALONE, Ranks
from idim.source import CATALOGUES
from idim.values.options import Options
from idim.values.resources import Resources

FLAGS = [
    "--model", "mlp:64-16-10", "--task", "digits", "--design", "grid", "--baselines", "2",
    "--repeats", "1", "--no-checks", "--no-tune", "--max-steps", "30", "--json",
]  # fmt: skip


@pytest.fixture
def uneven(tmp_path) -> Path:
    """A table of completions of one to four words. With its prompt each has as many as others."""
    file = tmp_path / "uneven.jsonl"
    rows = [
        {
            "prompt": " ".join([*["and"] * (3 - i % 4), WORDS[3 + i % 6], "?"]),
            "completion": " " + " ".join(WORDS[3 : 4 + i % 4]),
        }
        for i in range(120)
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def loaded(kind, folders, uneven, tiny_bert, reviews):
    """A task and a model for it."""
    name, table, options = {
        "images": ("mlp:64-16-10", "digits", Options()),
        "texts": (str(tiny_bert), str(reviews), Options()),
        "decoder": (str(folders["decoder"]), str(uneven), Options(metric="token_accuracy")),
        "encoder-decoder": (
            str(folders["encoder-decoder"]), str(uneven), Options(metric="token_accuracy"),
        ),
        "toy": ("toy", "toy", Options()),
    }[kind]  # fmt: skip
    task = tasks.load(table, models.reader(name), options)
    return task, models.load(name, task.classes, 0, task.head).module.eval()


@pytest.mark.parametrize("kind", ["images", "texts", "decoder", "encoder-decoder", "toy"])
def test_the_parts_of_a_batch_weigh_what_their_terms_do(kind, folders, uneven, tiny_bert, reviews):
    """Shares of the processes' gradients add up to that of the whole batch."""
    task, module = loaded(kind, folders, uneven, tiny_bert, reviews)
    weights = [p for p in module.parameters() if p.requires_grad]

    def gradient(loss):
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    for size in (1, 2, 7, 16):
        batch = next(task.batches(size, seed=size))
        whole = gradient(task.loss(module, batch))
        for count in (1, 2, 3, 5):
            parts = [Ranks(rank, count).part(task, module, batch) for rank in range(count)]
            assert sum(share for _, share in parts) == pytest.approx(1)
            added = sum(gradient(task.loss(module, mine) * share) for mine, share in parts)
            assert (added - whole).norm() <= 1e-4 * whole.norm() + 1e-7


def test_one_process_does_it_all():
    assert ALONE.part(None, nn.Identity(), "batch") == ("batch", 1.0)
    assert ALONE.of_first(lambda: 3) == 3


def test_batch_normalisation_is_refused():
    with pytest.raises(IdimError, match="torchrun: expected a model without batch normalisation"):
        Ranks(0, 2).check(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_workers_are_refused_where_torchrun_starts(monkeypatch):
    told = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(IdimError, match="--workers: expected one run at a time where torchrun"):
        EXECUTORS["local"](Resources(workers=2), CATALOGUES, "")


def torchrun(*words, count=2) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), *map(str, words)]
    told = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=told)


@pytest.mark.parametrize("size", [["--arm", "did", "--grid", "16,64"], ["--arm", "lora"]])
def test_processes_make_the_runs_that_one_makes(size, tmp_path):
    """The same runs under the same keys; scores differ by rounding at most."""
    words = ["idim", "search", *FLAGS, *size]
    words += ["--ranks", "1,4"] if "lora" in size else []
    one = [sys.executable, "-m", *words, "--out", str(tmp_path / "one")]
    alone = subprocess.run(one, capture_output=True, text=True)
    both = torchrun("-m", "--", *words, "--out", tmp_path / "both")
    assert alone.returncode in (0, 3), alone.stderr
    # torchrun has its own exit code for whatever is not 0.
    assert both.returncode == bool(alone.returncode), both.stderr
    found = [json.loads(done.stdout) for done in (alone, both)]
    assert found[0]["verdict"] == found[1]["verdict"]
    scores = [
        {p.stem: json.loads(p.read_text()) for p in (tmp_path / name / "runs").glob("*.json")}
        for name in ("one", "both")
    ]
    assert scores[0] and scores[0].keys() == scores[1].keys()
    for key, record in scores[0].items():
        other = scores[1][key]["train_info"]
        assert other["score"] == pytest.approx(record["train_info"]["score"], abs=0.011)
        assert other["adaptation"]["processes"] == 2
        assert "processes" not in record["train_info"]["adaptation"]


BREAKS = """
import os
from idim import run
from idim.cli import main

def breaks(*args, **more):
    if os.environ["RANK"] == "RANKS":
        raise MemoryError("no more of it")
    return trains(*args, **more)

trains, run.train = run.train, breaks
main()
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_runs_out_of_memory_ends_all(rank, tmp_path):
    script = tmp_path / "breaks.py"
    script.write_text(BREAKS.replace("RANKS", str(rank)))
    done = torchrun("--", script, "search", *FLAGS, "--grid", "16", "--out", tmp_path / "out")
    assert done.returncode == 1 and "no more of it" in done.stderr
    assert not list((tmp_path / "out" / "runs").glob("*.json"))


def test_a_mistake_is_told_once(tmp_path):
    done = torchrun("-m", "--", "idim", "search", *FLAGS, "--grid", "0", "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.count("idim: --grid: expected") == 1
