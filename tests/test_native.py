"""The compiled loops: one result, whatever the processor and whoever lends the threads."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

import projections
from projections import engines

COMPILER = shutil.which(os.environ.get("CC", "cc"))
OBSTACLE = engines.why_unavailable("native", torch.device("cpu"), torch.float32)
if OBSTACLE is not None and not COMPILER:
    pytest.skip(
        "the C source was not compiled here: its loops were not tried", allow_module_level=True
    )

from projections.engines import native  # noqa: E402

GENERATIONS = ("f32", "f32_avx2", "f32_avx512")


def everything(family: str, D: int, d: int) -> list[torch.Tensor]:
    """What the loops of a family return, odd ranges, rows and scales included."""
    p = projections.make(family, D, d, seed=4, engine="native")
    theta, v, origin = torch.linspace(-1, 1, d), torch.linspace(2, -1, D).sin(), torch.ones(D)
    image = p.image(theta)
    moved, table = torch.empty(D - 7), torch.zeros(500, 21)
    image.shift(moved, origin[7:], 0.3, 7)
    rows = torch.tensor([3, 499, 20, 21])
    image.shift_rows(table, origin[: 500 * 21].view(500, 21), rows, 1.7, 11)
    gradient = p.scaled_gradient(image, torch.tensor([0.3, 2.0]))
    parts = ((v[9:4000], 9, 1), (v[4000:4100], 4000, 1), (v[4100:], 4100, 0))
    gradient.add_all([projections.GradientPart(*part) for part in parts])
    gradient.add_rows(v[:84].view(4, 21), 11 + 21 * rows, 1)
    return [p(theta), p.adjoint(v), moved, table, *gradient.finish(theta)]


@pytest.mark.parametrize(
    ("family", "D", "d"),
    [
        ("orthonormal", 50_003, 300),
        ("orthonormal", 60_000, 9_000),
        ("fastfood", 50_003, 9),
        ("fastfood", 50_003, 30),
        # Blocks above NEAR are taken in pairs, and here one is left.
        ("fastfood", 40_000, 5_000),
        ("orthonormal", 40_000, 5_000),
        ("onehot", 50_003, 300),
        ("onehot", 50_003, 20_000),
    ],
)
def test_every_generation_of_processor_gives_the_same_bits(family, D, d, monkeypatch):
    best = GENERATIONS.index(native._SUFFIXES[torch.float32])
    results = []
    for generation in GENERATIONS[: best + 1]:
        monkeypatch.setitem(native._SUFFIXES, torch.float32, generation)
        results.append(everything(family, D, d))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("d", [30, 3_000, 6_000, 70_000])
@pytest.mark.parametrize("family", ["orthonormal", "fastfood", "onehot"])
def test_a_result_larger_than_the_caches_has_the_bits_of_its_ranges(
    family, d, generation, monkeypatch
):
    """It is written past them, whole blocks straight away, wherever it lies in memory."""
    if GENERATIONS.index(generation) > GENERATIONS.index(native._SUFFIXES[torch.float32]):
        pytest.skip("this processor has no such form")
    monkeypatch.setitem(native._SUFFIXES, torch.float32, generation)
    D = (1 << 23) + 5  # a little above FAR
    p, theta = projections.make(family, D, d, seed=4, engine="native"), torch.linspace(-1, 1, d)
    room, ranges = torch.full((2, D + 40), 7.0), torch.empty(D)
    image = p.image(theta)
    for start in range(0, D, D // 5 + 1):
        image.write(ranges[start : start + D // 5 + 1], start)
    for at in (0, 3, 16):
        whole = room[:, at : at + D]
        p(theta, out=whole[0])
        image.write(whole[1])
        outs = [torch.equal(whole[k], ranges) for k in range(2)]
        assert all(outs), (at, outs)
        assert (room[:, :at] == 7).all() and (room[:, at + D :] == 7).all()
        room.fill_(7.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("D", "d"), [(3_000, 7), (40_000, 5_000), (41_000, 20_000), (50_003, 300)])
@pytest.mark.parametrize("family", ["orthonormal", "fastfood", "onehot"])
def test_a_whole_product_has_the_bits_of_an_image(family, D, d, dtype):
    p = projections.make(family, D, d, seed=4, engine="native", dtype=dtype)
    theta, out = torch.linspace(-1, 1, d, dtype=dtype), torch.empty(D, dtype=dtype)
    p.image(theta).write(out)
    assert torch.equal(p(theta), out)
    strided = torch.zeros(D, 2, dtype=dtype)
    assert torch.equal(p(theta, out=strided[:, 1]), out) and not strided[:, 0].any()
    # What the loops could not see: another type, and memory that is too short or too long.
    other = torch.empty(D, dtype=torch.float64 if dtype == torch.float32 else torch.float32)
    p.write(theta, other)
    assert torch.equal(other, out.to(other.dtype))
    room = torch.full((D + 9,), 7.0, dtype=dtype)
    p.write(theta, room[: D - 9])
    assert torch.equal(room[: D - 9], out[: D - 9]) and (room[D - 9 :] == 7).all()
    with pytest.raises(IndexError):
        p.write(theta, room)


@pytest.mark.parametrize("family", ["orthonormal", "onehot"])
def test_tensors_that_do_not_lie_in_order_are_read_and_written_where_they_lie(family):
    p = projections.make(family, 3000, 40, seed=4, engine="native")
    theta, v = torch.linspace(-1, 1, 80)[::2], torch.linspace(2, -1, 6000).sin().view(3000, 2)[:, 1]
    out, table = torch.zeros(3000, 2), torch.zeros(30, 20)
    image = p.image(theta)
    image.write(out[:, 1])
    assert torch.equal(out[:, 1], p(theta.contiguous())) and not out[:, 0].any()
    image.shift(out[:, 0], v, 0.5)
    torch.testing.assert_close(out[:, 0], v + 0.5 * out[:, 1])
    assert torch.equal(p.adjoint(v), p.adjoint(v.contiguous()))
    assert torch.equal(p.adjoint(torch.ones(1).expand(3000)), p.adjoint(torch.ones(3000)))
    rows = torch.tensor([4, 0, 9, 0], dtype=torch.int32)[::2]
    image.shift_rows(table, torch.ones(30, 20), rows, 1.0, 100)
    torch.testing.assert_close(
        table[[4, 9]], 1 + torch.stack([out[100 + 20 * r : 120 + 20 * r, 1] for r in (4, 9)])
    )
    torch.testing.assert_close(image.rows(20 * rows + 100, 20), table[[4, 9]] - 1)
    both = [p.accumulator(), p.accumulator()]
    both[0].add_rows(v[:40].view(20, 2).T, 20 * rows)
    both[1].add_rows(v[:40].view(20, 2).T.contiguous(), (20 * rows).long())
    assert torch.equal(both[0].finish(), both[1].finish())


@pytest.mark.parametrize("family", ["orthonormal", "onehot"])
def test_threads_of_its_own_give_the_same_bits(family, monkeypatch):
    """Where torch's are not to be had."""
    monkeypatch.setattr(native, "_THREAD_FLOATS", 1)
    lent = everything(family, 50_003, 300)
    try:
        native._LIBRARY.idim_team(None)
        own = everything(family, 50_003, 300)
    finally:
        native._LIBRARY.idim_team(native._team())
    assert all(torch.equal(a, b) for a, b in zip(lent, own, strict=True))


