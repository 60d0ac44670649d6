"""Who may import whom."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("idim/**/*.py"), *ROOT.glob("projections/**/*.py")])
#: Files that may import an accelerator, and are imported (or import it) only where it is chosen.
ACCELERATED = {
    "native.py": set(),
    "native_blocks.py": set(),
    "native_runs.py": set(),
    "triton_blocks.py": {"triton"},
    "hadamard.py": {"fast_hadamard_transform"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def reaches(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(package + ".") for name in imported(path))


def rooms(*patterns: str) -> list[Path]:
    found = [p for pattern in patterns for p in ROOT.glob(pattern)]
    assert found
    return found


@pytest.mark.parametrize("path", rooms("projections/**/*.py"), ids=lambda p: p.name)
def test_projections_need_torch_and_the_standard_library_only(path):
    roots = {name.split(".")[0] for name in imported(path)}
    assert roots <= {
        "torch",
        "projections",
        "__future__",
    } | sys.stdlib_module_names | ACCELERATED.get(path.name, set())


def test_accelerators_are_imported_only_where_they_are_chosen():
    for path in rooms("projections/**/*.py"):
        if path.name not in ACCELERATED or path.name == "hadamard.py":
            top = {
                alias.name if isinstance(node, ast.Import) else node.module
                for node in ast.parse(path.read_text()).body
                if isinstance(node, (ast.Import, ast.ImportFrom))
                for alias in node.names
            }
            assert not any(
                word in name
                for name in top
                for word in ("native", "triton", "fast_hadamard_transform")
            )


@pytest.mark.parametrize(
    "path",
    rooms(
        "idim/config.py",
        "idim/protocols.py",
        "idim/store.py",
        "idim/errors.py",
        "idim/search/*.py",
        "idim/report/*.py",
    ),
    ids=lambda p: p.name,
)
def test_deciding_and_reporting_never_import_torch(path):
    for package in (
        "torch",
        "transformers",
        "projections",
        "idim.run",
        "idim.train",
        "idim.study",
        "idim.conductor",
    ):
        assert not reaches(path, package)


def test_the_search_reads_no_clock_and_no_disk():
    for path in rooms("idim/search/*.py"):
        assert not {"time", "os", "pathlib", "random", "datetime"} & imported(path)


def test_train_knows_no_projections_and_no_arms():
    path = ROOT / "idim/train.py"
    assert not any(
        reaches(path, p) for p in ("projections", "idim.arms", "idim.subspace", "idim.tasks")
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_imports_the_conductor(path):
    if path.name not in ("cli.py", "conductor.py", "api.py"):
        assert not reaches(path, "idim.conductor")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_draws_from_global_generators(path):
    """Seeds are set only inside a fork of torch's generator; numpy's and Python's are not used at all."""
    text = path.read_text()
    assert "np.random" not in text and "import random" not in text.replace(
        "from projections import random", ""
    )
    if "manual_seed(" in text.replace("Generator().manual_seed(", ""):
        assert "fork_rng" in text
