"""A task made of what a program holds in memory: two data sets, a metric, a loss."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset, default_collate, default_convert
from transformers.trainer_pt_utils import nested_concat

from idim.errors import IdimError, expected, one_of
from idim.models import labels_of, positions_of, reader
from idim.tasks.base import (
    METRICS,
    REGRESSION,
    Options,
    Task,
    carve,
    check_split,
    classes_of,
    majority_of,
    shuffled,
)
from idim.tasks.text import padder, padding_shows, tokenised
from idim.tasks.user_metric import UserMetric

Loss = Callable[[nn.Module, object], torch.Tensor]
#: What a label may be called among an example's fields.
_LABELS = ("labels", "label", "label_ids")
#: The label of a token that nothing is asked of, as transformers has it.
_IGNORED = -100
#: Of the fields that a transformers model takes, those that hold what it reads.
_READ = ("input_ids", "pixel_values", "inputs_embeds", "input_values", "input_features")
#: Above this a label is no number of a class.
_MOST_CLASSES = 1 << 31


@dataclass(frozen=True)
class Takes:
    """What a model takes: for a transformers model the names of its inputs, what it calls its
    classes, its outputs and its padding.

    ``fields``: empty for any other module, which is given what an example holds. ``outputs``: 0
    where the model does not tell.
    """

    fields: tuple[str, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()
    outputs: int = 0
    pad: int = 0
    longest: int | None = None
    language: bool = False
    source: str = ""

    @classmethod
    def of(cls, module: nn.Module) -> Takes:
        from transformers import PreTrainedModel

        if not isinstance(module, PreTrainedModel):
            return cls()
        config, language = module.config, module.get_output_embeddings() is not None
        return cls(
            tuple(inspect.signature(module.forward).parameters),
            tuple(labels_of(config).items()),
            0 if language else config.num_labels or 0,
            getattr(config.get_text_config(), "pad_token_id", None) or 0,
            positions_of(config),
            language,
            module.name_or_path,
        )


@dataclass(frozen=True)
class Brought:
    """What a caller may bring beside the data: a tokenizer, a collator, and the names of
    columns."""

    tokenizer: object = None
    collate: Callable[[list], object] | None = None
    text_columns: tuple[str, ...] = ()
    label_column: str = ""


class Given(Task):
    """Examples by index: ``(inputs, label)`` or a mapping with ``labels`` or ``label``; of a
    ``datasets.Dataset``, a DataLoader's data set, a list.

    Of a mapping a transformers model gets the fields that it takes, as with Trainer; texts are
    tokenised; rows of unequal length are padded at their end. Labels may be names (numbered as the
    model does where it knows them), truth values, or -1 and 1. ``metric`` is a name of ``METRICS``
    or ``REGRESSION`` or a function of all outputs and labels, larger being better. ``loss(module,
    batch)`` defaults to the model's own for mappings and to cross entropy for pairs.
    """

    def __init__(
        self,
        name: str,
        train: Sequence,
        evaluation: Sequence,
        metric: str | UserMetric,
        loss: Loss | None,
        options: Options = Options(),
        takes: Takes = Takes(),
        brought: Brought = Brought(),
    ):
        if isinstance(metric, str) and metric not in METRICS | REGRESSION:
            raise one_of("metric", METRICS | REGRESSION, metric)
        if takes.language and isinstance(metric, str):
            raise expected(
                "metric", "a function of outputs and labels, for a language model", metric
            )
        if takes.outputs == 1 and metric in tuple(METRICS):
            raise expected(
                "metric",
                "one of " + ", ".join(REGRESSION) + " or a function, for a model with one output",
                metric,
            )
        self.name, self._loss, self._own_loss, self._metric, self._takes = (
            name,
            loss or _loss,
            loss is not None,
            metric,
            takes,
        )
        self.metric = metric if isinstance(metric, str) else metric.name
        found = {
            what: _indexed(what, data)
            for what, data in (("train", train), ("evaluation", evaluation))
        }
        ready = {what: data for what, (data, _) in found.items()}
        self._collate = brought.collate or next(
            (collate for _, collate in found.values() if collate), None
        )
        self._padder = self._numbers = self._meant = None
        # A collator that reads what the model does not take gets the examples as they are.
        self._prepares = not self._collate or (bool(takes.fields) and _reads(ready["train"][0]))
        if self._prepares:
            brought = _with_tokenizer(ready["train"][0], takes, brought)
            self._padder = brought.tokenizer and padder(brought.tokenizer)
            ready = {
                what: _prepared(what, data, takes, brought, options) for what, data in ready.items()
            }
            self._number(
                *(
                    {_plain(what, _label_of(data[i])) for i in range(len(data))}
                    for what, data in ready.items()
                ),
                default=loss is None,
            )
        self._floats = takes.outputs == 1 and loss is None
        parts = carve(len(ready["train"]), {} if options.official else {"tune": 0.1, "locked": 0.1})
        self._data = {split: (ready["train"], i) for split, i in parts.items()} | {
            "measure": (ready["evaluation"], torch.arange(len(ready["evaluation"])))
        }
        self._lengths = {
            split: torch.tensor([len(data[i]["input_ids"]) for i in index.tolist()])
            for split, (data, index) in self._data.items()
            if self._prepares and _reads(data[0]) and "input_ids" in data[0]
        }
        digest = hashlib.sha256(
            repr((name, self.metric, {k: len(i) for k, (_, i) in self._data.items()})).encode()
        )
        for data, index in self._data.values():
            for i in index.tolist():
                _digest(digest, data[i])
        if self._numbers:
            digest.update(repr(sorted(map(repr, self._numbers.items()))).encode())
        self.fingerprint = digest.hexdigest()[:16]
        labels = self._all_labels() if self._classes else None
        self.classes = int(labels.max()) + 1 if labels is not None and labels.numel() else 0
        self.majority = majority_of(labels) if self.classes and metric == "accuracy" else None

    def _all_labels(self) -> torch.Tensor:
        """Of the measuring split, as numbers of classes."""
        index = torch.arange(self.sizes()["measure"]).split(256)
        try:
            labels = torch.cat(
                [self._truth(_labels(self._batch("measure", i))).flatten() for i in index]
            )
        except (
            Exception
        ) as error:  # examples that do not go together, or whatever a collator raises
            raise expected(
                "evaluation",
                "examples that make a batch",
                f"{type(error).__name__}: {error}".splitlines()[0][:160],
            ) from None
        return labels[labels != _IGNORED].long()

    @property
    def _classes(self) -> bool:
        return isinstance(self._metric, str) and self._metric in METRICS

    def _number(self, train: set, evaluation: set, default: bool) -> None:
        """Find what numbers of classes the labels mean: for the metric, and for the loss where that
        is the default one."""
        train, evaluation = train - {_MANY}, evaluation - {_MANY}
        outputs = self._takes.outputs
        for what, found in (("train", train), ("evaluation", evaluation)):
            strange = [v for v in found if isinstance(v, float) and not math.isfinite(v)]
            if strange:
                raise expected(f"{what}: labels", "finite numbers or names", strange[0])
        names = {v for v in train if isinstance(v, str)}
        if names and names != train:
            raise expected(
                "train: labels",
                "names or numbers, not both",
                ", ".join(sorted(map(repr, train))[:4]),
            )
        # A loss of the caller's own may ask for any numbers, and so may one output.
        free = outputs == 1 or not default or any(isinstance(v, float) for v in train)
        if not train or (not names and not self._classes and free):
            return
        number = {v: int(v) for v in train} if not names else {}
        if names:
            named = classes_of(names, self._takes.labels, "train")
            self.names, self.notes, number = named.names, named.notes, dict(named.number)
            if outputs and len(named.names) > max(outputs, 2):
                raise expected(
                    "train: labels",
                    f"at most {outputs} names, the outputs of the model",
                    len(named.names),
                )
        elif train == {-1, 1}:
            number = {-1: 0, 1: 1}
            self.notes = ("train: the labels -1 and 1 are the classes 0 and 1",)
        most = max(outputs, 2) if outputs else _MOST_CLASSES
        wrong = sorted(
            v
            for v in train
            if number[v] < 0 or number[v] >= most or (not isinstance(v, str) and v != int(v))
        )
        if wrong:
            raise expected(
                "train: labels",
                f"classes 0..{most - 1 if outputs else 'C-1'}, names, or -1 and 1",
                wrong[0],
            )
        strange = sorted(map(repr, evaluation - set(number)))
        if strange and (
            names
            or len(number) != max(number.values()) + 1
            or not all(isinstance(v, (int, float)) and 0 <= v < most for v in evaluation)
        ):
            raise expected(
                "evaluation: labels",
                "the classes of train: " + ", ".join(map(str, list(number)[:8])),
                strange[0],
            )
        self._meant = number | {v: int(v) for v in evaluation if v not in number}
        if names or (
            default and any(isinstance(v, (bool, float)) or number[v] != v for v in train)
        ):
            self._numbers = self._meant

    def _truth(self, labels: torch.Tensor) -> torch.Tensor:
        """Numbers of classes, where the loss is given other labels."""
        if (
            self._meant is None
            or self._numbers is not None
            or (labels.dim() > 1 and labels.shape[-1] > 1)
        ):
            return labels
        return torch.tensor([self._meant[v] for v in labels.flatten().tolist()], dtype=torch.long)

    def _batch(
        self,
        split: str,
        index: torch.Tensor,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        data, at = self._data[split]
        examples = [data[i] for i in at[index].tolist()]
        if self._prepares and isinstance(examples[0], Mapping):
            examples = [
                {**example, "labels": self._label(example["labels"])} for example in examples
            ]
        if self._collate:
            batch = self._collate(examples)
        elif isinstance(examples[0], Mapping):
            batch = self._padded(examples)
        else:
            batch = default_collate(
                [(*example[:-1], self._label(example[-1])) for example in examples]
            )
        return _to(_relabelled(batch), device, dtype)

    def _label(self, label):
        if self._numbers:
            label = self._numbers[_scalar(label)]
        if _plain("label", label) is _MANY:
            return label
        return float(_scalar(label)) if self._floats else _scalar(label)

    def _padded(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        """Fields of unequal length are padded at their end, and an attention mask says so."""
        rows = [{k: torch.as_tensor(v) for k, v in example.items()} for example in examples]
        uneven = {
            k for k, v in rows[0].items() if v.dim() and len({len(row[k]) for row in rows}) > 1
        }
        if uneven and self._padder and "input_ids" in rows[0]:
            taken = [k for k in rows[0] if k in ("input_ids", "attention_mask", "token_type_ids")]
            batch = dict(self._padder([{k: row[k].tolist() for k in taken} for row in rows]))
        else:
            if "input_ids" in uneven and not {"attention_mask"} & set(rows[0]):
                rows = [
                    {**row, "attention_mask": torch.ones_like(row["input_ids"])} for row in rows
                ]
                uneven.add("attention_mask")
            batch = {}
        fill = {"input_ids": self._takes.pad, "labels": _IGNORED}
        for k in rows[0]:
            if k not in batch:
                values = [row[k] for row in rows]
                batch[k] = (
                    pad_sequence(values, batch_first=True, padding_value=fill.get(k, 0))
                    if k in uneven
                    else torch.stack(values)
                )
        return batch

    def train_size(self) -> int:
        return len(self._data["train"][1])

    def sizes(self) -> dict[str, int]:
        return {split: len(index) for split, (_, index) in self._data.items()}

    def batches(self, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
        yield from shuffled(self.train_size(), seed).split(batch_size)

    def loss(self, module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return self._loss(module, self._batch("train", batch, *_of(module)))

    def score(self, module: nn.Module, split: str) -> float:
        outputs, labels = [], []
        for index in self._order(split, module):
            batch = self._batch(split, index, *_of(module))
            out, truth = _outputs(module, batch).float().cpu(), _labels(batch).cpu()
            if self._classes and out.dim() == truth.dim() + 1 == 3:  # a label a token
                asked = truth != _IGNORED
                out, truth = out[asked], truth[asked]
            outputs.append(out)
            labels.append(truth)
        out, truth = _joined(outputs), _joined(labels)
        if not torch.isfinite(out).all():
            return float("nan")
        if isinstance(self._metric, UserMetric):
            return self._metric(out, truth)
        if self._metric in REGRESSION:
            return REGRESSION[self._metric](truth.float().flatten(), out.flatten())
        # One output is a yes or a no.
        guess = (
            (out.flatten() > 0).long() if out.dim() == 1 or out.shape[-1] == 1 else out.argmax(-1)
        )
        return METRICS[self._metric](self._truth(truth).flatten().long(), guess.flatten())

    def _order(self, split: str, module: nn.Module) -> list[torch.Tensor]:
        """Batches of examples to score, in their order; of one length where padding shows in a
        model's outputs."""
        order, lengths = torch.arange(self.sizes()[split]), self._lengths.get(split)
        if lengths is None:
            return list(order.split(256))
        ends = torch.stack([lengths.argmin(), lengths.argmax()])
        device, dtype = _of(module)
        if not padding_shows(
            lengths, lambda n: _outputs(module, self._batch(split, ends[:n], device, dtype)), device
        ):
            return list(order.split(256))
        return [
            batch for length in lengths.unique() for batch in order[lengths == length].split(256)
        ]

    def check(self, module: nn.Module) -> None:
        """The loss of two examples and the score of all: what fails there would fail after
        training."""
        try:
            one = self._batch("measure", torch.arange(1), *_of(module))
            out = _outputs(module, one) if self._classes else None
            width = None if out is None else out.shape[-1] if out.dim() > 1 else 1
            if width == 1 and not self._own_loss and not isinstance(one, Mapping):
                raise ValueError("of one output cross entropy is always 0; give a loss")
            if width is not None and self.classes > max(width, 2):
                raise ValueError(f"{self.classes} classes, but {width} outputs")
            super().check(module)
            self.score(module, "measure")
        except IdimError:
            raise
        except Exception as error:  # what the caller's own model, loss, metric or data raise
            raise ValueError(
                f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            ) from None


