"""`idim export` of adapters that are not whole: one line, exit code 2, and nothing written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

import idim
from idim import models
from idim.cli import app
from idim.report.tables import export_text


def command(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_bert) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "a"
    model = get_peft_model(
        BertForSequenceClassification.from_pretrained(tiny_bert),
        idim.SubspaceConfig(d=60, task_type=TaskType.SEQ_CLS),
    )
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def mine(adapter, tmp_path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "a"))


def refused(adapter: Path, says: str, *more) -> None:
    out = adapter.parent / "written"
    for form in ("--merged", "--lora"):
        code, stdout, stderr = command("export", adapter, form, out, *more)
        lines = [line for line in stderr.strip().splitlines() if line.startswith("idim: ")]
        assert (code, stdout) == (2, "") and len(lines) == 1 and says in lines[0], stderr
        assert "Traceback" not in stderr and not out.exists()


def test_a_whole_adapter_is_exported(mine):
    for form in ("--merged", "--lora"):
        code, stdout, stderr = command("export", mine, form, mine.parent / form)
        assert code == 0 and stdout.startswith("wrote "), stderr


def keys(adapter: Path) -> list[str]:
    return sorted(load_file(adapter / "adapter_model.safetensors"))


CHANGES = {
    "missing": lambda x: None,
    "NaN": lambda x: x * float("nan"),
    "infinite": lambda x: x + float("inf"),
    "of another size": lambda x: torch.zeros(*x.shape, 3),
    "empty": lambda x: x.new_zeros(0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_adapter_without_any_one_of_its_tensors_is_refused(mine, change):
    path = mine / "adapter_model.safetensors"
    whole = load_file(path)
    assert {key.rpartition(".")[2] for key in whole} >= {
        "theta",
        "scales",
        "fresh_classifier__weight",
        "fresh_classifier__bias",
    }
    for key in keys(mine):
        new = CHANGES[change](whole[key])
        save_file(
            {k: v for k, v in whole.items() if k != key} | ({} if new is None else {key: new}), path
        )
        refused(mine, "finite numbers" if change in ("NaN", "infinite") else "expected")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:100],
        lambda raw: raw[:-8],
        lambda raw: b"",
        lambda raw: bytes(1000),
        lambda raw: b"\xff" * 8 + raw[8:],
        lambda raw: b"{}" + raw,
    ],
    ids=["cut in its head", "cut at its end", "empty", "zeros", "a head of 2^64 bytes", "shifted"],
)
def test_a_file_of_weights_that_is_none_is_refused(mine, spoil):
    path = mine / "adapter_model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    refused(mine, "a readable safetensors file")
    path.unlink()
    refused(mine, "a folder with adapter_model.safetensors")


@pytest.mark.parametrize("part", ["theta", "scales", "fresh_classifier__weight"])
def test_a_missing_tensor_is_called_by_its_name(mine, part):
    path = mine / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if not k.endswith(part)}, path)
    refused(mine, f"adapter: expected a file with {part}; got 'one with ")


def test_tensors_that_nobody_asked_for_are_refused(mine):
    path = mine / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.x": torch.ones(1)}, path)
    refused(mine, "unknown: base_model.x")


FIELDS = [
    "d",
    "projection",
    "structure",
    "scope",
    "projection_seed",
    "target_modules",
    "fresh_modules",
    "lean",
    "projection_checksum",
    "peft_type",
    "base_model_name_or_path",
]
WRONG = [-1, 10**30, 1.5, True, "nosuch", [1], {"a": 1}]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_configuration_that_cannot_be_is_refused(mine, field):
    path = mine / "adapter_config.json"
    whole = json.loads(path.read_text())
    for wrong in WRONG:
        if (field, wrong) in (("projection_seed", -1), ("lean", True)):
            continue
        path.write_text(json.dumps(whole | {field: wrong}))
        refused(mine, "expected")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"peft_type": "LORA"}',
        b'{"peft_type": "NOSUCH"}',
        b"{}",
    ],
)
def test_a_configuration_that_is_none_is_refused(mine, raw):
    (mine / "adapter_config.json").write_bytes(raw)
    refused(mine, "expected")


def test_a_base_model_of_another_size_is_called_that(mine, tiny_bert, tmp_path):
    other = tmp_path / "other"
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(other)
    BertForSequenceClassification(
        BertConfig(
            vocab_size=13,
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        )
    ).save_pretrained(other)
    # An adapter that notes no D; one that does is refused as it is loaded.
    path = mine / "adapter_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "D"}))
    D = sum(p.numel() for p in BertForSequenceClassification.from_pretrained(other).parameters())
    refused(mine, f"{other} with D = {D:,}: D differs", "--base", other)
    refused(mine, "--base: expected a transformers model", "--base", "toy")


@pytest.mark.parametrize("form", ["--merged", "--lora"])
def test_a_folder_that_cannot_be_written(mine, form):
    (mine.parent / "file").write_text("")
    for where in ("/proc/nosuch/x", mine.parent / "file" / "x"):
        code, stdout, stderr = command("export", mine, form, where)
        assert (code, stdout) == (2, "") and f"idim: {form}: expected a folder" in stderr


def test_no_rank_is_named_as_an_answer_and_growth_is_said(mine):
    code, stdout, _ = command("export", mine, "--lora", mine.parent / "lora")
    assert (
        code == 0
        and "rank needed" not in stdout
        and "idim sweep" in stdout
        and "bytes as LoRA" in stdout
        and "warning" not in stdout
    )
    layers = [{"name": "x", "shape": (2, 2), "rank": 2, "full": 2, "kept": 1.0}]
    text = export_text("f", layers, {}, None, (85_000, 84_800_000))
    assert "warning: the adapter grows 998 times" in text
    assert "warning: the adapter grows 100 times" in export_text("f", layers, {}, None, (1, 100))
    assert "warning" not in export_text("f", layers, {}, None, (85_000, 8_400_000))


NAMES = [("no", "yes"), ("yes", "no"), ("a", "b")]


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("names", NAMES)
def test_what_is_exported_says_what_its_classes_are_called(
    mine, tiny_bert, tmp_path, names, scored
):
    """In the task's order where a task is given, else in the order that the adapter notes."""
    noted = BertForSequenceClassification.from_pretrained(tiny_bert)
    noted.config.id2label = dict(enumerate(names))
    models.save_labels(noted, mine)
    told, more = names, ()
    if scored:
        rows = [
            f"the {w} film {i},{'bar' if w == 'bad' else 'foo'}"
            for i in range(20)
            for w in ("good", "bad")
        ]
        (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]))
        told, more = ("bar", "foo"), ("--task", tmp_path / "t.csv")
    for form in ("--merged", "--lora"):
        code, _, stderr = command("export", mine, form, mine.parent / form, *more)
        assert code == 0, stderr
    config = json.loads((mine.parent / "--merged" / "config.json").read_text())
    assert config["id2label"] == {str(i): name for i, name in enumerate(told)}
    assert config["label2id"] == {name: i for i, name in enumerate(told)}
    assert models.saved_labels(mine.parent / "--lora") == told
    assert models.labels(str(mine.parent / "--merged")) == {name: i for i, name in enumerate(told)}


def test_an_adapter_that_notes_no_names_keeps_its_number_of_classes(mine):
    assert command("export", mine, "--merged", mine.parent / "m")[0] == 0
    plain = BertForSequenceClassification.from_pretrained(mine.parent / "m")
    assert plain.num_labels == plain.classifier.out_features == 2
