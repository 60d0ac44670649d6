"""An executor that trains nothing: scores come from a curve, and runs end in a random order.

So a whole search takes a second, and everything about it can be tried: crashes, several searches at
once, workers that come and go.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections import Counter

from idim import arms
from idim.answers.evidence import size_of_spec
from idim.config import Config
from idim.executors import Executor
from idim.resolve import resolve
from idim.values.plan import Plan
from idim.values.record import Origin, Record, Setting
from idim.values.spec import Spec
from idim.values.training import Evaluation, Status, Training

D = 1210


class Crash(BaseException):
    """The process that searches dies here."""


def score_of(spec: Spec) -> float:
    """A logistic curve over log2 d, and noise that the run's seeds draw."""
    seed = hashlib.sha256(repr(sorted(spec.seeds.items())).encode()).digest()
    draw = random.Random(seed)
    size = size_of_spec(spec) or D
    curve = 0.1 + 0.85 / (1 + math.exp(-0.9 * (math.log2(size) - 6.5) - 2.2))
    return round(min(max(curve + draw.gauss(0, 0.012), 0.0), 1.0), 4)


def record_of(spec: Spec) -> Record:
    """The record of a run that was never made."""
    score, arm = score_of(spec), arms.named(spec.arm)
    size = size_of_spec(spec)
    adaptation = {}
    if size:
        adaptation = {
            "family": "orthonormal",
            "scope": "global",
            "D": D,
            "d_theta": size,
            "m": 0,
            "projection": {},
            "projection_checksum": "x",
        }
    training = Training(
        metric="accuracy",
        score=score,
        untouched=0.1,
        majority=0.1,
        curve=(Evaluation(0, 0.1), Evaluation(4, score)),
        steps=4,
        seconds=1.0,
        d_total=arm.numbers(arm.Settings.of(spec.settings), D),
        adaptation=adaptation,
        splits={"measure": 449},
    )
    # A run that was to stop early is a whole one here.
    return Record(spec, Status.OK, training, Setting(D), Origin(started=time.time()))


class Imagined(Executor):
    """Makes records at once, and gives them back in a random order.

    Args:
        slots: runs at once.
        seed: of the order.
        made: counts the runs that ended, by key, over all executors that share it.
        crash_after: so many runs of this executor, then ``Crash``.
    """

    def __init__(
        self, slots: int, seed: int, made: Counter[str], crash_after: float = math.inf
    ) -> None:
        self._slots, self._draw, self._made = slots, random.Random(seed), made
        self._left, self._busy = crash_after, []

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def free(self) -> int:
        return self._slots - len(self._busy)

    def submit(self, spec, progress=None, save=""):
        assert self.free > 0
        self._busy.append(spec)

    def wait(self, seconds=None):
        if not self._busy:
            return None
        if self._left <= 0:
            raise Crash
        self._left -= 1
        time.sleep(self._draw.random() * 0.002)
        spec = self._busy.pop(self._draw.randrange(len(self._busy)))
        self._made[spec.key] += 1
        return spec, record_of(spec)

    def close(self):
        self._busy.clear()


def planned(**more) -> Plan:
    """The plan of a trust search on digits."""
    asked = {"arm": "did", "max_steps": 40, "learning_rate": 0.01, "max_runs": 8} | more
    return resolve(Config("mlp:64-16-10", "digits", **asked))
