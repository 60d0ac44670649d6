"""What a search says before its end, what it will take, and where its runs are told."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest
from doors import search
from test_terminal import NET, idim

from idim import conductor, trackers
from idim.config import REPORTS, make
from idim.progress import duration, known_text, shown
from idim.resolve import resolve
from idim.search.design import ADAPTIVE, DESIGNS, Limits
from idim.search.expected import runs_left, runs_of
from idim.store import Store
from idim.values.findings import Crossing
from idim.values.outlook import Outlook
from idim.watcher import Watcher

RESULTS = Path(__file__).resolve().parent.parent / "results"
SMALL = {
    "model": "mlp:64-8-10", "task": "digits", "arm": "did", "max_steps": 20, "learning_rate": 0.01,
    "baselines": 2, "tune": False, "checks": False, "max_runs": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A whole search with all that its watcher was told, and its plan."""
    config = make({**SMALL, "out": str(tmp_path_factory.mktemp("watched"))})
    plan, told, made, said = resolve(config), [], [], []
    watcher = Watcher(said.append, lambda name: None, told.append, made.append)
    found = conductor.measure(plan, Store(config.out), watcher)
    return config, plan, found, told, made, said


def test_a_search_tells_after_each_decision_what_a_stop_would_answer(watched):
    _, plan, found, told, _, _ = watched
    runs = [o.runs for o in told]
    assert runs == sorted(runs) and runs[-1] == found.cost.runs["search"]
    # The last rates and full runs may move it a little.
    assert abs(math.log2(told[-1].answer.estimate / found.answer.estimate)) < 0.5
    for o in told:
        assert 0 <= o.more <= plan.limits.max_runs and o.seconds >= 0
        assert o.runs + o.more <= plan.limits.max_runs
    assert told[-1].more == 0 or found.answer.high is None


def test_a_bar_shows_steps_once_they_are_known(monkeypatch):
    monkeypatch.setattr("sys.stderr", told := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with shown() as watcher:
        begun = watcher.run("single did")
        assert "single did" in told.getvalue() and "steps" not in told.getvalue()
        begun(3, 20, 0.5)
    assert "3/20 steps" in told.getvalue() and "None" not in told.getvalue()


def test_a_run_without_a_score_says_why(tmp_path):
    code, _, stderr = idim(
        "train", *NET[:4], "--arm", "full", "--learning-rate", 1e30, "--max-steps", 9,
        "--out", tmp_path,
    )  # fmt: skip
    (line,) = [line for line in stderr.splitlines() if ": diverged" in line]
    assert code == 3 and re.search(r": diverged, loss (nan|inf) at step \d of 9, \d+ s$", line)


def test_each_run_that_was_made_is_told_once_and_none_from_the_store(watched):
    config, _, found, _, made, said = watched
    assert len(made) == sum(found.cost.runs.values()) == len({r.key for r in made})
    assert sum(", accuracy " in line for line in said) == len(made)
    again = []
    conductor.measure(resolve(config), Store(config.out), Watcher(finished=again.append))
    assert again == []


LIMITS = Limits(1, 1000, max_runs=30, repeats=2, grid=(1, 10, 100))


@pytest.mark.parametrize("design", DESIGNS)
def test_expected_runs_lie_between_the_least_and_the_most(design):
    least, usual, most = runs_of(design, LIMITS)
    assert 0 < least <= usual <= most <= LIMITS.max_runs
    for made in range(most + 3):
        for width in (0.01, 0.3, 3.0, math.inf):
            left = runs_left(design, LIMITS, made, width)
            assert 0 <= left <= most
    if design in ADAPTIVE:
        lefts = [runs_left(design, LIMITS, 8, w) for w in (0.2, 0.4, 0.5, 0.6, 2.0)]
        assert lefts == sorted(lefts) and lefts[0] == 0 and lefts[-1] == 22


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "nothing yet"),
        (Crossing(600, 500, 700, 0.9), "d90 = 600 [500, 700]"),
        (Crossing(None, 500, None, 0.9), "d90 = .. [500, ..]"),
        (Crossing(8, 4, 8, None), "4 < d90 <= 8"),
        (Crossing(None, 4, None, None), "4 < d90"),
        (Crossing(8, None, 8, None), "d90 <= 8"),
    ],
)
def test_a_line_says_what_is_known(answer, said):
    line = known_text(Outlook("d90", answer, 5, 1, 30.0), 60.0)
    assert f"after 5 runs: {said};" in line and "about 1 more run, 30 s left of 90 s" not in line
    assert line.endswith("about 1 more run, 30 s left of 2 min")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")]
)
def test_a_duration_is_said_as_people_say_it(seconds, said):
    assert duration(seconds) == said


def test_a_dry_run_says_what_a_search_takes_and_keeps_nothing(tmp_path):
    words = ["search", *NET[:8], "--arm", "did", "--max-runs", 9, "--out", tmp_path / "out"]
    code, stdout, stderr = idim(*words, "--dry-run", "--json")
    assert code == 0 and not (tmp_path / "out").exists() and ", accuracy" not in stderr
    found = json.loads(stdout)
    seconds = found["seconds"]
    assert 0 < seconds["least"] <= seconds["usual"] <= seconds["most"] and found["memory"] > 1e6
    parts = {(p["purpose"], p["arm"]): p for p in found["parts"]}
    assert parts["search", "did"]["most"] == 9 and parts["baseline", "full"]["least"] == 3
    assert parts["search", "did"]["steps"] == 30 and parts["check", "full"]["steps"] == 60
    code, stdout, _ = idim(*words, "--dry-run")
    assert code == 0 and "all together about" in stdout and "search  did" in stdout


