"""``idim train``: one run, one record."""

from __future__ import annotations

from idim.cli.answers import as_text, check_folder
from idim.cli.flags import MEASURING, Asked, all_but, takes
from idim.cli.terminal import answer, watching
from idim.errors import DONE, NOT_REACHED, IdimError
from idim.values.record import Record
from idim.values.training import Status

EXAMPLE = "idim train --model mlp:64-32-10 --task digits --arm did --d 200"


@takes(
    all_but(
        "design",
        "threshold",
        "absolute",
        "grid",
        "ranks",
        "max_runs",
        "baselines",
        "repeats",
        "tune",
        "early",
        "checks",
        "workers",
        "executor",
    ),
    MEASURING,
)
def command(asked: Asked) -> int:
    """Train once, by one arm, and keep one record."""
    from idim import conductor
    from idim.resolve import resolve_single
    from idim.run import NOT_SAVED
    from idim.store import Store

    config = asked.of_one_arm()
    check_folder(config.save, "--save")
    with watching(config.report_to, config.out) as watcher:
        plan = resolve_single(config)
        record = conductor.train_one(plan, Store(config.out), watcher, save=config.save)
    answer(as_text(record.to_json()) if asked.as_json else _line(record))
    if record.status != Status.OK:
        return NOT_REACHED
    for warning in record.training.warnings:
        if warning.startswith(NOT_SAVED):
            raise IdimError(warning)
    return DONE


def _line(record: Record) -> str:
    info = record.training
    if record.status != Status.OK:
        return f"{record.status}: {record.reason}"
    return (
        f"{info.metric} {info.score:.4f} (untouched {info.untouched:.4f}) with "
        f"{info.d_total:,} trained numbers of {record.setting.D:,}, "
        f"{info.steps} steps, {info.seconds:.0f} s"
    )
