"""A small share of scripts/fuzz.py: broken inputs end in one line, and write only under --out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "fuzz.py"
#: Inputs tried here; a multiple of the number of kinds, so that each kind has as many.
TRIED = 180
_BEFORE = ("flags", "toml", "tables", "folders", "adapters", "records", "questions")


def test_broken_inputs_end_in_one_line():
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    fuzz = sys.modules["fuzz"] = importlib.util.module_from_spec(
        spec
    )  # its dataclass looks itself up
    spec.loader.exec_module(fuzz)
    assert set(fuzz.KINDS) == {*_BEFORE, "methods", "published"} and TRIED % len(fuzz.KINDS) == 0
    found = fuzz.fuzz(range(TRIED), 0, list(fuzz.KINDS))
    assert not found, "\n\n".join(
        f"{number} {kind}: {words}\n{wrong}" for number, kind, words, wrong in found
    )
