"""The splits of a task, the same on every machine, and the order of their examples."""

from __future__ import annotations

import torch

from idim.errors import expected

#: What the part of a folder that is measured on may be called, in order of preference.
EVALUATION = ("validation", "val", "test")


def carve(n: int, fractions: dict[str, float], cap: int = 1000) -> dict[str, torch.Tensor]:
    """Disjoint index sets of ``range(n)``, the same on every machine.

    Each named fraction gets its part, of at most ``cap``. The rest is train.
    """
    order = shuffled(n, seed=20181)
    out, at = {}, 0
    for name, share in fractions.items():
        size = min(cap, round(share * n))
        out[name] = order[at : at + size].sort().values
        at += size
    out["train"] = order[at:].sort().values
    return out


def capped(index: torch.Tensor, most: int) -> torch.Tensor:
    """A random subset of at most ``most`` (0: all), by a fixed seed, in order."""
    if not most or most >= len(index):
        return index
    return index[shuffled(len(index), seed=20212)[:most].sort().values]


def shuffled(n: int, seed: int) -> torch.Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed % (1 << 63)))


def grouped(lengths: torch.Tensor, batch_size: int, seed: int) -> list[torch.Tensor]:
    """Batches of indices in an order drawn from seed, each of examples of similar length."""
    # Sorting inside windows of 16 batches keeps padding low. Shuffling the batches keeps length
    # from ordering them.
    batches = []
    for window in shuffled(lengths.numel(), seed).split(16 * batch_size):
        batches += window[lengths[window].argsort(stable=True)].split(batch_size)
    return [batches[i] for i in shuffled(len(batches), seed + 1).tolist()]


def check_split(n: int, where: str) -> None:
    if n == 0:
        raise expected(where, "at least one example", "none")
