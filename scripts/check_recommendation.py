"""Does a recommended rank hold on data and seeds that its search never saw?

    python scripts/check_recommendation.py --model minilm --tasks trec6,movie-reviews,sst2 \\
        --data-dir path/to/glue --num-train-epochs 2 --max-seq-length 40 --precision bf16

The examples of each task are dealt into two halves, and each half into a training and a test part.
On the first half `idim recommend` searches for a rank. On the second one full fine-tuning and LoRA
at that rank and rate are trained with fresh seeds. The script counts how many of the LoRA runs
reach the second half's own threshold, with an interval. It writes recommended.json and .txt into
--out. It keeps every run, and goes on where it was.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import kept
import pandas as pd
from scipy.stats import beta

from idim import conductor
from idim.answers.recommend import recommend
from idim.arms import FLOOR
from idim.config import Config
from idim.progress import watching
from idim.resolve import resolve
from idim.store import Store
from idim.tasks import reviews, trec
from idim.values.purpose import Purpose

#: A tenth of the mass is left out of an interval, half at each end.
_TAIL = 0.05
_TEST = 0.3


def examples(task: str, data_dir: str) -> list[tuple[str, str]]:
    """Texts and their labels, each text once."""
    if task == "trec6":
        found = [(text, label) for label, text in trec.labelled()]
    elif task == "movie-reviews":
        rated = [(text, rating) for rating, text in reviews.snippets() if abs(rating) >= 0.5]
        found = [(text, "positive" if rating > 0 else "negative") for text, rating in rated]
    else:
        (file,) = Path(data_dir, task).glob("*train*.parquet")
        frame = pd.read_parquet(file)
        found = list(zip(frame["sentence"], frame["label"].astype(str), strict=True))
    return list(dict(found).items())


def dealt(found: list[tuple[str, str]], most: int, folder: Path) -> dict[str, Path]:
    """Two task folders, of examples that differ."""
    drawn = random.Random(0).sample(found, min(len(found), 2 * most))
    half, places = len(drawn) // 2, {}
    for name, part in (("first", drawn[:half]), ("second", drawn[half:])):
        test = round(_TEST * len(part))
        place = places[name] = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for file, rows in (("test", part[:test]), ("train", part[test:])):
            pd.DataFrame(rows, columns=["text", "label"]).to_csv(place / f"{file}.csv", index=False)
    return places


def interval(passed: int, runs: int) -> tuple[float, float]:
    """The 90 % interval of a share, by a beta distribution with Jeffreys' prior."""
    a, b = passed + 0.5, runs - passed + 0.5
    return float(beta.ppf(_TAIL, a, b)), float(beta.ppf(1 - _TAIL, a, b))


def text(rows: list[dict]) -> str:
    """A row for each task."""
    shown = pd.DataFrame(rows).drop(columns="scores", errors="ignore")
    return shown.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.3g}") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", default="trec6,movie-reviews,sst2")
    parser.add_argument("--examples", type=int, default=2500, help="of each half, at most")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-runs", type=int, default=Config.max_runs, help="of a search")
    parser.add_argument("--num-train-epochs", type=float, default=2.0)
    parser.add_argument("--max-seq-length", type=int, default=40)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--data", type=Path, default=Path("halves"), help="where halves go")
    parser.add_argument("--out", type=Path, default=Path("results/recommend"))
    args = parser.parse_args()
    names = ("model", "num_train_epochs", "max_seq_length", "precision")
    common = {name: getattr(args, name) for name in names} | {"out": str(args.out)}
    store, rows = Store(args.out), []
    with watching(None, print) as watcher:
        for task in args.tasks.split(","):
            halves = dealt(examples(task, args.data_dir), args.examples, args.data / task)
            searched = resolve(
                Config(task=str(halves["first"]), arm="lora", max_runs=args.max_runs, **common)
            )
            said = recommend(conductor.measure(searched, store, watcher))
            row = {"task": task, "rank": said.size, "why": said.why}
            if said.size is None:
                rows.append(row)
                continue
            question = store.question(searched.id)
            rates = {r.rate for r in question.of(store.all()) if r.kind == Purpose.BASELINE}
            fresh = {"task": str(halves["second"]), "baselines": args.seeds, "repeats": args.seeds}
            fresh |= {"checks": False, "seed": 1, "learning_rate": rates.pop()}
            if said.size:
                fresh |= {"arm": "lora", "design": "grid", "ranks": (said.size,)}
                fresh["lora_learning_rate"] = said.rate
            else:
                fresh["arm"] = FLOOR
            plan = resolve(Config(**fresh, **common))
            held = conductor.measure(plan, store, watcher)
            runs = store.question(plan.id).of(store.all())
            scores = [r.score for r in runs if r.kind == Purpose.SEARCH]
            passed = sum(score is not None and score >= held.levels.tau for score in scores)
            row |= {"full": held.levels.full, "tau": held.levels.tau, "scores": scores}
            row |= {"passed": passed, "runs": len(scores)}
            row |= dict(zip(("low", "high"), interval(passed, len(scores)), strict=True))
            rows.append(row)
    kept.write(args.out / "recommended.json", rows, text)


if __name__ == "__main__":
    main()
