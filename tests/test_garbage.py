"""What ``idim gc`` finds, and what ``idim ls runs`` lists."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest
from test_claims import held_by_another
from test_store import asked, idim, run_of

from idim.store import Store
from idim.store.garbage import KINDS, SAFE, garbage
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.training import Status


def failed(record: Record) -> Record:
    return dataclasses.replace(
        record,
        status=Status.FAILED,
        reason="killed",
        training=dataclasses.replace(record.training, score=None),
    )


def single(record: Record) -> Record:
    spec = dataclasses.replace(record.spec, kind=Purpose.SINGLE)
    return dataclasses.replace(record, spec=spec, key="")


@pytest.fixture
def littered(tmp_path):
    """A store with something of each kind, and what must stay."""
    store = Store(tmp_path / "o")
    kept, lost, unasked = run_of(0), failed(run_of(1)), run_of(2)
    for record in (kept, lost, unasked, single(run_of(3))):
        store.put(record)
    store.put_question(asked(kept.key, lost.key))
    store.decide("q-1", 1, [kept.key])
    store.decide("gone", 1, [kept.key])
    process = held_by_another(store.root / "claims", "a" * 20)
    process.kill()
    process.wait()
    (claim,) = (store.root / "claims").glob("*.json")
    (room,) = (store.root / "claims").glob(".*.room")
    orphan = room.with_name(f".{'1' * 16}-{'b' * 20}.room")
    orphan.write_bytes(b"x")
    old, new = (store.root / "runs" / f".{n}.part" for n in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    runs = store.root / "runs"
    found = {
        "partial": {old},
        "claims": {claim, room, orphan},
        "failed": {runs / f"{lost.key}.json"},
        "unasked": {runs / f"{unasked.key}.json", store.root / "decisions/gone/1.json"},
    }
    return store, found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found_and_goes_only_where_that_is_asked(littered, kind):
    store, found = littered
    before = {p for p in store.root.rglob("*") if p.is_file()}
    assert {g.path for g in garbage(store, (kind,))} == found[kind]
    code, stdout, _ = idim("gc", store.root, "--kinds", kind)
    assert code == 0 and "nothing is deleted" in stdout
    assert {p for p in store.root.rglob("*") if p.is_file()} == before
    code, stdout, _ = idim("gc", store.root, "--kinds", kind, "--delete", "--json")
    assert code == 0 and len(json.loads(stdout)["files"]) == len(found[kind])
    assert {p for p in store.root.rglob("*") if p.is_file()} == before - found[kind]
    assert not garbage(store, (kind,))


def test_by_default_only_leavings_go(littered):
    store, found = littered
    assert {g.path for g in garbage(store)} == set().union(*(found[kind] for kind in SAFE))


def test_no_run_goes_while_a_search_is_at_work(littered):
    store, _ = littered
    claim = store.claims.take("c" * 20)
    code, _, stderr = idim("gc", store.root, "--kinds", "failed", "--delete")
    assert code == 2 and "expected no search at work" in stderr
    assert idim("gc", store.root)[0] == 0 and claim.path.exists()
    assert idim("gc", store.root, "--kinds", "x")[0] == 2


def test_ls_runs_shows_what_is_there_and_what_is_being_made(littered):
    store, _ = littered
    store.claims.take("c" * 20)
    code, stdout, _ = idim("ls", "runs", "--out", store.root)
    lines = stdout.splitlines()
    assert code == 0 and lines[-1] == "4 runs, 1 being made"
    assert "c" * 20 in lines[-2] and str(os.getpid()) in lines[-2]
    assert any("failed" in line and "said 10" in line for line in lines)
    told = json.loads(idim("ls", "runs", "--out", store.root, "--json")[1])
    assert [r["key"] for r in told["runs"]] == [r.key for r in store.all()]
    assert abs(told["at_work"][0]["since"] - time.time()) < 60
    assert idim("ls", "runs", "--out", store.root / "nosuch")[0] == 2