@pytest.mark.parametrize("grid", [(5,), (5, 10, 20)])
def test_a_dry_run_of_a_grid_counts_the_runs_that_are_made(tmp_path, grid):
    config = make({**SMALL, "design": "grid", "grid": grid, "repeats": 2, "out": str(tmp_path)})
    from idim.rehearsal import rehearse

    found = rehearse(resolve(config))
    made = search(config).cost.runs
    assert {p.purpose: p.usual for p in found.parts} == made


class Fake:
    """A tracker that keeps what it gets."""

    made: ClassVar[list[Fake]] = []

    def __init__(self, **how):
        self.how, self.rows, self.done = how, [], False
        self.made.append(self)

    def store_init_configuration(self, values):
        self.values = values

    def log(self, values, step):
        self.rows.append((values, step))

    def finish(self):
        self.done = True


@pytest.mark.parametrize("name", trackers.NEEDS)
def test_every_tracker_gets_every_run(watched, monkeypatch, tmp_path, name):
    import accelerate.tracking

    monkeypatch.setattr(trackers, "_there", lambda package: True)
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, name, Fake)
    monkeypatch.setattr(Fake, "made", [])
    report = trackers.tracker(name, str(tmp_path))
    for record in watched[4]:
        report(record)
    assert len(Fake.made) == len(watched[4]) and all(f.done for f in Fake.made)
    for fake, record in zip(Fake.made, watched[4], strict=True):
        scores = [(p.step, p.score) for p in record.training.curve]
        assert [(step, v["accuracy"]) for v, step in fake.rows[:-1]] == scores
        assert fake.rows[-1][0]["score"] == record.score
        assert fake.values["recipe.learning_rate"] == record.rate
        assert all(isinstance(v, (str, int, float, bool)) for v in fake.values.values())
        assert record.key[:8] in str(fake.how)


def test_tensorboard_reads_what_it_was_told(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    code, _, _ = idim(
        "train", *NET[:8], "--arm", "did", "--d", 5, "--out", tmp_path, "--report-to", "tensorboard"
    )
    assert code == 0
    (record,) = Store(tmp_path, create=False).all()
    (folder,) = (tmp_path / "tensorboard").iterdir()
    told = reader.EventAccumulator(str(folder))
    told.Reload()
    points = [(e.step, pytest.approx(e.value)) for e in told.Scalars("accuracy")]
    assert points == [(p.step, p.score) for p in record.training.curve]


def test_a_tracker_that_is_not_installed_is_refused_before_training(tmp_path, monkeypatch):
    assert set(REPORTS) == {"none", *trackers.NEEDS}
    monkeypatch.setattr(trackers, "_there", lambda package: False)
    code, _, stderr = idim("search", *NET, "--out", tmp_path / "o", "--report-to", "wandb")
    assert code == 2 and stderr.strip().endswith("pip install wandb; got 'wandb'")
    assert not list(tmp_path.glob("o/runs/*.json"))
    code, _, stderr = idim("search", *NET, "--out", tmp_path / "o", "--report-to", "paper")
    assert code == 2 and len(stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("store", ["quick", "minilm-glue", "huggingface"])
def test_a_table_of_all_runs_has_a_row_for_each(tmp_path, store, ending):
    file = tmp_path / f"runs{ending}"
    assert idim("export-records", RESULTS / store, file)[0] == 0
    frame = pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file)
    records = {r.key: r for r in Store(RESULTS / store, create=False).all()}
    assert set(frame["key"]) == set(records) and frame["key"].is_unique
    for row in frame.to_dict("records"):
        record = records[row["key"]]
        assert row["score"] == pytest.approx(record.score) and row["arm"] == record.spec.arm
        assert row["recipe.learning_rate"] == pytest.approx(record.rate)
        assert row["seeds.data"] == record.spec.seeds["data"]
        assert len(json.loads(row["curve"])) == len(record.training.curve)


def test_another_ending_is_refused(tmp_path):
    code, _, stderr = idim("export-records", RESULTS / "quick", tmp_path / "runs.xlsx")
    assert code == 2 and "expected a name ending in .parquet or .csv" in stderr


def test_a_notebook_learns_how_to_show_what_is_found(monkeypatch):
    from idim import jupyter

    shown = {}
    formatter = SimpleNamespace(for_type_by_name=lambda m, n, f: shown.update({(m, n): f}))
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter}))
    fake = SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    jupyter.register()
    for (module, name), show in shown.items():
        assert hasattr(sys.modules[module], name)
        folder = RESULTS / "quick"
        from idim.answers.summary import derive

        store = Store(folder, create=False)
        value = store.all()[0] if name == "Record" else derive(store)[0]
        text = show(value)
        assert "<table" in text and '<svg role="img"' in text
    assert len(shown) == 2
