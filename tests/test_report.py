"""The page, the figures and the tables of a store: what they show, and that they show all of it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from idim.answers import summary
from idim.answers.evidence import size_of
from idim.answers.frontier import places
from idim.answers.published import read
from idim.arms import ARMS
from idim.cli import app
from idim.errors import IdimError
from idim.made import Made
from idim.report import forms, page
from idim.report.drawer import studies
from idim.report.figures.catalogue import Drawing, of_study, overview
from idim.report.figures.trained import reached
from idim.report.layout import layout_frame
from idim.report.paper import write_paper
from idim.report.style import FORMS, look, style
from idim.store import Store
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.spec import digest
from idim.values.summary import Summary
from idim.values.sweep_summary import SweepSummary
from idim.values.training import Status

RESULTS = Path(__file__).resolve().parent.parent / "results"
VOID = {"meta", "br", "link", "img", "hr"}


def copied(name: str, folder: Path) -> Store:
    for part in ("runs", "searches"):
        shutil.copytree(RESULTS / name / part, folder / part)
    return Store(folder, create=False)


def idim(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A store with three arms on two tasks, and its page."""
    store = copied("minilm-glue", tmp_path_factory.mktemp("reported"))
    code, _, _ = idim("report", store.root, "--html", store.root / "page.html")
    assert code == 0
    return store, (store.root / "page.html").read_text()


