import doctest
import inspect

import keras
import keras_tuner as kt
import matplotlib.pyplot as plt
import numpy as np
import pytest
from searches import X, Y, build_model, compiled

import lrtuner

# What `load` returns, and an error.
WITHOUT = {"SearchResults", "UnusableModelError"}


@pytest.mark.parametrize("name", sorted(set(lrtuner.__all__) - WITHOUT))
def test_the_example_of_a_public_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    given = {
        "keras": keras,
        "kt": kt,
        "np": np,
        "lrtuner": lrtuner,
        "build_model": build_model,
        "model": compiled(0.01),
        "x": X,
        "y": Y,
    }
    text = inspect.getdoc(getattr(lrtuner, name))
    example = doctest.DocTestParser().get_doctest(text, given, name, None, None)
    assert example.examples, f"{name} has no example"
    said = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    plt.close("all")
    assert not failed, "".join(said)
