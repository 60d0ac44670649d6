"""The contract that every family keeps."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from projections.contract import Accumulator, Image, ScaledGradient
from projections.engines import choose
from projections.grouped import GroupedGradient


class ProjectionError(ValueError):
    """A projection cannot be made or applied as asked."""


class Projection(ABC):
    """A fixed linear map P: R^d -> R^D, a function of ``(family, D, d, seed, version)`` alone.

    ``p(theta)`` and ``p.adjoint(v)`` are the two products. ``p.image(theta)`` and
    ``p.accumulator()`` are the same in ranges of D, so that nothing of D's size need exist; the
    work that all ranges share is done once. ``dtype`` is the arithmetic's and ``engine`` is the
    form of the arithmetic: the random bits depend on neither.

    Not for two threads at a time: a projection keeps scratch memory between products.

    Args:
        D: how many weights P moves.
        d: how many coordinates it reads.
        seed: of the random bits, from 0 to 2^64 - 1.
        device: where the random bits and the products live.
        dtype: of the arithmetic.
        engine: one of ``projections.ENGINES``.

    Raises:
        ProjectionError: the engine is unknown, has no form of this family, or cannot work here.
    """

    #: The family's name. It is part of every record's identity.
    family: str
    #: Goes up by one when the same seed gives another P.
    version: int = 1
    #: Whether P^T needs all of v at once, so that an accumulator keeps v itself.
    staged: ClassVar[bool] = False

    def __init__(
        self,
        D: int,
        d: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: str = "auto",
    ) -> None:
        self.D, self.d, self.seed = D, d, seed
        self.device, self.dtype = torch.device(device), dtype
        try:
            self.engine = choose(engine, self.engines, self.device, dtype)
        except ValueError as error:
            raise ProjectionError(str(error)) from None

    @abstractmethod
    def image(self, theta: torch.Tensor) -> Image:
        """P theta for ``theta`` ``(d,)`` of ``self.dtype``, to be written range by range."""

    @abstractmethod
    def accumulator(self) -> Accumulator:
        """An empty P^T v."""

    @abstractmethod
    def ingredients(self) -> Iterator[torch.Tensor]:
        """The random tensors that define P, in a fixed order and dtype. The checksum reads them."""

    def scaled_gradient(self, image: Image, scales: torch.Tensor | None) -> ScaledGradient:
        """An empty gradient of theta and of the structure-aware scales.

        Args:
            image: P theta at the theta whose gradient is gathered.
            scales: ``(groups,)``, or None for P theta alone.
        """
        return GroupedGradient(self.accumulator, self.dtype, scales)

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines beside "plain" that have a form of this projection, best first."""
        return ()

    @property
    def grain(self) -> int:
        """Ranges of D that begin and end at its multiples cost least."""
        return 1

    @property
    def row_wise(self) -> bool:
        """Whether few short ranges cost little, so that ``rows`` and ``add_rows`` pay."""
        return False

    @property
    def scratch(self) -> list[torch.Tensor]:
        """Memory that is kept from one product to the next. ``stored_bytes`` leaves it out."""
        return []

    def share_scratch(self, other: Projection) -> None:  # noqa: B027 (most keep none)
        """Share ``other``'s scratch memory. Never use both at the same time."""

    def __call__(self, theta: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """P theta: ``(d,) -> (D,)``, differentiable in theta.

        Args:
            theta: ``(d,)`` of ``self.dtype``.
            out: ``(D,)`` of ``self.dtype`` to write into. To fill fresh memory costs several
                times the product, so reuse it where you can. Gradients do not pass through it.

        Returns:
            ``out``, or a new tensor.

        Raises:
            ProjectionError: a shape, dtype or device is wrong, a number of theta is not finite,
                or ``out`` is given where a gradient is asked for.
        """
        self._fits(theta, self.d, "theta")
        if not torch.isfinite(theta).all():
            raise _not_finite(theta, "theta")
        if out is None:
            return _apply(theta, self)
        self._fits(out, self.D, "out")
        if torch.is_grad_enabled() and (theta.requires_grad or out.requires_grad):
            raise ProjectionError(
                "out: expected tensors without requires_grad, or torch.no_grad(); got a gradient "
                "to follow, which p(theta) without out does"
            )
        self.write(theta, out)
        return out

    def write(self, theta: torch.Tensor, out: torch.Tensor) -> None:
        """Write P theta into ``out`` ``(D,)``, as ``image(theta).write(out)`` does.

        Some families need less memory for it than for an image. ``p(theta, out=)`` checks more.
        """
        self.image(theta).write(out)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:
        """P^T v: ``(D,) -> (d,)``, differentiable in v.

        The d sums are checked, not v's D numbers, which would cost several times the product. A
        bad number of v reaches a sum unless P has no entry in its row (``sparse`` has such rows).

        Raises:
            ProjectionError: v's shape, dtype or device is wrong, or a sum is not finite.
        """
        self._fits(v, self.D, "v")
        product = _adjoint(v, self)
        if not torch.isfinite(product).all():
            raise _not_finite(v, "v")
        return product

    def as_matrix(self) -> torch.Tensor:
        """The explicit matrix ``(D, d)``. For tests: it costs d products and D d numbers."""
        return torch.stack(
            [self(e) for e in torch.eye(self.d, dtype=self.dtype, device=self.device)], dim=1
        )

    @property
    def identity(self) -> dict[str, object]:
        """What determines P, as a record keeps it."""
        return {
            "family": self.family,
            "D": self.D,
            "d": self.d,
            "seed": self.seed,
            "version": self.version,
        }

    def stored(self) -> list[torch.Tensor]:
        """The tensors that P itself holds, whatever theta."""
        return [x for x in vars(self).values() if isinstance(x, torch.Tensor)]

    @property
    def stored_bytes(self) -> int:
        """The bytes of ``stored()``; memory that two of the tensors share counts once."""
        tensors = {id(x): x for x in self.stored()}
        return sum(x.untyped_storage().nbytes() for x in tensors.values())

    def checksum(self) -> str:
        """SHA-256 over the identity and the ingredients, in hex: equal wherever P is the same.

        Cost: makes the ingredients once more.
        """
        digest = hashlib.sha256(repr(sorted(self.identity.items())).encode())
        for tensor in self.ingredients():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def verify(self, checksum: str) -> None:
        """Check that this is the P whose checksum was kept. Call it before P is used.

        Raises:
            ProjectionError: this machine makes another P of the same identity.
        """
        found = self.checksum()
        if found != checksum:
            raise ProjectionError(
                f"checksum: expected {checksum}; this machine makes {found} of {self.identity}"
            )

    def _fits(self, x: torch.Tensor, n: int, name: str) -> None:
        if x.shape != (n,):
            raise ProjectionError(f"{name}: expected shape ({n},); got {tuple(x.shape)}")
        if x.dtype != self.dtype:
            raise ProjectionError(f"{name}: expected {self.dtype}; got {x.dtype}")
        if x.device.type != self.device.type:
            raise ProjectionError(f"{name}: expected a tensor on {self.device}; got {x.device}")


def _not_finite(x: torch.Tensor, name: str) -> ProjectionError:
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        return ProjectionError(f"{name}: expected finite numbers; got {bad} that are not")
    return ProjectionError(
        f"{name}: expected numbers whose sums {x.dtype} holds; got entries up to "
        f"{float(x.detach().abs().max()):.3g}"
    )


class _Apply(torch.autograd.Function):
    """P theta; its derivative is P^T."""

    @staticmethod
    def forward(ctx: Any, theta: torch.Tensor, p: Projection) -> torch.Tensor:
        ctx.p = p
        out = torch.empty(p.D, dtype=p.dtype, device=p.device)
        p.write(theta, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _adjoint(grad.contiguous(), ctx.p), None


class _Adjoint(torch.autograd.Function):
    """P^T v; its derivative is P."""

    @staticmethod
    def forward(ctx: Any, v: torch.Tensor, p: Projection) -> torch.Tensor:
        ctx.p = p
        total = p.accumulator()
        total.add(v)
        return total.finish()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _apply(grad.contiguous(), ctx.p), None


# The only two calls of ``Function.apply``, which torch leaves without types.


def _apply(theta: torch.Tensor, p: Projection) -> torch.Tensor:
    product: torch.Tensor = _Apply.apply(theta, p)  # type: ignore[no-untyped-call]  # as said above
    return product


def _adjoint(v: torch.Tensor, p: Projection) -> torch.Tensor:
    product: torch.Tensor = _Adjoint.apply(v, p)  # type: ignore[no-untyped-call]  # as said above
    return product
