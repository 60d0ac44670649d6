"""Time every family of projections against a copy of D floats, and measure its memory.

    python scripts/benchmark_projections.py

A copy and the products are interleaved, and the ratio of the medians is printed. The products are:

    forward     p.image(theta).write(out), into memory that is there
    adjoint     an accumulator's, without any check
    call out=   p(theta, out=out), with its checks
    call        p(theta), which fills fresh memory
    call adj.   p.adjoint(v), with its checks

A dense product that is too slow to time whole is timed on a range of D, and its time multiplied by
D over the range's length: the products cost the same for every weight. The calls have no ranges, so
they are not timed there. Each case runs in a process of its own. Some thirty minutes on two cores;
run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import kept
import pandas as pd
import torch

import projections
from idim import memory

SIZES = (200_000, 22_713_986, 120_000_000)
DIMENSIONS = (100, 1_000, 10_000, 100_000)
#: Entries of a matrix that one timed product may go through.
MOST_ENTRIES = 1 << 26
_FAST = ("orthonormal", "fastfood", "onehot")
_STRUCTURED = (*_FAST, "fastfood-whole")
#: Columns of the table for the public calls, by their field in a row.
_CALLS = {"call_out_ratio": "call out=", "call_ratio": "call", "call_adjoint_ratio": "call adj."}
_REPEATS = {200_000: 201, 22_713_986: 21, 120_000_000: 7}


def measure(family: str, D: int, d: int, engine: str, device: str) -> dict:
    """One case: the ratios of all products to a copy, stored bytes and peak extra memory."""
    where = torch.device(device)
    row: dict = {"family": family, "D": D, "d": d}
    began = time.perf_counter()
    try:
        p = projections.make(family, D, d, seed=1, device=device, engine=engine)
    except projections.ProjectionError as error:
        return {**row, "refused": str(error)}
    row |= {
        "engine": p.engine,
        "make_seconds": time.perf_counter() - began,
        "stored_bytes_a_weight": p.stored_bytes / D,
    }
    whole = family != "dense" or D * d <= MOST_ENTRIES
    n = D if whole else max(1, MOST_ENTRIES // d)
    theta = torch.linspace(-1, 1, d, device=where)
    v, out = torch.ones(D, device=where), torch.empty(D, device=where)

    def forward() -> None:
        p.image(theta).write(out[:n])

    def adjoint() -> None:
        _adjoint(p, v[:n])

    forward()
    adjoint()
    extra = []
    for product in (forward, adjoint):  # the second call: the first has made the scratch memory
        before = memory.now(where)
        memory.reset_peak(where)
        product()
        extra.append(memory.peak(where) - before)
    # What the first call keeps for the next ones is extra too.
    kept = sum(x.nbytes for x in p.scratch)
    timed = {"copy": lambda: out.copy_(v), "forward": forward, "adjoint": adjoint}
    if n == D:
        timed |= {
            "call_out": lambda: p(theta, out=out),
            "call": lambda: p(theta),
            "call_adjoint": lambda: p.adjoint(v),
        }
    times: dict[str, list[float]] = {name: [] for name in timed}
    repeats = _REPEATS.get(D, 21) if family in _FAST else 3
    for _ in range(repeats):
        for name, product in timed.items():
            times[name].append(_seconds(product, where))
    copy = median(times.pop("copy"))
    return (
        row
        | {"weights_timed": n, "repeats": repeats, "copy_ms": 1e3 * copy}
        | {f"{name}_ratio": median(each) * D / n / copy for name, each in times.items()}
        | {"extra_mib": (max(extra) + kept) / 2**20}
    )


def _adjoint(p: projections.Projection, v: torch.Tensor) -> None:
    """P^T v by the accumulator alone, without the checks of ``p.adjoint``."""
    total = p.accumulator()
    total.add(v)
    total.finish()


def _seconds(run, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def growth(family: str, D: int, engine: str, device: str) -> dict:
    """What d = 100,000 costs over d = 1,000, the two interleaved in one process."""
    where = torch.device(device)
    ps = {
        d: projections.make(family, D, d, seed=1, device=device, engine=engine)
        for d in (1_000, 100_000)
    }
    v, out = torch.ones(D, device=where), torch.empty(D, device=where)
    times: dict[tuple[int, str], list[float]] = {
        (d, way): [] for d in ps for way in ("forward", "adjoint")
    }
    for _ in range(_REPEATS[D]):
        for d, p in ps.items():
            theta = torch.ones(d, device=where)
            times[d, "forward"].append(
                _seconds(lambda p=p, theta=theta: p.image(theta).write(out), where)
            )
            times[d, "adjoint"].append(_seconds(lambda p=p: _adjoint(p, v), where))
    return {"family": family, "D": D} | {
        way: median(times[100_000, way]) / median(times[1_000, way])
        for way in ("forward", "adjoint")
    }


def _child(family: str, D: int, d: int, engine: str, device: str) -> dict:
    command = [
        sys.executable,
        __file__,
        "--one",
        family,
        str(D),
        str(d),
        "--engine",
        engine,
        "--device",
        device,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {
            "family": family,
            "D": D,
            "d": d,
            "refused": done.stderr.strip().splitlines()[-1][:200]
            if done.stderr
            else f"exit {done.returncode}",
        }
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: list[dict]) -> str:
    # Cases that were measured before the calls were timed have none.
    frame = pd.DataFrame(rows, columns=dict.fromkeys([*(k for r in rows for k in r), *_CALLS]))
    shown = pd.DataFrame(
        {
            "family": frame["family"],
            "D": frame["D"].map("{:,}".format),
            "d": frame["d"].map("{:,}".format),
            "engine": frame["engine"],
            "forward": frame["forward_ratio"],
            "adjoint": frame["adjoint_ratio"],
            **{shown: frame[name] for name, shown in _CALLS.items()},
            "copy ms": frame["copy_ms"],
            "part timed": frame["weights_timed"] / frame["D"],
            "stored B/weight": frame["stored_bytes_a_weight"],
            "extra MiB": frame["extra_mib"],
        }
    )
    text = shown.to_string(index=False, float_format=lambda x: f"{x:.3g}", na_rep="-")
    refused = [
        f"{r['family']} D={r['D']:,} d={r['d']:,}: {r['refused']}" for r in rows if "refused" in r
    ]
    return "\n".join([text, *refused])


def text(record: dict) -> str:
    """The ratios of every case, and how they grow with d."""
    growth = [
        f"  {r['family']:<14} D = {r['D']:>10,}: "
        f"forward {r['forward']:.2f}, adjoint {r['adjoint']:.2f}"
        for r in record["growth"]
    ]
    head = (
        f"Ratio to a copy of the same floats, {record['threads']} threads, {record['device']}, "
        f"torch {record['torch']}."
    )
    tail = "d = 100,000 over d = 1,000, side by side:"
    return "\n".join([head, table(record["rows"]), tail, *growth]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", default=",".join(projections.KINDS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--dimensions", default=",".join(map(str, DIMENSIONS)))
    parser.add_argument("--engine", default="auto", choices=projections.ENGINES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default="results/projections")
    parser.add_argument(
        "--one", nargs=3, metavar=("FAMILY", "D", "d"), help="one case, printed as JSON"
    )
    args = parser.parse_args()
    if args.one:
        print(
            json.dumps(
                measure(args.one[0], int(args.one[1]), int(args.one[2]), args.engine, args.device)
            )
        )
        return
    rows = []
    for family in args.families.split(","):
        for D in map(int, args.sizes.split(",")):
            for d in map(int, args.dimensions.split(",")):
                rows.append(_child(family, D, d, args.engine, args.device))
                print(json.dumps(rows[-1]), flush=True)
    name = "benchmark" if args.device == "cpu" else f"benchmark-{args.device}"
    name += "" if args.engine == "auto" else f"-{args.engine}"
    path = Path(args.out, f"{name}.json")
    # Cases that were not asked for stay as they were measured.
    asked = {(r["family"], r["D"], r["d"]) for r in rows}
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = sorted(
        [*rows, *(r for r in before if (r["family"], r["D"], r["d"]) not in asked)],
        key=lambda r: (list(projections.KINDS).index(r["family"]), r["D"], r["d"]),
    )
    record = {
        "rows": rows,
        "growth": [growth(f, D, args.engine, args.device) for f in _STRUCTURED for D in SIZES[:2]],
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
    }
    kept.write(path, record, text)


if __name__ == "__main__":
    main()
