"""Who may import whom."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from idim.arms import ARMS, FULL

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("idim/**/*.py"), *ROOT.glob("projections/**/*.py")])
#: Files that are imported only where their engine is chosen, and the accelerator that they import.
ACCELERATED = {
    "native.py": set(),
    "native_engine.py": set(),
    "native_blocks.py": set(),
    "native_runs.py": set(),
    "triton_blocks.py": {"triton"},
    "fht_blocks.py": {"fast_hadamard_transform"},
}


def targets(node: ast.AST, module: str = "", package: bool = False) -> list[tuple[str, str]]:
    """The modules that a statement of this module imports, and the names that it takes of them."""
    if isinstance(node, ast.Import):
        return [(alias.name, "") for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    home = module.split(".") if package else module.split(".")[:-1]
    above = home[: len(home) + 1 - node.level] if node.level else []
    base = ".".join([*above, *filter(None, [node.module])])
    return [(base, alias.name) for alias in node.names]


def named(node: ast.AST) -> set[str]:
    """All that the statement may mean: modules, and names of a module, which may be modules."""
    return {
        name for base, own in targets(node) for name in (base, f"{base}.{own}".rstrip(".")) if name
    }


def imported(path: Path) -> set[str]:
    return {name for node in ast.walk(ast.parse(path.read_text())) for name in named(node)}


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
    chosen = {name.removesuffix(".py") for name in ACCELERATED}
    for path in rooms("projections/**/*.py"):
        if path.name not in ACCELERATED:
            top = {
                name
                for node in ast.parse(path.read_text()).body
                for name in named(node)
                if name.startswith("projections.engines.")
            }
            assert not {name.rpartition(".")[2] for name in top} & chosen


def test_engines_hold_no_projection():
    """A plan is all that an engine sees."""
    for path in rooms("projections/engines/*.py", "projections/contract.py"):
        for module in ("base", "families", "layout", "per_tensor"):
            assert not reaches(path, f"projections.{module}"), path


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_import_goes_in_a_circle():
    """Nor does one within a function, or one for types alone."""
    modules = {module_of(path): path for path in FILES}
    # `from package import module` leads to the module, and any other name to the package itself.
    arrows = {
        module: {
            f"{base}.{name}" if f"{base}.{name}" in modules else base
            for node in ast.walk(ast.parse(path.read_text()))
            for base, name in targets(node, module, path.name == "__init__.py")
        }
        & modules.keys() - {module}
        for module, path in modules.items()
    }
    # What leads to nothing, or is led to by nothing, lies in no circle.
    while ends := {m for m in arrows if not arrows[m] or m not in set().union(*arrows.values())}:
        arrows = {m: others - ends for m, others in arrows.items() if m not in ends}
    assert arrows == {}


def modules() -> dict[str, Path]:
    """Every module of ours, by its name."""
    names = {}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


def loaded(start: str) -> set[str]:
    """What importing a module loads, through all that its modules import when they are loaded."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in ast.parse(MODULES[name].read_text()).body if name in MODULES else ():
            if isinstance(node, ast.Import):
                todo += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return seen


#: What decides and renders, and so must answer without loading torch.
LIGHT = [
    name
    for name in MODULES
    if (
        name.startswith(("idim.values", "idim.search", "idim.answers", "idim.report", "idim.arms"))
        and name != "idim.arms.subspace_adapted"
    )
    or name.startswith(("idim.rates", "idim.store"))
    or name in ("idim.config", "idim.protocols", "idim.errors")
    or name in ("idim.specs", "idim.open_question", "idim.watcher")
]


@pytest.mark.parametrize("name", LIGHT)
def test_deciding_and_rendering_load_no_torch(name):
    found = {n.split(".")[0] for n in loaded(name)}
    assert not found & {"torch", "transformers", "peft", "projections"}
    assert ("matplotlib" in found) <= name.startswith("idim.report")


#: Where "full" is the name of a field: full fine-tuning, in what is kept and shown.
FULL_IS_A_FIELD = ("findings.py", "search_summary.py", "sweep_summary.py", "tables.py")
#: A part of every model, which is spoken of everywhere.
HEAD = "head"


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.parent.name != "arms" and p.name != "protocols.py"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_arm_is_named_outside_its_room(path):
    """A new arm is one file, and what it can do is asked of it."""
    names = set(ARMS) - {HEAD} - ({FULL} if path.name in FULL_IS_A_FIELD else set())
    said = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
    assert not said & names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_renders(path):
    """And what a notebook shows, which draws itself."""
    rooms = {"report", "cli"} & {*path.parts}
    if not rooms and path.name not in ("measurement.py", "jupyter.py"):
        assert not reaches(path, "idim.report") and not reaches(path, "matplotlib")


@pytest.mark.parametrize(
    "path",
    rooms(
        "idim/config.py",
        "idim/protocols.py",
        "idim/store/*.py",
        "idim/errors.py",
        "idim/search/*.py",
        "idim/report/**/*.py",
        "idim/made.py",
        "idim/answers/*.py",
        "idim/values/*.py",
    ),
    ids=lambda p: p.name,
)
def test_deciding_and_reporting_never_import_torch(path):
    for package in (
        "torch",
        "transformers",
        "projections",
        "idim.run",
        "idim.runs",
        "idim.train",
        "idim.resolve",
        "idim.conductor",
    ):
        assert not reaches(path, package)


def test_values_hold_no_rooms():
    """Anyone may import values; they import each other, errors, and the search's formulas."""
    for path in rooms("idim/values/*.py"):
        found = {n for n in imported(path) if n.startswith("idim.")}
        assert all(n.startswith(("idim.values", "idim.errors", "idim.search")) for n in found)


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
    if path.parent.name != "cli" and path.name not in ("conductor.py", "api.py"):
        assert not reaches(path, "idim.conductor")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_below_the_door_nobody_sees_what_the_user_asked_for(path):
    """``resolve`` makes a plan of a Config, and checks it; all else takes the plan."""
    if path.parent.name not in ("cli", "resolve") and path.name not in ("config.py", "api.py"):
        assert not reaches(path, "idim.config")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_draws_from_global_generators(path):
    """Seeds are set only inside a fork of torch's generator. Others are not used at all."""
    text = path.read_text()
    assert "np.random" not in text and "import random" not in text.replace(
        "from projections import random", ""
    )
    if "manual_seed(" in text.replace("Generator().manual_seed(", ""):
        assert "fork_rng" in text
