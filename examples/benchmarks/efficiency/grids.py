"""The true best rates, measured with a grid, and the range around them."""

from __future__ import annotations

import pathlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench import store
from bench.late import keras
from bench.losses import as_compiled
from bench.records import Loss, finite

from efficiency.tasks import ARCHITECTURES, BATCH, EPOCHS, OPTIMIZERS, TASKS, data_of
from efficiency.trainings import chance, validation_losses

GRID_SEED = 999  # no search has it
# Decades from the minimum to the maximum of a range that lrtuner reads off a sweep of 100 batches.
WIDTH = 1.33
DRAWS = 4  # the ideal range is the one from which the best of so many draws is best


@dataclass(frozen=True)
class MeasuredGrid:
    """What each architecture ends with at the rates of a grid.

    Attributes:
        task: Name of the task.
        optimizer: Name of the optimizer.
        powers: log10 of the learning rates.
        losses: For each architecture and rate the best validation loss; `None` where training diverges.
        chance: Validation loss of the best constant prediction.
        trial_seconds: What a trial takes of the processor where each model is built and traced for itself.
    """

    task: str
    optimizer: str
    powers: list[float]
    losses: list[list[Loss]]
    chance: float
    trial_seconds: float

    def best_range(self) -> tuple[float, float]:
        """Return the range of `WIDTH` decades that has the best expected best of `DRAWS` trials."""
        losses = np.array([[np.inf if loss is None else loss for loss in row] for row in self.losses])
        losses = np.minimum(losses, self.chance)
        middles = np.arange(self.powers[0], self.powers[-1], 0.05)
        expected = [self._best_of_draws(losses, middle) for middle in middles]
        # Ranges that are equally good: the one in their middle.
        middle = middles[np.isclose(expected, min(expected), rtol=1e-3)].mean()
        return float(10 ** (middle - WIDTH / 2)), float(10 ** (middle + WIDTH / 2))

    def _best_of_draws(self, losses: np.ndarray, middle: float) -> float:
        rates = np.linspace(middle - WIDTH / 2, middle + WIDTH / 2, 41)
        drawn = np.sort(np.concatenate([np.interp(rates, self.powers, row) for row in losses]))
        at_least = (np.arange(len(drawn), -1, -1) / len(drawn)) ** DRAWS
        return float((at_least[:-1] - at_least[1:]) @ drawn)


def measure(name: str, optimizer: str, quick: bool) -> MeasuredGrid:
    """Train all architectures at the rates of a grid: three in a decade, or one."""
    powers = [k / 3 for k in range(-18, 4, 3 if quick else 1)]
    losses = [
        finite(
            np.fmin.reduce(validation_losses(name, a, optimizer, 10.0**power, GRID_SEED, EPOCHS))
            for power in powers
        )
        for a in ARCHITECTURES
    ]
    return MeasuredGrid(name, optimizer, powers, losses, chance(name), _seconds_of_a_trial(name, optimizer))


def _seconds_of_a_trial(name: str, optimizer: str) -> float:
    """Return what it takes to build a model and to fit it, as KerasTuner does for each trial."""
    task, data, kind = TASKS[name], data_of(name), OPTIMIZERS[optimizer]
    begun = time.process_time()
    model = task.model(ARCHITECTURES[0])
    model.compile(getattr(keras.optimizers, kind.name)(1e-3, **kind.arguments), loss=as_compiled(task.loss))
    validation = (data.x_val, data.y_val)
    model.fit(data.x, data.y, batch_size=BATCH, epochs=EPOCHS, validation_data=validation, verbose=0)
    return time.process_time() - begun


def load(folder: pathlib.Path) -> dict[tuple[str, str], MeasuredGrid]:
    """Read the grids that are measured, by task and optimizer."""

    def build(config: dict[str, Any]) -> MeasuredGrid:
        return MeasuredGrid(**config)

    return {(grid.task, grid.optimizer): grid for grid in store.read(folder, build)}
