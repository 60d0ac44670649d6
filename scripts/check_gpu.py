"""Measure on a GPU what only a GPU can show, in order of value, within a time limit.

    python scripts/check_gpu.py --minutes 25
    python scripts/check_gpu.py --device cpu --tiny     # every part at a tiny size: a rehearsal

The parts:

    bits          P made on the CPU and on the device: the same checksum, the same columns
    engines       every engine that works on the device, against the plain one
    steps         a training step in the subspace as a ratio to full fine-tuning, and peak memory
    products      P theta and P^T v as ratios to a copy
    8b            step and memory of a decoder of eight billion weights (one GPU of 80 GB)
    mnist-fc      a whole trust search; it needs --data-dir, a folder with MNIST's four files
    trec6         a whole trust search of MiniLM on TREC-6

Each part runs in a process of its own, so that a failure or the end of the time loses no other.
After each part the script writes check.json into --out, with the text of what failed. Each part
says how long it may take at most. A part that was measured before is not repeated, and a search
goes on from its records.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import projections
from idim.store import write_json
from projections import engines

HERE = Path(__file__).resolve().parent
#: Columns of P that are compared, and the sizes (D, d) at which they are.
_COLUMNS = 4
_SIZES = ((10_000, 300), (1_000_000, 1_000))
#: Exit codes: done; measured but not reached.
_DONE = (0, 3)
#: The training of the search on TREC-6.
_TREC = "--num-train-epochs 2 --max-seq-length 24 --max-runs 18"
#: What stands for MNIST in a rehearsal, and what a rehearsal leaves out.
_TINY = "--model mlp:64-8-10 --task digits --arm did --max-steps 60 --max-runs 6 --no-checks"
_NOT_TINY = "it has no tiny form"


@dataclass(frozen=True)
class Part:
    """One measurement: the command that makes it, and the file that it leaves.

    Args:
        name: its name in check.json.
        command: the words after the interpreter's name.
        needs: the seconds without which it is not worth a start.
        result: the JSON that the command leaves, or a folder whose JSON files are the result. None
            if the command prints its JSON as the last line.
        why_not: why it cannot be made here; empty if it can.
    """

    name: str
    command: tuple[str, ...]
    needs: float
    result: Path | None = None
    why_not: str = ""

    def made(self, seconds: float) -> dict[str, Any]:
        """Run the command. Its result, or what went wrong."""
        began = time.perf_counter()
        try:
            done = subprocess.run(
                [sys.executable, *self.command], capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return {"status": "out of time", "seconds": seconds}
        row = {"status": "ok", "seconds": round(time.perf_counter() - began, 1)}
        if done.returncode not in _DONE:
            tail = "\n".join(done.stderr.strip().splitlines()[-8:])
            return row | {"status": f"exit {done.returncode}", "error": tail}
        if self.result is None:
            return row | {"result": json.loads(done.stdout.splitlines()[-1])}
        if self.result.is_dir():
            files = sorted(self.result.glob("*.json"))
            return row | {"result": [json.loads(path.read_text()) for path in files]}
        return row | {"result": json.loads(self.result.read_text())}


def bits(device: str, tiny: bool) -> dict[str, Any]:
    """Whether P is the same on the CPU and on the device, family by family.

    A column of P is P e_j, which needs no sum of rounded numbers. P theta does: its largest
    difference is given as a fraction of its largest number.
    """
    rows = []
    for family, (D, d) in _cases(tiny):
        here, there = (
            projections.make(family, D, d, seed=7, device=where, engine="plain")
            for where in ("cpu", device)
        )
        columns = [j * d // _COLUMNS for j in range(_COLUMNS)]
        theta = torch.linspace(-1, 1, d)
        want, got = here(theta), there(theta.to(device)).cpu()
        rows.append(
            {
                "family": family,
                "D": D,
                "d": d,
                "same_checksum": here.checksum() == there.checksum(),
                "same_columns": sum(
                    torch.equal(here(_unit(d, j)), there(_unit(d, j).to(device)).cpu())
                    for j in columns
                ),
                "columns": len(columns),
                "difference": float((got - want).abs().max() / want.abs().max()),
            }
        )
    return {"rows": rows}


def compared(device: str, tiny: bool) -> dict[str, Any]:
    """Every engine that works on the device, against the plain one on the same device."""
    rows = []
    for family, (D, d) in _cases(tiny):
        plain = projections.make(family, D, d, seed=7, device=device, engine="plain")
        theta = torch.linspace(-1, 1, d, device=device)
        v = torch.linspace(1, -1, D, device=device)
        for name in plain.engines:
            if why := engines.why_unavailable(name, torch.device(device), torch.float32):
                rows.append({"family": family, "D": D, "d": d, "engine": name, "not": why})
                continue
            other = projections.make(family, D, d, seed=7, device=device, engine=name)
            rows.append(
                {
                    "family": family,
                    "D": D,
                    "d": d,
                    "engine": name,
                    "forward": _far(other(theta), plain(theta)),
                    "adjoint": _far(other.adjoint(v), plain.adjoint(v)),
                }
            )
    return {"rows": rows}


def _cases(tiny: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    for family in projections.KINDS:
        for size in _SIZES[:1] if tiny else _SIZES:
            yield family, size


def _unit(d: int, j: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(j), d).float()


def _far(got: torch.Tensor, want: torch.Tensor) -> float:
    """The distance of two vectors, as a fraction of the length of the second."""
    return float((got - want).norm() / want.norm())


def parts(device: str, tiny: bool, data_dir: str, out: Path) -> list[Part]:
    """All parts, the most valuable first."""
    me = (str(Path(__file__)), "--device", device, *(("--tiny",) if tiny else ()), "--part")
    suffix = "" if device == "cpu" else f"-{device}"
    steps = (str(HERE / "benchmark_steps.py"), "--device", device, "--out")

    def search(name: str, needs: float, words: str, why_not: str = "") -> Part:
        at = out / name
        command = ("-m", "idim", "search", *words.split(), "--out", str(at))
        return Part(name, command, needs, at / "summaries", why_not)

    data = "" if data_dir or tiny else "--data-dir was not given"
    mnist = f"--model mnist-fc --task idx --arm did --data-dir {data_dir}"
    return [
        Part("bits", (*me, "bits"), 10),
        Part("engines", (*me, "engines"), 10),
        Part(
            "steps",
            (*steps, str(out / "steps"), *(("--cases", "tiny") if tiny else ())),
            10 if tiny else 120,
            out / "steps" / f"steps{suffix}.json",
        ),
        Part(
            "products",
            (
                str(HERE / "benchmark_projections.py"),
                *("--families", "orthonormal,fastfood,onehot", "--sizes", "22713986"),
                *("--dimensions", "1000", "--device", device, "--out", str(out / "products")),
            ),
            60,
            out / "products" / f"benchmark{suffix}.json",
            _NOT_TINY if tiny else "",
        ),
        Part(
            "8b",
            (*steps, str(out / "8b"), "--cases", "llama-8b"),
            120,
            out / "8b" / f"steps{suffix}.json",
            _too_small(device),
        ),
        search("mnist-fc", 60, _TINY if tiny else mnist, data),
        search(
            "trec6",
            120,
            f"--model minilm --task trec6 --arm said {_TREC} --precision bf16",
            _NOT_TINY if tiny else "",
        ),
    ]


def _too_small(device: str) -> str:
    """Why eight billion weights cannot be trained here; empty if they can."""
    if device == "cpu":
        return "it needs a GPU of 80 GB"
    held = torch.cuda.get_device_properties(device).total_memory / 2**30
    return "" if held > 70 else f"it needs a GPU of 80 GB; this one has {held:.0f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=25, help="the whole time that it may take")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal at tiny sizes")
    parser.add_argument("--data-dir", default="", help="a folder with MNIST's four IDX files")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--part", choices=("bits", "engines"), help="one part, printed as JSON")
    args = parser.parse_args()
    if args.part:
        print(json.dumps({"bits": bits, "engines": compared}[args.part](args.device, args.tiny)))
        return
    until = time.monotonic() + 60 * args.minutes
    file = args.out / "check.json"
    cuda = args.device.startswith("cuda")
    about = {
        "device": torch.cuda.get_device_name(args.device) if cuda else platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "tiny": args.tiny,
    }
    kept = json.loads(file.read_text()) if file.is_file() else {}
    found: dict[str, Any] = kept.get("parts", {}) if kept.get("about") == about else {}
    for part in parts(args.device, args.tiny, args.data_dir, args.out):
        left = until - time.monotonic()
        if found.get(part.name, {}).get("status") == "ok":
            print(f"{part.name}: was measured before")
            continue
        if part.why_not or left < part.needs:
            why = part.why_not or f"{left:.0f} s are left, and it needs {part.needs:.0f}"
            found[part.name] = {"status": "not measured", "why": why}
        else:
            found[part.name] = part.made(left)
        write_json(file, {"about": about, "parts": found})
        row = found[part.name]
        print(f"{part.name}: {row['status']}. {row.get('why') or row.get('error', '')}", flush=True)
    failed = [n for n, row in found.items() if row["status"] not in ("ok", "not measured")]
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
