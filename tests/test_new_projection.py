"""To add a family of projections takes one file, and it inherits every law."""

from __future__ import annotations

import os
import subprocess
import sys

import test_projections

FAMILY = '''"""A Gaussian matrix whose columns have length one."""

from projections import Image, Projection, random
from projections.staged import Staged


class Spherical(Projection):
    family, staged = "spherical", True

    def matrix(self):  # (D, d)
        entries = next(self.ingredients()).view(self.D, self.d).double()
        return (entries / entries.norm(dim=0)).to(self.dtype)

    def image(self, theta):
        return Product(self.matrix() @ theta)

    def accumulator(self):
        return Staged(self.D, self.dtype, self.device, lambda v: self.matrix().T @ v)

    def ingredients(self):
        yield random.gaussians(self.seed, 0, 0, self.D * self.d, self.device)


class Product(Image):
    def __init__(self, whole):
        super().__init__(whole.dtype, whole.device)
        self.whole = whole

    def write(self, out, start=0):
        out.copy_(self.whole[start : start + out.numel()])
'''

#: What the table's one more line does, for one run of the tests.
LINE = """import projections
from spherical import Spherical

projections.KINDS = projections.KINDS | {Spherical.family: Spherical}
"""


def laws() -> set[str]:
    """The tests that run over every family."""
    found = set()
    for name, test in vars(test_projections).items():
        for mark in getattr(test, "pytestmark", []):
            if mark.name == "parametrize" and mark.args[1] is test_projections.FAMILIES:
                found.add(name)
    return found


def test_a_family_in_one_file_runs_through_every_law(tmp_path):
    assert len(FAMILY.splitlines()) <= 30
    (tmp_path / "spherical.py").write_text(FAMILY)
    (tmp_path / "one_more_line.py").write_text(LINE)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "one_more_line", "-p", "no:cacheprovider"),
            *("-k", "spherical", "-rA", test_projections.__file__),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = {
        line.split("::")[1].split("[")[0]
        for line in done.stdout.splitlines()
        if line.startswith("PASSED") and "spherical" in line
    }
    assert len(laws()) >= 12
    assert passed == laws()
