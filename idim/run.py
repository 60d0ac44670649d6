"""One run: a specification in, a record out. The only place where task, model, arm and loop meet."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import torch

from idim import arms, memory, models, tasks
from idim.search.early import outlook
from idim.tasks.base import Options, Task
from idim.train import COMPUTE, Outcome, Recipe, train

SCHEMA = 1
_ROUNDED_AWAY = 0.1  # the share of lost moves from which a record warns
_PACKAGES = ("idim-lab", "torch", "transformers", "datasets", "peft", "numpy", "pandas")


@dataclass(frozen=True)
class Spec:
    """All that decides a run's result. Two equal specifications are the same run, and the store keeps it once."""

    model: str
    task: str
    arm: str
    recipe: Recipe
    options: Options
    protocol: str
    kind: str  # baseline | search | sweep | tune | check | locked | single
    split: str  # what it is scored on: tune, measure or locked
    #: The four seeds: projection, theta_0, data order, dropout.
    seeds: Mapping[str, int]
    #: What the arm needs: d, projection, scope, structure; or rank, lora_alpha, targets.
    settings: Mapping[str, object] = field(default_factory=dict)
    task_fingerprint: str = ""
    #: Of a model in a folder, whose content its name does not fix.
    model_fingerprint: str = ""
    #: The run may stop once it is known to end above or below this score; the other is chance.
    stop: tuple[float, float] | None = None

    def config(self) -> dict:
        """What a record keeps: all but where the data lay on this machine, which the task's fingerprint stands for."""
        return dataclasses.asdict(self) | {"options": self.options.recorded()}

    @property
    def key(self) -> str:
        """A digest of what a record keeps, less what moves no result: how P's arithmetic is done and which memory it takes."""
        config = self.config()
        config["settings"] = {k: v for k, v in config["settings"].items() if k not in ("engine", "lean")}
        for name in ("model_fingerprint", "stop"):
            if not config[name]:
                del config[name]
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:20]


@lru_cache(maxsize=2)
def task_for(model: str, task: str, options: Options) -> Task:
    """The task ready for the model, kept: reading and tokenising are done once a process."""
    return tasks.load(task, models.reader(model), options, models.labels(model))


def execute(spec: Spec, progress: Callable[[int, int, float], None] | None = None, save: str = "") -> dict:
    """Train and score one run, and write what was trained into ``save``. A run that diverges or runs out of memory is a record too."""
    task = task_for(spec.model, spec.task, spec.options)
    loaded = models.load(spec.model, task.classes, spec.seeds["theta_0"], task.head, task.names)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    memory.reset_peak(device)
    model, D = loaded.module.to(device), loaded.D  # before LoRA adds its factors to the module
    adapted = arms.build(spec.arm, model, {**spec.settings, "seed_projection": spec.seeds["projection"]})
    began, warnings = time.time(), []
    try:
        outcome = train(
            adapted.module, adapted.groups, task, spec.recipe, split=spec.split,
            seed_data=spec.seeds["data"], seed_dropout=spec.seeds["dropout"], progress=progress,
            stop=(lambda curve: outlook(curve, *spec.stop)) if spec.stop else None,
        )
        if spec.recipe.precision in COMPUTE:
            adapted.info["rounded_away"] = lost = adapted.rounded_away(COMPUTE[spec.recipe.precision])
            if lost > _ROUNDED_AWAY:
                warnings.append(f"{spec.recipe.precision} rounds away {lost:.0%} of the weights' moves; fp32 would not")
        if save and outcome.status == "ok":
            adapted.save(save)
    except (MemoryError, torch.OutOfMemoryError) as error:
        outcome = Outcome("failed", f"out of memory: {str(error).splitlines()[0][:200] if str(error) else 'no detail'}")
    finally:
        adapted.close()
    return {
        "schema": SCHEMA, "key": spec.key, "kind": spec.kind, "status": outcome.status, "reason": outcome.reason,
        "run_info": {
            "config": spec.config(), "started": began, "git_commit": _git("rev-parse", "HEAD"),
            "git_dirty": bool(_git("status", "--porcelain")), "packages": _versions(), "python": platform.python_version(),
        },
        "train_info": {
            "metric": task.metric, "score": _number(outcome.final), "untouched": _number(outcome.untouched),
            "majority": task.majority, "curve": [{**p, "score": _number(p["score"])} for p in outcome.curve],
            "steps": outcome.steps, "tokens": outcome.tokens, "seconds": outcome.seconds,
            "peak_memory_bytes": memory.peak(device), "d_total": adapted.d_total, "adaptation": adapted.info,
            "splits": task.sizes(), "warnings": warnings,
            "stopped": {"side": outcome.stopped, "bound": spec.stop[0], "share": outcome.share} if outcome.stopped else None,
        },
        "meta_info": {
            "D": D, "model_fingerprint": loaded.fingerprint, "task_fingerprint": task.fingerprint,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        },
    }


def _number(value: float) -> float | None:
    """JSON has no NaN: a score that is not a number is null."""
    return value if value == value and abs(value) != float("inf") else None


@lru_cache(maxsize=4)
def _git(*command: str) -> str | None:
    """Of the checkout this code runs from; None for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
    return done.stdout.strip() or None


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
