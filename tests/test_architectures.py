"""Layer groups and a step of training, over tiny random models of the kinds that people bring."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
import transformers as t
from peft import PeftModel, get_peft_model

from idim import Subspace, SubspaceConfig, arms, models
from idim.tasks.frames import Table
from idim.tasks.text import Text

N = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
#: name -> (model, its blocks); "labels" of a class, of the next token, or of an image.
MODELS = {
    "bert": (t.BertForSequenceClassification, t.BertConfig(**TEXT, **N), 3),
    "roberta": (t.RobertaForSequenceClassification, t.RobertaConfig(**TEXT, **N), 3),
    # All its blocks are one set of weights.
    "albert": (t.AlbertForSequenceClassification, t.AlbertConfig(**TEXT, **N, embedding_size=8), 1),
    "distilbert": (
        t.DistilBertForSequenceClassification,
        t.DistilBertConfig(vocab_size=20, dim=16, n_layers=3, n_heads=2, hidden_dim=32),
        3,
    ),
    "deberta": (
        t.DebertaV2ForSequenceClassification,
        t.DebertaV2Config(**TEXT, **N, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        3,
    ),
    "electra": (
        t.ElectraForSequenceClassification,
        t.ElectraConfig(**TEXT, **N, embedding_size=8),
        3,
    ),
    "gpt2": (
        t.GPT2ForSequenceClassification,
        t.GPT2Config(**TEXT, n_embd=16, n_layer=3, n_head=2),
        3,
    ),
    "llama": (t.LlamaForCausalLM, t.LlamaConfig(**TEXT, **N), 3),
    "qwen2, tied": (
        t.Qwen2ForCausalLM,
        t.Qwen2Config(**TEXT, **N, num_key_value_heads=2, tie_word_embeddings=True),
        3,
    ),
    "gemma2": (
        t.Gemma2ForCausalLM,
        t.Gemma2Config(**TEXT, **N, num_key_value_heads=2, head_dim=8),
        3,
    ),
    "mixtral": (
        t.MixtralForCausalLM,
        t.MixtralConfig(**TEXT, **N, num_key_value_heads=2, num_local_experts=2),
        3,
    ),
    "t5": (
        t.T5ForConditionalGeneration,
        t.T5Config(
            vocab_size=20,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=3,
            num_heads=2,
            decoder_start_token_id=0,
        ),
        6,
    ),
    "bart": (t.BartForSequenceClassification, t.BartConfig(**TEXT, **BART), 4),
    "vit": (
        t.ViTForImageClassification,
        t.ViTConfig(image_size=16, patch_size=8, num_channels=1, **N),
        3,
    ),
    "convnext, by stage": (
        t.ConvNextForImageClassification,
        t.ConvNextConfig(num_channels=1, hidden_sizes=[8, 16], depths=[1, 2], num_stages=2),
        2,
    ),
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
    assert sum(p.numel() for p in {id(p): p for p in model.parameters()}.values()) == sub.D
    optimizer = torch.optim.Adam(sub.parameters(), lr=0.02)
    inputs = batch(model)
    for _ in range(2):
        model(**inputs).loss.backward()
        optimizer.step()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in sub.parameters())
    sub.release()


# Text classifiers of transformers, tiny and random: what is fresh, what classes are called,
# positions and padding.

#: What makes a configuration tiny, under all the names that configurations have for it.
TINY = (
    N
    | BART
    | {
        "num_hidden_layers": 2,
        "vocab_size": 30,
        "max_position_embeddings": 24,
        "embedding_size": 8,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "d_kv": 8,
        "d_ff": 32,
        "d_inner": 32,
        "d_head": 8,
        "num_layers": 2,
        "num_heads": 2,
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "n_positions": 24,
        "emb_dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "dim": 16,
        "hidden_dim": 32,
        "ffn_dim": 32,
        "block_sizes": [1, 1],
        "num_experts": 2,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "word_embed_proj_dim": 16,
        "attention_window": 8,
        "num_hash_buckets": 30,
        "rotary_dim": 4,
    }
)
#: Kinds of model whose logits padding changes by their design: Fourier and other transforms over
#: all places, convolutions, pooling.
PADDING_SHOWS = {"fnet", "nystromformer", "canine", "convbert", "mobilebert"}
CLASSIFIERS = [
    "albert",
    "bart",
    "bert",
    "big_bird",
    "biogpt",
    "bloom",
    "camembert",
    "canine",
    "convbert",
    "ctrl",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "eurobert",
    "falcon",
    "flaubert",
    "fnet",
    "funnel",
    "gemma",
    "gemma2",
    "glm",
    "gpt2",
    "gpt_bigcode",
    "gpt_neox",
    "gptj",
    "ibert",
    "llama",
    "longformer",
    "mbart",
    "megatron-bert",
    "mistral",
    "mixtral",
    "mobilebert",
    "modernbert",
    "mpnet",
    "mpt",
    "mt5",
    "nomic_bert",
    "nystromformer",
    "olmo",
    "openai-gpt",
    "opt",
    "persimmon",
    "phi",
    "plbart",
    "qwen2",
    "qwen3",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roformer",
    "stablelm",
    "t5",
    "umt5",
    "xlm",
    "xlm-roberta",
    "xlnet",
]


def config_of(kind: str, **more) -> t.PreTrainedConfig:
    made = type(t.AutoConfig.for_model(kind))
    known = {
        *inspect.signature(made.__init__).parameters,
        *getattr(made, "__dataclass_fields__", ()),
        *made.attribute_map,
    }
    return made(
        **{key: value for key, value in (TINY | more).items() if key in known or key in more},
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=0,
    )


def classifier(kind: str, **more) -> t.PreTrainedModel:
    """With weights so large that what a text is batched with would show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = t.AutoModelForSequenceClassification.from_config(config_of(kind, **more))
        for p in made.parameters():
            if p.dim() > 1:
                p.data.normal_(std=0.2)
    return made.eval()


