"""A call whose answer is in the store is answered from its records, while nothing changed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from idim.cli import known
from idim.cli.measuring import all_measured, measured
from idim.config import WHERE, Config
from idim.errors import IdimError
from idim.store import Store
from idim.tasks import CATALOGUE

ASKED = {
    "model": "mlp:64-16-10",
    "task": "digits",
    "arm": "did",
    "grid": (20, 80),
    "protocol": "quick",
    "learning_rate": 3e-3,
    "max_steps": 30,
}


def answer(config: Config):
    """What the store answers to the call as it is now."""
    return known.answer(config, known.name_of(config))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    out = tmp_path_factory.mktemp("known")
    config = Config(**ASKED, out=str(out))
    return config, measured(config)


def test_the_same_call_is_answered_from_its_records(answered):
    config, found = answered
    assert answer(config) == found
    assert answer(dataclasses.replace(config, workers=2, save="x")) == found


def test_it_loads_no_torch(answered):
    config, _ = answered
    words = [f"--{k.replace('_', '-')}={_word(v)}" for k, v in ASKED.items()]
    code = (
        "import sys; from idim.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "search", *words, "--out", config.out, "--json"]
    done = subprocess.run(command, cwd=config.out, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert json.loads(done.stdout.splitlines()[0])["arm"] == "did"


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Config)])
def test_another_call_is_not(answered, field):
    """Whatever decides the runs is part of the name, field by field."""
    config, _ = answered
    others = {
        "arm": "said", "design": "bisect", "engine": "plain", "precision": "bf16",
        "protocol": "trust", "optimizer": "sgd", "schedule": "constant", "absolute": 0.5,
        "model": "mlp:64-8-10", "task": "trec6", "rule": "mean_of_last_3",
    }  # fmt: skip
    if field in WHERE:
        return
    value = getattr(config, field)
    other: object = others.get(field, "other")
    if field not in others and isinstance(value, bool):
        other = not value
    elif field not in others and isinstance(value, (int, float)):
        other = value + 1
    elif field not in others and isinstance(value, tuple):
        other = (30,)
    changed = dataclasses.replace(config)
    object.__setattr__(changed, field, other)
    assert known.name_of(changed) != known.name_of(config)
    assert answer(changed) is None


def test_nothing_is_known_where_anything_changed(answered, monkeypatch, tmp_path):
    config, _ = answered
    with monkeypatch.context() as patch:
        patch.setattr(known, "_version", lambda package: f"another {package}")
        assert answer(config) is None
    table = tmp_path / "mine.csv"
    table.write_text("text,label\na,0\nb,1\n")
    own = dataclasses.replace(config, task=str(table))
    before = known.name_of(own)
    assert before == known.name_of(own)
    table.write_text("text,label\na,1\nb,1\n")
    assert known.name_of(own) not in (before, None)
    for elsewhere in ({"task": "sst2"}, {"model": "somebody/something"}):
        assert known.name_of(dataclasses.replace(config, **elsewhere)) is None


@pytest.mark.parametrize("harm", ["a run is gone", "it is unfinished", "a note of nonsense"])
def test_an_answer_that_lost_something_is_measured_again(harm, tmp_path):
    config = Config(**ASKED, out=str(tmp_path))
    found = measured(config)
    store = Store(tmp_path)
    if harm == "a run is gone":
        next((tmp_path / "runs").glob("*.json")).unlink()
    elif harm == "it is unfinished":
        store.put_question(dataclasses.replace(store.question(found.id), finished=False))
    else:
        (path,) = (tmp_path / "known").iterdir()
        path.write_text("{")
    assert answer(config) is None
    assert measured(config).answer == found.answer
    assert answer(config) is not None


def test_several_calls_resolve_only_what_is_not_answered(answered, monkeypatch, tmp_path):
    """In the order in which they were asked. All are checked before the first is measured."""
    import idim.resolve

    config, found = answered
    new = dataclasses.replace(config, grid=(40,), out=str(tmp_path))
    resolved, resolve = [], idim.resolve.resolve
    monkeypatch.setattr(
        idim.resolve, "resolve", lambda asked: resolved.append(asked) or resolve(asked)
    )
    first, second, third = all_measured([config, new, config])
    assert (first, third) == (found, found) and second.id != found.id
    assert resolved == [new]
    assert list(all_measured([config, new])) == [found, second] and resolved == [new]
    wrong = dataclasses.replace(config, task="nosuch")
    other = dataclasses.replace(config, grid=(50,), out=str(tmp_path))
    before = {*(tmp_path / "runs").iterdir()}
    with pytest.raises(IdimError, match="nosuch"):
        list(all_measured([config, other, wrong]))
    assert {*(tmp_path / "runs").iterdir()} == before


def test_pinned_tasks_are_those_that_come_with_a_package():
    assert set(known.PINNED) < set(CATALOGUE)
    for name in set(CATALOGUE) - set(known.PINNED):
        config = Config("mlp:64-16-10", name, arm="did")
        assert known.name_of(config) is None
        assert known.name_of(dataclasses.replace(config, data_dir=str(Path(__file__).parent)))
