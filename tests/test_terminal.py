"""What reaches the terminal.

The answer comes before anything that can fail. A mistake is one line. Nothing that came from a file
can command the terminal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_store import question, record
from typer.testing import CliRunner

from idim import arms, conductor
from idim.answers import summary
from idim.cli import app
from idim.cli import known as known_answers
from idim.errors import IdimError, expected, is_out_of_memory, listed, one_of, printable
from idim.report import page, style
from idim.report.figures.against_size import figure_against_size
from idim.store import Store
from idim.values.findings import Crossing
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.spec import digest

NET = [
    "--model",
    "mlp:64-8-10",
    "--task",
    "digits",
    "--max-steps",
    "30",
    "--learning-rate",
    "0.01",
    "--baselines",
    "1",
    "--repeats",
    "1",
]
SEARCH = ["search", *NET, "--quick", "--arm", "did", "--grid", "20,80"]


def idim(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def shell(line: str, cwd, **env) -> subprocess.CompletedProcess:
    """A line for a shell in which $idim is the program."""
    env = {**os.environ, "idim": f"{sys.executable} -m idim", "IDIM": sys.executable, **env}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
    )


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A store whose search is done, so that asking again trains nothing; and what it answers."""
    out = tmp_path_factory.mktemp("known") / "o"
    code, stdout, _ = idim(*SEARCH, "--out", out, "--json")
    return out, code, json.loads(stdout)


def fails(error):
    def failing(*args, **more):
        raise error

    return failing


