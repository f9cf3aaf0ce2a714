"""What a benchmark measures of one task, as it is kept in a file.

A loss that isn't finite is `None`, since JSON has no such number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Loss = float | None


def finite(losses: Iterable[float]) -> list[Loss]:
    """Return the losses, with `None` for each that isn't finite."""
    return [float(loss) if np.isfinite(loss) else None for loss in losses]


@dataclass(frozen=True)
class MeasuredSweep:
    """The losses and updates of one exponential sweep.

    Attributes:
        length: The length that was asked for: a number of batches, or "epoch".
        seed: The seed of the initial weights.
        min_lr: Learning rate of the first batch.
        max_lr: Learning rate of the last batch.
        steps: Batches from one to the other.
        losses: Loss of each batch, up to the first that isn't finite.
        updates: How far each batch moved the kernels, relative to their size.
    """

    length: int | str
    seed: int
    min_lr: float
    max_lr: float
    steps: int
    losses: list[Loss]
    updates: list[Loss]

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rates, losses and updates of the batches that ran; NaN for what wasn't finite."""
        losses, updates = np.array([self.losses, self.updates], float)
        return np.geomspace(self.min_lr, self.max_lr, self.steps)[: len(losses)], losses, updates


@dataclass(frozen=True)
class MeasuredRates:
    """What trainings at the learning rates of a grid end with.

    Attributes:
        learning_rates: The grid, in ascending order.
        losses: For each learning rate the validation losses, one for each seed.
        untrained: Validation losses of the untrained models, one for each seed.
        chance: Validation loss of the best constant prediction.
    """

    learning_rates: list[float]
    losses: list[list[Loss]]
    untrained: list[Loss]
    chance: float


def sweeps_from(config: list[dict[str, Any]]) -> list[MeasuredSweep]:
    """Return the sweeps in a file."""
    return [MeasuredSweep(**sweep) for sweep in config]
