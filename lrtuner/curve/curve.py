"""The curve of an LR range test: one training loss for each learning rate of an exponential sweep.

A curve carries what is known about the training that its learning rates are for.

The LR range test raises the learning rate batch by batch and watches the loss: Smith 2017, "Cyclical Learning
Rates for Training Neural Networks", https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.checks import check_bounds, check_count
from lrtuner.curve.smoothing import FloatArray, local_linear, running_medians, smoothing_bandwidth

# Where nobody knows the epochs. The 144 everyday tasks of examples/benchmarks/range_quality.py have a median
# of 9 and a geometric mean of 11.
ASSUMED_EPOCHS = 10


@dataclasses.dataclass(frozen=True)
class Training:
    """What is known about the training that a learning rate is for.

    >>> lrtuner.Training(optimizer="Adam", batch_size=32, batches_per_epoch=50, epochs=4).train_steps
    200

    Attributes:
        optimizer: Keras class name of the optimizer, or None where it is unknown.
        momentum: Momentum of an `SGD` optimizer, at least 0 and below 1, or None. The class name does not
            tell it, and with 0.9 an update is ten times as long.
        batch_size: Samples in one batch, or None.
        batches_per_epoch: Batches in one epoch, or None.
        epochs: Epochs of one full training, or None.
        is_shuffled: Whether the sweep drew its batches in random order, or None where nobody knows.
        has_outliers: Whether some rows of the data are known to have losses far above all others, whatever
            the weights. A single high loss is then no blow-up.
        is_pretrained: Whether nearly all of the net is to be trained, and most of it was trained before, or
            None where nobody knows. A sweep tells it from biases and gains that are not as they are made.
        is_head: Whether a single layer is to be trained, on top of frozen ones, or None where nobody knows.
        chance: Loss of a constant prediction, in the losses' units, or None where nobody knows.

    Raises:
        ValueError: A value is not what it must be.
    """

    optimizer: str | None = None
    momentum: float | None = None
    batch_size: int | None = None
    batches_per_epoch: int | None = None
    epochs: int | None = None
    is_shuffled: bool | None = None
    has_outliers: bool = False
    is_pretrained: bool | None = None
    is_head: bool | None = None
    chance: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "batches_per_epoch", "epochs"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        if self.optimizer is not None and not isinstance(self.optimizer, str):
            raise ValueError(f"optimizer must be a class name such as 'Adam', got {self.optimizer!r}.")
        momentum = self.momentum
        if momentum is not None and not (isinstance(momentum, numbers.Real) and 0 <= momentum < 1):
            raise ValueError(
                f"momentum must be a number of at least 0 and below 1 or None, got {momentum!r}: pass "
                "model.optimizer.momentum."
            )

    @property
    def train_steps(self) -> int | None:
        """Batches in one full training, with 10 epochs where their number is unknown.

        None where the batches of one epoch are unknown.
        """
        if self.batches_per_epoch is None:
            return None
        return self.batches_per_epoch * (self.epochs or ASSUMED_EPOCHS)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LRCurve:
    """The training loss of each batch of a learning-rate sweep.

    Two curves are equal when their rates and losses are, with NaN equal to NaN, whatever is known about the
    training. A curve is not hashable.

    >>> curve = lrtuner.LRCurve([1e-4, 1e-3, 1e-2], [2.3, 1.1, float("nan")])
    >>> curve
    LRCurve(3 batches, learning rates 0.0001 to 0.01)
    >>> curve.blow_up
    2

    Attributes:
        learning_rates: Rate that each batch was trained at, shape `(n,)`: finite, positive, strictly
            increasing.
        losses: True loss of each batch (not Keras' running mean), shape `(n,)`: any values, NaN and inf
            included. A NaN before later finite losses is a gap: a batch that nothing is read from. Once the
            weights are NaN, every later loss should be NaN as well; a sweep by lrtuner sees to that.
        training: What is known about the training that the rates are for, or None. A range is read off the
            curve with the help of it.
        updates: Relative size of each batch's update, shape `(n,)`, or None where it was not recorded:
            `|w_after - w_before| / |w_before|` over all trained weights with more than one axis. NaN where it
            is unknown.
        fault: What in the data or in the model has made the loss NaN, in words, or None. No range is read off
            such a curve.

    Raises:
        TypeError: `training` is neither a `Training` nor None.
        ValueError: The arrays are not numeric, not 1-D, or differ in length, or the rates are not finite,
            positive and strictly increasing.
    """

    learning_rates: FloatArray
    losses: FloatArray
    training: Training | None = dataclasses.field(default=None, kw_only=True)
    updates: FloatArray | None = dataclasses.field(default=None, kw_only=True)
    fault: str | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.training is not None and not isinstance(self.training, Training):
            raise TypeError(
                f"training must be a Training or None, got {self.training!r}. "
                "Use Training(optimizer='Adam', batch_size=32)."
            )
        rates = _read_only(self.learning_rates, "learning_rates")
        object.__setattr__(self, "learning_rates", rates)
        for name in ("losses",) if self.updates is None else ("losses", "updates"):
            values = _read_only(getattr(self, name), name)
            if len(values) != len(rates):
                raise ValueError(
                    f"learning_rates and {name} must have the same length, got {len(rates)} and "
                    f"{len(values)}. Pass one of each for every batch."
                )
            object.__setattr__(self, name, values)
        wrong = np.flatnonzero(~(np.isfinite(rates) & (rates > 0)))
        if len(wrong):
            raise ValueError(
                f"learning_rates must be finite and positive, got {rates[wrong[0]]} at index {wrong[0]}. "
                "Leave such batches out."
            )
        falls = np.flatnonzero(rates[1:] <= rates[:-1])
        if len(falls):
            before, after = rates[falls[0] :][:2]
            raise ValueError(
                f"learning_rates must be strictly increasing, got {after} after {before} at index "
                f"{falls[0] + 1}. Sort the batches by learning rate and keep one of each."
            )

    def __len__(self) -> int:
        return len(self.losses)

    def __repr__(self) -> str:
        if not len(self):
            return "LRCurve(0 batches)"
        first, last = self.learning_rates[[0, -1]]
        return f"LRCurve({len(self)} batches, learning rates {first:.3g} to {last:.3g})"

    def _repr_png_(self) -> bytes:
        from lrtuner.plot import png

        return png(self.plot)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LRCurve):
            return NotImplemented
        return np.array_equal(self.learning_rates, other.learning_rates) and np.array_equal(
            self.losses, other.losses, equal_nan=True
        )

    @functools.cached_property
    def blow_up(self) -> int | None:
        """Index of the first batch at which the loss has blown up, or None; see `BlowUpDetector`."""
        return self._read_up[0]

    @functools.cached_property
    def usable(self) -> npt.NDArray[np.intp]:
        """Indices of the batches to read: those before the blow-up, without gaps. Shape `(m,)`, ascending."""
        usable = np.flatnonzero(~self._gaps)
        return usable if self.blow_up is None else usable[usable < self.blow_up]

    @functools.cached_property
    def _gaps(self) -> npt.NDArray[np.bool_]:
        finite = np.flatnonzero(np.isfinite(self.losses))
        last = finite[-1] if len(finite) else -1
        gaps: npt.NDArray[np.bool_] = np.isnan(self.losses) & (np.arange(len(self)) < last)
        return gaps

    @functools.cached_property
    def _read_up(self) -> tuple[int | None, float]:
        """The index of the blow-up, and the loss above which it was told."""
        has_outliers = self.training is not None and self.training.has_outliers
        detector = BlowUpDetector(has_outliers=has_outliers)
        for index in np.flatnonzero(~self._gaps).tolist():
            if detector.update(self.losses[index]):
                return index, detector.limit
        return None, detector.limit

    def smoothed(self) -> FloatArray:
        """Smooth the losses over the logarithm of the rate, for pictures.

        A local-linear fit with Gaussian weights, so that the curve does not lag behind the losses as a moving
        average does, to medians of 5, so that single outliers do not bend it.

        Returns:
            Smoothed losses, shape `(n,)`, in the losses' units; NaN at gaps, and from where the loss begins
            to blow up.
        """
        smooth = np.full(len(self), np.nan)
        usable = self.usable
        # A few losses of a blow-up come before it is certain. A fit to them would bend the curve well before.
        certain = len(usable) if self.blow_up is None else max(len(usable) - BlowUpDetector.WINDOW, 0)
        rising = self.losses[usable[certain:]] > self._read_up[1]
        calm = usable[: certain + int(np.argmax(rising))] if rising.any() else usable
        x = np.log10(self.learning_rates[calm])
        smooth[calm] = local_linear(x, running_medians(self.losses[calm]), smoothing_bandwidth(x))
        return smooth

    def plot(self, ax: Any = None, **kwargs: Any) -> Any:
        """Draw the curve with `lrtuner.plot.plot_curve`, which documents the options and what is returned.

        Args:
            ax: Matplotlib axes to draw on, or an `LRRange` to shade; the axes of a new figure by default.
            **kwargs: Passed on to `plot_curve`.
        """
        # Imported here so that a curve can be used without matplotlib.
        from lrtuner.plot import plot_curve

        return plot_curve(self, ax=ax, **kwargs)


def geometric_ramp(min_lr: float, max_lr: float, steps: int) -> FloatArray:
    """Return learning rates that grow by the same factor at each step.

    Args:
        min_lr: First learning rate.
        max_lr: Last learning rate.
        steps: Number of learning rates, 10 or more: fewer show no curve.

    Returns:
        Strictly increasing rates, shape `(steps,)`; the first and the last are exactly `min_lr` and `max_lr`.

    Raises:
        ValueError: The bounds are not finite, positive and in order, or there are too few steps, or too many
            for the floating-point numbers between the bounds.
    """
    is_number = isinstance(steps, numbers.Real) and not isinstance(steps, bool)
    if not is_number or not float(steps).is_integer() or steps < 10:
        raise ValueError(f"steps must be an integer of at least 10, got {steps!r}.")
    low, high = check_bounds(min_lr, max_lr)
    ramp = 10.0 ** np.linspace(math.log10(low), math.log10(high), int(steps))
    ramp[0], ramp[-1] = low, high
    if not (np.diff(ramp) > 0).all():
        raise ValueError(
            f"min_lr {low!r} and max_lr {high!r} are too close for {steps} different rates. "
            "Sweep a wider range."
        )
    return ramp


def _read_only(values: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values)
    # Numbers only: numpy would parse strings and count booleans.
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        raise ValueError(
            f"{name} must be a 1-D array of numbers, got shape {array.shape} and dtype {array.dtype}. "
            "Pass one number a batch."
        )
    array = np.array(array, dtype=np.float64)
    array.setflags(write=False)
    return array
