"""Workers that are killed, memory that runs out, and Ctrl-C."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from idim import run, specs
from idim.answers.evidence import points_of
from idim.cli.measuring import prepare
from idim.config import EXECUTORS as OFFERED
from idim.config import Config
from idim.errors import IdimError
from idim.executors import EXECUTORS, Executor
from idim.executors.same_bits import same_bits
from idim.resolve import resolve_single
from idim.runs import Runs
from idim.source import CATALOGUES
from idim.store import Store
from idim.tasks.base import Task
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.resources import Resources

WORDS = [
    "--model",
    "mlp:64-16-10",
    "--task",
    "digits",
    "--learning-rate",
    "0.01",
    "--quick",
    "--arm",
    "did",
]


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster for all tests of this file."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        # Its workers import this file, as those of the other executor do.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=OFFERED)
def executor(request) -> str:
    """Each executor that is offered."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return request.param


def executing(monkeypatch, executor: str, execute) -> None:
    """Let the workers of an executor make runs so."""
    monkeypatch.setattr(importlib.import_module(f"idim.executors.{executor}"), "execute", execute)


def made(tmp_path, workers: int = 2, **more) -> tuple[Plan, Runs, Store]:
    more = {"arm": "did", "max_steps": 4, "learning_rate": 0.01} | more
    more = {"model": "mlp:64-16-10", "task": "digits"} | more
    config = Config(workers=workers, out=str(tmp_path), **more)
    if config.arm != "full":
        config = dataclasses.replace(config, d=20, rank=2)
    plan, store = resolve_single(config), Store(tmp_path)
    return plan, Runs(plan, store), store


def task_of(plan: Plan) -> Task:
    """The task that a run of this plan gets."""
    return CATALOGUES.task(plan.model, plan.task, plan.options)


#: A purpose and a size for each arm; None for full fine-tuning.
SORTS = {
    "did": (Purpose.SEARCH, 20),
    "said": (Purpose.SEARCH, 20),
    "lora": (Purpose.SEARCH, 2),
    "full": (Purpose.BASELINE, None),
}


def killed_at_20(spec, *args):
    """Runs in a worker, which imports this module."""
    if spec.settings["d"] == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return run.execute(spec, *args)


