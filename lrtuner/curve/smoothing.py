"""Smoothing of losses over the logarithm of the learning rate, and what is known about noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Wide enough to average the batches' noise, narrow enough to keep the turn of the curve: on measured sweeps
# of 17 tasks 0.15, 0.2 and 0.25 do equally well.
SMOOTHING_DECADES = 0.25
# A bandwidth below the distance between neighbours would smooth nothing.
SMOOTHING_STEPS = 1.2
# Median of the absolute difference of two independent normal variables of standard deviation 1.
MEDIAN_DIFFERENCE = 0.954
# A quantile of that difference, and its value.
_HIGH, _HIGH_DIFFERENCE = 0.95, 2.772
# Keras computes in float32: smaller steps of a loss are its rounding.
RESOLUTION = float(np.finfo(np.float32).eps)


def ema(values: FloatArray, decay: float) -> FloatArray:
    """Return the exponential moving average of `values`, corrected for its start at zero.

    `average[i] = sum(decay ** (i - j) * values[j]) / sum(decay ** (i - j))` over `j <= i`.
    """
    averages, total, weight = [], 0.0, 0.0
    # Python's floats overflow to inf in silence, where numpy's warn.
    for value in values.tolist():
        total, weight = decay * total + value, decay * weight + 1.0
        averages.append(total / weight)
    return np.array(averages, dtype=np.float64)


def noise_with_outliers(differences: Sequence[float] | FloatArray) -> float:
    """Return the standard deviation of a batch's loss where many high losses are part of the noise.

    Batches with a rare positive have such losses. Where they are few, they don't move the result.

    Args:
        differences: What the losses of neighbours differ by, ascending and without signs; at least one.
    """
    return float(differences[int(_HIGH * len(differences))]) / _HIGH_DIFFERENCE


def smoothing_bandwidth(x: FloatArray) -> float:
    """Return the bandwidth for `local_linear`, in decades, for the ascending log10 rates `x`."""
    step = float(x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else 0.0
    return max(SMOOTHING_DECADES, SMOOTHING_STEPS * step)


def running_medians(losses: FloatArray) -> FloatArray:
    """Return the median of each loss and its two neighbours on either side, which ignores two outliers."""
    return np.array([np.median(losses[max(0, i - 2) : i + 3]) for i in range(len(losses))], dtype=np.float64)


def local_linear(x: FloatArray, y: FloatArray, bandwidth: float) -> FloatArray:
    """Smooth `y` over `x` by a weighted straight-line fit around each point.

    Unlike a kernel average it has no bias where the points end, and unlike a moving average it does not lag.

    Args:
        x: Shape `(n,)`, ascending.
        y: Shape `(n,)`, finite.
        bandwidth: Standard deviation of the Gaussian weights, in units of `x`: above 0.

    Returns:
        The fits' values at `x`, shape `(n,)`.
    """
    # In units of the largest value, no sum overflows.
    unit = float(np.abs(y).max(initial=0.0)) or 1.0
    fits = [w @ (y[first : first + len(w)] / unit) for first, w in local_linear_weights(x, bandwidth)]
    with np.errstate(over="ignore"):
        return np.array(fits) * unit


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
