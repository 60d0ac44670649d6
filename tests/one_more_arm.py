"""An arm in one file: only the first layer that has weights is trained."""

from __future__ import annotations

from idim.arms.base import Adapted, Arm
from idim.errors import expected
from idim.groups import Group


class First(Arm):
    name = "first"
    about = "Only the first layer is trained."
    source = "an example"

    def adapt(self, model, settings, seed):
        before = [(p, p.requires_grad) for p in model.parameters()]
        layers = [tuple(m.parameters(recurse=False)) for m in model.modules()]
        first = next((params for params in layers if params), ())
        if not all(p.requires_grad for p in first) or not first:
            raise expected("model", "a first layer that is not frozen", type(model).__name__)
        for p, _ in before:
            p.requires_grad_(any(p is mine for mine in first))

        def close():
            for p, trained in before:
                p.requires_grad_(trained)

        return Adapted(model, (Group("first", first),), close=close)
