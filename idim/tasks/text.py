"""Text classification and regression, and GLUE from the hub or from parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from idim.errors import IdimError, expected, first_line
from idim.models import unanswered_is_offline
from idim.tasks import mistakes
from idim.tasks.classes import Classes
from idim.tasks.frames import Table, divide, renumbered, rows
from idim.tasks.reading import part_of, read
from idim.tasks.scores import REGRESSION
from idim.tasks.splits import grouped
from idim.tasks.supervised import Supervised
from idim.values.options import Options

_SAME, _FOLLOWS = ("not_equivalent", "equivalent"), ("entailment", "not_entailment")
#: GLUE's nine: text columns, metric, the names of its classes (none where the label is a number),
#: name of the validation split.
GLUE: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], str]] = {
    "cola": (("sentence",), "matthews", ("unacceptable", "acceptable"), "validation"),
    "sst2": (("sentence",), "accuracy", ("negative", "positive"), "validation"),
    "mrpc": (("sentence1", "sentence2"), "accuracy", _SAME, "validation"),
    "qqp": (("question1", "question2"), "accuracy", ("not_duplicate", "duplicate"), "validation"),
    "mnli": (
        ("premise", "hypothesis"),
        "accuracy",
        ("entailment", "neutral", "contradiction"),
        "validation_matched",
    ),
    "qnli": (("question", "sentence"), "accuracy", _FOLLOWS, "validation"),
    "rte": (("sentence1", "sentence2"), "accuracy", _FOLLOWS, "validation"),
    "wnli": (
        ("sentence1", "sentence2"),
        "accuracy",
        ("not_entailment", "entailment"),
        "validation",
    ),
    "stsb": (("sentence1", "sentence2"), "pearson", (), "validation"),
}


class Text(Supervised):
    """Tokenised once; batches padded to their longest; training batches grouped by length, as
    ``group_by_length`` does.

    A text's logits must not depend on what it is batched with. Texts are padded at their end, so
    that their positions stay, but where the tokenizer's class token comes last, as XLNet's does:
    there the model reads a text's last place and counts positions from it. A model whose logits
    padding changes all the same (FNet, Nyströmformer, CANINE) is scored on batches of one length.
    """

    def __init__(
        self,
        name: str,
        metric: str,
        tables: dict[str, Table],
        classes: int,
        tokenizer: Any,
        max_seq_length: int,
        named: Classes | None = None,
    ):
        """``named``: what the classes are called, where they have names."""
        digest = hashlib.sha256(str(max_seq_length).encode())
        self._pad = padder(tokenizer)
        self._encoded: dict[str, list[dict[str, list[int]]]] = {}
        for split, table in tables.items():
            digest.update(repr((split, table.texts)).encode())
            self._encoded[split] = tokenised(table.texts, tokenizer, max_seq_length)
        labels = {
            split: torch.tensor(
                table.labels, dtype=torch.float32 if metric in REGRESSION else torch.long
            )
            for split, table in tables.items()
        }
        super().__init__(name, metric, labels, classes, digest, named)
        self.notes += text_notes(name, {split: table.texts for split, table in tables.items()})
        self._lengths = {
            split: torch.tensor([len(e["input_ids"]) for e in rows])
            for split, rows in self._encoded.items()
        }

    def inputs(
        self, split: str, index: torch.Tensor, device: torch.device
    ) -> dict[str, torch.Tensor]:
        rows = [self._encoded[split][i] for i in index.tolist()]
        return {k: v.to(device) for k, v in self._pad(rows).items()}

    def logits(self, module: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = module(**inputs).logits
        return logits

    def order(self, seed: int, batch_size: int) -> list[torch.Tensor]:
        return grouped(self._lengths["train"], batch_size, seed)

    def evaluation_order(self, split: str, module: nn.Module) -> list[torch.Tensor]:
        lengths = self._lengths[split]
        order = lengths.argsort(stable=True)
        if not self._padding_shows(module, split):
            return list(order.split(64))
        alike = order.split(lengths[order].unique_consecutive(return_counts=True)[1].tolist())
        return [batch for group in alike for batch in group.split(64)]

    def _padding_shows(self, module: nn.Module, split: str) -> bool:
        lengths, device = self._lengths[split], next(module.parameters()).device
        ends = torch.stack([lengths.argmin(), lengths.argmax()])
        return padding_shows(
            lengths, lambda n: self.logits(module, self.inputs(split, ends[:n], device)), device
        )

    def check(self, module: nn.Module) -> None:
        """The longest text too: what it lacks positions for must be known before training."""
        super().check(module)
        for split, lengths in self._lengths.items():
            self.logits(
                module, self.inputs(split, lengths.argmax()[None], next(module.parameters()).device)
            )

    def tokens(self, batch: Any) -> int:
        return int(self._lengths["train"][batch].max()) * len(batch)


def text_notes(name: str, splits: dict[str, list[tuple[str, ...]]]) -> tuple[str, ...]:
    """What the owner of these texts should know: empty ones, and ones that are in both parts."""
    train = [row for split, rows in splits.items() if split != mistakes.MEASURE for row in rows]
    measure = splits[mistakes.MEASURE]
    return (*mistakes.of_texts(name, [*train, *measure]), *mistakes.of_rows(name, train, measure))


def padder(tokenizer: Any) -> Callable[[list[Any]], dict[str, torch.Tensor]]:
    """The tokenizer's own padding, at the texts' end unless its class token comes last."""
    try:
        last = tokenizer("a").input_ids[-1:]
    except Exception as error:  # a broken tokenizer raises what it likes
        raise expected("model", "a tokenizer that reads text", first_line(error)) from None
    side = (
        "left"
        if tokenizer.cls_token_id is not None and last == [tokenizer.cls_token_id]
        else "right"
    )
    return partial(tokenizer.pad, padding_side=side, return_tensors="pt")


def padding_shows(
    lengths: torch.Tensor, logits: Callable[[int], torch.Tensor], device: torch.device
) -> bool:
    """Whether the shortest text's logits change when it is padded to the longest: ``logits(1)`` is
    its own, ``logits(2)`` both texts'."""
    if lengths.min() == lengths.max():
        return False
    with torch.autocast(device.type, enabled=False):
        alone, both = logits(1)[0].float(), logits(2)[0].float()
    if alone.dim() > 1:  # a vector a token
        both = both[: len(alone)]
    return bool((alone - both).abs().max() > 1e-3 * alone.abs().max())


