"""Published results that stand beside ours: those of peft's method comparison."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idim.errors import expected, first_line, printable


@dataclass(frozen=True)
class Imported:
    """One published result: one run at one size, so that no error is known.

    Attributes:
        method: the name of its file, without the model.
        model: its base model.
        metric: what the score is.
        score: on the test split.
        trained: the numbers that it trains.
        seconds: of training.
        file_bytes: of its adapter.
        source: its file.
    """

    method: str
    model: str
    metric: str
    score: float
    trained: int
    seconds: float
    file_bytes: int
    source: str


def read(path: str) -> list[Imported]:
    """The results in a JSON file of peft's method comparison, or in a folder of them.

    Raises:
        IdimError: names the first file that is none, and says what it lacks.
    """
    where = Path(path)
    files = sorted(where.glob("*.json")) if where.is_dir() else [where]
    if not files or not all(file.is_file() for file in files):
        raise expected(
            "import", "a JSON file of peft's method comparison, or a folder of them", path
        )
    found = [_result(file) for file in files]
    return sorted(found, key=lambda r: (r.trained, r.method))


def _result(file: Path) -> Imported:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        run, train = value["run_info"], value["train_info"]
        score, metric = _score(train["metrics"])
        return Imported(
            method=printable(file.stem.split("--")[0] + _rest(file.stem)),
            model=printable(str(run["train_config"]["model_id"])),
            metric=printable(metric),
            score=score,
            trained=_whole(train["num_trainable_params"]),
            seconds=float(train["train_time"]),
            file_bytes=_whole(train["file_size"]),
            source=printable(file.name),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        what = "a result of peft's method comparison"
        raise expected(f"{file}", what, f"{type(error).__name__}: {first_line(error)}") from None


def _score(metrics: list[dict[str, Any]]) -> tuple[float, str]:
    """The test score of the last entry that has one."""
    for entry in reversed(metrics):
        for name in entry:
            if name.startswith("test ") and "loss" not in name:
                score = float(entry[name])
                if not 0 <= score <= 1:
                    raise ValueError(f"{name}: expected a number from 0 to 1; got {score}")
                return score, name
    raise LookupError("metrics: expected an entry with a test score; got none")


def _rest(stem: str) -> str:
    """What a file's name says beside method and model, as ``rank32``."""
    said = stem.partition("--")[2].rpartition("B-")[2] if "--" in stem else ""
    return f" {said}" if said and said != "default" else ""


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a whole number that is not negative; got {value!r:.60}")
    return value
