"""The curve of an LR range test: one training loss for each learning rate of an exponential sweep.

The LR range test raises the learning rate batch by batch and watches the loss: Smith 2017, "Cyclical Learning
Rates for Training Neural Networks", https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
import numbers
import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Wide enough to average the batches' noise, narrow enough to keep the turn of the curve: on measured sweeps
# of 17 tasks 0.15, 0.2 and 0.25 do equally well.
SMOOTHING_DECADES = 0.25
# A bandwidth below the distance between neighbours would smooth nothing.
SMOOTHING_STEPS = 1.2

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LRCurve:
    """The training loss of each batch of a learning-rate sweep.

    Two curves are equal when their values are, with NaN equal to NaN.  A curve is not hashable.

    Attributes:
        learning_rates: Rate that each batch was trained at, shape `(n,)`: finite, positive, strictly
            increasing.
        losses: True loss of each batch (not Keras' running mean), shape `(n,)`: any values, NaN and inf
            included.

    Raises:
        ValueError: The arrays are not numeric, not 1-D, or differ in length, or the rates are not finite,
            positive and strictly increasing.
    """

    learning_rates: FloatArray
    losses: FloatArray

    def __post_init__(self) -> None:
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
        object.__setattr__(self, "learning_rates", rates)
        object.__setattr__(self, "losses", losses)

    def __len__(self) -> int:
        return len(self.losses)

    def __repr__(self) -> str:
        if not len(self):
            return "LRCurve(0 batches)"
        first, last = self.learning_rates[[0, -1]]
        return f"LRCurve({len(self)} batches, learning rates {first:.3g} to {last:.3g})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LRCurve):
            return NotImplemented
        return np.array_equal(self.learning_rates, other.learning_rates) and np.array_equal(
            self.losses, other.losses, equal_nan=True
        )

    def smoothed(self) -> FloatArray:
        """Smooth the losses over the logarithm of the rate, for pictures.

        A local-linear fit with Gaussian weights, so that the curve does not lag behind the losses as a moving
        average does, to medians of 5, so that single outliers do not bend it.

        Returns:
            Smoothed losses, shape `(n,)`, in the losses' units; NaN from the first batch on at which the
            loss is not finite or has blown up.
        """
        smooth = np.full(len(self), np.nan)
        detector = BlowUpDetector()
        end = next((index for index, loss in enumerate(self.losses) if detector.update(loss)), len(self))
        # A few losses of a blow-up come before it is certain.  A fit to them would bend the curve well before
        # them, so there it follows the losses themselves.
        last = range(max(end - BlowUpDetector.WINDOW, 0), end)
        rise = next((index for index in last if self.losses[index] > detector.limit), end)
        x = np.log10(self.learning_rates[:rise])
        smooth[:rise] = local_linear(x, running_medians(self.losses[:rise]), smoothing_bandwidth(x))
        smooth[rise:end] = self.losses[rise:end]
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
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LRCurve:
        """Rebuild the curve, exactly, that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {"learning_rates", "losses"}, cls.__name__)
        rates, losses = (_config_list(config, key) for key in ("learning_rates", "losses"))
        return cls(
            np.array([config_float(rate, "learning_rates") for rate in rates], dtype=np.float64),
            np.array([_config_loss(loss) for loss in losses], dtype=np.float64),
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


def ema(values: npt.ArrayLike, decay: float) -> FloatArray:
    """Return the exponential moving average of `values`, corrected for its start at zero.

    `average[i] = sum(decay ** (i - j) * values[j]) / sum(decay ** (i - j))` over `j <= i`.

    Args:
        values: Shape `(n,)`.
        decay: Weight of the past, at least 0 and below 1.

    Returns:
        Averages, shape `(n,)`.

    Raises:
        ValueError: `decay` is outside of [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(
            f"decay must be at least 0 and below 1, got {decay!r}. 0.9 averages about 10 values."
        )
    averages = []
    total = weight = 0.0
    # Python's floats overflow to inf in silence, where numpy's warn.
    for value in np.asarray(values, dtype=np.float64).tolist():
        total = decay * total + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        averages.append(total / weight)
    return np.array(averages, dtype=np.float64)


def smoothing_bandwidth(x: FloatArray) -> float:
    """Return the bandwidth for `local_linear`, in decades, for the ascending log10 rates `x`."""
    step = float(x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else 0.0
    return max(SMOOTHING_DECADES, SMOOTHING_STEPS * step)


def running_medians(losses: FloatArray) -> FloatArray:
    """Return the median of each loss and its two neighbours on either side, which ignores two outliers."""
    return np.array([np.median(losses[max(0, i - 2) : i + 3]) for i in range(len(losses))], dtype=np.float64)


def local_linear(x: npt.ArrayLike, y: npt.ArrayLike, bandwidth: float) -> FloatArray:
    """Smooth `y` over `x` by a weighted straight-line fit around each point.

    Unlike a kernel average it has no bias where the points end, and unlike a moving average it does not lag.

    Args:
        x: Shape `(n,)`, ascending.
        y: Shape `(n,)`, finite.
        bandwidth: Standard deviation of the Gaussian weights, in units of `x`.

    Returns:
        The fits' values at `x`, shape `(n,)`.

    Raises:
        ValueError: `bandwidth` is not positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth!r}. Give it in units of x.")
    points, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(values) == 0:
        return np.empty(0)
    # In units of the largest value, no sum overflows.
    unit = float(np.abs(values).max()) or 1.0
    values = values / unit
    smooth = np.array(
        [
            weights @ values[first : first + len(weights)]
            for first, weights in local_linear_weights(points, bandwidth)
        ]
    )
    with np.errstate(over="ignore"):
        return smooth * unit