#: Every step between the last run and the end of the program, and how each can fail.
EXITS = {
    "reading the store": (Store, "questions"),
    "deriving": (summary, "summarise"),
    "keeping": (Store, "keep"),
    "drawing": (page, "of_study"),
    "a summary": (summary, "keep"),
    "a figure": (page, "draw"),
    "opening": (summary, "derive"),
}
ERRORS = [
    OSError(28, "No space left on device"),
    IdimError("x: expected y; got z"),
    ValueError("ParseException: Expected end of text"),
    MemoryError(),
    KeyError("id"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("name", EXITS)
def test_nothing_after_the_last_run_takes_the_answer_away(known, monkeypatch, name, error):
    out, code, answer = known
    (out / "made.json").unlink(missing_ok=True)  # so that all is made again
    monkeypatch.setattr(*EXITS[name], fails(error))
    got, stdout, stderr = idim(*SEARCH, "--out", out, "--json")
    assert (got, json.loads(stdout)) == (code, answer)
    assert "idim: warning: " in stderr and "Traceback" not in stderr
    got, stdout, _ = idim(*SEARCH, "--out", out)
    assert (
        got == code
        and f"protocol quick: {answer['verdict']}" in stdout
        and f"records: {out / 'runs'}" in stdout
    )


BROKEN = {
    "cut": b"{",
    "empty": b"",
    "a list": b"[]",
    "another's fields": b'{"id": "x"}',
    "bytes": b"\xff\xfe\x00",
    "a newer schema": None,
    "an arm nobody knows": None,
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("folder", ["searches", "runs"])
def test_another_questions_broken_file_takes_no_answer_away(known, name, folder):
    out, code, answer = known
    raw = (
        BROKEN[name]
        or json.dumps(
            (question(name="x") if folder == "searches" else record())
            | ({"schema": 99} if "schema" in name else {"arm": "x", "kind": "x"})
        ).encode()
    )
    path = out / folder / "x.json"
    path.write_bytes(raw)
    try:
        got, stdout, stderr = idim(*SEARCH, "--out", out)
        assert (
            got == code
            and f"protocol quick: {answer['verdict']}" in stdout
            and "figure: " in stdout
        )
        assert f"skipped 1 file that do not fit: {folder}/x.json" in stderr
        assert stderr.count("skipped") == 1  # said once
        assert idim("report", out)[0] == 0
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "name",
    [
        "$a$ and $b$",
        "$x^{$",
        "\\frac{$1$",
        "_x",
        "a\x1b[31mb",
        "日本",
        "x" * 5000,
        "<i>\"'&</i>",
        "a\nb",
    ],
)
def test_a_name_is_text_in_a_figure_and_on_the_page(known, tmp_path, name):
    out, _, _ = known
    store = Store(out)
    summaries = [dataclasses.replace(s, model=name, task=name) for s in summary.derive(store)]
    drawn = style.png(figure_against_size(store.all(), summaries))
    assert drawn.startswith(b"\x89PNG")
    page.write_html(page.page(store, summaries, tmp_path), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_bytes().decode("utf-8")
    assert text.endswith("</html>\n") and "<i>" not in text and "\x1b" not in text


def test_a_page_goes_where_a_name_leads_and_replaces_no_device(tmp_path):
    text = "<!doctype html>\n</html>\n"  # a pipe that nobody reads holds little
    (tmp_path / "link.html").symlink_to("real.html")
    page.write_html(text, tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "real.html").read_text().endswith(
        "</html>\n"
    )
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    page.write_html(text, tmp_path / "pipe")
    assert os.read(reader, 15) == b"<!doctype html>" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    (tmp_path / "circle").symlink_to("circle")
    for where in (
        tmp_path,
        tmp_path / "real.html" / "x",
        Path("/proc/nosuch/x"),
        tmp_path / "circle",
        Path("a\0"),
        Path("a" * 300),
    ):
        with pytest.raises(IdimError, match="--html: "):
            page.write_html(text, where)


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--html", "folder"],
        ["report", "--html", "file/page.html"],
        ["report", "--html", "circle"],
        ["report", "--html", "a\0"],
        ["report", "--paper", "file"],
        ["report", "--paper", "file/deep"],
        ["import", "--figure", "folder"],
        ["export-records", "runs.csv"],
        ["export-records", "file/runs.csv"],
    ],
    ids=" ".join,
)
def test_where_nothing_can_be_written_is_said_before_any_work(known, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Store, "all", lambda store: pytest.fail("the store is read"))
    Path("folder").mkdir()
    Path("runs.csv").mkdir()
    Path("file").write_text("")
    Path("circle").symlink_to("circle")
    command, *more = words
    code, stdout, stderr = idim(command, known[0], *more)
    kind = "folder" if "--paper" in words else "file"
    assert (code, stdout) == (2, "") and len(stderr.splitlines()) == 1
    assert f"{words[-2] if more[1:] else 'file'}: expected a {kind} that can be written" in stderr


def test_names_in_a_store_reach_no_terminal_as_commands(tmp_path):
    config = record()["run_info"]["config"] | {
        "model": "m\x1b]0;owned\x07\x9b2J",
        "task": "\x1b[2J\u202e",
    }
    run = record()
    run |= {"run_info": run["run_info"] | {"config": config}, "key": digest(config)}
    store = Store(tmp_path)
    store.put(Record.from_json(run))
    asked = question(run["key"])
    asked |= {"model": config["model"], "task": config["task"], "left_out": ["\x1b[31m"]}
    store.put_question(Question.from_json(asked))
    for words in (
        ["report", tmp_path, "--html", tmp_path / "x.html"],
        ["doctor", "--verify", tmp_path],
    ):
        _code, stdout, stderr = idim(*words)
        assert not any(c in stdout + stderr for c in "\x1b\x07\x9b\u202e"), stdout
    assert "\\x1b" in idim("report", tmp_path)[1]


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--model", "\x1b[31m", "--task", "digits"],
        ["ls", "\x1b[31m"],
        ["report", "\x1b[31m"],
        ["export", "\x1b[31m", "--lora", "x"],
        ["search", "--config", "\x1b[31m"],
        ["train", "--model", "mlp:64-10", "--task", "\x1b[31m"],
        ["nosuch\x1b[31m"],
        ["train", "--d", "\x1b[31m"],
    ],
)
def test_a_mistake_repeats_no_escape(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = idim(*words)
    assert (
        code == 2
        and stdout == ""
        and "\x1b" not in stderr
        and len(stderr.strip().splitlines()) == 1
    )


def test_printable_leaves_words_of_any_script():
    for text in ("naïve 好い שלום مرحبا नमस्ते 👩‍👩‍👧 a\u200cb", "a\tb\nc"):
        assert printable(text) == text
    assert printable("\x1b[0m\u202e\udcff\x85") == "\\x1b[0m\\u202e\\udcff\\x85"


def test_a_list_in_a_message_is_cut_and_counted():
    assert listed("abc") == "a, b, c" and listed("abcdef", 2) == "a, b … (6 in all)"
    long = [f"{i:03} {'x' * 200}" for i in range(900)]
    for message in (str(one_of("name", long, "y")), str(expected("name", listed(long), long))):
        assert len(message) < 1000 and " … (900 in all); got " in message
    assert listed(arms.ARMS, room=600) == ", ".join(arms.ARMS)  # what we know ourselves is whole


@pytest.mark.parametrize(
    "words",
    [
        ["--nosuch"],
        ["nosuch"],
        ["train", "--nosuch"],
        ["train", "--d", "x"],
        ["train", "--d"],
        ["train", "extra"],
        ["report"],
        ["export"],
        ["train", "--d", "9" * 5000],
        ["search", "--threshold", "x"],
        ["search", "--seed", "1.5"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_words_takes_one_line(words):
    code, stdout, stderr = idim(*words)
    assert (
        (code, stdout) == (2, "")
        and stderr.startswith("idim: ")
        and len(stderr.strip().splitlines()) == 1
    )


def test_help_is_still_there():
    assert (
        idim("--help")[0] == 0
        and "search" in idim("--help")[1]
        and "--model" in idim("search", "--help")[1]
    )
    code, stdout, stderr = idim()
    assert code == 2 and "search" in stdout + stderr


# Standard output as it may be.


def onto(stream, *words) -> tuple[int, str]:
    """The exit code with this standard output, and what came on standard error."""
    err = io.StringIO()
    with (
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        app([str(w) for w in words])
    return ended.value.code, err.getvalue()


def commands(out: Path) -> dict[str, list]:
    return {
        "list": ["ls", "protocols"],
        "help": ["--help"],
        "help of a command": ["search", "--help"],
        "report": ["report", out],
        "search": [*SEARCH, "--out", out],
        "json": [*SEARCH, "--out", out, "--json"],
        "doctor": ["doctor", "--verify", out],
    }


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["list", "report", "search", "json"])
def test_an_answer_is_printed_in_every_encoding(known, encoding, name):
    out, code, answer = known
    raw = io.BytesIO()
    ended, err = onto(io.TextIOWrapper(raw, encoding=encoding), *commands(out)[name])
    text = raw.getvalue().decode(encoding)
    assert ended == (code if name in ("search", "json") else 0), err
    assert "trust" in text if name == "list" else answer["verdict"] in text
    assert ("records: " in text) == (name == "search")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_page_is_written_whatever_the_locale(known, tmp_path, monkeypatch, encoding):
    monkeypatch.setattr("locale.getencoding", lambda: encoding, raising=False)
    monkeypatch.setattr("io.text_encoding", lambda *_: encoding)
    assert (
        onto(
            io.TextIOWrapper(io.BytesIO(), encoding=encoding),
            "report",
            known[0],
            "--html",
            tmp_path / "page.html",
        )[0]
        == 0
    )
    assert "×" in (tmp_path / "page.html").read_bytes().decode("utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("name", commands(Path()))
def test_a_full_standard_output_is_one_line(known, name):
    with open("/dev/full", "w") as full:
        code, err = onto(full, *commands(known[0])[name])
    assert (
        code == 2
        and err.splitlines()[-1]
        == "idim: standard output: expected room for the answer; got No space left on device"
    )


@pytest.mark.parametrize("name", commands(Path()))
def test_a_reader_who_went_away_ends_it_quietly(known, name):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        code, err = onto(gone, *commands(known[0])[name])
    assert code == 141 and "idim: standard" not in err and "Broken" not in err


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (
            "$idim ls protocols > /dev/full",
            2,
            "idim: standard output: expected room for the answer; got No space left on device",
        ),
        (
            "$idim --help > /dev/full",
            2,
            "idim: standard output: expected room for the answer; got No space left on device",
        ),
        ("($idim ls protocols; exit $?) | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("$idim ls protocols >&-", 0, ""),
        ("$idim ls protocols 2>&-", 0, ""),
    ],
)
def test_the_program_ends_as_others_do(tmp_path, line, code, says):
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr.strip()) == (code, says)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_standard_error_takes_no_answer_away(tmp_path):
    out = io.StringIO()
    with (
        open("/dev/full", "w") as full,
        contextlib.redirect_stderr(full),
        contextlib.redirect_stdout(out),
        pytest.raises(SystemExit) as ended,
    ):
        app([*SEARCH, "--out", str(tmp_path / "o"), "--json"])
    assert ended.value.code in (0, 3) and json.loads(out.getvalue())["verdict"]


def test_json_is_alone_on_standard_output(tmp_path, monkeypatch):
    real = conductor.train_one

    def chatty(*args, **more):
        print("Do you wish to run the custom code? [y/N]")
        return real(*args, **more)

    monkeypatch.setattr(conductor, "train_one", chatty)
    code, stdout, stderr = idim("train", *NET[:8], "--arm", "full", "--out", tmp_path, "--json")
    assert code == 0 and json.loads(stdout)["status"] == "ok" and "custom code" in stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_number_that_json_lacks(known, monkeypatch, value):
    out, _, answer = known
    made = dataclasses.replace(
        SearchSummary.from_json(answer), interval=Crossing(None, value, None, 0.9)
    )
    monkeypatch.setattr(known_answers, "answer", lambda config, name: None)
    monkeypatch.setattr(conductor, "measure", lambda *_: made)
    _, stdout, _ = idim(*SEARCH, "--out", out, "--json")
    found = json.loads(stdout, parse_constant=lambda c: pytest.fail(c))
    assert found["interval"] == {"estimate": None, "low": None, "high": None, "level": 0.9}


# Mistakes in files.


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\xff\xfe", "valid TOML"),
        (b'model = "\xe9"', "valid TOML"),
        (b"max_steps = " + b"9" * 5000, "valid TOML"),
        (b"a = " + b"[" * 50_000, "valid TOML"),
        (b'model = "a\\u0000b"\ntask = "digits"', "text in Unicode without a null character"),
        (b'model = "mlp:64-10"\ntask = "digits"\nseed = 99999999999999999999', "at most 64 bits"),
        (b'model = "mlp:64-10"\ntask = "digits"\nout = ""', "--out: expected the name of a folder"),
        (b"grid = [true]", "a list, each a whole number"),
        (None, "--config: expected a TOML file"),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, raw, says):
    file = tmp_path / "c.toml"
    file.mkdir() if raw is None else file.write_bytes(raw)
    code, stdout, stderr = idim("train", "--config", file, "--arm", "full", "--max-steps", "1")
    assert (code, stdout) == (2, "") and says in stderr and len(stderr.strip().splitlines()) == 1


def test_a_config_with_a_mark_of_byte_order(tmp_path):
    file = tmp_path / "c.toml"
    file.write_bytes(
        b"\xef\xbb\xbf" + b'model = "mlp:64-10"\ntask = "digits"\nmax_steps = 1\narm = "full"\n'
    )
    assert idim("train", "--config", file, "--out", tmp_path / "o")[0] == 0


def test_a_config_that_may_not_be_read(tmp_path, monkeypatch):
    file = tmp_path / "c.toml"
    file.write_text("")
    monkeypatch.setattr(Path, "read_text", fails(PermissionError(13, "Permission denied")))
    code, _, stderr = idim("train", "--config", file)
    assert (
        code == 2
        and "--config: expected a file that can be read" in stderr
        and "Permission denied" in stderr
    )


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seed", "9" * 20),
        ("--d", "9" * 20),
        ("--seed", str(2**63)),
        ("--out", ""),
        ("--model", "\udcff"),
        ("--max-eval-samples", "9" * 30),
    ],
)
def test_numbers_and_names_that_nothing_holds(tmp_path, monkeypatch, flag, value):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = idim("train", *NET[:8], "--arm", "did", flag, value)
    assert (
        (code, stdout) == (2, "")
        and flag in stderr
        and len(stderr.strip().splitlines()) == 1
        and not list(tmp_path.iterdir())
    )


