"""What an image model of transformers takes: pixels of one size and number of channels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Pixels:
    """``mean`` and ``std`` are a channel's, as a preprocessor_config.json has them."""

    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The images as the model takes them: (n, c, h, w) in [0, 1] -> (n, channels, *size).

        They are resized (bilinear, antialiased) and normalised. Where the model asks for it, grey
        is repeated or colours are averaged.
        """
        if images.shape[1] != self.channels:
            images = images.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        if images.shape[2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        mean, std = (
            torch.tensor(v, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
            for v in (self.mean, self.std)
        )
        return (images - mean) / std

    def save_pretrained(self, folder: str | Path) -> None:
        """As a preprocessor_config.json that transformers' image processors read."""
        height, width = self.size
        Path(folder, "preprocessor_config.json").write_text(
            json.dumps(
                {
                    "image_processor_type": "ViTImageProcessor",
                    "do_resize": True,
                    "size": {"height": height, "width": width},
                    "resample": 2,
                    "do_rescale": True,
                    "rescale_factor": 1 / 255,
                    "do_normalize": True,
                    "image_mean": self.mean,
                    "image_std": self.std,
                },
                indent=2,
            )
        )
