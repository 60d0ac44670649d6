"""What a user asks of the method, and what an adapter's file tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from peft import PeftConfig

import projections

NAME = "IDIM_SUBSPACE"
#: The method's name in an adapter's file. Where idim is not imported, peft only prints it.
SAVED_NAME = f"{NAME}: run `import idim` first (pip install idim-lab)"
_CARD = """# Adapter: a {d}-dimensional subspace of the base model's weights

`import idim` makes the method known to peft, before the adapter is loaded:

```python
# pip install idim-lab
import idim
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this folder")  # base_model: {base}
```

`idim export` writes the same as plain weights or as a LoRA adapter, which need no idim.

"""


@dataclass
class SubspaceConfig(PeftConfig):
    """A d-dimensional subspace of a model's weights, as a peft method.

    Args:
        d: trained numbers in all, scales included.
        projection: as for ``idim.Subspace``.
        structure: as for ``idim.Subspace``. "layer" is SAID, None is DID.
        scope: as for ``idim.Subspace``.
        target_modules: names of modules whose weights move: a list of name endings, a regular
            expression, or "all-linear" (every linear layer but the output). None: all weights.
        projection_seed: of P, which is made anew from it wherever the adapter is loaded.
        fresh_modules: modules or parameters whose starting weights are saved with the adapter.
            Those that the base model on disk lacks, and a classifier's output layers, are added
            (``idim.models.fresh``).
        lean: hold theta_0 alone; see ``idim.Subspace``.
        frozen: modules and weights that their owner had frozen (``requires_grad=False``) when the
            adapter was made. They do not move. Filled in.
        D: numbers that it moves. Filled in.
        num_labels: of the base model, where it is a classifier. Filled in.
        projection_checksum: of P. Filled in.

    What is filled in when the adapter is made is compared when it is loaded. Cost of the checksum:
    P's ingredients are made once more.

    >>> from peft import get_peft_model
    >>> model = get_peft_model(torch.nn.Linear(3, 2), SubspaceConfig(d=4, structure=None))
    >>> model.print_trainable_parameters()
    trainable params: 4 || all params: 12 || trainable%: 33.3333
    """

    d: int = field(default=1000, metadata={"help": "Trained numbers in all, scales included."})
    projection: str = field(default="orthonormal", metadata={"help": "A family of projections."})
    structure: str | None = field(
        default="layer",
        metadata={"help": "What a scale belongs to: layer, module, tensor; None for none."},
    )
    scope: str = field(
        default=projections.GLOBAL,
        metadata={"help": "Where P's columns have unit length: global or tensor."},
    )
    target_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Modules whose weights move; None for all."}
    )
    projection_seed: int = field(default=0, metadata={"help": "The seed of P."})
    fresh_modules: list[str] | None = field(
        default=None, metadata={"help": "Modules whose starting weights are saved too."}
    )
    lean: bool = field(
        default=False,
        metadata={"help": "Hold theta_0 alone and form weights while their block runs."},
    )
    frozen: list[str] | None = field(
        default=None, metadata={"help": "What its owner had frozen; filled in."}
    )
    D: int | None = field(default=None, metadata={"help": "Numbers that move; filled in."})
    num_labels: int | None = field(default=None, metadata={"help": "Of the base model; filled in."})
    projection_checksum: str | None = field(default=None, metadata={"help": "Of P; filled in."})

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # peft has no types here
        self.peft_type = NAME
        if isinstance(self.target_modules, (set, tuple)):
            self.target_modules = sorted(self.target_modules)

    def to_dict(self) -> dict[str, Any]:
        """As peft writes it, under the name that tells what to import."""
        return {**super().to_dict(), "peft_type": SAVED_NAME}

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write the configuration, and a card that tells how the adapter is loaded."""
        super().save_pretrained(save_directory, **kwargs)
        path = Path(save_directory, "README.md")
        card = ModelCard.load(path) if path.exists() else ModelCard("")
        if "import idim" not in card.text:
            base = self.base_model_name_or_path or "the model that it was trained on"
            card.text = _CARD.format(d=self.d, base=base) + card.text.lstrip()
            card.save(path)


def is_fresh(name: str, config: SubspaceConfig) -> bool:
    """Whether a starting weight is saved with the adapter.

    Args:
        name: of a parameter, or of a module for the parameters that it owns itself.
    """
    return any(name in (kept, kept.rpartition(".")[0]) for kept in config.fresh_modules or ())
