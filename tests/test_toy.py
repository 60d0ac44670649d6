"""Ground truth, end to end: every family solves ten constraints in ten dimensions, not in nine."""

from __future__ import annotations

import pytest

import projections
from idim.run import Spec, execute
from idim.train import Recipe
from idim.values.options import Options


@pytest.mark.parametrize("family", projections.KINDS)
def test_ten_dimensions_solve_it_and_nine_do_not(family):
    # Full at a rate of 3 takes a few hundred steps; an ill-conditioned ten by ten block takes more.
    recipe = Recipe(3.0, max_steps=3000, batch_size=1, evaluations=1)
    seeds = {"projection": 1, "theta_0": 2, "data": 3, "dropout": 4}
    score = {}
    for d in (9, 10):
        settings = {"d": d, "projection": family, "scope": "global"}
        record = execute(
            Spec(
                "toy", "toy", "did", recipe, Options(), "test", "search", "measure", seeds, settings
            )
        )
        score[d] = record.score
    # The score counts decades of loss out of four: 1 is a loss below 1e-4 of the start.
    assert score[10] == 1.0
    assert score[9] < 1.0
