"""Which matrices should LoRA adapt? Hu et al. 2021's table at a fixed budget, for any model, task.

    python scripts/compare_targets.py --model minilm --task trec6 --num-train-epochs 2 \\
        --max-seq-length 24 --published path/to/lora2021_tables.json

Each row adapts other matrices of the attention (q; k; v; o; q,k; q,v; q,k,v,o), and the last one
every linear layer. The rank is chosen so that all train nearly as many numbers beside the head as
--rank does on one matrix. Each row has a rate of its own, tuned on the tuning split, and --repeats
runs. The script writes targets-MODEL-TASK.json and .txt into --out, and goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import kept
import pandas as pd
from torch import nn

from idim import conductor, models, tasks
from idim.answers import frontier
from idim.arms import heads
from idim.config import Config
from idim.errors import expected
from idim.progress import watching
from idim.resolve import resolve
from idim.store import Store
from idim.values.options import Options

#: What the matrices of an attention are called.
NAMES = {
    "q": ("query", "q_proj", "q_lin", "q"),
    "k": ("key", "k_proj", "k_lin", "k"),
    "v": ("value", "v_proj", "v_lin", "v"),
    "o": ("attention.output.dense", "o_proj", "out_proj", "out_lin", "o"),
}
#: The rows of the published table, and every linear layer.
ROWS = ("q", "k", "v", "o", "q,k", "q,v", "q,k,v,o", "all")


def adapted(module: nn.Module, row: str) -> tuple[tuple[str, ...], int]:
    """The targets of a row, and how many numbers they train a rank."""
    if row == "all":
        targets: tuple[str, ...] = (models.ALL_LINEAR,)
        names = models.linear(module)
    else:
        known = [name for name, _ in module.named_modules()]
        ends = {
            part: next(
                (e for e in NAMES[part] if any(f".{n}".endswith(f".{e}") for n in known)), ""
            )
            for part in row.split(",")
        }
        if not all(ends.values()):
            wanted = ", ".join(NAMES[next(part for part, end in ends.items() if not end)])
            raise expected("--model", f"an attention with matrices called {wanted}", "others")
        targets = tuple(ends.values())
        names = [n for n in known if any(f".{n}".endswith(f".{end}") for end in targets)]
    inside = tuple(f"{head}." for head in heads(module))
    shapes = [module.get_submodule(n).weight.shape for n in names if not f"{n}.".startswith(inside)]
    return targets, sum(sum(shape) for shape in shapes)


def published(path: Path | None) -> dict[str, dict[str, float]]:
    """The published scores by row and task."""
    if path is None:
        return {}
    table = json.loads(path.read_text())["table5_budget_18M"]
    return {
        row: {task: table[task][i] for task in ("WikiSQL", "MultiNLI")}
        for i, row in enumerate(table["targets"])
    }


def text(rows: list[dict]) -> str:
    """A row for each list of targets."""
    frame = pd.DataFrame(rows)
    return frame.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.4g}") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--rank", type=int, default=8, help="of the rows with one matrix")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num-train-epochs", type=float, default=0.0)
    parser.add_argument("--max-steps", type=int, default=0)
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--published", type=Path, help="lora2021_tables.json")
    parser.add_argument("--out", type=Path, default=Path("results/targets"))
    args = parser.parse_args()
    common = {
        name: getattr(args, name)
        for name in ("model", "task", "repeats", "num_train_epochs", "max_steps")
    }
    common |= {name: getattr(args, name) for name in ("precision", "data_dir", "max_seq_length")}
    common |= {"out": str(args.out), "checks": False}
    options = Options(data_dir=args.data_dir, max_seq_length=args.max_seq_length)
    task = tasks.load(args.task, models.reader(args.model), options)
    module = models.load(args.model, task.classes, 0, task.head).module
    budget, beside, rows = args.rank * adapted(module, "q")[1], published(args.published), []
    store = Store(args.out)
    with watching(None, print) as watcher:
        for row in ROWS:
            targets, numbers = adapted(module, row)
            rank = max(1, round(budget / numbers))
            asked = {"arm": "lora", "design": "grid", "ranks": (rank,), "targets": targets}
            plan = resolve(Config(**common, **asked))
            conductor.measure(plan, store, watcher)
            question = store.question(plan.id)
            (place,) = frontier.places(store.all(), [question])
            rows.append(
                {
                    "targets": row,
                    "rank": rank,
                    "numbers": rank * numbers,
                    "mean": place.mean,
                    "error": place.error,
                    "n": place.n,
                    "of gain": place.share,
                    **{f"GPT-3 {name}": v for name, v in beside.get(row, {}).items()},
                }
            )
    name = f"targets-{args.model}-{args.task}".replace(":", "-").replace("/", "-")
    kept.write(args.out / f"{name}.json", rows, text)


if __name__ == "__main__":
    main()
