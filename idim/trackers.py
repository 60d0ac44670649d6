"""Runs in TensorBoard, Weights & Biases or MLflow, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from idim.errors import expected
from idim.values.record import Record

#: What --report-to takes, and the package that each needs.
NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
#: What all runs belong to, where a tracker has such a thing.
_PROJECT = "idim"


def tracker(name: str, folder: str) -> Callable[[Record], None]:
    """A function that reports a run that was made: its settings, its learning curve, its score.

    It is given to a ``Watcher`` as ``finished``, so runs from the store are not reported again.

    Args:
        name: one of ``NEEDS``.
        folder: where TensorBoard and MLflow keep what they get.

    Raises:
        IdimError: the package is not installed.
    """
    if not _there(NEEDS[name]):
        raise expected("--report-to", f"{name} installed: pip install {NEEDS[name]}", name)
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    # The trackers ask it whether this is the main process.
    PartialState()
    kind = LOGGER_TYPE_TO_CLASS[name]

    def finished(record: Record) -> None:
        run = kind(**_named(name, record, folder))
        # Newer versions of accelerate begin a run here, older ones as it is made.
        getattr(run, "start", lambda: None)()
        run.store_init_configuration(settings(record))
        for values, step in logged(record):
            run.log(values, step=step)
        run.finish()

    return finished


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _named(name: str, record: Record, folder: str) -> Mapping[str, Any]:
    """What each tracker calls the run and the place where it keeps it."""
    title = f"{record.kind}-{record.spec.arm}-{record.key[:8]}"
    if name == "mlflow":
        return {"experiment_name": _PROJECT, "logging_dir": folder, "run_name": title}
    if name == "wandb":
        return {"run_name": _PROJECT, "name": title, "dir": folder}
    return {"run_name": title, "logging_dir": folder}


def settings(record: Record) -> dict[str, str | int | float | bool]:
    """What decided a run, flat: names with dots, and values that every tracker takes."""
    found: dict[str, str | int | float | bool] = {"key": record.key, "D": record.setting.D}

    def take(prefix: str, value: object) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                take(f"{prefix}.{name}" if prefix else str(name), inner)
        elif isinstance(value, (str, int, float, bool)):
            found[prefix] = value
        elif value is not None:
            found[prefix] = str(value)

    take("", record.spec.to_json())
    return found


def logged(record: Record) -> list[tuple[dict[str, float], int]]:
    """What a run scored: at each evaluation, and at its end with its costs; each with its step."""
    training = record.training
    rows = [({training.metric: p.score}, p.step) for p in training.curve if p.score is not None]
    end: dict[str, float] = {
        "trained_numbers": training.d_total,
        "seconds": training.seconds,
        "peak_memory_bytes": training.peak_memory_bytes,
    }
    if record.score is not None:
        end["score"] = record.score
    return [*rows, (end, training.steps)]
