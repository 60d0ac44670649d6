"""What in ``results/`` is made of a study's numbers: which function makes it.

A text or a figure stands beside the JSON that holds its numbers, under the same name. Some numbers
are made of the records of the store that they lie in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import benchmark_layers
import benchmark_projections
import benchmark_steps
import check_recommendation
import compare_commits
import compare_dylora
import compare_targets
import compare_tasks
import keep_frontier
import plot_spectra
import remake_summaries
import reproduce_li2018
import study_checks
import study_optimizers
import study_ranks
import study_search
import try_seeds
from matplotlib.figure import Figure

from idim.store import Store

_Make = TypeVar("_Make")
#: By a pattern of the JSON's place in ``results/``: of a store and the JSON, the JSON anew.
NUMBERS: dict[str, Callable[[Store, Any], Any]] = {
    "*/dylora": compare_dylora.compared,
    "*/frontier": keep_frontier.again,
    "*/tasks": compare_tasks.again,
    "li2018/mnist-*": reproduce_li2018.again,
}
TEXTS: dict[str, Callable[[Any], str]] = {
    "*/dylora": compare_dylora.text,
    "*/frontier": keep_frontier.text,
    "*/recommended": check_recommendation.text,
    "*/targets-*": compare_targets.text,
    "*/tasks": compare_tasks.text,
    "digits/seeds": try_seeds.text,
    "li2018/mnist-*": reproduce_li2018.text,
    "optimizers/study": study_optimizers.text,
    "projections/benchmark*": benchmark_projections.text,
    "projections/layers": benchmark_layers.text,
    "projections/spectra": plot_spectra.text,
    "ranks/ranks-*": study_ranks.text,
    "search/changes": remake_summaries.text,
    "search/checks": study_checks.text,
    "search/study": study_search.text,
    "steps/compared": compare_commits.text,
    "steps/steps*": benchmark_steps.text,
}
FIGURES: dict[str, Callable[[Any], Figure]] = {
    "*/dylora": compare_dylora.figure,
    "*/frontier": keep_frontier.figure,
    "*/tasks": compare_tasks.figure,
    "projections/spectra": plot_spectra.figure,
    "search/study": study_search.figure,
}


def numbers(results: Path) -> Iterator[tuple[Path, Any]]:
    """All numbers that are made of a store's records, and their file."""
    for source, make in _sources(results, NUMBERS):
        store = Store(source.parent, create=False)
        yield source, make(store, json.loads(source.read_text()))


def texts(results: Path) -> Iterator[tuple[Path, str]]:
    """Every text that is made of numbers in a folder, and its file."""
    for source, make in _sources(results, TEXTS):
        yield source.with_suffix(".txt"), make(json.loads(source.read_text()))


def figures(results: Path) -> Iterator[tuple[Path, Figure]]:
    """Every figure that is made of numbers in a folder, and its file."""
    for source, make in _sources(results, FIGURES):
        yield source.with_suffix(".png"), make(json.loads(source.read_text()))


def _sources(results: Path, makers: dict[str, _Make]) -> Iterator[tuple[Path, _Make]]:
    for pattern, make in makers.items():
        for source in sorted(results.glob(f"{pattern}.json")):
            yield source, make