# A disk that fills up.


def test_a_full_disk_under_the_records_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails(OSError(28, "No space left on device")))
    code, _stdout, stderr = idim("train", *NET[:8], "--arm", "full", "--out", tmp_path / "o")
    assert (
        code == 2
        and "No space left on device" in stderr.splitlines()[-1]
        and "Traceback" not in stderr
    )
    assert not list((tmp_path / "o").glob("runs/*"))


def test_a_full_disk_under_save_takes_no_score_away(tmp_path, tiny_bert, reviews, monkeypatch):
    from idim import peft_plugin

    monkeypatch.setattr(peft_plugin, "save_subspace", fails(OSError(28, "No space left on device")))
    words = [
        "train",
        "--model",
        tiny_bert,
        "--task",
        reviews,
        "--arm",
        "did",
        "--d",
        20,
        "--max-steps",
        2,
        "--out",
        tmp_path / "o",
        "--save",
        tmp_path / "s",
    ]
    code, stdout, stderr = idim(*words)
    assert (
        code == 2
        and stdout.startswith("accuracy ")
        and stderr.splitlines()[-1].startswith(f"idim: --save: not written; {tmp_path / 's'}")
    )
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 1
    refused = idim(*words[:-1], tmp_path / "reviews.csv" / "s")
    assert (
        refused[0] == 2
        and refused[1] == ""
        and "--save: expected a folder that can be written" in refused[2]
    )


