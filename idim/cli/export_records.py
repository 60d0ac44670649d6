"""``idim export-records``: one tidy table of all runs of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idim.cli.answers import as_text, check_file
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer
from idim.errors import DONE, expected

EXAMPLE = "idim export-records idim-out runs.parquet"


@takes()
def command(
    asked: Asked,
    folder: Annotated[str, typer.Argument(help="A store, as --out made it.")],
    file: Annotated[str, typer.Argument(help="What to write: a name ending in .parquet or .csv.")],
) -> int:
    """Write every run of a store into one table: a row a run, a column a setting or a result."""
    ending = Path(file).suffix
    if ending not in (".parquet", ".csv"):
        raise expected("file", "a name ending in .parquet or .csv", file)
    check_file(file, "file")
    from idim.report.records_frame import as_bytes, records_frame
    from idim.store import Store, write

    frame = records_frame(Store(folder, create=False).all())
    write(Path(file), as_bytes(frame, ending))
    rows, columns = frame.shape
    if asked.as_json:
        answer(as_text({"wrote": file, "rows": rows, "columns": columns}))
    else:
        answer(f"wrote {file}: {rows:,} runs, {columns} columns")
    return DONE
