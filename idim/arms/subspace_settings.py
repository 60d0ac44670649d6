"""What the arms of a random subspace must be told."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from idim.values.arm import ArmSettings
from idim.values.fields import Json

#: Settings that a record names only where they differ from their default.
_IF_SET = ("version", "engine", "lean")


@dataclass(frozen=True)
class SubspaceSettings(ArmSettings):
    """``d`` counts the scales. ``version`` is that of the projection's family."""

    d: int = 0
    projection: str = "orthonormal"
    scope: str = "global"
    structure: str = "layer"
    version: int = 1
    engine: str = "auto"
    lean: bool = False

    def to_json(self) -> Json:
        plain = super().to_json()
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return {k: v for k, v in plain.items() if k not in _IF_SET or v != defaults[k]}
