"""When the loss of a learning-rate sweep has blown up."""

from __future__ import annotations

import bisect
import collections
import math
import statistics
from collections.abc import Iterable

from lrtuner.smoothing import MEDIAN_DIFFERENCE, RESOLUTION


class BlowUpDetector:
    """Tells, batch by batch, when the loss of a sweep has blown up.

    Blown up is a loss that is NaN or infinite, or a median of the last 5 losses that lies above the start
    (the median of the first 5) by more than `max(3 * descent, 10 * noise)`, where `descent` is how far that
    median has fallen below the start so far and `noise` the robust standard deviation of a batch's loss. All
    of it scales and shifts with the loss, so `a * losses + b` blows up at the same batch for any `a > 0`.
    """

    # The smallest window whose median ignores two outliers; a sweep of one short epoch may have 8 batches.
    WINDOW = 5
    # Networks that die without diverging end at or a little above the start; divergence goes far beyond.
    DESCENTS = 3.0
    # Chosen so that heavy noise (Student t with 2 degrees of freedom) does not fire: see the test of it.
    NOISES = 10.0

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
        noise = self._differences[len(self._differences) // 2] / MEDIAN_DIFFERENCE
        noise = max(noise, RESOLUTION * abs(self._start))
        self._limit = self._start + max(self.DESCENTS * (self._start - self._best), self.NOISES * noise)
        return level > self._limit


def blow_up(losses: Iterable[float]) -> int | None:
    """Return the index of the first batch at which the loss has blown up, or None; see `BlowUpDetector`."""
    detector = BlowUpDetector()
    return next((index for index, loss in enumerate(losses) if detector.update(loss)), None)
