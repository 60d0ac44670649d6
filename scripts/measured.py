"""Tables, sentences and figures of measured numbers, each from the records in ``results/``."""

from __future__ import annotations

import json
import math
import re
import textwrap
from pathlib import Path
from statistics import fmean
from typing import Any

import check_recommendation
import compare_tasks
from compare_dylora import error

from idim.answers.ratio import ratio
from idim.answers.summary import summarise
from idim.report.tables import summary_text
from idim.report.words import answer_text, ratio_text
from idim.store import Store
from idim.values.findings import Crossing
from idim.values.search_summary import SearchSummary
from idim.values.summary import asked_name

RESULTS = Path(__file__).resolve().parent.parent / "results"
_WIDE = 100
#: What holds in each world of the simulation study.
_WORLDS = {
    "logistic-0.3": "a flat curve, 0.3 an octave",
    "logistic-0.5": "0.5 an octave",
    "logistic-0.7": "0.7, the middle of published curves",
    "logistic-1": "1 an octave",
    "logistic-1.5": "a steep curve",
    "weibull": "another shape",
    "gompertz": "another shape",
    "dip": "a dip of two sigma an octave above d90",
    "failures": "5 % failed runs",
    "noise-grows": "noise that grows with d",
    "heavy-tails": "Student's t with 1.5 degrees",
    "projection-0.1": "a run's P moves its curve by 0.1 octaves",
    "projection-0.2": "by 0.2",
    "projection-0.4": "by 0.4",
    "chance-too-high": "chance believed 0.3, is 0.11",
    "chance-too-low": "chance believed 0.11, is 0.3",
    "edge-low": "d90 at the smallest d",
    "edge-high": "d90 at the largest d",
    "mrpc-like": "guessing 0.684, full 0.78, noise 0.012",
    "unit-100": "scores in percent",
    "unit-0.01": "scores times 0.01",
    "mrpc-like-percent": "`mrpc-like` in percent",
    "step-2.5": "a step, 2.5 an octave",
    "step-5": "5 an octave",
    "step-10": "10 an octave",
    "step-inf": "all at once",
    "saturates-0.85": "ends at 0.85 of the gain: no d90",
    "saturates-0.88": "at 0.88: no d90",
    "saturates-0.89": "at 0.89: no d90",
    "saturates-0.92": "at 0.92",
    "baselines-2": "two full runs",
    "baselines-3": "three",
    "mrpc-like-3": "`mrpc-like`, three full runs",
    "examples-100": "100 evaluation examples",
    "examples-300": "300",
    "examples-1000": "1,000",
    "power-0.5": "a power law",
    "power-1": "a steeper one",
    "bump": "a bump of two sigma an octave below d90",
    "noise-falls": "noise that falls with d",
    "rate-fails-small": "rates that fail 1.5 octaves below d90",
    "rate-fails-large": "rates that fail 1.5 octaves above d90",
    **{f"integer-{d}": f"d90 = {d}, whole numbers to 384" for d in (1, 2, 3, 5, 8, 60)},
    "replay": "searches on the table of real runs",
}


def _json(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def _table(head: str, rows: list[list[str]]) -> str:
    rule = "|---" * (head.count("|") - 1) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(cells) + " |" for cells in rows)])


def _summaries(store: str) -> list[dict[str, Any]]:
    found = [json.loads(p.read_text()) for p in (RESULTS / store / "summaries").glob("*.json")]
    return sorted(found, key=lambda s: (s["task"], s["arm"], s["id"]))


def _figure(up: str, about: str, store: str, summary: dict[str, Any]) -> str:
    (path,) = (RESULTS / store / "figures").glob(f"*-{summary['id']}.png")
    return f"![{about}]({up}results/{store}/figures/{path.name})"


def _crossing(found: dict[str, Any] | None) -> str:
    return answer_text(Crossing(**found) if found else None)