def test_a_store_that_cannot_be_written_is_reported_on_before_it_is_said(known, monkeypatch):
    out, _, answer = known
    monkeypatch.setattr(os, "replace", fails(OSError(30, "Read-only file system")))
    code, stdout, stderr = idim("report", out)
    assert (
        code == 2
        and answer["verdict"] in stdout
        and stderr.strip().splitlines()[-1].endswith("got 'Read-only file system'")
    )


def test_a_comparison_that_ends_early_prints_what_it_has(tmp_path, monkeypatch):
    real, calls = conductor.measure, []

    def second_fails(*args):
        calls.append(1)
        return real(*args) if len(calls) == 1 else fails(KeyboardInterrupt())()

    monkeypatch.setattr(conductor, "measure", second_fails)
    code, stdout, stderr = idim(
        "compare",
        "--models",
        "mlp:64-8-10",
        "--tasks",
        "digits",
        *NET[4:],
        "--grid",
        "20,80",
        "--quick",
        "--out",
        tmp_path,
    )
    assert (
        code == 130
        and "mlp:64-8-10" in stdout
        and stderr.splitlines()[-1].startswith("idim: stopped")
    )


def test_a_long_value_is_not_repeated_whole():
    assert len(str(expected("x", "y", "z" * 10**6))) < 400
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(ValueError("out of memory"))
