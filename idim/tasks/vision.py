"""Images: IDX folders (MNIST, Fashion-MNIST), folders of pictures, and scikit-learn's digits."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from idim.errors import expected
from idim.pixels import Pixels
from idim.tasks import mistakes
from idim.tasks.base import EVALUATION, Classes, Supervised, capped, carve, classes_of
from idim.values.options import Options

_IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


#: Of an IDX file's content: as floats it takes four times as much.
_MOST_BYTES = 1 << 32
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


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


def idx(pixels: Pixels | None, options: Options) -> Images:
    """A folder with the four files of MNIST's layout, gzipped or not.

    The test files are the measuring split. Tuning and locked splits are 5,000 training images
    each, drawn by a fixed seed (a tenth where there are fewer).
    """
    data_dir = options.data_dir
    if not data_dir:
        raise expected(
            "data-dir",
            "the folder that holds train-images-idx3-ubyte[.gz] and its three companions",
            data_dir,
        )
    folder = Path(data_dir)
    images, labels = {}, {}
    for part, (image_file, label_file) in _IDX.items():
        images[part] = torch.from_numpy(_read(folder, image_file, 3)).unsqueeze(1).float() / 255
        labels[part] = torch.from_numpy(_read(folder, label_file, 1)).long()
        if len(images[part]) != len(labels[part]):
            raise expected(
                f"{folder}, {part}",
                f"as many labels as the {len(images[part])} images",
                len(labels[part]),
            )
    classes = int(labels["train"].max()) + 1 if labels["train"].numel() else 1
    return _split(f"idx:{folder.name}", images, labels, classes, options, 5000, pixels)


def _read(folder: Path, name: str, dimensions: int) -> np.ndarray:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise expected("data-dir", f"a folder with {name} or {name}.gz", str(folder))
    size = path.stat().st_size
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(4 + 4 * dimensions)
            if (
                len(head) < 4 + 4 * dimensions
                or head[:2] != b"\0\0"
                or head[2] != 8
                or head[3] != dimensions
            ):
                raise expected(
                    str(path),
                    f"an IDX file of bytes in {dimensions} dimensions",
                    head[:4].hex() or "an empty file",
                )
            shape = struct.unpack(f">{dimensions}I", head[4:])
            asked = math.prod(shape)
            # Before memory is asked for: gzip makes at most 1,032 bytes of one.
            if asked > min(_MOST_BYTES, size * (1032 if path.suffix == ".gz" else 1)):
                raise expected(
                    str(path),
                    f"an IDX file of at most {_MOST_BYTES} bytes that are there",
                    f"{size} bytes whose header asks for {shape}",
                )
            body = file.read(asked + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise expected(str(path), "a readable gzip file", str(error)) from None
    if len(body) != asked:
        came = len(body) if len(body) < asked else "more"
        raise expected(str(path), f"{shape} bytes, as its header says", came)
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def digits(pixels: Pixels | None, options: Options) -> Images:
    """scikit-learn's 1,797 digits of 8 x 8 (Alpaydin & Kaynak 1998). A quarter measures."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    named = classes_of([str(name) for name in bunch.target_names], options.labels, "digits")
    y = torch.tensor([named.number[str(label)] for label in bunch.target])
    parts = carve(len(y), {"test": 0.25})
    images, labels = {k: x[i] for k, i in parts.items()}, {k: y[i] for k, i in parts.items()}
    return _split("digits", images, labels, len(named.names), options, 150, pixels, named)


def is_folder(path: str) -> bool:
    return (Path(path) / "train").is_dir()


def folder(path: str, pixels: Pixels | None, options: Options) -> Images:
    """``train/<class>/*.png`` (or jpg, ...), as torchvision's ImageFolder has it.

    The same under ``validation``, ``val`` or ``test`` is the measuring split.
    Classes are numbered as the model's configuration numbers their names, or in alphabetical order
    where it does not know them. For a transformers model images are resized as they are read; a net
    takes them as they are, so all must have one size. Held in memory as bytes.
    """
    root = Path(path)
    evaluation = next((name for name in EVALUATION if (root / name).is_dir()), None)
    classes = sorted(
        p.name for p in (root / "train").iterdir() if p.is_dir() and not p.name.startswith(".")
    )
    if len(classes) < 2:
        raise expected(
            f"{path}/train",
            "a folder for each of two classes or more",
            ", ".join(classes) or "none",
        )
    named = classes_of(classes, options.labels, path)
    images, labels = {}, {}
    for part, name in (("train", "train"), ("test", evaluation)):
        if name:
            images[part], labels[part] = _pictures(root / name, named.number, pixels)
    if not evaluation:
        cut = carve(len(labels["train"]), {"test": 0.2}, cap=len(labels["train"]))
        images, labels = ({k: v["train"][i] for k, i in cut.items()} for v in (images, labels))
    return _split(root.name, images, labels, len(named.names), options, 5000, pixels, named)


def _pictures(
    root: Path, classes: Mapping[str, int], pixels: Pixels | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """-> (n, c, h, w) bytes, (n,)"""
    from PIL import Image

    strange = sorted(
        p.name
        for p in root.iterdir()
        if p.is_dir() and not p.name.startswith(".") and p.name not in classes
    )
    if strange:
        raise expected(
            str(root),
            "the classes of the training part: " + ", ".join(classes),
            ", ".join(strange[:5]),
        )
    rows, labels = [], []
    for name, label in classes.items():
        files = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in _PICTURES)
        if not files and root.name == "train":
            raise expected(f"{root}/{name}", f"a picture ({', '.join(_PICTURES)})", "none")
        for file in files:
            try:
                with Image.open(file) as opened:
                    image: Any = opened
                    if image.mode.startswith("I;16"):  # which PIL would cut at 255
                        image = Image.fromarray((np.array(image) // 257).astype(np.uint8))
                    image = image.convert(
                        "L"
                        if (pixels.channels == 1 if pixels else image.mode in ("1", "L"))
                        else "RGB"
                    )
                    if pixels:
                        image = image.resize(pixels.size[::-1], Image.Resampling.BILINEAR)
                    row = torch.from_numpy(np.array(image))
            except Exception as error:  # a broken file raises what its reader likes
                raise expected(
                    str(file),
                    "a readable picture",
                    (str(error).splitlines() or [type(error).__name__])[0][:160],
                ) from None
            rows.append(row[None] if row.dim() == 2 else row.permute(2, 0, 1))
            labels.append(label)
            if rows[-1].shape != rows[0].shape:
                raise expected(
                    str(file),
                    f"the shape of the first picture, {tuple(rows[0].shape)}, as a net asks",
                    tuple(rows[-1].shape),
                )
    if not rows:
        raise expected(str(root), "pictures in the folders of its classes", "none")
    return torch.stack(rows), torch.tensor(labels)


def _split(
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
