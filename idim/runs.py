"""Records for specifications: from the store where it has them, else made now and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from idim import arms
from idim.executors import EXECUTORS
from idim.source import CATALOGUES, Source
from idim.store import Store
from idim.values.plan import Plan
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import SILENT, Watcher


class Runs:
    """The runs of a plan.

    Args:
        plan: whose study they belong to, and how many workers make them.
        store: what keeps them.
        watcher: is told of each.
        source: gives the model and the task.
    """

    def __init__(
        self, plan: Plan, store: Store, watcher: Watcher = SILENT, source: Source = CATALOGUES
    ):
        self._plan, self._store, self._watcher = plan, store, watcher
        self._executor = EXECUTORS[plan.executor](plan.limits.workers, source)

    def of(self, specs: Sequence[Spec], arm_key: str, save: str = "") -> list[Record]:
        """The records for these specifications, in their order.

        Args:
            specs: what to run.
            arm_key: what the runs of one curve have in common.
            save: a folder for what a single run trains. The store does not hold that, so the run
                is made in any case.
        """
        store, say = self._store, self._watcher.say
        kept = {s.key: None if save else store.get(s.key) for s in specs}
        todo = [s for s in specs if kept[s.key] is None]
        done = {key: record for key, record in kept.items() if record is not None}
        progress = None
        if todo:
            progress = self._watcher.run(_title(todo[0]) if len(todo) == 1 else f"{len(todo)} runs")
        for spec, made in self._executor.run(todo, progress, save):
            record = dataclasses.replace(made, study=self._plan.study, arm_key=arm_key)
            store.put(record)
            done[spec.key] = record
            self._watcher.finished(record)
            info = record.training
            score = record.reason if info.score is None else f"{info.score:.4f}"
            say(f"{_title(spec)}: {record.status}, {info.metric} {score}, {info.seconds:.0f} s")
            for warning in info.warnings:
                say(f"warning: {warning}")
        if found := len(specs) - len(todo):
            say(f"{_title(specs[0])}{' and others' if found > 1 else ''}: {found} from the store")
        return [done[s.key] for s in specs]


def _title(spec: Spec) -> str:
    size = arms.ARMS[spec.arm].size
    shown = f" {size.letter}={spec.settings[size.name]}" if size else ""
    return f"{spec.kind} {spec.arm}{shown} rate {spec.recipe.learning_rate:.3g}"