def given(
    name: str,
    train: Sequence,
    evaluation: Sequence,
    metric: str | UserMetric,
    loss: Loss | None,
    takes: Takes = Takes(),
    brought: Brought = Brought(),
) -> Callable[[Options], Given]:
    """What makes the task, once its options are known."""
    return lambda options: Given(name, train, evaluation, metric, loss, options, takes, brought)


def _reads(example) -> bool:
    """Whether an example is a mapping that holds what a transformers model reads."""
    return isinstance(example, Mapping) and any(key in example for key in _READ)


def _with_tokenizer(example, takes: Takes, brought: Brought) -> Brought:
    """Where there are texts and no tokenizer, the one beside the model's checkpoint."""
    values = (
        example.items()
        if isinstance(example, Mapping)
        else [("", example[0])]
        if isinstance(example, (tuple, list)) and example
        else ()
    )
    texts = any(
        isinstance(v, str) and key not in (*_LABELS, brought.label_column) for key, v in values
    )
    if not texts or _reads(example) or brought.tokenizer is not None or not takes.fields:
        return brought
    try:
        return (
            dataclasses.replace(brought, tokenizer=reader(takes.source))
            if takes.source
            else brought
        )
    except IdimError:
        return brought


def _indexed(what: str, data) -> tuple[Sequence, Callable | None]:
    """The data set by number, and the collator that a DataLoader brings."""
    collate = None
    if isinstance(data, DataLoader):
        own = data.collate_fn
        collate, data = None if own in (default_collate, default_convert) else own, data.dataset
    if (
        isinstance(data, tuple)
        and len(data) == 2
        and all(hasattr(v, "__len__") for v in data)
        and len(data[0]) == len(data[1]) > 2
    ):
        data = list(zip(*data, strict=True))  # inputs and labels apart
    if hasattr(data, "to_dict") and hasattr(data, "iloc"):  # a pandas data frame
        data = data.to_dict("records")
    if isinstance(data, Mapping):
        columns = {str(k): v for k, v in data.items()}
        if not columns or not all(
            hasattr(v, "__len__")
            and not isinstance(v, (str, Mapping))
            and not hasattr(v, "column_names")
            for v in columns.values()
        ):
            raise expected(
                what, "one data set, not several by name", ", ".join(columns) or "an empty mapping"
            )
        if len({len(v) for v in columns.values()}) > 1:
            raise expected(
                what,
                "columns of one length",
                ", ".join(f"{k}: {len(v)}" for k, v in columns.items()),
            )
        data = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(data, (IterableDataset, str)) or not (
        hasattr(data, "__len__") and hasattr(data, "__getitem__")
    ):
        raise expected(what, "a data set with a length, indexed by number", type(data).__name__)
    check_split(len(data), what)
    try:
        data[0]
    except Exception as error:  # whatever the data set raises
        raise expected(
            what, "a data set indexed by number", f"{type(error).__name__}: {error}"[:160]
        ) from None
    return data, collate


