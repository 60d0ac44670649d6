"""One run: a specification in, a record out. Here alone task, model, arm and loop meet."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError

from idim import arms, memory
from idim.arms.base import Adapted
from idim.errors import expected, first_line, is_out_of_memory
from idim.ranks import ALONE, Ranks
from idim.saves import MOST, NONE, Saves
from idim.search.early import outlook
from idim.source import CATALOGUES, Source
from idim.tasks.base import Task
from idim.train import COMPUTE, Outcome, score_once, score_untrained, train
from idim.values.metric import metric
from idim.values.purpose import Purpose
from idim.values.record import Origin, Record, Setting
from idim.values.spec import Spec
from idim.values.training import Evaluation, Status, Stopped, Training

#: How a run's warning begins whose result could not be written where it was asked for.
NOT_SAVED = "--save: not written"
_ROUNDED_AWAY = 0.1  # the share of lost moves from which a record warns
_PACKAGES = ("idim-lab", "torch", "transformers", "datasets", "peft", "numpy", "pandas")


def execute(
    spec: Spec,
    progress: Callable[[int, int, float], None] | None = None,
    save: str = "",
    source: Source = CATALOGUES,
    saves: str = "",
    ranks: Ranks = ALONE,
) -> Record:
    """Train and score one run. A run that diverges or runs out of memory is a record too.

    ``save``: a folder for what was trained. ``source``: gives the model and the task. ``saves``: a
    folder for what a long run needs to go on where it was. ``ranks``: the processes that make the
    run together. The first one's record counts.
    Errors: ``IdimError`` for a score that its metric cannot have, before training; one of several
    processes that runs out of memory raises that, for the others wait for it.
    """
    began, adapted, known = time.time(), None, None
    try:
        task = source.task(spec.model, spec.task, spec.options)
        loaded = source.load(spec.model, task, spec.seeds["theta_0"])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        memory.reset_peak(device)
        known = loaded.D, loaded.fingerprint  # before LoRA adds its factors to the module
        model = loaded.module.to(device)
        adapted = arms.build(spec.arm, model, spec.settings, spec.seeds["projection"])
        ranks.check(adapted.module)
        outcome = _outcome(spec, adapted, task, _watched(task, progress), saves, ranks)
        if adapted.sizes and outcome.status == "ok":
            adapted.info["by_size"] = _by_size(spec, adapted, task)
        adapted.info |= adapted.learned()
        if ranks.count > 1:
            adapted.info["processes"] = ranks.count
        warnings = _finish(spec, adapted, outcome, save)
        locked = None
        if (
            spec.kind in (Purpose.BASELINE, Purpose.SEARCH)
            and outcome.status == "ok"
            and task.sizes().get("locked")
        ):
            locked = _number(score_once(adapted.module, task, spec.recipe, "locked"))
        training = Training(
            metric=task.metric,
            score=None,
            untouched=None,
            majority=task.majority,
            peak_memory_bytes=memory.peak(device),
            d_total=adapted.d_total,
            adaptation=adapted.info,
            splits=task.sizes(),
            warnings=tuple(warnings),
            # The score on the split that decides nothing: printed beside d90.
            locked=locked,
        )
        return _record(spec, outcome, began, training, _about(known, task, device))
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error) or ranks.count > 1:
            raise
        why = f"out of memory: {first_line(error)}"
    finally:
        if adapted is not None:
            adapted.close()
    # Out of the handler, whose error holds on to what took the memory.
    return lost(spec, why, began, known, source)


def _outcome(
    spec: Spec,
    adapted: Adapted,
    task: Task,
    progress: Callable[[int, int, float], None],
    saves: str,
    ranks: Ranks,
) -> Outcome:
    if adapted.read:
        adapted.read(task)
    if not adapted.groups:
        return score_untrained(adapted.module, task, spec.recipe, spec.split, progress)
    return train(
        adapted.module,
        adapted.groups,
        task,
        spec.recipe,
        split=spec.split,
        seed_data=spec.seeds["data"],
        seed_dropout=spec.seeds["dropout"],
        progress=progress,
        stop=partial(_side, bounds=spec.stop) if spec.stop else None,
        begin=adapted.begin,
        penalty=adapted.penalty,
        after_step=adapted.after_step,
        saves=_saves(spec, adapted, saves),
        ranks=ranks,
    )


def _saves(spec: Spec, adapted: Adapted, folder: str) -> Saves:
    """What the run saves of itself: nothing, where its arm changes more than its numbers."""
    keeps_more = adapted.after_step or adapted.sizes
    return NONE if keeps_more or adapted.d_total > MOST else Saves(folder, spec.key)


def lost(
    spec: Spec,
    why: str,
    began: float | None = None,
    known: tuple[int, str] | None = None,
    source: Source = CATALOGUES,
) -> Record:
    """The record of a run that ended without an outcome: its process was killed, or memory ran out.

    It counts as a failure of its size. ``known``: the model's D and fingerprint, if it was loaded;
    else it is loaded for them.
    """
    task = source.task(spec.model, spec.task, spec.options)
    began = time.time() if began is None else began
    if known is None:
        loaded = source.load(spec.model, task, spec.seeds["theta_0"])
        known = loaded.D, loaded.fingerprint
    outcome = Outcome("failed", why, seconds=time.time() - began)
    arm = arms.named(spec.arm)
    training = Training(
        metric=task.metric,
        score=None,
        untouched=None,
        majority=task.majority,
        d_total=arm.numbers(arm.Settings.of(spec.settings), known[0]),
        splits=task.sizes(),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return _record(spec, outcome, began, training, _about(known, task, device))


def _watched(
    task: Task, progress: Callable[[int, int, float], None] | None
) -> Callable[[int, int, float], None]:
    """``progress``, and a look at the score: the first one comes before the first step."""

    def watched(step: int, steps: int, score: float) -> None:
        known = metric(task.metric)
        if score == score and not known.holds(score):
            what = f"{known.name} from {known.low:g} to {known.high:g}"
            raise expected("metric", what, score)
        if progress:
            progress(step, steps, score)

    return watched


def _side(curve: Sequence[tuple[float, float]], bounds: tuple[float, ...]) -> str:
    """On which side of the threshold a run will end; empty while it may end on either."""
    return outlook(curve, *bounds)


def _by_size(spec: Spec, adapted: Adapted, task: Task) -> dict[str, float | None]:
    """What one training gives at each size that its arm can be set to."""
    found = {}
    for size in adapted.sizes:
        adapted.set_size(size)
        found[str(size)] = _number(score_once(adapted.module, task, spec.recipe, spec.split))
    adapted.set_size(max(adapted.sizes))
    return found


def _finish(spec: Spec, adapted: Adapted, outcome: Outcome, save: str) -> list[str]:
    """What follows training: how much the precision lost, and the result's folder.

    Returns what its owner should know of.
    """
    warnings = []
    if spec.recipe.precision in COMPUTE:
        adapted.info["rounded_away"] = lost = adapted.rounded_away(COMPUTE[spec.recipe.precision])
        if lost > _ROUNDED_AWAY:
            warnings.append(
                f"{spec.recipe.precision} rounds away {lost:.0%} of the weights' moves; "
                "fp32 would not"
            )
    if save and outcome.status == "ok":
        try:
            if adapted.save is None:
                raise OSError(f"what {spec.arm} trains has no form in a file")
            adapted.save(save)
        except (OSError, SafetensorError) as error:  # a full disk: the score is known all the same
            warnings.append(f"{NOT_SAVED}; {save}: {first_line(error)}")
    return warnings


def _record(
    spec: Spec, outcome: Outcome, began: float, training: Training, setting: Setting
) -> Record:
    """``training`` holds what the loop does not know; ``outcome`` is the loop's part."""
    stopped = None
    if outcome.stopped and spec.stop:
        stopped = Stopped(outcome.stopped, spec.stop[0], outcome.fraction)
    curve = tuple(Evaluation(int(p["step"]), _number(p["score"])) for p in outcome.learning_curve)
    training = dataclasses.replace(
        training,
        score=_number(outcome.final),
        untouched=_number(outcome.untouched),
        curve=curve,
        steps=outcome.steps,
        tokens=outcome.tokens,
        seconds=outcome.seconds,
        stopped=stopped,
    )
    origin = Origin(
        started=began,
        git_commit=_git("rev-parse", "HEAD"),
        git_dirty=bool(_git("status", "--porcelain")),
        packages=_versions(),
        python=platform.python_version(),
    )
    return Record(spec, Status(outcome.status), training, setting, origin, outcome.reason)


def _about(known: tuple[int, str], task: Task, device: torch.device) -> Setting:
    name = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return Setting(known[0], known[1], task.fingerprint, name, torch.get_num_threads())


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
