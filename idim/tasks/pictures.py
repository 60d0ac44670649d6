"""A folder of pictures, one folder a class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from idim.errors import expected, listed
from idim.pixels import Pixels
from idim.tasks.classes import classes_of
from idim.tasks.reading import beginning
from idim.tasks.splits import EVALUATION, carve
from idim.tasks.vision import Images, split
from idim.values.options import Options

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def is_folder(path: str) -> bool:
    return (Path(path) / "train").is_dir()


def check_layout(path: str) -> None:
    """Raise IdimError for a folder of pictures without the folder ``train``."""
    root = Path(path)
    if is_folder(path) or beginning(root, ("train",)):
        return
    # A picture may lie beside the classes' folders, in them, or in folders of theirs.
    for form in ("*", "*/*", "*/*/*"):
        found = next((p for p in root.glob(form) if p.suffix.lower() in _PICTURES), None)
        if found:
            raise expected(path, "pictures in train/<class>/", str(found.relative_to(root)))


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
    return split(root.name, images, labels, len(named.names), options, 5000, pixels, named)


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
            f"the classes of the training part: {listed(classes)}",
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
