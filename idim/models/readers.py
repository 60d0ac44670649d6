"""What turns a task's examples into a model's inputs: a tokenizer, or sizes of pictures."""

from __future__ import annotations

from typing import Any

from idim.errors import expected
from idim.models.catalogue import is_pretrained, one_line, source_of
from idim.models.configuration import config_of
from idim.pixels import Pixels


def reader(name: str) -> Any:
    """What turns a task's examples into the model's inputs.

    A tokenizer or Pixels; None for nets, which read tensors.
    """
    if not is_pretrained(name):
        return None
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, AutoTokenizer

    config = config_of(name)
    source, kwargs = source_of(name)
    with one_line(name):
        if type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            return _pixels(config, source)
        made = AutoTokenizer.from_pretrained(source, **kwargs)
    own = _pad(config, len(made))
    if own is not None:
        made.pad_token_id = own
    elif made.pad_token is None:
        # Padding is masked, so any token will do.
        made.pad_token = (
            made.eos_token or made.unk_token or made.bos_token or made.convert_ids_to_tokens(0)
        )
    return made


def _pad(config: Any, vocabulary: int) -> int | None:
    """The token that the model itself takes for padding, by which decoders find a text's last token
    and RoBERTa counts positions; None where it has none."""
    pad = getattr(config.get_text_config(), "pad_token_id", None)
    return pad if isinstance(pad, int) and 0 <= pad < vocabulary else None


def _pixels(config: Any, source: str) -> Pixels:
    """From the preprocessor's configuration where there is one, else from the model's own."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        asked, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError:
        asked = {}
    if asked.get("do_flip_channel_order"):
        raise expected(
            "model",
            "an image model that reads red, green and blue in this order",
            f"{source}, with do_flip_channel_order",
        )
    size = (
        (asked.get("do_center_crop") and asked.get("crop_size"))
        or asked.get("size")
        or getattr(config, "image_size", 224)
    )
    if isinstance(size, dict):
        size = (size["height"], size["width"]) if "height" in size else size.get("shortest_edge")
    if isinstance(size, int):
        size = (size, size)
    if size is None:
        raise expected(
            "model",
            "an image model with a height and a width, or a shortest edge",
            asked.get("size"),
        )
    channels = getattr(config, "num_channels", 3)
    # Without a word on it, pixels are centred on 0 in [-1, 1].
    defaults = (
        {"image_mean": 0.5, "image_std": 0.5}
        if asked.get("do_normalize", True)
        else {"image_mean": 0.0, "image_std": 1.0}
    )
    said = {key: asked.get(key) if asked.get("do_normalize", True) else None for key in defaults}
    mean, std = (
        v if isinstance(v, (list, tuple)) else [defaults[k] if v is None else v] * channels
        for k, v in said.items()
    )
    return Pixels(channels, tuple(size), tuple(mean[:channels]), tuple(std[:channels]))