def killed_at_first(folder, times, spec, *args):
    """Dies the first times that it is called for d = 20."""
    if spec.settings["d"] == 20 and len(list(folder.iterdir())) < times:
        (folder / str(time.time())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run.execute(spec, *args)


def test_a_run_that_kills_its_worker_is_a_failed_record_and_costs_no_other_run(
    tmp_path, monkeypatch, executor
):
    executing(monkeypatch, executor, killed_at_20)
    plan, runs, store = made(tmp_path, executor=executor)
    wanted = [specs.make(plan, Purpose.SEARCH, d, 0, 0.1) for d in (10, 20, 30)]
    records = runs.of(wanted, "c")
    assert [str(r.status) for r in records] == ["ok", "failed", "ok"]
    cause = {"local": "killed by SIGKILL", "ray": "WorkerCrashedError"}[executor]
    assert f"lost 3 times: {cause}" in records[1].reason
    assert records[1].training.d_total == 20
    assert (
        store.all() == sorted(records, key=lambda r: (r.origin.started, r.key))
        and not store.skipped
    )
    assert [p.score for p in points_of([records[1]])] == [None]
    assert [str(r.status) for r in runs.of(wanted, "c")] == [
        "ok",
        "failed",
        "ok",
    ]  # and found again


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_costs_its_run_alone_which_is_made_again(
    tmp_path, monkeypatch, times, executor
):
    tries = tmp_path / "tries"
    tries.mkdir()
    executing(monkeypatch, executor, partial(killed_at_first, tries, times))
    plan, runs, store = made(tmp_path / "o", executor=executor)
    records = runs.of([specs.make(plan, Purpose.SEARCH, d, 0, 0.1) for d in (10, 20, 30)], "c")
    assert [str(r.status) for r in records] == ["ok"] * 3
    assert len(list(tries.iterdir())) == times
    assert not list((store.root / "claims").iterdir())


ERRORS = {
    "python's": lambda *_: (_ for _ in ()).throw(MemoryError()),
    "torch's on a GPU": lambda *_: (_ for _ in ()).throw(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    ),
    "torch's on a CPU": lambda *_: torch.empty(1 << 50),
    "a size beyond 64 bits": lambda *_: torch.empty(1 << 62, 4),
    "the system's": lambda *_: (_ for _ in ()).throw(OSError(12, "Cannot allocate memory")),
}


@pytest.mark.parametrize("where", ["build", "loss", "score", "load"])
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("arm", ["did", "lora", "full"])
def test_out_of_memory_is_a_failed_record_wherever_it_comes(
    tmp_path, monkeypatch, name, where, arm
):
    small = {"max_train_samples": 64, "max_eval_samples": 64}
    plan, runs, store = made(tmp_path, workers=1, arm=arm, **small)
    kind, size = SORTS[arm]
    spec = specs.make(plan, kind, size, 0, 0.1)
    holder = {
        "build": (run.arms, "build"),
        "loss": (task_of(plan), "loss"),
        "score": (task_of(plan), "score"),
        "load": (CATALOGUES, "load"),
    }[where]
    calls, real = [], getattr(*holder)

    def failing(*args):
        calls.append(1)
        return ERRORS[name]() if where != "load" or len(calls) == 1 else real(*args)

    monkeypatch.setattr(*holder, failing)
    (record,) = runs.of([spec], "c")
    assert (
        record.status == "failed"
        and record.reason.startswith("out of memory")
        and record.training.score is None
    )
    assert store.all() == [record]


def test_another_error_is_no_lack_of_memory(tmp_path, monkeypatch):
    plan, runs, _ = made(tmp_path, workers=1)
    monkeypatch.setattr(
        task_of(plan),
        "loss",
        lambda *_: (_ for _ in ()).throw(RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
    )
    with pytest.raises(RuntimeError, match="mat1"):
        runs.of([specs.make(plan, Purpose.SEARCH, 20, 0, 0.1)], "c")


@pytest.mark.parametrize(
    ("metric", "score"), [("accuracy", 87.5), ("accuracy", -0.1), ("matthews", 1.5), ("-loss", 0.3)]
)
def test_a_score_that_its_metric_cannot_have_ends_the_run_before_training(
    tmp_path, monkeypatch, metric, score
):
    plan, runs, store = made(tmp_path, workers=1)
    monkeypatch.setattr(task_of(plan), "metric", metric)
    monkeypatch.setattr(task_of(plan), "score", lambda *_: score)
    steps = []
    monkeypatch.setattr(task_of(plan), "loss", lambda *_: steps.append(1))
    with pytest.raises(IdimError, match=f"metric: expected {metric} from "):
        runs.of([specs.make(plan, Purpose.SEARCH, 20, 0, 0.1)], "c")
    assert not steps and not store.all()


def test_a_failed_record_of_every_arm_fits_the_store(tmp_path):
    for arm, (kind, size) in SORTS.items():
        plan, _, _ = made(tmp_path, workers=1, arm=arm)
        record = run.lost(specs.make(plan, kind, size, 0, 0.1), "killed")
        kept = json.loads(json.dumps(record.to_json()))
        assert Record.from_json(kept, record.key).status == "failed"


def children(pid: int) -> list[int]:
    """The processes below this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(stat.parent.name), *children(int(stat.parent.name))]
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    "to_all", [True, False], ids=["a terminal's Ctrl-C", "a signal to the search alone"]
)
def test_ctrl_c_ends_the_workers_at_once(request, tmp_path, to_all):
    # Each run would take minutes.
    command = [
        sys.executable,
        "-m",
        "idim",
        "search",
        *WORDS,
        "--max-steps",
        "2000000",
        "--workers",
        "2",
        "--baselines",
        "2",
        "--out",
        str(tmp_path / "o"),
    ]
    # What runs in a shell's background ignores Ctrl-C, and so does all that it starts.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    request.addfinalizer(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
    workers: list[int] = []
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        workers = children(process.pid)
        # At work: two workers that have used the processor for a while.
        if len(workers) >= 2 and sum(_seconds(w) > 4 for w in workers) >= 2:
            break
        time.sleep(0.1)
    assert len(workers) >= 2, process.communicate()
    began = time.perf_counter()
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.perf_counter() - began < 5
    assert process.returncode == 130 and out == ""
    assert (
        err.strip().splitlines()[-1]
        == "idim: stopped; finished runs are kept, and the same command goes on from them"
        and "Traceback" not in err
    )
    while (left := [w for w in workers if _seconds(w) > 1]) and time.perf_counter() - began < 5:
        time.sleep(0.1)
    assert not left


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_defect_of_a_run_loses_no_other_and_is_raised(tmp_path, monkeypatch, executor):
    executing(monkeypatch, executor, broken_at_20)
    plan, runs, store = made(tmp_path, executor=executor)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        runs.of([specs.make(plan, Purpose.SEARCH, d, 0, 0.1) for d in (20, 10)], "c")
    assert [r.spec.settings["d"] for r in store.all()] == [10]
    assert not list((store.root / "claims").iterdir())


def broken_at_20(spec, *args):
    if spec.settings["d"] == 20:
        raise ZeroDivisionError("a defect")
    return run.execute(spec, *args)


def test_every_executor_that_is_offered_keeps_the_contract():
    assert tuple(EXECUTORS) == OFFERED


def test_an_executor_that_has_nothing_to_do_is_free(executor):
    found = EXECUTORS[executor](Resources(1), CATALOGUES)
    assert isinstance(found, Executor)
    assert found.slots == found.free == 1 and found.wait(0.0) is None
    found.close()


def test_every_executor_makes_the_same_records(tmp_path, executor):
    found = []
    for name in ("local", executor):
        plan, runs, _ = made(tmp_path / name, executor=name)
        wanted = [specs.make(plan, Purpose.SEARCH, d, 0, 0.1) for d in (10, 20)]
        found.append([r.training.curve for r in runs.of(wanted, "c")])
    assert found[0] == found[1]


def _bits(record) -> dict:
    """All of a record but what says when and by whom it was made."""
    plain = record.to_json()
    del plain["run_info"]["started"], plain["meta_info"]["threads"]
    for name in ("seconds", "peak_memory_bytes"):
        del plain["train_info"][name]
    return plain


@pytest.mark.parametrize("arm", ["said", "full"])
def test_deterministic_records_have_the_same_bits_whoever_makes_them(tmp_path, executor, arm):
    """On one thread or two, in this process or another one.

    The scales of SAID show every bit. Without the flag they differ in the fifth digit after 40
    steps at this rate.
    """
    found = []
    threads = torch.get_num_threads()
    for i, (where, workers, here) in enumerate(
        (("local", 1, 1), ("local", 1, 2), (executor, 2, 2))
    ):
        torch.set_num_threads(here)
        more = {"model": "mlp:64-3000-256-10", "arm": arm, "executor": where, "max_steps": 40}
        more |= {"deterministic": True, "batch_size": 512}
        plan, runs, _ = made(tmp_path / str(i), workers, **more)
        kind, size = (Purpose.SEARCH, 200) if arm == "said" else (Purpose.BASELINE, None)
        made_here = runs.of([specs.make(plan, kind, size, 0, 0.3)], plan.arm_key)
        found.append([_bits(r) for r in made_here])
        runs.close()
    torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
    if arm == "said":
        assert found[0][0]["train_info"]["adaptation"]["scales"]


def test_an_operation_without_repeatable_bits_is_refused():
    refused = pytest.raises(IdimError, match="--deterministic: expected operations that give the")
    with refused, same_bits():
        raise RuntimeError("median CUDA does not have a deterministic implementation")
    assert not torch.are_deterministic_algorithms_enabled()
    with same_bits(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_workers_have_the_packages_of_the_search_and_not_those_of_the_present_folder(tmp_path):
    (tmp_path / "projections").mkdir()
    (tmp_path / "projections" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    places = [place for place in sys.path if place]
    code = f"""
import sys
sys.path[:] = {places!r}
from idim.executors import forking
import projections, os

if __name__ == "__main__":
    ours, theirs = forking.context().Pipe()
    code = compile("import projections; print(projections.__file__)", "x", "exec")
    worker = forking.context().Process(target=exec, args=(code.co_consts and \
        "import projections; print(projections.__file__, flush=True)",))
    worker.start()
    worker.join()
    print(projections.__file__)
    assert "PYTHONSAFEPATH" not in os.environ
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-P", str(script)], cwd=tmp_path, capture_output=True, text=True
    )
    worker, here = done.stdout.splitlines()
    assert worker == here, done.stderr


def test_without_ray_whoever_asks_for_it_is_told(tmp_path, monkeypatch):
    """The commands that look before they load torch, and all others that make runs."""
    monkeypatch.setattr("idim.executors.find_spec", lambda name: None)
    config = Config("mlp:64-16-10", "digits", executor="ray")
    for asked in (
        lambda: EXECUTORS["ray"](Resources(), CATALOGUES, ""),
        lambda: prepare(config),
        lambda: Runs(resolve_single(dataclasses.replace(config, d=20)), Store(tmp_path)),
    ):
        with pytest.raises(IdimError, match=r"--executor ray: expected Ray: pip install .*ray"):
            asked()