def _range(found: dict[str, Any]) -> str:
    return f"{found['estimate']:,.0f} [{found['low']:,.0f}, {found['high']:,.0f}]"


# The quick search.


def quick(up: str) -> str:
    """What the quick search printed, with its long lines folded."""
    (summary,) = _summaries("quick")
    lines = []
    for line in summary_text(SearchSummary.from_json(summary)).splitlines():
        lines += (
            textwrap.wrap(line, _WIDE, subsequent_indent="    ") if len(line) > _WIDE else [line]
        )
    return "\n".join(["```text", *lines, "```"])


def quick_figure(up: str) -> str:
    """Its figure."""
    (summary,) = _summaries("quick")
    return _figure(up, "score against d, with d90", "quick", summary)


# All kept searches and sweeps.

_NAMES = {
    "idx": "MNIST",
    "mnist-fc": "FC",
    "mnist-lenet": "LeNet",
    "minilm": "MiniLM",
    "trec6": "TREC-6",
}


def answers(up: str) -> str:
    """One row for each kept search and sweep. The front page shows one master seed of each."""
    rows: list[list[str]] = []
    shown = set()
    # Single runs at rates of an earlier protocol are no news for the front page.
    older = ("minilm-glue",) if up else ()
    for store in ("vision", "fashion", "li2018", "quick", "trec6", *older):
        for s in _summaries(store):
            task = "Fashion-MNIST" if store == "fashion" else _NAMES.get(s["task"], s["task"])
            if not up and (s["model"], task, s["arm"], s["protocol"]) in shown:
                continue
            shown.add((s["model"], task, s["arm"], s["protocol"]))
            letter = "r" if s["arm"] == "lora" else "d"
            name = asked_name(letter, s["rule"], s.get("threshold", 0.9), s["tau"])
            held = s.get("interval")
            answer = s.get("answer") or s.get(f"{letter}90_chance")
            # An answer with a level is the middle of the interval, which stands beside it.
            shorter = str(answer["estimate"]) if answer and answer["level"] else _crossing(answer)
            rows.append(
                [
                    f"{_NAMES.get(s['model'], s['model'])} × {task}",
                    f"`{s['arm']}`, `{s['protocol']}`",
                    f"`{s['verdict']}`",
                    f"{name} {shorter}",
                    _crossing(held) if held else "–",
                    str(sum(s["runs"].values())),
                ]
            )
    return _table(
        "| model × task | arm, protocol | verdict | answer | 90 % interval | runs |", rows
    )


def glue(up: str) -> str:
    """The scores of MiniLM on two tasks of GLUE, by arm and size."""
    rows = []
    for s in _summaries("minilm-glue"):
        letter = "r" if s["arm"] == "lora" else "d"
        full = f"{s['full']['mean']:.3f} ± {s['full']['se']:.3f} ({s['full']['n']})"
        scores = [f"{c.get('d', c.get('rank')):,}: {c['mean']:.3f}" for c in s["curve"]]
        rows.append(
            [
                f"{s['task']}, `{s['arm']}`",
                full,
                f"{s['chance']:.3f}",
                f"{s['tau_raw']:.3f}: {_crossing(s[f'{letter}90_raw'])}",
                f"{s['tau_chance']:.3f}: {_crossing(s[f'{letter}90_chance'])}",
                "; ".join(scores),
            ]
        )
    head = "| task, arm | full ± its error (runs) | chance | raw threshold: answer "
    return _table(head + "| chance-corrected threshold: answer | score by d or rank |", rows)


def glue_figures(up: str) -> str:
    """Score against d and against rank, two figures a task."""
    found = [s for s in _summaries("minilm-glue") if s["arm"] in ("did", "lora")]
    size = {"did": "d", "lora": "rank"}
    return "\n\n".join(
        _figure(up, f"score against {size[s['arm']]}, {s['task']}", "minilm-glue", s) for s in found
    )


