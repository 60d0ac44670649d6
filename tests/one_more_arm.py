"""An arm in one file: BitFit trains the biases, and nothing else."""

from __future__ import annotations

from idim.arms.base import Adapted, Arm
from idim.errors import expected
from idim.groups import Group


class BitFit(Arm):
    name = "bitfit"
    about = "Only the biases are trained (Ben Zaken et al. 2022)."
    source = "Ben Zaken et al. 2022"

    def adapt(self, model, settings, seed):
        before = [(p, p.requires_grad) for p in model.parameters()]
        named = list(model.named_parameters())
        biases = tuple(p for name, p in named if name.endswith("bias") and p.requires_grad)
        if not biases:
            raise expected("model", "at least one bias to train", type(model).__name__)
        for _, p in named:
            p.requires_grad_(any(p is b for b in biases))

        def close():
            for p, trained in before:
                p.requires_grad_(trained)

        return Adapted(model, (Group("biases", biases),), close=close)
