"""``idim export``: a subspace adapter in forms that other tools load."""

from __future__ import annotations

from typing import Annotated

import typer

from idim.cli.answers import as_text, check_folder
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer, aside
from idim.errors import DONE, IdimError

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
        int, typer.Option(help="LoRA's rank, for every layer. Default: what --energy asks for.")
    ] = 0,
    energy: Annotated[
        float,
        typer.Option(
            help="The fraction of each layer's move (squared norm) that LoRA keeps; 1 is all of it."
        ),
    ] = 1.0,
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
    from idim import export as exporting
    from idim.report import tables

    check_folder(merged or lora, "--merged" if merged else "--lora")
    options = dict(asked.given)
    task = options.pop("task", None)
    with aside():
        found = exporting.export(adapter, base, merged, lora, rank, energy, task, options)
    answer(as_text(found) if asked.as_json else tables.export_text(**found))
    return DONE
