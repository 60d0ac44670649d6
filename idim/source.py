"""Where a measurement's model and task come from: the catalogues, or a program's memory."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from idim import models, tasks
from idim.behaviour import behaviour
from idim.errors import expected
from idim.models import Loaded
from idim.tasks.base import Task
from idim.values.options import Options


class Source(ABC):
    """Gives a run its task and its model by the names in its specification.

    A study carries its source, and the executor hands it to every run. A run therefore depends on
    nothing but its arguments.
    """

    @abstractmethod
    def task(self, model: str, task: str, options: Options) -> Task:
        """The task, ready for this model. Cost: a second call with the same arguments is free."""

    @abstractmethod
    def load(self, model: str, task: Task, seed: int) -> Loaded:
        """The model at theta_0 for this task. ``seed`` draws what is fresh."""

    @abstractmethod
    def is_pretrained(self, model: str) -> bool:
        """Whether transformers can load the model again by its name."""

    @abstractmethod
    def is_transformer(self, model: str) -> bool:
        """Whether it is one of transformers' models. It decides the default recipe."""

    @abstractmethod
    def positions(self, model: str) -> int | None:
        """The longest input that the model has positions for. None: no known limit."""

    @abstractmethod
    def may_change(self, model: str) -> bool:
        """Whether the same name may stand for other weights tomorrow."""


class Catalogues(Source):
    """Models and tasks by name: built-in ones, files, folders, and the hub."""

    def task(self, model: str, task: str, options: Options) -> Task:
        return _kept(model, task, options)

    def load(self, model: str, task: Task, seed: int) -> Loaded:
        return models.load(model, task.classes, seed, task.head, task.names)

    def is_pretrained(self, model: str) -> bool:
        return models.is_pretrained(model)

    def is_transformer(self, model: str) -> bool:
        return models.is_pretrained(model)

    def positions(self, model: str) -> int | None:
        return models.positions(model)

    def may_change(self, model: str) -> bool:
        return Path(model).is_dir()


@lru_cache(maxsize=2)
def _kept(model: str, task: str, options: Options) -> Task:
    """A process reads and tokenises a task once."""
    return tasks.load(task, models.reader(model), options, models.labels(model))


#: What names stand for, unless a program brings its own.
CATALOGUES = Catalogues()


class InMemory(Source):
    """One model and one task that a program holds, under the names that records call them.

    Args:
        model: the model's name.
        make: a function of a seed that makes the model.
        task: the task's name.
        read: a function of options that makes the task.

    Raises:
        IdimError: for a name that a catalogue uses.
    """

    def __init__(
        self,
        model: str,
        make: Callable[[int], nn.Module],
        task: str,
        read: Callable[[Options], Task],
    ):
        for kind, taken, new in (
            ("name", [*models.NETS, *models.ALIASES], model),
            ("task", tasks.CATALOGUE, task),
        ):
            if new in taken:
                raise expected(kind, "one that idim does not use itself", new)
        self._make, self._read = make, read
        self._tasks: dict[Options, Task] = {}
        self._behaviour = ""

    def task(self, model: str, task: str, options: Options) -> Task:
        if options not in self._tasks:
            self._tasks[options] = self._read(options)
        return self._tasks[options]

    def load(self, model: str, task: Task, seed: int) -> Loaded:
        # Initialisers draw from torch's generator. Nobody else's draws may move.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % (1 << 63))
            module = self._make(seed)
            # Weights alone do not say what a program's own model, loss and metric do with them.
            self._behaviour = self._behaviour or behaviour(module, task)
        told = f"{models.fingerprint(module)} {self._behaviour}"
        return Loaded(module, hashlib.sha256(told.encode()).hexdigest()[:16])

    def is_pretrained(self, model: str) -> bool:
        return False

    def is_transformer(self, model: str) -> bool:
        return hasattr(self._make(0), "config")

    def positions(self, model: str) -> int | None:
        return None

    def may_change(self, model: str) -> bool:
        return True
