from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

# Each worker has a core, not all of them. Before torch is loaded, and for the tests' own processes.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import torch

# What was installed is what is tested. `python -m pytest` would put the checkout first, and that
# has no compiled loops.
ELSEWHERE = [
    place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parents[1]
]
if PathFinder.find_spec("projections", ELSEWHERE):
    sys.path[:] = ELSEWHERE

# Tests never reach for a hub. A name that is not here must fail at once, as it does without a
# network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

pytest_plugins = ("words",)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared_data() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip("the data folder beside the checkout is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """A folder with a two-layer BERT of a few thousand weights and its own word pieces."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "good",
        "bad",
        "film",
        "a",
        "the",
        "very",
        "##s",
        "not",
    ]
    BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # whichever tests ran before
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def reviews(tmp_path) -> Path:
    """A table of 200 one-line reviews whose label is the word good or bad."""
    path = tmp_path / "reviews.csv"
    rows = ["text,label"]
    for i in range(200):
        word = "good" if i % 2 else "bad"
        rows.append(f"the {'very ' * (i % 3)}{word} film,{i % 2}")
    path.write_text("\n".join(rows) + "\n")
    return path
