"""Kills searches at random, lets them go on, and looks what was lost.

    python scripts/kill_searches.py --kills 200 --out results/robustness

Each search is a process of its own with two workers. At a random moment the driver, a worker, or
all of them are killed by SIGKILL, and the search is begun again, until it ends. Then every record
must fit, no run may have been trained although it was in the store, and the answer must be that of
an undisturbed search that is given the same runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import count
from pathlib import Path

import counted

from idim import conductor
from idim.config import Config
from idim.executors import EXECUTORS
from idim.resolve import resolve
from idim.store import Store, files
from idim.values.plan import Plan

KINDS = ("driver", "worker", "both")


def asked(out: Path, seed: int) -> Config:
    """A search of some 20 runs of half a second."""
    return Config(
        *("mlp:64-16-10", "digits", "did"),
        max_steps=150,
        learning_rate=0.01,
        max_runs=8,
        seed=seed,
        tune=False,
        checks=False,
        workers=2,
        out=str(out),
    )


def drive(out: Path, seed: int) -> None:
    """One search, in this process."""
    from idim.executors import forking

    forking.begin(["sklearn.datasets"])
    counted.count_into(out.parent / "log", out)
    found = conductor.measure(resolve(asked(out, seed)), Store(out))
    (out.parent / "answer.json").write_text(json.dumps(found.to_json(), sort_keys=True))


def below(pid: int) -> list[int]:
    """The processes below this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(path.parent.name), *below(int(path.parent.name))]
    return found


def workers_of(pid: int) -> list[int]:
    """Its workers: what its fork server has forked."""
    return [w for child in below(pid) for w in below(child)]


def disturbed(folder: Path, seed: int, draw: random.Random, left: int) -> Counter[str]:
    """One search that is killed until it ends, at most ``left`` times. Counts the kills."""
    out, kills = folder / "o", Counter[str]()
    while True:
        process = subprocess.Popen(
            [sys.executable, __file__, "--drive", str(out), "--seed", str(seed)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        begun = counted.read(folder / "log").begun.total()
        while process.poll() is None and counted.read(folder / "log").begun.total() == begun:
            time.sleep(0.02)  # it loads torch
        time.sleep(draw.random() * 2.5)
        if sum(kills.values()) < left and process.poll() is None:
            kind = draw.choice(KINDS)
            workers = workers_of(process.pid)
            victims = workers if kind == "both" else draw.sample(workers, min(1, len(workers)))
            for pid in [process.pid] * (kind != "worker") + victims * (kind != "driver"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            kills[kind] += 1
            if kind == "worker":
                continue_until_end(process, folder, draw, kills, left)
            process.wait()
        else:
            process.wait()
        if process.returncode == 0:
            return kills
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the search ended with {process.returncode}")


def continue_until_end(process, folder, draw, kills, left) -> None:
    """A search that lost a worker goes on; its driver may be killed later."""
    time.sleep(draw.random() * 3)
    if sum(kills.values()) < left and process.poll() is None and draw.random() < 0.5:
        process.kill()
        kills["driver"] += 1


def looked_at(folder: Path, plan: Plan) -> dict[str, int | bool]:
    """What is left after a search by this plan that was disturbed."""
    store, log = Store(folder / "o", create=False), counted.read(folder / "log")
    records = store.all()
    keys = {r.key for r in records}
    # The same runs, and what flew at each decision, in a store that nobody disturbs.
    fresh = folder / "fresh"
    for name in ("runs", "decisions"):
        if (folder / "o" / name).is_dir():
            shutil.copytree(folder / "o" / name, fresh / name)
    made = EXECUTORS["local"]
    EXECUTORS["local"] = _refuse  # type: ignore[assignment]
    try:
        again = json.dumps(conductor.measure(plan, Store(fresh)).to_json(), sort_keys=True)
        same = again == (folder / "answer.json").read_text()
    except AssertionError:
        same = False
    finally:
        EXECUTORS["local"] = made
    left = [path.suffix for path in (folder / "o" / "claims").iterdir()]
    return {
        "runs": len(records),
        "failed": sum(r.status == "failed" for r in records),
        "files that do not fit": len(store.skipped),
        "ended but not kept": len(set(log.ended) - keys),
        "trained though kept": log.needless.total(),
        "begun again": sum(n - 1 for n in log.begun.values()),
        "claims left": sum(suffix != files.PARTIAL for suffix in left),
        "half-written files left": left.count(files.PARTIAL),
        "same answer": same,
    }


def _refuse(*args):
    from imagined import Imagined

    class Refusing(Imagined):
        def submit(self, *args):
            raise AssertionError("a run that is kept was asked for again")

    return Refusing(1, 0, Counter())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=1, help="searches side by side")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.drive:
        drive(args.drive, args.seed)
        return
    kills, rows = Counter[str](), []

    def search(seed: int, place: Path) -> Counter[str]:
        return disturbed(place, seed, random.Random(seed), args.kills)

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(args.at_once) as pool:
        seeds, busy = count(args.seed), {}
        while busy or sum(kills.values()) < args.kills:
            while len(busy) < args.at_once and sum(kills.values()) < args.kills:
                place = Path(scratch, str(seed := next(seeds)))
                place.mkdir()
                busy[pool.submit(search, seed, place)] = seed, place
            for done in wait(busy, return_when=FIRST_COMPLETED).done:
                seed, place = busy.pop(done)
                kills += (mine := done.result())
                row = looked_at(place, resolve(asked(place, seed)))
                rows.append({"seed": seed, "kills": sum(mine.values()), **row})
                print(sum(kills.values()), rows[-1], flush=True)
                shutil.rmtree(place)
    found = {
        "kills": dict(kills) | {"all": sum(kills.values())},
        "searches": len(rows),
        **{
            name: sum(row[name] for row in rows)
            for name in rows[0]
            if name not in ("seed", "kills", "same answer")
        },
        "same answers": sum(row["same answer"] for row in rows),
        "rows": rows,
    }
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "kills.json").write_text(json.dumps(found, indent=1) + "\n")
    print({k: v for k, v in found.items() if k != "rows"})


if __name__ == "__main__":
    main()
