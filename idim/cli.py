"""The command line. Thin: it reads flags, calls measure and report, and turns our errors into one line and exit code 2."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from idim.errors import DEFECT, DONE, NOT_REACHED, IdimError, expected, one_of, printable
from idim.terminal import OneLine, answer, aside, guarded, remark, silence

app = typer.Typer(
    cls=OneLine,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure the intrinsic dimension of fine-tuning: the smallest d that reaches 90 % of full fine-tuning.",
)

_MODEL = typer.Option(help="A built-in net, an alias, a folder or a hub id; see `idim ls models`.")
_TASK = typer.Option(
    help="A task, a table with columns text and label or prompt and completion, or a folder of pictures; see `idim ls tasks`."
)
Model = Annotated[str | None, _MODEL]
TaskName = Annotated[str | None, _TASK]
ProtocolName = Annotated[
    str | None, typer.Option(help="A preset; see `idim ls protocols`. Default: trust.")
]
Threshold = Annotated[
    float | None, typer.Option(help="The fraction of full fine-tuning to reach. Default: 0.9.")
]
Out = Annotated[
    str | None, typer.Option(help="The store: a folder for records and figures. Default: idim-out.")
]
Seed = Annotated[
    int | None, typer.Option(help="The master seed; each run draws four fresh ones from it.")
]
DataDir = Annotated[
    str | None, typer.Option(help="A folder with the task's files, in place of the hub.")
]
TextColumns = Annotated[
    str | None,
    typer.Option(
        help="Of a table of your own: the column with the text, or two with a comma for pairs. Default: text, text2; or prompt."
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="Of a table of your own: the column with the class, a number or a name, or what follows the prompt. Default: label, or completion."
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="Of a table of your own: accuracy or matthews for classes, pearson or spearman for numbers; loss, token_accuracy or exact_match for completions. Default: accuracy, or loss."
    ),
]
Rate = Annotated[float | None, typer.Option(help="The rate of full fine-tuning.")]
SubspaceRate = Annotated[
    float | None, typer.Option(help="One rate for every d, in place of the rate law.")
]
LoraRate = Annotated[float | None, typer.Option(help="The rate of LoRA, in place of tuning.")]
Epochs = Annotated[
    float | None, typer.Option(help="Passes over the training split, for every arm.")
]
Steps = Annotated[
    int | None, typer.Option(help="Optimiser steps, for every arm; in place of epochs.")
]
Batch = Annotated[int | None, typer.Option(help="Examples a step.")]
Precision = Annotated[
    str | None,
    typer.Option(help="fp32, or bf16 or fp16 by autocast (weights and theta stay fp32)."),
]
Lean = Annotated[
    bool | None,
    typer.Option(
        "--lean/--no-lean",
        help="Hold theta_0 alone and form a block's weights while it runs: less memory, more time. Default: off.",
    ),
]
Length = Annotated[
    int | None, typer.Option(help="Tokens a text is cut to. Default: 128, or the quick protocol's.")
]
TrainCap = Annotated[int | None, typer.Option(help="Train on a fixed random subset of this size.")]
EvalCap = Annotated[int | None, typer.Option(help="Score on a fixed random subset of this size.")]
Baselines = Annotated[int | None, typer.Option(help="Full runs that set the threshold.")]
Repeats = Annotated[int | None, typer.Option(help="Runs with fresh seeds at each d or rank.")]
MaxRuns = Annotated[
    int | None,
    typer.Option(help="Cap on the runs of a search, baselines and tuning aside. Default: 30."),
]
Design = Annotated[
    str | None,
    typer.Option(
        help="How the next d is chosen: posterior, quantiles, bisect, or grid. Default: the protocol's."
    ),
]
Tune = Annotated[
    bool | None,
    typer.Option(
        "--tune/--no-tune",
        help="Choose rates on the tuning split first, or take the default rate law. Default: the protocol's.",
    ),
]
Early = Annotated[
    bool | None,
    typer.Option(
        "--early/--no-early",
        help="Stop runs far from d90 once it is known on which side they end. Default: the protocol's.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Local processes that share the cores. Default: 1.")
]
Executor = Annotated[str | None, typer.Option(help="Where runs go: local.")]
Checks = Annotated[
    bool | None,
    typer.Option(
        "--checks/--no-checks",
        help="After a search: a run at twice the budget, runs at twice and half the rate, and the locked split. Default: on.",
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Short for --protocol quick: a first look in minutes.")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the summary as one JSON object, and nothing else, on standard output."
    ),
]
ConfigFile = Annotated[
    str | None, typer.Option("--config", help="A TOML file; every flag has a key of the same name.")
]
Projection = Annotated[
    str | None, typer.Option(help="A family of projections; see `idim ls projections`.")
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="The form of the projection's arithmetic: auto, plain, native, triton or fht. Default: auto."
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(help="LoRA's target modules, with commas. Default: peft's for the model."),
]
Alpha = Annotated[int | None, typer.Option(help="LoRA's alpha. Default: twice the rank.")]


@app.command()
def search(
    model: Model = None,
    task: TaskName = None,
    arm: Annotated[
        str | None,
        typer.Option(help="did (P alone) or said (with a scale a layer). Default: said."),
    ] = None,
    projection: Projection = None,
    engine: Engine = None,
    protocol: ProtocolName = None,
    design: Design = None,
    threshold: Threshold = None,
    absolute: Annotated[
        float | None, typer.Option(help="A score to reach, in place of a fraction of full.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Try these d, with commas: the design grid.")
    ] = None,
    out: Out = None,
    seed: Seed = None,
    data_dir: DataDir = None,
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    metric: Metric = None,
    max_runs: MaxRuns = None,
    max_steps: Steps = None,
    num_train_epochs: Epochs = None,
    batch_size: Batch = None,
    learning_rate: Rate = None,
    subspace_learning_rate: SubspaceRate = None,
    precision: Precision = None,
    lean: Lean = None,
    max_seq_length: Length = None,
    max_train_samples: TrainCap = None,
    max_eval_samples: EvalCap = None,
    baselines: Baselines = None,
    repeats: Repeats = None,
    tune: Tune = None,
    early: Early = None,
    checks: Checks = None,
    workers: Workers = None,
    executor: Executor = None,
    quick: Quick = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Find d90: full baselines, then subspaces of growing and shrinking d, until d90 is known well enough."""
    with guarded():
        given = _given(locals(), lists={"grid": int, "text_columns": str})
        from idim import conductor
        from idim.report import tables

        asked = _config(given, config)
        with _watch() as watcher:
            summary = conductor.search(asked, watcher)
        _finish(summary, tables.search_text, as_json, Path(asked.out))
        _exit(
            DONE if summary["verdict"] in ("reached", "trivial", "budget_limited") else NOT_REACHED
        )


