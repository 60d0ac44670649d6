"""The one training loop: module, data and recipe give scores. Every arm goes through it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from idim.groups import Group
from idim.ranks import ALONE, Ranks
from idim.saves import NONE, Saves
from idim.values.recipe import Recipe

#: What a precision other than fp32 computes in, by autocast.
COMPUTE = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: Optimisers by name: (parameter groups, recipe) -> optimiser. They are fused: one pass over the
#: weights, not ten, which saves a fifth of full fine-tuning's time on a CPU. (SGD's is not, because
#: its fused form does not skip overflown steps there.)
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Recipe], torch.optim.Optimizer]] = {
    "adam": lambda groups, recipe: torch.optim.Adam(groups, betas=(0.9, recipe.beta2), fused=True),
    "adamw": lambda groups, recipe: torch.optim.AdamW(
        groups, betas=(0.9, recipe.beta2), fused=True
    ),
    "sgd": lambda groups, recipe: torch.optim.SGD(groups, momentum=0.9),
}


class Data(Protocol):
    """What the loop needs of a task."""

    def train_size(self) -> int: ...
    def batches(self, batch_size: int, seed: int) -> Iterator[object]: ...
    def loss(self, module: nn.Module, batch: object) -> torch.Tensor: ...
    def score(self, module: nn.Module, split: str) -> float: ...
    def terms(self, module: nn.Module, batch: object) -> int: ...
    def tokens(self, batch: object) -> int: ...


@dataclass
class Outcome:
    """What a run gave. A run that failed keeps what it had up to its end.

    Attributes:
        status: "ok", "stopped", "diverged" or "failed".
        reason: why it is not ok, in words.
        stopped: on which side of what it had to reach, where it was stopped.
        fraction: of the steps that were made.
        untouched: the score before the first step.
        final: the score by the recipe's rule.
        learning_curve: step and score of each evaluation, the one before the first step included.
        steps, tokens, seconds: what it took.
    """

    status: str = "ok"
    reason: str = ""
    stopped: str = ""
    fraction: float = 1.0
    untouched: float = math.nan
    final: float = math.nan
    learning_curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


def score_once(module: nn.Module, data: Data, recipe: Recipe, split: str) -> float:
    """The module's score on a split, in the recipe's precision. Leaves it in evaluation mode."""
    compute, device = COMPUTE.get(recipe.precision), next(module.parameters()).device
    module.eval()
    with torch.no_grad(), torch.autocast(device.type, compute, enabled=compute is not None):
        return data.score(module, split)


def score_untrained(
    module: nn.Module,
    data: Data,
    recipe: Recipe,
    split: str,
    progress: Callable[[int, int, float], None] | None = None,
) -> Outcome:
    """The outcome of a module that nothing trains: one score, before the first step and the last.

    The arguments are those of ``train``.
    """
    began = time.perf_counter()
    score = score_once(module, data, recipe, split)
    if progress:
        progress(0, 0, score)
    out = Outcome(untouched=score, final=score, learning_curve=[{"step": 0, "score": score}])
    if not math.isfinite(score):
        out.status, out.reason = "diverged", f"score {score} without a step"
    out.seconds = time.perf_counter() - began
    return out


def train(
    module: nn.Module,
    groups: Sequence[Group],
    data: Data,
    recipe: Recipe,
    *,
    split: str,
    seed_data: int,
    seed_dropout: int,
    progress: Callable[[int, int, float], None] | None = None,
    stop: Callable[[list[tuple[float, float]]], str] | None = None,
    begin: Callable[[int], object] | None = None,
    penalty: Callable[[], torch.Tensor] | None = None,
    after_step: Callable[[int], object] | None = None,
    saves: Saves = NONE,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Train a module, and score it before, during and after.

    Dropout draws from torch's generator, seeded and forked, so the caller's draws are not
    disturbed. A loss that is not finite ends the run as diverged.

    Args:
        module: what is called.
        groups: what is trained, each group at its own rate.
        data: the task.
        recipe: how long and how.
        split: what it is scored on.
        seed_data, seed_dropout: of the order of the examples, and of dropout.
        progress: called at each evaluation as ``progress(step, steps, score)``.
        stop: asked at each evaluation, with (fraction of the steps, score) of all so far. The run
            ends where it answers with a side, "above" or "below".
        begin: told the number of steps, before the first.
        penalty: added to each batch's loss.
        after_step: called after each step of the optimiser with its number, while the gradients
            are there.
        saves: where to go on, and what keeps that.
        ranks: the processes that make this run together. The first one scores.
    """
    out = Outcome()
    began = time.perf_counter()
    steps = recipe.steps(data.train_size())
    due = {math.ceil(steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
    optimizer = _optimizer(groups, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, recipe))
    # The penalty acts on the weights that the model computes with. In a subspace these are not what
    # is trained: theta has one dimension, so it is not among them.
    weights = (
        [p for p in module.parameters() if p.requires_grad and p.dim() > 1] if recipe.l2 else []
    )
    device = next(module.parameters()).device
    compute = COMPUTE.get(recipe.precision)
    amp = torch.autocast(device.type, compute, enabled=compute is not None)
    # fp16's gradients would underflow; the factor is taken out again before the step.
    scaler = torch.amp.GradScaler(device.type, enabled=compute == torch.float16)

    trained = [p for group in optimizer.param_groups for p in group["params"]]
    held = _Held(module, optimizer, schedule, scaler)

    def position() -> dict[str, Any]:
        return {
            "step": out.steps,
            "curve": out.learning_curve,
            "tokens": out.tokens,
            "seconds": time.perf_counter() - began,
        } | held.state()

    def evaluate(step: int) -> None:
        score = ranks.of_first(lambda: score_once(module, data, recipe, split))
        module.train()
        out.learning_curve.append({"step": step, "score": score})
        if progress:
            progress(step, steps, score)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_dropout + ranks.rank)
        if begin:
            begin(steps)
        batches = _endless(data, recipe.batch_size, seed_data)
        if saved := saves.load():
            held.restore(saved)
            out.learning_curve, out.tokens = saved["curve"], saved["tokens"]
            out.steps, began = saved["step"], began - saved["seconds"]
            module.train()
            for _ in range(out.steps):
                next(batches)
        else:
            evaluate(0)
        out.untouched = out.learning_curve[0]["score"]
        for step in range(out.steps + 1, steps + 1):
            batch = next(batches)
            mine, share = ranks.part(data, module, batch)
            with amp:
                loss = data.loss(module, mine)
            if share != 1:
                loss = loss * share
            whole = ranks.total(loss)
            if not torch.isfinite(whole):
                out.status = "diverged"
                out.reason = f"loss {whole.item()} at step {step} of {steps}"
                break
            # What depends on the weights alone is the same in each process.
            if penalty:
                loss = loss + penalty() / ranks.count
            if recipe.l2:
                loss = loss + recipe.l2 / ranks.count * sum(w.square().sum() for w in weights)
            scaler.scale(loss).backward()
            ranks.add_up(trained)
            if recipe.clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(trained, recipe.clip)
            scaler.step(optimizer)
            scaler.update()
            if after_step:
                after_step(step)
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            out.steps, out.tokens = step, out.tokens + data.tokens(batch)
            if step in due:
                evaluate(step)
                so_far = [(p["step"] / steps, p["score"]) for p in out.learning_curve]
                if stop and (side := stop(so_far)):
                    out.status, out.stopped, out.fraction = "stopped", side, step / steps
                    out.reason = f"known to end {side} the threshold at step {step} of {steps}"
                    break
            saves.offer(position)
    out.final = _final([point["score"] for point in out.learning_curve[1:]], recipe.rule)
    if out.status in ("ok", "stopped") and not math.isfinite(out.final):
        out.status, out.reason = "diverged", f"score {out.final} at the end of {steps} steps"
    out.seconds = time.perf_counter() - began
    return out


