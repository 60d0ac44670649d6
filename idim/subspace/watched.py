"""Weights whose memory may be out of date: whoever reads one gets the right numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any
from weakref import ref

import torch
from torch import nn

from idim.subspace.home import Bookmark, Home

T = torch.Tensor
#: What tells or sets something about a weight, and does not look at its numbers.
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
_SET = ["requires_grad", "grad", "_backward_hooks", "data"]
_NUMBERS_UNSEEN = frozenset(
    [
        *(getattr(T, name).__get__ for name in _PROPERTIES),
        *(getattr(T, name) for name in _METHODS),
        *(getattr(T, name).__set__ for name in _SET),
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


class Place:
    """Where a weight belongs: its home, and its index there. A copy or a pickle of it is None."""

    __slots__ = ("home", "index")

    def __init__(self, home: Home, index: int):
        # Weakly, because the collector of cycles cannot see what a tensor refers to.
        self.home, self.index = ref(home), index

    @staticmethod
    def nowhere() -> None:
        """What a copied weight belongs to."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return Place.nowhere, ()


class Watched(nn.Parameter):
    """The class of a subspace's weight from the end of a forward pass to the next one.

    Where the weight's memory is not whole, it keeps this class during the pass too. Before torch
    does anything with the weight's numbers, its home brings them up to date, or gives a copy to
    work on. So it does not matter by which name, hook, view or function they are read. A copy or
    a pickle of the weight is a plain parameter.

    Cost: some microseconds for each operation on such a weight. A forward pass of the whole model
    makes its operations on plain parameters, which cost nothing more.
    """

    _idim_wrapped: Place

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is T.copy_ and isinstance(args[0], Watched):
            return _copied(args[0], *args[1:], **kwargs)
        if func not in _NUMBERS_UNSEEN:
            args, kwargs = _made_ready(args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        if id(self) not in memo:
            memo[id(self)] = _plain(self.detach().clone(memory_format=torch.preserve_format))
        copied: nn.Parameter = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self.detach()).__reduce_ex__(protocol)


def _plain(x: torch.Tensor) -> nn.Parameter:
    # Its owner had it trainable, else it would not be in a subspace.
    return nn.Parameter(x, requires_grad=True)


def adopt(p: nn.Parameter, home: Home, index: int) -> None:
    """Note where a weight belongs, before it is watched."""
    vars(p)["_idim_wrapped"] = Place(home, index)


def is_adopted(p: nn.Parameter) -> bool:
    """Whether a subspace moves this weight."""
    return vars(p).get("_idim_wrapped") is not None


def release(p: nn.Parameter) -> None:
    """Forget where a weight belonged."""
    del vars(p)["_idim_wrapped"]


def watch(weights: Iterable[nn.Parameter]) -> None:
    """From now on, readers of these weights are told apart."""
    for p in weights:
        p.__class__ = Watched


def unwatch(weights: Iterable[nn.Parameter]) -> None:
    """The memory of these weights is right as it is."""
    for p in weights:
        p.__class__ = nn.Parameter


def can_be_watched(p: nn.Parameter) -> bool:
    """False for a parameter of somebody's own class, which has its own ways."""
    return type(p) is nn.Parameter


class _Copy(torch.autograd.Function):
    """A weight's numbers in other memory. The gradient is the weight's, at the copy's theta."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: torch.Tensor, made: torch.Tensor, bookmark: Bookmark) -> torch.Tensor:
        return made.view_as(made)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, _, ctx.bookmark = inputs

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        ctx.bookmark(grad)
        return grad, None, None


def _made_ready(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with every watched weight among them up to date, or a copy in its place."""
    found: dict[Home, dict[int, Watched]] = {}
    for p in _watched([args, kwargs]):
        home = p._idim_wrapped.home()
        if home is not None:
            found.setdefault(home, {})[p._idim_wrapped.index] = p
    copies: dict[int, torch.Tensor] = {}
    for home, weights in found.items():
        for i, made in home.ready(list(weights)).items():
            p = weights[i]
            with torch._C.DisableTorchFunctionSubclass():
                if torch.is_grad_enabled() and p.requires_grad:
                    made = _Copy.apply(p, made, Bookmark(home))  # type: ignore[no-untyped-call]  # torch's
                copies[id(p)] = made
    if not copies:
        return args, kwargs
    return tuple(_exchanged(x, copies) for x in args), {
        key: _exchanged(x, copies) for key, x in kwargs.items()
    }


def _copied(p: Watched, src: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """``p.copy_(src)``. It makes nothing ready of p, because a load may be half done."""
    (src,), _ = _made_ready((src,), {})
    home = p._idim_wrapped.home()
    writing = nullcontext() if home is None else home.writing(p._idim_wrapped.index, src.dtype)
    with torch._C.DisableTorchFunctionSubclass(), writing:
        return p.copy_(src, *args, **kwargs)


def _watched(x: object) -> Iterator[Watched]:
    if isinstance(x, Watched):
        yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from _watched(part)
    elif isinstance(x, dict):
        yield from _watched(list(x.values()))


def _exchanged(x: Any, copies: dict[int, torch.Tensor]) -> Any:
    if isinstance(x, torch.Tensor):
        return copies.get(id(x), x)
    if type(x) in (list, tuple):
        return type(x)(_exchanged(part, copies) for part in x)
    if isinstance(x, dict):
        return {key: _exchanged(part, copies) for key, part in x.items()}
    return x
