"""Every arm on an encoder that classifies, a decoder and an encoder-decoder, tiny and random.

Each trains, saves and loads in another process, merges where it can, and counts its numbers; or
says why it cannot carry that kind of model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from idim import arms
from idim.arms.peft import Peft
from idim.errors import IdimError
from idim.values.arm import ModelFacts

KINDS = ("encoder", "decoder", "encoder-decoder")
SIZES = {
    "d": 60,
    "rank": 2,
    "layers": 1,
    "tokens": 3,
    "bottleneck": 2,
    "frequencies": 40,
    "bases": 2,
    "length": 32,
    "shots": 1,
}
TOLD = {"projection": "orthonormal", "scope": "global", "structure": "layer"}
_NO_HEAD, _NO_BIAS = "output layers or fresh weights", "biases outside its head"
#: What an arm cannot carry, and a part of what it says.
REFUSED = {
    ("head", "decoder"): _NO_HEAD,
    ("head", "encoder-decoder"): _NO_HEAD,
    ("bitfit", "decoder"): _NO_BIAS,
    ("bitfit", "encoder-decoder"): _NO_BIAS,
    ("prefixtuning", "encoder"): "take no keys and values",
    ("prefixmlp", "encoder"): "take no keys and values",
    ("llamaadapter", "encoder"): "a decoder",
    ("llamaadapter", "encoder-decoder"): "a decoder",
    ("longlora", "encoder"): "a decoder whose attention can be exchanged",
    ("longlora", "encoder-decoder"): "a decoder whose attention can be exchanged",
    ("icl", "encoder"): "a decoder that continues a text",
    ("icl", "encoder-decoder"): "a decoder that continues a text",
}
#: Arms whose first loss is not the model's: what they put before a text changes its outputs.
BEFORE_A_TEXT = ("prompttuning", "ptuning", "prefixtuning", "prefixmlp")
#: Multiples of an arm's default rate: at one of them its loss falls in 20 steps.
FACTORS = (1, 0.1, 10, 100)
CASES = [(arm, kind) for arm in arms.ARMS for kind in KINDS]


def model(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "encoder":
            config = BertConfig(
                vocab_size=60,
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                num_labels=3,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
            return BertForSequenceClassification(config)
        if kind == "decoder":
            config = LlamaConfig(
                vocab_size=60,
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                intermediate_size=64,
            )
            return LlamaForCausalLM(config)
        config = T5Config(
            vocab_size=60,
            d_model=64,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            d_kv=16,
            decoder_start_token_id=0,
            dropout_rate=0.0,
        )
        return T5ForConditionalGeneration(config)


_DRAW = torch.Generator().manual_seed(1)
IDS = torch.randint(1, 60, (6, 7), generator=_DRAW)
LABELS = torch.randint(0, 3, (6,), generator=_DRAW)


def outputs(module: nn.Module, kind: str) -> torch.Tensor:
    labels = {"labels": IDS} if kind == "encoder-decoder" else {}
    return module(input_ids=IDS, attention_mask=torch.ones_like(IDS), **labels).logits


def loss(module: nn.Module, kind: str) -> torch.Tensor:
    logits = outputs(module, kind)
    if kind == "encoder":
        return F.cross_entropy(logits, LABELS)
    if kind == "decoder":
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    return F.cross_entropy(logits.flatten(0, 1), IDS.flatten())


def build(name: str, kind: str):
    arm = arms.ARMS[name]
    told = arm.told(TOLD)
    if arm.size:
        told = arm.at(told, SIZES[arm.size.name])
    made = model(kind)
    return arm, told, made, arm.adapt(made, told, 7)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What each arm saved, and what it gave: one other process loads them all, at the end."""
    return tmp_path_factory.mktemp("matrix"), {}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_arm_trains_saves_and_counts_or_says_why_not(name, kind, saved):
    if (why := REFUSED.get((name, kind))) is not None:
        with pytest.raises(IdimError, match=rf"^model: expected .*{why}.*; got '\w+'$"):
            build(name, kind)
        return
    with torch.no_grad():
        before = outputs(model(kind).eval(), kind)
    arm, told, made, adapted = build(name, kind)
    module = adapted.module
    if name not in (*BEFORE_A_TEXT, "qlora"):
        tolerance = 0.05 if name == "unilora" else 1e-5
        with torch.no_grad():
            torch.testing.assert_close(outputs(module.eval(), kind), before, atol=tolerance, rtol=0)
    if arm.trainless:
        assert adapted.d_total == 0 and not adapted.groups and adapted.read
        return
    trained = [p for group in adapted.groups for p in group.params]
    assert adapted.d_total == sum(p.numel() for p in trained) > 0
    assert len({id(p) for p in trained}) == len(trained)
    if name not in ("did", "said"):  # whose weights ask for gradients and are not trained
        assert {id(p) for p in module.parameters() if p.requires_grad} == {id(p) for p in trained}
    rate = _rate(arm, told, made)
    for factor in FACTORS:
        if falls(adapted, kind, factor * rate):
            break
        arm, told, made, adapted = build(name, kind)
    else:
        pytest.fail(f"no rate near {rate:g} lowers the loss in 20 steps")
    module = adapted.module.eval()
    with torch.no_grad():
        given = outputs(module, kind)
    folder, all_given = saved
    if adapted.save is not None:
        path = folder / f"{name}-{kind}"
        adapted.save(str(path))
        all_given[name, kind] = given
    if isinstance(arm, Peft) and arm.merges:
        merged = module.merge_and_unload().eval().requires_grad_(False)
        torch.testing.assert_close(outputs(merged, kind), given, atol=2e-3, rtol=0)


