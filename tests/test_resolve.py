"""The door: plans, specifications of runs, questions, and mistakes."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict

import pytest

from idim import specs
from idim.config import Config
from idim.errors import IdimError
from idim.open_question import OpenQuestion
from idim.resolve import resolve
from idim.store import Store
from idim.values.plan import Plan
from idim.values.purpose import Purpose


def planned(**more) -> Plan:
    return resolve(Config("mlp:64-16-10", "digits", **{"arm": "did"} | more))


def test_a_tuning_run_has_a_floor_of_steps_and_none_has_more_than_the_whole():
    for steps, wanted in ((1000, 500), (150, 100), (60, 60)):
        spec = specs.make(planned(max_steps=steps), Purpose.TUNE, 50, 0, 0.1, budget=0.5)
        assert spec.recipe.max_steps == wanted


def test_a_small_data_set_is_not_left_undertrained_by_default():
    assert planned().steps == 400 and planned(max_steps=45).steps == 45


def test_seeds_differ_by_model_and_task():
    def seeds(model: str, task: str) -> tuple:
        plan = resolve(Config(model, task, arm="did"))
        return tuple(specs.make(plan, Purpose.SEARCH, 50, 0, 0.1).seeds.values())

    assert len({seeds("mlp:64-16-10", "digits"), seeds("mlp:64-17-10", "digits")}) == 2


def test_a_pair_shares_its_seeds():
    plan = planned()
    one, again = (
        specs.make(plan, Purpose.SEARCH, 50, 1, 0.1),
        specs.make(plan, Purpose.CHECK, 50, 1, 0.1, budget=2.0, drawn=Purpose.SEARCH),
    )
    assert (
        one.seeds == again.seeds
        and again.recipe.max_steps == 2 * plan.steps
        and one.key != again.key
    )


def test_whatever_changes_the_runs_or_the_answer_is_another_question_in_the_same_store(tmp_path):
    def asked(**more) -> str:
        return planned(**more).id

    changes = [
        {},
        {"seed": 1},
        {"grid": (8, 64)},
        {"grid": (8, 128)},
        {"baselines": 4},
        {"learning_rate": 0.01},
        {"max_runs": 9},
        {"threshold": 0.8},
        {"design": "bisect", "repeats": 2},
        {"subspace_learning_rate": 0.1},
        {"tune": False},
    ]
    assert len({asked(**c) for c in changes}) == len(changes)
    assert asked() == asked(out=str(tmp_path), data_dir="elsewhere", engine="plain", lean=True)
    # Who makes the runs, and how many at once, is no part of what is asked.
    assert asked() == asked(workers=3, runs_per_device=2) == asked(executor="ray", ray_address="x")


def test_a_question_has_the_id_that_it_always_had():
    """A store that an older version made is taken up again."""
    assert planned().id == "mlp_64-16-10-digits-did-trust-efd118"
    said = planned(arm="said", learning_rate=0.01, max_steps=60)
    assert said.id == "mlp_64-16-10-digits-said-trust-e7e12c"
    assert specs.make(said, Purpose.SEARCH, 50, 1, 0.1).key == "2e7d73fc90477accd378"


def test_asking_again_keeps_what_was_found(tmp_path):
    store, plan = Store(tmp_path), planned()
    spec = specs.make(plan, Purpose.SEARCH, 50, 0, 0.1)
    asked = OpenQuestion(plan.question(), store)
    asked.made([spec])
    asked.end(True)
    again = OpenQuestion(plan.question(), store).value
    assert again.keys == (spec.key,) and again.finished
    # What rates may cost is found out again.
    asked.note_loss(0.5)
    assert OpenQuestion(plan.question(), store).value.loss == 0.0


def test_a_plan_is_free_of_torch():
    """It travels, and it is compared."""
    plan = planned()
    assert pickle.loads(pickle.dumps(plan)) == plan == planned()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"arm": "full"}, "--arm: expected one of did, said, lora"),
        ({"grid": (8,), "design": "bisect"}, "--grid: expected values of d with --design grid"),
        ({"design": "grid"}, "--grid: expected values of d with --design grid"),
        ({"grid": (10**6,)}, "--grid: expected values of d from 1 to 1210"),
        ({"arm": "lora", "ranks": (17,)}, "--ranks: expected values of r from 1 to 16"),
        ({"arm": "lora", "grid": (4,)}, "--grid: expected none with lora"),
        ({"repeats": 2}, "--repeats: expected a bracket or a grid"),
        ({"baselines": 1}, "--baselines: expected at least 2"),
        ({"absolute": 1.5}, "--absolute: expected accuracy from 0 to 1"),
        ({"projection": "nosuch"}, "--projection: expected one of"),
    ],
)
def test_a_mistake_is_found_before_anything_is_trained(more, says):
    with pytest.raises(IdimError, match=says) as told:
        planned(**more)
    assert len(str(told.value).splitlines()) == 1


def test_a_whole_number_and_the_same_float_ask_for_the_same_runs():
    one = {"arm": "did", "num_train_epochs": 2, "learning_rate": 1}
    whole, real = (
        resolve(Config("mlp:64-8-10", "digits", **{k: way(v) for k, v in one.items()}))
        for way in (lambda v: v, lambda v: float(v) if isinstance(v, int) else v)
    )
    assert whole == real and json.dumps(asdict(whole.recipe)) == json.dumps(asdict(real.recipe))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"arm": "did"}, "did-trust-efd118"),
        ({"arm": "said", "protocol": "quick"}, "said-quick-140567"),
        ({"arm": "bitfit"}, "bitfit-trust-8aec55"),
        ({"arm": "did", "design": "grid", "grid": (8, 64), "seed": 1}, "did-trust-09e080"),
        ({"arm": "did", "workers": 3, "report_to": "mlflow", "out": "x"}, "did-trust-efd118"),
    ],
)
def test_a_question_keeps_its_name(more, name):
    """A new flag, or one that changes neither runs nor answer, must not orphan kept answers."""
    assert resolve(Config("mlp:64-16-10", "digits", **more)).id == f"mlp_64-16-10-digits-{name}"
