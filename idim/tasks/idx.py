"""A folder of images in MNIST's layout: four IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from idim.errors import expected
from idim.pixels import Pixels
from idim.tasks.vision import Images, split
from idim.values.options import Options

_IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
#: Of an IDX file's content: as floats it takes four times as much.
_MOST_BYTES = 1 << 32


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
    return split(f"idx:{folder.name}", images, labels, classes, options, 5000, pixels)


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
