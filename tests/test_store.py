"""What a store takes in, and what it skips: each field of record and question, broken all ways."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from idim.answers.fit import check_answers
from idim.answers.summary import derive
from idim.cli import app
from idim.errors import IdimError, IdimWarning
from idim.store import Store, write_json
from idim.values.files import file_name, load
from idim.values.options import Options
from idim.values.question import Question
from idim.values.recipe import Recipe
from idim.values.record import Record
from idim.values.spec import digest

RESULTS = Path(__file__).resolve().parent.parent / "results"


def idim(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def record(n: int = 0, started: float = 0.0, score: float = 0.5) -> dict:
    """A whole record of a run in a subspace; each ``n`` is another run."""
    recipe = dataclasses.asdict(Recipe(0.1))
    config = {
        "model": "m",
        "task": "t",
        "arm": "said",
        "recipe": recipe,
        "options": Options().recorded(),
        "protocol": "quick",
        "kind": "search",
        "split": "measure",
        "seeds": {"projection": n, "theta_0": 1, "data": 2, "dropout": 3},
        "settings": {"d": 10},
        "task_fingerprint": "f",
        "model_fingerprint": "",
        "stop": None,
    }
    return {
        "schema": 2,
        "key": digest(config),
        "kind": "search",
        "status": "ok",
        "reason": "",
        "study": "s",
        "curve": "c",
        "run_info": {
            "config": config,
            "started": started,
            "git_commit": None,
            "git_dirty": False,
            "packages": {"torch": "2"},
            "python": "3.11",
        },
        "train_info": {
            "metric": "accuracy",
            "score": score,
            "untouched": 0.1,
            "majority": 0.2,
            "locked": 0.5,
            "steps": 4,
            "tokens": 0,
            "seconds": 1.0,
            "peak_memory_bytes": 0,
            "d_total": 10,
            "curve": [
                {"step": 0, "score": 0.1},
                {"step": 2, "score": 0.3},
                {"step": 4, "score": score},
            ],
            "splits": {},
            "warnings": [],
            "stopped": None,
            "adaptation": {
                "family": "orthonormal",
                "scope": "global",
                "D": 100,
                "d_theta": 8,
                "m": 2,
                "projection": {},
                "projection_checksum": "x",
            },
        },
        "meta_info": {
            "D": 100,
            "model_fingerprint": "a",
            "task_fingerprint": "b",
            "device": "cpu",
            "threads": 1,
        },
    }


def run_of(n: int = 0, started: float = 0.0, score: float = 0.5) -> Record:
    return Record.from_json(record(n, started, score))


def question(*keys: str, name: str = "q-1") -> dict:
    return {
        "schema": 2,
        "id": name,
        "study": "s",
        "curve": "c",
        "model": "m",
        "task": "t",
        "arm": "said",
        "projection": "orthonormal",
        "scope": "global",
        "structure": "layer",
        "protocol": "quick",
        "design": "bisect",
        "metric": "accuracy",
        "D": 100,
        "m": 2,
        "smallest": 3,
        "largest": 102,
        "rule": "raw",
        "absolute": None,
        "strict": False,
        "threshold": 0.9,
        "left_out": [],
        "n_scored": 50,
        "steps": 4,
        "keys": list(keys),
        "finished": True,
        "tuned": None,
        "loss": 0.0,
        "handicaps": {},
    }


def asked(*keys: str, name: str = "q-1", **more: object) -> Question:
    return Question.from_json(question(*keys, name=name) | more)


def fields(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every place in a tree of JSON."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [(*path, k) for k, _ in inner] + [p for k, v in inner for p in fields(v, (*path, k))]


# Writing.


def test_what_was_put_is_got(tmp_path):
    store, (a, b) = Store(tmp_path / "a" / "b"), (run_of(0), run_of(1, -1.0))
    assert store.get(a.key) is None
    store.put(a)
    assert store.get(a.key) == a
    store.put(b)
    assert store.all() == [b, a]


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
def test_a_write_that_breaks_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, broken):
    store = Store(tmp_path)
    store.put(run_of(started=1.0))
    monkeypatch.setattr(
        broken, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(
        IdimError, match=r"expected room on the disk .* got 'No space left on device'"
    ):
        store.put(run_of(started=2.0))
    assert [r.origin.started for r in Store.all(store)] == [1.0]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_two_writers_with_one_process_number_do_not_share_a_file(tmp_path, monkeypatch):
    # As in two containers: each writes a part of its file, then the other writes.
    monkeypatch.setattr(os, "getpid", lambda: 1)
    names = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.append(str(a)), replace(a, b)))
    for n in range(3):
        write_json(tmp_path / "x.json", {"n": n})
    assert len(set(names)) == 3 and json.loads((tmp_path / "x.json").read_text()) == {"n": 2}


def test_a_number_that_json_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"score": float("nan")})
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    "root",
    ["file/store", "", "nul\0", "/proc/nosuch/store", "a" * 300],
    ids=["a file", "empty", "null", "proc", "long"],
)
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(IdimError, match="--out: expected"):
        Store(root)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_reading_wants_a_store(tmp_path):
    for root in (tmp_path, tmp_path / "nosuch", ""):
        with pytest.raises(IdimError, match="store: expected"):
            Store(root, create=False)


# Records.


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/runs/*.json")), ids=lambda p: p.stem)
def test_every_kept_record_fits(path):
    raw = load(path)
    kept = Record.from_json(raw, path.stem)
    assert kept.key == kept.spec.key == path.stem
    # Written again it says the same, and more only where an old record said nothing.
    new = json.loads(json.dumps(kept.to_json()))
    assert Record.from_json(new, path.stem) == kept
    assert holds(new, {k: v for k, v in raw.items() if k not in ("schema", "checksum")})


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/searches/*.json")), ids=lambda p: p.stem)
def test_every_kept_question_fits_and_its_runs_fit_it(path):
    raw = load(path)
    kept = Question.from_json(raw, path.stem)
    found = Store(path.parent.parent, create=False).all()
    assert len(kept.of(found)) == len(kept.keys)
    check_answers(kept, found)
    new = json.loads(json.dumps(kept.to_json()))
    assert Question.from_json(new, path.stem) == kept
    assert holds(new, {k: v for k, v in raw.items() if k not in ("rate", "learning_rate")})


def holds(new: object, old: object) -> bool:
    """Whether a tree of JSON says all that the old one said."""
    if isinstance(old, dict):
        return all(k in new and holds(new[k], v) for k, v in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return new == old and type(new) is type(old)


#: Fields of a record that decide a summary; the rest may say anything, and a checksum guards it.
DECIDE = [p for p in fields(record()) if p[0] != "run_info" or p[1:2] == ("started",)]
WRONG = {
    "null": None,
    "text": "x",
    "a list": [1],
    "an object": {"a": 1},
    "true": True,
    "negative": -3,
    "huge": 10**400,
    "a path": "../../x",
    "an escape": "\x1b[2J",
    "half a character": "\udcff",
}
_TEXTS = {"text", "a path", "an escape"}
#: The only changes that leave a record: by the field's path, the names of what it may hold.
#: A checksum, if there is one, finds these too.
FITS = {
    ("reason",): _TEXTS,
    ("study",): _TEXTS,
    ("curve",): _TEXTS,
    ("run_info", "started"): {"negative"},
    ("train_info", "metric"): _TEXTS,
    ("train_info", "splits"): {"an object"},
    ("train_info", "majority"): {"null"},
    ("train_info", "locked"): {"null"},
    ("train_info", "stopped"): {"null"},
    ("train_info", "curve", 1): {"missing"},
    ("train_info", "curve", 1, "score"): {"null"},
    ("train_info", "adaptation", "family"): _TEXTS,
    ("train_info", "adaptation", "scope"): _TEXTS,
    ("train_info", "adaptation", "projection"): {"an object", "missing"},
    ("train_info", "adaptation", "projection_checksum"): _TEXTS | {"missing"},
    ("meta_info", "model_fingerprint"): _TEXTS,
    ("meta_info", "task_fingerprint"): _TEXTS,
    ("meta_info", "device"): _TEXTS,
}


def at(value, path):
    for part in path:
        value = value[part]
    return value


@pytest.mark.parametrize("path", DECIDE, ids=lambda p: ".".join(map(str, p)))
def test_a_record_with_a_broken_field_is_skipped(tmp_path, path):
    whole, store = record(), Store(tmp_path)
    for name, wrong in {"missing": None, **WRONG}.items():
        broken = copy.deepcopy(whole)
        if name == "missing":
            del at(broken, path[:-1])[path[-1]]
        else:
            at(broken, path[:-1])[path[-1]] = wrong
        (tmp_path / "runs" / f"{whole['key']}.json").write_text(json.dumps(broken))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdimWarning)
            found = store.all()
        assert len(found) == (name in FITS.get(path, ())), (path, name)
        assert bool(store.skipped) == (not found)
        store.skipped.clear()


@pytest.mark.parametrize(
    ("what", "change"),
    {
        "a score edited": lambda r: r["train_info"].update(score=0.99),
        "an untouched score edited": lambda r: r["train_info"].update(untouched=0.0),
        "a score above the metric's range": lambda r: (
            r["train_info"].update(score=1.5),
            r["train_info"]["curve"][-1].update(score=1.5),
        ),
        "the end of the curve edited": lambda r: r["train_info"]["curve"][-1].update(score=0.99),
        "a rate edited": lambda r: r["run_info"]["config"]["recipe"].update(learning_rate=9),
        "a seed edited": lambda r: r["run_info"]["config"]["seeds"].update(data=9),
        "d edited": lambda r: r["train_info"].update(d_total=9),
        "a newer schema": lambda r: r.update(schema=99),
        "no schema": lambda r: r.update(schema=0),
        "an option nobody knows": lambda r: r["run_info"]["config"].update(x=1),
        "a recipe nobody knows": lambda r: r["run_info"]["config"]["recipe"].update(rule="x"),
        "a kind nobody knows": lambda r: r.update(kind="pilot"),
        "a kind of another run": lambda r: r.update(kind="baseline"),
        "a status nobody knows": lambda r: r.update(status="fine"),
        "a run that did not stop": lambda r: r.update(status="stopped"),
        "another key": lambda r: r.update(key="0" * 20),
        "steps that do not grow": lambda r: r["train_info"]["curve"].reverse(),
    }.items(),
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_an_edited_record_is_skipped_and_its_run_is_made_again(tmp_path, what, change):
    store, whole = Store(tmp_path), record()
    edited = copy.deepcopy(whole)
    change(edited)
    path = tmp_path / "runs" / f"{whole['key']}.json"
    path.write_text(json.dumps(edited))
    with pytest.warns(IdimWarning, match=r"skipped 1 file that do not fit: runs/"):
        assert store.get(whole["key"]) is None
    store.put(run_of())
    assert store.all() == [run_of()]
    # Nothing is lost: a newer version's record lies beside.
    (aside,) = (tmp_path / "runs").glob("*.unfit-*")
    assert json.loads(aside.read_text()) == edited


@pytest.mark.parametrize(
    "change",
    [
        lambda r: (
            r["train_info"].update(score=0.99),
            r["train_info"]["curve"][-1].update(score=0.99),
        ),
        lambda r: r["train_info"].update(majority=0.6),
        lambda r: r["train_info"].update(seconds=9),
        lambda r: r["run_info"].update(started=9.0),
        lambda r: r.update(study="x"),
    ],
    ids=["score and curve", "majority", "seconds", "started", "study"],
)
def test_a_stored_record_has_a_checksum_of_all_of_it(tmp_path, change):
    store, whole = Store(tmp_path), run_of()
    store.put(whole)
    path = tmp_path / "runs" / f"{whole.key}.json"
    kept = json.loads(path.read_text())
    change(kept)
    path.write_text(json.dumps(kept))
    with pytest.warns(IdimWarning, match="checksum"):
        assert store.all() == []


def test_a_copied_record_counts_once(tmp_path):
    store, whole = Store(tmp_path), run_of()
    store.put(whole)
    for name in ("copy", "0" * 20, whole.key + " (1)"):
        shutil.copy(tmp_path / "runs" / f"{whole.key}.json", tmp_path / "runs" / f"{name}.json")
    with pytest.warns(IdimWarning, match="skipped 3 files"):
        assert store.all() == [whole]


BYTES = {
    "cut": lambda raw: raw[:-3],
    "empty": lambda raw: b"",
    "not UTF-8": lambda raw: raw[:-3] + b"\xff\xfe}",
    "deep": lambda raw: b"[" * 100_000,
    "NaN": lambda raw: raw.replace(b"0.5", b"NaN"),
    "a number of 5,000 digits": lambda raw: raw.replace(b"0.5", b"9" * 5000),
    "a list": lambda raw: b"[" + raw + b"]",
    "two": lambda raw: raw + raw,
    "zeros": lambda raw: bytes(50),
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("folder", ["runs", "searches"])
def test_a_file_that_is_no_json_is_skipped(tmp_path, name, folder):
    store, whole = Store(tmp_path), run_of()
    store.put(whole)
    store.put_question(asked())
    path = tmp_path / folder / "x.json"
    path.write_bytes(
        BYTES[name](
            (json.dumps(record(1)) if folder == "runs" else json.dumps(question(name="x")))
            .replace("0.9", "0.5")
            .encode()
        )
    )
    with pytest.warns(IdimWarning, match=f"skipped 1 file that do not fit: {folder}/x.json: not "):
        assert (store.all() if folder == "runs" else store.questions()) == (
            [whole] if folder == "runs" else [asked()]
        )


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p), lambda p: os.symlink("nosuch", p)],
    ids=["pipe", "folder", "device", "link"],
)
def test_what_is_no_file_is_not_read(tmp_path, make):
    store = Store(tmp_path)
    make(tmp_path / "runs" / "x.json")
    with pytest.warns(IdimWarning, match="not a plain file"):
        assert store.all() == []


def test_a_mark_of_byte_order_is_let_through(tmp_path):
    store, whole = Store(tmp_path), record()
    (tmp_path / "runs" / f"{whole['key']}.json").write_bytes(
        b"\xef\xbb\xbf" + json.dumps(whole).encode()
    )
    assert store.all() == [run_of()]


# Questions.


#: The only changes that leave a question, as above.
QUESTION_FITS = {
    # A question of the first schema did not say so.
    ("schema",): {"missing"},
    ("structure",): _TEXTS | {"null"},
    ("absolute",): {"null", "negative"},
    ("tuned",): {"null", "true"},
    ("finished",): {"true"},
    ("strict",): {"true"},
    ("keys", 0): {"missing"},
    **{
        (name,): _TEXTS
        for name in (
            "study",
            "curve",
            "model",
            "task",
            "projection",
            "scope",
            "protocol",
            "design",
            "metric",
        )
    },
}


@pytest.mark.parametrize("path", fields(question("0" * 20)), ids=lambda p: ".".join(map(str, p)))
def test_a_question_with_a_broken_field_is_skipped(tmp_path, path):
    whole = question("0" * 20)
    store = Store(tmp_path)
    (tmp_path / "searches").mkdir()
    for name, wrong in {"missing": None, **WRONG}.items():
        broken = copy.deepcopy(whole)
        if name == "missing":
            del at(broken, path[:-1])[path[-1]]
        else:
            at(broken, path[:-1])[path[-1]] = wrong
        (tmp_path / "searches" / "q-1.json").write_text(json.dumps(broken))
        fresh, fits = Store(tmp_path), name in QUESTION_FITS.get(path, ())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdimWarning)
            assert len(fresh.questions()) == fits, (path, name)
        assert list(fresh.skipped) == ([] if fits else ["searches/q-1.json"])
        assert (fresh.question("q-1") is not None) == fits
    assert store.question("nosuch") is None


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/b", "..", "", "a\0b", "a\nb", 'a"b', "x" * 300, "a\x1b[0m"]
)
def test_an_id_that_is_no_name_of_a_file_leads_nowhere(tmp_path, name):
    root = tmp_path / "a" / "store"
    store = Store(root)
    (root / "searches").mkdir()
    (root / "searches" / "q-1.json").write_text(json.dumps(question() | {"id": name}))
    store.put_question(asked(name="fine"))
    with pytest.warns(IdimWarning, match="q-1.json"):
        assert [q.id for q in store.questions()] == ["fine"]
    code, _stdout, stderr = idim("report", root)
    assert code == 0 and "skipped 1 file" in stderr
    assert {p.relative_to(tmp_path).parts[:2] for p in tmp_path.rglob("*")} == {
        ("a",),
        ("a", "store"),
    }
    assert [p.name for p in (root / "summaries").iterdir()] == ["fine.json"]


def test_a_long_id_is_kept_under_a_name_that_a_file_can_have(tmp_path):
    store, name = Store(tmp_path), "é" * 400 + "-1"
    store.put_question(asked(name=name))
    store.put_question(asked(name=name + "2"))
    assert [q.id for q in store.questions()] == sorted([name, name + "2"], key=file_name)
    assert store.question(name) == asked(name=name)
    assert idim("report", tmp_path)[0] == 0
    assert len(list((tmp_path / "summaries").iterdir())) == 2


@pytest.mark.parametrize("folder", ["summaries", "figures", "searches", "runs"])
def test_a_link_inside_a_store_is_no_way_out_of_it(tmp_path, folder):
    out, away = tmp_path / "store", tmp_path / "away"
    shutil.copytree(RESULTS / "mnist-fc", out)
    shutil.rmtree(out / folder)
    away.mkdir()
    (out / folder).symlink_to(away)
    store = Store(out, create=False)
    with pytest.raises(IdimError, match="a link to another place"):
        store.put_question(asked()) if folder == "searches" else Store(
            out
        ) if folder == "runs" else store.keep(folder, "x.png", b"")
    if folder in ("summaries", "figures"):
        code, stdout, stderr = idim("report", out)
        assert code == 2 and "said" in stdout and "a link to another place" in stderr
    assert not list(away.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "n"),
        ("task", "u"),
        ("metric", "matthews"),
        ("D", 99),
        ("arm", "did"),
        ("smallest", 11),
    ],
)
def test_a_question_that_its_runs_do_not_fit_is_skipped(tmp_path, field, value):
    store, run = Store(tmp_path), run_of()
    store.put(run)
    store.put_question(asked(run.key, **{field: value}))
    store.put_question(asked(run.key, name="fine"))
    assert [s.id for s in derive(store)] == ["fine"] and list(store.skipped) == [
        "searches/q-1.json"
    ]


# The commands.


@pytest.fixture
def mine(tmp_path):
    """A store of one's own: two baselines, some d."""
    words = [
        "search",
        "--model",
        "mlp:64-8-10",
        "--task",
        "digits",
        "--max-steps",
        "60",
        "--learning-rate",
        "0.01",
        "--quick",
        "--arm",
        "did",
        "--grid",
        "20,80",
        "--out",
        tmp_path / "o",
    ]
    first = json.loads(idim(*words, "--json")[1])
    return tmp_path / "o", words, first


