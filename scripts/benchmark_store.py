"""How fast a store of many records is listed, and what that takes of memory.

    python scripts/benchmark_store.py --records 10000 --out results/robustness

The records are one kept record with other seeds. The first list reads all of them and writes the
index; later ones read the index.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from idim.store import Store

KEPT = Path(__file__).resolve().parent.parent / "results" / "quick"
LIST = """
import json, resource, sys, time
began = time.perf_counter()
from idim.store import Store
loaded = time.perf_counter()
found = Store(sys.argv[1], create=False).heads()
print(json.dumps({
    "records": len(found),
    "seconds to import": round(loaded - began, 2),
    "seconds to list": round(time.perf_counter() - loaded, 2),
    "MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record, sync = Store(KEPT, create=False).all()[0], os.fsync
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        os.fsync = lambda handle: None  # only while it is filled
        for n in range(args.records):
            spec = dataclasses.replace(record.spec, seeds=dict(record.spec.seeds) | {"data": n})
            store.put(dataclasses.replace(record, spec=spec, key=""))
        os.fsync = sync
        rows = [
            json.loads(subprocess.check_output([sys.executable, "-c", LIST, folder]))
            for _ in range(3)
        ]
    for name, row in zip(("first", "second", "third"), rows, strict=True):
        print(name, row)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "store.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
