"""What notebooks show, and how objects show themselves there."""

import copy
import pathlib
import re

import keras_tuner as kt
import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest

import lrtuner
from lrtuner.curve.lr_range import Evidence

TESTS = pathlib.Path(__file__).parent
RATES = np.geomspace(1e-6, 10, 100)
CURVE = lrtuner.LRCurve(RATES, np.where(RATES < 1e-3, 2.0, 0.5))
EVIDENCE = Evidence(batches=100, density=14.0, noise=0.05, descent=1.5, descent_end=0.02, edge=0.9)
RANGE = lrtuner.LRRange(0.0012345678, 0.087654321, EVIDENCE)
HIDDEN = "<script>alert(1)</script>"


def sweep(**attributes):
    attributes = {"curve": CURVE, "lr_range": RANGE, "declared": (1e-6, 10.0), **attributes}
    return lrtuner.Sweep(name=HIDDEN, hyperparameters=kt.HyperParameters(), **attributes)


def oracle(*sweeps):
    made = lrtuner.LRRangeOracle(objective="val_loss", max_trials=3)
    made._ranges.sweeps += sweeps
    return made


FAILED = sweep(curve=None, lr_range=None, reason="It fell.")
FOUND = "LRRange(min_lr=0.00123, max_lr=0.0877)"


class TestObjects:
    @pytest.mark.parametrize(
        ("one", "words"),
        [
            (RANGE, FOUND),
            (CURVE, "LRCurve(100 batches, learning rates 1e-06 to 10)"),
            (sweep(), f"Sweep('{HIDDEN}', 100 batches, {FOUND})"),
            (FAILED, f"Sweep('{HIDDEN}', no curve, no range: It fell.)"),
            (oracle(), "LRRangeOracle(RandomSearchOracle, no sweeps)"),
            (oracle(sweep()), f"LRRangeOracle(RandomSearchOracle, 1 sweep, {FOUND})"),
            (oracle(sweep()).results(), f"SearchResults(None, sweeps: 1, trials: 0, {FOUND})"),
        ],
        ids=["range", "curve", "sweep", "failed sweep", "no sweeps", "oracle", "results"],
    )
    def test_repr_is_short(self, one, words):
        assert repr(one) == words

    @pytest.mark.parametrize("one", [CURVE, sweep(), FAILED])
    def test_picture_is_no_figure_of_pyplot(self, one):
        before = plt.get_fignums()
        assert one._repr_png_()[:4] == b"\x89PNG"
        assert plt.get_fignums() == before

    def test_html_escapes_names(self, tmp_path):
        shown = oracle(sweep(), sweep(lr_range=None, reason=HIDDEN))
        shown._set_project_dir(tmp_path, "project")
        for page in (shown._repr_html_(), shown.results()._repr_html_()):
            assert HIDDEN not in page
            assert page.count("&lt;script&gt;") == 3
            for part in ("1e-06 to 10", "0.00123 to 0.0877", "data:image/png;base64,iVBOR"):
                assert part in page
        assert oracle()._repr_html_() is None
        # What a range was read from.
        assert "0.00123 to 0.0877" in RANGE._repr_html_()
        assert str(EVIDENCE) in RANGE._repr_html_()


TUTORIAL = nbformat.read(TESTS.parent / "examples" / "tutorial.ipynb", as_version=4)


def test_the_tutorial_is_short_and_shows_its_words_where_it_is_read():
    nbformat.validate(TUTORIAL)
    assert 10 <= len(TUTORIAL.cells) <= 15
    code = [cell for cell in TUTORIAL.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert "narrowed to" in str(outputs)
    assert not any("image/png" in output.get("data", {}) for output in outputs)


CELLS = {
    "import": "import os, sys; sys.path.insert(0, {tests!r}); from searches import *",
    "search": "tuner = search(tuner({directory!r}, oracle=random_search(1)), verbose=1)",
    "oracle": "tuner.oracle",
    "sweep": "tuner.oracle.sweeps[0]",
    "curve": "curve = lrtuner.find_lr(compiled(0.1), X, Y, batch_size=8, steps=200); curve",
    "again": "search(tuner, verbose=1);",
    "silent": "tuner.oracle.max_trials += 1; search(tuner, verbose=0);",
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The cells of the tutorial and then those above, as one kernel has run them."""
    directory = tmp_path_factory.mktemp("runs")
    notebook = copy.deepcopy(TUTORIAL)
    for cell in notebook.cells:
        cell.source = cell.source.replace("max_trials=6", "max_trials=1").replace("epochs=3", "epochs=1")
    names = {"tests": str(TESTS), "directory": str(directory / "cells")}
    notebook.cells += [nbformat.v4.new_code_cell(cell.format(**names)) for cell in CELLS.values()]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": directory}}).execute()
    return notebook.cells


def text(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def shown(outputs, kind):
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.slow
def test_cells_of_the_tutorial(executed):
    found, searched, nothing = (
        next(cell.outputs for cell in executed if words in cell.source)
        for words in ("suggest_range(curve)", "tuner.search", "NoRangeError")
    )
    assert shown(found, "text/html")
    assert "narrowed to" in text(searched)
    assert "<img" in "".join(shown(searched, "text/html"))
    assert "neither fell nor blew up" in text(nothing)


@pytest.mark.slow
def test_cells(executed):
    outputs = {name: cell.outputs for name, cell in zip(CELLS, executed[-len(CELLS) :], strict=True)}
    # KerasTuner clears a cell at each trial, with the sweep's line.
    assert len(re.findall("Learning-rate sweep: .* narrowed to", text(outputs["search"]))) == 1
    # A search that goes on has swept before.
    assert "sweep" not in text(outputs["again"])
    assert outputs["silent"] == []
    assert "<img" in "".join(shown(outputs["oracle"], "text/html"))
    assert len(shown(outputs["sweep"], "image/png")) == 1
    assert len(shown(outputs["curve"], "image/png")) == 1
    assert shown(outputs["curve"], "text/plain")[0].startswith("LRCurve(")
    # One line of progress that changes.
    assert text(outputs["curve"]).startswith("Learning-rate sweep of at most 200 batches\n")
    assert text(outputs["curve"]).count("\n") <= 3