class Tags(HTMLParser):
    """Checks that tags close in order, and keeps attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_the_network(reported):
    store, text = reported
    tags = Tags(text).seen
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags
    assert "prefers-color-scheme:dark" in text and "@media print" in text
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        assert tag not in ("script", "iframe", "object", "embed") and "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href"):
            target = attributes.get(name, "#")
            if target.startswith("data:image/png;base64,"):
                continue
            assert target[1:] in ids or target == "#" or (store.root / target).is_file()
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    assert len(text) < 5e6


def test_the_page_tells_all_that_the_store_knows(reported):
    store, text = reported
    for record in store.all():
        assert f'href="runs/{record.key}.json"' in text
    for found in summary.derive(store):
        assert found.id in text and f">{found.verdict}<" in text
        assert all(line in text for line in found.to_json().get("left_out", ()))
    pictures = [a for tag, a in Tags(text).seen if tag == "svg"]
    assert len(pictures) >= 16 and all(len(a["aria-label"]) > 60 for a in pictures)
    hovered = set(re.findall(r"<title>[^<]*record (\w+)", text))
    drawn = {r.key for r in store.all() if r.kind in ("search", "sweep") and r.score is not None}
    assert drawn <= hovered


def test_what_did_not_change_is_not_made_again(reported, monkeypatch):
    store, text = reported
    files = {p: p.stat().st_mtime_ns for p in store.root.rglob("*.*") if p.name != "made.json"}
    monkeypatch.setattr(summary, "summarise", None)
    for form in FORMS:
        monkeypatch.setitem(FORMS, form, None)
    assert idim("report", store.root, "--html", store.root / "page.html")[0] == 0
    assert (store.root / "page.html").read_text() == text
    again = {p: p.stat().st_mtime_ns for p in files}
    assert {p for p in files if files[p] != again[p]} == {store.root / "page.html"}


def test_what_changed_is_made_again(tmp_path):
    store = copied("quick", tmp_path)
    assert idim("report", tmp_path)[0] == 0
    (kept,), (picture,) = ([*(tmp_path / f).glob("*-*.*")] for f in ("summaries", "figures"))
    before = kept.read_bytes(), picture.read_bytes()
    for path in (kept, picture):  # by hand
        path.write_bytes(b"{}")
        assert idim("report", tmp_path)[0] == 0
        assert (kept.read_bytes(), picture.read_bytes()) == before
    (question,) = store.questions()
    store.put_question(dataclasses.replace(question, keys=question.keys[:-1]))
    assert idim("report", tmp_path)[0] == 0
    assert kept.read_bytes() != before[0] and picture.read_bytes() != before[1]


def test_a_store_with_markup_in_every_name_shows_it_as_text(tmp_path):
    evil = "</title><script>alert(1)</script>&'\""
    (tmp_path / "runs").mkdir()
    keys = {}
    for path in (RESULTS / "quick" / "runs").glob("*.json"):
        run = json.loads(path.read_text())
        run.pop("checksum", None)
        config = run["run_info"]["config"]
        config |= {"model": evil, "task": evil, "protocol": evil, "split": evil}
        run["train_info"] |= {"metric": evil, "warnings": [evil]}
        run["meta_info"] |= {"device": evil, "model_fingerprint": evil, "task_fingerprint": evil}
        run["run_info"] |= {"packages": {evil: evil}, "git_commit": evil, "python": evil}
        keys[run["key"]] = run["key"] = digest(config)
        Store(tmp_path).put(Record.from_json(run))
    (path,) = (RESULTS / "quick" / "searches").glob("*.json")
    asked = json.loads(path.read_text())
    asked |= dict.fromkeys(("model", "task", "protocol", "metric", "structure", "study"), evil)
    asked |= {"left_out": [evil], "keys": [keys[k] for k in asked["keys"]]}
    Store(tmp_path).put_question(Question.from_json(asked))
    assert idim("report", tmp_path, "--html", tmp_path / "page.html")[0] == 0
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text and text.count("&lt;script&gt;") > 20
    assert not {"script"} & {tag for tag, _ in Tags(text).seen}


def kept(name: str) -> tuple[list[Record], list[Summary]]:
    """The records of a kept store, and its summaries as they are kept."""
    store, found = Store(RESULTS / name, create=False), []
    for question in store.questions():
        value = json.loads((RESULTS / name / "summaries" / f"{question.id}.json").read_text())
        kind = SearchSummary if question.tuned is None else SweepSummary
        keys = frozenset(question.keys)
        found.append(dataclasses.replace(kind.from_json(value), keys=keys))
    return store.all(), found


@pytest.mark.parametrize("name", ["minilm-glue", "li2018", "trec6", "vision"])
def test_nothing_in_a_figure_lies_over_anything_else(name):
    """Labels of ticks keep apart, legends lie outside of the panels, and no text is cut off."""
    records, summaries = kept(name)
    drawings = overview(summaries)
    drawings += [d for group in studies(summaries) for d in of_study(records, group)]
    assert len(drawings) >= 4
    for drawing in drawings:
        lies_apart(drawing)


def lies_apart(drawing: Drawing) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with look():
        figure = drawing.make()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        assert figure.get_figwidth() == pytest.approx(3.4)
        whole = figure.bbox.padded(1)
        inside = [axes.get_window_extent(renderer) for axes in figure.axes]
        for legend in figure.legends:
            box = legend.get_window_extent(renderer)
            assert not any(box.overlaps(axes) for axes in inside)
            assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel() or figure.get_supylabel()
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                boxes = [
                    tick.label1.get_window_extent(renderer)
                    for tick in axis.get_major_ticks()
                    if tick.label1.get_visible()
                    and tick.label1.get_text()
                    and low <= tick.get_loc() <= high
                ]
                for i, one in enumerate(boxes):
                    assert not any(one.overlaps(other) for other in boxes[i + 1 :])
            for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label):
                box = text.get_window_extent(renderer)
                assert not text.get_text() or (box.x0 >= whole.x0 and box.x1 <= whole.x1)


def test_a_paper_gets_every_figure_and_table_in_every_form(tmp_path):
    store = copied("quick", tmp_path / "store")
    found = [*write_paper(store, summary.derive(store), tmp_path / "paper")]
    endings = {}
    for path in found:
        endings.setdefault(path.stem, set()).add(path.suffix[1:])
        assert path.stat().st_size > 50
    assert {frozenset(v) for v in endings.values()} == {frozenset(FORMS), frozenset(forms.FORMS)}
    again = {p: p.read_bytes() for p in found}
    assert [*write_paper(store, summary.derive(store), tmp_path / "paper")] == found
    assert all(p.read_bytes() == data for p, data in again.items())


NASTY = [
    "a & b",
    "50 %",
    "x_y^2",
    "[c]",
    "{d}",
    "#1",
    "$e$",
    "~",
    "\\f",
    "a|b",
    'q"r',
    "k, l",
    "ü × –",
]


@pytest.fixture(scope="module")
def nasty():
    return pd.DataFrame({"[name]_%": NASTY, "n": range(len(NASTY)), "x": [0.5] * len(NASTY)})


def test_a_table_of_latex_can_be_parsed_and_has_the_rules_of_booktabs(nasty):
    pylatexenc = pytest.importorskip("pylatexenc.latexwalker")
    text = forms.latex(nasty, "About 50 % of a_b & more")
    nodes, _, _ = pylatexenc.LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    (table,) = [n for n in nodes if n.isNodeType(pylatexenc.LatexEnvironmentNode)]
    assert table.environmentname == "table"
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.strip().split("\\\\\n") if line.strip()]
    assert len(rows) == len(nasty) and not any(r.lstrip().startswith("[") for r in rows)
    assert all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)
    assert not re.search(r"(?<!\\)[%$#]", body)


def test_a_table_of_csv_is_read_as_it_was(nasty):
    assert pd.read_csv(io.StringIO(forms.csv(nasty))).equals(nasty)


def test_a_table_of_markdown_has_as_many_cells_in_every_row(nasty):
    lines = forms.markdown(nasty).splitlines()
    assert len(lines) == len(nasty) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


PUBLISHED = {
    "source": "somebody, Table 1",
    "d90": {
        "BERT-Base": {"SAID": {"MRPC": 1608, "QQP": 8030}, "DID": {"MRPC": 1861, "QQP": 9295}},
        "RoBERTa-Base": {"SAID": {"MRPC": 896}, "DID": {"MRPC": 1000}},
    },
}


#: Models whose names contain that of another model.
OTHERS = (
    *("distilbert-base-uncased", "albert-base-v2", "xlm-roberta-base", "distilroberta-base"),
    *("camembert-base", "nlpaueb/legal-bert-base-uncased", "bert-base-multilingual-cased"),
    *("bert-base-v2", "roberta-base-openai-detector", "base", "bert"),
)


@pytest.mark.parametrize(
    ("model", "theirs"),
    [
        ("bert-base-uncased", "BERT-Base"),
        ("someone/BERT_base", "BERT-Base"),
        ("roberta-base", "RoBERTa-Base"),
        ("minilm", None),
        ("bert-large", None),
        *((name, None) for name in OTHERS),
    ],
)
def test_published_values_stand_beside_ours(tmp_path, model, theirs):
    path = tmp_path / "published.json"
    path.write_text(json.dumps(PUBLISHED))
    published = read(str(path))
    ours = [dataclasses.replace(s, model=model) for s in kept("minilm-glue")[1]]
    frame = layout_frame(ours, published).set_index("model")
    for arm in ("SAID", "DID"):
        value = PUBLISHED["d90"].get(theirs, {}).get(arm, {}).get("MRPC")
        assert frame.loc[model, f"{arm} d90, mrpc, published"] == (f"{value}" if value else "–")
        assert "[" in frame.loc[model, f"{arm} d90, mrpc"]
        for name, methods in PUBLISHED["d90"].items():
            row = frame.loc[f"{name} (published)"]
            assert row[f"{arm} d90, mrpc, published"] == f"{methods[arm]['MRPC']}"
            assert row[f"{arm} d90, mrpc"] == "–"
    assert not any("LoRA" in name and "published" in name for name in frame)
    assert layout_frame(ours).columns.tolist() == [
        name for name in layout_frame(ours, published) if "published" not in name
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"d90": {"a": 1}}', '{"d90": {"a": {"b": {"c": "x"}}}}']
)
def test_a_file_of_another_form_is_refused_before_any_work(tmp_path, text):
    path = tmp_path / "published.json"
    path.write_text(text)
    with pytest.raises(IdimError, match="--published: expected JSON with"):
        read(str(path))
    code, _, stderr = idim("report", RESULTS / "quick", "--published", path)
    assert code == 2 and len(stderr.strip().splitlines()) == 1


def test_a_page_with_published_values_names_their_source(tmp_path):
    store = copied("quick", tmp_path)
    path = tmp_path / "published.json"
    path.write_text(json.dumps(PUBLISHED))
    text = page.page(
        store, summary.derive(store), tmp_path, made=Made(store), published=read(str(path))
    )
    assert "somebody, Table 1" in text


def test_the_spectrum_on_the_page_is_that_of_the_projection_of_a_run(tmp_path):
    import torch

    import projections
    from idim.report.figures.marked import nearest
    from idim.spectra import eigenvalues

    words = ["--model", "mlp:64-8-10", "--task", "digits", "--max-steps", 10, "--arm", "did"]
    words += ["--learning-rate", 0.01, "--quick", "--grid", "20,80", "--out", tmp_path / "o"]
    assert idim("search", *words)[0] in (0, 3)
    store = Store(tmp_path / "o", create=False)
    (found,) = summary.derive(store)
    run = nearest(store.all(), found)
    values, said = eigenvalues(run), run.training.adaptation["projection"]
    p = projections.make(said["family"], said["D"], said["d"], seed=said["seed"])
    matrix = p.as_matrix().double()
    assert values == pytest.approx(torch.linalg.eigvalsh(matrix.T @ matrix).tolist(), abs=1e-4)
    code, _, _ = idim("report", store.root, "--html", tmp_path / "page.html", "--spectra")
    text = (tmp_path / "page.html").read_text()
    assert code == 0 and f"{values[0]:.4f} to {values[-1]:.4f}" in text and "Spectrum of" in text


def test_no_two_arms_look_alike():
    """In the figure of all arms a colour and a marker name one of them."""
    looks = [style(arm) for arm in ARMS]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("failed", [0, 1, 2])
def test_failed_runs_count_alike_in_the_summary_and_in_every_figure(failed):
    """They score chance. One that failed before it counted its numbers has its size's place."""
    store = Store(RESULTS / "trec6", create=False)
    question = next(q for q in store.questions() if q.arm == "lora")
    mine, records, lost = question.of(store.all()), [], failed
    for r in mine:
        if lost and r.kind == "search" and size_of(r) == 4:
            training = dataclasses.replace(r.training, score=None, d_total=0)
            r, lost = dataclasses.replace(r, status=Status.DIVERGED, training=training), lost - 1
        records.append(r)
    found = summary.summarise(records, question)
    told = {t.size: (pytest.approx(t.mean), t.n) for t in found.curve}
    drawn = sorted((row.trained, row.mean, row.n) for row in reached(records, [found]))
    assert {size: row[1:] for size, row in zip(sorted(told), drawn, strict=True)} == told
    assert {p.size: (p.mean, p.n) for p in places(records, [question])} == told
    assert [row[0] for row in drawn] == [p.trained for p in places(records, [question])]
