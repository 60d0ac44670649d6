"""Counts what executors train, so that a script can say whether a run was trained twice.

Each beginning and each end of a run is one line of a file, which all processes append to.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from idim.executors import here, local
from idim.run import execute


def _counted(log, runs, spec, *args):
    key = spec.key
    _say(log, "begun", key, (Path(runs) / f"{key}.json").exists())
    record = execute(spec, *args)
    _say(log, "ended", key, False)
    return record


def _say(log, what, key, there) -> None:
    line = json.dumps([what, key, there, os.getpid(), time.time()]) + "\n"
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())  # one write: lines of several processes do not mix
    finally:
        os.close(handle)


def count_into(log: Path, store: Path) -> None:
    """From here on, count what the local executor trains for this store."""
    counted = functools.partial(_counted, str(log), str(store / "runs"))
    here.execute = local.execute = counted  # type: ignore[assignment]


@dataclass(frozen=True)
class Counted:
    """What a log says: runs by key."""

    begun: Counter[str]
    ended: Counter[str]
    #: Begun although the store had the record.
    needless: Counter[str]


def read(log: Path) -> Counted:
    """What was counted."""
    found = Counted(Counter(), Counter(), Counter())
    for line in log.read_text().splitlines() if log.exists() else ():
        what, key, there, *_ = json.loads(line)
        (found.begun if what == "begun" else found.ended)[key] += 1
        found.needless[key] += there
    return found
