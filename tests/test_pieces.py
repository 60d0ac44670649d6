"""Long blocks of P theta are made once, whatever ranges a model's weights cut them into."""

from __future__ import annotations

import itertools
import random
import weakref

import pytest
import torch

import projections
from projections.engines import products

D, GROUPS = 3000, 3
WIDTH = 25  # of a table's rows
TABLE = 600, 40  # where it begins, and its rows
KINDS = sorted(projections.KINDS)
ENGINES = ["plain", "native"]


def _made(kind: str, d: int, engine: str) -> projections.Projection:
    try:
        return projections.make(kind, D, d, seed=3, dtype=torch.float64, engine=engine)
    except projections.ProjectionError as error:
        pytest.skip(str(error))


def _ranges(seed: int) -> list[tuple[int, int]]:
    """D cut at random, in any order."""
    rng = random.Random(seed)
    cuts = [0, *sorted(rng.sample(range(1, D), 30)), D]
    ranges = list(itertools.pairwise(cuts))
    rng.shuffle(ranges)
    return ranges


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """All blocks count as long. Lists the pieces that were made."""
    pieces: list[int] = []
    made = products._piece

    def count(engine, values, start: int, n: int) -> torch.Tensor:
        pieces.append(start)
        return made(engine, values, start, n)

    monkeypatch.setattr(products, "LONG", 0)
    monkeypatch.setattr(products, "_piece", count)
    return pieces


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [5, 700, 2900])
@pytest.mark.parametrize("kind", KINDS)
def test_ranges_in_any_order_give_the_weights_and_gradients_of_the_whole(
    counted: list[int], kind: str, d: int, engine: str
) -> None:
    p = _made(kind, d, engine)
    theta, g = torch.randn(d, dtype=p.dtype), torch.randn(D, dtype=p.dtype)
    origin, scales = torch.randn(D, dtype=p.dtype), torch.rand(GROUPS, dtype=p.dtype) + 0.5
    whole = p(theta)
    for seed in range(3):
        image, out = p.image(theta), torch.full_like(origin, torch.nan)
        gradient, plain = p.scaled_gradient(image, scales), p.scaled_gradient(image, None)
        of_scales, weighted = torch.zeros_like(scales), torch.empty_like(g)
        for k, (lo, hi) in enumerate(_ranges(seed)):
            group = k % GROUPS
            scale = float(scales[group])
            image.shift_all([projections.Shift(lo, out[lo:hi], origin[lo:hi], scale)])
            for total in gradient, plain:
                total.add_all([projections.GradientPart(g[lo:hi], lo, group)])
            of_scales[group] += g[lo:hi] @ whole[lo:hi]
            weighted[lo:hi] = g[lo:hi] * scale
            torch.testing.assert_close(out[lo:hi], origin[lo:hi] + scale * whole[lo:hi])
        got, got_scales = gradient.finish(theta)
        torch.testing.assert_close(got, p.adjoint(weighted))
        torch.testing.assert_close(got_scales, of_scales)
        torch.testing.assert_close(plain.finish(theta)[0], p.adjoint(g))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [5, 700, 2900])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_repeat_and_cross_blocks(
    counted: list[int], kind: str, d: int, engine: str
) -> None:
    p = _made(kind, d, engine)
    theta, scales = torch.randn(d, dtype=p.dtype), torch.tensor([0.7], dtype=p.dtype)
    first, count = TABLE
    rows = torch.tensor([39, 3, 17, 3, 0, 20])
    image, whole = p.image(theta), p(theta)[first : first + count * WIDTH].view(count, WIDTH)
    torch.testing.assert_close(image.rows(first + rows * WIDTH, WIDTH), whole[rows])
    origin = torch.randn(count, WIDTH, dtype=p.dtype)
    table = origin.clone()
    image.shift_rows(table, origin, rows.unique(), 0.7, first)
    want = origin.clone()
    want[rows] += 0.7 * whole[rows]
    torch.testing.assert_close(table, want)
    g = torch.randn(len(rows), WIDTH, dtype=p.dtype)
    total, v = p.scaled_gradient(image, scales), torch.zeros(D, dtype=p.dtype)
    total.add_rows(g, first + rows * WIDTH, 0)
    v[first : first + count * WIDTH].view(count, WIDTH).index_add_(0, rows, g)
    got, of_scales = total.finish(theta)
    torch.testing.assert_close(got, 0.7 * p.adjoint(v))
    torch.testing.assert_close(of_scales, (v @ p(theta))[None])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("d", [300, 700, 2900])
def test_a_block_is_made_once_for_the_ranges_in_order(
    counted: list[int], d: int, engine: str
) -> None:
    """Forward and back through the weights: as many transforms as blocks, whatever the layers."""
    p = _made("orthonormal", d, engine)
    theta, ranges = torch.randn(d, dtype=p.dtype), sorted(_ranges(0))
    image, out = p.image(theta), torch.empty(D, dtype=p.dtype)
    for lo, hi in ranges:
        image.write(out[lo:hi], lo)
    blocks = -(-D // p.grain)
    assert len(counted) <= blocks < len(ranges)
    gradient = p.scaled_gradient(image, torch.ones(1, dtype=p.dtype))
    for lo, hi in reversed(ranges):
        gradient.add_all([projections.GradientPart(out[lo:hi], lo, 0)])
    gradient.finish(theta)
    assert len(counted) <= 2 * blocks


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_gives_its_memory_back_at_once(counted: list[int], kind: str) -> None:
    """No circle of references, which would keep a block until the next collection."""
    image = _made(kind, 700, "plain").image(torch.ones(700, dtype=torch.float64))
    image.write(torch.empty(10, dtype=torch.float64), 5)
    alive = weakref.ref(image)
    del image
    assert alive() is None
