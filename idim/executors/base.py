"""The contract of what executes runs. Nothing else differs between a laptop and a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress


@dataclass(frozen=True)
class Lost:
    """A run that ended with its process or its machine. ``why`` goes into a record."""

    why: str


class Executor(ABC):
    """Makes runs. Subclasses are final."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many runs it makes at once. It may change while a cluster grows or shrinks."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more runs it would begin at once; not above ``slots``."""

    @abstractmethod
    def submit(self, spec: Spec, progress: Progress | None = None, save: str = "") -> None:
        """Begin a run. Only while ``free`` is above 0.

        Args:
            spec: what to run.
            progress: is told of each evaluation, where the run is made in this process.
            save: a folder for what the run trains. It is made in this process, or none is saved.
        """

    @abstractmethod
    def wait(self, seconds: float | None = None) -> tuple[Spec, Record | Lost] | None:
        """Wait until a run ends.

        Args:
            seconds: for so long at most, unless a run is made in this process. None: no limit.

        Returns:
            The run and its record, or how it was lost; None where nothing runs, or no run ended in
            time.

        Raises:
            Exception: a defect that a run met, once its siblings have ended and were taken.
        """

    @abstractmethod
    def close(self) -> None:
        """End whatever still runs, at once. ``submit`` then begins anew."""
