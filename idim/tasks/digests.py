"""What a digest reads of an example of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from idim.tasks.takes import LABELS


def inputs_of(example: Any) -> Any:
    """An example without its label."""
    if isinstance(example, Mapping):
        return {k: v for k, v in example.items() if k not in LABELS}
    return example[:-1] if isinstance(example, (list, tuple)) else example


def bytes_of(example: Any) -> Iterator[bytes]:
    """The bytes of each of an example's parts."""
    if isinstance(example, Mapping):
        example = [v for _, v in sorted(example.items())]
    for part in example if isinstance(example, (list, tuple)) else [example]:
        if isinstance(part, torch.Tensor):
            flat = part.detach().cpu().contiguous().view(-1)
            yield flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        else:
            yield part.tobytes() if hasattr(part, "tobytes") else repr(part).encode()
