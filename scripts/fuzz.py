"""Throw broken inputs at the command line, and check that each one ends well.

    python scripts/fuzz.py --inputs 10000 --seed 0

The inputs are flags, TOML files, tables, folders, adapters, records and questions. Every input must
end with exit code 0, 2 or 3 (``idim doctor`` also with 1) in bounded time and without a traceback.
A mistake of the user gives one line. ``--json`` prints one JSON value. No command writes outside of
``--out``.

Input number i depends only on the seed and on i, so ``--only 1234`` makes that input again. All
inputs run in this process, and none needs a network.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from typer.main import get_command
from typer.testing import CliRunner

from idim.arms import ARMS
from idim.cli import app
from idim.values.spec import digest

#: An input hangs after so many seconds of processor time, or after so many seconds by the clock.
#: The second limit is wide, because other work may hold the processor.
WORK, WAIT = 60, 900
NET = [
    "--model",
    "mlp:64-8-10",
    "--task",
    "digits",
    "--max-steps",
    "2",
    "--learning-rate",
    "0.01",
    "--max-train-samples",
    "64",
    "--max-eval-samples",
    "64",
]
SMALL = [*NET, "--baselines", "1", "--repeats", "1", "--quick", "--arm", "did", "--grid", "20,40"]

#: Texts that trip parsers, paths, terminals and formats.
TEXTS = [
    "",
    " ",
    "-1",
    "0",
    "1",
    "2",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 20,
    "9" * 5000,
    "0x10",
    "\u0661\u0662",
    "\x1b[31m",
    "a\nb",
    "$x$ $y$",
    "../x",
    ".",
    "..",
    "/dev/null",
    "/dev/zero",
    "/proc/self",
    "nosuch",
    "a" * 300,
    "a/" * 2500,
    "\u00e9\u597d",
    "\udcff",
    "true",
    "[1]",
    ",",
    "1,,2",
    "1,1",
    "None",
    "--json",
    "-",
    "<script>\"'&",
    "%s{}{0}",
    "\u202e",
    "text",
    "label",
    "accuracy",
    "matthews",
    "pearson",
    "loss",
    "said",
    "lora",
    "full",
    "did",
]
#: Values of every type of JSON and TOML.
VALUES: list = [
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    2**31,
    2**63,
    10**30,
    0.5,
    -0.5,
    1.5,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../x",
    "/tmp/x",
    "\x00",
    "\x1b[2J",
    "a" * 5000,
    '"><b>',
    "$a$ $b$",
    [],
    [1],
    ["x"],
    [None],
    [[]],
    {},
    {"a": 1},
    {"score": None},
    [{"step": 1, "score": 9}],
]
#: A large value of these flags is not a mistake. It only makes a long run.
BUDGET = {
    "--max-steps",
    "--num-train-epochs",
    "--baselines",
    "--repeats",
    "--max-runs",
    "--workers",
    "--grid",
    "--ranks",
    "--d",
    "--rank",
    "--batch-size",
}
SHORT = ["-1", "0", "1", "2", "1.5", "nan", "x", "", "9" * 20, "1,2", "1,,1", "20,40", "-1,3", "7"]
MODELS = [
    "toy",
    "mlp:",
    "mlp:64",
    "mlp:64-10",
    "mlp:64-0-10",
    "mlp:64--10",
    "mlp:64-" + "9" * 11 + "-10",
    "mlp:x",
    "mnist-fc",
    "mlp:64-8-10",
    "mlp:4-2",
]


@dataclass
class Place:
    """Where one input lives.

    It starts in ``cwd`` and writes to ``out``. Both are made anew for each input. ``kept`` holds
    what all inputs are made from, by name.
    """

    root: Path
    kept: dict[str, Path] = field(default_factory=dict)

    @property
    def cwd(self) -> Path:
        return self.root / "cwd"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def fresh(self) -> None:
        """Empty ``cwd`` and remove ``out``."""
        for folder in (self.cwd, self.out):
            shutil.rmtree(folder, ignore_errors=True)
        self.cwd.mkdir(parents=True)


Case = Callable[[random.Random, Place], list[str]]


# Each kind of input has one function. It writes files below cwd or into the store, and returns the
# words of a command.


def flags(r: random.Random, place: Place) -> list[str]:
    """A command with flags and values that may not fit."""
    command = r.choice(["search", "sweep", "train", "compare", "report", "export", "ls", "doctor"])
    options = {
        o for p in get_command(app).commands[command].params for o in p.opts if o.startswith("--")
    } - {"--out", "--save", "--html", "--merged", "--lora", "--verify"}
    words = [command]
    if command in ("search", "sweep", "train"):
        base = [
            w for pair in zip(NET[::2], NET[1::2], strict=True) if r.random() < 0.9 for w in pair
        ]
        words += base
    if command == "ls":
        words += [r.choice([*TEXTS, "models", "tasks", "arms"])]
    if command == "report":
        words += [r.choice([str(place.out), *TEXTS])]
    if command == "export":
        words += [
            r.choice([str(place.kept["adapter"]), *TEXTS]),
            *r.choice([[], ["--lora", str(place.out / "l")], ["--merged", str(place.out / "m")]]),
        ]
    for _ in range(r.randint(0, 4)):
        flag = r.choice([*sorted(options), "--nosuch"])
        words.append(flag)
        if flag in BUDGET:
            words.append(r.choice(SHORT))
        elif flag in ("--model", "--models"):
            words.append(r.choice([*MODELS, *TEXTS]))
        elif r.random() < 0.9:
            words.append(r.choice(TEXTS))
    if command in ("search", "sweep", "train", "compare"):
        short = {"--max-steps": "2", "--max-train-samples": "64", "--max-eval-samples": "64"}
        short |= (
            {"--baselines": "1", "--repeats": "1", "--max-runs": "3"}
            if command in ("search", "compare")
            else {"--baselines": "1", "--repeats": "1"}
            if command == "sweep"
            else {}
        )
        words += [w for flag, value in short.items() if flag not in words for w in (flag, value)]
        words += ["--no-tune"] if command != "train" else []
        words += ["--quick"] if r.random() < 0.7 else []
        words += [
            "--out",
            r.choice(
                [str(place.out)] * 9
                + ["", "/dev/null", "/proc/nosuch", str(place.out / ("a" * 300))]
            ),
        ]
    return words


def toml(r: random.Random, place: Place) -> list[str]:
    """A TOML file for ``--config``, with keys, values and bytes that may not fit."""
    keys = [
        "model",
        "task",
        "arm",
        "protocol",
        "projection",
        "grid",
        "d",
        "seed",
        "out",
        "metric",
        "threshold",
        "absolute",
        "lean",
        "max-steps",
        "learning_rate",
        "text-columns",
        "precision",
        "executor",
        "workers",
        "nosuch",
        "a.b",
        "[x]",
    ]
    lines = [
        'model = "mlp:64-8-10"',
        'task = "digits"',
        "max_steps = 2",
        "max_train_samples = 64",
        "max_eval_samples = 64",
    ][: r.randint(0, 5)]
    for key in r.sample(keys, r.randint(0, 4)):
        small = key in ("max-steps", "workers", "grid", "d")
        value = (
            r.choice([0, 1, 2, -1, [], [20, 40], [True], ["x"], "x", True, 1.5, 2**64])
            if small
            else r.choice(VALUES)
        )
        lines.append(
            f"{key} = {_toml(value)}"
            if key != "out"
            else f"out = {_toml(r.choice(['', str(place.out), 'x' + chr(0)]))}"
        )
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    raw = r.choice(
        [raw] * 6
        + [b"\xef\xbb\xbf" + raw, _bitten(r, raw), raw.decode("utf-8", "replace").encode("utf-16")]
    )
    file = place.cwd / "c.toml"
    file.write_bytes(raw)
    more = ["--out", str(place.out)] if r.random() < 0.8 or b"out" not in raw else []
    config = r.choice([str(file)] * 15 + [str(place.cwd), "nosuch.toml", "/dev/null"])
    return [
        "train",
        "--config",
        config,
        *more,
        *(["--max-steps", "2"] if r.random() < 0.9 or b"max" not in raw else []),
    ]


def tables(r: random.Random, place: Place) -> list[str]:
    """A user's own table, or a task file that declares one."""
    rows = [
        {"text": f"the {'good' if i % 2 else 'bad'} film {i}", "label": i % 2}
        for i in range(r.choice([0, 1, 2, 5, 40, 40, 40, 40]))
    ]
    for _ in range(r.randint(0, 3)):
        if rows:
            row = r.choice(rows)
            row[r.choice(["text", "label", "text2", "prompt", "completion", ""])] = r.choice(VALUES)
    if r.random() < 0.2:
        values = r.choice(
            [
                [True, False],
                ["ja", "nein"],
                [-1, 1],
                [0, 10**7],
                [0, 2**63],
                [0.0, float("inf")],
                [[1], [2]],
                ["\udcff", "a"],
                ["1", "x"],
            ]
        )
        for i, row in enumerate(rows):
            row["label"] = values[i % len(values)]
    name = r.choice(["t.csv", "t.json", "t.jsonl", "t.parquet", "t.CSV", "t.txt", "t"])
    raw = _table(name, rows)
    file = place.cwd / name
    file.write_bytes(
        r.choice(
            [raw] * 6 + [b"\xef\xbb\xbf" + raw, _bitten(r, raw), raw[: len(raw) // 2], raw * 2, b""]
        )
    )
    if r.random() < 0.15:
        declared = {"train": name} | {
            k: r.choice([*VALUES, name, "text", "label", "accuracy"])
            for k in r.sample(
                ["train", "evaluation", "text", "label", "metric", "chance", "name", "x"], 2
            )
        }
        file = place.cwd / "task.toml"
        file.write_text(
            "\n".join(f"{k} = {_toml(v)}" for k, v in declared.items()),
            encoding="utf-8",
            errors="surrogatepass",
        )
    more = r.choice(
        [[]] * 5
        + [
            ["--metric", r.choice(["matthews", "pearson", "spearman", "loss", "exact_match", "x"])],
            ["--text-columns", r.choice(TEXTS)],
            ["--label-column", r.choice(TEXTS)],
        ]
    )
    return [
        "train",
        "--model",
        str(place.kept["base"]),
        "--task",
        str(file),
        "--arm",
        "full",
        "--max-steps",
        "1",
        *more,
        "--out",
        str(place.out),
    ]


def folders(r: random.Random, place: Place) -> list[str]:
    """A folder as a task or as a model: tables, pictures, IDX files, a checkpoint."""
    kind = r.choice(["tables", "pictures", "idx", "model", "model"])
    here = place.cwd / "f"
    if kind == "model":
        shutil.copytree(place.kept["base"], here)
        file = r.choice(sorted(here.iterdir()))
        if file.suffix == ".json" and r.random() < 0.7:
            value = json.loads(file.read_text())
            _break(r, value)
            file.write_text(json.dumps(value))
        else:
            _spoil(r, file, pipes=False)  # transformers would wait for a pipe
        rows = [{"text": "good film", "label": 1}, {"text": "bad film", "label": 0}] * 10
        (place.cwd / "t.csv").write_bytes(_table("t.csv", rows))
        return [
            "train",
            "--model",
            str(here),
            "--task",
            str(place.cwd / "t.csv"),
            "--arm",
            "full",
            "--max-steps",
            "1",
            "--out",
            str(place.out),
        ]
    here.mkdir()
    if kind == "tables":
        rows = [{"text": f"film {i}", "label": i % 2} for i in range(20)]
        for name in r.sample(
            [
                "train.csv",
                "train-0.csv",
                "train.json",
                "test.csv",
                "validation.parquet",
                "dev.csv",
                "x.csv",
                "train",
                ".train.csv",
            ],
            r.randint(0, 4),
        ):
            (here / name).write_bytes(_table(name, rows))
        model = str(place.kept["base"])
    elif kind == "pictures":
        for part in r.sample(["train", "test", "validation", "x"], r.randint(0, 3)):
            for label in r.sample(["0", "1", "cat", "\u00e9", ".x"], r.randint(0, 3)):
                (here / part / label).mkdir(parents=True)
                for i in range(r.randint(0, 4)):
                    (here / part / label / f"{i}{r.choice(['.png', '.jpg', '.txt'])}").write_bytes(
                        r.choice([PNG, PNG, PNG[:20], b""])
                    )
        model = r.choice(["mlp:64-8-2", "mlp:1-2"])
    else:
        for part in ("train", "t10k"):
            n = r.choice([0, 1, 4, 40, 2**31])
            head = b"\0\0\x08\x03" + b"".join(
                v.to_bytes(4, "big") for v in (n, 2, r.choice([2, 2, 2**31]))
            )
            (here / f"{part}-images-idx3-ubyte").write_bytes(
                _bitten(r, head + bytes(4 * min(n, 40)))
                if r.random() < 0.3
                else head + bytes(4 * min(n, 40))
            )
            (here / f"{part}-labels-idx1-ubyte").write_bytes(
                b"\0\0\x08\x01" + n.to_bytes(4, "big") + bytes(i % 2 for i in range(min(n, 40)))
            )
        return [
            "train",
            "--model",
            "mlp:4-2",
            "--task",
            "idx",
            "--data-dir",
            str(here),
            "--arm",
            "full",
            "--max-steps",
            "1",
            "--out",
            str(place.out),
        ]
    return [
        "train",
        "--model",
        model,
        "--task",
        str(here),
        "--arm",
        "full",
        "--max-steps",
        "1",
        "--out",
        str(place.out),
    ]


def adapters(r: random.Random, place: Place) -> list[str]:
    """A spoiled adapter for ``idim export``."""
    here = place.cwd / "a"
    shutil.copytree(place.kept["adapter"], here)
    config, weights = here / "adapter_config.json", here / "adapter_model.safetensors"
    if r.random() < 0.6:
        value = json.loads(config.read_text())
        _break(r, value)
        config.write_text(json.dumps(value))
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        key = r.choice(sorted(tensors))
        spoiled = r.choice(["drop", "nan", "shape", "dtype", "rename", "bytes", "bytes"])
        if spoiled == "bytes":
            _spoil(r, r.choice([config, weights]))
        else:
            x = tensors.pop(key)
            new = {
                "drop": None,
                "nan": x * float("nan"),
                "shape": x.new_zeros(3),
                "dtype": x.to(int),
                "rename": x,
            }[spoiled]
            if new is not None:
                tensors["x" if spoiled == "rename" else key] = new.contiguous()
            save_file(tensors, weights)
    more = (
        ["--base", r.choice([str(place.kept["base"]), str(place.kept["other"]), "toy", ""])]
        if r.random() < 0.3
        else []
    )
    return ["export", str(here), r.choice(["--merged", "--lora"]), str(place.out / "x"), *more]


def records(r: random.Random, place: Place) -> list[str]:
    """A store with one spoiled record."""
    shutil.copytree(place.kept["store"], place.out)
    file = r.choice(sorted((place.out / "runs").iterdir()))
    if r.random() < 0.8:
        value = json.loads(file.read_text())
        for _ in range(r.choice([1, 1, 2])):
            _break(r, value)
        if r.random() < 0.6:  # like a forger, who makes the checksum and the key fit
            value.pop("checksum", None)
            with contextlib.suppress(Exception):
                value["key"] = digest(value["run_info"]["config"])
                file.unlink()
                file = file.with_name(value["key"] + ".json")
        file.write_text(json.dumps(value))
    else:
        _spoil(r, file)
    return _read_store(r, place)


def questions(r: random.Random, place: Place) -> list[str]:
    """A store with one spoiled question."""
    shutil.copytree(place.kept["store"], place.out)
    file = r.choice(sorted((place.out / "searches").iterdir()))
    if r.random() < 0.85:
        value = json.loads(file.read_text())
        for _ in range(r.choice([1, 1, 2])):
            _break(r, value)
        if r.random() < 0.3:
            value["id"] = r.choice(
                ["../../x", "/tmp/idim-fuzz", 'a"b', "..", "", "x" * 300, "a\nb", "\x1b[0m", "ok"]
            )
            with contextlib.suppress(Exception):
                file = file.rename(file.with_name(f"{value['id']}.json"))
        file.write_text(json.dumps(value))
    else:
        _spoil(r, file)
    if r.random() < 0.1:
        (place.out / r.choice(["summaries", "figures"])).symlink_to(place.cwd)
    return _read_store(r, place)


def methods(r: random.Random, place: Place) -> list[str]:
    """Arms, sizes and targets, most of which fit."""
    command = r.choice(["train", "search", "sweep", "frontier", "recommend"])
    odd = ["0", "-1", "999999999999", "9" * 20, "x", "", "1,2", "2/4", "1,1"]

    def size() -> str:
        return r.choice(["1", "2", "3"]) if r.random() < 0.8 else r.choice(odd)

    words = [command, *NET, "--quick", "--out", str(place.out)]
    words += [] if command == "train" else ["--no-tune"]
    name = r.choice([*ARMS]) if r.random() < 0.9 else "nosuch"
    own = ARMS[name].size if name in ARMS else None
    if command == "frontier":
        some = [r.choice([*ARMS]) if r.random() < 0.9 else r.choice(TEXTS) for _ in "ab"]
        words += ["--no-latency", "--repeats", "1", "--baselines", "1"]
        words += [
            "--arms",
            ",".join(f"{arm}:{size()}" if arm in ARMS and ARMS[arm].size else arm for arm in some),
        ]
    elif command == "recommend":
        words += ["--budget", r.choice(["0.0001", "0", "0.01", "nan", *odd]), "--max-runs", "3"]
    else:
        words += ["--arm", name]
        flag = (
            (own.flag if command == "train" else own.several)
            if own
            else r.choice(["size", "sizes", "d"])
        )
        words += [f"--{flag}", size()] if own or r.random() < 0.2 else []
        words += [] if command == "train" else ["--baselines", "1", "--repeats", "1"]
    if r.random() < 0.3:
        words += ["--targets", r.choice(["default", "all-linear", "1", "nosuch", *TEXTS])]
    return words


def published(r: random.Random, place: Place) -> list[str]:
    """A spoiled result of peft's method comparison."""
    value = {
        "run_info": {"train_config": {"model_id": r.choice(["a/b", *TEXTS])}},
        "train_info": {
            "metrics": [{"step": 1}, {"test accuracy": 0.5}],
            "num_trainable_params": 10,
            "train_time": 1.5,
            "file_size": 10,
        },
    }
    file = place.cwd / "lora--b-3B-rank4.json"
    for _ in range(r.randint(0, 2)):
        _break(r, value)
    file.write_text(json.dumps(value))
    if r.random() < 0.3:
        _spoil(r, file)
    words = ["import", r.choice([str(file), str(place.cwd)] if r.random() < 0.9 else TEXTS)]
    if r.random() < 0.4:
        words += ["--figure", r.choice([str(place.out / "x.png"), ""])]
    return [*words, *r.choice([[], ["--json"]])]


KINDS: dict[str, Case] = {
    f.__name__: f
    for f in (flags, toml, tables, folders, adapters, records, questions, methods, published)
}


def _read_store(r: random.Random, place: Place) -> list[str]:
    """A command that reads the store."""
    return r.choice(
        [
            ["report", str(place.out)],
            ["report", str(place.out), "--html", str(place.out / "page.html")],
            ["doctor", "--verify", str(place.out)],
            ["search", *SMALL, "--out", str(place.out), *r.choice([[], ["--json"]])],
        ]
    )


def _break(r: random.Random, value: dict | list) -> None:
    """Change, drop or add one value anywhere in a tree of JSON."""
    places = [(value, k) for k in (value if isinstance(value, dict) else range(len(value)))]
    for holder, key in list(places):
        if isinstance(holder[key], (dict, list)) and holder[key]:
            inner = [
                (holder[key], k)
                for k in (holder[key] if isinstance(holder[key], dict) else range(len(holder[key])))
            ]
            places += inner
            for h, k in inner:
                if isinstance(h[k], (dict, list)) and h[k]:
                    places += [
                        (h[k], x) for x in (h[k] if isinstance(h[k], dict) else range(len(h[k])))
                    ]
    if not places:
        return
    holder, key = r.choice(places)
    what = r.random()
    old = holder[key]
    if what < 0.15:
        del holder[key]
    elif what < 0.3 and isinstance(old, (int, float)) and not isinstance(old, bool):
        holder[key] = r.choice([old + 1, -old, old * 1.1, old * 1000, old / 3])
    elif what < 0.35 and isinstance(holder, dict):
        holder[r.choice(["schema", "x", "id", "kind", "arm"])] = r.choice(VALUES)
    else:
        holder[key] = r.choice(VALUES)


def _bitten(r: random.Random, raw: bytes) -> bytes:
    """The same bytes, but for a few."""
    out = bytearray(raw)
    for _ in range(r.randint(1, 4)):
        if out:
            out[r.randrange(len(out))] = r.randrange(256)
    return bytes(out)


def _spoil(r: random.Random, file: Path, pipes: bool = True) -> None:
    """Damage, remove or replace a file. ``pipes``: a pipe may take its place."""
    raw = file.read_bytes()
    file.unlink()
    what = r.choice(
        ["cut", "bite", "empty", "folder", "gone", "pipe", "zeros", "deep", "latin", "mark"]
    )
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        if pipes:
            os.mkfifo(file)
    elif what != "gone":
        new = {
            "cut": raw[: r.randrange(len(raw) + 1)],
            "bite": _bitten(r, raw),
            "empty": b"",
            "zeros": bytes(100),
            "deep": b"[" * 100_000,
            "latin": raw + b"\xff",
            "mark": b"\xef\xbb\xbf" + raw,
        }
        file.write_bytes(new[what])


def _toml(value: object) -> str:
    """A value as TOML. Not every result is valid TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return "" if value is None else json.dumps(value) if isinstance(value, str) else str(value)


def _table(name: str, rows: list[dict]) -> bytes:
    """The rows as a file of the type that the name ends in."""
    import pandas as pd

    out = io.BytesIO()
    try:
        if name.endswith(".parquet"):
            pd.DataFrame(rows).to_parquet(out)
            return out.getvalue()
    except Exception:  # parquet cannot hold a column of several types
        pd.DataFrame(
            [
                {k: str(v).encode("utf-8", "replace").decode() for k, v in row.items()}
                for row in rows
            ]
        ).to_parquet(out)
        return out.getvalue()
    if name.endswith((".json", ".jsonl")):
        lines = [json.dumps(row) for row in rows]
        return ("\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]").encode()
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["text", "label"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _png() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (8, 8), 128).save(out, "PNG")
    return out.getvalue()


PNG = _png()


def prepare(root: Path) -> Place:
    """Make what the inputs start from.

    These are two small models, an adapter, and a store with a search and a sweep.
    """
    import torch
    from peft import TaskType, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
    from transformers.utils import logging

    import idim

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    place = Place(root)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "the"]
    for name, width in (("base", 8), ("other", 12)):
        place.kept[name] = root / name
        torch.manual_seed(0)
        BertTokenizerFast(vocab={w: i for i, w in enumerate(words)}).save_pretrained(root / name)
        BertForSequenceClassification(
            BertConfig(
                vocab_size=len(words),
                hidden_size=width,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=8,
                max_position_embeddings=16,
            )
        ).save_pretrained(root / name)
    place.kept |= {"adapter": root / "adapter", "store": root / "store"}
    model = get_peft_model(
        BertForSequenceClassification.from_pretrained(root / "base"),
        idim.SubspaceConfig(d=40, task_type=TaskType.SEQ_CLS),
    )
    model.save_pretrained(root / "adapter")
    # Enough steps to learn in: without a signal no rank is tried, and nothing is drawn.
    swept = [*NET, "--max-steps", "100", "--baselines", "1", "--repeats", "1", "--quick"]
    for words in (["search", *SMALL], ["sweep", *swept, "--ranks", "1,2"]):
        done = CliRunner().invoke(app, [*words, "--out", str(root / "store")])
        if done.exit_code not in (0, 3):
            raise RuntimeError(f"{words}: {done.output}")
    for folder in ("figures", "summaries"):
        shutil.rmtree(root / "store" / folder)
    return place


class Hangs(BaseException):
    """An input does not end. Not an Exception, because other code catches every Exception."""


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Raise ``Hangs`` in the body when it takes more than ``WORK`` or ``WAIT`` seconds."""

    def late(number: int, _) -> None:
        raise Hangs(
            f"not done after {WAIT} s"
            if number == signal.SIGALRM
            else f"not done after {WORK} s of work"
        )

    timers = {
        signal.SIGALRM: (signal.ITIMER_REAL, WAIT),
        signal.SIGPROF: (signal.ITIMER_PROF, WORK),
    }
    before = {number: signal.signal(number, late) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def _files(root: Path) -> set[Path]:
    """Everything that lies under the root but outside of ``out``."""
    return {
        p
        for folder in ("cwd", "base", "other", "adapter", "store")
        for p in (root / folder).rglob("*")
    } | set(root.iterdir())


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watching: list[Place] = []
_outside: list[str] = []


def _audit(event: str, args: tuple) -> None:
    """Note every file outside of ``out`` that Python opens to write, makes, moves or removes."""
    if not _watching or event not in (
        "open",
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.symlink",
        "os.rmdir",
        "os.truncate",
    ):
        return
    if event == "open" and not (isinstance(args[2], int) and args[2] & _WRITES):
        return
    for path in args[: 2 if event in ("os.rename", "os.symlink") else 1]:
        if isinstance(path, (str, bytes)):
            name = os.path.realpath(os.fsdecode(path))
            if (
                not name.startswith((str(_watching[0].out), "/dev/", "/proc"))
                and not name.endswith((".pyc",))
                and "__pycache__" not in name
            ):
                _outside.append(f"{event} {name}")


def try_one(number: int, seed: int, place: Place, kinds: list[str]) -> tuple[str, list[str], str]:
    """Run one input.

    Returns:
        Its kind, the words of its command, and what went wrong. The last is empty if nothing did.
    """
    r = random.Random(f"{seed}/{number}")
    kind = kinds[number % len(kinds)]
    place.fresh()
    words = KINDS[kind](r, place)
    home, before = Path.cwd(), _files(place.root)
    os.chdir(place.cwd)
    _outside.clear()
    _watching.append(place)
    try:
        with _bounded():
            result = CliRunner().invoke(app, words)
    except Hangs as error:
        return kind, words, f"hangs: {error}"
    finally:
        _watching.clear()
        os.chdir(home)
    wrong = _judge(words, result)
    made = sorted(
        str(p.relative_to(place.root))
        for p in _files(place.root) - before
        if not p.is_relative_to(place.out)
    )
    if made or _outside:
        wrong = wrong or f"written outside of --out: {made or _outside[:3]}"
    return kind, words, wrong


def _judge(words: list[str], result) -> str:
    """What is wrong with the result of a command. Empty if nothing is."""
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return "".join(traceback.format_exception(error))
    lines = result.stderr.strip().splitlines()
    if "Traceback" in result.stderr:
        return f"a traceback: {result.stderr[-2000:]}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", result.output.replace("\r", "")):
        return f"a control character is printed: {result.output[-500:]!r}"
    if result.exit_code == 2 and not (lines and lines[-1].startswith("idim: ")) and len(words) > 1:
        return f"no line that begins with idim: {result.stderr[-500:]!r}"
    allowed = (0, 1, 2, 3) if words[0] == "doctor" else (0, 2, 3)
    if result.exit_code not in allowed:
        return f"exit code {result.exit_code}: {result.output[-500:]}"
    if (
        "--json" in words
        and result.exit_code in (0, 3)
        and words[0] not in ("ls", "report", "export", "doctor")
    ):
        try:
            json.loads(result.stdout)
        except ValueError:
            return f"not JSON: {result.stdout[:500]!r}"
    return ""


def fuzz(
    numbers, seed: int, kinds: list[str], say: Callable[[str], None] = lambda line: None
) -> list[tuple[int, str, list[str], str]]:
    """Try the inputs of these numbers.

    Returns:
        Number, kind, words and fault of every input that went wrong.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="idim-fuzz-") as folder:
        place = prepare(Path(folder).resolve())
        for number in numbers:
            began = time.process_time()
            kind, words, wrong = try_one(number, seed, place, kinds)
            took = time.process_time() - began
            if took > 10:
                say(f"{number} {kind} took {took:.0f} s: {words!r:.300}")
            if number % 500 == 499:
                say(f"{number + 1} tried")
            if wrong:
                found.append((number, kind, words, wrong))
                say(f"{number} {kind}: {' '.join(words)!r:.600}\n{wrong[-1500:]}\n")
    return found


sys.addaudithook(_audit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, default=None, help="one input, by its number")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    args = parser.parse_args()
    kinds = args.kinds.split(",")
    numbers = range(args.first, args.first + args.inputs) if args.only is None else [args.only]
    began = time.perf_counter()
    found = fuzz(numbers, args.seed, kinds, lambda line: print(line, flush=True))
    counts = Counter(kind for _, kind, _, _ in found)
    print(
        f"{len(numbers)} inputs, {len(found)} went wrong {dict(counts)}, "
        f"{time.perf_counter() - began:.0f} s"
    )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
