"""``idim export``: a subspace adapter in forms that other tools load."""

from __future__ import annotations

from typing import Annotated

import typer

from idim.cli.answers import as_text, check_folder
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer, aside
from idim.errors import DONE, IdimError, expected

EXAMPLE = "idim export idim-out/adapter --merged idim-out/plain"


@takes(("task", "data_dir", "max_seq_length", "max_eval_samples"))
def command(
    asked: Asked,
    adapter: Annotated[
        str,
        typer.Argument(
            help="A folder with a subspace adapter, from `idim train --save` or save_pretrained."
        ),
    ],
    merged: Annotated[
        str | None, typer.Option(help="Write the model with plain weights into this folder.")
    ] = None,
    lora: Annotated[str | None, typer.Option(help="Write a LoRA adapter into this folder.")] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="LoRA's rank; a layer too small for it gets all of its own. Default: what "
            "--energy asks for."
        ),
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            help="In place of a rank: the fraction of each layer's move (squared norm) that LoRA "
            "keeps. Default: 1, all of it."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="The base model, where the adapter's own note of it does not load."),
    ] = None,
) -> int:
    """Turn a subspace adapter into plain weights or a LoRA adapter.

    Prints the rank of each layer's move. With --task it scores the adapter and its exports.
    """
    if bool(merged) == bool(lora):
        came = "both" if merged else "neither"
        raise IdimError(f"--merged, --lora: expected one of them; got {came}")
    kept = [flag for flag, value in (("--rank", rank), ("--energy", energy)) if value is not None]
    if kept and merged:
        raise expected(kept[0], "--lora beside it, for --merged keeps all", f"--merged {merged}")
    if len(kept) == 2:
        raise IdimError("--rank, --energy: expected one of them; got both")
    if rank == 0:  # which idim.export takes for none
        raise expected("--rank", "a whole number of at least 1", rank)
    from idim import export as exporting
    from idim.report import tables

    check_folder(merged or lora, "--merged" if merged else "--lora")
    options = dict(asked.given)
    task = options.pop("task", None)
    with aside():
        energy = 1.0 if energy is None else energy
        found = exporting.export(adapter, base, merged, lora, rank or 0, energy, task, options)
    answer(as_text(found) if asked.as_json else tables.export_text(**found))
    return DONE