@pytest.mark.parametrize("family", ["orthonormal", "onehot"])
def test_memory_that_the_next_image_reuses_is_nobody_elses(family):
    p = projections.make(family, 50_003, 300, seed=4, engine="native")
    thetas = [torch.linspace(-1, k, 300) for k in range(4)]
    want = [p(theta) for theta in thetas]
    images = [p.image(theta) for theta in thetas[:2]]
    half_done = p.accumulator()
    half_done.add(want[0])
    del images[0]
    images += [p.image(theta) for theta in thetas[2:]]
    assert torch.equal(p.adjoint(want[0]), half_done.finish())
    out = torch.empty(50_003)
    for image, w in zip(images, want[1:], strict=True):
        image.write(out)
        assert torch.equal(out, w)
    kept = set()
    for theta in thetas:
        p.adjoint(p(theta))
        kept.add(sum(x.nbytes for x in p.scratch))
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("D", "d"), [(300, 5), (300, 256), (3000, 40), (50_003, 300), (90_000, 5000)]
)
@pytest.mark.parametrize("family", ["orthonormal", "fastfood", "onehot"])
def test_sums_that_the_next_product_begins_with_are_empty(family, D, d):
    p = projections.make(family, D, d, seed=4, engine="native")
    torch.manual_seed(0)
    dense, ends = torch.randn(D), torch.zeros(D)
    ends[[0, -1]] = 1.0
    first = [p.adjoint(dense), p.adjoint(ends)]
    for v, want in zip((dense, ends), first, strict=True):
        assert torch.equal(p.adjoint(v), want)
        assert torch.equal(p.adjoint(torch.zeros(D)), torch.zeros(d))


def test_loops_of_another_version_are_not_called(monkeypatch):
    monkeypatch.setattr(native, "_CONTRACT", native._CONTRACT + 1)
    with pytest.raises(ImportError, match="another version of idim; install it again"):
        native._load()


@pytest.mark.parametrize("family", ["orthonormal", "onehot"])
def test_nothing_is_read_or_written_out_of_bounds(family):
    p = projections.make(family, 3000, 40, seed=4, engine="native")
    image, table = p.image(torch.ones(40)), torch.ones(30, 20)
    for start in (-1, 2901):
        with pytest.raises(IndexError, match="starts: expected ranges of 100 within 3,000"):
            image.write(torch.empty(100), start)
        with pytest.raises(IndexError, match="starts"):
            p.accumulator().add(torch.ones(100), start)
        with pytest.raises(IndexError, match="starts"):
            image.rows(torch.tensor([5, start]), 100)
    for row in (-1, 30):
        with pytest.raises(IndexError, match="rows: expected ranges of 1 within 30"):
            image.shift_rows(table, table.clone(), torch.tensor([3, row]), 1.0, 100)
    for theta in (torch.ones(39), torch.ones(40, dtype=torch.float64)):
        with pytest.raises(projections.ProjectionError, match="theta"):
            p.image(theta)


def test_tensors_of_one_size_share_their_scratch_memory():
    p = projections.PerTensor(
        projections.KINDS["onehot"],
        (1000,) * 20,
        40,
        seed=1,
        device="cpu",
        dtype=torch.float32,
        engine="native",
    )
    for _ in range(2):
        p.adjoint(p(torch.ones(40)))
    assert len({x.data_ptr() for x in p.scratch}) <= 2
