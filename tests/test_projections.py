"""The laws that every family keeps, over the table of families."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

import projections
from idim import config
from projections import KINDS, GradientPart, PerTensor, ProjectionError, engines, random
from projections.families import dense
from projections.families.lineage import LineageFastfood
from projections.hadamard import transform

FAMILIES = list(KINDS)
SHAPES = [(1000, 10), (1024, 256), (997, 300), (512, 512), (13, 13), (40, 33), (7, 1), (1, 1)]
SIZES = (300, 5, 64, 631)


def made(
    family: str,
    D: int,
    d: int,
    seed: int = 3,
    per_tensor: bool = False,
    dtype=torch.float64,
    engine: str = "auto",
):
    sizes = SIZES if per_tensor else None
    return projections.make(
        family,
        sum(SIZES) if per_tensor else D,
        d,
        seed=seed,
        dtype=dtype,
        sizes=sizes,
        engine=engine,
    )


def draws(n: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        dtype
    )


# Bits.


@pytest.mark.parametrize(
    ("counter", "key", "known"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, known):
    out = random.philox(tuple(torch.tensor([c]) for c in counter), key)
    assert " ".join(f"{int(word):08x}" for word in out) == known


def test_a_stream_does_not_depend_on_how_it_is_cut():
    whole = random.words(5, 2, 0, 1000)
    assert torch.equal(
        whole, torch.cat([random.words(5, 2, a, b - a) for a, b in ((0, 3), (3, 500), (500, 1000))])
    )
    whole = random.gaussians(5, 2, 0, 1001)
    assert torch.equal(
        whole,
        torch.cat([random.gaussians(5, 2, a, b - a) for a, b in ((0, 7), (7, 502), (502, 1001))]),
    )


@pytest.mark.parametrize("seed", [0, 5, 2**40 + 7])
def test_compiled_bits_are_the_plain_ones(seed, monkeypatch):
    rows = torch.arange(4097).expand(3, 4097)
    fast = (
        random.words(seed, 2, 3, 100_001),
        random.permute(rows, 4097, seed, 1),
        random.permute(rows[0], 4097, seed, 1),
    )
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    plain = (
        random.words(seed, 2, 3, 100_001),
        random.permute(rows, 4097, seed, 1),
        random.permute(rows[0], 4097, seed, 1),
    )
    assert all(torch.equal(a, b) for a, b in zip(fast, plain, strict=True))


def test_signs_and_gaussians_have_their_moments():
    n = 1 << 20
    signs = random.unpack_signs(random.packed_signs(1, 0, n), torch.float64)
    assert set(signs.tolist()) == {1.0, -1.0}
    assert abs(signs.mean()) < 4 / math.sqrt(n)
    g = random.gaussians(1, 0, 0, n).double()
    assert abs(g.mean()) < 4 / math.sqrt(n)
    assert abs(g.square().mean() - 1) < 4 * math.sqrt(2 / n)
    assert abs(g.pow(4).mean() - 3) < 4 * math.sqrt(96 / n)


@pytest.mark.parametrize("n", [1, 2, 3, 64, 97, 1000, 4097])
def test_feistel_is_a_bijection(n):
    assert torch.equal(random.permute(torch.arange(n), n, 9, 1).sort().values, torch.arange(n))
    rows = random.permute(torch.arange(n).expand(5, n), n, 9, 1)
    assert torch.equal(rows.sort(1).values, torch.arange(n).expand(5, n))
    if n >= 64:
        assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("bits", range(15))
def test_hadamard_equals_the_butterfly(bits):
    x = draws(3 << bits).view(3, -1)
    butterfly = x.clone()
    for level in range(bits):
        y = butterfly.view(3, -1, 2, 1 << level)
        butterfly = torch.stack((y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]), dim=2).reshape(
            3, -1
        )
    torch.testing.assert_close(transform(x), butterfly, rtol=1e-12, atol=1e-9)


# Laws.


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("D", "d"), SHAPES)
def test_forward_adjoint_and_gradient_are_the_matrix(family, D, d, per_tensor, engine):
    p = made(family, D, d, per_tensor=per_tensor, engine=engine)
    matrix = p.as_matrix()
    theta, v = draws(p.d).requires_grad_(), draws(p.D, 1)
    torch.testing.assert_close(p(theta).detach(), matrix @ theta.detach())
    torch.testing.assert_close(p.adjoint(v), matrix.T @ v)
    (p(theta) * v).sum().backward()
    torch.testing.assert_close(theta.grad, matrix.T @ v)
    assert torch.dot(p(theta.detach()), v).item() == pytest.approx(
        torch.dot(theta.detach(), p.adjoint(v)).item(), rel=1e-9, abs=1e-9
    )
    assert not p(torch.zeros(p.d, dtype=torch.float64)).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_second_derivative_through_the_adjoint(family):
    p = made(family, 40, 7)
    assert torch.autograd.gradcheck(p, (draws(7).requires_grad_(),))
    assert torch.autograd.gradcheck(p.adjoint, (draws(40).requires_grad_(),))


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_range_is_that_part_of_the_whole(family, per_tensor, engine):
    p = made(family, 1000, 100, per_tensor=per_tensor, engine=engine)
    theta, v = draws(100), draws(1000, 1)
    whole = p(theta)
    for a, b in ((0, 1000), (0, 1), (255, 513), (299, 306), (999, 1000), (128, 256)):
        part = torch.full((b - a,), math.nan, dtype=torch.float64)
        p.image(theta).write(part, a)
        torch.testing.assert_close(part, whole[a:b])
        origin, moved = draws(b - a, 2), torch.empty(b - a, dtype=torch.float64)
        p.image(theta).shift(moved, origin, 0.3, a)
        torch.testing.assert_close(moved, origin + 0.3 * whole[a:b])
    total = p.accumulator()
    for a, b in ((3, 300), (999, 1000), (0, 3), (300, 999)):
        total.add(v[a:b], a)
    torch.testing.assert_close(total.finish(), p.adjoint(v))


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_out_gets_the_same_numbers(family, per_tensor, engine):
    p = made(family, 1000, 100, per_tensor=per_tensor, engine=engine)
    theta = draws(100)
    out, column = torch.full((1000,), math.nan).double(), torch.zeros(1000, 2).double()[:, 1]
    assert p(theta, out=out) is out and p(theta, out=column) is column
    assert torch.equal(out, p(theta))
    torch.testing.assert_close(column, out)


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_parts_of_the_whole(family, per_tensor, engine):
    p = made(family, 1000, 20, per_tensor=per_tensor, engine=engine)
    theta, starts = (
        draws(20),
        torch.tensor([600, 369, 980, 613, 369]),
    )  # all in the last tensor, and one twice
    whole, v = p(theta), draws(50).view(5, 10)
    torch.testing.assert_close(
        p.image(theta).rows(starts, 10), torch.stack([whole[s : s + 10] for s in starts])
    )
    scattered = torch.zeros(1000, dtype=torch.float64)
    for s, row in zip(starts, v, strict=True):
        scattered[s : s + 10] += row
    total = p.accumulator()
    total.add_rows(v, starts)
    torch.testing.assert_close(total.finish(), p.adjoint(scattered))


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_scaled_gradient_is_the_matrixs(family, per_tensor, engine):
    """theta's gradient and <g, P theta> of each group.

    g comes in parts in any order, some of one group, and in rows that repeat.
    """
    p = made(family, 1000, 20, per_tensor=per_tensor, engine=engine)
    matrix, theta, g, scales = (
        p.as_matrix(),
        draws(20),
        draws(1000, 1),
        torch.tensor([0.5, 3.0, -1.0], dtype=torch.float64),
    )
    group = torch.tensor([0] * 300 + [1] * 69 + [2] * 631)
    rows = draws(48, 2).view(4, 12)
    places = torch.tensor([1, 40, 3, 1]) * 12 + 369
    gradient = p.scaled_gradient(p.image(theta), scales)
    gradient.add_all(
        [
            GradientPart(g[a:b], a, int(group[a]))
            for a, b in ((300, 369), (369, 401), (0, 255), (255, 300), (401, 1000))
        ]
    )
    gradient.add_rows(rows, places, 2)
    of_theta, of_scales = gradient.finish(theta)
    for place, row in zip(places, rows, strict=True):
        g[place : place + 12] += row
    torch.testing.assert_close(of_theta, matrix.T @ (g * scales[group]))
    inner = g * (matrix @ theta)
    torch.testing.assert_close(of_scales, torch.stack([inner[group == i].sum() for i in range(3)]))


@pytest.mark.parametrize(("D", "d"), [(300_000, 1000), (300_000, 20_000)])
@pytest.mark.parametrize("family", [k for k in FAMILIES if made(k, 1000, 20).engines])
def test_engines_agree_to_rounding_at_any_number_of_threads(family, D, d):
    """Relative 1e-6 in single precision. The number of threads moves no bit."""
    before = torch.get_num_threads()
    theta, v = draws(d, dtype=torch.float32), draws(D, 1, dtype=torch.float32)
    results = []
    try:
        for threads, engine in ((1, "plain"), (1, "auto"), (2, "auto"), (3, "auto")):
            torch.set_num_threads(threads)
            p = projections.make(family, D, d, seed=3, engine=engine)
            results.append((p(theta), p.adjoint(v)))
    finally:
        torch.set_num_threads(before)
    for forward, adjoint in results[1:]:
        assert (forward - results[0][0]).norm() < 1e-6 * results[0][0].norm()
        assert (adjoint - results[0][1]).norm() < 1e-6 * results[0][1].norm()
        assert torch.equal(forward, results[1][0]) and torch.equal(adjoint, results[1][1])


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_are_unit(family):
    """Exactly where the family says so; otherwise in mean square, with a Gaussian's spread."""
    exact = {"sparse": 1000, "orthonormal": 1024, "fastfood": 1024, "onehot": 1000}
    D = exact.get(family, 1000)
    norms = made(family, D, 64).as_matrix().norm(dim=0)
    if family in exact:
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-6, atol=0)
    else:
        assert (norms - 1).abs().max() < 5 / math.sqrt(2 * D)