def ranks(up: str) -> str:
    """How LoRA's best rate moves with the rank, and what rank 1 reaches, by the rule for alpha."""
    found = [_json(f"ranks/{path.name}") for path in sorted((RESULTS / "ranks").glob("*.json"))]
    rows = []
    for rule in found[0]["slopes"]:
        cells = [rule]
        for study in found:
            mine = [r for r in study["rows"] if r["rule"] == rule]
            ends = min(mine, key=lambda r: r["rank"]), max(mine, key=lambda r: r["rank"])
            cells += [f"r^{study['slopes'][rule]:+.2f}", *(f"{r['score']:.3f}" for r in ends)]
        rows.append(cells)
    head = [
        f"| {name}: best rate | r = 1 | r = {max(r['rank'] for r in study['rows'])} "
        for name, study in zip(("digits", "MNIST"), found, strict=True)
    ]
    return _table(f"| rule {''.join(head)}|", rows)


def seeds_of_mnist(up: str) -> str:
    """Two searches that differ in the master seed alone."""
    rows = [
        [
            _range(s["d90"]),
            _range(s["d90_raw"]),
            str(sum(s["runs"].values())),
            f"{sum(s['seconds'].values()):,.0f}",
        ]
        for s in _summaries("vision")
    ]
    return _table("| d90, chance-corrected | d90, raw | runs | seconds of training |", rows)


def trec(up: str) -> str:
    """SAID and DID on TREC-6 from two master seeds, and how many times as much DID needs."""
    store = Store(RESULTS / "trec6", create=False)
    records, questions, rows = store.all(), store.questions(), []
    for one in (q for q in questions if q.arm == "said"):
        # The search of DID from the same master seed shares its full runs.
        shared = {q.id: len(set(q.keys) & set(one.keys)) for q in questions if q.arm == "did"}
        (other,) = (q for q in questions if q.id == max(shared, key=shared.__getitem__))
        said, did = summarise(records, one), summarise(records, other)
        rows.append(
            [
                f"{said.levels.full:.4f}",
                answer_text(said.found["d90"]),
                answer_text(did.found["d90"]),
                ratio_text(ratio(records, other, one)),
                str(sum(said.cost.runs.values()) + sum(did.cost.runs.values())),
            ]
        )
    return _table("| full | d90, SAID | d90, DID | DID / SAID | runs |", rows)


def seeds_figure(up: str) -> str:
    """Both searches in one figure."""
    (path,) = (RESULTS / "vision" / "figures").glob("d-*.png")
    return f"![score against d, two master seeds]({up}results/vision/figures/{path.name})"


def digits(up: str) -> str:
    """d90 of digits by brute force, and ten searches beside it."""
    truth, seeds = _json("digits/digits.json")["d90"], _json("digits/seeds.json")["rows"]
    lines = [f"The isotonic curve crosses at d90 = {_range(truth)}."]
    for line in ("trust", "grid"):
        rows = [r for r in seeds if r["line"] == line]
        there = sum(r["overlaps"] for r in rows)
        lines.append(f"Of {len(rows)} searches by `{line}`, {there} overlap that interval.")
    return "\n".join(lines)


def published_fc(up: str) -> str:
    """MNIST FC beside Li et al."""
    return _published("mnist-fc")


def published_lenet(up: str) -> str:
    """LeNet beside Li et al."""
    return _published("mnist-lenet")


def _published(model: str) -> str:
    found = _json(f"li2018/{model}.json")["rows"]
    rows = [
        [
            f"{r['d']:,}",
            f"{r['ours']:.3f} ({r['lowest']:.3f} to {r['highest']:.3f})",
            f"{r['published']:.3f}",
        ]
        for r in found
    ]
    most = max(abs(r["difference"]) for r in found)
    table = _table("| d | ours (lowest to highest of 3 runs) | published |", rows)
    return f"{table}\n\nThe largest difference of the means is {most:.3f}."


def published_figures(up: str) -> str:
    """The curves of both."""
    return "\n\n".join(
        _figure(up, f"score against d, {s['model']}", "li2018", s) for s in _summaries("li2018")
    )


