"""``idim sweep``: score against LoRA's rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idim.arms import ARMS, SIZE_FLAGS, SWEPT
from idim.cli.answers import finish
from idim.cli.flags import MEASURING, Asked, all_but, takes
from idim.cli.measuring import measured
from idim.config import WHAT
from idim.errors import one_of

EXAMPLE = "idim sweep --model minilm --task movie-reviews --quick --ranks 1,2,4,8,16"
_SIZED = tuple(arm.name for arm in ARMS.values() if arm.size)

_HELP = f"What is swept. Default: {SWEPT}."


@takes(all_but("arm", "absolute", "design", "max_runs", "early", "save", *SIZE_FLAGS), MEASURING)
def command(
    asked: Asked, arm: Annotated[str | None, typer.Option(help=_HELP, rich_help_panel=WHAT)] = None
) -> int:
    """Measure the score at several ranks of LoRA, or sizes of another arm.

    This is `idim search` at sizes that you choose, with the same budget, splits and rule. The
    figure shows the store's curves over d beside the ranks.
    """
    given = {} if arm is None else {"arm": arm}
    config = asked.of_one_arm({"arm": SWEPT}, design="grid", **given)
    if config.arm not in _SIZED:
        raise one_of("--arm", _SIZED, config.arm)
    return finish(measured(config), asked.as_json, Path(config.out))