@pytest.mark.parametrize("family", FAMILIES)
def test_per_tensor_columns_are_unit_in_each_tensor(family):
    sizes = (4096, 8192, 2048)
    p = projections.make(family, sum(sizes), 16, seed=1, dtype=torch.float64, sizes=sizes)
    for part in p.as_matrix().split(sizes):
        assert (part.norm(dim=0) - 1).abs().max() < 5 / math.sqrt(2 * len(part))


@pytest.mark.parametrize(
    ("family", "D", "d"),
    [
        ("orthonormal", 2048, 10),
        ("orthonormal", 2048, 256),
        ("orthonormal", 2048, 500),
        ("orthonormal", 512, 512),
        ("onehot", 2048, 10),
        ("onehot", 997, 300),
        ("onehot", 13, 13),
        ("onehot", 1009, 1),
        ("onehot", 40, 33),
    ],
)
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_columns_are_orthonormal_exactly(family, D, d, dtype, within):
    """Orthonormal where a block divides D, one-hot at any D."""
    p = made(family, D, d, dtype=dtype)
    matrix = p.as_matrix().double()
    assert (torch.linalg.eigvalsh(matrix.T @ matrix) - 1).abs().max() < within
    assert D % getattr(p, "block", 1) == 0


@pytest.mark.parametrize(
    ("family", "low", "high"),
    [
        ("dense", 0.40, 1.90),
        ("sparse", 0.40, 1.90),
        ("fastfood", 0.25, 3.0),
        ("fastfood-whole", 0.1, 3.2),
        ("orthonormal", 1 - 256 / 2000, 1 + 256 / 2000),
        ("onehot", 1 - 1e-9, 1 + 1e-9),
    ],
)
def test_spectrum_is_inside_the_stated_range(family, low, high):
    """d / D = 0.1, where Marchenko-Pastur's support is [0.47, 1.73]. Fastfood's is wider."""
    matrix = made(family, 2000, 200).as_matrix()
    eigenvalues = torch.linalg.eigvalsh(matrix.T @ matrix)
    assert low < eigenvalues.min() and eigenvalues.max() < high


