"""The contract that every family keeps."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch


class ProjectionError(ValueError):
    """A projection that cannot be made or applied as asked."""


class Projection(ABC):
    """A fixed linear map P: R^d -> R^D, a function of ``(family, D, d, seed, version)`` alone.

    ``p(theta)`` is ``(d,) -> (D,)`` and differentiable; ``p.adjoint(v)`` is ``(D,) -> (d,)``. ``write`` and
    ``adjoint_add`` do the same for the range ``[start, start + n)`` of D, into a buffer of the caller's, so that nothing
    of D's size need exist. ``dtype`` is the arithmetic's; the random bits do not depend on it.
    """

    family: ClassVar[str]
    version: ClassVar[int] = 1
    #: True where a short range of D costs in proportion to its length.
    ranged: ClassVar[bool] = True

    def __init__(self, D: int, d: int, *, seed: int, device: str | torch.device, dtype: torch.dtype):
        self.D, self.d, self.seed = D, d, seed
        self.device, self.dtype = torch.device(device), dtype

    @abstractmethod
    def write(self, theta: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        """``out[:] = P[start : start + n] theta``; theta is ``(d,)``, out is ``(n,)``, both of ``self.dtype``."""

    @abstractmethod
    def adjoint_add(self, v: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        """``out += P[start : start + n]^T v``; v is ``(n,)``, out is ``(d,)``, both of ``self.dtype``."""

    @abstractmethod
    def ingredients(self) -> Iterator[torch.Tensor]:
        """The random tensors that define P, in a fixed order and dtype; what the checksum reads."""

    @property
    def chunk(self) -> int:
        """The length of D that is cheapest to write at once."""
        return self.D

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:  # (d,) -> (D,)
        self._check(theta, self.d, "theta")
        return _Apply.apply(theta, self)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:  # (D,) -> (d,)
        self._check(v, self.D, "v")
        return _Adjoint.apply(v, self)

    def as_matrix(self) -> torch.Tensor:
        """The explicit ``(D, d)`` matrix. For tests: costs d products."""
        return torch.stack([self(e) for e in torch.eye(self.d, dtype=self.dtype, device=self.device)], dim=1)

    @property
    def identity(self) -> dict[str, object]:
        return {"family": self.family, "D": self.D, "d": self.d, "seed": self.seed, "version": self.version}

    def checksum(self) -> str:
        """SHA-256 over the identity and the random ingredients: equal on every machine, or P is not the same."""
        digest = hashlib.sha256(repr(sorted(self.identity.items())).encode())
        for tensor in self.ingredients():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _check(self, x: torch.Tensor, n: int, name: str) -> None:
        if x.shape != (n,):
            raise ProjectionError(f"{name}: expected shape ({n},); got {tuple(x.shape)}")
        if x.dtype != self.dtype:
            raise ProjectionError(f"{name}: expected {self.dtype}; got {x.dtype}")
        if not torch.isfinite(x).all():
            raise ProjectionError(f"{name}: expected finite numbers; got {int((~torch.isfinite(x)).sum())} that are not")


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, theta: torch.Tensor, p: Projection) -> torch.Tensor:
        ctx.p = p
        out = torch.empty(p.D, dtype=p.dtype, device=p.device)
        p.write(theta, out)
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        return _Adjoint.apply(grad.contiguous(), ctx.p), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v: torch.Tensor, p: Projection) -> torch.Tensor:
        ctx.p = p
        out = torch.zeros(p.d, dtype=p.dtype, device=p.device)
        p.adjoint_add(v, out)
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        return _Apply.apply(grad.contiguous(), ctx.p), None
