"""The one training loop: module + data + recipe -> score curve. Every arm goes through it unchanged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from idim.errors import one_of

#: What a precision other than fp32 computes in, by autocast.
COMPUTE = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: Optimisers by name: (parameter groups, recipe) -> optimiser. Fused: one pass over the weights, not ten, which is a fifth of the time of full
#: fine-tuning on a CPU. (SGD's does not skip overflown steps there.)
OPTIMIZERS: dict[str, Callable[[list[dict], Recipe], torch.optim.Optimizer]] = {
    "adam": lambda groups, recipe: torch.optim.Adam(groups, betas=(0.9, recipe.beta2), fused=True),
    "adamw": lambda groups, recipe: torch.optim.AdamW(
        groups, betas=(0.9, recipe.beta2), fused=True
    ),
    "sgd": lambda groups, recipe: torch.optim.SGD(groups, momentum=0.9),
}
#: What each named choice of a recipe may be.
CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": ("constant", "linear", "cosine"),
    "rule": ("last", "mean_of_last_3"),
    "precision": ("fp32", *COMPUTE),
}


@dataclass(frozen=True)
class Recipe:
    """How long and how to train. The same budget, schedule and evaluation rule for every arm of a measurement.

    ``learning_rate`` is per optimiser step; ``scale_learning_rate`` that of structure-aware scales (None: the same).
    ``l2`` is a penalty ``l2 * |w|^2`` on adapted matrices and kernels in weight space (not on biases); ``weight_decay`` acts on what is trained.
    ``max_steps`` 0 means ``epochs`` decides. ``evaluations`` are spread evenly and include the last step.
    """

    learning_rate: float
    epochs: float = 1.0
    max_steps: int = 0
    batch_size: int = 32
    optimizer: str = "adam"
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: float = 0.0
    l2: float = 0.0
    clip: float = 0.0
    scale_learning_rate: float | None = None
    evaluations: int = 4
    rule: str = "last"
    precision: str = "fp32"

    def __post_init__(self):
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise one_of(name, known, getattr(self, name))


class Data(Protocol):
    """What the loop needs of a task."""

    def train_size(self) -> int: ...
    def batches(self, batch_size: int, seed: int) -> Iterator[object]: ...
    def loss(self, module: nn.Module, batch: object) -> torch.Tensor: ...
    def score(self, module: nn.Module, split: str) -> float: ...
    def tokens(self, batch: object) -> int: ...


@dataclass
class Outcome:
    """What a run gave. ``status`` is ok, stopped, diverged or failed; a failed run keeps the curve up to its end.

    ``stopped``: on which side of what it had to reach; ``share`` of the steps were made.
    """

    status: str = "ok"
    reason: str = ""
    stopped: str = ""
    share: float = 1.0
    untouched: float = math.nan
    final: float = math.nan
    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


def score_once(module: nn.Module, data: Data, recipe: Recipe, split: str) -> float:
    """The module's score on a split, in the recipe's precision; the module is left in evaluation mode."""
    compute, device = COMPUTE.get(recipe.precision), next(module.parameters()).device
    module.eval()
    with torch.no_grad(), torch.autocast(device.type, compute, enabled=compute is not None):
        return data.score(module, split)


def total_steps(recipe: Recipe, train_size: int) -> int:
    per_epoch = max(1, math.ceil(train_size / recipe.batch_size))
    return recipe.max_steps or max(1, round(recipe.epochs * per_epoch))


def train(
    module: nn.Module,
    groups: dict[str, list[nn.Parameter]],
    data: Data,
    recipe: Recipe,
    *,
    split: str,
    seed_data: int,
    seed_dropout: int,
    progress: Callable[[int, int, float], None] | None = None,
    stop: Callable[[list[tuple[float, float]]], str] | None = None,
) -> Outcome:
    """Train ``groups`` of ``module`` and score it on ``split`` before, during and after.

    ``progress(step, steps, score)`` is called at each evaluation. ``stop`` is asked there too, with the curve as (share of steps, score), and
    ends the run where it answers. Dropout draws from torch's generator, seeded and forked, so the
    caller's draws are not disturbed. A loss that is not finite ends the run as diverged.
    """
    out = Outcome()
    began = time.perf_counter()
    steps = total_steps(recipe, data.train_size())
    due = {math.ceil(steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    optimizer = _optimizer(groups, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, recipe))
    # The penalty acts on the weights that the model computes with, which in a subspace are not what is trained; theta, one
    # dimension long, is not among them.
    weights = (
        [p for p in module.parameters() if p.requires_grad and p.dim() > 1] if recipe.l2 else []
    )
    device = next(module.parameters()).device
    compute = COMPUTE.get(recipe.precision)
    amp = torch.autocast(device.type, compute, enabled=compute is not None)
    # fp16's gradients would underflow; the factor is taken out again before the step.
    scaler = torch.amp.GradScaler(device.type, enabled=compute == torch.float16)

    def evaluate(step: int) -> None:
        score = score_once(module, data, recipe, split)
        module.train()
        out.curve.append({"step": step, "score": score})
        if progress:
            progress(step, steps, score)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_dropout)
        evaluate(0)
        out.untouched = out.curve[0]["score"]
        batches = _endless(data, recipe.batch_size, seed_data)
        for step in range(1, steps + 1):
            batch = next(batches)
            with amp:
                loss = data.loss(module, batch)
            if not torch.isfinite(loss):
                out.status, out.reason = "diverged", f"loss {loss.item()} at step {step} of {steps}"
                break
            if recipe.l2:
                loss = loss + recipe.l2 * sum(w.square().sum() for w in weights)
            scaler.scale(loss).backward()
            if recipe.clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(
                    [p for g in optimizer.param_groups for p in g["params"]], recipe.clip
                )
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            out.steps, out.tokens = step, out.tokens + data.tokens(batch)
            if step in due:
                evaluate(step)
                if stop and (side := stop([(p["step"] / steps, p["score"]) for p in out.curve])):
                    out.status, out.stopped, out.share = "stopped", side, step / steps
                    out.reason = f"known to end {side} the threshold at step {step} of {steps}"
                    break
    out.final = _final([point["score"] for point in out.curve[1:]], recipe.rule)
    if out.status in ("ok", "stopped") and not math.isfinite(out.final):
        out.status, out.reason = "diverged", f"score {out.final} at the end of {steps} steps"
    out.seconds = time.perf_counter() - began
    return out


def _final(scores: list[float], rule: str) -> float:
    if not scores:
        return math.nan
    if rule == "mean_of_last_3":
        return sum(scores[-3:]) / len(scores[-3:])
    return scores[-1]


def _endless(data: Data, batch_size: int, seed: int) -> Iterator[object]:
    epoch = 0
    while True:
        yield from data.batches(batch_size, seed + epoch)
        epoch += 1


def _rate(step: int, steps: int, recipe: Recipe) -> float:
    warm = recipe.warmup * steps
    if step < warm:
        return (step + 1) / warm
    if recipe.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1.0, steps - warm)
    return 1.0 - done if recipe.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def _optimizer(groups: dict[str, list[nn.Parameter]], recipe: Recipe) -> torch.optim.Optimizer:
    listed = []
    for name, params in groups.items():
        rate = recipe.learning_rate
        if name == "scales" and recipe.scale_learning_rate is not None:
            rate = recipe.scale_learning_rate
        decay = 0.0 if name == "scales" else recipe.weight_decay
        listed.append({"params": params, "lr": rate, "weight_decay": decay})
    return OPTIMIZERS[recipe.optimizer](listed, recipe)
