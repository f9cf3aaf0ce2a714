import inspect
import subprocess
import sys

import keras
import pytest

import lrtuner


def test_import_loads_nothing_heavy():
    heavy = ("numpy", "keras", "keras_tuner", "tensorflow", "matplotlib")
    program = f"import sys, lrtuner; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", lrtuner.__all__)
def test_public_names_have_docstrings_that_say_what_they_take(name):
    thing = getattr(lrtuner, name)
    assert name in dir(lrtuner)
    own = inspect.getdoc(thing)
    assert own
    is_error = isinstance(thing, type) and issubclass(thing, Exception)
    is_drop_in = isinstance(thing, type) and issubclass(thing, lrtuner.Tuner) and thing is not lrtuner.Tuner
    if is_drop_in:
        assert f"The arguments are those of `keras_tuner.{name}`" in own
    elif not is_error:
        assert "Args:" in own or "Attributes:" in own


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lrtuner.nonsense  # noqa: B018


def test_callback_hooks_have_keras_signatures():
    for name, function in inspect.getmembers(lrtuner.LRFinder, inspect.isfunction):
        if name.startswith("on_"):
            expected = inspect.signature(getattr(keras.callbacks.Callback, name))
            assert list(inspect.signature(function).parameters) == list(expected.parameters), name
