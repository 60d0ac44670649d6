"""``idim search``: the smallest d, or rank, that reaches 90 % of full fine-tuning."""

from __future__ import annotations

from pathlib import Path

from idim.cli.answers import finish
from idim.cli.flags import MEASURING, Asked, all_but, takes
from idim.cli.measuring import measured

EXAMPLE = "idim search --model minilm --task movie-reviews --quick"


@takes(all_but("d", "rank", "save"), MEASURING)
def command(asked: Asked) -> int:
    """Find the smallest size that reaches 90 % of what full fine-tuning gains: d90, or LoRA's r90.

    First it trains the full model for a baseline. Then it trains subspaces of growing and
    shrinking d, or adapters of growing and shrinking rank, until the answer is known well enough.
    """
    config = asked.config()
    return finish(measured(config), asked.as_json, Path(config.out))