def local_linear_weights(x: FloatArray, bandwidth: float) -> Iterator[tuple[int, FloatArray]]:
    """Yield, for each point of `x`, an index and `local_linear`'s weights of the values from that index on.

    The smoothed value of independent noise of standard deviation 1 has the standard deviation
    `sqrt(sum(weights ** 2))`: twice as much at the ends of the curve as in its middle.
    """
    for point in x:
        # Beyond 6 standard deviations a weight is below 2e-8.
        first, last = np.searchsorted(x, [point - 6 * bandwidth, point + 6 * bandwidth]).tolist()
        distance = x[first:last] - point
        weights = np.exp(-0.5 * (distance / bandwidth) ** 2)
        weights /= weights.sum()
        mean = weights @ distance
        centred = weights * (distance - mean)
        spread = centred @ distance
        yield first, weights - centred * (mean / spread) if spread > 0 else weights


class BlowUpDetector:
    """Tells, batch by batch, when the loss of a sweep has blown up.

    Blown up is a loss that is NaN or infinite, or a median of the last 5 losses that lies above the start
    (the median of the first 5) by more than `max(3 * descent, 10 * noise)`, where `descent` is how far that
    median has fallen below the start so far and `noise` the robust standard deviation of a batch's loss.  All
    of it scales and shifts with the loss, so `a * losses + b` blows up at the same batch for any `a > 0`.
    """

    # The smallest window whose median ignores two outliers; a sweep of one short epoch may have 8 batches.
    WINDOW = 5
    # Networks that die without diverging end at or a little above the start; divergence goes far beyond.
    DESCENTS = 3.0
    # Chosen so that heavy noise (Student t with 2 degrees of freedom) does not fire: see the test of it.
    NOISES = 10.0
    # Median of the absolute difference of two independent normal variables of standard deviation 1.
    MEDIAN_DIFFERENCE = 0.954
    # Keras computes in float32: smaller steps of a loss are its rounding.
    RESOLUTION = float(np.finfo(np.float32).eps)

    def __init__(self) -> None:
        self._window: collections.deque[float] = collections.deque(maxlen=self.WINDOW)
        self._differences: list[float] = []
        self._start = self._best = self._limit = math.nan
        self._blown_up = False

    @property
    def limit(self) -> float:
        """Loss above which the median of the last 5 counts as blown up; NaN before the fifth batch."""
        return self._limit

    def update(self, loss: float) -> bool:
        """Take the next batch's loss; return whether the loss has blown up, now or before."""
        loss = float(loss)
        self._blown_up = self._blown_up or not math.isfinite(loss) or self._far_above(loss)
        return self._blown_up

    def _far_above(self, loss: float) -> bool:
        # Sorted as they come, so that their median costs next to nothing in a running sweep.
        if self._window:
            bisect.insort(self._differences, abs(loss - self._window[-1]))
        self._window.append(loss)
        if len(self._window) < self.WINDOW:
            return False
        level = statistics.median(self._window)
        if math.isnan(self._start):
            self._start = self._best = level
        self._best = min(self._best, level)
        noise = self._differences[len(self._differences) // 2] / self.MEDIAN_DIFFERENCE
        noise = max(noise, self.RESOLUTION * abs(self._start))
        self._limit = self._start + max(self.DESCENTS * (self._start - self._best), self.NOISES * noise)
        return level > self._limit


def blow_up(losses: Iterable[float]) -> int | None:
    """Return the index of the first batch at which the loss has blown up, or None; see `BlowUpDetector`."""
    detector = BlowUpDetector()
    return next((index for index, loss in enumerate(losses) if detector.update(loss)), None)


def check_bounds(min_lr: float, max_lr: float) -> tuple[float, float]:
    """Return the bounds as Python floats.

    Raises:
        ValueError: They are not finite numbers with 0 < min_lr < max_lr.
    """
    for name, value in (("min_lr", min_lr), ("max_lr", max_lr)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number above 0, got {value!r}. Pass a learning rate.")
    low, high = float(min_lr), float(max_lr)
    if not low < high:
        raise ValueError(f"min_lr must be below max_lr, got {low!r} and {high!r}. Are the bounds swapped?")
    return low, high


def check_keys(config: object, keys: set[str], name: str) -> None:
    """Raise ValueError unless `config` is a mapping with just these keys."""
    if not isinstance(config, Mapping) or set(config) != keys:
        got = sorted(map(str, config)) if isinstance(config, Mapping) else config
        raise ValueError(
            f"The config of {name} must be a dict with the keys {sorted(keys)}, got {got!r}. "
            "Pass what to_config() returned."
        )


def config_float(value: object, key: str) -> float:
    """Return a number of a config as a float.

    Raises:
        ValueError: It is not a number, or has no floating-point value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} must hold numbers, got {value!r}. Pass what to_config() returned.")
    try:
        return float(value)
    except OverflowError as e:
        raise ValueError(
            f"{key} holds a number too large for a float. Pass what to_config() returned."
        ) from e


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
