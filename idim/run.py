"""One run: a specification in, a record out. The only place where task, model, arm and loop meet."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError

from idim import arms, memory, stored
from idim.errors import expected, first_line, is_out_of_memory
from idim.search.early import outlook
from idim.source import CATALOGUES, Source
from idim.tasks.base import Options, Task
from idim.train import COMPUTE, Outcome, Recipe, score_once, train

#: How a run's warning begins whose result could not be written where it was asked for.
NOT_SAVED = "--save: not written"
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
    kind: str  # baseline | search | sweep | tune | check | rate | witness | single
    split: str  # what it is scored on: tune, measure or locked
    #: The four seeds: projection, theta_0, data order, dropout.
    seeds: Mapping[str, int]
    #: What the arm needs: d, projection, scope, structure; or rank, lora_alpha, targets.
    settings: Mapping[str, object] = field(default_factory=dict)
    task_fingerprint: str = ""
    #: Of a model in a folder, whose content its name does not fix.
    model_fingerprint: str = ""
    #: The run may stop once it is known to end above or below the first score; then chance and one run's noise.
    stop: tuple[float, float, float] | None = None

    def config(self) -> dict:
        """What a record keeps: all but where the data lay on this machine, which the task's fingerprint stands for."""
        return dataclasses.asdict(self) | {"options": self.options.recorded()}

    @property
    def key(self) -> str:
        """A digest of what a record keeps of it."""
        return stored.digest(self.config())


def execute(
    spec: Spec,
    progress: Callable[[int, int, float], None] | None = None,
    save: str = "",
    source: Source = CATALOGUES,
) -> dict:
    """Train and score one run. A run that diverges or runs out of memory is a record too.

    ``save``: a folder for what was trained. ``source``: gives the model and the task.
    Errors: ``IdimError`` for a score that its metric cannot have, before training.
    """
    began, adapted, known = time.time(), None, None
    try:
        task = source.task(spec.model, spec.task, spec.options)
        loaded = source.load(spec.model, task, spec.seeds["theta_0"])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        memory.reset_peak(device)
        known = loaded.D, loaded.fingerprint  # before LoRA adds its factors to the module
        model = loaded.module.to(device)
        adapted = arms.build(
            spec.arm, model, {**spec.settings, "seed_projection": spec.seeds["projection"]}
        )
        outcome = train(
            adapted.module,
            adapted.groups,
            task,
            spec.recipe,
            split=spec.split,
            seed_data=spec.seeds["data"],
            seed_dropout=spec.seeds["dropout"],
            progress=_watched(task, progress),
            stop=(lambda curve: outlook(curve, *spec.stop)) if spec.stop else None,
        )
        warnings = _finish(spec, adapted, outcome, save)
        locked = None
        if (
            spec.kind in ("baseline", "search")
            and outcome.status == "ok"
            and task.sizes().get("locked")
        ):
            locked = _number(score_once(adapted.module, task, spec.recipe, "locked"))
        return _record(
            spec,
            outcome,
            began,
            {
                "metric": task.metric,
                "majority": task.majority,
                "peak_memory_bytes": memory.peak(device),
                "d_total": adapted.d_total,
                "adaptation": adapted.info,
                "splits": task.sizes(),
                "warnings": warnings,
                # Of the split that decides nothing: printed beside d90.
                "locked": locked,
            },
            _about(known, task, device),
        )
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        why = f"out of memory: {first_line(error)}"
    finally:
        if adapted is not None:
            adapted.close()
    # Out of the handler, whose error holds on to what took the memory.
    return lost(spec, why, began, known, source)


