"""Time a training step in the subspace against a step of full fine-tuning, and measure peak memory.

    python scripts/benchmark_steps.py

In each round every arm takes one step, in an order drawn anew. A ratio is the median of the rounds'
ratios, with the 95 % interval that its order statistics give. All use AdamW and fp32, with every
weight in the subspace. Full fine-tuning is given torch's fused AdamW, its fastest; "full, unfused"
is what torch.optim.AdamW does unless told. "no projection" is the floor: weights are never formed,
and gradients dropped as they come. Peak memory is that of a process with one arm alone, over its
steps. Run it on an idle machine.

The case llama-8b is for one GPU of 80 GB and is run by name. It has the shape of Llama 3.1 8B with
random weights, bf16 and gradient checkpointing. Every linear layer of its blocks is in a subspace
of d = 10,000. It has no full arm, which would not fit.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

import torch
from torch import nn

from idim import Subspace, memory, models


@dataclass(frozen=True)
class Case:
    model: str
    batch: int
    length: int  # tokens; 0 for images
    d: int
    #: A family, then +said, +lean and +plain (engine). The others are compared with the first.
    arms: tuple[str, ...]
    rounds: int
    apart: bool = False  # whether its arms do not fit into one process


_FULL, _FLOOR = ("full", "full, unfused"), "no projection"
_TEXT = (
    *_FULL,
    _FLOOR,
    "orthonormal+said",
    "fastfood+said",
    "onehot+said",
    "orthonormal",
    "onehot",
    "orthonormal+said+lean",
)
CASES = {
    "minilm-32x64": Case("minilm", 32, 64, 1000, _TEXT, 61),
    "minilm-16x32": Case("minilm", 16, 32, 1000, (*_TEXT, "orthonormal+said+plain"), 81),
    "mnist-fc-128": Case(
        "mnist-fc",
        128,
        0,
        750,
        (*_FULL, _FLOOR, "orthonormal", "fastfood", "onehot", "sparse", "dense"),
        201,
    ),
    "smollm2-4x64": Case(
        "smollm2",
        4,
        64,
        1000,
        ("full", "orthonormal+said", "onehot+said", "orthonormal+said+lean"),
        25,
    ),
    "llama-8b": Case(
        "llama-8b", 1, 1024, 10_000, ("orthonormal", "orthonormal+lean", "onehot"), 5, apart=True
    ),
    "tiny": Case("mnist-fc", 2, 0, 10, ("full", "full, unfused", "orthonormal"), 7),
}
#: The cases that are run by name alone.
_BY_NAME = ("llama-8b", "tiny")
#: Decoders of their published shape, with random weights: a step costs the same for any weights.
_DECODERS = {
    "smollm2": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "llama-8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
}


def load(name: str, classes: int, device: torch.device) -> nn.Module:
    if name not in _DECODERS:
        return models.load(name, classes, seed=0).module.to(device)
    from transformers import LlamaConfig, LlamaForCausalLM

    large = name == "llama-8b"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if large else torch.float32)
    try:
        with device:
            model = LlamaForCausalLM(LlamaConfig(**_DECODERS[name]))
    finally:
        torch.set_default_dtype(before)
    if large:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


class Arm:
    """A model, its optimiser, and one step of it."""

    def __init__(self, case: Case, name: str, device: torch.device):
        self.model = load(case.model, 10 if case.length == 0 else 2, device)
        self.model.train()
        self.decodes, self.floor = case.model in _DECODERS, name == _FLOOR
        if name in _FULL:
            for p in self.model.parameters():
                p.requires_grad_(True)
            self.optimizer = torch.optim.AdamW(
                self.model.parameters(), lr=1e-5, fused=name == "full"
            )
        elif self.floor:
            for module in self.model.modules():
                if isinstance(module, nn.Embedding):
                    module.sparse = True  # as a subspace has it
            for p in self.model.parameters():
                p.requires_grad_(True)
                p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
            theta = nn.Parameter(torch.zeros(case.d, device=device))
            theta.grad = torch.zeros_like(theta)  # kept, so that AdamW has its step to do
            self.optimizer = torch.optim.AdamW([theta], lr=1e-3, fused=True)
        else:
            family, *how = name.split("+")
            include = (lambda n: "_proj" in n) if case.model == "llama-8b" else None
            sub = Subspace(
                self.model,
                case.d,
                family,
                "layer" if "said" in how else None,
                include=include,
                lean="lean" in how,
                engine="plain" if "plain" in how else "auto",
            )
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
        if self.decodes:
            loss = self.model(x, labels=x).loss
        else:
            out = self.model(x)
            loss = nn.functional.cross_entropy(getattr(out, "logits", out), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=not self.floor)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began


def timed(case: Case, device: torch.device) -> list[dict]:
    arms = {name: Arm(case, name, device) for name in case.arms}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(2):
        for arm in arms.values():
            arm.step()
    order = Random(0)
    for _ in range(case.rounds):
        # A step leaves something in the caches and the allocator to its successor. So none may
        # always follow the same one.
        for name in order.sample(list(arms), len(arms)):
            seconds[name].append(arms[name].step())
    # Imported here, because it would count in the processes whose memory is measured.
    from scipy.stats import quantile_test

    fused, unfused = _FULL
    rows = []
    for name, own in seconds.items():
        rows.append({"arm": name, "step_ms": 1e3 * median(own), "rounds": len(own)})
        for base, ratio, low, high in (
            (fused, "ratio", "low", "high"),
            (unfused, "to_unfused", "unfused_low", "unfused_high"),
        ):
            if base in arms:
                each = [a / b for a, b in zip(own, seconds[base], strict=True)]
                interval = quantile_test(each).confidence_interval(0.95)
                rows[-1] |= {ratio: median(each), low: interval.low, high: interval.high}
    return rows


def alone(case: Case, name: str, device: torch.device) -> dict:
    """An arm in a process of its own: its peak bytes and its median step.

    The interpreter and torch count in the peak too.
    """
    arm = Arm(case, name, device)
    memory.reset_peak(device)
    seconds = [arm.step() for _ in range(6)]
    return {"peak_bytes": memory.peak(device), "step_ms": 1e3 * median(seconds[1:])}


def text(record: dict) -> str:
    """Steps and peaks of every case."""
    import pandas as pd  # here for the same reason

    table = pd.DataFrame(record["rows"]).to_string(index=False, float_format=lambda x: f"{x:.3f}")
    return f"{record['threads']} threads, {record['device']}, torch {record['torch']}\n{table}\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(name for name in CASES if name not in _BY_NAME))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default="results/steps")
    parser.add_argument(
        "--alone", nargs=2, metavar=("CASE", "ARM"), help="print one arm's peak memory and step"
    )
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.alone:
        print(json.dumps(alone(CASES[args.alone[0]], args.alone[1], device)))
        return
    name = "steps" if device.type == "cpu" else f"steps-{device.type}"
    path = Path(args.out, f"{name}.json")
    # The cases that are not measured now stay.
    rows = (
        [r for r in json.loads(path.read_text())["rows"] if r["case"] not in args.cases.split(",")]
        if path.exists()
        else []
    )
    for key in args.cases.split(","):
        # Arms of a case that only just fits are not in one process.
        timings = (
            [{"arm": name} for name in CASES[key].arms]
            if CASES[key].apart
            else timed(CASES[key], device)
        )
        gc.collect()  # the models of the timed arms, which their hooks hold
        for row in timings:
            command = [
                sys.executable,
                __file__,
                "--alone",
                key,
                row["arm"],
                "--device",
                args.device,
            ]
            done = json.loads(
                subprocess.run(
                    command, capture_output=True, text=True, check=True
                ).stdout.splitlines()[-1]
            )
            rows.append(
                {
                    "case": key,
                    "step_ms": done["step_ms"],
                    **row,
                    "peak_mib": done["peak_bytes"] / 2**20,
                }
            )
            rows[-1]["peak_ratio"] = rows[-1]["peak_mib"] / next(
                r["peak_mib"] for r in rows if r["case"] == key
            )
            print(json.dumps(rows[-1]), flush=True)
    record = {
        "rows": rows,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
    }
    import kept  # here for the same reason

    kept.write(path, record, text)


if __name__ == "__main__":
    main()
