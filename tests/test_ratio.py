"""The ratio of two d90."""

from pathlib import Path

import pytest

from idim.answers.ratio import ratio
from idim.answers.summary import summarise
from idim.errors import IdimError
from idim.store import Store

RESULTS = Path(__file__).resolve().parent.parent / "results"


@pytest.fixture(scope="module")
def kept():
    """Records and questions of SAID and DID on SST-2."""
    store = Store(RESULTS / "minilm-glue", create=False)
    found = {q.arm: q for q in store.questions() if q.task == "sst2"}
    return store.all(), found["said"], found["did"]


def test_a_ratio_lies_about_the_ratio_of_the_estimates(kept):
    records, said, did = kept
    told = {q.arm: summarise(records, q).interval.estimate for q in (said, did)}
    found = ratio(records, did, said)
    assert found.low < told["did"] / told["said"] < found.high
    assert found.estimate == pytest.approx(told["did"] / told["said"], rel=0.3)


def test_the_other_way_round_it_is_the_inverse(kept):
    records, said, did = kept
    one, other = ratio(records, did, said), ratio(records, said, did)
    assert one.low * other.high == pytest.approx(1, rel=0.02)
    assert one.estimate * other.estimate == pytest.approx(1, rel=0.02)


def test_of_the_same_question_it_holds_one(kept):
    records, said, _ = kept
    found = ratio(records, said, said)
    assert found.low < 1 < found.high


def test_a_question_without_runs_is_refused(kept):
    _, said, did = kept
    with pytest.raises(IdimError, match="ratio: expected a search with full runs"):
        ratio([], did, said)
