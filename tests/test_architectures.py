"""Layer groups and a step of training over the kinds of model that people bring, built at random and tiny."""

from __future__ import annotations

import pytest
import torch
import transformers as t

from idim import Subspace

N = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
TEXT = dict(vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2)
BART = dict(d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
#: name -> (model, its blocks); "labels" of a class, of the next token, or of an image.
MODELS = {
    "bert": (t.BertForSequenceClassification, t.BertConfig(**TEXT, **N), 3),
    "roberta": (t.RobertaForSequenceClassification, t.RobertaConfig(**TEXT, **N), 3),
    # All its blocks are one set of weights.
    "albert": (t.AlbertForSequenceClassification, t.AlbertConfig(**TEXT, **N, embedding_size=8), 1),
    "distilbert": (t.DistilBertForSequenceClassification, t.DistilBertConfig(vocab_size=20, dim=16, n_layers=3, n_heads=2, hidden_dim=32), 3),
    "deberta": (t.DebertaV2ForSequenceClassification, t.DebertaV2Config(**TEXT, **N, relative_attention=True, pos_att_type=["c2p", "p2c"]), 3),
    "electra": (t.ElectraForSequenceClassification, t.ElectraConfig(**TEXT, **N, embedding_size=8), 3),
    "gpt2": (t.GPT2ForSequenceClassification, t.GPT2Config(**TEXT, n_embd=16, n_layer=3, n_head=2), 3),
    "llama": (t.LlamaForCausalLM, t.LlamaConfig(**TEXT, **N), 3),
    "qwen2, tied": (t.Qwen2ForCausalLM, t.Qwen2Config(**TEXT, **N, num_key_value_heads=2, tie_word_embeddings=True), 3),
    "gemma2": (t.Gemma2ForCausalLM, t.Gemma2Config(**TEXT, **N, num_key_value_heads=2, head_dim=8), 3),
    "mixtral": (t.MixtralForCausalLM, t.MixtralConfig(**TEXT, **N, num_key_value_heads=2, num_local_experts=2), 3),
    "t5": (t.T5ForConditionalGeneration, t.T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, decoder_start_token_id=0), 6),
    "bart": (t.BartForSequenceClassification, t.BartConfig(**TEXT, **BART), 4),
    "vit": (t.ViTForImageClassification, t.ViTConfig(image_size=16, patch_size=8, num_channels=1, **N), 3),
    "convnext, by stage": (t.ConvNextForImageClassification, t.ConvNextConfig(num_channels=1, hidden_sizes=[8, 16], depths=[1, 2], num_stages=2), 2),
}


def batch(model: t.PreTrainedModel) -> dict[str, torch.Tensor]:
    if "Image" in type(model).__name__:
        return {"pixel_values": torch.rand(3, 1, 16, 16), "labels": torch.tensor([0, 1, 0])}
    tokens = torch.cat([torch.randint(3, 20, (3, 7)), torch.full((3, 1), 2)], 1)
    causal = "Causal" in type(model).__name__ or "Conditional" in type(model).__name__
    return {"input_ids": tokens, "labels": tokens if causal else torch.tensor([0, 1, 0])}


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_has_a_scale_a_block_one_for_embeddings_one_for_the_head(name):
    kind, config, blocks = MODELS[name]
    torch.manual_seed(0)
    model = kind(config)
    sub = Subspace(model, 50, structure="layer")
    groups = sub.layout.groups
    assert len(groups) == blocks + 2 and {"embeddings", "head"} <= set(groups)
    belongs = {s.name: groups[s.group] for s in sub.layout.slices}
    for tensor, group in belongs.items():
        assert group in ("embeddings", "head") or tensor.startswith(group + ".")
        if group == "head":
            assert "embed" not in tensor
    assert sub.D == sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    optimizer = torch.optim.Adam(sub.parameters(), lr=0.02)
    inputs = batch(model)
    for _ in range(2):
        model(**inputs).loss.backward()
        optimizer.step()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in sub.parameters())
    sub.release()
