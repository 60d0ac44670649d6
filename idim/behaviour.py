"""A digest of what a model does with a task, where a program brings both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import nn

from idim.tasks.base import Task

#: Digits that count. More would tell one machine from another.
_DIGITS = 3
_BATCH = 16
#: Attributes that say where a model is from, or in which mode it is.
_NOT_TOLD = ("training", "name_or_path")


def behaviour(module: nn.Module, task: Task) -> str:
    """A digest of what decides a run beside the weights and the examples.

    It covers the classes, attributes and order of all modules, what is frozen, the losses of one
    batch in both modes, and the score of the untouched model. So another activation, ``forward``,
    loss, collator or metric makes other runs.

    Args:
        module: the model at theta_0. It stays as it is.
        task: whose loss and score it is given to.

    Cost: one pass over the measuring split, and two batches.
    """
    digest = hashlib.sha256()
    for part in (*_built(module), *_does(module, task)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def _built(module: nn.Module) -> Iterator[str]:
    """How it is put together."""
    for name, part in module.named_modules():
        yield f"{name} {type(part).__qualname__} {part.extra_repr()}"
        for key, value in sorted(vars(part).items()):
            if key[0] != "_" and key not in _NOT_TOLD and _plain(value):
                yield f"{key}={value!r}"
    for name, p in module.named_parameters():
        yield f"{name} {p.requires_grad}"


def _plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _does(module: nn.Module, task: Task) -> Iterator[str]:
    """What comes out of it. A failure is told too: a run of it would fail as well."""
    modes = {part: part.training for part in module.modules()}
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            for training in (True, False):
                torch.manual_seed(0)
                module.train(training)
                batch = next(iter(task.batches(_BATCH, 0)))
                yield f"{float(task.loss(module, batch)):.{_DIGITS}g}"
            yield f"{task.score(module, 'measure'):.{_DIGITS}g}"
        except Exception as error:
            yield type(error).__name__
        finally:
            for part, mode in modes.items():
                part.training = mode
            for name, b in module.named_buffers():
                if name in buffers:
                    b.copy_(buffers[name])
