"""What a run needs to go on where it was: written every few minutes while it trains.

It holds what is trained, the optimiser and the position, so it is small where few numbers are
trained. A run that goes on from it ends as if nothing had happened, to the last bit on a CPU.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from idim.errors import IdimError
from idim.store import files

#: Seconds between two saves. A run that is shorter saves nothing.
EVERY = 180.0
#: A run that trains more numbers than this saves nothing: it would write for longer than it trains.
MOST = 10**8

State = dict[str, Any]


class Saves:
    """The saves of one run.

    Args:
        folder: where they lie; empty for none.
        key: of the run.
    """

    def __init__(self, folder: str, key: str):
        self._path = Path(folder) / f"{key}.pt" if folder else None
        self._key, self._last = key, time.monotonic()

    def load(self) -> State | None:
        """What was saved last; None where nothing fits."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            found: State = torch.load(self._path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            return None
        same = found.get("key") == self._key and found.get("torch") == str(torch.__version__)
        return found if same else None

    def offer(self, state: Callable[[], State]) -> None:
        """Save, if it is time. ``state`` is called only then. A full disk is no error."""
        if self._path is None or time.monotonic() - self._last < EVERY:
            return
        raw = io.BytesIO()
        torch.save(state() | {"key": self._key, "torch": str(torch.__version__)}, raw)
        with contextlib.suppress(IdimError):
            files.write(self._path, raw.getvalue())
        self._last = time.monotonic()


#: Saves nothing.
NONE = Saves("", "")
