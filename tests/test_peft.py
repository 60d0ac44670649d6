"""The subspace as a PEFT method: register, train, save, load, merge, export."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel, TaskType, get_peft_model
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from test_cli import idim as command
from torch import nn
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

import idim
from idim import models
from idim.errors import IdimError
from idim.export.lora import to_lora

X = torch.randint(0, 13, (8, 9), generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1] * 4)
MODES = [
    {"structure": "layer"},
    {"structure": None},
    {"structure": "layer", "projection": "onehot"},
    {"structure": "tensor", "scope": "tensor"},
    {"structure": "layer", "target_modules": "all-linear"},
    {"structure": None, "target_modules": ["query", "value"]},
    {"structure": "layer", "target_modules": r".*layer\.1\..*dense"},
    {"structure": "layer", "lean": True},
    {"structure": None, "projection": "sparse"},
]


def base(folder, head: int = 0) -> nn.Module:
    """The folder's model with a fresh head of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(head)
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        nn.init.normal_(model.classifier.weight)
    return model.eval()


def trained(folder, steps: int = 5, **more) -> PeftModel:
    model = get_peft_model(
        base(folder),
        idim.SubspaceConfig(
            **{"d": 60, "task_type": TaskType.SEQ_CLS, "projection_seed": 7} | more
        ),
    )
    train(model, steps)
    return model.eval()


def train(model: nn.Module, steps: int) -> list[float]:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(steps):
        loss = model.train()(input_ids=X, labels=Y).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=X).logits


def test_the_method_is_in_pefts_tables():
    for table in (
        PEFT_TYPE_TO_CONFIG_MAPPING,
        PEFT_TYPE_TO_TUNER_MAPPING,
        PEFT_TYPE_TO_PREFIX_MAPPING,
    ):
        assert "IDIM_SUBSPACE" in table


@pytest.mark.parametrize("order", ["import idim, peft", "import peft, idim"])
def test_importing_idim_registers_it_and_loads_neither_torch_nor_peft(order):
    code = f"""
import sys, idim
assert not {{"torch", "peft", "transformers"}} & set(sys.modules)
{order}
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
assert "IDIM_SUBSPACE" in PEFT_TYPE_TO_TUNER_MAPPING
"""
    if order.startswith("import peft"):
        code = code.replace("import sys, idim\n", "import sys\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = done.stderr.splitlines()
    # peft imports bitsandbytes where it is installed, and that speaks of a package it misses.
    assert done.returncode == 0 and [line for line in said if "kernels" not in line] == []


@pytest.mark.parametrize("more", MODES, ids=str)
def test_only_theta_and_scales_are_trainable_before_and_after_training(tiny_bert, capsys, more):
    model = get_peft_model(
        base(tiny_bert), idim.SubspaceConfig(d=60, task_type=TaskType.SEQ_CLS, **more)
    )
    for _ in range(2):
        model.print_trainable_parameters()
        assert "trainable params: 60 ||" in capsys.readouterr().out
        train(model, 2)
    assert model.base_model.held.sub.theta.all()


@pytest.mark.parametrize("more", MODES, ids=str)
def test_save_and_load_merge_disable_and_export(tiny_bert, tmp_path, more):
    model = trained(tiny_bert, **more)
    untouched, expected = logits(base(tiny_bert)), logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), untouched)
    assert torch.equal(logits(model), expected) and not torch.allclose(expected, untouched)
    model.save_pretrained(tmp_path / "adapter")

    def loaded() -> PeftModel:  # under another fresh head
        return PeftModel.from_pretrained(base(tiny_bert, head=5), tmp_path / "adapter")

    assert torch.equal(logits(loaded()), expected)
    again = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert torch.equal(logits(again), expected)
    plain = loaded().merge_and_unload()
    assert type(plain) is type(base(tiny_bert)) and (logits(plain) - expected).abs().max() < 1e-6
    assert all(p.requires_grad for p in plain.parameters()) and not hasattr(plain, "peft_config")
    assert torch.equal(logits(trained(tiny_bert, **more).unload()), untouched)
    lora, layers = to_lora(loaded())
    assert (logits(lora) - expected).abs().max() < 1e-5 and all(
        layer.kept > 1 - 1e-6 for layer in layers
    )
    lora.save_pretrained(tmp_path / "lora")
    assert (
        json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    )
    assert (
        logits(PeftModel.from_pretrained(base(tiny_bert, head=9), tmp_path / "lora")) - expected
    ).abs().max() < 1e-5