def lost(
    spec: Spec,
    why: str,
    began: float | None = None,
    known: tuple[int, str] | None = None,
    source: Source = CATALOGUES,
) -> dict:
    """The record of a run that ended without an outcome: its process was killed, or memory ran out.

    It counts as a failure of its d. ``adaptation`` is empty unless the configuration says all of it. ``known``: the model's D and
    fingerprint, if it was loaded; else it is loaded for them.
    """
    task = source.task(spec.model, spec.task, spec.options)
    began = time.time() if began is None else began
    if known is None:
        loaded = source.load(spec.model, task, spec.seeds["theta_0"])
        known = loaded.D, loaded.fingerprint
    outcome = Outcome("failed", why, seconds=time.time() - began)
    settings, adaptation = spec.settings, {}
    if spec.arm == "lora":
        alpha = settings.get("lora_alpha") or 2 * settings["rank"]
        adaptation = {
            "rank": settings["rank"],
            "lora_alpha": alpha,
            "alpha_rule": f"alpha = {alpha / settings['rank']:g} r",
            "targets": sorted(settings.get("targets") or ()),
        }
    return _record(
        spec,
        outcome,
        began,
        {
            "metric": task.metric,
            "majority": task.majority,
            "peak_memory_bytes": 0,
            "d_total": settings.get("d", known[0] if spec.arm == "full" else 0),
            "adaptation": adaptation,
            "splits": task.sizes(),
            "warnings": [],
        },
        _about(known, task, torch.device("cuda" if torch.cuda.is_available() else "cpu")),
    )


def _watched(
    task: Task, progress: Callable[[int, int, float], None] | None
) -> Callable[[int, int, float], None]:
    """``progress``, and a look at the score: the first one comes before the first step."""

    def watched(step: int, steps: int, score: float) -> None:
        if score == score and not stored.in_bounds(task.metric, score):
            low, high = stored.bounds(task.metric)
            raise expected("metric", f"{task.metric} from {low:g} to {high:g}", score)
        if progress:
            progress(step, steps, score)

    return watched


def _finish(spec: Spec, adapted: arms.Adapted, outcome: Outcome, save: str) -> list[str]:
    """What follows training: how much the precision lost, and the result's folder. Returns what its owner should know of."""
    warnings = []
    if spec.recipe.precision in COMPUTE:
        adapted.info["rounded_away"] = lost = adapted.rounded_away(COMPUTE[spec.recipe.precision])
        if lost > _ROUNDED_AWAY:
            warnings.append(
                f"{spec.recipe.precision} rounds away {lost:.0%} of the weights' moves; fp32 would not"
            )
    if save and outcome.status == "ok":
        try:
            adapted.save(save)
        except (OSError, SafetensorError) as error:  # a full disk: the score is known all the same
            warnings.append(f"{NOT_SAVED}; {save}: {first_line(error)}")
    return warnings


def _record(spec: Spec, outcome: Outcome, began: float, train_info: dict, meta_info: dict) -> dict:
    return {
        "schema": stored.SCHEMA,
        "key": spec.key,
        "kind": spec.kind,
        "status": outcome.status,
        "reason": outcome.reason,
        "run_info": {
            "config": spec.config(),
            "started": began,
            "git_commit": _git("rev-parse", "HEAD"),
            "git_dirty": bool(_git("status", "--porcelain")),
            "packages": _versions(),
            "python": platform.python_version(),
        },
        "train_info": train_info
        | {
            "score": _number(outcome.final),
            "untouched": _number(outcome.untouched),
            "curve": [{**p, "score": _number(p["score"])} for p in outcome.learning_curve],
            "steps": outcome.steps,
            "tokens": outcome.tokens,
            "seconds": outcome.seconds,
            "stopped": {"side": outcome.stopped, "bound": spec.stop[0], "share": outcome.fraction}
            if outcome.stopped
            else None,
        },
        "meta_info": meta_info | {"threads": torch.get_num_threads()},
    }


def _about(known: tuple[int, str], task: Task, device: torch.device) -> dict:
    name = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "D": known[0],
        "model_fingerprint": known[1],
        "task_fingerprint": task.fingerprint,
        "device": name,
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