@app.command()
def sweep(
    model: Model = None,
    task: TaskName = None,
    arm: Annotated[str | None, typer.Option(help="lora.")] = "lora",
    ranks: Annotated[
        str | None, typer.Option(help="Ranks, with commas. Default: 1,2,4,8,16.")
    ] = None,
    targets: Targets = None,
    lora_alpha: Alpha = None,
    protocol: ProtocolName = None,
    threshold: Threshold = None,
    out: Out = None,
    seed: Seed = None,
    data_dir: DataDir = None,
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    metric: Metric = None,
    max_steps: Steps = None,
    num_train_epochs: Epochs = None,
    batch_size: Batch = None,
    learning_rate: Rate = None,
    lora_learning_rate: LoraRate = None,
    precision: Precision = None,
    max_seq_length: Length = None,
    max_train_samples: TrainCap = None,
    max_eval_samples: EvalCap = None,
    baselines: Baselines = None,
    repeats: Repeats = None,
    tune: Tune = None,
    workers: Workers = None,
    executor: Executor = None,
    quick: Quick = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Score against LoRA rank, and r90, beside the store's DID and SAID curves."""
    with guarded():
        if arm != "lora":
            raise one_of("--arm", ("lora",), arm)
        given = _given(locals(), lists={"ranks": int, "targets": str, "text_columns": str})
        from idim import conductor
        from idim.report import tables

        asked = _config(given, config)
        with _watch() as watcher:
            summary = conductor.sweep(asked, watcher)
        _finish(summary, tables.sweep_text, as_json, Path(asked.out))
        _exit(DONE if summary["verdict"] == "reached" else NOT_REACHED)


@app.command()
def train(
    model: Model = None,
    task: TaskName = None,
    arm: Annotated[str | None, typer.Option(help="full, did, said or lora. Default: said.")] = None,
    d: Annotated[int | None, typer.Option(help="Trained numbers, scales included.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA's rank.")] = None,
    projection: Projection = None,
    engine: Engine = None,
    targets: Targets = None,
    lora_alpha: Alpha = None,
    protocol: ProtocolName = None,
    out: Out = None,
    seed: Seed = None,
    data_dir: DataDir = None,
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    metric: Metric = None,
    max_steps: Steps = None,
    num_train_epochs: Epochs = None,
    batch_size: Batch = None,
    learning_rate: Rate = None,
    subspace_learning_rate: SubspaceRate = None,
    lora_learning_rate: LoraRate = None,
    precision: Precision = None,
    lean: Lean = None,
    max_seq_length: Length = None,
    max_train_samples: TrainCap = None,
    max_eval_samples: EvalCap = None,
    save: Annotated[
        str | None,
        typer.Option(help="A folder for what was trained: an adapter, or for full a model."),
    ] = None,
    quick: Quick = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """One run of one arm, one record."""
    with guarded():
        given = _given(locals(), lists={"targets": str, "text_columns": str})
        from idim import conductor
        from idim.run import NOT_SAVED

        asked = _config(given, config)
        _check_folder(asked.save, "--save")
        with _watch() as watcher:
            record = conductor.train_one(asked, watcher)
        info = record["train_info"]
        if as_json:
            answer(_json(record))
        elif record["status"] == "ok":
            answer(
                f"{info['metric']} {info['score']:.4f} (untouched {info['untouched']:.4f}) with {info['d_total']:,} trained numbers "
                f"of {record['meta_info']['D']:,}, {info['steps']} steps, {info['seconds']:.0f} s"
            )
        else:
            answer(f"{record['status']}: {record['reason']}")
        if record["status"] == "ok":
            for warning in info["warnings"]:
                if warning.startswith(NOT_SAVED):
                    raise IdimError(warning)
        _exit(DONE if record["status"] == "ok" else NOT_REACHED)


@app.command()
def compare(
    models: Annotated[str | None, typer.Option(help="Models, with commas.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks, with commas.")] = None,
    arms: Annotated[str, typer.Option(help="Of did, said and lora, with commas.")] = "did,said",
    projection: Projection = None,
    engine: Engine = None,
    protocol: ProtocolName = None,
    design: Design = None,
    threshold: Threshold = None,
    grid: Annotated[
        str | None, typer.Option(help="Try these d, with commas: the design grid.")
    ] = None,
    ranks: Annotated[str | None, typer.Option(help="LoRA's ranks, with commas.")] = None,
    out: Out = None,
    seed: Seed = None,
    data_dir: DataDir = None,
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    metric: Metric = None,
    max_runs: MaxRuns = None,
    max_steps: Steps = None,
    num_train_epochs: Epochs = None,
    batch_size: Batch = None,
    learning_rate: Rate = None,
    subspace_learning_rate: SubspaceRate = None,
    lora_learning_rate: LoraRate = None,
    precision: Precision = None,
    lean: Lean = None,
    max_seq_length: Length = None,
    max_train_samples: TrainCap = None,
    max_eval_samples: EvalCap = None,
    baselines: Baselines = None,
    repeats: Repeats = None,
    tune: Tune = None,
    early: Early = None,
    checks: Checks = None,
    workers: Workers = None,
    quick: Quick = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """The table of d90 (and r90) by model, task and arm. Runs what the store does not hold yet."""
    with guarded():
        given = _given(
            {k: v for k, v in locals().items() if k not in ("models", "tasks", "arms")},
            lists={"grid": int, "ranks": int, "text_columns": str},
        )
        from idim import conductor
        from idim.config import ARMS
        from idim.study import Study

        wanted = [
            (m, t, a)
            for m in _list(models, "--models")
            for t in _list(tasks, "--tasks")
            for a in _list(arms, "--arms")
        ]
        configs = [
            _config({**given, "model": m, "task": t, "arm": a}, config) for m, t, a in wanted
        ]
        for c in configs:
            if c.arm not in ARMS or c.arm == "full":
                raise one_of("--arms", ("did", "said", "lora"), c.arm)
            # All of them, before any is trained.
            study = Study(c)
            if c.arm != "lora":
                conductor.check_search(study)
        summaries: list[dict] = []
        try:
            with _watch() as watcher:
                for c in configs:
                    summaries.append(
                        (conductor.sweep if c.arm == "lora" else conductor.search)(c, watcher)
                    )
        finally:
            # Whatever ends the comparison early, what is answered is printed.
            if as_json and summaries:
                answer(_json(summaries))
            elif summaries:
                answer(_table(summaries))
        _draw(Path(configs[0].out))


@app.command()
def report(
    folder: Annotated[str, typer.Argument(help="A store, as --out made it.")],
    html: Annotated[
        str | None, typer.Option(help="Also write one page with everything in it.")
    ] = None,
) -> None:
    """Derive every summary, table and figure again from a store's records."""
    with guarded():
        from idim.report import page
        from idim.store import Store

        store = Store(folder, create=False)
        summaries = page.derive(store)
        answer(_table(summaries))
        page.keep(store, summaries)
        drawn = [made for _, made in page.draw(store, summaries)]
        paths = [made for made in drawn if isinstance(made, Path)]
        if html:
            page.write_html(summaries, paths, Path(html))
            paths.append(Path(html))
        answer("\n".join(f"wrote {p}" for p in paths))
        for error in drawn:
            if isinstance(error, IdimError):
                raise error


@app.command()
def export(
    adapter: Annotated[
        str,
        typer.Argument(
            help="A folder with a subspace adapter, as `idim train --save` or save_pretrained made it."
        ),
    ],
    merged: Annotated[
        str | None, typer.Option(help="Write the model with plain weights into this folder.")
    ] = None,
    lora: Annotated[str | None, typer.Option(help="Write a LoRA adapter into this folder.")] = None,
    rank: Annotated[
        int, typer.Option(help="LoRA's rank, for every layer. Default: what --energy asks for.")
    ] = 0,
    energy: Annotated[
        float,
        typer.Option(
            help="The share of each layer's move (squared norm) that LoRA keeps; 1 is all of it."
        ),
    ] = 1.0,
    base: Annotated[
        str | None,
        typer.Option(help="The base model, where the adapter's own note of it does not load."),
    ] = None,
    task: TaskName = None,
    data_dir: DataDir = None,
    max_seq_length: Length = None,
    max_eval_samples: EvalCap = None,
) -> None:
    """Turn a subspace adapter into plain weights or a LoRA adapter, and print the rank that each layer needed; with --task, score all."""
    with guarded():
        if bool(merged) == bool(lora):
            raise IdimError(
                f"--merged, --lora: expected one of them; got {'both' if merged else 'neither'}"
            )
        from idim import export as exporting
        from idim.report import tables

        _check_folder(merged or lora, "--merged" if merged else "--lora")
        with aside():
            found = exporting.export(
                adapter,
                base,
                merged,
                lora,
                rank,
                energy,
                task,
                {
                    "data_dir": data_dir,
                    "max_seq_length": max_seq_length,
                    "max_eval_samples": max_eval_samples,
                },
            )
        answer(tables.export_text(**found))


@app.command(name="ls")
def ls(
    what: Annotated[str, typer.Argument(help="models, tasks, projections, protocols or arms.")],
) -> None:
    """What there is to choose from."""
    with guarded():
        for name, about in _catalogue(what):
            answer(f"{name:<22}{about}")


@app.command()
def doctor(
    verify: Annotated[
        str | None,
        typer.Option(
            help="A store: make every projection in its records again, and compare checksums."
        ),
    ] = None,
) -> None:
    """What is installed, and a self-test of the projections."""
    with guarded():
        from idim.doctor import examine, verified
        from idim.store import Store

        healthy = True
        for name, ok, detail in verified(Store(verify, create=False)) if verify else examine():
            healthy = healthy and ok is not False
            answer(f"{ {True: 'ok', False: 'FAIL', None: '--'}[ok]:<5}{name:<26}{detail}")
        _exit(DONE if healthy else DEFECT)


def _catalogue(what: str) -> list[tuple[str, str]]:
    if what == "protocols":
        from idim.protocols import PROTOCOLS

        return [(p.name, p.about) for p in PROTOCOLS.values()]
    if what == "models":
        from idim import models

        return [(name, models.ABOUT.get(name, "")) for name in models.names()]
    if what == "tasks":
        from idim.tasks import CATALOGUE, task_files

        return [
            *((name, about) for name, (about, _) in CATALOGUE.items()),
            (
                "<file or folder>",
                "csv, json, jsonl or parquet; --text-columns and --label-column, if not text (and text2) and label, or prompt and completion",
            ),
            (
                "<folder of pictures>",
                "train/<class>/*.png (or jpg ...), and the same under validation, val or test",
            ),
            ("<file>.toml", "a task file: text, label, metric, train, evaluation, chance"),
            *task_files(Path(".")),
        ]
    if what == "projections":
        from projections import KINDS

        return [
            (name, (kind.__doc__ or "").strip().splitlines()[0]) for name, kind in KINDS.items()
        ]
    if what == "arms":
        from idim.arms import ARMS

        return [(name, (arm.__doc__ or "").strip()) for name, arm in ARMS.items()]
    raise one_of("ls", ("models", "tasks", "projections", "protocols", "arms"), what)


def _given(values: dict, lists: dict[str, type]) -> dict:
    """The flags that were set, in Config's names."""
    given = {
        k: v for k, v in values.items() if v is not None and k not in ("as_json", "config", "quick")
    }
    for name, kind in lists.items():
        if name in given:
            flag = "--" + name.replace("_", "-")
            given[name] = tuple(_number(v, kind, flag) for v in _list(given[name], flag))
    if values["quick"]:
        if given.get("protocol", "quick") != "quick":
            raise one_of("--protocol with --quick", ("quick",), given["protocol"])
        given["protocol"] = "quick"
    return given


def _list(text: str | None, name: str) -> list[str]:
    parts = [p.strip() for p in (text or "").split(",") if p.strip()]
    if not parts:
        raise IdimError(f"{name}: expected names with commas between; got {text!r}")
    return parts


def _number(text: str, kind: type, name: str):
    try:
        return kind(text)
    except ValueError:
        raise IdimError(
            f"{name}: expected whole numbers with commas between; got {text!r}"
        ) from None


def _config(given: dict, file: str | None):
    from idim import config

    return config.make(given, file)


def _finish(summary: dict, text, as_json: bool, out: Path) -> None:
    """The answer onto standard output; then summaries and figures into the store, which can fail without taking it away."""
    answer(_json(summary) if as_json else "\n" + text(summary))
    figures = _draw(out) if summary["full"] else {}
    if not as_json:
        only = next(iter(figures.values())) if len(figures) == 1 else None
        shown = figures.get(summary["id"], only)
        answer((f"figure: {shown}\n" if shown else "") + f"records: {out / 'runs'}")


def _draw(out: Path) -> dict[str, Path]:
    """Derive what the store holds and draw it: the figures by their question's id. What fails is remarked on, and stops nothing."""
    from idim.report import page
    from idim.store import Store

    figures: dict[str, Path] = {}
    try:
        store = Store(out, create=False)
        summaries = page.derive(store)
        page.keep(store, summaries)
        for name, made in page.draw(store, summaries):
            if isinstance(made, Path):
                figures[name] = made
            else:
                remark(f"idim: warning: {made}")
    except Exception as error:  # the answer is out; nothing here is worth an exit code
        remark(f"idim: warning: {error if isinstance(error, IdimError) else repr(error)}")
    return figures


def _table(summaries: list[dict]) -> str:
    from idim.report.tables import compare_frame

    return compare_frame(summaries).to_string(index=False, float_format=lambda v: f"{v:.4f}")


def _json(value: object) -> str:
    """JSON has no NaN and no infinity: a number that is none is null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_folder(name: str | None, flag: str) -> None:
    """Whether a folder is there or can be made, found before the work whose result it is to hold. Makes nothing."""
    if not name:
        return
    try:
        path = Path(name).absolute()
        while not path.exists():
            path = path.parent
        fits = path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        fits = False
    if not fits:
        raise expected(flag, "a folder that can be written", name)


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)


@contextlib.contextmanager
def _watch() -> Iterator[object]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from idim.study import Watcher

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, soft_wrap=True),
        transient=True,
    )

    def run(name: str):
        # Not before the first run: a mistake found while checking must leave one line and no bar.
        bar.start()
        for task in bar.task_ids:
            bar.remove_task(task)
        task = bar.add_task(name, total=None)

        def progress(step: int, steps: int, score: float | None) -> None:
            bar.update(task, completed=step, total=steps)

        return progress

    def say(line: str) -> None:
        # A full disk under standard error stops no training; a reader who went away does, as anywhere.
        try:
            bar.console.print(printable(line), markup=False, highlight=False)
        except BrokenPipeError:
            raise
        except OSError:
            silence(sys.stderr)
            bar.console.quiet = True

    try:
        with aside():
            yield Watcher(say, run)
    finally:
        if bar.live.is_started:
            bar.stop()


def main() -> None:
    if not sys.warnoptions:
        # What other packages mean to rename is of no use to whoever calls a command.
        warnings.filterwarnings("ignore", category=FutureWarning)
    app()
