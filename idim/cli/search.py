"""``idim search``: the smallest d that reaches 90 % of full fine-tuning."""

from __future__ import annotations

from pathlib import Path

from idim.cli.answers import finish
from idim.cli.flags import MEASURING, Asked, all_but, takes
from idim.cli.terminal import watching

EXAMPLE = "idim search --model minilm --task movie-reviews --quick"


@takes(
    all_but("d", "rank", "ranks", "targets", "lora_alpha", "lora_learning_rate", "save"), MEASURING
)
def command(asked: Asked) -> int:
    """Find d90, the smallest d that reaches 90 % of what full fine-tuning gains.

    First it trains the full model for a baseline. Then it trains subspaces of growing and
    shrinking d, until d90 is known well enough.
    """
    from idim import conductor

    config = asked.config()
    with watching() as watcher:
        summary = conductor.search(config, watcher)
    return finish(summary, asked.as_json, Path(config.out))
