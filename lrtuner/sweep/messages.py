"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings

# Code of these packages stands between the user's line and the one that warns.
_PASSED_OVER = frozenset({"keras", "keras_tuner", "lrtuner"})


def warn(message: str) -> None:
    """Warn, and name the innermost line that is neither lrtuner's nor Keras' nor KerasTuner's."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package_of(frame.f_globals) in _PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _package_of(module: dict[str, object]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]
