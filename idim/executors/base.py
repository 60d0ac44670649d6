"""The contract of what executes runs. Nothing else differs between a laptop and a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from idim.values.record import Record
from idim.values.spec import Spec
from idim.watcher import Progress


class Executor(ABC):
    """Makes runs. Subclasses are final."""

    @abstractmethod
    def run(
        self, specs: Sequence[Spec], progress: Progress | None = None, save: str = ""
    ) -> Iterator[tuple[Spec, Record]]:
        """Make runs, and yield each with its record as soon as it is done.

        Args:
            specs: what to run. None of them depends on another.
            progress: is told of each evaluation, where a run is made in this process.
            save: a folder for what one run trains. With it, give one run.

        Yields:
            Every specification once, in any order. A run whose process dies yields a record that
            says so. Where the loop that takes them ends early, what still runs is ended.
        """

    @abstractmethod
    def close(self) -> None:
        """End whatever still runs, and give its processes back. The next ``run`` starts anew."""
