"""Nets that we build: multilayer perceptrons, LeNet, and the toy."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from idim.errors import expected


def mlp(sizes: list[int]) -> nn.Module:
    """Fully connected ReLU net, as in Li et al. 2018."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(a, b))
    return nn.Sequential(*layers)


def lenet(classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling on 28 x 28 grey images.

    44,426 parameters with ten classes.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


class Toy(nn.Module):
    """Li et al.'s toy: 1,000 weights, of which the model returns ten sums of 100.

    It can be solved at d = 10, and not at d = 9.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000))

    def forward(self, _: object = None) -> torch.Tensor:  # -> (10,)
        return self.weight.view(10, 100).sum(1)


def he_normal(module: nn.Module) -> nn.Module:
    """He-normal as Keras drew it for Li et al.; biases are zero.

    It is cut at two standard deviations, and not rescaled.
    """
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            sigma = (2 / m.weight[0].numel()) ** 0.5
            nn.init.trunc_normal_(m.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return module


#: Built-in nets: name -> (number of classes) -> module.
NETS: dict[str, Callable[[int], nn.Module]] = {
    "mnist-fc": lambda classes: he_normal(mlp([784, 200, 200, classes])),
    "mnist-lenet": lambda classes: he_normal(lenet(classes)),
    "toy": lambda classes: Toy(),
}


def sizes_of(name: str, classes: int) -> list[int]:
    """The layers' widths in a name as ``mlp:64-32-10``. The last must be the number of classes."""
    try:
        sizes = [int(part) for part in name.removeprefix("mlp:").split("-")]
    except ValueError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise expected("model", "mlp:<inputs>-<hidden>-…-<classes>, whole numbers", name)
    if sizes[-1] != classes:
        raise expected(
            "model", f"{classes} outputs, the task's number of classes", f"{name}, with {sizes[-1]}"
        )
    return sizes
