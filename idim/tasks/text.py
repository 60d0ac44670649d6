"""Text classification and regression: texts tokenised once, and GLUE from the hub or from parquet files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from idim.errors import IdimError, expected
from idim.tasks.base import REGRESSION, Classes, Options, Supervised, grouped
from idim.tasks.frames import Table, divide, part_of, read, renumbered, rows

_SAME, _FOLLOWS = ("not_equivalent", "equivalent"), ("entailment", "not_entailment")
#: GLUE's nine: text columns, metric, the names of its classes (none where the label is a number), name of the validation split.
GLUE: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], str]] = {
    "cola": (("sentence",), "matthews", ("unacceptable", "acceptable"), "validation"),
    "sst2": (("sentence",), "accuracy", ("negative", "positive"), "validation"),
    "mrpc": (("sentence1", "sentence2"), "accuracy", _SAME, "validation"),
    "qqp": (("question1", "question2"), "accuracy", ("not_duplicate", "duplicate"), "validation"),
    "mnli": (("premise", "hypothesis"), "accuracy", ("entailment", "neutral", "contradiction"), "validation_matched"),
    "qnli": (("question", "sentence"), "accuracy", _FOLLOWS, "validation"),
    "rte": (("sentence1", "sentence2"), "accuracy", _FOLLOWS, "validation"),
    "wnli": (("sentence1", "sentence2"), "accuracy", ("not_entailment", "entailment"), "validation"),
    "stsb": (("sentence1", "sentence2"), "pearson", (), "validation"),
}


class Text(Supervised):
    """Tokenised once; batches padded to their longest; training batches grouped by length, as ``group_by_length`` does."""

    def __init__(
        self, name: str, metric: str, tables: dict[str, Table], classes: int, tokenizer, max_seq_length: int, named: Classes | None = None,
    ):
        """``named``: what the classes are called, where they have names."""
        digest = hashlib.sha256(str(max_seq_length).encode())
        self._pad = tokenizer.pad
        self._encoded: dict[str, list[dict[str, list[int]]]] = {}
        for split, table in tables.items():
            digest.update(repr((split, table.texts)).encode())
            self._encoded[split] = _encode(table.texts, tokenizer, max_seq_length)
        labels = {split: torch.tensor(table.labels, dtype=torch.float32 if metric in REGRESSION else torch.long) for split, table in tables.items()}
        super().__init__(name, metric, labels, classes, digest, named)
        self._lengths = {
            split: torch.tensor([len(e["input_ids"]) for e in rows]) for split, rows in self._encoded.items()
        }

    def inputs(self, split: str, index: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
        rows = [self._encoded[split][i] for i in index.tolist()]
        return {k: v.to(device) for k, v in self._pad(rows, return_tensors="pt").items()}

    def logits(self, module: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return module(**inputs).logits

    def order(self, seed: int, batch_size: int) -> list[torch.Tensor]:
        return grouped(self._lengths["train"], batch_size, seed)

    def evaluation_order(self, split: str) -> list[torch.Tensor]:
        return list(self._lengths[split].argsort(stable=True).split(64))

    def tokens(self, batch: torch.Tensor) -> int:
        return int(self._lengths["train"][batch].max()) * len(batch)


def _encode(texts: list[tuple[str, ...]], tokenizer, max_seq_length: int) -> list[dict[str, list[int]]]:
    if not texts:
        return []
    columns = [list(column) for column in zip(*texts, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=max_seq_length)
    return [{k: v[i] for k, v in encoded.items()} for i in range(len(texts))]


def glue(task: str, tokenizer, options: Options) -> Text:
    """A GLUE task from ``data_dir/<task>/<split>*.parquet``, or from the hub. Its validation split is the measuring one."""
    columns, metric, names, validation = GLUE[task]
    if options.data_dir:
        folder = Path(options.data_dir) / task
        folder = folder if folder.is_dir() else Path(options.data_dir)
        frames = {part: read(part_of(folder, (split,), (".parquet",))) for part, split in (("train", "train"), ("test", validation))}
    else:
        frames = _from_hub(task, validation)
    parts, named = {part: rows(frame, columns, "label", f"{task}, {part}", metric) for part, frame in frames.items()}, None
    if names:
        parts, named = renumbered(parts, names, options, task)
    return Text(task, metric, divide(parts, options), len(named.names) if named else 1, tokenizer, options.max_seq_length, named)


def _from_hub(task: str, validation: str) -> dict:
    from datasets import load_dataset

    try:
        found = load_dataset("nyu-mll/glue", task)
    except Exception as error:  # datasets raises many kinds; all mean the hub's copy cannot be had
        raise IdimError(
            f"task: expected {task} from the hub, or --data-dir with {task}/train*.parquet; got {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:160] if str(error).strip() else 'no detail'}"
        ) from None
    return {"train": found["train"].to_pandas(), "test": found[validation].to_pandas()}
