"""In-context learning: the same as a text that begins with the examples, and no training."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from doors import search, train_one
from words import WORDS

from idim import arms, models, tasks
from idim.config import Config
from idim.errors import IdimError
from idim.values.options import Options


def task_of(folders, counting, metric="token_accuracy"):
    return tasks.load(str(counting), models.reader(str(folders["decoder"])), Options(metric=metric))


def test_examples_are_drawn_from_the_training_split_and_anew_for_each_seed(folders, counting):
    task = task_of(folders, counting)
    texts = set()
    for seed in range(6):
        shots = task.shots(3, seed)
        assert shots == task.shots(3, seed)
        assert shots.at == 1  # after <s>
        lines = " ".join(WORDS[i] for i in shots.tokens).split("</s>")[:-1]
        assert len(lines) == 3
        for line in lines:
            before, _, after = line.partition(" ? ")
            first, second = (WORDS.index(before.split()[k]) for k in (0, -1))
            assert second == first + 1 and after.split() == [WORDS[first + 2]]
        assert len(shots.tokens) + 2 <= shots.most
        texts.add(shots.tokens)
    assert len(texts) == 6


@pytest.mark.parametrize("metric", ["loss", "token_accuracy", "exact_match"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_score_is_that_of_texts_that_begin_with_the_examples(folders, counting, metric, k):
    """Against the plain model on texts put together by hand, one by one."""
    task = task_of(folders, counting, metric)
    plain = models.load(str(folders["decoder"]), 0, 0, head="language").module.eval()
    shots = task.shots(k, 4)
    arm = arms.ARMS["icl"]
    adapted = arm.adapt(plain, arm.at(arm.told({}), k), 4)
    adapted.read(task)

    class ByHand(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            rows = []
            for ids, seen in zip(input_ids, attention_mask, strict=True):
                n = int(seen.sum())
                whole = torch.tensor([*ids[:1].tolist(), *shots.tokens, *ids[1:n].tolist()])
                logits = plain(input_ids=whole[None]).logits[0]
                own = torch.cat([logits[len(shots.tokens) :], logits[:1].expand(len(ids) - n, -1)])
                rows.append(own)
            return SimpleNamespace(logits=torch.stack(rows))

    with torch.no_grad():
        by_hand = ByHand()
        by_hand.weight = torch.nn.Parameter(torch.zeros(1))
        assert task.score(adapted.module.eval(), "measure") == pytest.approx(
            task.score(by_hand, "measure"), rel=1e-5
        )
        if metric == "loss":
            assert task.score(adapted.module, "measure") != task.score(plain, "measure")


def test_a_search_trains_nothing_and_tunes_no_rate(folders, counting, tmp_path):
    config = Config(
        str(folders["decoder"]),
        str(counting),
        arm="icl",
        design="grid",
        sizes=(1, 4),
        repeats=2,
        max_steps=60,
        batch_size=8,
        learning_rate=3e-3,
        out=str(tmp_path),
    )
    found = search(config)
    records = [json.loads(f.read_text()) for f in (tmp_path / "runs").glob("*.json")]
    mine = [r for r in records if r["run_info"]["config"]["arm"] == "icl"]
    assert len(mine) == 4 and {r["kind"] for r in mine} == {"search"}
    for record in mine:
        assert record["train_info"]["d_total"] == record["train_info"]["steps"] == 0
        assert record["train_info"]["score"] == record["train_info"]["untouched"]
    assert found.letter == "k"


def test_what_cannot_be_shown(folders, counting, tmp_path):
    asked = {"arm": "icl", "out": str(tmp_path)}
    decoder, bart = str(folders["decoder"]), str(folders["bart"])
    with pytest.raises(IdimError, match="model: expected a decoder that continues a text"):
        train_one(Config(bart, str(counting), size=1, **asked))
    with pytest.raises(IdimError, match="model: expected a decoder that continues a text"):
        train_one(Config("mlp:64-32-10", "digits", size=1, **asked))
    with pytest.raises(IdimError, match="from 1 to 64"):
        train_one(Config(decoder, str(counting), size=65, **asked))
    (tmp_path / "few.jsonl").write_text("\n".join(counting.read_text().splitlines()[:12]))
    with pytest.raises(
        IdimError, match=r"shots: expected at most the .* training examples; got 30"
    ):
        train_one(Config(decoder, str(tmp_path / "few.jsonl"), size=30, **asked))
    from transformers import AutoConfig

    small = AutoConfig.from_pretrained(decoder)
    model = models.load(decoder, 0, 0, head="language").module
    small.max_position_embeddings = model.config.max_position_embeddings = 40
    arm = arms.ARMS["icl"]
    adapted = arm.adapt(model, arm.at(arm.told({}), 8), 0)
    with pytest.raises(IdimError, match="at most 40 tokens, as the model has places for"):
        adapted.read(task_of(folders, counting))
