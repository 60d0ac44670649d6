"""One model, task and protocol: what its runs are made of, at which rates, and which of them the store already holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import projections
from idim import arms, models
from idim.arms.base import ArmSettings, ModelFacts
from idim.config import Config
from idim.errors import expected, one_of
from idim.executors import Local, Progress
from idim.protocols import FEWEST_STEPS, QUICK, RATE_EXPONENTS, RECIPES, TUNE_STEPS, Protocol
from idim.source import CATALOGUES, Source
from idim.store import Store
from idim.tasks.base import Task
from idim.values.options import Options
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.recipe import Recipe
from idim.values.record import Record
from idim.values.spec import SEEDS, Spec

#: What of a configuration changes neither the runs nor the answer.
_SAME_ANSWER = ("out", "save", "executor", "data_dir", "engine", "lean")
#: Raised when the way to an answer changes, so that an older answer is not taken up.
_QUESTIONS = 2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Watcher:
    """Where a measurement tells of itself: ``say`` gets a line, ``run`` returns a progress callback for the run it names."""

    say: Say = lambda line: None
    run: Callable[[str], Progress | None] = lambda name: None


class Study:
    """One model, task and protocol: everything that its searches and sweeps share.

    Making one checks all, and trains nothing. ``source`` gives the model and the task.
    """

    def __init__(self, config: Config, watcher: Watcher = Watcher(), source: Source = CATALOGUES):
        self.config, self.protocol, self.watch = config, config.chosen, watcher
        self.source = source
        self.kind = kind = _kind(config, source)
        quick = QUICK if config.protocol == "quick" and kind == "transformer" else {}
        self.recipe = _recipe(kind, self.protocol, config, quick)
        self.options = Options(
            data_dir=config.data_dir or None,
            official=self.protocol.official,
            max_train_samples=config.max_train_samples or quick.get("max_train_samples", 0),
            max_eval_samples=config.max_eval_samples or quick.get("max_eval_samples", 0),
            max_seq_length=_length(config, source, int(quick.get("max_seq_length", 128))),
            text_columns=config.text_columns,
            label_column=config.label_column,
            metric=config.metric,
        )
        if self.protocol.projection not in projections.KINDS | projections.FLAWED:
            raise one_of("--projection", projections.KINDS, self.protocol.projection)
        if (
            self.protocol.projection in projections.FLAWED
            and self.protocol.scope != projections.TENSOR
        ):
            raise one_of("--projection", projections.KINDS, self.protocol.projection)
        if (
            config.lean
            and (projections.KINDS | projections.FLAWED)[self.protocol.projection].staged
        ):
            raise expected(
                "--lean",
                "a projection that takes gradients in as they come, as orthonormal does",
                self.protocol.projection,
            )
        self.task: Task = source.task(config.model, config.task, self.options)
        for note in self.task.notes:
            watcher.say(f"note: {note}")
        loaded = source.load(config.model, self.task, 0)
        _fits(loaded.module, self.task, config.model)
        self._fingerprint = loaded.fingerprint if source.may_change(config.model) else ""
        #: The question being answered, if any; every run made for it is noted there.
        self.question: Question | None = None
        named = list(loaded.module.named_parameters())
        self.layout = projections.Layout.of(named, self.protocol.structure)
        self.D = self.layout.D
        self.facts = ModelFacts(
            self.D, len(self.layout.slices), len(self.layout.groups), RATE_EXPONENTS[kind]
        )
        self.executor = Local(config.workers, source)
        if not (
            config.max_steps
            or config.num_train_epochs
            or quick
            or "epochs" in self.protocol.recipe
            or kind == "toy"
        ):
            # A few passes over a small data set are too few steps to converge in.
            fewest = FEWEST_STEPS[kind]
            if self.recipe.steps(self.task.train_size()) < fewest:
                self.recipe = dataclasses.replace(self.recipe, max_steps=fewest)
        #: Optimiser steps of a run.
        self.steps = self.recipe.steps(self.task.train_size())

    @property
    def id(self) -> str:
        """A digest of what all arms share: model, task, data and budget; not the rates, which each arm tunes."""
        recipe = {
            k: v for k, v in dataclasses.asdict(self.recipe).items() if "learning_rate" not in k
        }
        shared = [
            self.config.model,
            self.config.task,
            self.task.fingerprint,
            self.protocol.name,
            recipe,
            self.options.recorded(),
        ]
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]

    def m(self, arm: str) -> int:
        """How many of an arm's numbers are scales."""
        return arms.ARMS[arm].scales(self.facts)

    def settings(self, arm: str, size: int = 0) -> ArmSettings:
        """What an arm is told, at a size."""
        found = arms.ARMS[arm]
        p = self.protocol
        flags = dataclasses.asdict(self.config) | {
            "projection": p.projection,
            "scope": p.scope,
            "structure": p.structure,
            "version": (projections.KINDS | projections.FLAWED)[p.projection].version,
        }
        at = {found.size.name: size} if found.size else {}
        return found.Settings.of(flags | at)

    def curve(self, arm: str) -> str:
        """What the runs of one curve have in common besides the study."""
        rate = 0.0 if arm == arms.FULL else self.given_rate(arm)
        label = arms.ARMS[arm].label(self.settings(arm))
        return f"{label}/{rate:g}" if rate else label

    # Specifications of runs.

    def spec(
        self,
        kind: Purpose,
        arm: str,
        size: int,
        repeat: int,
        rate: float,
        split: str = "measure",
        budget: float = 1.0,
        stop: tuple[float, ...] | None = None,
        drawn: Purpose | None = None,
    ) -> Spec:
        """``size`` is d or the rank; ``budget`` multiplies the number of steps.

        ``stop``: the threshold, chance and noise, of a run that may stop early. ``drawn``: the kind of run whose
        seeds this one shares (P, theta_0, order, dropout), where the two are compared as a pair.
        """
        recipe = dataclasses.replace(self.recipe, learning_rate=rate)
        if kind == Purpose.TUNE:
            # A short run's curve is of no use, and the scores would take as long as the steps.
            recipe = dataclasses.replace(recipe, evaluations=1)
        if budget != 1.0:
            steps = max(1, round(budget * self.steps))
            if kind == Purpose.TUNE:
                # Fewer steps say nothing of rates: all of them would look too small.
                steps = max(steps, min(self.steps, TUNE_STEPS))
            recipe = dataclasses.replace(recipe, max_steps=steps)
        return Spec(
            self.config.model,
            self.config.task,
            arm,
            recipe,
            self.options,
            self.protocol.name,
            kind,
            split,
            _seeds(
                self.config.seed,
                self.config.model,
                self.config.task,
                drawn or kind,
                arm,
                size,
                repeat,
            ),
            self.settings(arm, size).to_json(),
            self.task.fingerprint,
            self._fingerprint,
            stop,
        )

    def execute(
        self, store: Store, specs: Sequence[Spec], curve: str, save: str = ""
    ) -> list[Record]:
        """Records for these specifications, in their order: from the store where it has them, else made now and stored.

        ``save``: a folder for what a single run trains, which the store does not hold: it is trained in any case.
        """
        done = {s.key: None if save else store.get(s.key) for s in specs}
        todo = [s for s in specs if done[s.key] is None]
        progress = (
            self.watch.run(_title(todo[0]) if len(todo) == 1 else f"{len(todo)} runs")
            if todo
            else None
        )
        for spec, record in self.executor.run(todo, progress, save):
            record = dataclasses.replace(record, study=self.id, arm_key=curve)
            store.put(record)
            done[spec.key] = record
            info = record.training
            score = record.reason if info.score is None else f"{info.score:.4f}"
            self.watch.say(
                f"{_title(spec)}: {record.status}, {self.task.metric} {score}, {info.seconds:.0f} s"
            )
            for warning in info.warnings:
                self.watch.say(f"warning: {warning}")
        self.note(store, specs)
        kept = len(specs) - len(todo)
        if kept:
            self.watch.say(
                f"{_title(specs[0])}{' and others' if kept > 1 else ''}: {kept} from the store"
            )
        return [done[s.key] for s in specs]

    def ask(self, store: Store, arm: str, tuned: bool | None = None) -> None:
        """Take up a question. Every run that is made from now on is noted as made for it."""
        self.question = store.ask(self._question(arm, tuned))

    def note(self, store: Store, specs: Sequence[Spec] = (), **more: object) -> None:
        """Keep the question beside its runs, with the keys of those made for it so far."""
        if self.question is not None:
            keys = dict.fromkeys([*self.question.keys, *(s.key for s in specs)])
            self.question = dataclasses.replace(self.question, keys=tuple(keys), **more)
            store.put_question(self.question)

    # Rates (rates.py tunes them).

    def given_rate(self, arm: str) -> float:
        """The rate that the user gave; 0 where none was."""
        rate: float = getattr(self.config, arms.ARMS[arm].rate_flag)
        return rate

    def law(self, arm: str) -> Callable[[int], float]:
        """The rate without tuning."""
        full, found, size = self.recipe.learning_rate, arms.ARMS[arm], arms.ARMS[arm].size
        # A protocol's constant is a rate over d.
        if self.protocol.rate_law == "constant" and size and size.letter == "d":
            constant = self.protocol.rate
            assert constant is not None
            return lambda size: constant
        settings = self.settings(arm)
        return lambda size: found.rate(full, size, self.facts, settings)

    def baselines(self, store: Store, rate: float, n: int, first: int = 0) -> list[Record]:
        """Full runs number ``first`` to ``n - 1``."""
        return self.execute(
            store,
            [self.spec(Purpose.BASELINE, arms.FULL, 0, i, rate) for i in range(first, n)],
            arms.FULL,
        )

    def _question(self, arm: str, tuned: bool | None = None) -> Question:
        """What a summary needs to know besides the records."""
        p, c = self.protocol, self.config
        arm_key = self.curve(arm)
        name = re.sub(r"[^\w.-]+", "_", "-".join([c.model, c.task, arm, p.name]))
        # What changes the runs or the answer is another question, kept beside the first.
        same = {k: v for k, v in dataclasses.asdict(c).items() if k not in _SAME_ANSWER}
        asked = json.dumps([_QUESTIONS, self.id, self._fingerprint, arm_key, same], sort_keys=True)
        digest = hashlib.sha256(asked.encode()).hexdigest()[:6]
        smallest, largest = arms.ARMS[arm].limits(self.facts)
        return Question(
            id=f"{name}-{digest}",
            study=self.id,
            arm_key=arm_key,
            model=c.model,
            task=c.task,
            arm=arm,
            projection=p.projection,
            scope=p.scope,
            structure=p.structure if self.m(arm) else None,
            protocol=p.name,
            design=p.design,
            metric=self.task.metric,
            D=self.D,
            m=self.m(arm),
            smallest=smallest,
            largest=largest,
            rule=p.rule,
            absolute=p.absolute,
            strict=p.strict,
            threshold=c.threshold,
            left_out=p.left_out,
            n_scored=self.task.sizes().get("measure", 0),
            steps=self.steps,
            tuned=tuned,
        )


