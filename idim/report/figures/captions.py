"""What each figure shows, in words: its caption, and all that a reader who sees none gets of it."""

from __future__ import annotations

from collections.abc import Sequence

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.report.words import answer_of, answer_text, interval_of
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary


def upper(text: str) -> str:
    """With a capital at the front."""
    return text[:1].upper() + text[1:]


def bounded(s: Summary) -> bool:
    """Whether an answer has something to show on an axis of sizes."""
    found = interval_of(s) or answer_of(s)
    return found is not None and found.estimate is not None


def against_size(some: Sequence[Summary]) -> str:
    """Of score against size: where each curve begins and ends, and where it crosses."""
    first = some[0]
    assert first.levels is not None
    parts = [
        f"{upper(first.metric)} of {first.model} on {first.task} against {first.letter}, by the "
        f"protocol {first.protocol}."
    ]
    for s in some:
        low, high = s.curve[0], s.curve[-1]
        runs = sum(t.n for t in s.curve)
        parts.append(
            f"{ARMS[s.arm].shown}, {_runs(runs)}: {low.mean:.3f} at {s.letter} = {low.size:,} and "
            f"{high.mean:.3f} at {high.size:,}; {s.asked} {_found(s)}."
        )
    parts.append(
        f"Full fine-tuning reaches {first.levels.full:.3f} (n = {first.levels.n}), chance is "
        f"{first.levels.chance:.3f}, and a run passes from {first.levels.tau:.3f}."
    )
    if any(isinstance(s, SearchSummary) and s.fit for s in some):
        parts.append("A band holds the curve with 90 % probability.")
    if any(t.n > 1 for s in some for t in s.curve) or first.levels.se:
        parts.append("Bars and grey bands are one standard error.")
    if any(t.stopped for s in some for t in s.curve):
        parts.append("Hollow points are runs that stopped early.")
    return " ".join(parts)


def _runs(n: int) -> str:
    return f"{n} run" + "s" * (n != 1)


def _found(s: Summary) -> str:
    """An answer, with the interval beside a bracket."""
    answer, interval = answer_of(s), interval_of(s)
    text = answer_text(answer)
    if answer and not answer.level and interval:
        return f"{text}, 90 % interval {answer_text(interval)}"
    return text


def against_trained(group: Sequence[Summary]) -> str:
    """Of score against trained numbers: how many numbers each arm trained."""
    first = group[0]
    parts = [
        f"{upper(first.metric)} of {first.model} on {first.task} against the numbers that are "
        "trained, on one axis for all arms."
    ]
    for arm in dict.fromkeys(s.arm for s in group):
        tried = [t for s in group if s.arm == arm for t in s.curve]
        counts = sorted(t.trained or t.size for t in tried)
        best = max(tried, key=lambda t: t.mean)
        parts.append(
            f"{ARMS[arm].shown}: {counts[0]:,} to {counts[-1]:,} numbers, at best {best.mean:.3f} "
            f"with {best.trained or best.size:,}."
        )
    parts.append("Bars are one standard error, where a size has several runs.")
    return " ".join(parts)


def of_rates(s: Summary, tried: Sequence[Record]) -> str:
    """Of the rates: how many were tried, and between which bounds."""
    rates = [r.rate for r in tried]
    used = [t.rate for t in s.curve if t.rate]
    text = (
        f"{len(tried)} runs tried learning rates from {min(rates):.2g} to {max(rates):.2g} for "
        f"{ARMS[s.arm].shown} and for full fine-tuning. The colour is their score on the split "
        "that rates are chosen on, and the line is the rate that runs used."
    )
    return text + (f" Runs used {min(used):.2g} to {max(used):.2g}." if used else "")


def of_learning(s: Summary, mine: Sequence[Record]) -> str:
    """Of the learning curves: what they are, and how long."""
    runs = [r for r in mine if r.kind in (Purpose.SEARCH, Purpose.SWEEP)]
    full = [r for r in mine if r.kind == Purpose.BASELINE]
    steps = max((r.training.steps for r in [*runs, *full]), default=0)
    return (
        f"{upper(s.metric)} at each evaluation over {steps:,} optimiser steps: {_runs(len(runs))} "
        f"of {ARMS[s.arm].shown}, coloured by {s.letter or 'arm'}, and {_runs(len(full))} of full "
        "fine-tuning in black."
    )


def of_scales(s: Summary, runs: Sequence[Record]) -> str:
    """Of the learned scales: which layer has the largest and which the smallest."""
    largest = max(runs, key=size_of).training.adaptation
    by = dict(zip(largest["groups"], largest["scales"], strict=False))
    top, low = max(by, key=lambda k: by[k]), min(by, key=lambda k: by[k])
    return (
        f"The learned scale of each layer, {_runs(len(runs))}. A scale starts at 1. At the largest "
        f"{s.letter} it is largest for {top} ({by[top]:.2f}) and smallest for {low} "
        f"({by[low]:.2f})."
    )


def of_spectrum(family: str, D: int, d: int, values: Sequence[float]) -> str:
    """Of a spectrum: its ends, and what they mean."""
    root = (d / D) ** 0.5
    return (
        f"Eigenvalues of PᵀP for the {family} projection from d = {d:,} to D = {D:,}, made again "
        f"from the record of the run nearest to the answer: {values[0]:.4f} to {values[-1]:.4f}. "
        "If all are equal, P moves all directions alike. A Gaussian matrix of that shape has "
        f"{(1 - root) ** 2:.4f} to {(1 + root) ** 2:.4f}."
    )


def of_intervals(rows: Sequence[Summary]) -> str:
    """Of all answers: each in words."""
    each = "; ".join(f"{s.model} × {s.task}, {ARMS[s.arm].shown}: {_found(s)}" for s in rows)
    return f"{rows[0].asked} of every search, with its 90 % interval where there is one: {each}."
