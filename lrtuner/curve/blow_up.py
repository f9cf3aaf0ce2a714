"""When the loss of a learning-rate sweep has blown up."""

from __future__ import annotations

import bisect
import collections
import math
import statistics

from lrtuner.curve.smoothing import MEDIAN_DIFFERENCE, RESOLUTION, noise_with_outliers


class BlowUpDetector:
    """Tells, batch by batch, when the loss of a sweep has blown up.

    Blown up is one of these:

    - A loss that is NaN or infinite.
    - A median of the last 5 losses that lies above the start (the median of the first 5) by more than
      `max(3 * descent, 10 * noise)`, where `descent` is how far that median has fallen below the start so far
      and `noise` the robust standard deviation of a batch's loss.
    - A single loss that lies above the start by more than `30 * max(descent, noise)`, and 10 times as high as
      any loss before it. One step at too high a rate can kill every relu of a net. Its loss is level again
      at the next batch, so no median ever sees it.

    All of it scales and shifts with the loss, so `a * losses + b` blows up at the same batch for any `a > 0`.

    Args:
        has_outliers: Whether the data are known to have rows whose loss is that high at any weights. Then no
            single loss is a blow-up. Where many batches have such rows, their losses count as noise.
    """

    # The smallest window whose median ignores two outliers; a sweep of one short epoch may have 8 batches.
    WINDOW = 5
    # Networks that die without diverging end at or a little above the start; divergence goes far beyond.
    DESCENTS = 3.0
    # Chosen so that heavy noise (Student t with 2 degrees of freedom) does not fire: see the test of it.
    NOISES = 10.0
    # A single loss: on the calibration tasks of examples/benchmarks/range_quality.py 20 to 50 do equally
    # well.
    SINGLE = 30.0
    # Heavy noise brings losses of every height, and one far above all of them is no more of the same. Of 100
    # sweeps of 300 batches of Student's t with 2 degrees of freedom 2 blow up with this, and 6 without it.
    SINGLE_HEIGHTS = 10.0

    def __init__(self, *, has_outliers: bool = False) -> None:
        self._has_outliers = has_outliers
        self._window: collections.deque[float] = collections.deque(maxlen=self.WINDOW)
        self._differences: list[float] = []
        self._start = self._best = self._limit = math.nan
        self._highest = 0.0
        self._blown_up = self._is_single = False

    @property
    def is_doubtful(self) -> bool:
        """Whether outlying rows of the data can look the same as the blow-up.

        So can a single high loss, and a high median where the loss had not fallen clearly before.
        """
        fell = self.DESCENTS * (self._start - self._best) > self.NOISES * self._noise
        return self._is_single or not fell

    @property
    def calm_limit(self) -> float:
        """Loss above which a batch stands out of the noise where no learning rate plays a part."""
        return self._start + self.NOISES * self._noise

    @property
    def limit(self) -> float:
        """Loss above which the median of the last 5 counts as blown up; NaN before the fifth batch."""
        return self._limit

    def update(self, loss: float) -> bool:
        """Take the next batch's loss; return whether the loss has blown up, now or before."""
        loss = float(loss)
        if not self._blown_up:
            self._is_single = self._stands_alone(loss)
            self._blown_up = self._is_single or not math.isfinite(loss) or self._far_above(loss)
        return self._blown_up

    @property
    def _noise(self) -> float:
        """Robust standard deviation of a batch's loss."""
        noise = self._differences[len(self._differences) // 2] / MEDIAN_DIFFERENCE
        if self._has_outliers:
            noise = max(noise, noise_with_outliers(self._differences))
        return max(noise, RESOLUTION * abs(self._start))

    def _stands_alone(self, loss: float) -> bool:
        """Return whether a loss lies far above the start and above every loss before it."""
        if self._has_outliers or math.isnan(self._start) or not math.isfinite(loss):
            return False
        rise, unit = loss - self._start, max(self._start - self._best, self._noise)
        if rise > self.SINGLE * unit and rise > self.SINGLE_HEIGHTS * self._highest:
            return True
        self._highest = max(self._highest, rise)
        return False

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
        self._limit = self._start + max(self.DESCENTS * (self._start - self._best), self.NOISES * self._noise)
        return level > self._limit
