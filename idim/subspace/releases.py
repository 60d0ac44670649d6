"""What releases of torch before 2.8 do another way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_AUTOGRAD = torch._C._autograd
_TOP_HOOKS = getattr(_AUTOGRAD, "_top_saved_tensors_default_hooks", None)
_RELEASE = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])


def set_versions(tensors: Sequence[torch.Tensor], version: int) -> None:
    """Give tensors this version: autograd refuses what it saved of them at another one."""
    if _RELEASE >= (2, 7):
        _AUTOGRAD._unsafe_set_version_counter(tuple(tensors), (version,) * len(tensors))
        return
    for tensor in tensors:
        _AUTOGRAD._unsafe_set_version_counter(tensor, version)  # type: ignore[arg-type] # before 2.7


def saves_by_its_own_hand() -> bool:
    """Whether autograd keeps tensors as they are: no hooks of somebody else's are on."""
    return _TOP_HOOKS is not None and _TOP_HOOKS(True) is None


def why_not_lean() -> str:
    """What ``lean`` needs and this torch lacks; empty if it works here."""
    return "torch 2.8 or later" if _TOP_HOOKS is None else ""