def test_a_baseline_edited_flips_no_verdict(mine):
    out, words, first = mine
    (path,) = [
        p for p in (out / "runs").glob("*.json") if json.loads(p.read_text())["kind"] == "baseline"
    ]
    raw = path.read_text()
    edited = json.loads(raw)
    edited["train_info"]["score"] = 0.99
    path.write_text(json.dumps(edited))
    code, stdout, stderr = idim("doctor", "--verify", out)
    assert code == 1 and f"FAIL runs/{path.name}" in stdout and "2 fit their keys" in stdout
    code, stdout, stderr = idim(*words, "--json")
    again = json.loads(stdout)
    assert "idim: warning: " in stderr and "skipped 1 file" in stderr
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in first.items() if k != "seconds"
    }


@pytest.mark.parametrize("kind", ["baseline", "search"])
def test_a_record_of_a_kind_nobody_knows_ends_no_search_in_a_circle(mine, kind):
    out, words, first = mine
    path = next(
        p for p in (out / "runs").glob("*.json") if json.loads(p.read_text())["kind"] == kind
    )
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "pilot"}))
    began = time.perf_counter()
    assert (
        json.loads(idim(*words, "--json")[1])["verdict"] == first["verdict"]
        and time.perf_counter() - began < 30
    )


def test_doctor_names_every_file_that_does_not_fit(mine):
    out, _words, _ = mine
    assert idim("doctor", "--verify", out)[0] == 0
    (out / "runs" / "x.json").write_text("{")
    (out / "searches" / "y.json").write_text("[]")
    code, stdout, _ = idim("doctor", "--verify", out)
    assert (
        code == 1
        and "FAIL runs/x.json" in stdout
        and "FAIL searches/y.json" in stdout
        and "3 fit their keys, and 1 questions" in stdout
    )


def test_doctor_of_an_edited_identity_makes_no_projection_of_its_size(mine):
    out, _, _ = mine
    path = next(
        p for p in (out / "runs").glob("*.json") if json.loads(p.read_text())["kind"] == "search"
    )
    edited = json.loads(path.read_text())
    edited.pop("checksum")
    edited["train_info"]["adaptation"]["projection"]["D"] = 10**15
    path.write_text(json.dumps(edited))
    code, stdout, _ = idim("doctor", "--verify", out)
    assert code == 1 and "expected P of D = 610" in stdout


def test_a_search_reads_its_store_while_another_writes(tmp_path):
    # A reader sees whole records only, however often it looks.
    script = (
        "import sys; sys.path[:0] = [sys.argv[2]]\nfrom test_store import run_of\n"
        "from idim.store import Store\ns = Store(sys.argv[1])\n"
        "for n in range(150): s.put(run_of(n % 5, float(n)))"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    )
    store = Store(tmp_path)
    while writer.poll() is None:
        store.all()
    assert writer.returncode == 0 and not store.skipped and len(store.all()) == 5
