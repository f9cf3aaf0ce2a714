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
from lrtuner.notebook import in_kernel

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
    made._sweeping.ranges.sweeps += sweeps
    return made


FAILED = sweep(curve=None, lr_range=None, reason="It fell.")


class TestObjects:
    @pytest.mark.parametrize(
        ("one", "words"),
        [
            (RANGE, "LRRange(min_lr=0.00123, max_lr=0.0877)"),
            (CURVE, "LRCurve(100 batches, learning rates 1e-06 to 10)"),
            (sweep(), f"Sweep('{HIDDEN}', 100 batches, LRRange(min_lr=0.00123, max_lr=0.0877))"),
            (FAILED, f"Sweep('{HIDDEN}', no curve, no range: It fell.)"),
            (oracle(), "LRRangeOracle(RandomSearchOracle, no sweeps)"),
            (
                oracle(sweep()),
                "LRRangeOracle(RandomSearchOracle, 1 sweep, LRRange(min_lr=0.00123, max_lr=0.0877))",
            ),
        ],
        ids=["range", "curve", "sweep", "failed sweep", "no sweeps", "oracle"],
    )
    def test_repr_is_short(self, one, words):
        assert repr(one) == words

    @pytest.mark.parametrize("kind", [lrtuner.LRRange, lrtuner.LRCurve, lrtuner.Sweep, lrtuner.LRRangeOracle])
    def test_an_object_that_is_not_set_up_yet(self, kind):
        bare = kind.__new__(kind)
        assert repr(bare).startswith("<lrtuner.")
        methods = [getattr(kind, name) for name in ("_repr_html_", "_repr_png_") if hasattr(kind, name)]
        assert [method(bare) for method in methods] == [None]

    @pytest.mark.parametrize("one", [CURVE, sweep(), FAILED])
    def test_picture_is_no_figure_of_pyplot(self, one):
        before = plt.get_fignums()
        assert one._repr_png_()[:4] == b"\x89PNG"
        assert plt.get_fignums() == before

    def test_html_escapes_names(self, tmp_path):
        shown = oracle(sweep(), sweep(lr_range=None, reason=HIDDEN))
        shown._set_project_dir(tmp_path, "project")
        page = shown._repr_html_()
        assert HIDDEN not in page
        assert page.count("&lt;script&gt;") == 3
        for part in ("1e-06 to 10", "0.00123 to 0.0877", "data:image/png;base64,iVBOR"):
            assert part in page
        assert oracle()._repr_html_() is None

    def test_html_of_a_range_says_what_it_was_read_from(self):
        assert "0.00123 to 0.0877" in RANGE._repr_html_()
        assert str(EVIDENCE) in RANGE._repr_html_()

    def test_a_copied_oracle_shows_itself(self):
        assert repr(copy.copy(oracle())) == repr(oracle())


def test_a_script_is_no_notebook():
    import IPython  # noqa: F401

    assert not in_kernel()


TUTORIAL = nbformat.read(TESTS.parent / "examples" / "tutorial.ipynb", as_version=4)


def test_the_tutorial_is_short_and_stores_no_outputs():
    nbformat.validate(TUTORIAL)
    assert 10 <= len(TUTORIAL.cells) <= 15
    code = [cell for cell in TUTORIAL.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []


CELLS = {
    "import": "import os, sys; sys.path.insert(0, {tests!r}); from searches import *",
    "search": "tuner = search(tuner({directory!r}, oracle=random_search(2)), verbose=1)",
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
    names = {"tests": str(TESTS), "directory": str(directory / "cells")}
    notebook.cells += [nbformat.v4.new_code_cell(cell.format(**names)) for cell in CELLS.values()]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": directory}}).execute()
    return notebook.cells


@pytest.fixture
def outputs(executed):
    """The outputs of each of the cells above."""
    return {name: cell.outputs for name, cell in zip(CELLS, executed[-len(CELLS) :], strict=True)}


@pytest.mark.slow
def test_the_tutorial_runs(executed):
    found, searched, nothing = (
        next(cell.outputs for cell in executed if words in cell.source)
        for words in ("suggest_range(curve)", "tuner.search", "NoRangeError")
    )
    assert shown(found, "text/html")
    assert "narrowed to" in text(searched)
    assert len(shown(searched, "image/png")) == 1
    assert "neither fell nor blew up" in text(nothing)


def text(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def shown(outputs, kind):
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.slow
class TestCells:
    @pytest.mark.parametrize("cell", ["search", "again"])
    def test_a_search_keeps_its_line_and_its_picture(self, outputs, cell):
        assert len(re.findall("Learning-rate sweep of .* narrowed to", text(outputs[cell]))) == 1
        assert len(shown(outputs[cell], "image/png")) == 1

    def test_verbose_0_shows_nothing(self, outputs):
        assert outputs["silent"] == []

    def test_objects_show_themselves(self, outputs):
        assert "<img" in "".join(shown(outputs["oracle"], "text/html"))
        assert len(shown(outputs["sweep"], "image/png")) == 1

    def test_progress_is_one_line(self, outputs):
        assert text(outputs["curve"]) == "Learning-rate sweep of at most 200 batches\n"
        progress, curve = shown(outputs["curve"], "text/plain")
        assert re.fullmatch(r"\d+/200 batches - learning_rate: \S+ - loss: \S+", progress)
        assert not progress.startswith("0/")
        assert curve.startswith("LRCurve(")
        assert len(shown(outputs["curve"], "image/png")) == 1
