"""``idim doctor``: whether everything works on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from idim.cli.answers import as_text
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer
from idim.errors import DEFECT, DONE

EXAMPLE = "idim doctor --verify idim-out"
_SIGNS = {True: "ok", False: "FAIL", None: "--"}


@takes()
def command(
    asked: Asked,
    verify: Annotated[
        str | None,
        typer.Option(
            help="A store: check its files, make its projections again and compare checksums."
        ),
    ] = None,
) -> int:
    """Show what is installed, and test the projections.

    The exit code is 1 where something does not work, here or in the store.
    """
    from idim.doctor import examine, verified
    from idim.store import Store

    checks = []
    for name, ok, detail in verified(Store(verify, create=False)) if verify else examine():
        checks.append({"name": name, "ok": ok, "detail": detail})
        if not asked.as_json:
            answer(f"{_SIGNS[ok]:<5}{name:<26}{detail}")
    healthy = all(c["ok"] is not False for c in checks)
    if asked.as_json:
        answer(as_text({"healthy": healthy, "checks": checks}))
    return DONE if healthy else DEFECT
