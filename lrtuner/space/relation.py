"""How the values of a hyperparameter turn into learning rates."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from lrtuner.errors import LearningRateError


@dataclasses.dataclass(frozen=True)
class Relation:
    """How a hyperparameter's values turn into learning rates, known at a few points.

    Between the points, the logarithm of the rate is taken as linear in the value or in its logarithm,
    whichever the points fit better: exact for rates like `10 ** value` and `value * batch_size / 256`.

    Attributes:
        values: Values of the hyperparameter, at least two, strictly increasing; none at all where the
            values are the rates, as in `IDENTITY`.
        rates: The learning rate at each, positive, strictly increasing or strictly decreasing.

    Raises:
        LearningRateError: The rates don't depend on the values, or neither rise nor fall throughout.
    """

    values: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        points = ", ".join(
            f"{value:.4g} -> {rate:.4g}" for value, rate in zip(self.values, self.rates, strict=True)
        )
        if self.is_identity:
            return
        if max(self.rates) - min(self.rates) <= 1e-6 * max(self.rates):
            raise LearningRateError(
                f"the learning rate does not depend on the hyperparameter ({points}): pass it to the "
                "optimizer that the first model.fit trains with"
            )
        steps = np.diff(np.array(self.rates) * math.copysign(1, self.rates[-1] - self.rates[0]))
        if min(self.rates) <= 0 or (steps <= 0).any():
            raise LearningRateError(
                f"the learning rate neither rises nor falls throughout with the hyperparameter ({points}): "
                "declare one that is the learning rate itself"
            )

    @property
    def is_identity(self) -> bool:
        """Whether the values are the learning rates themselves."""
        return not self.values

    def rate(self, value: float) -> float:
        """Return the learning rate at a value, held constant beyond the known ones."""
        if self.is_identity:
            return float(value)
        x = np.log(self.values) if self._is_logarithmic else np.array(self.values)
        at = math.log(value) if self._is_logarithmic else value
        return float(np.exp(np.interp(at, x, np.log(self.rates))))

    def value(self, rate: float) -> float:
        """Return the value that gives a learning rate, clamped to the known values."""
        if self.is_identity:
            return float(rate)
        x = np.log(self.values) if self._is_logarithmic else np.array(self.values)
        order = slice(None) if self.rates[-1] > self.rates[0] else slice(None, None, -1)
        at = float(np.interp(math.log(rate), np.log(self.rates)[order], x[order]))
        return math.exp(at) if self._is_logarithmic else at

    def rate_bounds(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """Return the learning rates at the smallest and the largest value, in ascending order."""
        low, high = sorted(map(self.rate, bounds))
        return low, high

    @functools.cached_property
    def _is_logarithmic(self) -> bool:
        """Whether the logarithm of the value fits better than the value."""
        if min(self.values) <= 0:
            return False
        rates = np.log(self.rates)
        misfits = [
            np.abs(rates - np.polyval(np.polyfit(x, rates, 1), x)).max()
            for x in (np.array(self.values), np.log(self.values))
        ]
        return bool(misfits[1] < misfits[0])


# The relation of a hyperparameter that is the learning rate itself.
IDENTITY = Relation((), ())
