"""Records for specifications: from the store where it has them, else made now and kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

from idim import arms
from idim.errors import IdimError
from idim.executors import EXECUTORS, Lost
from idim.source import CATALOGUES, Source
from idim.store import ROOM, Claim, Store
from idim.values.plan import Plan
from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import SILENT, Progress, Watcher

#: Seconds between two looks at what other searches make.
_LOOK = 0.25
#: Bytes of a record for each of its evaluations.
_EVALUATION = 128


@dataclass(frozen=True)
class _Wanted:
    spec: Spec
    arm_key: str
    save: str = ""


class Runs:
    """The runs of a plan.

    A run is claimed in the store before it is made. One that another search has claimed is waited
    for, and others are made meanwhile.

    Args:
        plan: whose study they belong to, and what makes them.
        store: what keeps them.
        watcher: is told of each.
        source: gives the model and the task.
    """

    def __init__(
        self, plan: Plan, store: Store, watcher: Watcher = SILENT, source: Source = CATALOGUES
    ):
        self._plan, self._store, self._watcher = plan, store, watcher
        self._executor = EXECUTORS[plan.executor](
            plan.resources, source, str(store.root.resolve() / "partial")
        )
        #: By key, in the order in which they were asked for: what has no record yet.
        self._open: dict[str, _Wanted] = {}
        #: Of these, what nobody waits for yet.
        self._spare: set[str] = set()
        #: Of these, what is made here.
        self._claims: dict[str, Claim] = {}
        #: Of these, what others make.
        self._others: set[str] = set()
        self._done: dict[str, Record] = {}
        #: Why no further run can begin: the disk is full.
        self._refused: IdimError | None = None

    @property
    def at_once(self) -> int:
        """How many runs are made at once here."""
        return self._executor.slots

    @property
    def free(self) -> int:
        """How many more runs could be made here now, after all that was asked for."""
        return 0 if self._refused else self._executor.free

    def of(self, specs: Sequence[Spec], arm_key: str, save: str = "") -> list[Record]:
        """The records for these specifications, in their order.

        Args:
            specs: what to run.
            arm_key: what the runs of one curve have in common.
            save: a folder for what a single run trains. The store does not hold that, so the run
                is made in any case.
        """
        kept = sum(1 for s in specs if self.begin(s, arm_key, save))
        while not all(s.key in self._done for s in specs):
            self.wait()
        if kept:
            others = " and others" if kept > 1 else ""
            self._watcher.say(f"{_title(specs[0])}{others}: {kept} from the store")
        return [self._done[s.key] for s in specs]

    def begin(self, spec: Spec, arm_key: str, save: str = "") -> bool:
        """Ask for a run. It begins as soon as there is room for it.

        Returns:
            Whether the store has it already.
        """
        key = spec.key
        self._spare.discard(key)
        if key in self._open and not save:
            return False
        if not save and (record := self._done.get(key) or self._store.get(key)):
            self._done[key] = record
            return True
        self._done.pop(key, None)
        self._open[key] = _Wanted(spec, arm_key, save)
        self.look()
        return False

    def name(self, spec: Spec, arm_key: str) -> None:
        """Name a run that will be asked for. It begins where all that was asked for leaves room."""
        key = spec.key
        if key in self._open or key in self._done:
            return
        if record := self._store.get(key):
            self._done[key] = record
        else:
            self._spare.add(key)
            self._open[key] = _Wanted(spec, arm_key)

    def done(self, spec: Spec) -> Record | None:
        """The record of a run that was asked for; None while it has none."""
        return self._done.get(spec.key)

    def wait(self) -> None:
        """Wait until one of the runs that were asked for is done."""
        before = len(self._done)
        try:
            while len(self._done) == before and self._open:
                self.look(spare=True)
                if len(self._done) == before:
                    self._take()
        except BaseException:
            self.close()
            raise

    def look(self, spare: bool = False) -> None:
        """Begin what there is room for, and take what others have made.

        ``spare``: what nobody waits for yet, too.
        """
        try:
            # A stable sort: what was asked for in its order, then what is spare.
            for key, wanted in sorted(self._open.items(), key=lambda item: item[0] in self._spare):
                if key in self._claims or (key in self._spare and not spare):
                    continue
                if not wanted.save and (key in self._others or self.free):
                    record = self._store.get(key)
                    if record is not None:
                        self._finish(key, record)
                        continue
                if self.free:
                    self._try(key, wanted)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what is made here, and leave it to others."""
        self._executor.close()
        for claim in self._claims.values():
            self._store.claims.release(claim)
        self._claims.clear()
        self._store.claims.clear(lambda key: self._store.get(key) is not None)
        self._open.clear()
        self._spare.clear()
        self._others.clear()

    def _try(self, key: str, wanted: _Wanted) -> None:
        spec = wanted.spec
        try:
            claim = self._store.claims.take(key, ROOM + _EVALUATION * spec.recipe.evaluations)
        except IdimError as error:
            # What is at work has room for its records.
            if not self._claims:
                raise
            self._refused = error
            return
        if claim is None:
            if key not in self._others and (holder := self._store.claims.holder(key)):
                self._watcher.say(f"{_title(spec)}: made by process {holder.pid} on {holder.host}")
            self._others.add(key)
            return
        self._others.discard(key)
        # It may have been finished between the last look and the claim.
        if not wanted.save and (record := self._store.get(key)):
            self._store.claims.release(claim)
            self._finish(key, record)
            return
        self._claims[key] = claim
        self._executor.submit(spec, self._progress(spec), wanted.save)

    def _progress(self, spec: Spec) -> Progress | None:
        at_work = len(self._claims)
        return self._watcher.run(_title(spec) if at_work == 1 else f"{at_work} runs")

    def _take(self) -> None:
        """Wait for what is made here, or a while for what others make."""
        if not self._claims:
            if self._refused:
                raise self._refused
            time.sleep(_LOOK)
            return
        found = self._executor.wait(_LOOK if self._others else None)
        if found is None:
            return
        spec, made = found
        assert not isinstance(made, Lost)  # executors make those again
        wanted, claim = self._open[spec.key], self._claims[spec.key]
        record = dataclasses.replace(made, study=self._plan.study, arm_key=wanted.arm_key)
        # Where this process slept for long, somebody else may have made the run meanwhile.
        other = None if wanted.save or claim.path.exists() else self._store.get(spec.key)
        if other is None:
            self._store.put(record, claim)
            self._watcher.finished(record)
        self._store.drop_save(spec.key)
        del self._claims[spec.key]
        self._store.claims.release(claim)
        self._finish(spec.key, other or record)

    def _finish(self, key: str, record: Record) -> None:
        wanted = self._open.pop(key)
        self._spare.discard(key)
        self._others.discard(key)
        self._done[key] = record
        say, info = self._watcher.say, record.training
        gave = record.reason if info.score is None else f"{info.metric} {info.score:.4f}"
        say(f"{_title(wanted.spec)}: {record.status}, {gave}, {info.seconds:.0f} s")
        for warning in info.warnings:
            say(f"warning: {warning}")


def _title(spec: Spec) -> str:
    size = arms.ARMS[spec.arm].size
    shown = f" {size.letter}={spec.settings[size.name]}" if size else ""
    return f"{spec.kind} {spec.arm}{shown} rate {spec.recipe.learning_rate:.3g}"
