"""How good each learning rate is for a task."""

from __future__ import annotations

import numpy as np

from bench.records import MeasuredRates

Range = tuple[float, float]  # log10 of minimum and maximum
FULL: Range = (-6.0, 1.0)  # the space that users declare, to which a rule's speed-up refers
POINTS = 401  # learning rates that stand for a range


class Truth:
    """How good each learning rate is for one task: 0 the best on the grid, 1 chance.

    Attributes:
        x: log10 of the learning rates.
        loss: Their mean validation losses; infinite for one that diverges.
        chance: Validation loss of the best constant prediction, or of the untrained model if that is better.
        score: How good the losses are.
        best: log10 of the best one.
        can_be_learned: Whether that is better than chance.
    """

    GOOD = 0.05  # a rate with at most this score is good

    def __init__(self, measured: MeasuredRates) -> None:
        self.x = np.log10(measured.learning_rates)
        rows = [[np.inf if v is None else v for v in row] for row in measured.losses]
        self.loss = loss = np.mean(rows, axis=1)
        self.chance = chance = min(measured.chance, float(np.mean(measured.untrained)))
        self.best = float(self.x[np.argmin(loss)])
        self.can_be_learned = bool(loss.min() < chance)
        self.score = (np.minimum(loss, chance) - loss.min()) / (chance - loss.min())

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the scores at these powers of ten, interpolated between the learning rates of the grid."""
        return np.interp(x, self.x, self.score)

    def draws(self, low: float, high: float) -> tuple[float, float]:
        """Return P(good) of a draw from 10**[low, high], and the expected score of the best of three."""
        score = np.sort(self.at(np.linspace(low, high, POINTS)))
        at_least = np.arange(len(score), 0, -1) / len(score)
        best_of_three = at_least**3 - np.append(at_least[1:], 0) ** 3
        return float(np.mean(score <= self.GOOD)), float(best_of_three @ score)

    def any_good(self, low: float, high: float) -> bool:
        """Return whether a learning rate in 10**[low, high] is good."""
        inside = self.x[(self.x >= low) & (self.x <= high)]
        points = np.append(np.linspace(low, high, POINTS), inside)
        return bool((self.at(points) <= self.GOOD).any())

    def centre(self) -> float:
        """Return the middle of the interval of good rates around the best one, log10."""
        x = np.linspace(*FULL, 7001)
        good = self.at(x) <= self.GOOD
        left = right = int(np.argmin(np.abs(x - self.best)))
        while left > 0 and good[left - 1]:
            left -= 1
        while right < len(x) - 1 and good[right + 1]:
            right += 1
        return float(x[left] + x[right]) / 2
