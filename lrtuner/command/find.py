"""`python -m lrtuner find`: a sweep of one model, from the shell."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import operator
import os
import sys
from typing import Any

import keras

from lrtuner.command import CommandError, print_json
from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange, NoRangeError
from lrtuner.curve.rules import suggest_range
from lrtuner.errors import UnusableModelError
from lrtuner.plot import plot_curve, save_picture
from lrtuner.sweep.find import find_lr
from lrtuner.sweep.finder import check_ramp
from lrtuner.values import bounds_in_words
from lrtuner.warn import warn

# What a sweep takes of the arguments of `model.fit`. It makes no use of the others.
_SWEPT = {"x", "y", "batch_size", "sample_weight", "class_weight", "shuffle", "steps_per_epoch"}


def find(given: argparse.Namespace) -> int:
    """Sweep a model's learning rate, and print the range that the curve shows.

    Args:
        given: `model` and `data`, each as "module:name"; `steps`, `min_lr`, `max_lr`, `batch_size`, `picture`
            and `json`.

    Returns:
        The exit status: 0, or 1 where there is no range.

    Raises:
        CommandError: An argument can't be used, or the model can't be swept.
    """
    try:
        check_ramp(given.min_lr, given.max_lr, given.steps)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if given.batch_size is not None and given.batch_size < 1:
        raise CommandError(f"--batch-size must be 1 or more, got {given.batch_size}.")
    folder = os.path.dirname(given.picture or "") or "."
    if not os.path.isdir(folder):
        raise CommandError(f"There is no directory {folder!r} for the picture: make it, or name another.")
    # With --json nothing else may stand in the output, whatever the user's code and Keras print.
    with contextlib.redirect_stdout(sys.stderr) if given.json else contextlib.nullcontext():
        build, load = _function(given.model, "MODULE:NAME"), _function(given.data, "--data")
        model = _model(build, given.model)
        arguments = _fit_arguments(load(), given.data)
        if given.batch_size is not None:
            arguments["batch_size"] = given.batch_size
        try:
            curve = find_lr(
                model,
                **arguments,
                steps=given.steps,
                min_lr=given.min_lr,
                max_lr=given.max_lr,
                verbose=0 if given.json else "auto",
            )
        except UnusableModelError as error:
            raise CommandError(str(error)) from error
    lr_range, reason = _read(curve)
    picture = _drawn(curve, lr_range, given.picture)
    if given.json:
        print_json(_document(curve, lr_range, reason, picture))
    else:
        print("\n".join(_lines(curve, lr_range, reason, picture)))
    return 0 if reason is None else 1


# --- The user's functions -----------------------------------------------------------------------------------


def _function(target: str, option: str) -> Any:
    """Return what "module:name" names, which must be callable."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise CommandError(
            f"{option} must be a module and a name in it, my_module:my_function, got {target!r}."
        )
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            # The module is there, and misses another one.
            raise
        hint = f"; for a file write {module_name[:-3]}:{name}" if module_name.endswith(".py") else ""
        raise CommandError(
            f"There is no module {error.name!r} in {os.getcwd()!r}, nor is one installed{hint}."
        ) from error
    try:
        function = operator.attrgetter(name)(module)
    except AttributeError as error:
        own = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        raise CommandError(
            f"The module {module_name!r} has no {name!r}. It has {', '.join(own) or 'no functions'}."
        ) from error
    if not callable(function) or isinstance(function, keras.Model):
        raise CommandError(
            f"{target!r} is no function but a {type(function).__name__}: name a function that returns it."
        )
    return function


def _model(build: Any, target: str) -> Any:
    """Call the function that builds the model, with hyperparameters if it takes any."""
    needed = [
        parameter
        for parameter in inspect.signature(build).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and (parameter.default is parameter.empty or parameter.name == "hp")
    ]
    if len(needed) > 1:
        raise CommandError(
            f"{target!r} takes {[parameter.name for parameter in needed]}: name a function without "
            "arguments, or with the hyperparameters `hp` alone."
        )
    if needed:
        import keras_tuner as kt

        model = build(kt.HyperParameters())
    else:
        model = build()
    if not isinstance(model, keras.Model):
        raise CommandError(f"{target!r} has returned a {type(model).__name__}, and no compiled Keras model.")
    return model


def _fit_arguments(data: Any, target: str) -> dict[str, Any]:
    """Return what the user's data are as arguments of `find_lr`."""
    if isinstance(data, dict):
        known = set(inspect.signature(keras.Model.fit).parameters) - {"self"}
        if not set(data) <= known:
            raise CommandError(
                f"{target!r} has returned a dict with {sorted(set(data) - known)}, which model.fit doesn't "
                f"take. Return x, y or a dict of {sorted(_SWEPT)}."
            )
        return {name: value for name, value in data.items() if name in _SWEPT}
    if not isinstance(data, tuple):
        return {"x": data}
    if not 1 <= len(data) <= 3:
        raise CommandError(f"{target!r} has returned {len(data)} values: return x, y or a dataset.")
    return dict(zip(("x", "y", "sample_weight"), data, strict=False))


# --- The result ---------------------------------------------------------------------------------------------


def _read(curve: LRCurve) -> tuple[LRRange | None, str | None]:
    """Return the range that a curve shows, or the reason why it shows none."""
    try:
        return suggest_range(curve), None
    except NoRangeError as error:
        return None, str(error)


def _drawn(curve: LRCurve, lr_range: LRRange | None, path: str | None) -> str | None:
    """Draw the curve; return the picture's path, or None where there is none."""
    if path is None:
        return None
    try:
        save_picture(path, lambda ax: plot_curve(curve, lr_range, ax=ax))
    except OSError as error:
        # The sweep is done, and has its range to tell.
        warn(f"The picture {path!r} could not be written: {error}")
        return None
    return path


def _document(
    curve: LRCurve, lr_range: LRRange | None, reason: str | None, picture: str | None
) -> dict[str, Any]:
    evidence = None if lr_range is None else lr_range.evidence
    return {
        "lr_range": None if lr_range is None else lr_range.to_config(),
        "suggested": None if lr_range is None else lr_range.suggested,
        "reason": reason,
        "caveat": "" if evidence is None else evidence.caveat,
        "steps": len(curve),
        "curve": curve.to_config(),
        "picture": picture,
    }


def _lines(curve: LRCurve, lr_range: LRRange | None, reason: str | None, picture: str | None) -> list[str]:
    lines = [f"Learning-rate sweep of {len(curve)} batches"]
    if lr_range is None:
        lines.append(f"No range: {reason}")
    else:
        ends = bounds_in_words(lr_range.min_lr, lr_range.max_lr)
        lines.append(f"Range: {ends}; suggested rate without a search: {lr_range.suggested:.3g}")
        if lr_range.evidence is not None:
            lines.append(str(lr_range.evidence))
            lines += [f"Note: {lr_range.evidence.caveat}."] if lr_range.evidence.caveat else []
    return [*lines, f"Picture: {picture}"] if picture else lines
