"""The notebook of the documents runs from its first cell to its last, and shows what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "first-search.ipynb"


def test_the_notebook_runs_and_shows_its_answers(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "keep it without its outputs"
    for cell in notebook.cells:  # a tiny budget
        cell.source = cell.source.replace('"max_steps": 60', '"max_steps": 20')
        cell.source = cell.source.replace('"max_runs": 10', '"max_runs": 6')
    nbclient.NotebookClient(
        notebook, timeout=170, resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert len(shown) == 4
    for text in shown[:3]:  # two summaries and a record
        assert "<table" in text and '<svg role="img"' in text
    assert "d90 = " in shown[0] and "d90 = " in shown[1] and "trained numbers" in shown[2]
