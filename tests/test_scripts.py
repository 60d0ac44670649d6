"""Every script starts: what it imports is there."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
FILES = sorted((Path(__file__).resolve().parent.parent / "scripts").glob("*.py"))
SCRIPTS = [path for path in FILES if 'if __name__ == "__main__"' in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_what_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(script.parent)
    assert callable(runpy.run_path(str(script))["main"])


def test_the_check_of_a_gpu_can_be_rehearsed_on_a_cpu(tmp_path):
    script = Path(__file__).resolve().parent.parent / "scripts" / "check_gpu.py"
    words = [sys.executable, str(script), "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "check.json").read_text())["parts"]
    statuses = {name: part["status"] for name, part in parts.items()}
    left_out = dict.fromkeys(("products", "8b", "trec6"), "not measured")
    assert statuses == dict.fromkeys(("bits", "engines", "steps", "mnist-fc"), "ok") | left_out
    # The CPU beside itself: nothing may differ.
    for row in parts["bits"]["result"]["rows"]:
        assert row["same_checksum"] and row["same_columns"] == row["columns"]
        assert row["difference"] == 0
    compared = [row for row in parts["engines"]["result"]["rows"] if "not" not in row]
    assert all(row["forward"] < 1e-5 and row["adjoint"] < 1e-5 for row in compared)
    # A second call measures nothing anew.
    again = subprocess.run([*words, "--minutes", "1"], capture_output=True, text=True)
    assert again.stdout.count("was measured before") == 4


@pytest.mark.parametrize("kind", ["encoder", "decoder", "encoder-decoder"])
def test_the_table_of_targets_compares_equal_numbers(kind):
    import compare_targets
    from test_arm_matrix import model

    from idim import arms

    module = model(kind)
    one = compare_targets.adapted(module, "q")[1]
    for row in compare_targets.ROWS:
        targets, numbers = compare_targets.adapted(module, row)
        lora = arms.ARMS["lora"]
        made = lora.adapt(model(kind), lora.at(lora.told({"targets": targets}), 3), 0)
        head = sum(p.numel() for n, p in made.module.named_parameters() if "modules_to_save" in n)
        if row != "all":
            assert numbers == one * len(row.split(","))
        assert made.d_total in (3 * numbers, 3 * numbers + head)


def test_the_table_of_targets_wants_an_attention():
    import compare_targets
    from torch import nn

    from idim.errors import IdimError

    with pytest.raises(IdimError, match="--model: expected an attention with matrices called quer"):
        compare_targets.adapted(nn.Sequential(nn.Linear(2, 2)), "q,v")


@pytest.mark.parametrize("noise", [0.15, 0.4, 1.0])
def test_runs_that_fail_by_chance_make_no_check_speak(noise):
    """One run in ten fails, whichever its rate or budget. The study has 4,000 of each."""
    import numpy as np
    import study_checks

    draw = np.random.default_rng(0)
    asked = noise, 0.5, 0.0, float("inf"), 0.1
    said = sum(study_checks.checked(draw, *asked) for _ in range(400))
    assert said < 0.05 * 400