def test_training_goes_on_from_a_loaded_adapter(tiny_bert, tmp_path):
    whole = trained(tiny_bert, steps=3)
    whole.save_pretrained(tmp_path)
    resumed = PeftModel.from_pretrained(base(tiny_bert, head=4), tmp_path, is_trainable=True)
    for model in (whole, resumed):
        torch.manual_seed(1)
        train(model, 3)
    assert torch.equal(logits(whole), logits(resumed))


def test_a_lora_of_lower_rank_keeps_the_energy_it_says(tiny_bert):
    sizes = {}
    for energy in (0.5, 0.9, 1.0):
        _, layers = to_lora(trained(tiny_bert), energy=energy)
        assert all(layer.kept >= energy - 1e-6 for layer in layers)
        sizes[energy] = sum(layer.rank for layer in layers)
    assert sizes[0.5] < sizes[0.9] < sizes[1.0]
    lora, layers = to_lora(trained(tiny_bert), rank=3)
    assert {layer.rank for layer in layers} == {2, 3}  # two token types
    assert (logits(lora) - logits(trained(tiny_bert))).abs().max() > 1e-3


def test_tied_embeddings_stay_tied_and_export(tmp_path):
    def decoder() -> nn.Module:
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=13,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                tie_word_embeddings=True,
            )
        ).eval()

    model = get_peft_model(decoder(), idim.SubspaceConfig(d=60, task_type=TaskType.CAUSAL_LM))
    train_on = {"input_ids": X, "labels": X}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(4):
        model(**train_on).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    expected = logits(model)
    assert model.get_base_model().lm_head.weight is model.get_base_model().model.embed_tokens.weight
    assert model.generate(input_ids=X[:1], max_new_tokens=2, do_sample=False).shape == (1, 11)
    model.save_pretrained(tmp_path)
    lora, _ = to_lora(PeftModel.from_pretrained(decoder(), tmp_path))
    assert (logits(lora) - expected).abs().max() < 1e-5
    plain = PeftModel.from_pretrained(decoder(), tmp_path).merge_and_unload()
    assert (
        logits(plain) - expected
    ).abs().max() < 1e-6 and plain.lm_head.weight is plain.model.embed_tokens.weight


