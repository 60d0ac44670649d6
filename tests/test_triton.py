"""The fused kernels against the plain form, by Triton's interpreter where there is no CUDA device."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

PROGRAM = """
import torch, projections
from projections.engines.triton_blocks import TritonBlocks

device = "cuda" if torch.cuda.is_available() else "cpu"
for family, D, d in (("orthonormal", 2500, 200), ("fastfood", 3000, 500), ("orthonormal", 90_000, 300)):
    p = projections.make(family, D, d, seed=3, device=device, engine="plain")
    fused = TritonBlocks(p)
    theta, v, origin = torch.linspace(-1, 1, p.m, device=device), torch.linspace(2, -1, D, device=device), torch.ones(D, device=device)
    half = p.work.halves(theta)
    for a, b in ((0, D), (0, 1), (255, 1300), (D - 700, D)):
        want, got = torch.empty(1, b - a, device=device), torch.full((1, b - a), float("nan"), device=device)
        p.work.form(half, a, want)
        fused.form(half, a, got)
        assert (got - want).norm() < 1e-6 * want.norm(), (family, a, b)
        fused.shift_all(half, [(a, got[0], origin[a:b], torch.tensor(0.3, device=device))])
        assert (got - 1 - 0.3 * want).norm() < 1e-6 * want.norm(), (family, a, b)
        want, got = (torch.ones(p.halves, p.m, device=device) for _ in range(2))
        p.work.fold_all(want, [(a, v[None, a:b], 0)])
        fused.fold_all(got, [(a, v[None, a:b], 0)])
        assert (got - want).norm() < 1e-6 * want.norm(), (family, a, b)
        scales, want, got = torch.tensor([2.0, 0.3], device=device), torch.ones_like(want), torch.ones_like(want)
        along = [work.fold_all(sums, [(a, v[None, a:b], 1)], half, scales) for work, sums in ((p.work, want), (fused, got))]
        assert (got - want).norm() < 1e-6 * want.norm(), (family, a, b)
        torch.testing.assert_close(along[0], along[1], rtol=1e-4, atol=1e-2)
print("the same")
"""


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
