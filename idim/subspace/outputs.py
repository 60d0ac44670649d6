"""What a module returned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch


def tensors(out: object) -> Iterator[torch.Tensor]:
    """The tensors in an output: itself, or in mappings, lists and tuples, however deep."""
    if isinstance(out, torch.Tensor):
        yield out
    elif isinstance(out, Mapping):
        for part in out.values():
            yield from tensors(part)
    elif isinstance(out, (list, tuple)):
        for part in out:
            yield from tensors(part)


def entries(out: object) -> Iterable[torch.Tensor]:
    """The tensors by which a backward pass may enter the module that made them."""
    found = (out,) if isinstance(out, torch.Tensor) else tensors(out)
    return [tensor for tensor in found if tensor.grad_fn is not None]
