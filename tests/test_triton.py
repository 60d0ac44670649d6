"""The fused kernels against the plain form.

Where there is no CUDA device, Triton's interpreter runs them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

PROGRAM = '''
import torch, projections
from projections.engines.contract import Fold
from projections.engines.triton_blocks import TritonBlocks

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def same(got, want, size=0.0):
    """``size`` is that of P theta's numbers: one of them alone may be much smaller by chance."""
    least = size * want.numel() ** 0.5
    assert (got - want).norm() < 1e-6 * max(least, want.norm()), (family, a, b)


def line(first, last, n):
    return torch.linspace(first, last, n, device=device)


for family, D, d in (
    ("orthonormal", 2500, 200),
    ("fastfood", 3000, 500),
    ("orthonormal", 90_000, 300),
):
    p = projections.make(family, D, d, seed=3, device=device, engine="plain")
    plain, fused = p.work, TritonBlocks(p.plan)
    # So large that the sum with the origin rounds nothing of the move away.
    theta = 100 * D**0.5 * line(-1, 1, d)
    v, origin = line(2, -1, D), torch.ones(D, device=device)
    values, size = plain.values(theta), p(theta).square().mean().sqrt()
    for a, b in ((0, D), (0, 1), (255, 1300), (D - 700, D)):
        want, got = (torch.full((1, b - a), float("nan"), device=device) for _ in range(2))
        plain.form(values, a, want)
        fused.form(values, a, got)
        same(got, want, size)
        scale = torch.tensor(0.3, device=device)
        fused.shift_all(values, [projections.Shift(a, got[0], origin[a:b], scale)])
        same(got - 1, 0.3 * want, size)
        want, got = (torch.ones(p.plan.halves, p.block, device=device) for _ in range(2))
        plain.fold_all(want, [Fold(a, v[None, a:b], 0)])
        fused.fold_all(got, [Fold(a, v[None, a:b], 0)])
        same(got, want)
        scales = torch.tensor([2.0, 0.3], device=device)
        inner = [
            engine.fold_all(sums, [Fold(a, v[None, a:b], 1)], values, scales)
            for engine, sums in ((plain, want), (fused, got))
        ]
        same(got, want)
        torch.testing.assert_close(inner[0], inner[1], rtol=1e-4, atol=1e-2)
print("the same")
'''


@pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: its kernels were not tried"
)
def test_fused_kernels_are_the_plain_sums(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": _interpret()},
    )
    assert done.stdout.strip() == "the same", done.stderr


def _interpret() -> str:
    import torch

    return "0" if torch.cuda.is_available() else "1"
