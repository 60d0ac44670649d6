"""Files of the package index: kept, checked, fetched again; one line where that fails."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from idim.errors import IdimError
from idim.tasks import fetch

CONTENT = b"what the archive holds"
PINNED = fetch.Pinned("thing==1", "thing-1.zip", hashlib.sha256(CONTENT).hexdigest(), "a test")


class Pip:
    """Stands for pip: writes ``content`` where it is asked to, or fails as pip does offline."""

    def __init__(self, content: bytes | None):
        self.content, self.calls = content, 0

    def __call__(self, command, **more):
        self.calls += 1
        if self.content is None:
            error = "WARNING: Retrying\nERROR: No matching distribution found for thing==1\n"
            return subprocess.CompletedProcess(command, 1, "", error)
        folder = Path(command[command.index("--dest") + 1])
        (folder / PINNED.filename).write_bytes(self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def pip(monkeypatch, tmp_path) -> Pip:
    made = Pip(CONTENT)
    monkeypatch.setattr(subprocess, "run", made)
    monkeypatch.setenv("IDIM_CACHE", str(tmp_path / "cache"))
    return made


def test_a_file_is_fetched_once_and_again_where_it_was_changed(pip, tmp_path, capfd):
    for calls, before in ((1, None), (1, None), (2, b"cut"), (3, b"")):
        if before is not None:
            (tmp_path / "cache" / PINNED.filename).write_bytes(before)
        path = fetch.fetched(PINNED)
        assert path == tmp_path / "cache" / PINNED.filename and path.read_bytes() == CONTENT
        assert pip.calls == calls
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [PINNED.filename]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "task: expected thing==1 from the package index, for a test; pip said: ERROR: No"),
        (b"another release", f"thing-1.zip: expected SHA-256 {PINNED.digest}"),
    ],
)
def test_offline_and_another_content_are_one_line_and_leave_nothing(pip, tmp_path, content, says):
    pip.content = content
    with pytest.raises(IdimError) as told:
        fetch.fetched(PINNED)
    assert str(told.value).startswith(says) and len(str(told.value).splitlines()) == 1
    assert not [*(tmp_path / "cache").iterdir()]


def test_a_cache_that_cannot_be_written_is_one_line(pip, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(IdimError, match="IDIM_CACHE: expected a folder that can be written"):
        fetch.fetched(PINNED)
