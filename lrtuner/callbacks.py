"""What a sweep has to know of the user's callbacks, none of which it calls."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from lrtuner.errors import LearningRateError
from lrtuner.search.protocol import SWEEP_PREFIX

# Two learning rates at which a scheduler is asked for the rate that it sets.
_ASKED = (1e-4, 1e-2)
# Names of the directories that KerasTuner makes for a trial, here a sweep, and for a training of it.
_OF_A_SWEEP = re.compile(rf"{SWEEP_PREFIX}_\d+")
_OF_AN_EXECUTION = re.compile(r"execution\d+")


def check_rate_is_kept(callbacks: Sequence[Any] | None) -> None:
    """Raise if a `LearningRateScheduler` sets rates of its own, whatever the model is compiled with.

    Args:
        callbacks: Those of the training.

    Raises:
        LearningRateError: One does.
    """
    for callback in callbacks or ():
        if not isinstance(callback, keras.callbacks.LearningRateScheduler):
            continue
        rates: list[float] = []
        # The user's function may fail in any way; it will do so in the trials, too.
        with contextlib.suppress(Exception):
            rates = [_scheduled(callback.schedule, rate) for rate in _ASKED]
        if len(set(rates)) == 1:
            raise LearningRateError(
                f"a LearningRateScheduler begins at {rates[0]:.4g} whatever rate the model is compiled with, "
                "so the hyperparameter has no effect: let its function return a multiple of the rate that it "
                "is given, or leave the callback out"
            )


def _scheduled(schedule: Any, rate: float) -> float:
    """Return the rate that a scheduler sets at first, given the model's; Keras calls it in the same way."""
    try:
        return float(schedule(0, rate))
    except TypeError:
        return float(schedule(0))


def remove_tensorboard_directories(callbacks: Sequence[Any] | None) -> None:
    """Remove what KerasTuner has made for a TensorBoard callback, which no sweep calls.

    KerasTuner gives each trial the directory TRIAL_ID/executionN below the user's. No other one is touched.
    """
    for callback in callbacks or ():
        directory = Path(str(getattr(callback, "log_dir", "")))
        if _OF_AN_EXECUTION.fullmatch(directory.name) and _OF_A_SWEEP.fullmatch(directory.parent.name):
            shutil.rmtree(directory.parent, ignore_errors=True)
