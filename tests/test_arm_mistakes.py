"""What a user may mistake of an arm: one line, exit code 2, before any training."""

from __future__ import annotations

import pytest
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

from idim import arms
from idim.cli import app
from idim.config import Config
from idim.errors import IdimError

MODEL = ("--model", "mlp:64-16-10", "--task", "digits", "--max-steps", "2")
SIZED = [arm.name for arm in arms.ARMS.values() if arm.size]
FLAGS = ("d", "rank", "size")


def line(*words) -> str:
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == 2, (result.exit_code, result.output)
    assert result.stdout == "" and len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize("arm", SIZED)
@pytest.mark.parametrize("size", [0, 10**9])
def test_a_size_out_of_range(arm, size, tmp_path):
    flag = arms.ARMS[arm].size.flag
    said = line("train", *MODEL, "--arm", arm, f"--{flag}", size, "--out", tmp_path / "out")
    assert f"--{flag}: expected a number from " in said and f"got {size}" in said
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("arm", SIZED)
def test_sizes_of_a_search_out_of_range(arm, tmp_path):
    several = arms.ARMS[arm].size.several
    said = line("search", *MODEL, "--arm", arm, f"--{several}", 10**9, "--out", tmp_path / "out")
    assert f"--{several}: expected values of {arms.ARMS[arm].size.letter} from " in said


@pytest.mark.parametrize("arm", arms.ARMS)
def test_a_size_that_is_not_the_arms(arm, tmp_path):
    size = arms.ARMS[arm].size
    for flag in FLAGS:
        if size is None or flag != size.flag:
            said = line("train", *MODEL, "--arm", arm, f"--{flag}", 3, "--out", tmp_path)
            what = f"whose size is --{size.flag}" if size else "which has no size"
            assert f"--{flag}: expected none with {arm}, {what}; got 3" in said


def test_full_fine_tuning_is_held_against_nothing(tmp_path):
    assert "--arm: expected one of" in line("search", *MODEL, "--arm", "full", "--out", tmp_path)


@pytest.mark.parametrize("arm", [arm for arm in arms.measured() if arms.ARMS[arm].size is None])
def test_sizes_of_an_arm_without_a_size(arm, tmp_path):
    said = line("search", *MODEL, "--arm", arm, "--sizes", "1,2", "--out", tmp_path)
    assert f"--sizes: expected none with {arm}, which has no size; got" in said


def test_an_unknown_target(tmp_path):
    words = ("--arm", "lora", "--rank", 2, "--targets", "nosuch", "--out", tmp_path)
    assert "targets: expected names of modules that LoRA can adapt" in line("train", *MODEL, *words)


def test_a_method_that_the_model_cannot_carry(tmp_path, tiny_bert, reviews):
    text = ("--model", tiny_bert, "--task", reviews, "--max-steps", 2, "--out", tmp_path / "out")
    for arm, size in (("prefixtuning", 3), ("llamaadapter", 3)):
        said = line("train", *text, "--arm", arm, "--size", size)
        assert said.startswith("idim: model: expected ") and "got 'Bert" in said
    said = line("search", *MODEL, "--arm", "prompttuning", "--out", tmp_path / "out")
    assert "a transformers model for text" in said


def test_tokens_that_leave_no_room_for_the_text(tmp_path, tiny_bert, reviews):
    text = ("--model", tiny_bert, "--task", reviews, "--max-steps", 2, "--out", tmp_path / "out")
    said = line("train", *text, "--arm", "prompttuning", "--size", 200)
    assert "--model: expected one that takes the inputs of" in said and "with prompttuning" in said


def test_a_kind_of_model_without_a_head(tmp_path):
    model = BertForSequenceClassification(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    assert arms.heads(model) == ["classifier"]


def test_two_rules_for_alpha_are_refused_at_the_door():
    with pytest.raises(IdimError, match="--lora-alpha: expected none with --alpha-twice-rank"):
        Config("mlp:64-10", "digits", arm="lora", lora_alpha=8, alpha_twice_rank=True)
