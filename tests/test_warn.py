import warnings

from lrtuner.messages import warn


def function_of(module, call):
    """Return a function, defined in that module, which calls another one."""
    names = {"__name__": module, "call": call}
    exec(compile("def function(*arguments):\n    call(*arguments)", f"{module}.py", "exec"), names)
    return names["function"]


def place_of_warning(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call("Mind the step.")
    (warning,) = caught
    assert str(warning.message) == "Mind the step."
    return warning.filename


def test_a_warning_points_at_its_caller():
    assert place_of_warning(warn) == __file__


def test_callers_in_lrtuner_and_keras_tuner_are_passed_over():
    call = warn
    for module in ("lrtuner.search.ranges", "lrtuner.oracle", "keras_tuner.src.engine.base_tuner"):
        call = function_of(module, call)
        assert place_of_warning(call) == __file__


def test_other_modules_are_not():
    call = function_of("lrtuner.tuners", warn)
    for module in ("lrtuner_example", "keras_tuner_extras.tuner"):
        assert place_of_warning(function_of(module, call)) == f"{module}.py"
