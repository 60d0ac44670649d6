"""Images: a task in memory, and scikit-learn's digits."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from idim.pixels import Pixels
from idim.tasks import mistakes
from idim.tasks.classes import Classes, classes_of
from idim.tasks.splits import capped, carve
from idim.tasks.supervised import Supervised
from idim.values.options import Options


class Images(Supervised):
    """Tensors in memory: ``(n, c, h, w)`` floats in [0, 1] a split, or bytes.

    ``pixels`` makes what a transformers model takes, batch by batch.
    """

    head = "image"

    def __init__(
        self,
        name: str,
        images: dict[str, torch.Tensor],
        labels: dict[str, torch.Tensor],
        classes: int,
        pixels: Pixels | None = None,
        named: Classes | None = None,
    ):
        digest = hashlib.sha256()
        for split, x in images.items():
            digest.update(split.encode() + x.numpy().tobytes())
        self.images, self._pixels = images, pixels
        super().__init__(name, "accuracy", labels, classes, digest, named)
        train, measure = (
            [
                mistakes.digest([row.numpy().tobytes()])
                for split, x in images.items()
                if (split == mistakes.MEASURE) == measured
                for row in x
            ]
            for measured in (False, True)
        )
        self.notes += mistakes.of_rows(name, train, measure)

    def inputs(self, split: str, index: torch.Tensor, device: torch.device) -> torch.Tensor:
        chosen = self.images[split][index].to(device)
        if not chosen.is_floating_point():
            chosen = chosen.float() / 255
        return chosen if self._pixels is None else self._pixels(chosen)

    def logits(self, module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        out = module(inputs)
        logits: torch.Tensor = getattr(out, "logits", out)
        return logits

    def evaluation_order(self, split: str, module: nn.Module) -> list[torch.Tensor]:
        # A vision transformer's activations take a thousand times a small net's memory.
        return (
            super().evaluation_order(split, module)
            if self._pixels is None
            else list(torch.arange(self.labels[split].numel()).split(32))
        )


def digits(pixels: Pixels | None, options: Options) -> Images:
    """scikit-learn's 1,797 digits of 8 x 8 (Alpaydin & Kaynak 1998). A quarter measures."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    named = classes_of([str(name) for name in bunch.target_names], options.labels, "digits")
    y = torch.tensor([named.number[str(label)] for label in bunch.target])
    parts = carve(len(y), {"test": 0.25})
    images, labels = {k: x[i] for k, i in parts.items()}, {k: y[i] for k, i in parts.items()}
    return split("digits", images, labels, len(named.names), options, 150, pixels, named)


def split(
    name: str,
    images: dict[str, torch.Tensor],
    labels: dict[str, torch.Tensor],
    classes: int,
    options: Options,
    cap: int,
    pixels: Pixels | None,
    named: Classes | None = None,
) -> Images:
    """The official training part into train, tune and locked; the official test part measures."""
    parts = carve(
        len(labels["train"]), {} if options.official else {"tune": 0.1, "locked": 0.1}, cap
    )
    parts["train"] = capped(parts["train"], options.max_train_samples)
    test = capped(torch.arange(len(labels["test"])), options.max_eval_samples)
    x = {k: images["train"][i] for k, i in parts.items()} | {"measure": images["test"][test]}
    y = {k: labels["train"][i] for k, i in parts.items()} | {"measure": labels["test"][test]}
    return Images(name, x, y, classes, pixels, named)
