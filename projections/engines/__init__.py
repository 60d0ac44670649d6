"""The arithmetic of the structured families, in several forms behind one door.

``plain`` is torch operations and works everywhere. ``native`` is the same sums in C for the CPU, compiled when idim is installed;
``triton`` compiles them for CUDA; ``fht`` is plain with the fast-hadamard-transform package's kernel in it. All read the same random bits; their
results differ by rounding alone (relative 1e-6 in single precision, a sum being taken in another order).
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


def at_once(device: torch.device) -> int:
    """Floats that torch operations should work on at once: what stays in a core's cache; on CUDA, what is worth a kernel's launch."""
    return 1 << 22 if device.type == "cuda" else 1 << 16


def obstacle(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this engine cannot work on this device in this precision; None where it can."""
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
    if (broken := _broken(name)) is not None:
        return f"{_PACKAGES[name]} cannot be loaded: {broken}"
    if dtype != torch.float32 and name != "native":
        return f"it works in torch.float32, not {dtype}"
    return None


@lru_cache(maxsize=8)
def _broken(name: str) -> str | None:
    """What is installed may still refuse: a package beside another's newer version, a library made for another machine."""
    try:
        import_module("projections.engines.native" if name == "native" else _PACKAGES[name])
    except Exception as error:  # whatever it is, the plain form works without it
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def choose(asked: str, able: tuple[str, ...], device: torch.device, dtype: torch.dtype) -> str:
    """The engine's name: the one asked for, or for "auto" the first of ``able`` that works here, else "plain".

    Raises ValueError for an unknown name, for one in which the family has no form, and for one that cannot work here.
    """
    if asked not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}; got {asked!r}")
    if asked == "auto":
        return next((name for name in able if obstacle(name, device, dtype) is None), "plain")
    if asked != "plain" and asked not in able:
        raise ValueError(
            f"engine: expected one of {', '.join(('auto', 'plain', *able))} for this projection; got {asked!r}"
        )
    why = obstacle(asked, device, dtype)
    if why is not None:
        raise ValueError(f"engine: expected one that works here; got {asked!r}: {why}")
    return asked