class _Prepared(Sequence):
    """A data set whose examples are made when they are asked for."""

    def __init__(self, data: Sequence, make: Callable[[object], object]):
        self._data, self._make = data, make

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, i: int):
        return self._make(self._data[i])


def _prepared(
    what: str, data: Sequence, takes: Takes, brought: Brought, options: Options
) -> Sequence:
    """Examples as pairs, or as mappings of what the model takes and ``labels``."""
    first = data[0]
    if (
        isinstance(first, (tuple, list))
        and len(first) >= 2
        and isinstance(first[0], (str, Mapping))
        and takes.fields
    ):
        pairs, text = data, isinstance(first[0], str)
        data = _Prepared(
            pairs,
            lambda pair: (
                {"text": pair[0], "labels": pair[1]} if text else {**pair[0], "labels": pair[1]}
            ),
        )
        first = data[0]
    if isinstance(first, (tuple, list)):
        if len(first) < 2:
            raise expected(f"{what}: example", "inputs and a label", f"{len(first)} value")
        return data
    if not isinstance(first, Mapping):
        raise expected(
            f"{what}: example", "inputs and a label, or a mapping with labels", type(first).__name__
        )
    label = brought.label_column or next((key for key in _LABELS if key in first), "")
    if label not in first:
        raise expected(
            f"{what}: example",
            f"a label, called {brought.label_column or ' or '.join(_LABELS[:2])}",
            ", ".join(map(str, first)),
        )
    if not takes.fields:
        return _Prepared(
            data,
            lambda row: {
                **{k: v for k, v in row.items() if k != label},
                "labels": _there(what, row, label),
            },
        )
    kept = [
        key
        for key in first
        if key in takes.fields
        and key not in _LABELS
        and key != label
        and not isinstance(first[key], str)
    ]
    if any(key in kept for key in _READ):
        return _Prepared(
            data,
            lambda row: {
                **{k: _there(what, row, k) for k in kept},
                "labels": _there(what, row, label),
            },
        )
    texts = brought.text_columns or tuple(
        key for key in first if isinstance(first[key], str) and key != label
    )
    if not 1 <= len(texts) <= 2 or not all(key in first for key in texts):
        raise expected(
            f"{what}: example",
            "what the model takes (" + ", ".join(takes.fields[:4]) + " …), or one or two texts",
            ", ".join(map(str, first)),
        )
    if brought.tokenizer is None:
        raise expected("tokenizer", f"one for the texts of {what}", None)
    rows = [data[i] for i in range(len(data))]
    strange = [row.get(key) for row in rows for key in texts if not isinstance(row.get(key), str)]
    if strange:
        raise expected(f"{what}: {texts[0]}", "a text in every example", str(strange[0])[:80])
    most = min(options.max_seq_length, takes.longest or options.max_seq_length)
    encoded = tokenised([tuple(row[key] for key in texts) for row in rows], brought.tokenizer, most)
    return [
        {**{k: v for k, v in code.items() if k in takes.fields}, "labels": _there(what, row, label)}
        for code, row in zip(encoded, rows, strict=True)
    ]