def test_another_process_makes_the_same_logits_from_a_few_kilobytes(tmp_path):
    """MiniLM, d = 10,000: theta, scales, the fresh head's start, seed and checksum."""
    code = """
import sys, torch, idim
from peft import PeftModel, TaskType, get_peft_model
from idim import models
base = models.load("minilm", 2, seed=int(sys.argv[2])).module.eval()
x = torch.arange(40).view(2, 20) + 1000
if sys.argv[1] == "save":
    model = get_peft_model(base, idim.SubspaceConfig(d=10_000, task_type=TaskType.SEQ_CLS))
    with torch.no_grad():
        model.base_model.held.sub.theta.normal_(std=0.5, generator=torch.Generator().manual_seed(3))
        model.base_model.held.sub.scales.mul_(1.1)
    model.save_pretrained(sys.argv[3])
else:
    model = PeftModel.from_pretrained(base, sys.argv[3])
with torch.no_grad():
    print(model.eval()(input_ids=x).logits.numpy().tobytes().hex())
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code, what, seed, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for what, seed in (("save", "1"), ("load", "2"))
    ]
    assert said[0] == said[1]
    assert sum(f.stat().st_size for f in tmp_path.glob("adapter_*")) < 100_000


def test_trainer_trains_checkpoints_and_resumes(tiny_bert, tmp_path):
    from transformers import Trainer, TrainingArguments

    rows = [{"input_ids": x, "labels": y} for x, y in zip(X, Y, strict=True)]

    def trainer(steps: int) -> Trainer:
        model = get_peft_model(
            base(tiny_bert), idim.SubspaceConfig(d=60, task_type=TaskType.SEQ_CLS)
        )
        return Trainer(
            model=model,
            train_dataset=rows,
            args=TrainingArguments(
                output_dir=str(tmp_path / "run"),
                max_steps=steps,
                per_device_train_batch_size=4,
                learning_rate=0.05,
                save_steps=4,
                logging_steps=2,
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                seed=3,
                lr_scheduler_type="constant",
            ),
        )

    whole = trainer(8)
    whole.train()
    assert [f.name for f in (tmp_path / "run" / "checkpoint-4").glob("adapter_model*")] == [
        "adapter_model.safetensors"
    ]
    assert whole.state.log_history[-2]["loss"] < whole.state.log_history[0]["loss"]
    resumed = trainer(8)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert torch.equal(logits(whole.model.eval()), logits(resumed.model.eval()))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"d": 3}, "d: expected more than the"),
        ({"d": 10**9}, "d: expected at most D"),
        ({"projection": "nosuch"}, "expected one of dense"),
        ({"structure": "nosuch"}, "structure: expected one of"),
        ({"target_modules": ["nosuch"]}, "target_modules: expected names of modules"),
        ({"projection_checksum": "0" * 64}, "checksum: expected 000"),
    ],
)
def test_mistakes_leave_the_model_as_it_was(tiny_bert, more, says):
    model = base(tiny_bert)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(IdimError, match=says):
        get_peft_model(model, idim.SubspaceConfig(**{"d": 60} | more))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and not hasattr(
        next(model.parameters()), "_idim_wrapped"
    )


def test_one_subspace_a_model(tiny_bert):
    model = trained(tiny_bert)
    with pytest.raises(IdimError, match="one subspace a model"):
        model.add_adapter("second", idim.SubspaceConfig(d=60))
    assert list(model.peft_config) == ["default"] and torch.isfinite(logits(model)).all()


def norm_net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


ROWS = torch.randn(64, 6, generator=torch.Generator().manual_seed(1)) * 3 + 2


def fitted(model: nn.Module, steps: int = 30) -> nn.Module:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        nn.functional.cross_entropy(model.train()(ROWS), (ROWS[:, 0] > 2).long()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


BEFORE_LOADING = {
    "nothing": lambda model: None,
    "a forward pass": lambda model: logits(model.eval()),
    "training": lambda model: train(model, 2),
}


@pytest.mark.parametrize("before", BEFORE_LOADING)
@pytest.mark.parametrize("more", MODES, ids=str)
def test_the_state_dict_of_the_whole_model_makes_it_again(tiny_bert, more, before):
    """Under another fresh head too."""
    saved = trained(tiny_bert, **more)
    state = {key: x.clone() for key, x in saved.state_dict().items()}
    with saved.disable_adapter():
        untouched = logits(saved)
    expected = logits(saved)
    torch.manual_seed(1)
    train(saved, 2)
    again = trained(tiny_bert, 0, **more)
    if "target_modules" not in more:
        with torch.no_grad():
            dict(again.base_model.held.sub.origins())["classifier.weight"].add_(1.0)
        again.base_model.held.sub.forget()
    BEFORE_LOADING[before](again)
    again.load_state_dict(state)
    assert torch.equal(logits(again.eval()), expected)
    assert all(torch.equal(x, state[key]) for key, x in again.state_dict().items())
    with again.disable_adapter():
        assert torch.equal(logits(again), untouched)
    torch.manual_seed(1)
    train(again, 2)
    torch.testing.assert_close(logits(again), logits(saved), rtol=1e-4, atol=1e-4)
    again.load_state_dict(state)
    again.merge_adapter()
    again.unmerge_adapter()
    assert (logits(again.merge_and_unload()) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("lean", [False, True])
def test_the_state_dict_of_another_base_is_refused(tiny_bert, lean):
    state = trained(tiny_bert, lean=lean).state_dict()
    other = base(tiny_bert)
    with torch.no_grad():
        other.bert.embeddings.word_embeddings.weight[5].add_(0.01)
    config = idim.SubspaceConfig(d=60, lean=lean, task_type=TaskType.SEQ_CLS, projection_seed=7)
    model = get_peft_model(other, config)
    model.load_state_dict(state)
    with pytest.raises(
        IdimError, match=r"load_state_dict: expected bert\.embeddings\.word_embeddings\.weight as"
    ):
        logits(model)


@pytest.mark.parametrize("fresh", [None, ["1"], ["1", "3"]])
@pytest.mark.parametrize("lean", [False, True])
def test_an_adapter_brings_along_the_statistics_that_training_moved(tmp_path, fresh, lean):
    model = fitted(
        get_peft_model(
            norm_net(), idim.SubspaceConfig(d=40, structure=None, fresh_modules=fresh, lean=lean)
        )
    )
    model.save_pretrained(tmp_path)
    base = norm_net()
    if fresh:  # which the base on disk has otherwise
        base[1].running_mean.fill_(9.0)
        nn.init.ones_(base[1].bias)
    again = PeftModel.from_pretrained(base, tmp_path).eval()
    assert torch.equal(again(ROWS), model(ROWS))
    assert torch.equal(again.merge_and_unload()(ROWS), model(ROWS))
    plain = model.unload()
    assert torch.equal(plain(ROWS), norm_net().eval()(ROWS)) and torch.equal(
        plain[1].running_mean, torch.zeros(16)
    )


def test_statistics_of_fresh_modules_are_saved_before_they_move():
    kept = get_peft_model(
        norm_net(), idim.SubspaceConfig(d=40, structure=None, fresh_modules=["1"])
    ).base_model.held.sub.state_dict()
    assert {
        "buffer_1__running_mean",
        "buffer_1__running_var",
        "buffer_1__num_batches_tracked",
    } < set(kept)


@pytest.mark.parametrize("loads_frozen", [False, True])
def test_what_its_owner_froze_is_noted_and_frozen_where_the_adapter_is_loaded(
    tiny_bert, tmp_path, loads_frozen
):
    model = base(tiny_bert)
    model.bert.embeddings.requires_grad_(False)
    model.classifier.bias.requires_grad_(False)
    required = [p.requires_grad for p in model.parameters()]
    wrapped = get_peft_model(model, idim.SubspaceConfig(d=60, task_type=TaskType.SEQ_CLS))
    train(wrapped, 3)
    wrapped.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["frozen"] == ["bert.embeddings", "classifier.bias"]
    assert config["D"] == sum(
        p.numel() for p, r in zip(base(tiny_bert).parameters(), required, strict=True) if r
    )
    other = base(tiny_bert, head=3).requires_grad_(not loads_frozen)
    again = PeftModel.from_pretrained(other, tmp_path)
    assert torch.equal(logits(again), logits(wrapped))
    assert all(p.requires_grad != loads_frozen for p in again.unload().parameters())
    assert [p.requires_grad for p in wrapped.merge_and_unload().parameters()] == required
    with pytest.raises(IdimError, match="at least one weight with requires_grad=True"):
        get_peft_model(base(tiny_bert).requires_grad_(False), idim.SubspaceConfig(d=60))


def damaged(folder, **changes) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    for end, change in changes.items():
        for key in [key for key in tensors if key.endswith(end)]:
            if (x := change(tensors.pop(key))) is not None:
                tensors[key] = x
    save_file(tensors, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "part", ["theta", "scales", "fresh_classifier__weight", "fresh_classifier__bias"]
)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: None, "adapter: expected a file with {part}"),
        (lambda x: x * torch.nan, "adapter: expected finite numbers in {part}"),
        (lambda x: x[:-1].clone(), "adapter: expected {part} of shape"),
    ],
)
def test_a_damaged_adapter_is_refused(tiny_bert, tmp_path, part, change, says):
    trained(tiny_bert, 1).save_pretrained(tmp_path)
    damaged(tmp_path, **{part: change})
    with pytest.raises(IdimError, match=says.format(part=part)):
        PeftModel.from_pretrained(base(tiny_bert), tmp_path)


def test_another_base_model_is_called_that(tiny_bert, tmp_path):
    trained(tiny_bert, 1).save_pretrained(tmp_path)
    three = AutoModelForSequenceClassification.from_pretrained(
        tiny_bert, num_labels=3, ignore_mismatched_sizes=True
    )
    with pytest.raises(
        IdimError, match="num_labels: expected 2, as the adapter's base model had; got 3"
    ):
        PeftModel.from_pretrained(three, tmp_path)
    assert all(p.requires_grad for p in three.parameters()) and not three._forward_pre_hooks
    larger = base(tiny_bert)
    larger.resize_token_embeddings(20, mean_resizing=False)
    with pytest.raises(
        IdimError,
        match=r"base model: expected one of which the adapter moves .* weights, "
        "as where it was made",
    ):
        PeftModel.from_pretrained(larger, tmp_path)
    assert not larger._forward_pre_hooks


COPIED = {
    "itself": lambda m: m,
    "a deep copy": copy.deepcopy,
    "pickled": lambda m: pickle.loads(pickle.dumps(m)),
}


@pytest.mark.parametrize("way", COPIED)
def test_merged_weights_are_fresh_until_they_are_saved(tiny_bert, tmp_path, way):
    """An adapter on top of a merged model loads onto the model on disk, which was not merged."""
    merged = COPIED[way](trained(tiny_bert, 3, target_modules=["query"]).merge_and_unload())
    queries = {name for name, _ in merged.named_parameters() if ".query." in name}
    assert queries and models.fresh(merged) >= queries
    model = get_peft_model(merged, idim.SubspaceConfig(d=60, task_type=TaskType.SEQ_CLS))
    train(model, 3)
    model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(base(tiny_bert, head=3), tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert not models.fresh(base(tmp_path / "merged")) & queries


def test_what_did_not_move_is_not_fresh(tiny_bert):
    start = models.fresh(base(tiny_bert))
    for leave in ("merge_and_unload", "unload"):
        model = getattr(trained(tiny_bert, 0), leave)()
        assert models.fresh(model) == start, leave
    assert models.fresh(trained(tiny_bert, 2).unload()) == start


def test_an_adapter_says_how_it_is_loaded(tiny_bert, tmp_path):
    model = trained(tiny_bert, 1)
    for _ in range(2):
        model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert (
        card.startswith("---\n")
        and card.count("import idim\n") == 1
        and "pip install idim-lab" in card
        and "base_model: " + str(tiny_bert) in card
    )
    code = f"from peft import PeftConfig; PeftConfig.from_pretrained({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "run `import idim` first (pip install idim-lab)" in done.stderr.splitlines()[-1]
    assert (
        subprocess.run(
            [sys.executable, "-c", f"import idim; {code}"], capture_output=True, text=True
        ).returncode
        == 0
    )
    old = json.loads((tmp_path / "adapter_config.json").read_text()) | {
        "peft_type": "IDIM_SUBSPACE"
    }
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({k: v for k, v in old.items() if k not in ("frozen", "D", "num_labels")})
    )
    assert torch.equal(
        logits(PeftModel.from_pretrained(base(tiny_bert, head=2), tmp_path)), logits(model)
    ), "as they were written before"


def ways_into_a_model(folder, adapter) -> dict:
    from transformers import pipeline

    return {
        "load_adapter": lambda: base(folder).load_adapter(str(adapter)),
        "add_adapter": lambda: base(folder).add_adapter(idim.SubspaceConfig(d=60)),
        "pipeline": lambda: pipeline("text-classification", model=str(adapter)),
        "from_pretrained": lambda: AutoModelForSequenceClassification.from_pretrained(adapter),
    }


@pytest.mark.parametrize("way", ways_into_a_model(None, None))
def test_what_puts_adapters_into_a_model_says_what_does_it_instead(tiny_bert, tmp_path, way):
    trained(tiny_bert, 1).save_pretrained(tmp_path)
    try:
        with pytest.raises(
            IdimError, match=r"adapter: expected PeftModel.from_pretrained\(model, folder\)"
        ):
            ways_into_a_model(tiny_bert, tmp_path)[way]()
    except ValueError as error:
        if "version of PEFT" not in str(error):
            raise
        pytest.skip("this transformers refuses this peft before it asks idim")


# The command.


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("trained")
    rows = "".join(
        f"the {'very ' * (i % 3)}{'good' if i % 2 else 'bad'} film,{i % 2}\n" for i in range(200)
    )
    (folder / "reviews.csv").write_text("text,label\n" + rows)
    words = [
        "train",
        "--model",
        tiny_bert,
        "--task",
        folder / "reviews.csv",
        "--arm",
        "said",
        "--d",
        300,
        "--max-steps",
        120,
        "--learning-rate",
        0.003,
        "--out",
        folder / "out",
        "--save",
        folder / "adapter",
    ]
    code, _stdout, stderr = command(*words)
    assert code == 0, stderr
    return folder


def test_train_saves_and_export_scores_the_same(adapter, tmp_path):
    (record,) = [json.loads(p.read_text()) for p in (adapter / "out" / "runs").iterdir()]
    task = ["--task", adapter / "reviews.csv"]
    code, stdout, _ = command("export", adapter / "adapter", "--merged", tmp_path / "plain", *task)
    assert code == 0 and f"accuracy of the subspace: {record['train_info']['score']:.4f}" in stdout
    assert f"accuracy of the merged: {record['train_info']['score']:.4f}" in stdout
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").num_labels == 2
    code, stdout, _ = command(
        "export", adapter / "adapter", "--lora", tmp_path / "lora", "--energy", 0.9, *task
    )
    assert (
        code == 0
        and "idim sweep" in stdout
        and "accuracy of the LoRA" in stdout
        and "bert.encoder.layer.0.attention.self.query" in stdout
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["nosuch", "--merged", "x"],
            "adapter: expected a folder with adapter_config.json; got 'nosuch'",
        ),
        ([], "--merged, --lora: expected one of them; got neither"),
        (["--merged", "x", "--lora", "y"], "got both"),
        (["--lora", "x", "--energy", "0"], "energy: expected a share above 0"),
        (["--lora", "x", "--rank", "-1"], "rank: expected"),
        (["--lora", "x", "--rank", "0"], "--rank: expected a whole number of at least 1"),
        (["--lora", "x", "--rank", "17"], "rank: expected at most 16, the largest rank of a layer"),
        (
            ["--lora", "x", "--rank", "2", "--energy", "0.5"],
            "--energy: expected one of them; got b",
        ),
        (["--merged", "x", "--rank", "2"], "--rank: expected --lora beside it"),
        (["--merged", "x", "--energy", "0.5"], "--energy: expected --lora beside it"),
    ],
)
def test_mistakes_of_export(adapter, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    if not words or words[0] != "nosuch":
        words = [adapter / "adapter", *words]
    code, out, err = command("export", *words)
    assert (code, out) == (2, "") and says in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_net_cannot_be_saved(tmp_path):
    code, _, err = command(
        "train",
        "--model",
        "mlp:64-16-10",
        "--task",
        "digits",
        "--arm",
        "did",
        "--d",
        20,
        "--out",
        tmp_path / "o",
        "--save",
        tmp_path / "s",
    )
    assert (
        code == 2
        and "--save: expected a transformers model" in err
        and not (tmp_path / "o").exists()
    )
