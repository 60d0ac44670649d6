"""Which forms of the structured families' arithmetic there are, and which of them work here.

``plain`` is torch operations and works everywhere. ``native`` is the same sums in C for the CPU,
compiled when idim is installed. ``triton`` compiles them for CUDA. ``fht`` is plain with the
kernel of the fast-hadamard-transform package in it. All read the same random bits. Their results
differ by rounding alone (relative 1e-6 in single precision), because they take sums in another
order.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

import torch

ENGINES = ("auto", "plain", "native", "triton", "fht")
_PACKAGES = {
    "native": "projections.engines._native",
    "triton": "triton",
    "fht": "fast_hadamard_transform",
}
_DEVICES = {"native": "cpu", "triton": "cuda", "fht": "cuda"}


def chunk_floats(device: torch.device) -> int:
    """How many floats torch operations should work on at a time.

    On a CPU, what stays in a core's cache; on CUDA, what is worth the launch of a kernel.
    """
    return 1 << 22 if device.type == "cuda" else 1 << 16


def why_unavailable(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Say why this engine cannot work on this device in this precision. None: it can."""
    if name == "plain":
        return None
    if find_spec(_PACKAGES[name]) is None:
        missing = f"the package {_PACKAGES[name]} is not installed"
        return (
            "its C source was not compiled when idim was installed, which takes a C compiler"
            if name == "native"
            else missing
        )
    if device.type != _DEVICES[name]:
        return f"it needs a {_DEVICES[name].upper()} device, not {device.type}"
    if (broken := _why_broken(name)) is not None:
        return f"{_PACKAGES[name]} cannot be loaded: {broken}"
    if dtype != torch.float32 and name != "native":
        return f"it works in torch.float32, not {dtype}"
    return None


@lru_cache(maxsize=8)
def _why_broken(name: str) -> str | None:
    """Load what is installed. It may fail: beside another package's newer version, for example."""
    try:
        import_module("projections.engines.native" if name == "native" else _PACKAGES[name])
    except Exception as error:  # whatever it is, the plain form works without it
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def choose(asked: str, able: tuple[str, ...], device: torch.device, dtype: torch.dtype) -> str:
    """Choose an engine.

    Args:
        asked: one of ``ENGINES``. "auto" takes the first of ``able`` that works here, or "plain".
        able: the engines beside "plain" that have a form of the family, best first.
        device: where the work is to be done.
        dtype: of the arithmetic.

    Raises:
        ValueError: the name is unknown, has no form of the family, or cannot work here.
    """
    if asked not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}; got {asked!r}")
    if asked == "auto":
        return next(
            (name for name in able if why_unavailable(name, device, dtype) is None), "plain"
        )
    if asked != "plain" and asked not in able:
        known = ", ".join(("auto", "plain", *able))
        raise ValueError(f"engine: expected one of {known} for this projection; got {asked!r}")
    why = why_unavailable(asked, device, dtype)
    if why is not None:
        raise ValueError(f"engine: expected one that works here; got {asked!r}: {why}")
    return asked