def _kind(config: Config, source: Source) -> str:
    if (config.model == "toy") != (config.task == "toy"):
        raise expected(
            "--task toy",
            "the model toy, and no other task with it",
            f"--model {config.model} --task {config.task}",
        )
    if config.model == "toy":
        return "toy"
    return "transformer" if source.is_transformer(config.model) else "net"


def _recipe(kind: str, protocol: Protocol, config: Config, quick: dict) -> Recipe:
    values: dict[str, object] = dict(RECIPES[kind])
    if config.model in models.RATES:
        values["learning_rate"] = models.RATES[config.model]
    values |= {k: v for k, v in quick.items() if k in ("epochs", "evaluations")}
    values |= protocol.recipe
    given = {
        "learning_rate": config.learning_rate,
        "epochs": config.num_train_epochs,
        "max_steps": config.max_steps,
        "batch_size": config.batch_size,
    }
    values |= {k: v for k, v in given.items() if v}
    if config.num_train_epochs and not config.max_steps:
        values["max_steps"] = 0
    return Recipe(**values, precision=config.precision)


def _length(config: Config, source: Source, default: int) -> int:
    """Tokens a text is cut to: as given, or the default where the model has that many positions."""
    longest = source.positions(config.model) or max(default, config.max_seq_length)
    if config.max_seq_length > longest:
        raise expected(
            "--max-seq-length",
            f"at most {longest}, the positions of {config.model}",
            config.max_seq_length,
        )
    return config.max_seq_length or min(default, longest)


def _seeds(
    master: int, model: str, task: str, kind: str, arm: str, size: int, repeat: int
) -> dict[str, int]:
    """Four fresh seeds for each run.

    The same master seed gives the same ones, so a search resumes. Two tasks share none.
    """
    seeds = {}
    for name in SEEDS:
        text = f"{master}/{model}/{task}/{kind}/{arm}/{size}/{repeat}/{name}"
        seeds[name] = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
    return seeds


def _title(spec: Spec) -> str:
    size = arms.ARMS[spec.arm].size
    shown = f" {size.letter}={spec.settings[size.name]}" if size else ""
    return f"{spec.kind} {spec.arm}{shown} rate {spec.recipe.learning_rate:.3g}"


def _fits(module, task: Task, name: str) -> None:
    """One forward pass: a net that does not take the task's inputs is the user's mistake, and found before training."""
    if task.name == "toy":
        return
    try:
        with torch.no_grad():
            task.check(module.eval())
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise expected(
            "--model", f"one that takes the inputs of {task.name}", f"{name}: {said}"
        ) from None
