"""Warnings that point at the user's line."""

from __future__ import annotations

import inspect
import warnings

# Code between the user and a warning: the user never called it in person.
_PACKAGES = ("lrtuner", "keras_tuner", "keras")


def warn(message: str) -> None:
    """Warn at the line of the user's code that led here.

    That is the nearest caller outside of lrtuner, KerasTuner and Keras, however many of their functions lie
    between.

    Args:
        message: The warning's text, a whole sentence.
    """
    # For Python, level 1 is the line in this function that warns, and level 2 is its caller.
    level, frame = 2, inspect.currentframe()
    frame = frame and frame.f_back
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
