"""Rules that others use, written anew from their public descriptions.

Where one gives a single rate, its range is a decade wide around that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bench.truth import FULL, Range

from quality.rule import NO_SWEEP, OTHER, Case, Rule


def average(losses: np.ndarray, decay: float) -> np.ndarray:
    """Return an exponential moving average, corrected for its start."""
    weights = decay ** np.arange(len(losses))
    return np.array([losses[i::-1] @ weights[: i + 1] / weights[: i + 1].sum() for i in range(len(losses))])


def usable(case: Case, losses: np.ndarray, times: float) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 rates and losses up to where the loss exceeds so many times its best, or isn't finite."""
    best_so_far = np.minimum.accumulate(np.where(np.isnan(losses), np.inf, losses))
    stop = ~(np.isfinite(losses) & (losses <= times * best_so_far))
    # The first batches are always kept: negative losses exceed any multiple of themselves at once.
    n = max(2, int(np.argmax(stop))) if stop.any() else len(losses)
    return np.log10(case.learning_rates[:n]), losses[:n]


def around(centre: float, half: float = 0.5) -> Range:
    """Return a range of this half width, in decades."""
    return centre - half, centre + half


def steepest(x: np.ndarray, y: np.ndarray) -> float:
    """Return where the losses fall fastest."""
    if len(x) < 2:
        raise ValueError("too few batches")
    return float(x[np.argmin(np.gradient(y))])


def notebook(case: Case) -> Range:
    """Take the range from the steepest descent of the averaged loss to a tenth of the rate at its minimum."""
    x, y = usable(case, average(case.losses, 0.9), 4)
    return steepest(x, y), float(x[np.argmin(y)]) - 1


def notebook_running(case: Case) -> Range:
    """Do the same on what Keras logs: the mean since the sweep began."""
    return notebook(case._replace(losses=np.cumsum(case.losses) / np.arange(1, len(case.losses) + 1)))


def torch_lr_finder(case: Case) -> Range:
    """Take the steepest descent of a moving average (0.95), without the first 10 and the last 5 batches."""
    y = [case.losses[0]]
    for loss in case.losses[1:]:
        y.append(0.05 * loss + 0.95 * y[-1])
    x, smooth = usable(case, np.array(y), 5)
    return around(steepest(x[10:-5], smooth[10:-5]))


def lightning(case: Case) -> Range:
    """Take the steepest descent of a moving average (0.98), without the first 10 batches and the last."""
    x, y = usable(case, average(case.losses, 0.98), 4)
    return around(steepest(x[10:-1], y[10:-1]))


def _fastai(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of the averaged curve that fastai looks at."""
    x, y = usable(case, average(case.losses, 0.98), 4)
    skip = len(case.losses) // 10
    if len(x) - skip - 5 < 2:
        raise ValueError("too few batches")
    return x[skip:-5], y[skip:-5]


def fastai_minimum(case: Case) -> Range:
    """Take a tenth of the rate at the minimum."""
    x, y = _fastai(case)
    return around(float(x[np.argmin(y)]) - 1)


def fastai_steep(case: Case) -> Range:
    """Take the steepest step from one batch to the next."""
    x, y = _fastai(case)
    return around(float(x[np.argmin(np.diff(y))]))


def longest_descent(y: np.ndarray) -> tuple[int, int]:
    """Return last index and number of losses of the longest (not gapless) descending subsequence."""
    length = np.ones(len(y), int)
    for i in range(1, len(y)):
        length[i] += max(length[:i][y[:i] > y[i]], default=0)
    last = int(np.argmax(length))
    return last, int(length[last])


def fastai_valley(case: Case) -> Range:
    """Take the middle of as many batches, up to its end, as the longest descent has."""
    x, y = _fastai(case)
    last, length = longest_descent(y)
    return around(float(x[max(0, round(last - length / 2))]))


def fastai_slide(case: Case) -> Range:
    """Slide 15 batches down from the end while the slopes at both sides differ by more than 0.005."""
    x, y = _fastai(case)
    slope = np.gradient(y)
    left, right = len(y) - 16, len(y) - 1
    if left < 0:
        raise ValueError("too few batches")
    while left > 0 and abs(slope[right] - slope[left]) > 0.005:
        left, right = left - 1, right - 1
    return around(float(x[left]))


def ktrain(case: Case) -> Range:
    """Take the range between its two estimates: steepest descent, and a tenth of the rate at the minimum."""
    x, y = usable(case, average(case.losses, 0.98), 4)
    low, high = sorted((steepest(x, y), float(x[np.argmin(y)]) - 1))
    return low, high


def keras_default(case: Case) -> Range:
    """Take ten times the default of the optimizer in Keras."""
    return around(-1.0 if case.task.optimizer == "SGD" else -2.0, 0.75)


def _asking(read: Callable[[Case], Range]) -> Callable[[Case], Range | None]:
    """Take a range that is empty, or an error, for none."""

    def ask(case: Case) -> Range | None:
        try:
            low, high = read(case)
        except ValueError:
            return None
        return (low, high) if low < high else None

    return ask


OTHERS = [
    Rule(name, _asking(read), origin)
    for name, read, origin in (
        ("notebook", notebook, OTHER),
        ("notebook, running mean", notebook_running, OTHER),
        ("torch-lr-finder", torch_lr_finder, OTHER),
        ("Lightning", lightning, OTHER),
        ("fastai minimum/10", fastai_minimum, OTHER),
        ("fastai steep", fastai_steep, OTHER),
        ("fastai valley", fastai_valley, OTHER),
        ("fastai slide", fastai_slide, OTHER),
        ("ktrain", ktrain, OTHER),
        ("Keras default x 10", keras_default, NO_SWEEP),
        ("1e-6..10", lambda _: FULL, NO_SWEEP),
        ("1e-4..1e-1", lambda _: (-4.0, -1.0), NO_SWEEP),
        ("1e-4..1e-2", lambda _: (-4.0, -2.0), NO_SWEEP),
    )
]
