"""The eigenvalues of P^T P of a projection that a run used, made again from its record."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

import projections
from idim.values.record import Record

#: D times d up to which all eigenvalues are computed, and D up to which the two ends are.
_ALL, _ENDS = 3 * 10**8, 5 * 10**7


def eigenvalues(record: Record) -> tuple[float, ...]:
    """The eigenvalues of P^T P, from the smallest to the largest.

    Returns:
        All of them, or of a large P the two ends; none where it cannot be made again so.

    Cost: d products with P and its transpose, or about a hundred for the two ends.
    """
    said = record.training.adaptation["projection"]
    D, d = said.get("D", 0), said.get("d", 0)
    if said.get("family") not in projections.KINDS or not d or D > _ENDS or "tensors" in said:
        return ()
    p = projections.make(said["family"], D, d, seed=said["seed"])
    if p.identity != said:
        return ()

    def product(theta: np.ndarray) -> np.ndarray:
        moved = p(torch.from_numpy(np.ascontiguousarray(theta, dtype=np.float32).ravel()))
        return p.adjoint(moved).numpy().astype(np.float64)

    with torch.no_grad():
        if D * d <= _ALL or d < 8:
            whole = np.stack([product(column) for column in np.eye(d)])
            return tuple(np.linalg.eigvalsh((whole + whole.T) / 2).tolist())
        operator = LinearOperator((d, d), matvec=product, dtype=np.float64)
        ends = eigsh(operator, k=2, which="BE", tol=1e-3, return_eigenvectors=False, v0=np.ones(d))
        return tuple(sorted(ends.tolist()))
