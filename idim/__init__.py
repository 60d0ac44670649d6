"""Measure the intrinsic dimension of fine-tuning.

``Subspace`` moves any module's weights along ``theta_0 + P theta``; the command ``idim`` searches for d90.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["IdimError", "Subspace"]


def __getattr__(name: str):
    # On demand: the command line must answer `idim ls` and a mistyped flag without loading torch.
    if name == "Subspace":
        from idim.subspace import Subspace

        return Subspace
    if name == "IdimError":
        from idim.errors import IdimError

        return IdimError
    raise AttributeError(f"module 'idim' has no attribute {name!r}")
