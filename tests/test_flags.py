"""Laws of the command line: every command keeps them, and a new command or flag inherits them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import idim.errors
from idim.arms import ARMS, measured
from idim.cli import COMMANDS, app
from idim.cli.answers import code_of
from idim.cli.ls import LISTS
from idim.config import PANELS, Config, check_read
from idim.values.findings import Cost
from idim.values.sweep_summary import SweepSummary
from idim.values.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent
GROUP = typer.main.get_command(app)
FIELDS = {f.name: f for f in dataclasses.fields(Config)}
#: Fields that take named values only, or lie between bounds of their own.
CHOSEN = {"design", "ray_address", "threshold"}
CHOSEN |= {n for n, f in FIELDS.items() if f.metadata["choices"]}
MEASURING = [m.__name__.rpartition(".")[2] for m in COMMANDS["Measure"]]


def run(*words) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def options(name: str) -> dict[str, object]:
    return {p.name: p for p in GROUP.commands[name].params}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_a_flag_of_the_same_name_with_its_help_and_panel(name):
    field = FIELDS[name]
    assert field.metadata["panel"] in PANELS and field.metadata["about"].endswith(".")
    found = [options(c)[name] for c in MEASURING if name in options(c)]
    assert found
    for option in found:
        assert "--" + name.replace("_", "-") in option.opts


def test_the_flags_without_a_key_in_a_file_are_named():
    """In the help of each command, and all together in the quickstart."""
    text = " ".join((ROOT / "docs/quickstart.md").read_text().split())
    (told,) = re.findall(r"which `--config` reads\. ([^.]*) have none\.", text)
    keyless = set()
    for name in MEASURING:
        flags = {flag: p for p in GROUP.commands[name].params for flag in p.opts}
        lacking = {flag for flag, p in flags.items() if p.name not in FIELDS} - {"--config"}
        said = set(re.findall(r"--[a-z-]+", flags["--config"].help))
        # `idim sweep` sweeps LoRA whatever arm a file names.
        assert said - {"--arm"} == lacking
        keyless |= lacking
    assert set(re.findall(r"--[a-z-]+", told)) == keyless


def test_what_doctor_found_is_among_the_exit_codes(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x.json").write_text("{")
    code, _, _ = run("doctor", "--verify", tmp_path)
    (row,) = re.findall(rf"^\| {code} \| .*$", (ROOT / "docs/quickstart.md").read_text(), re.M)
    assert "`idim doctor`" in row


#: Of each type: what a program may give, as the field then holds it, and what it may not.
GIVEN = {
    "str": ([(Path("a"), "a")], [3, 0.5, ["a"], b"a", object()]),
    "int": ([(np.int64(3), 3)], [1.5, "3", [3], np.float64(3), 10**30]),
    "float": ([(1, 1.0), (np.float32(0.5), 0.5)], ["0.5", [0.5], 1j, 10**400]),
    "bool": ([], [1, 0, "true", "", [True]]),
    "tuple[int, ...]": (
        [([2, 3], (2, 3)), (np.arange(2, 4).tolist(), (2, 3)), (tuple(np.arange(2, 4)), (2, 3))],
        [4, "4", ["4"], [4.5], [True], {4}, [10**30]],
    ),
    "tuple[str, ...]": ([(["a"], ("a",)), ([Path("a")], ("a",))], ["a", 3, [3], [None]]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_program_that_gives_a_field_another_type_reads_one_line(name):
    """None too, wherever None is not what the field says. No field takes true for a number."""
    kind = str(FIELDS[name].type)
    base, free = kind.removesuffix(" | None"), kind.endswith(" | None")
    asked = {"model": "mlp:8-4", "task": "digits"}
    for came in (*GIVEN[base][1], *(() if base == "bool" else (True,)), *(() if free else (None,))):
        with pytest.raises(idim.errors.IdimError) as refused:
            Config(**asked | {name: came})
        said = str(refused.value)
        assert said.startswith(f"--{name.replace('_', '-')}: expected ") and "\n" not in said
    if name not in CHOSEN:
        for came, held in GIVEN[base][0]:
            value = getattr(Config(**asked | {name: came}), name)
            assert value == held and type(value) is type(held)
            assert not isinstance(value, tuple) or {*map(type, value)} <= {int, str}


@pytest.mark.parametrize("arm", ARMS)
def test_a_flag_that_an_arm_does_not_read_is_refused(arm, tmp_path):
    """By every command that measures one arm, and by a program. A file may serve several arms."""
    found = ARMS[arm]
    read = {f.name for f in dataclasses.fields(found.Settings)} | {found.rate_flag, "learning_rate"}
    read |= {found.size.flag, found.size.several} if found.size else set()
    words = {"targets": "query", "projection": "dense", "engine": "plain"}
    rates = {n for n in FIELDS if n.endswith("_learning_rate")}
    for name in (rates | {*words, "lora_alpha", "rank", "d", "size", "grid", "ranks"}) - read:
        for command in ("train", "search"):
            if name not in options(command) or (command == "search" and arm not in measured()):
                continue
            asked = [f"--{name.replace('_', '-')}", words.get(name, 3), "--out", tmp_path / "out"]
            code, out, err = run(
                command, "--model", "mlp:64-8-10", "--task", "digits", "--arm", arm, *asked
            )
            flag = f"idim: {asked[0]}: expected none with "
            assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(flag), err
    with pytest.raises(idim.errors.IdimError, match="expected none with"):
        check_read(arm, dict.fromkeys(rates - read, 0.1))
    assert not (tmp_path / "out").exists()
    check_read(arm, dict.fromkeys(read | {"model", "task", "seed", "max_steps", "out"}, 3))


@pytest.mark.parametrize(
    "name", [n for n, f in FIELDS.items() if f.metadata["least"] == 0 and f.default == 0]
)
def test_a_zero_is_no_way_to_say_nothing(name, tmp_path):
    """Whoever writes --learning-rate 0 wants a control that learns nothing, not the default."""
    commands = [c for c in ("search", "train", "sweep", "compare") if name in options(c)]
    assert commands
    for command in commands:
        many = ("--models", "--tasks") if command == "compare" else ("--model", "--task")
        asked = ["--" + name.replace("_", "-"), 0, "--out", tmp_path, "--max-steps", 2]
        if name in ("seed", "max_steps"):
            continue
        code, out, err = run(command, many[0], "mlp:64-8-10", many[1], "digits", *asked)
        assert (code, out) == (2, "") and err.count("\n") == 1
        told = "expected more than 0; leave it out", "expected none with", "expected a number from"
        assert any(f"idim: {asked[0]}: {what}" in err for what in told), err


@pytest.mark.parametrize("name", GROUP.commands)
def test_every_command_shows_an_example_that_it_takes(name):
    command = GROUP.commands[name]
    example = command.epilog.removeprefix("Example: ").split()
    assert example[:2] == ["idim", name] and " ".join(example) in command.short_help
    flags = {option for p in command.params for option in p.opts}
    assert {word for word in example if word.startswith("--")} <= flags
    assert "--json" in flags


@pytest.mark.parametrize("name", GROUP.commands)
def test_the_help_has_a_line_for_every_flag(name):
    code, stdout, _ = run(name, "--help")
    assert code == 0
    for parameter in GROUP.commands[name].params:
        assert parameter.opts[-1] in stdout


def test_the_help_groups_the_commands():
    _, stdout, _ = run("--help")
    where = [stdout.index(panel) for panel in COMMANDS]
    assert where == sorted(where)


def test_there_is_one_source_of_the_version():
    assert run("--version") == (0, f"idim {idim.__version__}\n", "")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "idim.__version__"}
    assert f"\nversion: {idim.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {idim.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def ended(verdict: Verdict) -> SweepSummary:
    return SweepSummary(
        **dict.fromkeys(("model", "task", "arm", "protocol", "metric", "rule"), "x"),
        D=1,
        n_scored=1,
        tuned=False,
        verdict=verdict,
        cost=Cost({}, {}, 0),
    )


@pytest.mark.parametrize("verdict", Verdict)
def test_the_exit_code_follows_from_the_verdict_alone(verdict):
    code = code_of(ended(verdict))
    assert code == (0 if verdict in ("reached", "trivial", "head_alone", "budget_limited") else 3)
    assert code_of(ended(Verdict.REACHED), ended(verdict)) == code


def test_ls_alone_lists_what_can_be_listed():
    code, stdout, _ = run("ls")
    # The last one lists a store, and not what there is to choose from.
    assert code == 0 and [line.split()[0] for line in stdout.splitlines()] == [*LISTS, "runs"]
    assert json.loads(run("ls", "--json")[1]).keys() == {*LISTS, "runs"}


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (["ls", "protocols"], "trust"),
        (["doctor"], "healthy"),
        (["report", "store"], "summaries"),
        (["doctor", "--verify", "store"], "healthy"),
        (
            ["compare", "--models", "toy", "--tasks", "toy", "--quick", "--out", "store"],
            "summaries",
        ),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_json_is_one_object(tmp_path, monkeypatch, words, holds):
    monkeypatch.chdir(tmp_path)
    if "store" in words and words[0] != "compare":
        run("search", "--model", "toy", "--task", "toy", "--quick", "--out", "store")
    code, stdout, _ = run(*words, "--json")
    assert code == 0 and stdout.count("\n") == 1 and holds in json.loads(stdout)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("idim se", "search"),
        ("idim search --preci", "--precision"),
        ("idim search --protocol li", "li2018"),
        ("idim ls mo", "models"),
    ],
)
def test_the_shell_completes_commands_flags_and_values(words, offered):
    environment = os.environ | {
        "_IDIM_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    # As the installed command calls it.
    program = "import sys; sys.argv[0] = 'idim'; from idim.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and offered in done.stdout.split()


def test_help_and_version_load_neither_torch_nor_numpy():
    program = (
        "import sys; from idim.cli import app\n"
        "try: app(['--version'])\n"
        "except SystemExit: print({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