def tokenised(
    texts: list[tuple[str, ...]], tokenizer: Any, max_seq_length: int
) -> list[dict[str, list[int]]]:
    """Each text's, or pair's, inputs, cut to a length. Errors: a length that the tokenizer's own
    tokens fill, so that a text keeps none."""
    if not texts:
        return []
    columns = [list(column) for column in zip(*texts, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=max_seq_length)
    rows = [{k: v[i] for k, v in encoded.items()} for i in range(len(texts))]
    special = tokenizer.num_special_tokens_to_add(pair=len(columns) == 2)
    # The tokenizer's own tokens are not cut.
    if max_seq_length < special + len(columns) or any(
        len(row["input_ids"]) > max_seq_length for row in rows
    ):
        room = "a text" if len(columns) == 1 else "two texts"
        what = f"room for {room} beside the tokenizer's {special} special tokens"
        raise expected("--max-seq-length", what, max_seq_length)
    # Of a text without a token, as a decoder's tokenizer makes of an empty one, there would be
    # nothing to read.
    blank = {"input_ids": [tokenizer.pad_token_id], "token_type_ids": [0], "attention_mask": [1]}
    return [row if row["input_ids"] else {k: blank[k] for k in row} for row in rows]


def glue(task: str, tokenizer: Any, options: Options) -> Text:
    """A GLUE task from ``data_dir/<task>/<split>*.parquet``, or from the hub.

    Its validation split is the measuring one.
    """
    columns, metric, names, validation = GLUE[task]
    if options.data_dir:
        folder = Path(options.data_dir) / task
        folder = folder if folder.is_dir() else Path(options.data_dir)
        frames = {
            part: read(part_of(folder, (split,), (".parquet",)))
            for part, split in (("train", "train"), ("test", validation))
        }
    else:
        frames = _from_hub(task, validation)
    parts, named = (
        {
            part: rows(frame, columns, "label", f"{task}, {part}", metric)
            for part, frame in frames.items()
        },
        None,
    )
    if names:
        parts, named = renumbered(parts, names, options, task)
    return Text(
        task,
        metric,
        divide(parts, options),
        len(named.names) if named else 1,
        tokenizer,
        options.max_seq_length,
        named,
    )


def _from_hub(task: str, validation: str) -> dict[str, Any]:
    from datasets import load_dataset

    try:
        with unanswered_is_offline():
            found = load_dataset("nyu-mll/glue", task)
    except Exception as error:  # datasets raises many kinds; all mean the hub's copy cannot be had
        raise IdimError(
            f"task: expected {task} from the hub, or --data-dir with {task}/train*.parquet; "
            f"got {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:160] if str(error).strip() else 'no detail'}"
        ) from None
    return {"train": found["train"].to_pandas(), "test": found[validation].to_pandas()}
