"""A task made of what a program holds in memory: two data sets, a metric, a loss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from idim.errors import expected, one_of
from idim.tasks.base import METRICS, Options, Task, carve, check_split, majority_of, shuffled

Loss = Callable[[nn.Module, object], torch.Tensor]
Metric = Callable[[torch.Tensor, torch.Tensor], float]


class Given(Task):
    """Examples by index, ``(inputs, label)`` or a mapping with ``labels``; batches by torch's default collation.

    ``metric`` is a name of ``METRICS`` or a function of all outputs and labels, larger being better. ``loss(module, batch)`` defaults to the model's
    own for mappings and to cross entropy for pairs.
    """

    def __init__(self, name: str, train: Sequence, evaluation: Sequence, metric: str | Metric, loss: Loss | None, official: bool = False):
        if isinstance(metric, str) and metric not in METRICS:
            raise one_of("metric", METRICS, metric)
        for what, data in (("train", train), ("evaluation", evaluation)):
            if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
                raise expected(what, "a data set with a length, indexed by number", type(data).__name__)
            check_split(len(data), what)
        self.name, self._loss, self._metric = name, loss or _loss, metric
        self.metric = metric if isinstance(metric, str) else getattr(metric, "__name__", "score")
        parts = carve(len(train), {} if official else {"tune": 0.1, "locked": 0.1})
        self._data = {split: (train, index) for split, index in parts.items()} | {"measure": (evaluation, torch.arange(len(evaluation)))}
        labels = _labels(self._batch("measure", torch.arange(len(evaluation)))) if isinstance(metric, str) else None
        whole = labels is not None and not labels.is_floating_point()
        self.classes = int(labels.max()) + 1 if whole else 0
        self.majority = majority_of(labels.flatten()) if whole and metric == "accuracy" else None
        digest = hashlib.sha256(repr((name, self.metric, {k: len(i) for k, (_, i) in self._data.items()})).encode())
        for split, (data, index) in self._data.items():
            for i in index.tolist():
                _digest(digest, data[i])
        self.fingerprint = digest.hexdigest()[:16]

    def _batch(self, split: str, index: torch.Tensor, device: torch.device | str = "cpu"):
        data, at = self._data[split]
        return _to(default_collate([data[i] for i in at[index].tolist()]), device)

    def train_size(self) -> int:
        return len(self._data["train"][1])

    def sizes(self) -> dict[str, int]:
        return {split: len(index) for split, (_, index) in self._data.items()}

    def batches(self, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
        yield from shuffled(self.train_size(), seed).split(batch_size)

    def loss(self, module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return self._loss(module, self._batch("train", batch, next(module.parameters()).device))

    def score(self, module: nn.Module, split: str) -> float:
        device, outputs, labels = next(module.parameters()).device, [], []
        for index in torch.arange(self.sizes()[split]).split(256):
            batch = self._batch(split, index, device)
            outputs.append(_outputs(module, batch).float().cpu())
            labels.append(_labels(batch).cpu())
        out, truth = torch.cat(outputs), torch.cat(labels)
        if not torch.isfinite(out).all():
            return float("nan")
        if callable(self._metric):
            return float(self._metric(out, truth))
        return METRICS[self._metric](truth, out.argmax(-1), max(self.classes, out.shape[-1]))


def given(name: str, train: Sequence, evaluation: Sequence, metric: str | Metric, loss: Loss | None) -> Callable[[object, Options], Given]:
    """A loader for the catalogue."""
    return lambda tokenizer, options: Given(name, train, evaluation, metric, loss, options.official)


def _outputs(module: nn.Module, batch) -> torch.Tensor:
    out = module(**batch) if isinstance(batch, Mapping) else module(batch[0])
    return getattr(out, "logits", out)


def _labels(batch) -> torch.Tensor:
    return batch["labels"] if isinstance(batch, Mapping) else batch[1]


def _loss(module: nn.Module, batch) -> torch.Tensor:
    if isinstance(batch, Mapping):
        return module(**batch).loss
    return F.cross_entropy(_outputs(module, batch).float(), batch[1])


def _to(batch, device):
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {k: _to(v, device) for k, v in batch.items()}
    return [_to(v, device) for v in batch]


def _digest(digest, example) -> None:
    if isinstance(example, Mapping):
        example = [v for _, v in sorted(example.items())]
    for part in example:
        digest.update(part.contiguous().numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