def falls(adapted, kind: str, rate: float) -> bool:
    """Train three steps, then 17 more: whether the loss is lower then."""
    module = adapted.module.eval()
    with torch.no_grad():
        first = float(loss(module, kind))
    optimizer = torch.optim.Adam(
        [{"params": list(g.params), "lr": rate * g.rate_factor} for g in adapted.groups]
    )
    module.train()
    if adapted.begin:
        adapted.begin(20)
    for step in range(1, 21):
        now = loss(module, kind)
        assert torch.isfinite(now) or step > 3
        (now + adapted.penalty() if adapted.penalty else now).backward()
        optimizer.step()
        if adapted.after_step:
            adapted.after_step(step)
        optimizer.zero_grad()
    with torch.no_grad():
        return float(loss(module.eval(), kind)) < first - 0.005


def _rate(arm, told, made) -> float:
    D = sum(p.numel() for p in made.parameters())
    facts = ModelFacts(D=D, tensors=30, groups=4, width=64, depth=2, exponent=0.75)
    size = getattr(told, arm.size.name) if arm.size else 0
    return arm.rate(1e-3, size, facts, told)


_LOAD = """
import json, sys, torch, transformers
sys.path.insert(0, {tests!r})
import idim, peft
import test_arm_matrix as matrix

transformers.logging.set_verbosity_error()
for name, kind in json.loads({cases!r}):
    path = {folder!r} + f"/{{name}}-{{kind}}"
    base = matrix.model(kind)
    if name == "qlora":
        from idim import models
        from idim.tuners.four_bit import quantise
        from idim.arms.heads import heads

        inside = tuple(f"{{head}}." for head in heads(base))
        names = [n for n in models.linear(base) if not f"{{n}}.".startswith(inside)]
        quantise(base, names)
    if name in ("full", "head", "topk", "bitfit"):
        loaded = type(base).from_pretrained(path)
    else:
        loaded = peft.PeftModel.from_pretrained(base, path)
    with torch.no_grad():
        out = matrix.outputs(loaded.eval(), kind)
    torch.save(out, path + ".pt")
"""


def test_another_process_loads_what_was_saved(saved):
    folder, given = saved
    if not given:
        pytest.skip("needs what the tests before it saved")
    assert len(given) > 60
    code = _LOAD.format(
        tests=str(Path(__file__).parent), cases=json.dumps(list(given)), folder=str(folder)
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for (name, kind), expected in given.items():
        out = torch.load(folder / f"{name}-{kind}.pt")
        # A decoder's logits may begin with the prompt's.
        out = out[:, out.shape[1] - expected.shape[1] :] if out.dim() > 2 else out
        torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-4, msg=f"{name}, {kind}")
