"""The summary of a question, and of every question in a store."""

from __future__ import annotations

import json
from collections.abc import Iterable

from idim.answers.fit import check_answers
from idim.answers.search import search_summary
from idim.answers.sweep import sweep_summary
from idim.errors import expected
from idim.store import Store
from idim.values.fields import Unfit
from idim.values.question import Question
from idim.values.record import Record
from idim.values.summary import Summary


def summarise(records: Iterable[Record], question: Question) -> Summary:
    """What the question's records answer.

    Args:
        records: all at hand; others than the question's are left aside.
        question: with the keys of its runs.
    """
    of = search_summary if question.tuned is None else sweep_summary
    return of(question.of(records), question)


def derive(store: Store) -> list[Summary]:
    """The summary of every question in the store. Writes nothing.

    A question that its runs do not fit is skipped, and counted with the other files that do not
    fit.
    """
    records, summaries = store.all(), []
    for question in store.questions():
        try:
            check_answers(question, records)
            summaries.append(summarise(records, question))
        except Unfit as error:
            store.skip_question(question, error)
    if not summaries:
        raise expected(
            "store",
            "at least one search or sweep",
            f"{store.root} has none" + (", and files that do not fit" if store.skipped else ""),
        )
    return summaries


def keep(store: Store, summaries: Iterable[Summary]) -> None:
    """Write the summaries into the store."""
    for s in summaries:
        text = json.dumps(s.to_json(), indent=1, allow_nan=False) + "\n"
        store.keep("summaries", f"{s.id}.json", text.encode())
