"""From a configuration through the door to an answer, as a command goes."""

from __future__ import annotations

from idim import conductor
from idim.config import Config
from idim.resolve import resolve, resolve_single
from idim.store import Store
from idim.values.record import Record
from idim.values.summary import Summary


def search(config: Config) -> Summary:
    return conductor.measure(resolve(config), Store(config.out))


def train_one(config: Config) -> Record:
    plan, store = resolve_single(config), Store(config.out)
    return conductor.train_one(plan, store, save=config.save)
