import doctest
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner as kt
import matplotlib.pyplot as plt
import numpy as np
import pytest
from searches import X, Y, build_model, compiled

import lrtuner

# What `load` returns, and an error.
WITHOUT_EXAMPLE = {"SearchResults", "UnusableModelError"}


def test_import_loads_nothing_heavy():
    heavy = ("numpy", "keras", "keras_tuner", "tensorflow", "matplotlib")
    program = f"import sys, lrtuner; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", lrtuner.__all__)
def test_public_names_say_what_they_take_and_their_examples_run(name, tmp_path, monkeypatch):
    thing = getattr(lrtuner, name)
    assert name in dir(lrtuner)
    text = inspect.getdoc(thing)
    is_class = isinstance(thing, type)
    if is_class and issubclass(thing, lrtuner.Tuner) and thing is not lrtuner.Tuner:
        assert f"The arguments are those of `keras_tuner.{name}`" in text
    elif not (is_class and issubclass(thing, Exception)):
        assert "Args:" in text or "Attributes:" in text
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    given = {"keras": keras, "kt": kt, "np": np, "lrtuner": lrtuner, "x": X, "y": Y}
    given |= {"build_model": build_model, "model": compiled(0.01)}
    example = doctest.DocTestParser().get_doctest(text, given, name, None, None)
    assert bool(example.examples) is (name not in WITHOUT_EXAMPLE)
    said = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    plt.close("all")
    assert not failed, "".join(said)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lrtuner.nonsense  # noqa: B018


def test_the_reference_is_made_from_the_docstrings():
    examples = Path(__file__).parents[1] / "examples"
    page = runpy.run_path(str(examples / "reference.py"))["reference"]()
    assert page == (examples / "REFERENCE.md").read_text()
