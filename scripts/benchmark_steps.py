"""Time a training step in the subspace against a step of full fine-tuning, and measure peak memory.

    python scripts/benchmark_steps.py

Steps of all arms are interleaved in one process and the ratios are of medians; AdamW, fp32, every weight in the subspace. Full
fine-tuning is given torch's fused AdamW, its fastest. Peak memory is that of a process with one arm alone, over its steps. Run it on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import nn

from idim import Subspace, memory, models
from idim.store import write_json


@dataclass(frozen=True)
class Case:
    model: str
    batch: int
    length: int  # tokens; 0 for images
    d: int
    arms: tuple[str, ...]
    pairs: int


_TEXT = ("orthonormal+said", "fastfood+said", "onehot+said", "orthonormal", "onehot")
CASES = {
    "minilm-32x64": Case("minilm", 32, 64, 1000, _TEXT, 21),
    "minilm-16x32": Case("minilm", 16, 32, 1000, _TEXT, 31),
    "mnist-fc-128": Case("mnist-fc", 128, 0, 750, ("orthonormal", "fastfood", "onehot", "sparse", "dense"), 201),
}


class Arm:
    """A model, its optimiser, and one step of it."""

    def __init__(self, case: Case, name: str, device: torch.device):
        self.model = models.load(case.model, 10 if case.length == 0 else 2, seed=0).module.to(device)
        self.model.train()
        if name == "full":
            for p in self.model.parameters():
                p.requires_grad_(True)
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        else:
            family, _, said = name.partition("+")
            sub = Subspace(self.model, case.d, family, "layer" if said else None)
            self.optimizer = torch.optim.AdamW(sub.parameters(), lr=1e-3, fused=True)
        draw = torch.Generator().manual_seed(1)
        if case.length:
            # A new batch each step: which embedding rows are formed depends on it.
            shape = (64, case.batch, case.length)
            self.inputs = torch.randint(1000, 30000, shape, generator=draw).to(device)
        else:
            self.inputs = torch.randn(64, case.batch, 784, generator=draw).to(device)
        self.labels = torch.randint(0, 2, (case.batch,), generator=draw).to(device)
        self.steps = 0

    def step(self) -> float:
        x = self.inputs[self.steps % len(self.inputs)]
        self.steps += 1
        if x.is_cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        out = self.model(x)
        nn.functional.cross_entropy(getattr(out, "logits", out), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began


def timed(case: Case, device: torch.device) -> list[dict]:
    arms = {name: Arm(case, name, device) for name in ("full", *case.arms)}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(2):
        for arm in arms.values():
            arm.step()
    for _ in range(case.pairs):
        for name, arm in arms.items():
            seconds[name].append(arm.step())
    full = median(seconds["full"])
    return [{"arm": name, "step_ms": 1e3 * median(s), "ratio": median(s) / full, "steps": len(s)} for name, s in seconds.items()]


def peak_bytes(case: Case, name: str, device: torch.device) -> int:
    """Of this process: everything in it, the interpreter and torch too."""
    arm = Arm(case, name, device)
    memory.reset_peak(device)
    for _ in range(6):
        arm.step()
    return memory.peak(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default="results/steps")
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "ARM"), help="one arm's peak memory, printed")
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.peak:
        print(peak_bytes(CASES[args.peak[0]], args.peak[1], device))
        return
    rows = []
    for key in args.cases.split(","):
        for row in timed(CASES[key], device):
            done = subprocess.run(
                [sys.executable, __file__, "--peak", key, row["arm"], "--device", args.device], capture_output=True, text=True, check=True,
            )
            rows.append({"case": key, **row, "peak_mib": int(done.stdout.split()[-1]) / 2**20})
            rows[-1]["peak_ratio"] = rows[-1]["peak_mib"] / next(r["peak_mib"] for r in rows if r["case"] == key)
            print(json.dumps(rows[-1]), flush=True)
    record = {"rows": rows, "threads": torch.get_num_threads(), "torch": torch.__version__,
              "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()}
    name = "steps" if device.type == "cpu" else f"steps-{device.type}"
    write_json(Path(args.out, f"{name}.json"), record)
    text = pd.DataFrame(rows).to_string(index=False, float_format=lambda x: f"{x:.3f}")
    Path(args.out, f"{name}.txt").write_text(f"{record['threads']} threads, {record['device']}, torch {record['torch']}\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
