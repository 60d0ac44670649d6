"""The contract that every family keeps."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch

from projections.engines import at_once, choose
from projections.neighbours import together
from projections.said import GroupedShares, Shares

#: A range to shift: where it starts in D, where to write it, theta_0 there (both of one shape, whatever it is; the first in order), and the scale.
Job = tuple[int, torch.Tensor, torch.Tensor, torch.Tensor | float]
_ROWS_AT_ONCE = 1 << 22  # floats


class ProjectionError(ValueError):
    """A projection that cannot be made or applied as asked."""


class Image(ABC):
    """P theta, evaluated where it is asked for. Valid until theta changes."""

    def __init__(self, p: Projection):
        self._p = p

    @abstractmethod
    def write(self, out: torch.Tensor, start: int = 0) -> None:
        """``out[:] = (P theta)[start : start + n]``; out is ``(n,)`` of the projection's dtype."""

    def shift(
        self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int = 0
    ) -> None:
        """``out = origin + scale * (P theta)[start : start + n]``, formed in the projection's dtype whatever out's and origin's.

        ``scale`` is a number or a tensor of no dimension. Works in pieces: no copy of out is made.
        """
        self.shift_all([(start, out, origin, scale)])

    def _shift(
        self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int
    ) -> None:
        n, step = out.numel(), max(self._p.grain, at_once(self._p.device))
        buffer = torch.empty(min(n, step), dtype=self._p.dtype, device=self._p.device)
        for lo in range(start - start % step, start + n, step):
            a, b = max(lo, start), min(lo + step, start + n)
            move = buffer[: b - a]
            self.write(move, a)
            at = slice(a - start, b - start)
            _add(out[at], origin[at], move, scale)

    def shift_all(self, jobs: list[Job]) -> None:
        """``shift`` for each ``(start, out, origin, scale)``; threads share the work of all."""
        flat = [
            (start, out.view(-1), origin.reshape(-1), scale) for start, out, origin, scale in jobs
        ]
        for part in together(flat, lambda job: (job[0], job[1].numel(), None)):
            if len(part) == 1:
                start, out, origin, scale = part[0]
                self._shift(out, origin, scale, start)
                continue
            move = torch.empty(
                sum(out.numel() for _, out, _, _ in part),
                dtype=self._p.dtype,
                device=self._p.device,
            )
            self.write(move, part[0][0])
            for (_, out, origin, scale), own in zip(
                part, move.split([out.numel() for _, out, _, _ in part]), strict=True
            ):
                _add(out, origin, own, scale)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        """P theta on the ranges ``[s, s + length)``: ``(k,) -> (k, length)``. For embedding tables, of which a batch needs few rows."""
        out = torch.empty(len(starts), length, dtype=self._p.dtype, device=self._p.device)
        for row, start in zip(out, starts.tolist(), strict=True):
            self.write(row, start)
        return out

    def shift_rows(
        self,
        table: torch.Tensor,
        origin: torch.Tensor,
        rows: torch.Tensor,
        scale: torch.Tensor | float,
        start: int,
    ) -> None:
        """``shift`` for these rows ``(k,)`` of a table and of its origin, ``(n, width)`` both, which begins at ``start`` in D."""
        width = table.shape[1]
        # In pieces, so that all of a large vocabulary needs no second copy of it.
        for part in rows.split(max(1, _ROWS_AT_ONCE // width)):
            move = self.rows(start + part * width, width)
            _add(move, origin.index_select(0, part), move, scale)
            table.index_copy_(0, part, move.to(table.dtype))


def _add(
    out: torch.Tensor, origin: torch.Tensor, move: torch.Tensor, scale: torch.Tensor | float
) -> None:
    """``out = origin + scale * move`` in move's dtype, whatever out's and origin's; move is overwritten."""
    moved = torch.add(origin.to(move.dtype), move.mul_(scale), out=move)
    if out is not move:
        out.copy_(moved)


class Accumulator(ABC):
    """P^T v, gathered from ranges of v in any order."""

    @abstractmethod
    def add(self, v: torch.Tensor, start: int = 0) -> None:
        """Take in ``v (n,)`` as entries ``start .. start + n``, of the projection's dtype. It may be kept until ``finish``."""

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        """Take in ``v (k, length)`` on the ranges ``[s, s + length)``, which may repeat."""
        for row, start in zip(v, starts.tolist(), strict=True):
            self.add(row, start)

    @abstractmethod
    def finish(self) -> torch.Tensor:
        """P^T of what was added: ``(d,)``."""

    def along(self, share: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """<v, P theta> for the v that was added; ``share`` is what ``finish`` gave."""
        return torch.dot(share, theta)


class Projection(ABC):
    """A fixed linear map P: R^d -> R^D, a function of ``(family, D, d, seed, version)`` alone.

    ``p(theta)`` is ``(d,) -> (D,)`` and differentiable; ``p.adjoint(v)`` is ``(D,) -> (d,)``. ``p.image(theta)`` and
    ``p.accumulator()`` do the same in ranges of D, so that nothing of D's size need exist; what all ranges have in common is
    done once. ``dtype`` is the arithmetic's, and ``engine`` the form of the arithmetic; the random bits depend on neither.
    It keeps scratch memory between products, so one thread at a time may use it.
    """

    family: ClassVar[str]
    version: ClassVar[int] = 1
    #: Whether P^T is applied to all of v at once, so that an accumulator keeps v itself.
    staged: ClassVar[bool] = False

    def __init__(
        self,
        D: int,
        d: int,
        *,
        seed: int,
        device: str | torch.device,
        dtype: torch.dtype,
        engine: str = "auto",
    ):
        self.D, self.d, self.seed = D, d, seed
        self.device, self.dtype = torch.device(device), dtype
        try:
            self.engine = choose(engine, self.engines, self.device, dtype)
        except ValueError as error:
            raise ProjectionError(str(error)) from None

    @abstractmethod
    def image(self, theta: torch.Tensor) -> Image:
        """P theta for theta ``(d,)`` of ``self.dtype``, to be written range by range."""

    @abstractmethod
    def accumulator(self) -> Accumulator:
        """An empty P^T v."""

    def shares(self, image: Image, scales: torch.Tensor | None) -> Shares:
        """An empty gradient of theta and of the structure-aware scales ``(groups,)``; None: P theta alone."""
        return GroupedShares(self, image, scales)

    @abstractmethod
    def ingredients(self) -> Iterator[torch.Tensor]:
        """The random tensors that define P, in a fixed order and dtype; what the checksum reads."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Those beside "plain" that this projection has a form in, best first."""
        return ()

    @property
    def grain(self) -> int:
        """Ranges of D that begin and end at its multiples cost least."""
        return 1

    @property
    def row_wise(self) -> bool:
        """Whether few short ranges cost little: ``rows`` and ``add_rows`` are then worth using."""
        return False

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:  # (d,) -> (D,)
        self._check(theta, self.d, "theta")
        return _Apply.apply(theta, self)

    def adjoint(self, v: torch.Tensor) -> torch.Tensor:  # (D,) -> (d,)
        self._check(v, self.D, "v")
        return _Adjoint.apply(v, self)

    def as_matrix(self) -> torch.Tensor:
        """The explicit ``(D, d)`` matrix. For tests: costs d products."""
        return torch.stack(
            [self(e) for e in torch.eye(self.d, dtype=self.dtype, device=self.device)], dim=1
        )

    @property
    def identity(self) -> dict[str, object]:
        return {
            "family": self.family,
            "D": self.D,
            "d": self.d,
            "seed": self.seed,
            "version": self.version,
        }

    @property
    def stored_bytes(self) -> int:
        """What P itself holds, whatever theta: the bytes of its tensors."""
        tensors = [x for x in vars(self).values() if isinstance(x, torch.Tensor)]
        return sum(x.untyped_storage().nbytes() for x in {id(x): x for x in tensors}.values())

    def checksum(self) -> str:
        """SHA-256 over the identity and the random ingredients: equal on every machine, or P is not the same."""
        digest = hashlib.sha256(repr(sorted(self.identity.items())).encode())
        for tensor in self.ingredients():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def verify(self, checksum: str) -> None:
        """Raise ``ProjectionError`` unless this is the P whose checksum was kept: computed before anything is done with it."""
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

    def _check(self, x: torch.Tensor, n: int, name: str) -> None:
        self._fits(x, n, name)
        if not torch.isfinite(x).all():
            raise ProjectionError(
                f"{name}: expected finite numbers; got {int((~torch.isfinite(x)).sum())} that are not"
            )


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, theta: torch.Tensor, p: Projection) -> torch.Tensor:
        ctx.p = p
        out = torch.empty(p.D, dtype=p.dtype, device=p.device)
        p.image(theta).write(out)
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        return _Adjoint.apply(grad.contiguous(), ctx.p), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v: torch.Tensor, p: Projection) -> torch.Tensor:
        ctx.p = p
        gathered = p.accumulator()
        gathered.add(v)
        return gathered.finish()

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        return _Apply.apply(grad.contiguous(), ctx.p), None


class Staged(Accumulator):
    """For families whose transpose is cheap only over all of D: keeps the pieces and applies it once.

    ``apply`` is ``(D,) -> (d,)``.
    """

    def __init__(self, p: Projection, apply: Callable[[torch.Tensor], torch.Tensor]):
        self._p, self._apply = p, apply
        self._pieces: list[tuple[int, torch.Tensor]] = []

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        self._pieces.append((start, v))

    def finish(self) -> torch.Tensor:
        if len(self._pieces) == 1 and self._pieces[0][1].numel() == self._p.D:
            return self._apply(self._pieces[0][1])
        whole = torch.zeros(self._p.D, dtype=self._p.dtype, device=self._p.device)
        for start, v in self._pieces:
            whole[start : start + v.numel()] += v
        return self._apply(whole)
