"""Read the range of good learning rates off the curve of an LR range test.

The test and the idea of reading a range off it: Smith 2017, "Cyclical Learning Rates for Training Neural
Networks", https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lrtuner.curve import (
    FloatArray,
    LRCurve,
    blow_up,
    check_bounds,
    check_keys,
    config_float,
    ema,
    local_linear,
    smoothing_bandwidth,
)


class NoRangeError(ValueError):
    """The curve holds no evidence of a good range; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class LRRange:
    """A range of learning rates worth searching.

    Attributes:
        min_lr: Smallest learning rate.
        max_lr: Largest learning rate.

    Raises:
        ValueError: The bounds are not finite numbers with 0 < min_lr < max_lr.
    """

    min_lr: float
    max_lr: float

    def __post_init__(self) -> None:
        low, high = check_bounds(self.min_lr, self.max_lr)
        object.__setattr__(self, "min_lr", low)
        object.__setattr__(self, "max_lr", high)

    @property
    def decades(self) -> float:
        """Width of the range: `log10(max_lr / min_lr)`."""
        return math.log10(self.max_lr) - math.log10(self.min_lr)

    def to_config(self) -> dict[str, float]:
        """Return the range as a dict of strict JSON."""
        return {"min_lr": self.min_lr, "max_lr": self.max_lr}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LRRange:
        """Rebuild the range, exactly, that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {"min_lr", "max_lr"}, cls.__name__)
        return cls(config_float(config["min_lr"], "min_lr"), config_float(config["max_lr"], "max_lr"))


Rule = Callable[[LRCurve], "LRRange | tuple[float, float]"]


def suggest_range(
    curve: LRCurve,
    *,
    rule: str | Rule = "d90",
    train_steps: int | None = None,
    optimizer: str | None = None,
    batch_size: int | None = None,
) -> LRRange:
    """Suggest the range of learning rates that a search should draw from.

    Args:
        curve: The losses of an exponential sweep over a few decades of learning rates.
        rule: `"d90"`, one and a half to two decades around the rate at which the loss has nearly finished its
            descent; `"notebook"` or `"notebook_4x"`, from the steepest descent to a tenth of the minimum's rate;
            or any callable that takes the curve and returns an `LRRange` or a pair of rates.
        train_steps: Batches in one full training, if known.
        optimizer: Keras class name of the optimizer, if known.
        batch_size: Samples in one batch, if known.

    Returns:
        The range.  The named rules stay inside of the swept rates, return the same range for losses `a * y + b`
        with `a > 0` (but for `"notebook_4x"`, which takes ratios of losses), and move it with the rates.

    Raises:
        NoRangeError: The curve holds no evidence of a good range; the message says why.
        TypeError: `curve` is not an `LRCurve`, or `rule` neither a name nor a callable.
        ValueError: The rule's name is unknown, its range is not a range, or a hint is not what it must be.
    """
    if not isinstance(curve, LRCurve):
        raise TypeError(
            f"curve must be an LRCurve, got {type(curve).__name__}. Use LRCurve(learning_rates, losses)."
        )
    for name, hint in (("train_steps", train_steps), ("batch_size", batch_size)):
        if hint is not None and (
            isinstance(hint, bool) or not isinstance(hint, numbers.Integral) or hint < 1
        ):
            raise ValueError(f"{name} must be an integer of at least 1 or None, got {hint!r}.")
    if optimizer is not None and not isinstance(optimizer, str):
        raise ValueError(f"optimizer must be a Keras class name such as 'Adam' or None, got {optimizer!r}.")
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"rule must be one of {sorted(RULES)} or a callable, got {rule!r}.")
        return RULES[rule](curve)
    if not callable(rule):
        raise TypeError(f"rule must be one of {sorted(RULES)} or a callable, got {rule!r}.")
    suggestion = rule(curve)
    if isinstance(suggestion, LRRange):
        return suggestion
    try:
        low, high = suggestion
    except (TypeError, ValueError) as e:
        raise ValueError(
            f"rule must return an LRRange or a pair of learning rates, got {suggestion!r}."
        ) from e
    return LRRange(low, high)


# Below this many points neither a start nor a noise can be told from a descent.
MIN_POINTS = 6
# The start of a sweep, whose rates are too small to learn with, says what loss and what noise to compare with.
START_DECADES = 1.0
START_SHARE = 4
# A descent of the smoothed loss counts when it is this many times its noise.
SIGNIFICANT = 6.0
# Where a descent is said to be complete.  Bench: 0.95 and 0.97 agree, 0.9 reads a quarter decade too low.
DESCENT_SHARE = 0.95
# Losses this many descents above the start look all the same: how far up a divergence got says nothing.
CAP_DESCENTS = 2.0
# The loss has left the start upwards: 5 times its noise and a visible part of the descent, for 0.3 decades.
LEAVE_NOISES = 5.0
LEAVE_DESCENTS = 0.5
LEAVE_DECADES = 0.3
# Or it has turned: half of the descent is lost again, and not by noise.
TURN_SHARE = 0.5
TURN_NOISES = 3.0
# Good rates lie below the end of the descent: full training is longer than a sweep.  Median of the bench.
CENTRE_BELOW_DESCENT = 0.4
CENTRE_BELOW_EDGE = 1.4
# Two sweeps of 300 batches agree better than two of 100, so that a narrower range is as safe.
LONG_SWEEP = 200
WIDTH_LONG, WIDTH_SHORT = 1.5, 2.0
# Median of the absolute difference of two independent normal variables of standard deviation 1.
MEDIAN_DIFFERENCE = 0.954
# A Gaussian window of bandwidth h averages as many points as lie within 3.5 h.
WINDOW_BANDWIDTHS = 3.5
# Distances between rates are compared with this slack, in decades, so that rounding decides nothing.
SLACK = 1e-9


def _d90(curve: LRCurve) -> LRRange:
    """One and a half to two decades around the rate at which the loss has nearly finished its descent.

    Losses are read on a linear scale whose zero is the start's loss and whose unit is the descent, so that
    shifting or scaling them changes nothing.
    """
    end = blow_up(curve.losses)
    x, losses = np.log10(curve.learning_rates[:end]), curve.losses[:end]
    _check_usable(curve, x, losses)
    n = len(x)
    # In units of the largest loss, nothing overflows.
    losses = losses / np.abs(losses).max()
    bandwidth = smoothing_bandwidth(x)
    step = (x[-1] - x[0]) / (n - 1)
    averaged = max(1.0, WINDOW_BANDWIDTHS * bandwidth / step)
    k = max(4, n // START_SHARE)
    start = float(np.median(losses[:k]))
    jump = float(np.median(np.abs(np.diff(losses[: max(k, n // 2) + 1])))) / MEDIAN_DIFFERENCE
    # A median of 5 ignores two outliers.
    medians = [float(np.median(losses[max(0, i - 2) : i + 3])) for i in range(2, n - 2)]
    noise = max(jump, min(float(np.std(losses[:k])), 3 * jump)) / math.sqrt(averaged)
    unit = max(start - min(medians), 2 * noise, float(np.finfo(np.float64).eps))
    z = np.minimum((losses - start) / unit, CAP_DESCENTS)
    noise = max(float(np.std(z[:k])), jump / unit) / math.sqrt(averaged)
    smooth = local_linear(x, z, bandwidth)
    settled = x - x[0] >= START_DECADES - SLACK

    edge = _edge(x, smooth, noise, settled)
    inside = np.flatnonzero(settled[: n if edge is None else edge + 1])
    minimum = int(inside[np.argmin(smooth[inside])])
    drop = -float(smooth[minimum])
    if drop > SIGNIFICANT * noise and drop > 0:
        above = np.flatnonzero(smooth[:minimum] > -DESCENT_SHARE * drop)
        centre = x[above[-1] if len(above) else 0] - CENTRE_BELOW_DESCENT
    elif edge is not None or end is not None:
        # Divergence is evidence too: the good rates end before it.
        centre = x[n - 1 if edge is None else edge] - CENTRE_BELOW_EDGE
    else:
        raise NoRangeError(
            f"The loss neither fell nor blew up by more than its noise over {n} batches from "
            f"{curve.learning_rates[0]:.3g} to {curve.learning_rates[-1]:.3g}. Sweep over more batches, over larger "
            "batches, or up to a higher learning rate."
        )
    half = (WIDTH_LONG if len(curve) >= LONG_SWEEP else WIDTH_SHORT) / 2
    return _inside(curve, 10.0 ** max(centre - half, x[0]), 10.0 ** (centre + half))


def _check_usable(curve: LRCurve, x: FloatArray, losses: FloatArray) -> None:
    """Raise NoRangeError where no rule could find a range."""
    n = len(losses)
    if len(curve) < MIN_POINTS:
        raise NoRangeError(
            f"The sweep has {len(curve)} batches, too few to show a curve. Sweep over at least 50."
        )
    if n < MIN_POINTS:
        raise NoRangeError(
            f"The loss was {float(curve.losses[n])!r} at batch {n + 1}, which leaves too few batches to show a curve. "
            "Check the model and its data, or start from a lower learning rate."
        )
    if x[-1] - x[0] < START_DECADES - SLACK:
        raise NoRangeError(
            f"The usable part of the sweep spans {x[-1] - x[0]:.2g} decades, and the first {START_DECADES:g} only "
            "shows where the loss starts. Sweep over more decades, or start from a lower learning rate."
        )
    if losses.max() == losses.min():
        raise NoRangeError(
            f"The loss was {losses[0]:.6g} at every learning rate. Check that the model has trainable weights and "
            "that its loss depends on them."
        )


def _edge(
    x: FloatArray, smooth: FloatArray, noise: float, settled: np.ndarray[Any, np.dtype[np.bool_]]
) -> int | None:
    """Return the index at which the smoothed loss leaves the good rates upwards, or None."""
    lowest = math.inf
    for i in np.flatnonzero(settled).tolist():
        lowest = min(lowest, float(smooth[i]))
        stays = smooth[i:][x[i:] - x[i] <= LEAVE_DECADES + SLACK]
        if smooth[i] > max(LEAVE_NOISES * noise, LEAVE_DESCENTS) and (stays > 0).all():
            return int(i)
        drop = -lowest
        if drop > SIGNIFICANT * noise and smooth[i] - lowest > max(TURN_SHARE * drop, TURN_NOISES * noise):
            return int(i)
    return None


def _notebook(curve: LRCurve) -> LRRange:
    """From the steepest descent of the averaged loss to a tenth of the rate at its minimum."""
    return _steepest_to_minimum(curve, ratio=math.inf)


def _notebook_4x(curve: LRCurve) -> LRRange:
    """The same, up to where the averaged loss exceeds four times its best: there the notebook ended its sweep."""
    return _steepest_to_minimum(curve, ratio=4.0)


def _steepest_to_minimum(curve: LRCurve, ratio: float) -> LRRange:
    # 0.9 and the tenth are the original LRFinder notebook's.
    average = ema(curve.losses, 0.9)
    finite = np.isfinite(average)
    average = average if finite.all() else average[: np.argmin(finite)]
    if ratio < math.inf:
        blown = average / ratio > np.minimum.accumulate(average)
        average = average[: np.argmax(blown)] if blown.any() else average
    if len(average) < 2:
        raise NoRangeError(
            f"Only {len(average)} batches have a usable loss, too few for a slope. Sweep over at least 50 batches, "
            "or start from a lower learning rate."
        )
    rates = curve.learning_rates[: len(average)]
    # In units of the largest loss, nothing overflows.
    average = average / (np.abs(average).max() or 1.0)
    low = float(rates[np.argmin(np.gradient(average, np.log(rates)))])
    high = float(rates[np.argmin(average)]) / 10
    if low >= high:
        raise NoRangeError(
            f"The loss falls most steeply at {low:.3g}, which is not below {high:.3g}, a tenth of the rate at its "
            "minimum. Use the rule 'd90', or sweep over more batches."
        )
    return LRRange(low, high)


def _inside(curve: LRCurve, low: float, high: float) -> LRRange:
    """Return the part of the range that was swept."""
    first, last = float(curve.learning_rates[0]), float(curve.learning_rates[-1])
    return LRRange(min(max(low, first), last), min(max(high, first), last))


RULES: dict[str, Callable[[LRCurve], LRRange]] = {
    "d90": _d90,
    "notebook": _notebook,
    "notebook_4x": _notebook_4x,
}
