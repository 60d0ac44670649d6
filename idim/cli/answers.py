"""What a command prints at its end, and the exit code that goes with it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from idim.cli.terminal import answer, remark
from idim.errors import DONE, NOT_REACHED, IdimError, expected
from idim.values.summary import Summary


def code_of(*summaries: Summary) -> int:
    """0 where every question is answered, else 3: it was measured, and not reached."""
    return DONE if all(s.verdict.answers for s in summaries) else NOT_REACHED


def finish(summary: Summary, as_json: bool, out: Path) -> int:
    """Print the answer, then write summaries and figures. What fails there leaves the answer."""
    from idim.report.tables import summary_text

    answer(as_text(summary.to_json()) if as_json else "\n" + summary_text(summary))
    drawn = draw(out) if summary.levels else {}
    if not as_json:
        only = next(iter(drawn.values())) if len(drawn) == 1 else None
        shown = drawn.get(summary.id, only)
        answer((f"figure: {shown}\n" if shown else "") + f"records: {out / 'runs'}")
    return code_of(summary)


def draw(out: Path) -> dict[str, Path]:
    """Derive and draw what the store holds: the figures by their question's id.

    A failure becomes a remark and stops nothing, because the answer is out already.
    """
    from idim.answers import summary
    from idim.made import Made
    from idim.report import page
    from idim.store import Store

    figures: dict[str, Path] = {}
    try:
        store = Store(out, create=False)
        made = Made(store)
        summaries = summary.derive(store, made)
        summary.keep(store, summaries, made)
        for name, found in page.draw(store, summaries, made):
            if isinstance(found, Path):
                figures[name] = found
            else:
                remark(f"idim: warning: {found}")
    except Exception as error:
        remark(f"idim: warning: {error if isinstance(error, IdimError) else repr(error)}")
    return figures


def table(summaries: Sequence[Summary]) -> str:
    """One row for each model, task and arm."""
    from idim.report.tables import compare_frame

    frame = compare_frame(summaries)
    return str(frame.to_string(index=False, float_format=lambda v: f"{v:.4f}"))


def as_text(value: object) -> str:
    """JSON on one line. JSON has no NaN and no infinity: such a number becomes null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_folder(name: str | None, flag: str) -> None:
    """Find out before the work whether its result can be written there. Makes nothing.

    Raises:
        IdimError: the folder is not there and cannot be made, or cannot be written.
    """
    if not name:
        return
    try:
        path = Path(name).absolute()
        while not path.exists():
            path = path.parent
        fits = path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        fits = False
    if not fits:
        raise expected(flag, "a folder that can be written", name)


def check_file(name: str | None, flag: str) -> None:
    """As ``check_folder``, of a file that the work is to write. Its folder may have to be made.

    Raises:
        IdimError: a folder has that name, or none can be made for the file.
    """
    if not name:
        return
    try:
        # Through a link, and to a device or a pipe, as the file is written.
        path = Path(name).resolve()
        fits = not path.is_dir()
        if fits and (path.is_file() or not path.exists()):
            check_folder(str(path.parent), flag)
    except (IdimError, OSError, RuntimeError, ValueError):
        fits = False
    if not fits:
        raise expected(flag, "a file that can be written", name)