class _Held:
    """All that changes while a module trains, but for its position in the data."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        scaler: torch.amp.GradScaler,
    ):
        self._parts: dict[str, Any] = {
            "optimizer": optimizer,
            "schedule": schedule,
            "scaler": scaler,
        }
        self._params = [p for group in optimizer.param_groups for p in group["params"]]
        # What batch normalisation counts is trained by nobody, and changes all the same.
        self._buffers = {
            name: b for name, b in module.named_buffers() if name.rpartition(".")[2] in _COUNTED
        }
        self._cuda = any(p.is_cuda for p in self._params)

    def state(self) -> dict[str, Any]:
        """A copy of it."""
        return {
            "params": [p.detach().cpu() for p in self._params],
            "buffers": {name: b.cpu() for name, b in self._buffers.items()},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self._cuda else None,
        } | {name: part.state_dict() for name, part in self._parts.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Put a copy back."""
        with torch.no_grad():
            for p, saved in zip(self._params, state["params"], strict=True):
                p.copy_(saved)
            for name, b in self._buffers.items():
                b.copy_(state["buffers"][name])
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        if self._cuda:
            torch.cuda.set_rng_state(state["random_cuda"])


#: The buffers of batch normalisation.
_COUNTED = ("running_mean", "running_var", "num_batches_tracked")


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


def _optimizer(groups: Sequence[Group], recipe: Recipe) -> torch.optim.Optimizer:
    listed: list[dict[str, Any]] = []
    for group in groups:
        own = getattr(recipe, group.rate)
        rate = group.rate_factor * (recipe.learning_rate if own is None else own)
        decay = recipe.weight_decay if group.decay else 0.0
        listed.append({"params": list(group.params), "lr": rate, "weight_decay": decay})
    return OPTIMIZERS[recipe.optimizer](listed, recipe)