class Words(t.PreTrainedTokenizerFast):
    """Words w0 ... as tokens 5 ..., with the template's special tokens; padding on this side."""

    def __init__(self, side: str, template: str):
        from tokenizers import Tokenizer, pre_tokenizers, processors
        from tokenizers import models as parts

        special = ["<pad>", "<s>", "</s>", "<unk>", "<cls>"]
        raw = Tokenizer(
            parts.WordLevel(
                {w: i for i, w in enumerate([*special, *(f"w{i}" for i in range(24))])},
                unk_token="<unk>",
            )
        )
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        raw.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(s, i) for i, s in enumerate(special)]
        )
        super().__init__(
            tokenizer_object=raw,
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            cls_token="<cls>",
            padding_side=side,
        )


def words(n: int, start: int) -> str:
    return " ".join(f"w{(start + 7 * i) % 24}" for i in range(n))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_texts_logits_do_not_depend_on_what_it_is_batched_with(kind):
    """With padding on either side: alone, in the batch of one pass, and padded to the longest."""
    texts = [(words(n, start),) for start, n in enumerate((3, 4, 9, 12, 4, 7))]
    table = Table(texts, [0, 1] * 3)
    module = classifier(kind)
    for side in ("left", "right"):
        tokenizer = Words(side, "$A </s> <cls>" if kind == "xlnet" else "<s> $A </s>")
        task = Text("t", "accuracy", {"train": table, "measure": table}, 2, tokenizer, 20)
        alone = torch.cat(
            [
                task.logits(module, task.inputs("measure", torch.tensor([i]), torch.device("cpu")))
                for i in range(6)
            ]
        )
        whole = task.logits(module, task.inputs("measure", torch.arange(6), torch.device("cpu")))
        order = task.evaluation_order("measure", module)
        scored = torch.cat(
            [
                task.logits(module, task.inputs("measure", index, torch.device("cpu")))
                for index in order
            ]
        )[torch.cat(order).argsort()]
        size = alone.abs().max()
        assert (scored - alone).abs().max() < 1e-4 * size
        assert (
            (len(order) > 1)
            == (kind in PADDING_SHOWS)
            == bool((whole - alone).abs().max() > 1e-3 * size)
        )


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_an_adapter_brings_along_what_its_base_model_lacks_and_lora_trains_it(kind, tmp_path):
    """With the backbone alone as the checkpoint, transformers' loading report says what is fresh.

    Of the model itself, and of a copy.
    """
    with torch.random.fork_rng():
        torch.manual_seed(1)
        backbone = classifier(kind).base_model
        # A pooler is not in the checkpoints of language models.
        lost = {name: w for name, w in backbone.state_dict().items() if "pooler" in name}
        backbone.save_pretrained(
            tmp_path / "base",
            state_dict={k: w for k, w in backbone.state_dict().items() if k not in lost},
        )

        def load(seed: int):
            torch.manual_seed(seed)
            return t.AutoModelForSequenceClassification.from_pretrained(
                tmp_path / "base", num_labels=3, output_loading_info=True
            )

        (model, report), (other, _) = load(2), load(3)
    own = {name for name, _ in model.named_parameters()}
    fresh = models.fresh(model)
    assert fresh == (set(report["missing_keys"]) & own) and models.head(model) <= fresh
    assert models.fresh(models.copied(model)) == models.fresh(copy.deepcopy(model)) == fresh
    inputs = {"input_ids": torch.tensor([[1, 7, 9, 8, 2], [1, 5, 6, 11, 2]])}
    wrapped = get_peft_model(model, SubspaceConfig(d=40))
    with torch.no_grad():
        wrapped.base_model.held.sub.theta.normal_(generator=torch.Generator().manual_seed(0))
        wanted = wrapped.eval()(**inputs).logits
        wrapped.save_pretrained(tmp_path / "adapter")
        again = PeftModel.from_pretrained(other, tmp_path / "adapter").eval()
        assert torch.equal(again(**inputs).logits, wanted)
        assert not torch.allclose(other.eval()(**inputs).logits, load(4)[0].eval()(**inputs).logits)
    if kind == "ibert":  # whose layers are quantised ones, which LoRA cannot adapt
        return
    adapted = arms.build("lora", load(2)[0], {"rank": 1, "targets": ["all-linear"]}, 0)
    free = {
        name
        for name, p in adapted.module.named_parameters()
        if p.requires_grad and "lora_" not in name
    }
    assert {
        name.replace("modules_to_save.default.", "").removeprefix("base_model.model.")
        for name in free
    } == fresh


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_names_of_classes_are_read_from_the_model_and_written_into_what_is_saved(kind, tmp_path):
    names = {0: "positive", 1: "negative", 2: "neither"}
    classifier(
        kind, id2label=names, label2id={name: i for i, name in names.items()}
    ).save_pretrained(tmp_path / "own")
    assert models.labels(str(tmp_path / "own")) == {"positive": 0, "negative": 1, "neither": 2}
    Words("right", "<s> $A </s>").save_pretrained(tmp_path / "own")
    loaded = models.load(str(tmp_path / "own"), 2, 0, names=("no", "yes")).module
    loaded.save_pretrained(tmp_path / "saved")
    assert models.labels(str(tmp_path / "saved")) == {"no": 0, "yes": 1}
    assert t.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved"
    ).config.id2label == {0: "no", 1: "yes"}


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_length_that_is_let_through_has_its_positions(kind, tmp_path):
    config_of(kind).save_pretrained(tmp_path)
    longest = models.positions(str(tmp_path))
    assert longest is None or 20 <= longest <= 24
    ids = torch.arange(longest or 40)[None] % 20 + 5
    ids[:, -1] = 2
    assert classifier(kind)(input_ids=ids).logits.isfinite().all()
