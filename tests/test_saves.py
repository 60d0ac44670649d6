"""Runs that are cut off go on where they were."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from idim import run, saves, specs
from idim.config import Config
from idim.resolve import resolve_single
from idim.runs import Runs
from idim.source import CATALOGUES
from idim.store import Store
from idim.values.purpose import Purpose


class Cut(Exception):
    """The power goes."""


def spec_of(model: str, task: str, arm: str, **more):
    config = Config(model, task, arm=arm, learning_rate=0.01, **{"max_steps": 40} | more)
    if arm not in ("full", "bitfit", "head"):
        config = dataclasses.replace(config, d=30, rank=2)
        if arm not in ("did", "said"):
            config = dataclasses.replace(config, d=0)
        else:
            config = dataclasses.replace(config, rank=0)
    plan = resolve_single(config)
    if arm == "full":
        return specs.make(plan, Purpose.BASELINE, None, 0, 0.01)
    return specs.make(plan, Purpose.SINGLE, plan.size, 0, 0.05)


def cut_at(n: int):
    """Progress that ends the run at its n-th evaluation."""
    seen = []

    def progress(step, steps, score):
        seen.append(step)
        if len(seen) == n:
            raise Cut

    return progress, seen


def gone_on(spec, folder, monkeypatch) -> None:
    """A run that is cut twice ends as one that is not."""
    monkeypatch.setattr(saves, "EVERY", 0.0)
    whole = run.execute(spec)
    progress, first = cut_at(4)
    with pytest.raises(Cut):
        run.execute(spec, progress, saves=str(folder))
    assert (folder / f"{spec.key}.pt").exists()
    progress, second = cut_at(3)
    with pytest.raises(Cut):
        run.execute(spec, progress, saves=str(folder))
    # It begins no step before the last one that was saved.
    assert second[0] >= first[-1] > 0
    seen: list[int] = []
    found = run.execute(spec, lambda step, *_: seen.append(step), saves=str(folder))
    assert seen and seen[0] >= second[-1]
    same = "score", "untouched", "locked", "curve", "steps", "tokens", "d_total", "adaptation"
    for name in same:
        assert getattr(found.training, name) == getattr(whole.training, name), name
    assert found.spec == whole.spec and found.status == whole.status == "ok"


@pytest.mark.parametrize("arm", ["full", "did", "said", "lora", "head", "bitfit"])
def test_a_run_that_is_cut_goes_on_bit_for_bit(tmp_path, monkeypatch, arm):
    gone_on(spec_of("mlp:64-16-10", "digits", arm), tmp_path, monkeypatch)


@pytest.mark.parametrize("arm", ["full", "did", "lora"])
def test_dropout_goes_on_too(tmp_path, monkeypatch, tiny_bert, reviews, arm):
    gone_on(spec_of(str(tiny_bert), str(reviews), arm, max_steps=20), tmp_path, monkeypatch)


@pytest.mark.parametrize("broken", ["cut", "another run", "another version", "no file"])
def test_a_save_that_does_not_fit_is_not_used(tmp_path, monkeypatch, broken):
    spec = spec_of("mlp:64-16-10", "digits", "did")
    monkeypatch.setattr(saves, "EVERY", 0.0)
    progress, _ = cut_at(3)
    with pytest.raises(Cut):
        run.execute(spec, progress, saves=str(tmp_path))
    path = tmp_path / f"{spec.key}.pt"
    state = torch.load(path, weights_only=True)
    if broken == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif broken == "no file":
        path.unlink()
    else:
        torch.save(state | {"key" if broken == "another run" else "torch": "x"}, path)
    seen: list[int] = []
    run.execute(spec, lambda step, *_: seen.append(step), saves=str(tmp_path))
    assert seen[0] == 0


def test_a_full_disk_stops_no_run_and_what_is_done_leaves_no_save(tmp_path, monkeypatch):
    monkeypatch.setattr(saves, "EVERY", 0.0)
    config = Config("mlp:64-16-10", "digits", arm="did", d=20, max_steps=8, learning_rate=0.01)
    plan, store = resolve_single(config), Store(tmp_path)
    wanted = [specs.make(plan, Purpose.SEARCH, d, 0, 0.1) for d in (10, 20)]
    Runs(plan, store).of(wanted[:1], "c")
    assert (tmp_path / "partial").is_dir() and not list((tmp_path / "partial").iterdir())
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(saves.files, "written", lambda *_: (_ for _ in ()).throw(full))
    assert run.execute(wanted[1], source=CATALOGUES, saves=str(tmp_path / "x")).status == "ok"
