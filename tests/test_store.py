from __future__ import annotations

import json

import pytest

from idim.errors import IdimError
from idim.store import Store, write_json


def record(key: str, started: float = 0.0) -> dict:
    return {"key": key, "run_info": {"started": started}}


def test_what_was_put_is_got(tmp_path):
    store = Store(tmp_path / "a" / "b")
    assert store.get("x") is None
    store.put(record("x"))
    assert store.get("x") == record("x")
    store.put(record("y", -1.0))
    assert [r["key"] for r in store.all()] == ["y", "x"]


def test_a_write_that_breaks_leaves_the_old_file(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put(record("x", 1.0))
    monkeypatch.setattr("os.replace", lambda a, b: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError):
        store.put(record("x", 2.0))
    assert Store(tmp_path).get("x") == record("x", 1.0)
    assert [r["run_info"]["started"] for r in Store(tmp_path).all()] == [1.0]


def test_a_number_that_json_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"score": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IdimError, match="--out: expected a folder that can be written"):
        Store(tmp_path / "file" / "store")


def test_reading_wants_a_store(tmp_path):
    with pytest.raises(IdimError, match="a folder with runs/"):
        Store(tmp_path, create=False)


def test_a_broken_record_is_named(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "runs" / "x.json").write_text(json.dumps(record("x"))[:-3])
    with pytest.raises(IdimError, match="a record in JSON"):
        store.all()
