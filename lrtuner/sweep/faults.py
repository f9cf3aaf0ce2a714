"""Whether the data, or the model itself, have made the loss of a sweep NaN, which reads like a blow-up."""

from __future__ import annotations

import collections
import math
import statistics
from typing import Any, NamedTuple

import keras
import numpy as np

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.smoothing import FloatArray
from lrtuner.sweep.recorders import InspectingRecorder

# Batches that take no time worth the name.
_FEW = 20


class Outlier(NamedTuple):
    """What counts as an outlier of the data: it stands out also at the weights that a sweep began with.

    Attributes:
        limit: The highest loss that does not stand out.
        batches: How many losses in a row have a median above it.
    """

    limit: float
    batches: int


def outlier_at_the_end(losses: FloatArray) -> Outlier | None:
    """Return what would show that outliers of the data have ended a sweep, and not the learning rate.

    Args:
        losses: The loss of each batch, shape `(batches,)`.

    Returns:
        The outlier to look for, or None where the data can't have ended the sweep.
    """
    detector = BlowUpDetector()
    for loss in losses:
        detector.update(loss)
    if not detector.doubtful:
        return None
    outlier = Outlier(detector.calm_limit, detector.doubtful)
    # Training that diverges has its high losses at the end, and all of them. To look at a few costs little.
    high = np.flatnonzero(losses > outlier.limit)
    is_at_the_end = len(high) == len(losses) - high[0] <= detector.WINDOW
    return None if outlier.batches > 1 and is_at_the_end and len(losses) > _FEW else outlier


def ended_suddenly(losses: FloatArray) -> bool:
    """Return whether a sweep has ended with a loss that is not finite, and was not diverging before.

    Args:
        losses: The loss of each batch, shape `(batches,)`.
    """
    if len(losses) == 0 or np.isfinite(losses[-1]):
        return False
    detector = BlowUpDetector()
    for loss in losses[:-1]:
        detector.update(loss)
    return not (len(losses) > 1 and losses[-2] > detector.limit)


class Inspection(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Runs batches at the weights that a model has, until a loss is not finite or there is an outlier.

    The rate is 0, so the weights stay what they are.

    Args:
        most: Batches to run.
        first: Index of the first one to look at. An eager model passes over those before it.
        optimizer: The optimizer whose rate was swept.
        outlier: What counts as one; None if nothing does.

    Attributes:
        holes: Of the batch that ended it, the rows that hold a value which is not finite, by "x", "y" and
            "sample_weight"; None where there was no such batch.
    """

    def __init__(self, most: int, first: int, optimizer: Any, outlier: Outlier | None) -> None:
        super().__init__()
        self.holes: dict[str, int] | None = None
        self._most = most
        self._first = first
        self._limit = math.inf if outlier is None else outlier.limit
        self._last = collections.deque[float](maxlen=1 if outlier is None else min(outlier.batches, most))
        self._optimizer = optimizer
        self._batches = 0
        self._recorder: InspectingRecorder | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take over the training step."""
        del logs
        self._recorder = InspectingRecorder(self.model, np.zeros(1), self._optimizer)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate to 0."""
        del batch, logs
        assert self._recorder is not None
        self._recorder.passes_over = self._batches < self._first
        self._recorder.before_batch(0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the batch's loss."""
        del batch
        logs = logs or {}
        self._batches += 1
        self._last.append(float(logs["loss"]))
        is_full = len(self._last) == self._last.maxlen
        if not math.isfinite(logs["loss"]) or (is_full and statistics.median(self._last) > self._limit):
            self.holes = {name: round(float(logs[name])) for name in InspectingRecorder.NAMES}
        if self.holes is not None or self._batches == self._most:
            self.model.stop_training = True

    def close(self) -> None:
        """Give the model its own training step back."""
        if self._recorder is not None:
            self._recorder.release()
            self._recorder = None


def fault_in_words(loss: float, batch: int, holes: dict[str, int], arguments: dict[str, Any]) -> str:
    """Return what has made the loss NaN or infinite.

    Args:
        loss: The loss.
        batch: Number of its batch, counted from 1.
        holes: Rows of the batch that hold a value which is not finite, by name.
        arguments: What `model.fit` was called with, by name.
    """
    named = [name for name, rows in holes.items() if rows]
    if not named:
        return (
            f"The loss was {loss} at batch {batch}, and is so at the weights that the sweep began with, "
            "though the batch holds no NaN: the model or its loss makes it, as log(0), a division by 0 or a "
            "label that is none of the classes do. No learning rate mends that"
        )
    where = holes_in_arrays(arguments) or " and ".join(
        f"{name} holds NaN or infinite values in {holes[name]} of that batch's rows" for name in named
    )
    return (
        f"The loss was {loss} at batch {batch}, and {where}: remove or fill them, since they make NaN of any "
        "model"
    )


def holes_in_arrays(arguments: dict[str, Any]) -> str | None:
    """Return in words which of the arrays that `model.fit` was called with hold NaN or infinite values.

    Args:
        arguments: The arguments, by name.

    Returns:
        The first such array and its rows, or None where there is none or the data aren't arrays.
    """
    for name in InspectingRecorder.NAMES:
        for leaf in keras.tree.flatten(arguments.get(name)):
            array = _float_array(leaf)
            if array is None:
                continue
            bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            if bad.any():
                return (
                    f"{name} holds NaN or infinite values in {bad.sum()} of its {len(bad)} rows, first in "
                    f"row {bad.argmax()}"
                )
    return None


def _float_array(leaf: Any) -> np.ndarray[Any, Any] | None:
    """Return an array, tensor or data frame of floating-point numbers as an array, or None."""
    if not hasattr(leaf, "shape") or len(leaf.shape) == 0:
        return None
    try:
        array = leaf.to_numpy(dtype=float) if hasattr(leaf, "to_numpy") else np.asarray(leaf)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind == "f" and array.shape == tuple(leaf.shape) else None
