"""Text completion: a prompt and what should follow it. Supervised fine-tuning: the loss is on the completion alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from idim.errors import expected
from idim.tasks.base import Task, check_split, grouped
from idim.tasks.frames import Table

#: The label of a token that nothing is asked of, as transformers has it.
_IGNORED = -100


class Completion(Task):
    """For decoders and encoder-decoders. ``metric``: loss (nats a token, scored as its negative), token_accuracy or exact_match.

    Prompt and completion are tokenised apart and the completion ends in the end-of-sequence token. Where both are longer than ``max_seq_length``, the
    completion is cut at its end and the prompt at its start.
    """

    head = "language"
    classes = 0
    #: No guess applies: what the untouched model scores is chance.
    majority = None

    def __init__(self, name: str, metric: str, tables: dict[str, Table], tokenizer, max_seq_length: int):
        if tokenizer.eos_token_id is None:
            raise expected("model", "one whose tokenizer has an end-of-sequence token, as completions ask", "none")
        if max_seq_length < 2:
            raise expected("--max-seq-length", "at least 2, a token of the prompt and one of the completion", max_seq_length)
        # Larger must be better; from the untouched model's loss to full training's is the way of which d90 asks 90 %.
        self.name, self.metric = name, "-loss" if metric == "loss" else metric
        digest = hashlib.sha256(f"{metric} {max_seq_length}".encode())
        self._pad, self._eos = tokenizer.pad_token_id, tokenizer.eos_token_id
        self._encoded: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        cut = 0
        for split, table in tables.items():
            check_split(len(table.texts), f"{name}, {split} split")
            digest.update(repr((split, table.texts, table.labels)).encode())
            prompts = tokenizer([text for (text,) in table.texts]).input_ids
            rests = tokenizer(list(table.labels), add_special_tokens=False).input_ids
            self._encoded[split] = [self._fitted(p, [*c, self._eos], max_seq_length) for p, c in zip(prompts, rests, strict=True)]
            cut += sum(len(p) + len(c) + 1 > max_seq_length for p, c in zip(prompts, rests, strict=True))
        if cut:
            self.notes = (f"{name}: {cut} examples of more than {max_seq_length} tokens were cut",)
        self.fingerprint = digest.hexdigest()[:16]
        self._lengths = {split: torch.tensor([len(p) + len(c) for p, c in rows]) for split, rows in self._encoded.items()}

    @staticmethod
    def _fitted(prompt: list[int], rest: list[int], most: int) -> tuple[torch.Tensor, torch.Tensor]:
        # A decoder predicts the completion's first token from the prompt's last, so one of those stays.
        rest = rest[: most - 1]
        return torch.tensor(prompt[max(0, len(prompt) - (most - len(rest))):]), torch.tensor(rest)

    def train_size(self) -> int:
        return len(self._encoded["train"])

    def sizes(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self._encoded.items()}

    def batches(self, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
        yield from grouped(self._lengths["train"], batch_size, seed)

    def tokens(self, batch: torch.Tensor) -> int:
        return int(self._lengths["train"][batch].max()) * len(batch)

    def loss(self, module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        logits, wanted, _ = self._predicted(module, "train", batch)
        return F.cross_entropy(logits, wanted)

    def score(self, module: nn.Module, split: str) -> float:
        """Every token is predicted from the true ones before it. Greedy decoding gives a whole completion exactly where each of these is right."""
        lost, right, tokens, exact = 0.0, 0, 0, 0
        for index in self._lengths[split].argsort(stable=True).split(16):
            logits, wanted, row = self._predicted(module, split, index)
            if not torch.isfinite(logits).all():
                return math.nan
            lost += float(F.cross_entropy(logits, wanted, reduction="sum"))
            hit = logits.argmax(-1) == wanted
            right, tokens = right + int(hit.sum()), tokens + hit.numel()
            exact += len(index) - row[~hit].unique().numel()
        return {"-loss": -lost / tokens, "token_accuracy": right / tokens, "exact_match": exact / len(self._encoded[split])}[self.metric]

    def _predicted(self, module: nn.Module, split: str, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of the completions' n tokens, those tokens, and the example of each. -> (n, V), (n,), (n,)"""
        device = next(module.parameters()).device
        pairs = [self._encoded[split][i] for i in index.tolist()]
        if _is_encoder_decoder(module):
            inputs, labels = [p for p, _ in pairs], [c for _, c in pairs]
        else:
            # A tokenizer that ends every text ends the prompt too; what follows must not.
            prompts = [p[:-1] if len(p) > 1 and p[-1] == self._eos else p for p, _ in pairs]
            inputs = [torch.cat([p, c]) for p, (_, c) in zip(prompts, pairs, strict=True)]
            labels = [torch.cat([torch.full_like(p, _IGNORED), c]) for p, (_, c) in zip(prompts, pairs, strict=True)]
        mask = pad_sequence([torch.ones_like(row) for row in inputs], batch_first=True).to(device)
        ids = pad_sequence(inputs, batch_first=True, padding_value=self._pad).to(device)
        wanted = pad_sequence(labels, batch_first=True, padding_value=_IGNORED).to(device)
        if _is_encoder_decoder(module):
            logits = module(input_ids=ids, attention_mask=mask, labels=wanted).logits
        else:
            logits, wanted = module(input_ids=ids, attention_mask=mask).logits[:, :-1], wanted[:, 1:]
        asked = wanted != _IGNORED
        return logits[asked].float(), wanted[asked], asked.nonzero()[:, 0]


def _is_encoder_decoder(module: nn.Module) -> bool:
    from transformers import PreTrainedModel

    return next(m.config.is_encoder_decoder for m in module.modules() if isinstance(m, PreTrainedModel))
