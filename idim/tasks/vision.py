"""Images and feature rows: IDX folders (MNIST, Fashion-MNIST) and scikit-learn's digits."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from idim.errors import expected
from idim.tasks.base import Supervised, Options, carve

_IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class Images(Supervised):
    """Tensors in memory: ``(n, 1, h, w)`` floats in [0, 1] a split."""

    def __init__(self, name: str, images: dict[str, torch.Tensor], labels: dict[str, torch.Tensor], classes: int):
        digest = hashlib.sha256()
        for split, x in images.items():
            digest.update(split.encode() + x.numpy().tobytes())
        self.images = images
        super().__init__(name, "accuracy", labels, classes, digest)

    def inputs(self, split: str, index: torch.Tensor, device: torch.device) -> torch.Tensor:
        return self.images[split][index].to(device)

    def logits(self, module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return module(inputs)


def idx(options: Options) -> Images:
    """A folder with the four files of MNIST's layout, gzipped or not. The test files are the measuring split.

    Tuning and locked splits are 5,000 training images each, drawn by a fixed seed (a tenth where there are fewer).
    """
    data_dir = options.data_dir
    if not data_dir:
        raise expected("data-dir", "the folder that holds train-images-idx3-ubyte[.gz] and its three companions", data_dir)
    folder = Path(data_dir)
    images, labels = {}, {}
    for part, (image_file, label_file) in _IDX.items():
        images[part] = torch.from_numpy(_read(folder, image_file, 3)).unsqueeze(1).float() / 255
        labels[part] = torch.from_numpy(_read(folder, label_file, 1)).long()
        if len(images[part]) != len(labels[part]):
            raise expected(f"{folder}, {part}", f"as many labels as the {len(images[part])} images", len(labels[part]))
    classes = int(labels["train"].max()) + 1 if labels["train"].numel() else 1
    return _split(f"idx:{folder.name}", images, labels, classes, options, 5000)


def _read(folder: Path, name: str, dimensions: int) -> np.ndarray:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise expected("data-dir", f"a folder with {name} or {name}.gz", str(folder))
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise expected(str(path), "a readable gzip file", str(error)) from None
    if len(raw) < 4 + 4 * dimensions or raw[:2] != b"\0\0" or raw[2] != 8 or raw[3] != dimensions:
        raise expected(str(path), f"an IDX file of bytes in {dimensions} dimensions", raw[:4].hex() or "an empty file")
    shape = struct.unpack(f">{dimensions}I", raw[4: 4 + 4 * dimensions])
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions)
    if body.size != np.prod(shape, dtype=np.int64):
        raise expected(str(path), f"{shape} bytes, as its header says", body.size)
    return body.reshape(shape).copy()


def digits(options: Options) -> Images:
    """scikit-learn's 1,797 digits of 8 x 8 (Alpaydin & Kaynak 1998): a quarter is the measuring split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    y = torch.from_numpy(bunch.target).long()
    parts = carve(len(y), {"test": 0.25})
    images, labels = {k: x[i] for k, i in parts.items()}, {k: y[i] for k, i in parts.items()}
    return _split("digits", images, labels, 10, options, 150)


def _split(name: str, images: dict, labels: dict, classes: int, options: Options, cap: int) -> Images:
    """The official training part into train, tune and locked; the official test part as the measuring split."""
    parts = carve(len(labels["train"]), {} if options.official else {"tune": 0.1, "locked": 0.1}, cap)
    parts["train"] = options.capped(parts["train"], options.max_train_samples)
    test = options.capped(torch.arange(len(labels["test"])), options.max_eval_samples)
    x = {k: images["train"][i] for k, i in parts.items()} | {"measure": images["test"][test]}
    y = {k: labels["train"][i] for k, i in parts.items()} | {"measure": labels["test"][test]}
    return Images(name, x, y, classes)
