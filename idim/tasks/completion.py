"""Text completion: a prompt and what should follow it. The loss is on the completion alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from idim.errors import expected
from idim.models import is_encoder_decoder
from idim.tasks.base import Shots, Task
from idim.tasks.frames import Table
from idim.tasks.splits import check_split, grouped
from idim.tasks.text import text_notes

#: The label of a token that nothing is asked of, as transformers has it.
_IGNORED = -100
#: Sums of fp32 numbers in another order differ by less than this share of the largest.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class _Pair:
    """Token ids without special ones: a prompt and what follows it.

    ``target`` is what follows as an encoder-decoder's target, with its special tokens.
    """

    prompt: list[int]
    rest: list[int]
    target: list[int]


class Completion(Task):
    """For decoders and encoder-decoders.

    ``metric``: loss (nats a token, scored as its negative), token_accuracy or exact_match.

    A decoder reads prompt and completion as one text. The end-of-sequence token is the completion's
    last. Where the text is longer than ``max_seq_length``, the completion is cut at its end, to
    half of the length at most, and then the prompt at its start. An encoder-decoder's two texts
    are cut each.
    """

    head = "language"
    classes = 0
    #: No guess applies: what the untouched model scores is chance.
    majority = None

    def __init__(
        self, name: str, metric: str, tables: dict[str, Table], tokenizer: Any, max_seq_length: int
    ):
        if tokenizer.eos_token_id is None:
            raise expected(
                "model",
                "one whose tokenizer has an end-of-sequence token, as completions ask",
                "none",
            )
        # Larger must be better. d90 asks for 90 % of the way from the untouched model's loss to
        # full training's.
        self.name, self.metric = name, "-loss" if metric == "loss" else metric
        digest = hashlib.sha256(f"{metric} {max_seq_length}".encode())
        self._pad, self._eos, self._most = (
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
            max_seq_length,
        )
        self._before, self._after = _around(tokenizer)
        least = len(self._before) + max(2, 1 + len(self._after))
        if max_seq_length < least:
            what = f"at least {least}, with room for a token of the prompt and of the completion"
            raise expected("--max-seq-length", what, max_seq_length)
        # A vocabulary without new lines has its end-of-sequence token alone between two texts.
        line = tokenizer("\n", add_special_tokens=False).input_ids
        known = [token for token in line if token != tokenizer.unk_token_id]
        self._line = known or [tokenizer.eos_token_id]
        # Without a token before it the completion's first could not be predicted.
        self._start = self._eos if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self._pairs: dict[str, list[_Pair]] = {}
        for split, table in tables.items():
            check_split(len(table.texts), f"{name}, {split} split")
            digest.update(repr((split, table.texts, table.labels)).encode())
            self._pairs[split] = _tokenised(
                [text for (text,) in table.texts], list(table.labels), tokenizer
            )
        self._lengths = {
            split: torch.tensor([len(p.prompt) + len(p.rest) + 2 for p in pairs])
            for split, pairs in self._pairs.items()
        }
        cut = sum(int((lengths > max_seq_length).sum()) for lengths in self._lengths.values())
        if cut:
            self.notes = (
                f"{name}: {cut} examples have more than {max_seq_length} tokens, prompt and "
                "completion together; a decoder sees them cut",
            )
        self.notes += text_notes(
            name,
            {
                split: [
                    (*texts, rest) for texts, rest in zip(table.texts, table.labels, strict=True)
                ]
                for split, table in tables.items()
            },
        )
        self.fingerprint = digest.hexdigest()[:16]

    def example(
        self, split: str, i: int, encoder_decoder: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model reads, and which token it must predict at each place (or -100).

        -> (n,), (m,); of a decoder n = m + 1
        """
        pair, most = self._pairs[split][i], self._most
        if encoder_decoder:
            target = pair.target if pair.target[-1:] == [self._eos] else [*pair.target, self._eos]
            ends = len(self._before) + len(self._after)
            return torch.tensor(
                [*self._before, *pair.prompt[: max(1, most - ends)], *self._after]
            ), torch.tensor(target[:most])
        rest = [*pair.rest, self._eos]
        rest = rest[: max(most // 2, most - len(self._before) - len(pair.prompt))]
        room = max(0, most - len(self._before) - len(rest))
        prompt = [*self._before, *pair.prompt[max(0, len(pair.prompt) - room) :]] or [self._start]
        return torch.tensor([*prompt, *rest]), torch.tensor(
            [*[_IGNORED] * (len(prompt) - 1), *rest]
        )

    def shots(self, k: int, seed: int) -> Shots:
        """Each example is cut as a text is, and ends in a new line."""
        if k > self.train_size():
            what = f"at most the {self.train_size()} training examples"
            raise expected("shots", what, k)
        draw = torch.Generator().manual_seed(seed)
        at, tokens = len(self._before), list[int]()
        for i in torch.randperm(self.train_size(), generator=draw)[:k].tolist():
            whole, _ = self.example("train", i, False)
            # Its end-of-sequence token would tell the model that what follows is another document.
            text = [token for token in whole[at:].tolist() if token != self._eos]
            tokens += [*text, *self._line]
        most = [min(self._most, int(n)) for n in self._lengths["train"].topk(k).values]
        longest = max(int(n.max()) for n in self._lengths.values())
        total = sum(n + len(self._line) for n in most) + min(self._most, longest)
        return Shots(tuple(tokens), at, total)

    def train_size(self) -> int:
        return len(self._pairs["train"])

    def sizes(self) -> dict[str, int]:
        return {split: len(pairs) for split, pairs in self._pairs.items()}

    def batches(self, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
        yield from grouped(self._lengths["train"], batch_size, seed)

    def tokens(self, batch: Any) -> int:
        return min(self._most, int(self._lengths["train"][batch].max())) * len(batch)

    def terms(self, module: nn.Module, batch: Any) -> int:
        """The completions' tokens."""
        both = is_encoder_decoder(module)
        wanted = (self.example("train", i, both)[1] for i in batch.tolist())
        return sum(int((row != _IGNORED).sum()) for row in wanted)

    def loss(self, module: nn.Module, batch: Any) -> torch.Tensor:
        logits, wanted, _ = self._predicted(module, "train", batch)
        return F.cross_entropy(logits, wanted)

    def score(self, module: nn.Module, split: str) -> float:
        """Every token is predicted from the true ones before it.

        Greedy decoding gives a whole completion exactly where each of these is right.
        """
        lost, right, tokens, exact = 0.0, 0, 0, 0
        for index in self._lengths[split].argsort(stable=True).split(16):
            logits, wanted, row = self._predicted(module, split, index)
            if not torch.isfinite(logits).all():
                return math.nan
            lost += float(F.cross_entropy(logits, wanted, reduction="sum"))
            hit = logits.argmax(-1) == wanted
            right, tokens = right + int(hit.sum()), tokens + hit.numel()
            exact += len(index) - row[~hit].unique().numel()
        return {
            "-loss": -lost / tokens,
            "token_accuracy": right / tokens,
            "exact_match": exact / len(self._pairs[split]),
        }[self.metric]

    def check(self, module: nn.Module) -> None:
        super().check(module)
        if not is_encoder_decoder(module):
            # An encoder would see what it has to predict.
            ids = torch.tensor(
                [self._pairs["train"][0].rest[:1] * 3 or [self._eos] * 3],
                device=next(module.parameters()).device,
            )
            other = ids.clone()
            other[0, -1] = self._eos if ids[0, -1] != self._eos else 0
            before = module(input_ids=ids).logits[:, :-1].float()
            moved = (module(input_ids=other).logits[:, :-1].float() - before).abs().max()
            # A decoder's earlier outputs keep their bits, but for sums in another order. How far an
            # encoder's move is a matter of its weights.
            if moved > _ROUNDING * before.abs().max():
                raise expected(
                    "model",
                    "a decoder or an encoder-decoder, as completions ask",
                    "one whose outputs depend on later tokens",
                )

    def _predicted(
        self, module: nn.Module, split: str, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of the completions' n tokens, those tokens, and the example of each.

        -> (n, V), (n,), (n,)
        """
        device, both = next(module.parameters()).device, is_encoder_decoder(module)
        examples = [self.example(split, i, both) for i in index.tolist()]
        inputs, labels = [ids for ids, _ in examples], [wanted for _, wanted in examples]
        mask = pad_sequence([torch.ones_like(row) for row in inputs], batch_first=True).to(device)
        ids = pad_sequence(inputs, batch_first=True, padding_value=self._pad).to(device)
        wanted = pad_sequence(labels, batch_first=True, padding_value=_IGNORED).to(device)
        # transformers makes a decoder's inputs of the labels. A decoder alone has nothing to
        # predict at its last place.
        logits = (
            module(input_ids=ids, attention_mask=mask, labels=wanted).logits
            if both
            else module(input_ids=ids, attention_mask=mask).logits[:, :-1]
        )
        asked = wanted != _IGNORED
        return logits[asked].float(), wanted[asked], asked.nonzero()[:, 0]


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    plain, whole = tokenizer("a", add_special_tokens=False).input_ids, tokenizer("a").input_ids
    at = next(i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain)
    return whole[:at], whole[at + len(plain) :]


def _tokenised(prompts: list[str], rests: list[str], tokenizer: Any) -> list[_Pair]:
    """A completion's tokens are those that follow the prompt's in the joint text.

    Where the joint text does not begin with the prompt's tokens, they are the completion's own.
    """
    first, apart = (
        tokenizer(texts, add_special_tokens=False).input_ids for texts in (prompts, rests)
    )
    joint = tokenizer(
        [p + r for p, r in zip(prompts, rests, strict=True)], add_special_tokens=False
    ).input_ids
    targets = tokenizer(text_target=rests).input_ids
    return [
        _Pair(p, j[len(p) :] if j[: len(p)] == p else r, t)
        for p, r, j, t in zip(first, apart, joint, targets, strict=True)
    ]
