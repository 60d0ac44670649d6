"""Models by name: nets we build, folders and hub ids that transformers loads, and aliases."""

from __future__ import annotations

from idim.models.blocks import blocks, sublayers
from idim.models.catalogue import ABOUT, ALIASES, RATES, is_pretrained, names
from idim.models.class_names import save_labels, saved_labels
from idim.models.configuration import labels, labels_of, positions, positions_of
from idim.models.hub import unanswered_is_offline
from idim.models.loading import Loaded, fingerprint, load
from idim.models.nets import NETS
from idim.models.readers import reader
from idim.models.targets import ALL_LINEAR, is_pattern, linear, matching
from idim.models.weights import copied, fresh, head, is_encoder_decoder, layers

__all__ = [
    "ABOUT",
    "ALIASES",
    "ALL_LINEAR",
    "NETS",
    "RATES",
    "Loaded",
    "blocks",
    "copied",
    "fingerprint",
    "fresh",
    "head",
    "is_encoder_decoder",
    "is_pattern",
    "is_pretrained",
    "labels",
    "labels_of",
    "layers",
    "linear",
    "load",
    "matching",
    "names",
    "positions",
    "positions_of",
    "reader",
    "save_labels",
    "saved_labels",
    "sublayers",
    "unanswered_is_offline",
]
