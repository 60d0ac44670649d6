"""The weights' gradients, folded into those of theta and of the scales as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from weakref import ref

import torch
from torch import distributed, nn
from torch.utils.hooks import RemovableHandle

import projections
from idim.subspace.weights import Weights

#: Floats of gradients that are gathered before they are folded. So threads are woken less often.
_WAITING = 1 << 21


class Gradients:
    """Takes each weight's gradient g the moment it is complete: ``theta.grad += scale * P^T g``.

    Args:
        weights: whose gradients these are.
        quiet: put the weights to sleep (``requires_grad=False``) when a backward pass ends.
        group: processes whose mean gradient each backward pass leaves, or None.

    Attributes:
        reduces: whether backward passes send anything to the group.
        hooks: those on the weights; the caller removes them.
    """

    def __init__(self, weights: Weights, quiet: bool, group: distributed.ProcessGroup | None):
        self._weights, self._quiet, self.group = weights, quiet, group
        self.reduces = True
        self._gathered: projections.ScaledGradient | None = None
        self._at = weights.where()  # of what is gathered
        self._waiting: dict[int, torch.Tensor] = {}
        self._floats = 0  # that wait
        self.hooks: list[RemovableHandle] = []
        for i, p in enumerate(weights.params):
            self.hooks.append(p.register_post_accumulate_grad_hook(partial(_take_in, ref(self), i)))
            if quiet:
                # A second backward pass through the same graph finds them asleep again.
                self.hooks.append(p.register_hook(partial(_wake, ref(p))))
                p.requires_grad_(False)

    def drop(self) -> None:
        """Forget what a backward pass left that broke off."""
        self._gathered, self._floats = None, 0
        self._waiting.clear()

    def take_in(self, i: int, p: nn.Parameter) -> None:
        """Weight i has its gradient."""
        grad, p.grad = p.grad, None
        if grad is None:
            return
        gathered = self._begin() if self._gathered is None else self._gathered
        weights = self._weights
        if i in weights.tables and not (grad.is_sparse and weights.tables[i].proven):
            weights.settle(i, grad)
        if grad.is_sparse:
            self._fold_rows(gathered, i, grad)
        else:
            if i in self._waiting:
                # Reentrant checkpointing gives a shared weight one gradient a call.
                self._fold_early(gathered)
            self._waiting[i] = grad
            self._floats += grad.numel()
            if self._floats >= _WAITING:
                self._fold_early(gathered)
        if i in weights.block_of:
            weights.block_of[i].done(i)

    @torch.no_grad()
    def _begin(self) -> projections.ScaledGradient:
        """The first gradient of a backward pass."""
        weights = self._weights
        torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        # Where the forward pass was. None: a part of the model was called by itself, whose weights
        # nobody watches.
        self._at = weights.formed or weights.where()
        if weights.former.image is None:
            weights.former.go_to(weights.projection, self._at)
        assert weights.former.image is not None
        scales = self._at.scales
        self._gathered = weights.projection.scaled_gradient(
            weights.former.image, None if scales is None else scales.detach()
        )
        return self._gathered

    @torch.no_grad()
    def _fold_rows(self, gathered: projections.ScaledGradient, i: int, grad: torch.Tensor) -> None:
        # As the look-up made it, row by row: to add up what repeats is the fold's work.
        piece = self._weights.layout.slices[i]
        gathered.add_rows(
            grad._values().float(), piece.start + grad._indices()[0] * grad.shape[1], piece.group
        )

    @torch.no_grad()
    def _fold_early(self, gathered: projections.ScaledGradient) -> None:
        """Fold before the backward pass has ended, when it may still record gradients."""
        self._fold_waiting(gathered)

    def _fold_waiting(self, gathered: projections.ScaledGradient) -> None:
        """Fold the gradients that came since the last time. In ``no_grad``."""
        slices = self._weights.layout.slices
        parts = [
            projections.GradientPart(grad, slices[i].start, slices[i].group)
            for i, grad in sorted(self._waiting.items())
        ]
        self._waiting.clear()
        self._floats = 0
        gathered.add_all(parts)

    @torch.no_grad()
    def _finish(self) -> None:
        """The end of a backward pass: what was gathered goes into the gradients."""
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return
        self._fold_waiting(gathered)
        if self._quiet:
            with torch._C.DisableTorchFunctionSubclass():
                for p in self._weights.params:
                    p.requires_grad_(False)
        for block in self._weights.blocks:
            block.end()
        of_theta, of_scales = gathered.finish(self._at.theta.detach())
        _, theta, scales, _ = self._weights.where()
        _accumulate(theta, of_theta)
        if scales is not None and of_scales is not None:
            _accumulate(scales, of_scales)
        if self.group is not None and self.reduces:
            self._reduce(self.group)

    def _reduce(self, group: distributed.ProcessGroup) -> None:
        # Whole gradients, so that what no_sync() left out comes too. A mean of what is the same
        # everywhere changes nothing.
        _, theta, scales, _ = self._weights.where()
        grads = [p.grad for p in (theta, scales) if p is not None and p.grad is not None]
        whole = torch.cat([grad.view(-1) for grad in grads])
        distributed.all_reduce(whole, group=group)
        whole /= group.size()
        for grad, part in zip(grads, whole.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Send nothing in here."""
        self.reduces = False
        try:
            yield
        finally:
            self.reduces = True


def _take_in(gradients: ref[Gradients], i: int, p: nn.Parameter) -> None:
    # The collector of cycles cannot see what a tensor's hooks refer to. So they refer weakly, and
    # a forgotten model is freed.
    if (this := gradients()) is not None:
        with torch._C.DisableTorchFunctionSubclass():
            this.take_in(i, p)


def _wake(p: ref[nn.Parameter], grad: torch.Tensor) -> None:
    weight = p()
    if weight is not None:
        with torch._C.DisableTorchFunctionSubclass():
            weight.requires_grad_(True)


def _accumulate(p: torch.Tensor, grad: torch.Tensor) -> None:
    if p.grad is None:
        p.grad = grad.detach().clone()
    else:
        p.grad.add_(grad)
