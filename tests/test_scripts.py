"""Every script starts: what it imports is there."""

import runpy
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parent.parent / "scripts").glob("*.py"))
SCRIPTS = [path for path in FILES if 'if __name__ == "__main__"' in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_what_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(script.parent)
    assert callable(runpy.run_path(str(script))["main"])
