"""Measure the intrinsic dimension of fine-tuning.

``Subspace`` moves any module's weights along ``theta_0 + P theta``. ``SubspaceConfig`` is the same
as a PEFT method: importing this package makes it known to peft. ``measure`` and the command
``idim`` search for d90.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
__all__ = ["IdimError", "Measurement", "Subspace", "SubspaceConfig", "measure"]

_WHERE = {
    "IdimError": "idim.errors",
    "Measurement": "idim.measurement",
    "Subspace": "idim.subspace",
    "measure": "idim.api",
    "SubspaceConfig": "idim.peft_plugin",
}


def __getattr__(name: str) -> Any:
    # On demand: the command line must answer `idim ls` and a mistyped flag without loading torch.
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'idim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


class _WhenPeftComes(importlib.abc.MetaPathFinder):
    """Registers the PEFT method right after peft is imported. So importing idim loads no peft."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "peft":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def then_register(module: ModuleType) -> None:
                run(module)
                importlib.import_module("idim.peft_plugin")

            # A loader of this one import: the next one makes another.
            spec.loader.exec_module = then_register  # type: ignore[method-assign]
        return spec


if "IPython" in sys.modules:
    importlib.import_module("idim.jupyter").register()
if "peft" in sys.modules:
    importlib.import_module("idim.peft_plugin")
else:
    sys.meta_path.insert(0, _WhenPeftComes())
