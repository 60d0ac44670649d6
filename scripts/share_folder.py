"""Several searches on one folder, and one search on two machines of which one is taken away.

    python scripts/share_folder.py --out results/robustness
    python scripts/share_folder.py --ray --out results/robustness

Four processes search at once in one store: two ask one question, two ask another. No run may be
trained twice, processes with one question must answer alike, and every answer must be that of an
undisturbed search that is given the same runs. With --ray, a search runs on two Ray nodes. One of
them is removed in mid-search. The runs that it had are made once more, elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import counted
from kill_searches import looked_at

from idim import conductor
from idim.config import Config
from idim.resolve import resolve
from idim.store import Store

#: What the four ask: the fraction of full fine-tuning to reach.
ASKED = (0.9, 0.9, 0.8, 0.8)


def asked(out: Path, threshold: float, **more: object) -> Config:
    """A search of some 15 runs."""
    budget = {"max_steps": 150, "max_runs": 8, "learning_rate": 0.01, "tune": False}
    given = budget | {"threshold": threshold, "out": str(out)} | more
    return Config("mlp:64-16-10", "digits", "did", **given)  # type: ignore[arg-type]


def drive(out: Path, number: int) -> None:
    """One of the searches, in this process."""
    counted.count_into(out.parent / "log", out)
    plan = resolve(asked(out, ASKED[number]))
    found = conductor.measure(plan, Store(out))
    (out.parent / f"answer-{number}.json").write_text(json.dumps(found.to_json(), sort_keys=True))


def shared() -> dict[str, object]:
    """Four searches at once."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "o"
        processes = [
            subprocess.Popen([sys.executable, __file__, "--drive", str(out), "--number", str(i)])
            for i in range(len(ASKED))
        ]
        codes = [process.wait() for process in processes]
        answers = [Path(folder, f"answer-{i}.json").read_text() for i in range(len(ASKED))]
        log = counted.read(Path(folder) / "log")
        store = Store(out, create=False)
        undisturbed = []
        for number, threshold in enumerate(ASKED):
            before = log.begun.total()
            counted.count_into(Path(folder) / "log", out)
            again = conductor.measure(resolve(asked(out, threshold)), Store(out))
            undisturbed.append(
                json.dumps(again.to_json(), sort_keys=True) == answers[number]
                and counted.read(Path(folder) / "log").begun.total() == before
            )
        return {
            "searches": len(ASKED),
            "ended well": sum(code == 0 for code in codes),
            "runs": len(store.all()),
            "trained": log.ended.total(),
            "trained twice": sum(n > 1 for n in log.begun.values()),
            "answers alike to one question": [answers[0] == answers[1], answers[2] == answers[3]],
            "answers of undisturbed searches": sum(undisturbed),
            "claims left": len(list((out / "claims").iterdir())),
        }


def on_ray() -> dict[str, object]:
    """A search on two nodes, of which one is removed once a third of the runs are made."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    import threading

    import ray
    from ray.cluster_utils import Cluster

    from idim.executors import ray as on_ray

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "o"
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        counted.count_into(Path(folder) / "log", out)
        on_ray.execute = counted.here.execute  # type: ignore[attr-defined]
        removed: dict[str, object] = {}

        def remove() -> None:
            while True:  # until both nodes make a run
                log = counted.read(Path(folder) / "log")
                if log.ended.total() >= 6 and log.begun.total() - log.ended.total() == 2:
                    break
                time.sleep(0.05)
            removed["flew"] = log.begun.total() - log.ended.total()
            removed["after"] = log.ended.total()
            cluster.remove_node(second, allow_graceful=False)

        threading.Thread(target=remove, daemon=True).start()
        config = asked(out, 0.9, executor="ray", ray_address=cluster.address, max_steps=1500)
        found = conductor.measure(resolve(config), Store(out))
        ray.shutdown()
        cluster.shutdown()
        (Path(folder) / "answer.json").write_text(json.dumps(found.to_json(), sort_keys=True))
        log = counted.read(Path(folder) / "log")
        plan = resolve(dataclasses.replace(config, executor="local", ray_address=""))
        seen = looked_at(Path(folder), plan)
        return {"verdict": str(found.verdict), **removed, "begun": log.begun.total(), **seen}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        drive(args.drive, args.number)
        return
    found = on_ray() if args.ray else shared()
    print(found)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        name = "two-machines" if args.ray else "one-folder"
        (args.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
