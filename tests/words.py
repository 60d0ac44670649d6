"""Tiny language models over a few words, and a table of completions for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as t

WORDS = [
    "<pad>",
    "</s>",
    "<unk>",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "and",
    "then",
    "?",
    "<s>",
    "a",
]
SIZES = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 12}
#: What each tokenizer puts around a text, as Llama, T5 and BART do.
AROUND = {"decoder": "<s> $A", "encoder-decoder": "$A </s>", "bart": "<s> $A </s>"}
KINDS = tuple(AROUND)


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A tiny decoder and tiny encoder-decoders over words, as folders."""
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers import models as parts

    made = {}
    kinds = {
        "decoder": t.LlamaForCausalLM(
            t.LlamaConfig(
                **SIZES,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
            )
        ),
        "encoder-decoder": t.T5ForConditionalGeneration(
            t.T5Config(
                **SIZES,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                decoder_start_token_id=0,
                dropout_rate=0.0,
            )
        ),
        "bart": t.BartForConditionalGeneration(
            t.BartConfig(
                **SIZES,
                d_model=16,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_position_embeddings=64,
                decoder_start_token_id=1,
                forced_bos_token_id=12,
                forced_eos_token_id=None,
                dropout=0.0,
            )
        ),
    }
    for name, model in kinds.items():
        made[name] = tmp_path_factory.mktemp(name)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for p in model.parameters():
                p.data.normal_(std=0.3)
        raw = Tokenizer(parts.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        raw.post_processor = processors.TemplateProcessing(
            single=AROUND[name], special_tokens=[("<s>", 12), ("</s>", 1)]
        )
        special = {
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "bos_token": "<s>",
            "unk_token": "<unk>",
        }
        t.PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(made[name])
        model.save_pretrained(made[name])
    return made


@pytest.fixture
def counting(tmp_path) -> Path:
    """A table: after two numbers comes the next one."""
    file = tmp_path / "counting.jsonl"
    rows = [
        {
            "prompt": f"{WORDS[a]} {'and then ' * (i % 3)}{WORDS[a + 1]} ?",
            "completion": f" {WORDS[a + 2]}",
        }
        for i in range(120)
        for a in [3 + i % 4]
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file
