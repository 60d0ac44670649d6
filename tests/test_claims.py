"""Who makes which run: searches that share a folder, processes that die, disks that fill."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from test_store import record, run_of

from idim.errors import IdimError
from idim.store import Claims, Store, claims, files
from idim.values.record import Record

KEY = "0" * 20
#: A process that claims a run, says so, and sleeps.
HOLD = (
    "import sys, time; from pathlib import Path; from idim.store import Claims\n"
    "c = Claims(Path(sys.argv[1])); print(c.take(sys.argv[2]) is not None, flush=True)\n"
    "time.sleep(60)"
)


def held_by_another(folder: Path, key: str = KEY) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), key], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline().strip() == "True"
    return process


def test_a_run_is_claimed_once_and_again_after_its_release(tmp_path):
    mine, others = Claims(tmp_path), Claims(tmp_path)
    claim = mine.take(KEY)
    assert claim is not None and claim.room.stat().st_size == claims.ROOM
    assert others.take(KEY) is None and mine.take(KEY) is None
    assert others.holder(KEY).pid == os.getpid() and others.holder("1" * 20) is None
    mine.release(claim)
    assert not list(tmp_path.iterdir())
    again = others.take(KEY)
    assert again is not None
    others.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_claim_of_a_dead_process_is_taken_over_at_once(tmp_path, sign):
    process = held_by_another(tmp_path)
    mine = Claims(tmp_path)
    assert mine.take(KEY) is None
    process.send_signal(sign)
    time.sleep(0.3)  # a zombie by now: nobody has asked for its end
    claim = mine.take(KEY)
    process.wait()
    assert claim is not None and claim.path.name == f"{KEY}.1.json"
    # What the dead one left is gone, the room of its record too.
    assert set(tmp_path.iterdir()) == {claim.path, claim.room}


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("alive", [True, False])
def test_only_a_dead_claim_of_a_run_that_is_kept_is_cleared(tmp_path, kept, alive):
    """Its process died between keeping the run and giving up the claim: nobody takes it over."""
    process = held_by_another(tmp_path)
    before = set(tmp_path.iterdir())
    if not alive:
        process.kill()
        process.wait()
    Claims(tmp_path).clear(lambda key: kept and key == KEY)
    assert set(tmp_path.iterdir()) == (before if alive or not kept else set())
    process.kill()
    process.wait()


def test_a_claim_from_another_machine_lives_as_long_as_it_is_touched(tmp_path, monkeypatch):
    there = Claims(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_machine", lambda: "another")
        claim = there.take(KEY)
    here = Claims(tmp_path)
    assert here.take(KEY) is None
    for silent, dead in ((claims.STALE - 20, False), (claims.STALE + 20, True)):
        then = time.time() - silent
        os.utime(claim.path, (then, then))
        assert (here.holder(KEY) is None) == dead
    assert here.take(KEY) is not None and there.take(KEY) is None


def test_held_claims_are_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.02)
    mine = Claims(tmp_path)
    claim = mine.take(KEY)
    os.utime(claim.path, (1, 1))
    deadline = time.time() + 5
    while claim.path.stat().st_mtime == 1 and time.time() < deadline:
        time.sleep(0.02)
    assert claim.path.stat().st_mtime > 1
    mine.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', bytes(50)])
def test_a_broken_claim_is_dead_once_nobody_touches_it(tmp_path, content):
    path = tmp_path / f"{KEY}.0.json"
    path.write_bytes(content)
    mine = Claims(tmp_path)
    assert mine.take(KEY) is None
    os.utime(path, (1, 1))
    assert mine.take(KEY) is not None


def _take_many(folder: str, start: float, taken: multiprocessing.Queue) -> None:
    mine, got = Claims(Path(folder)), []
    time.sleep(max(0.0, start - time.time()))
    for n in range(60):
        if mine.take(f"{n:020}", room=1):
            got.append(n)
    taken.put(got)
    taken.close()
    taken.join_thread()
    time.sleep(1)  # alive while the others still ask


@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "after a crash"])
def test_of_many_who_ask_one_gets_each_run(tmp_path, stale):
    if stale:
        for n in range(60):
            path = tmp_path / f"{n:020}.0.json"
            path.write_text("{}")
            os.utime(path, (1, 1))
    context = multiprocessing.get_context("fork")
    taken, start = context.Queue(), time.time() + 0.5
    workers = [
        context.Process(target=_take_many, args=(str(tmp_path), start, taken)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    lists = [taken.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert Counter(n for got in lists for n in got) == Counter(range(60))


def test_links_that_a_file_system_lacks_are_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted"))
    )
    assert Claims(tmp_path).take(KEY) is not None and Claims(tmp_path).take(KEY) is None


# The record's room.


def test_a_record_takes_the_room_that_was_set_aside(tmp_path):
    store, one = Store(tmp_path), run_of()
    claim = store.claims.take(one.key)
    inode = claim.room.stat().st_ino
    store.put(one, claim)
    path = tmp_path / "runs" / f"{one.key}.json"
    assert path.stat().st_ino == inode and store.all() == [one]
    store.claims.release(claim)
    assert not list((tmp_path / "claims").iterdir())
    plain = Store(tmp_path / "plain")
    plain.put(one)
    assert (plain.root / "runs" / path.name).read_bytes() == path.read_bytes()


def test_a_record_without_its_room_is_kept_all_the_same(tmp_path):
    store, one = Store(tmp_path), run_of()
    claim = store.claims.take(one.key)
    claim.room.unlink()
    store.put(one, claim)
    assert store.all() == [one]


def test_a_full_disk_is_found_before_a_run_and_leaves_nothing(tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(IdimError, match=r"room on the disk \(free some and give the same command"):
        Claims(tmp_path).take(KEY)
    assert not list(tmp_path.iterdir())


# Power cuts.


def test_what_is_moved_into_place_is_synced_before_and_its_folder_after(tmp_path, monkeypatch):
    """Whatever is written: content, then name, then folder."""
    done: list[tuple[str, int]] = []
    replace, sync, link = os.replace, os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda f: (done.append(("sync", os.fstat(f).st_ino)), sync(f)))
    for name, real in (("replace", replace), ("link", link)):
        monkeypatch.setattr(
            os, name, lambda a, b, real=real: (done.append(("name", os.stat(a).st_ino)), real(a, b))
        )
    store, one = Store(tmp_path / "o"), run_of()
    claim = store.claims.take(one.key)
    store.put(one, claim)
    store.put(Record.from_json(record(1)))
    store.decide("q", 3, [one.key])
    named = [i for i, (what, _) in enumerate(done) if what == "name"]
    assert len(named) == 4
    for i in named:
        assert ("sync", done[i][1]) in done[:i]  # the content before the name
        assert done[i + 1][0] == "sync" and done[i + 1][1] != done[i][1]  # and then the folder


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def sync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    files.write(tmp_path / "x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


# Decisions.


def test_the_first_word_on_a_decision_stands(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    assert store.decided("q", 1) is None
    store.decide("q", 1, ["a" * 20])
    other.decide("q", 1, [])
    assert other.decided("q", 1) == store.decided("q", 1) == ("a" * 20,)
    other.decide("q", 1, [], anew=True)
    assert store.decided("q", 1) == ()
    (tmp_path / "decisions/q/1.json").write_text("{")
    with pytest.warns(UserWarning, match="decisions/q/1.json"):
        other.decide("q", 1, ["b" * 20])
    assert Store(tmp_path).decided("q", 1) == ("b" * 20,)


# The index.


def test_heads_are_those_of_the_records_however_the_index_is(tmp_path, monkeypatch):
    monkeypatch.setattr("idim.store.index._NEW", 1)
    store = Store(tmp_path)
    for n in range(6):
        store.put(run_of(n, float(-n)))
    index = tmp_path / "index"

    def same() -> bool:
        return [h.key for h in Store(tmp_path).heads()] == [r.key for r in Store(tmp_path).all()]

    assert not index.exists() and same() and index.exists()
    whole = index.read_bytes()
    for broken in (b"", whole[:-9], whole.replace(b"search", b"sweeps"), b"\0" * 40, whole[70:]):
        index.write_bytes(broken)
        assert same()
        assert index.read_bytes() == whole
    # A record that is new, changed or gone.
    store.put(run_of(7))
    assert same()
    store.put(run_of(0, 50.0))
    assert same() and store.heads()[-1].started == 50.0
    (tmp_path / "runs" / f"{run_of(3).key}.json").unlink()
    assert same() and len(store.heads()) == 6
    (tmp_path / "runs" / f"{run_of(4).key}.json").write_text("{")
    with pytest.warns(UserWarning, match="skipped 1 file"):
        assert len(store.heads()) == 5


def test_an_index_spares_reading(tmp_path, monkeypatch):
    monkeypatch.setattr("idim.store.index._NEW", 1)
    store = Store(tmp_path)
    for n in range(3):
        store.put(run_of(n))
    first = store.heads()
    monkeypatch.setattr(
        "idim.store.folder.load", lambda path: pytest.fail(f"{path} is in the index")
    )
    assert Store(tmp_path).heads() == first
    assert json.loads((tmp_path / "index").read_bytes().partition(b"\n")[2])["schema"] == 1


def test_some_records_are_found_without_reading_the_others(tmp_path):
    store = Store(tmp_path)
    for n in range(4):
        store.put(run_of(n, float(-n)))
    (tmp_path / "runs" / f"{run_of(3).key}.json").write_text("{")
    wanted = [run_of(0).key, run_of(2).key, run_of(0).key, "f" * 20]
    assert store.some(wanted) == [run_of(2, -2.0), run_of(0)] and not store.skipped
