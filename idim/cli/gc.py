"""``idim gc``: what a store can do without."""

from __future__ import annotations

from typing import Annotated

import typer

from idim.cli.answers import as_text
from idim.cli.flags import Asked, names_in, takes
from idim.cli.terminal import answer
from idim.errors import DONE, one_of

EXAMPLE = "idim gc idim-out"


@takes()
def command(
    asked: Asked,
    store: Annotated[str, typer.Argument(help="The store: the folder that --out named.")],
    kinds: Annotated[
        str | None,
        typer.Option(
            help="What may go: partial (files of writers that died), claims (of processes that "
            "are gone), failed (runs, which are made again), unasked (runs of no question). "
            "Default: partial,claims."
        ),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it. Without this, nothing is deleted.")
    ] = False,
) -> int:
    """Show what a store can do without: leavings of crashes, failed runs, runs of no question.

    Nothing is deleted without --delete.
    """
    from idim.store import Store
    from idim.store.garbage import KINDS, SAFE, garbage
    from idim.store.garbage import delete as gone

    wanted = tuple(names_in(kinds, "--kinds")) if kinds is not None else SAFE
    for kind in wanted:
        if kind not in KINDS:
            raise one_of("--kinds", KINDS, kind)
    folder = Store(store, create=False)
    found = garbage(folder, wanted)
    if delete:
        gone(found)
    total = sum(item.bytes for item in found)
    if asked.as_json:
        files = [
            {"path": str(i.path.relative_to(folder.root)), "why": i.why, "bytes": i.bytes}
            for i in found
        ]
        answer(as_text({"deleted": delete, "bytes": total, "files": files}))
        return DONE
    for item in found:
        answer(f"{item.path.relative_to(folder.root)!s:<48}{item.bytes:>9,}  {item.why}")
    many = f"{len(found)} file{'s' * (len(found) != 1)}, {total:,} bytes"
    answer(f"{many}: {'deleted' if delete else 'nothing is deleted without --delete'}")
    return DONE
