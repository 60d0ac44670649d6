"""A task made of what a program holds in memory: two data sets, a metric, a loss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from idim.errors import IdimError, expected
from idim.tasks import mistakes
from idim.tasks.base import Task
from idim.tasks.batches import (
    IGNORED,
    Padder,
    default_loss,
    joined,
    labels_in,
    moved,
    outputs_of,
    padded,
    relabelled,
    where,
)
from idim.tasks.digests import bytes_of, inputs_of
from idim.tasks.examples import indexed, prepared, with_tokenizer
from idim.tasks.numbering import AS_THEY_ARE, MANY, label_of, numbered, plain, scalar
from idim.tasks.scores import METRICS, REGRESSION, majority_of
from idim.tasks.splits import carve, shuffled
from idim.tasks.takes import Brought, Takes, reads
from idim.tasks.text import padder, padding_shows
from idim.tasks.user_metric import UserMetric, check_metric
from idim.values.options import Options

Loss = Callable[[nn.Module, Any], torch.Tensor]
_PARTS = ("train", "evaluation")


class InMemoryTask(Task):
    """Examples by index: ``(inputs, label)`` or a mapping with ``labels`` or ``label``.

    Of a mapping a transformers model gets the fields that it takes, as with Trainer. Texts are
    tokenised. Rows of unequal length are padded at their end. Labels may be names (numbered as the
    model does where it knows them), truth values, or whole numbers. Those that are no classes of
    the model are numbered in their order.

    Args:
        name: what records call it.
        train: the training part: a ``datasets.Dataset``, a DataLoader, a list …
        evaluation: the part that is measured on.
        metric: a name of ``METRICS`` or ``REGRESSION``, or the user's own.
        loss: ``(module, batch) -> scalar``. None: the model's own for mappings, cross entropy for
            pairs.
        options: how to load a task.
        takes: what the model takes.
        brought: what the caller brings beside the data.

    Raises:
        IdimError: for data that make no task.
    """

    def __init__(
        self,
        name: str,
        train: Any,
        evaluation: Any,
        metric: str | UserMetric,
        loss: Loss | None,
        options: Options = Options(),
        takes: Takes = Takes(),
        brought: Brought = Brought(),
    ):
        check_metric(metric, takes)
        self.name, self._metric, self._takes = name, metric, takes
        self._loss, self._own_loss = loss or default_loss, loss is not None
        self.metric = metric if isinstance(metric, str) else metric.name
        found = {
            what: indexed(what, data)
            for what, data in zip(_PARTS, (train, evaluation), strict=True)
        }
        ready = {what: data for what, (data, _) in found.items()}
        self._collate = brought.collate or next(
            (collate for _, collate in found.values() if collate), None
        )
        self._padder: Padder | None = None
        self._numbering = AS_THEY_ARE
        # A collator that reads what the model does not take gets the examples as they are.
        self._prepares = not self._collate or (bool(takes.fields) and reads(ready["train"][0]))
        labels: dict[str, list[Any]] = {}
        if self._prepares:
            ready, labels = self._prepare(ready, brought, options)
        self._floats = takes.outputs == 1 and loss is None
        cut = carve(len(ready["train"]), {} if options.official else {"tune": 0.1, "locked": 0.1})
        self._data = {split: (ready["train"], i) for split, i in cut.items()} | {
            "measure": (ready["evaluation"], torch.arange(len(ready["evaluation"])))
        }
        self._lengths = {
            split: torch.tensor([len(data[i]["input_ids"]) for i in index.tolist()])
            for split, (data, index) in self._data.items()
            if self._prepares and reads(data[0]) and "input_ids" in data[0]
        }
        self.fingerprint, rows = self._digested()
        self.notes = (*self.notes, *self._look(labels), *mistakes.of_rows(name, *rows))
        measured = self._all_labels() if self._classes else None
        self.classes = int(measured.max()) + 1 if measured is not None and measured.numel() else 0
        self.majority = None
        if measured is not None and self.classes and metric == "accuracy":
            self.majority = majority_of(measured)

    def _prepare(
        self, ready: dict[str, Any], brought: Brought, options: Options
    ) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """Examples as the model takes them, and their labels; the labels' classes are noted."""
        brought = with_tokenizer(ready["train"][0], self._takes, brought)
        if brought.tokenizer:
            self._padder = padder(brought.tokenizer)
        made = {
            what: prepared(what, data, self._takes, brought, options)
            for what, data in ready.items()
        }
        ready = {what: data for what, (data, _) in made.items()}
        labels = {
            what: [plain(what, label_of(data[i])) for i in range(len(data))]
            for what, data in ready.items()
        }
        self._numbering = numbered(
            set(labels["train"]),
            set(labels["evaluation"]),
            self._takes,
            self._classes,
            not self._own_loss,
        )
        texts = [[text] for _, texts in made.values() for text in texts]
        self.names = self._numbering.names
        self.notes = (*self._numbering.notes, *mistakes.of_texts(self.name, texts))
        return ready, labels

    def _digested(self) -> tuple[str, tuple[list[bytes], list[bytes]]]:
        """A digest of the whole task, and of each example's inputs: training part, evaluation.

        Cost: every example is read once.
        """
        sizes = {split: len(index) for split, (_, index) in self._data.items()}
        digest = hashlib.sha256(repr((self.name, self.metric, sizes)).encode())
        rows: tuple[list[bytes], list[bytes]] = [], []
        for split, (data, index) in self._data.items():
            for i in index.tolist():
                example = data[i]
                for part in bytes_of(example):
                    digest.update(part)
                rows[split == mistakes.MEASURE].append(
                    mistakes.digest(bytes_of(inputs_of(example)))
                )
        if self._numbering.replaces:
            number = self._numbering.number
            digest.update(repr(sorted(map(repr, number.items()))).encode())
        return digest.hexdigest()[:16], rows

    def _look(self, labels: dict[str, list[Any]]) -> tuple[str, ...]:
        """Look for mistakes in the labels of the two parts, where these are known."""
        if not labels or any(MANY in found for found in labels.values()):
            return ()
        splits = {
            split: [labels[_PARTS[split == mistakes.MEASURE]][i] for i in index.tolist()]
            for split, (_, index) in self._data.items()
        }
        if self._numbering.number:
            return mistakes.of_classes(self.name, splits, parts=_PARTS)
        if self.metric in REGRESSION:
            mistakes.of_numbers(splits, self.metric, _PARTS)
        return ()

    def _all_labels(self) -> torch.Tensor:
        """Of the measuring split, as classes."""
        index = torch.arange(self.sizes()["measure"]).split(256)
        try:
            labels = torch.cat(
                [
                    self._numbering.truth(labels_in(self._batch("measure", i))).flatten()
                    for i in index
                ]
            )
        except Exception as error:  # examples that do not go together, or a collator's own error
            raise expected(
                "evaluation",
                "examples that make a batch",
                f"{type(error).__name__}: {error}".splitlines()[0][:160],
            ) from None
        return labels[labels != IGNORED].long()

    @property
    def _classes(self) -> bool:
        return isinstance(self._metric, str) and self._metric in METRICS

    def _batch(
        self,
        split: str,
        index: torch.Tensor,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Any:
        data, at = self._data[split]
        examples = [data[i] for i in at[index].tolist()]
        if self._prepares and isinstance(examples[0], Mapping):
            examples = [{**e, "labels": self._label(e["labels"])} for e in examples]
        if self._collate:
            batch = self._collate(examples)
        elif isinstance(examples[0], Mapping):
            batch = padded(examples, self._padder, self._takes.pad)
        else:
            batch = default_collate([(*e[:-1], self._label(e[-1])) for e in examples])
        return moved(relabelled(batch), device, dtype)

    def _label(self, label: Any) -> Any:
        if self._numbering.replaces:
            label = self._numbering.number[scalar(label)]
        if plain("label", label) is MANY:
            return label
        return float(scalar(label)) if self._floats else scalar(label)

    def train_size(self) -> int:
        return len(self._data["train"][1])

    def sizes(self) -> dict[str, int]:
        return {split: len(index) for split, (_, index) in self._data.items()}

    def batches(self, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
        yield from shuffled(self.train_size(), seed).split(batch_size)

    def loss(self, module: nn.Module, batch: Any) -> torch.Tensor:
        return self._loss(module, self._batch("train", batch, *where(module)))

    def score(self, module: nn.Module, split: str) -> float:
        outputs, labels = [], []
        for index in self._order(split, module):
            batch = self._batch(split, index, *where(module))
            out, truth = outputs_of(module, batch).float().cpu(), labels_in(batch).cpu()
            if self._classes and out.dim() == truth.dim() + 1 == 3:  # a label a token
                asked = truth != IGNORED
                out, truth = out[asked], truth[asked]
            outputs.append(out)
            labels.append(truth)
        out, truth = joined(outputs), joined(labels)
        if not torch.isfinite(out).all():
            return float("nan")
        if isinstance(self._metric, UserMetric):
            return self._metric(out, truth)
        if self._metric in REGRESSION:
            return float(REGRESSION[self._metric](truth.float().flatten(), out.flatten()))
        # One output is a yes or a no.
        single = out.dim() == 1 or out.shape[-1] == 1
        guess = (out.flatten() > 0).long() if single else out.argmax(-1)
        truth = self._numbering.truth(truth).flatten().long()
        return float(METRICS[self._metric](truth, guess.flatten()))

    def _order(self, split: str, module: nn.Module) -> list[torch.Tensor]:
        """Batches of examples to score, in their order.

        Where padding shows in a model's outputs, a batch holds examples of one length.
        """
        order, lengths = torch.arange(self.sizes()[split]), self._lengths.get(split)
        if lengths is None:
            return list(order.split(256))
        ends = torch.stack([lengths.argmin(), lengths.argmax()])
        device, dtype = where(module)

        def logits(n: int) -> torch.Tensor:
            return outputs_of(module, self._batch(split, ends[:n], device, dtype))

        if not padding_shows(lengths, logits, device):
            return list(order.split(256))
        return [
            batch for length in lengths.unique() for batch in order[lengths == length].split(256)
        ]

    def check(self, module: nn.Module) -> None:
        """The loss of two examples and the score of all: what fails there fails after training."""
        try:
            one = self._batch("measure", torch.arange(1), *where(module))
            out = outputs_of(module, one) if self._classes else None
            width = None if out is None else out.shape[-1] if out.dim() > 1 else 1
            if width == 1 and not self._own_loss and not isinstance(one, Mapping):
                raise ValueError("of one output cross entropy is always 0; give a loss")
            if width is not None and self.classes > max(width, 2):
                raise ValueError(f"{self.classes} classes, but {width} outputs")
            super().check(module)
            self.score(module, "measure")
        except IdimError:
            raise
        except Exception as error:  # what the caller's own model, loss or data raise
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ValueError(said) from None