def directions(D: int) -> dict[str, torch.Tensor]:
    """Unit vectors: a general one, a weight, half a Hadamard block, a whole one, all alike."""
    chosen = {
        "general": draws(D, 7),
        **{
            name: torch.zeros(D, dtype=torch.float64) for name in ("weight", "half", "block", "all")
        },
    }
    for name, at in (
        ("weight", slice(5, 6)),
        ("half", slice(256, 384)),
        ("block", slice(256, 512)),
        ("all", slice(None)),
    ):
        chosen[name][at] = 1
    return {name: u / u.norm() for name, u in chosen.items()}


#: Where the captured energy varies less than Beta's, by construction.
STEADIER = {("orthonormal", "half"), ("orthonormal", "block"), ("onehot", "weight")}
#: Where it varies more, and how many times Beta's variance at most.
WILDER = {
    # A weight is in some columns or in none. A constant block, or all weights alike, meets one row
    # of a Hadamard matrix.
    ("sparse", "weight"): 30,
    ("fastfood", "half"): 6,
    ("fastfood", "block"): 6,
    ("fastfood-whole", "half"): 6,
    ("fastfood-whole", "block"): 10,
    ("fastfood-whole", "all"): 30,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_energy_of_fixed_directions_is_beta(family):
    """|P^T u|^2 over 200 seeds against Beta(d/2, (D - d)/2), by Kolmogorov and Smirnov at 1 %.

    No direction is favoured on average.
    """
    from scipy.stats import beta, kstest

    D, d = 1024, 16
    vectors = directions(D)
    ps = [made(family, D, d, seed=s) for s in range(200)]
    for name, u in vectors.items():
        energy = torch.stack([p.adjoint(u).square().sum() for p in ps])
        assert abs(energy.mean() - d / D) < 4 * energy.std() / math.sqrt(200) + 1e-12
        spread = float(energy.var()) / beta(d / 2, (D - d) / 2).var()
        if (family, name) in STEADIER:
            assert spread < 0.6
        elif (family, name) in WILDER:
            assert 1.5 < spread < WILDER[family, name]
        else:
            assert kstest(energy.numpy(), beta(d / 2, (D - d) / 2).cdf).pvalue > 0.01, name


@pytest.mark.parametrize("d", [1, 7, 300, 1000])
def test_onehot_is_balanced(d):
    """Every coordinate is read by D/d weights, rounded down or up, all of the same size."""
    matrix = made("onehot", 1999, d).as_matrix()
    assert (matrix != 0).sum(1).tolist() == [1] * 1999
    assert set((matrix != 0).sum(0).tolist()) <= {1999 // d, -(-1999 // d)}


# Identity.

#: The first twelve hex digits of the checksum at three shapes. A change here changes every
#: published d90.
KNOWN: dict[str, tuple[str, str, str]] = {
    "dense": ("9a9a2097dcff", "8c378df4d832", "ed17fb8e7bc1"),
    "sparse": ("42a9fca493f6", "730a420a41ea", "57cfda32b271"),
    "fastfood": ("2925cfae5d47", "7125050e7fbc", "12b94d664873"),
    "fastfood-whole": ("994da5ad25f5", "364bd9162e54", "a8f85c7318d4"),
    "orthonormal": ("32774413076f", "c81bde164746", "d54b760d49a9"),
    "onehot": ("71db96e194b0", "aeb04b639f7b", "023c62f547f5"),
}
KNOWN_SHAPES = ((1000, 10, 0), (4096, 300, 1), (9973, 1000, 2**40 + 7))


def test_every_family_has_known_checksums():
    assert set(KNOWN) == set(KINDS)


@pytest.mark.parametrize("family", KNOWN)
def test_checksums_are_the_known_ones(family):
    found = tuple(
        projections.make(family, D, d, seed=s).checksum()[:12] for D, d, s in KNOWN_SHAPES
    )
    assert found == KNOWN[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bits_do_not_depend_on_dtype_engine_threads_or_chunks(family, monkeypatch):
    """Chunks are those in which signs and dense rows are drawn."""
    before = torch.get_num_threads()
    sums = set()
    try:
        for threads, sign_chunk, entry_chunk in (
            (1, 1 << 18, 1 << 22),
            (2, 1 << 5, 1 << 9),
            (2, 1 << 9, 1 << 12),
        ):
            torch.set_num_threads(threads)
            monkeypatch.setattr(random, "SIGN_CHUNK", sign_chunk)
            monkeypatch.setattr(dense, "CHUNK_ENTRIES", entry_chunk)
            for dtype in (torch.float32, torch.float64):
                for engine in ("auto", "plain"):
                    p = projections.make(family, 4097, 129, seed=11, dtype=dtype, engine=engine)
                    rows = p(torch.eye(129, dtype=dtype)[5])[[0, 1, 4000, 4096]].float()
                    sums.add((p.checksum(), *(f"{float(x):.5e}" for x in rows)))
    finally:
        torch.set_num_threads(before)
    assert len(sums) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", KNOWN)
def test_a_cuda_device_makes_the_same_bits(family):
    found = tuple(
        projections.make(family, D, d, seed=s, device="cuda").checksum()[:12]
        for D, d, s in KNOWN_SHAPES
    )
    assert found == KNOWN[family]


def test_a_checksum_that_does_not_match_is_refused():
    p = made("orthonormal", 1000, 10)
    p.verify(p.checksum())
    other = made("orthonormal", 1000, 10, seed=4).checksum()
    with pytest.raises(
        ProjectionError, match=f"checksum: expected {other}; .* makes {p.checksum()}"
    ):
        p.verify(other)


@pytest.mark.parametrize(
    ("family", "options", "most"),
    [
        ("orthonormal", {}, 0.5),
        ("onehot", {}, 0.5),
        ("dense", {"memory": 0}, 0.5),
        ("fastfood", {}, 4.5),
    ],
)
def test_stored_bytes_a_weight(family, options, most):
    assert KINDS[family](1_000_003, 1000, seed=0, **options).stored_bytes < most * 1_000_003


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_but_the_seed_moves_p(family):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = made(family, 500, 20)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (
        first.checksum()
        == made(family, 500, 20).checksum()
        != made(family, 500, 20, seed=4).checksum()
    )


# The flawed lineage, kept on purpose.


def test_the_lineage_has_the_right_forward_and_the_wrong_gradient():
    p = LineageFastfood(100, 20, seed=2, dtype=torch.float64)
    matrix = p.as_matrix()
    v = draws(100)
    torch.testing.assert_close(p.adjoint(v), matrix.T @ v / 128)
    cropped = LineageFastfood(6, 20, seed=2, dtype=torch.float64).as_matrix()
    assert cropped.shape == (6, 20) and cropped[:, :8].any() and not cropped[:, 8:].any()


def test_the_lineage_is_reached_only_per_tensor():
    assert isinstance(projections.make("fastfood-lineage", 106, 20, sizes=(100, 6)), PerTensor)
    with pytest.raises(ProjectionError, match="expected one of dense, sparse"):
        projections.make("fastfood-lineage", 106, 20)


# Layout.


def test_layers_come_from_the_numbers_in_the_names():
    shape = torch.zeros(2)
    names = [
        "bert.embeddings.word.weight",
        "bert.layer.0.q.weight",
        "bert.layer.0.k.weight",
        "bert.layer.1.q.weight",
        "head.bias",
    ]
    named = [(n, torch.zeros_like(shape)) for n in names]
    assert projections.Layout.of(named, "layer").groups == (
        "embeddings",
        "bert.layer.0",
        "bert.layer.1",
        "head",
    )
    assert len(projections.Layout.of(named, "module").groups) == 5
    assert len(projections.Layout.of(named, "tensor").groups) == 5
    assert projections.Layout.of(named).groups == ("all",)


def test_a_tied_tensor_is_laid_out_once():
    tied = torch.zeros(4, 3)
    layout = projections.Layout.of([("embedding", tied), ("mid", torch.zeros(5)), ("head", tied)])
    assert (layout.D, [s.name for s in layout.slices]) == (17, ["embedding", "mid"])


# Documents.


def test_the_example_runs():
    assert doctest.testmod(projections).attempted and not doctest.testmod(projections).failed


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("nosuch", 10, 2),
            "expected one of dense, sparse, fastfood, fastfood-whole, orthonormal, onehot; "
            "got 'nosuch'",
        ),
        (("dense", 0, 1), "D: expected a whole number of at least 1; got 0"),
        (("dense", 10, 0), "d: expected a whole number of at least 1; got 0"),
        (("dense", 10, -3), "d: expected a whole number of at least 1; got -3"),
        (("dense", 10, 2.5), "d: expected a whole number of at least 1; got 2.5"),
        (("dense", 10, 11), "d: expected at most D = 10"),
    ],
)
def test_bad_sizes_are_refused(arguments, said):
    with pytest.raises(ProjectionError, match=said.replace("(", r"\(")):
        projections.make(*arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_vectors_are_refused(family):
    p = made(family, 10, 3)
    with pytest.raises(ProjectionError, match="finite"):
        p(torch.tensor([1.0, math.nan, 0.0], dtype=torch.float64))
    with pytest.raises(ProjectionError, match=r"shape \(3,\)"):
        p(torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ProjectionError, match="float64"):
        p(torch.zeros(3))
    with pytest.raises(ProjectionError, match="theta: expected a tensor on cpu; got meta"):
        p(torch.zeros(3, dtype=torch.float64, device="meta"))
    column = p.as_matrix()[:, 0]
    for bad in (math.nan, math.inf):
        v = torch.zeros(10, dtype=torch.float64)
        v[column.abs().argmax()] = bad
        with pytest.raises(ProjectionError, match="v: expected finite numbers; got 1 that are not"):
            p.adjoint(v)
    with pytest.raises(ProjectionError, match=r"sums torch.float64 holds; got .* 1\.7e\+308"):
        p.adjoint(1.7e308 * column.sign())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_checks_look_at_d_numbers(family, monkeypatch):
    """To look at all D takes several times the product."""
    looked, isfinite = [], torch.isfinite

    def count(x: torch.Tensor) -> torch.Tensor:
        looked.append(x.numel())
        return isfinite(x)

    monkeypatch.setattr(torch, "isfinite", count)
    p = made(family, 1000, 20)
    p.adjoint(p(draws(20)))
    assert looked == [20, 20]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bad_out_is_refused(family):
    p, theta = made(family, 10, 3), draws(3)
    with pytest.raises(ProjectionError, match=r"out: expected shape \(10,\)"):
        p(theta, out=torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ProjectionError, match=r"out: expected torch\.float64; got torch\.float32"):
        p(theta, out=torch.zeros(10))
    out = torch.zeros(10, dtype=torch.float64)
    with pytest.raises(ProjectionError, match="out: expected tensors without requires_grad"):
        p(theta.requires_grad_(), out=out)
    with torch.no_grad():
        assert p(theta, out=out) is out


def test_a_dense_matrix_that_may_not_be_regenerated_names_its_bytes():
    with pytest.raises(
        ProjectionError,
        match=r"expected a matrix of at most 1,000 bytes; 10000 x 100 in torch\.float32 "
        "takes 4,000,000",
    ):
        projections.make("dense", 10_000, 100, memory=1000, regenerate=False)
    with pytest.raises(ProjectionError, match="orthonormal: expected no options; got 'memory'"):
        projections.make("orthonormal", 10_000, 100, memory=1000)


def test_a_sparse_matrix_that_would_not_fit_names_its_bytes():
    with pytest.raises(
        ProjectionError,
        match="sparse: expected entries of at most 1,000 bytes; 10000 columns of 1000 entries "
        "take 200,000,000",
    ):
        projections.make("sparse", 1_000_000, 10_000, memory=1000)


@pytest.mark.parametrize(
    ("family", "engine", "said"),
    [
        (
            "orthonormal",
            "nosuch",
            "engine: expected one of auto, plain, native, triton, fht; got 'nosuch'",
        ),
        (
            "dense",
            "native",
            "engine: expected one of auto, plain for this projection; got 'native'",
        ),
        ("orthonormal", "fht", "engine: expected one that works here; got 'fht': "),
    ],
)
def test_an_engine_that_cannot_work_is_refused(family, engine, said):
    with pytest.raises(ProjectionError, match=said):
        made(family, 1000, 10, engine=engine)


def test_the_command_lines_engines_are_these():
    assert config.ENGINES == projections.ENGINES


def test_without_a_compiler_the_plain_form_is_taken(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert made("orthonormal", 1000, 10).engine == "plain"
    with pytest.raises(ProjectionError, match="got 'native': its C source was not compiled"):
        made("orthonormal", 1000, 10, engine="native")


def test_compiled_loops_that_cannot_be_loaded_are_done_without(monkeypatch):
    def refuse(name):
        raise OSError("wrong ELF class")

    monkeypatch.setattr(engines, "import_module", refuse)
    engines._why_broken.cache_clear()
    try:
        assert made("orthonormal", 1000, 10).engine == "plain"
    finally:
        engines._why_broken.cache_clear()


def test_a_regenerated_dense_matrix_is_the_stored_one():
    stored, made_anew = KINDS["dense"](997, 30, seed=5), KINDS["dense"](997, 30, seed=5, memory=0)
    torch.testing.assert_close(stored.as_matrix(), made_anew.as_matrix())


@pytest.mark.parametrize(
    ("where", "extra"),
    [("everywhere", 2 * 128 / 128**2), ("two blocks of one first half", 1.0), ("two of two", 0.0)],
)
def test_directions_constant_over_blocks_are_captured_with_the_variance_that_is_stated(
    where, extra
):
    """128 blocks share 64 first halves.

    The relative variance is 2/d, and twice the fraction of pairs in one first half.
    """
    block, seeds = 1 << 14, 150
    D = 128 * block
    v = torch.zeros(128, block)
    v[
        {"everywhere": slice(None), "two blocks of one first half": [3, 67], "two of two": [3, 4]}[
            where
        ]
    ] = 1.0
    v = (v / v.norm()).flatten()
    energy = torch.stack(
        [
            projections.make("orthonormal", D, block, seed=s).adjoint(v).square().sum()
            for s in range(seeds)
        ]
    )
    relative = float((energy / energy.mean()).var())
    # The variance of a variance from 150 draws is about an eighth; of two values, less.
    assert relative == pytest.approx(2 / block + extra, rel=0.5, abs=2e-4)
    error = abs(float(energy.mean()) * D / block - 1)
    assert error < 5 * math.sqrt((2 / block + extra) / seeds) + 1e-3
