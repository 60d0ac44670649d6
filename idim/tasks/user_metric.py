"""A metric that a user brings: a function of outputs and labels, or Trainer's compute_metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from idim.errors import IdimError, expected, one_of
from idim.tasks.scores import METRICS, REGRESSION
from idim.tasks.takes import Takes
from idim.values.metric import METRICS as METRIC_TABLE

#: (outputs, labels) of a whole split -> score; larger is better.
Metric = Callable[[torch.Tensor, torch.Tensor], float]
#: What Trainer takes.
ComputeMetrics = Callable[[EvalPrediction], Mapping[str, Any]]


@dataclass(frozen=True)
class UserMetric:
    """A score by the user's own rule, in whatever unit, and what records call it."""

    name: str
    function: Metric

    def __call__(self, outputs: torch.Tensor, labels: torch.Tensor) -> float:
        try:
            return _as_score(self.function(outputs, labels))
        except IdimError:
            raise
        except Exception as error:  # whatever the user's own function raises
            said = f"{type(error).__name__}: {error}"[:160]
            raise expected(f"metric {self.name}", "one that gives a score", said) from None

    @classmethod
    def of(cls, function: Metric) -> UserMetric:
        return cls(_named(getattr(function, "__name__", "score")), function)

    @classmethod
    def entry(cls, compute: ComputeMetrics, entry: str | None) -> UserMetric:
        """One entry of what ``compute_metrics`` returns; without a name its only one."""
        name = entry or str(getattr(compute, "__name__", "compute_metrics"))
        return cls(_named(name), lambda outputs, labels: _entry(compute, entry, outputs, labels))


def chosen(metric: str | Metric | None, compute_metrics: ComputeMetrics | None) -> str | UserMetric:
    """The metric that a caller asks for.

    Raises: IdimError for something that is no metric, and for two metrics.
    """
    if compute_metrics is not None and not callable(compute_metrics):
        raise expected("compute_metrics", "a function, as Trainer takes it", compute_metrics)
    if not (metric is None or isinstance(metric, str) or callable(metric)):
        raise expected("metric", "a name, or a function of outputs and labels", metric)
    if compute_metrics is None:
        return UserMetric.of(metric) if callable(metric) else metric or "accuracy"
    if callable(metric):
        raise expected("metric", "the name of an entry of compute_metrics", "a function")
    return UserMetric.entry(compute_metrics, metric)


def _named(name: str) -> str:
    """A name of ours says which scores there are and how far they err. Users count as they like."""
    return f"own {name}" if name in METRIC_TABLE else name


def _entry(
    compute: ComputeMetrics, entry: str | None, outputs: torch.Tensor, labels: torch.Tensor
) -> float:
    found = compute(EvalPrediction(predictions=outputs.numpy(), label_ids=labels.numpy()))
    if not isinstance(found, Mapping) or not found:
        raise expected("compute_metrics", "a dict of scores by name, as Trainer asks", found)
    if entry is None and len(found) > 1:
        raise one_of("metric", found, entry)
    # Trainer puts eval_ before the names. A user may have them so.
    wanted = next(iter(found)) if entry is None else entry
    for key in (wanted, wanted.removeprefix("eval_"), f"eval_{wanted}"):
        if key in found:
            return _as_score(found[key])
    raise one_of("metric", found, entry)


def _as_score(value: object) -> float:
    """A number of Python's, of NumPy's or of torch's."""
    if isinstance(value, (torch.Tensor, np.ndarray)) and len(value.reshape(-1)) == 1:
        value = value.item()
    if not isinstance(value, Real):
        raise TypeError(f"not a number, but a {type(value).__name__}")
    return float(value)


def check_metric(metric: str | UserMetric, takes: Takes) -> None:
    """Raise ``IdimError`` for a name that is no metric, or none for such a model."""
    if not isinstance(metric, str):
        return
    if metric not in METRICS | REGRESSION:
        raise one_of("metric", METRICS | REGRESSION, metric)
    if takes.language:
        raise expected("metric", "a function of outputs and labels, for a language model", metric)
    if takes.outputs == 1 and metric in METRICS:
        raise expected(
            "metric",
            "one of " + ", ".join(REGRESSION) + " or a function, for a model with one output",
            metric,
        )