# Every method on one scale.


def frontier(up: str) -> str:
    """Every arm at every size, and the one that passes with the fewest numbers."""
    found = _json("frontier/frontier.json")
    levels, least = found["levels"], found["cheapest"]
    rows = []
    for p in found["places"]:
        times = found["latency"].get(p["arm"], {"unmerged": None, "merged": None})
        rows.append(
            [
                f"`{p['arm']}`",
                f"{p['letter']} = {p['size']:,}" if p["letter"] else "–",
                f"{p['trained']:,}",
                f"{p['mean']:.3f} ± {p['error']:.3f}",
                str(p["n"]),
                f"{p['probability']:.2f}",
                f"{4e-6 * p['trained']:.2g}",
                f"{p['memory'] / 1e6:,.0f}",
                f"{1e3 * p['seconds']:.0f}",
                *("–" if v is None else f"{v:.2f}" for v in times.values()),
            ]
        )
    head = (
        "| arm | size | trained | accuracy | n | passes | file MB | peak MB | ms a step "
        "| latency | merged |"
    )
    at = f" at {least['letter']} = {least['size']:,}" if least["letter"] else ""
    return (
        f"{_table(head, rows)}\n\nFull fine-tuning has {levels['full']['mean']:.3f} "
        f"(n = {levels['full']['n']}), chance {levels['chance']:.3f}. "
        f"A run passes from {levels['tau']:.3f}.\nThe fewest numbers that surely pass: "
        f"{least['trained']:,}, by `{least['arm']}`{at}."
    )


def dylora(up: str) -> str:
    """DyLoRA's one-run curve beside separate runs."""
    found = _json("frontier/dylora.json")
    one, each = found["DyLoRA"], found["LoRA"]
    rows, apart = [], []
    for rank in sorted({*one} & {*each}, key=int):
        means = [fmean(scores[rank]) for scores in (one, each)]
        errors = [error(s[rank]) for s in (one, each)]
        apart.append(means[0] - means[1])
        rows.append(
            [
                rank,
                *(f"{m:.3f} ± {e:.3f}" for m, e in zip(means, errors, strict=True)),
                f"{apart[-1]:+.3f} ± {math.hypot(*errors):.3f}",
            ]
        )
    table = _table("| r | `dylora` | `lora` | difference |", rows)
    return f"{table}\n\nThe mean difference is {fmean(apart):+.3f}."


def three_tasks(up: str) -> str:
    """DID, SAID and LoRA on three tasks: what each search answers."""
    found = _json("recommend/tasks.json")
    rows = []
    for r in found["rows"]:
        head = r["head alone"]
        rows.append(
            [
                compare_tasks.named(_NAMES.get(r["task"], r["task"])),
                f"`{r['arm']}`, {r['design']}",
                f"{r['full']:.3f}",
                f"{r['chance']:.3f}",
                "–" if head is None else f"{head:.3f}",
                f"{r['threshold']:.3f}",
                f"`{r['verdict']}`",
                f"{r['name']} {compare_tasks.interval(r)}",
                str(r["runs"]),
            ]
        )
    head = (
        "| task | arm, design | full | chance | head alone | to reach | verdict | answer | runs |"
    )
    return _table(head, rows)


def three_tasks_ranks(up: str) -> str:
    """The share of the gain at every rank that has three runs or more."""
    found = _json("recommend/tasks.json")
    by = {r["task"]: places for r, places in compare_tasks.ranked(found) if r["arm"] == "lora"}
    sizes = sorted({p["size"] for places in by.values() for p in places})
    rows = []
    for task, places in by.items():
        cells = {p["size"]: f"{p['share']:.3f} ± {p['error']:.3f} ({p['n']})" for p in places}
        rows.append(
            [compare_tasks.named(_NAMES.get(task, task)), *(cells.get(r, "–") for r in sizes)]
        )
    return _table("| task | " + " | ".join(f"r = {r}" for r in sizes) + " |", rows)