def _there(what: str, row: Mapping, key: str):
    if row.get(key) is None:
        raise expected(f"{what}: example", f"a value of {key}", "none")
    return row[key]


_MANY = object()


def _label_of(example):
    return example["labels"] if isinstance(example, Mapping) else example[-1]


def _scalar(label):
    """A label as Python has it: of tensors and arrays of one value that value."""
    return label.item() if isinstance(label, (torch.Tensor, np.ndarray, np.generic)) else label


def _plain(what: str, label):
    """The label, or _MANY for one that is a list or a vector. Errors: anything but text and
    numbers."""
    if (isinstance(label, (torch.Tensor, np.ndarray)) and label.ndim) or isinstance(
        label, (list, tuple)
    ):
        return _MANY
    label = _scalar(label)
    if not isinstance(label, (str, bool, int, float)):
        raise expected(f"{what}: labels", "names or numbers", type(label).__name__)
    if isinstance(label, int) and abs(label) >= 1 << 63:
        raise expected(f"{what}: labels", "numbers of at most 64 bits", label)
    return label


def _of(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where and how finely a module computes: a model in bf16 takes its inputs so."""
    p = next(p for p in module.parameters() if p.is_floating_point())
    return p.device, p.dtype


def _outputs(module: nn.Module, batch) -> torch.Tensor:
    out = module(**batch) if isinstance(batch, Mapping) else module(*batch[:-1])
    if isinstance(out, Mapping) and "logits" in out:
        return out["logits"]
    out = getattr(out, "logits", out)
    return out[0] if isinstance(out, (tuple, list)) else out


def _joined(batches: list[torch.Tensor]) -> torch.Tensor:
    """All batches as one. Where their rows differ in length, they are padded as Trainer does."""
    if len({batch.shape[1:] for batch in batches}) == 1:
        return torch.cat(batches)
    return reduce(partial(nested_concat, padding_index=_IGNORED), batches)


def _labels(batch) -> torch.Tensor:
    return batch["labels"] if isinstance(batch, Mapping) else batch[-1]


def _loss(module: nn.Module, batch) -> torch.Tensor:
    if isinstance(batch, Mapping):
        return module(**batch).loss
    return F.cross_entropy(_outputs(module, batch).float(), batch[-1])


def _relabelled(batch):
    """A collator may call the labels ``label``."""
    if isinstance(batch, Mapping):
        key = next((key for key in _LABELS if key in batch), "labels")
        return {("labels" if k == key else k): v for k, v in batch.items()}
    return batch


def _to(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, Mapping):
        return {k: _to(v, device, dtype) for k, v in batch.items()}
    return [_to(v, device, dtype) for v in batch] if isinstance(batch, (list, tuple)) else batch


def _digest(digest, example) -> None:
    if isinstance(example, Mapping):
        example = [v for _, v in sorted(example.items())]
    for part in example if isinstance(example, (list, tuple)) else [example]:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().contiguous()
            digest.update(
                part.view(-1).view(torch.uint8).numpy().tobytes() if part.numel() else b""
            )
        else:
            digest.update(part.tobytes() if hasattr(part, "tobytes") else repr(part).encode())
