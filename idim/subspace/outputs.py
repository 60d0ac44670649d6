"""What a module returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
