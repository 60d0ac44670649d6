"""A weight whose memory may not hold what theta makes of it: whoever reads it gets the right numbers all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

T = torch.Tensor
#: What tells or sets something about a weight without looking at its numbers.
_PROPERTIES = [
    "shape",
    "dtype",
    "device",
    "layout",
    "ndim",
    "requires_grad",
    "grad",
    "_grad",
    "is_leaf",
    "is_cpu",
    "is_cuda",
    "is_meta",
    "is_mps",
    "is_xpu",
    "is_sparse",
    "is_sparse_csr",
    "is_quantized",
    "is_nested",
    "is_mkldnn",
    "name",
    "grad_fn",
    "_grad_fn",
    "retains_grad",
    "output_nr",
    "_version",
    "_base",
    "nbytes",
    "itemsize",
    "_backward_hooks",
    "_post_accumulate_grad_hooks",
]
_METHODS = [
    "size",
    "dim",
    "numel",
    "nelement",
    "ndimension",
    "stride",
    "storage_offset",
    "element_size",
    "is_contiguous",
    "is_floating_point",
    "is_complex",
    "is_signed",
    "is_inference",
    "is_pinned",
    "is_shared",
    "is_coalesced",
    "is_same_size",
    "get_device",
    "requires_grad_",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "retain_grad",
    "_is_view",
]
_NUMBERS_UNSEEN = frozenset(
    [
        *(getattr(T, name).__get__ for name in _PROPERTIES),
        *(getattr(T, name) for name in _METHODS),
        T.requires_grad.__set__,
        T.grad.__set__,
        T._backward_hooks.__set__,
        T.data.__set__,
        torch.is_floating_point,
        torch.is_complex,
        torch.numel,
        torch.is_same_size,
        torch.get_device,
        torch._has_compatible_shallow_copy_type,
        torch.autograd.grad,
        torch.autograd.backward,
        T.backward,
    ]
)


class Watched(nn.Parameter):
    """The class of a subspace's weight from the end of one forward pass to the next, and longer where its memory is not whole.

    Before torch does anything with the weight's numbers, the subspace brings them up to date, or gives a copy to work on in their stead: through
    whatever name, hook, view or function they are read. ``_idim_wrapped`` is (weak reference to the subspace, index). Copies are plain parameters.
    Cost: some microseconds for each operation; none where a forward pass of the whole model makes it.
    """

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ):
        kwargs = kwargs or {}
        if func not in _NUMBERS_UNSEEN:
            args, kwargs = _made_ready(args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    def __deepcopy__(self, memo: dict) -> nn.Parameter:
        if id(self) not in memo:
            memo[id(self)] = _plain(self.detach().clone(memory_format=torch.preserve_format))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int):
        return _plain(self.detach()).__reduce_ex__(protocol)


def _plain(x: torch.Tensor) -> nn.Parameter:
    # Its owner had it trainable, else it would not be in a subspace.
    return nn.Parameter(x, requires_grad=True)


@contextmanager
def by_our_hand() -> Iterator[None]:
    """In here weights are read and written as they are, by code that knows what their memory holds; what is made can be trained with."""
    with torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        yield


def watch(weights: Iterable[nn.Parameter]) -> None:
    for p in weights:
        p.__class__ = Watched


def unwatch(weights: Iterable[nn.Parameter]) -> None:
    for p in weights:
        p.__class__ = nn.Parameter


def can_be_watched(p: nn.Parameter) -> bool:
    """Not a parameter of somebody's own class, which has its own ways."""
    return type(p) is nn.Parameter


class _Copy(torch.autograd.Function):
    """A weight's numbers in memory of their own; the gradient is the weight's."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        return made.view_as(made)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        return grad, None


def _made_ready(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments, with every watched weight among them up to date, or a copy in its place."""
    found: dict[object, dict[int, nn.Parameter]] = {}
    for p in _watched([args, kwargs]):
        home, i = p._idim_wrapped
        if home() is not None:
            found.setdefault(home(), {})[i] = p
    copies = {}
    for home, own in found.items():
        for i, made in home.ready(list(own)).items():
            p = own[i]
            with torch._C.DisableTorchFunctionSubclass():
                copies[id(p)] = (
                    _Copy.apply(p, made) if torch.is_grad_enabled() and p.requires_grad else made
                )
    return _exchanged((args, kwargs), copies) if copies else (args, kwargs)


def _watched(x: object) -> Iterator[Watched]:
    if isinstance(x, Watched):
        yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from _watched(part)
    elif isinstance(x, dict):
        yield from _watched(list(x.values()))


def _exchanged(x: object, copies: dict[int, torch.Tensor]):
    if isinstance(x, torch.Tensor):
        return copies.get(id(x), x)
    if type(x) in (list, tuple):
        return type(x)(_exchanged(part, copies) for part in x)
    if isinstance(x, dict):
        return {key: _exchanged(part, copies) for key, part in x.items()}
    return x
