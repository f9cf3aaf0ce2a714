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
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.smoothing import FloatArray, local_linear, running_medians, smoothing_bandwidth
from lrtuner.notebook import nothing_if_it_fails, picture, plain_if_it_fails
from lrtuner.values import check_bounds, check_count, check_keys, config_float

# Where nobody knows the epochs. The 144 everyday tasks of examples/benchmarks/range_quality.py have a median
# of 9 and a geometric mean of 11.
ASSUMED_EPOCHS = 10

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


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

    def __post_init__(self) -> None:
        for name in ("batch_size", "batches_per_epoch", "epochs"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        momentum = self.momentum
        if momentum is not None:
            if isinstance(momentum, bool) or not isinstance(momentum, numbers.Real) or not 0 <= momentum < 1:
                raise ValueError(
                    f"momentum must be a number of at least 0 and below 1 or None, got {momentum!r}: pass "
                    "model.optimizer.momentum."
                )
            object.__setattr__(self, "momentum", float(momentum))
        if not isinstance(self.has_outliers, bool):
            raise ValueError(f"has_outliers must be True or False, got {self.has_outliers!r}.")
        if self.is_shuffled is not None and not isinstance(self.is_shuffled, bool):
            raise ValueError(f"is_shuffled must be True, False or None, got {self.is_shuffled!r}.")
        if self.optimizer is not None and not isinstance(self.optimizer, str):
            raise ValueError(
                f"optimizer must be a Keras class name such as 'Adam' or None, got {self.optimizer!r}: pass "
                "type(model.optimizer).__name__."
            )

    @property
    def train_steps(self) -> int | None:
        """Batches in one full training, with 10 epochs where their number is unknown.

        None where the batches of one epoch are unknown.
        """
        if self.batches_per_epoch is None:
            return None
        return self.batches_per_epoch * (self.epochs or ASSUMED_EPOCHS)

    def to_config(self) -> dict[str, Any]:
        """Return what is known as a dict of strict JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Training:
        """Rebuild what `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {field.name for field in dataclasses.fields(cls)}, cls.__name__)
        return cls(**config)


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
        losses = _read_only(self.losses, "losses")
        if len(rates) != len(losses):
            raise ValueError(
                f"learning_rates and losses must have the same length, got {len(rates)} and {len(losses)}. "
                "Pass one loss for each learning rate."
            )
        wrong = ~(np.isfinite(rates) & (rates > 0))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise ValueError(
                f"learning_rates must be finite and positive, got {float(rates[index])!r} at index {index}. "
                "Leave such batches out."
            )
        falls = rates[1:] <= rates[:-1]
        if falls.any():
            index = int(np.argmax(falls)) + 1
            raise ValueError(
                f"learning_rates must be strictly increasing, got {float(rates[index])!r} after "
                f"{float(rates[index - 1])!r} at index {index}. "
                "Sort the batches by learning rate and keep one of each."
            )
        if self.updates is not None:
            object.__setattr__(self, "updates", _read_only(self.updates, "updates"))
        object.__setattr__(self, "learning_rates", rates)
        object.__setattr__(self, "losses", losses)

    def __len__(self) -> int:
        return len(self.losses)

    @plain_if_it_fails
    def __repr__(self) -> str:
        if not len(self):
            return "LRCurve(0 batches)"
        first, last = self.learning_rates[[0, -1]]
        return f"LRCurve({len(self)} batches, learning rates {first:.3g} to {last:.3g})"

    @nothing_if_it_fails
    def _repr_png_(self) -> bytes | None:
        return picture(self.plot)

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
            Smoothed losses, shape `(n,)`, in the losses' units; NaN at gaps, and from the first batch on at
            which the loss has blown up.
        """
        smooth = np.full(len(self), np.nan)
        usable = self.usable
        # A few losses of a blow-up come before it is certain. A fit to them would bend the curve well before
        # them, so there it follows the losses themselves.
        certain = len(usable) - BlowUpDetector.WINDOW if self.blow_up is not None else len(usable)
        limit = self._read_up[1]
        high = (i for i in range(max(certain, 0), len(usable)) if self.losses[usable[i]] > limit)
        rise = next(high, len(usable))
        calm, rising = usable[:rise], usable[rise:]
        x = np.log10(self.learning_rates[calm])
        smooth[calm] = local_linear(x, running_medians(self.losses[calm]), smoothing_bandwidth(x))
        smooth[rising] = self.losses[rising]
        return smooth

    def plot(self, ax: Any = None, **kwargs: Any) -> Any:
        """Draw the curve with `lrtuner.plot.plot_curve`, which documents the options and what is returned.

        Args:
            ax: Matplotlib axes to draw on; a new figure's by default.
            **kwargs: Passed on to `plot_curve`.
        """
        # Imported here so that a curve can be used without matplotlib.
        from lrtuner.plot import plot_curve

        return plot_curve(self, ax=ax, **kwargs)

    def to_config(self) -> dict[str, Any]:
        """Return the curve as a dict of strict JSON, in which NaN is "nan" and infinity "inf" or "-inf"."""
        return {
            "learning_rates": self.learning_rates.tolist(),
            "losses": [loss if math.isfinite(loss) else str(loss) for loss in self.losses.tolist()],
            "training": None if self.training is None else self.training.to_config(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LRCurve:
        """Rebuild the curve, exactly, that `to_config` described.

        Args:
            config: What `to_config` returned; "training" may be left out.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        if isinstance(config, Mapping):
            config = {"training": None, **config}
        check_keys(config, {"learning_rates", "losses", "training"}, cls.__name__)
        training = config["training"]
        rates, losses = (_config_list(config, key) for key in ("learning_rates", "losses"))
        return cls(
            np.array([config_float(rate, "learning_rates") for rate in rates], dtype=np.float64),
            np.array([_config_loss(loss) for loss in losses], dtype=np.float64),
            training=None if training is None else Training.from_config(training),
        )


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
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 10:
        raise ValueError(f"steps must be an integer of at least 10, got {steps!r}. Sweep over more batches.")
    low, high = check_bounds(min_lr, max_lr)
    ramp = 10.0 ** np.linspace(math.log10(low), math.log10(high), int(steps))
    ramp[0], ramp[-1] = low, high
    if not (np.diff(ramp) > 0).all():
        raise ValueError(
            f"min_lr {low!r} and max_lr {high!r} are too close for {steps} different rates. "
            "Sweep a wider range."
        )
    return ramp


def _config_loss(value: object) -> float:
    if isinstance(value, str):
        if value not in _NON_FINITE:
            raise ValueError(f"losses must hold numbers, 'nan', 'inf' or '-inf', got {value!r}.")
        return _NON_FINITE[value]
    return config_float(value, "losses")


def _config_list(config: Mapping[str, Any], key: str) -> list[Any]:
    values = config[key]
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{key} must be a list, got {values!r}. Pass what to_config() returned.")
    return list(values)


def _read_only(values: npt.ArrayLike, name: str) -> FloatArray:
    try:
        array = np.asarray(values)
    except ValueError as e:
        raise ValueError(
            f"{name} must be a 1-D array of numbers, got {values!r}. Pass one number a batch."
        ) from e
    # Numbers only: numpy would parse strings and count booleans.
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        raise ValueError(
            f"{name} must be a 1-D array of numbers, got shape {array.shape} and dtype {array.dtype}. "
            "Pass one number a batch."
        )
    array = np.array(array, dtype=np.float64)
    array.setflags(write=False)
    return array