def recommended(up: str) -> str:
    """How often runs at a recommended rank reach the threshold on other data."""
    found = _json("recommend/recommended.json")
    rows = [
        [
            _NAMES.get(r["task"], r["task"]),
            "–" if r["rank"] is None else str(r["rank"]),
            *(
                [f"{r['tau']:.3f}", f"{fmean(r['scores']):.3f}", f"{r['passed']} of {r['runs']}",
                 f"[{r['low']:.2f}, {r['high']:.2f}]"]
                if r["rank"] is not None
                else ["–"] * 4
            ),
        ]
        for r in found
    ]  # fmt: skip
    head = "| task | rank | to reach | mean of the fresh runs | reach it | share, 90 % interval |"
    made = [r for r in found if r["rank"] is not None]
    passed, runs = (sum(r[k] for r in made) for k in ("passed", "runs"))
    low, high = check_recommendation.interval(passed, runs)
    return (
        f"{_table(head, rows)}\n\nOf all {runs} fresh runs {passed} reach it: a share of "
        f"[{low:.2f}, {high:.2f}], with 90 %."
    )


# Single runs.


def _single(model: str, arm: str) -> dict[str, Any]:
    for path in (RESULTS / "huggingface" / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        config = record["run_info"]["config"]
        if (config["model"], config["arm"]) == (model, arm):
            return dict(record["train_info"])
    raise LookupError(f"no run of {model} by {arm}")


def single_runs(up: str) -> str:
    """A decoder on completions, and an image model."""
    full, said, lora = (_single("smollm2", arm) for arm in ("full", "said", "lora"))
    fall = (said["score"] - full["untouched"]) / (full["score"] - full["untouched"])
    rows = [
        ["untouched", "0", f"{-full['untouched']:.3f}"],
        ["`full`", f"{full['d_total']:,}", f"{-full['score']:.3f}"],
        [f"`said`, {fall:.0%} of the fall", f"{said['d_total']:,}", f"{-said['score']:.3f}"],
        ["`lora`, rank 4", f"{lora['d_total']:,}", f"{-lora['score']:.3f}"],
    ]
    pictures = [_single("mnist-lenet", arm)["score"] for arm in ("full", "said")]
    return (
        _table("| SmolLM2-135M | trained numbers | loss |", rows)
        + "\n\nLeNet on Fashion-MNIST, 2 epochs: "
        + f"`full` {pictures[0]:.3f}, `said` with d = 1,000 {pictures[1]:.3f}."
    )


def exported(up: str) -> str:
    """The ranks that an exported adapter needed."""
    text = (RESULTS / "huggingface" / "export.txt").read_text()
    found = re.search(
        r"median (\d+), .* at most (\d+)\n.*subspace: ([\d.]+)\n.*LoRA: ([\d.]+)", text
    )
    assert found
    rank, whole, subspace, lora = found.groups()
    return (
        f"In the one adapter that was measured (d = 4,096), 90 % of the energy takes rank {rank} "
        f"of {whole} in the\n"
        f"median layer. The LoRA adapter scores {lora}, and the subspace {subspace}."
    )


# Costs.


def steps(up: str) -> str:
    """A step of each arm, as a ratio to a step of full fine-tuning."""
    found = {(r["case"], r["arm"]): r for r in _json("steps/steps.json")["rows"]}
    cases = ("minilm-32x64", "minilm-16x32", "smollm2-4x64", "mnist-fc-128")

    def ratio(case: str, arm: str) -> str:
        r = found.get((case, arm))
        if r is None:
            return "–"
        if arm == "full":
            return "1.00"
        return f"{r['ratio']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"

    def peak(case: str, arm: str) -> str:
        r = found.get((case, arm))
        return "–" if r is None else f"{r['peak_ratio']:.2f}"

    rows = [
        [f"`{arm}`", *(ratio(c, arm) for c in cases), *(peak(c, arm) for c in cases[1:3])]
        for arm in dict.fromkeys(arm for _, arm in found)
    ]
    head = "| | MiniLM 32 × 64 | MiniLM 16 × 32 | SmolLM2-135M 4 × 64 | MNIST FC 128 "
    return _table(head + "| memory, MiniLM | memory, SmolLM2 |", rows)


def steps_unfused(up: str) -> str:
    """The same against torch's AdamW as it is by default."""
    found = {(r["case"], r["arm"]): r for r in _json("steps/steps.json")["rows"]}
    cells = []
    for case, about in (("minilm-32x64", "32 × 64"), ("minilm-16x32", "16 × 32")):
        arms = [f"{family}+said" for family in ("orthonormal", "fastfood", "onehot")]
        ratios = ", ".join(f"{found[case, arm]['to_unfused']:.2f}" for arm in arms)
        cells.append(f"{ratios} at {about}")
    net = found["mnist-fc-128", "orthonormal"]["to_unfused"]
    return (
        "Against `full, unfused`, `orthonormal+said`, `fastfood+said` and `onehot+said` cost\n"
        f"{', and '.join(cells)}; `orthonormal` costs {net:.2f} on MNIST FC."
    )


def products(up: str) -> str:
    """A product with P and with its transpose, in copies of D numbers."""
    everything = [r for r in _json("projections/benchmark.json")["rows"] if r["D"] == 22_713_986]
    found = [r for r in everything if r["d"] == 1000]
    found += [r for r in everything if r["d"] == 100_000 and r.get("engine") == "native"]
    columns = {
        "forward_ratio": "into a given buffer, in parts",
        "adjoint_ratio": "adjoint, in parts",
        "call_out_ratio": "`p(theta, out=)`",
        "call_ratio": "`p(theta)`",
        "call_adjoint_ratio": "`p.adjoint(v)`",
    }
    rows = [
        [f"`{r['family']}`", f"{r['d']:,}", *(_copies(r[k]) if k in r else "–" for k in columns)]
        for r in found
    ]
    return _table("| | d | " + " | ".join(columns.values()) + " |", rows)


def _copies(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def layers(up: str) -> str:
    """What a step's products cost, formed weight by weight, at every d."""
    rows = [
        [
            f"{row['d']:,}",
            f"{row['block']:,}",
            f"{row['kept_ms'] / 1e3:.2g}",
            f"{row['again_ms'] / 1e3:.2g}" if "again_ms" in row else "–",
        ]
        for row in _json("projections/layers.json")["rows"]
    ]
    return _table("| d | numbers in a block | seconds | no block kept, seconds |", rows)


def extra_memory(up: str) -> str:
    """What a product takes beside the buffer that it is given."""
    found = [r for r in _json("projections/benchmark.json")["rows"] if "extra_mib" in r]
    largest = max(r["D"] for r in found)
    most = max(r["extra_mib"] for r in found if r["D"] == largest)
    return (
        f"Nothing of D's size is made on the way: at D = {largest:,} a product into a given "
        f"buffer\ntakes at most {most:.0f} MiB more, for every family."
    )


def workers(up: str) -> str:
    """Two workers on two cores against one, over whole searches."""
    rows, record = [], _json("robustness/workers.json")
    step = record.pop("a step of mnist-fc")
    for name, found in record.items():
        one, two = ([r for r in found["rows"] if r["workers"] == n] for n in (1, 2))
        shown = [
            ", ".join(f"{r['seconds']:.0f} ({r['runs']})" for r in side) for side in (one, two)
        ]
        pace, took = found["runs a minute, two over one"], found["time, two over one"]
        rows.append([name, *shown, f"{pace:.2f}", f"{took:.2f}"])
    table = _table(
        "| search | one worker: seconds (runs) | two workers | runs a minute, two over one "
        "| time, two over one |",
        rows,
    )
    low, high = step["low"], step["high"]
    return (
        f"{table}\n\nOne run of MNIST FC keeps both cores at work: a step takes "
        f"{step['ms, one on all cores']:.1f} ms on two\nthreads, and "
        f"{step['ms, two at once']:.1f} ms on one with another run beside it. So runs that never "
        f"rest need {step['time, two over one']:.2f}\n[{low:.2f}, {high:.2f}] of the time. Without "
        f"the other run beside it, a step on one thread takes "
        f"{step['ms, one on half of them']:.1f} ms:\nno way to share out the runs could need less "
        f"than {step['time, two over one, if they did not slow each other']:.2f}."
    )


def kills(up: str) -> str:
    """What was lost where searches were killed at random."""
    found = _json("robustness/kills.json")
    each = found["kills"]
    names = {
        "runs": "runs in the stores afterwards",
        "begun again": "runs that were under way at a kill, and begun again",
        "ended but not kept": "runs that ended and were not kept",
        "trained though kept": "runs that were trained although they were kept",
        "files that do not fit": "files that do not fit",
        "claims left": "claims left",
        "half-written files left": "half-written files left, which nobody reads",
    }
    rows = [[text, f"{found[name]:,}"] for name, text in names.items() if name in found]
    rows.append(
        [
            "answers equal to an undisturbed search's, given the same runs",
            f"{found['same answers']} of {found['searches']}",
        ]
    )
    head = (
        f"{found['searches']} searches of two workers, killed {each['all']} times at random: the "
        f"driver {each['driver']} times, a\nworker {each['worker']} times, all of them at once "
        f"{each['both']} times."
    )
    return f"{head}\n\n{_table('| what | how many |', rows)}"


def optimizers(up: str) -> str:
    """d90 by optimiser and schedule, at the best rate and around it."""
    cells: dict[str, list[list[str]]] = {}
    for r in _json("optimizers/study.json")["rows"]:
        best = min(r["d90"].values(), key=lambda a: a["estimate"])
        around = ", ".join(f"{a['estimate']:,}" for a in r["d90"].values())
        name = f"`{r['optimizer']}`, {r['schedule']}"
        cells.setdefault(name, []).append([_range(best), around, f"{r['seconds']:.1f}"])
    rows = [[name, *a[:2], *b[:2], f"{a[2]}, {b[2]}"] for name, (a, b) in cells.items()]
    head = "| optimiser, schedule | digits: best d90 | rate / 4 to × 4 "
    return _table(head + "| MNIST FC: best d90 | rate / 4 to × 4 | seconds a run |", rows)


# The simulation study.


def study(up: str) -> str:
    """Coverage, verdicts and cost in every simulated world."""
    found, rows = _json("search/study.json")["rows"], []
    for name, about in _WORLDS.items():
        r = found.get(f"{name}/posterior")
        if r is None:
            continue
        none = "no d90" in about
        rows.append(
            [
                f"`{name}`",
                about,
                str(r["n"]),
                "–" if none else f"{r['coverage']:.3f} ({r['lower']:.3f})",
                f"{r['reached']:.3f}",
                "–" if none else f"{r['within 1.25']:.3f}",
                f"{r['runs']:.1f}",
            ]
        )
    head = "| `world` | what holds in it | searches | coverage (at least) "
    return _table(head + "| reached | within 1.25 | runs |", rows)


def early_stops(up: str) -> str:
    """How often a run was stopped, and how often wrongly."""
    found = _json("search/early.json").values()
    judged, stopped, wrong = (sum(r[k] for r in found) for k in ("judged", "stopped", "wrong"))
    return (
        f"On the kept sets of runs the rule was asked {judged:,} times. It stopped {stopped:,} "
        f"times\nand was wrong {wrong:,} times."
    )


def false_alarms(up: str) -> str:
    """How often a check speaks where nothing changes."""
    most = max(r["says so at 0"] for r in _json("search/checks.json")["rows"])
    return f"Where nothing changes, a check says yes in at most {most:.1%} of simulated searches."
