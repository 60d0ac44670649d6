"""Keep a transformer's first layers as a model of its own, for measurements that take less time.

    python scripts/first_layers.py --model minilm --layers 3 --out minilm-3

Then ``--model ./minilm-3``. The folder holds the backbone alone, so that a task's head is fresh.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import AutoModel, AutoTokenizer

from idim.models.catalogue import source_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    source, kwargs = source_of(args.model)
    model = AutoModel.from_pretrained(source, num_hidden_layers=args.layers, **kwargs)
    model.save_pretrained(args.out)
    AutoTokenizer.from_pretrained(source, **kwargs).save_pretrained(args.out)
    print(f"{args.out}: {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
