"""What is searched: small nets on data that no rule was tuned on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from bench import models
from bench.data import Split, split, standardise
from bench.late import datasets
from bench.losses import Loss, crossentropy, linear, squared
from bench.task import ADAM, SGD, Optimizer

BATCH = 32
EPOCHS = 6  # of a whole trial
OPTIMIZERS: dict[str, Optimizer] = {"sgd": SGD, "adam": ADAM}


class Architecture(NamedTuple):
    """All of a trial but for its optimizer and learning rate."""

    units: int
    dropout: float
    batch_norm: bool


UNITS, DROPOUT = (16, 64), (0.0, 0.3)
ARCHITECTURES = [Architecture(u, d, b) for u in UNITS for d in DROPOUT for b in (False, True)]


class SearchTask(NamedTuple):
    """What one search is about.

    Attributes:
        make: Makes the data.
        outputs: Numbers that a model puts out.
        loss: One number for each example.
        optimizers: The optimizer, or the two that the search chooses from.
        is_normalised: Whether inputs and targets have mean 0 and standard deviation 1, and the loss its usual
            scale.
        is_image: Whether the model has convolutions.
    """

    make: Callable[[], Split]
    outputs: int
    loss: Loss
    optimizers: tuple[str, ...]
    is_normalised: bool
    is_image: bool = False

    def model(self, architecture: Architecture) -> Any:
        """Build the model, not compiled."""
        units, dropout, batch_norm = architecture
        if self.is_image:
            return models.cnn(self.outputs, units // 4, batch_norm, dropout, pool=True)
        return models.mlp((units, units), self.outputs, bn=batch_norm, dropout=dropout)


def _teacher() -> Split:
    """Make five classes, those that a random net tells apart."""
    rng = np.random.default_rng(9101)
    x = rng.normal(size=(2000, 16))
    hidden = np.tanh(x @ rng.normal(size=(16, 12)) / 2)
    return split(x, (hidden @ rng.normal(size=(12, 5))).argmax(1))


def _spirals() -> Split:
    """Make three arms of a spiral, and four columns of noise."""
    rng = np.random.default_rng(9102)
    y = rng.integers(0, 3, 2400)
    radius = rng.uniform(0.2, 1, 2400)
    angle = 2 * np.pi * (y / 3 + radius) + 0.15 * rng.normal(size=2400)
    x = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(size=(2400, 4))])
    return split(standardise(x), y)


def _tones() -> Split:
    """Make noisy signals of 32 numbers; the class is the louder one of two tones out of six."""
    rng = np.random.default_rng(9103)
    time = np.arange(32) / 32
    tones = np.argsort(rng.random((2000, 6)), axis=1)[:, :2]
    phases = rng.uniform(0, 1, (2000, 2, 1))
    waves = np.sin(2 * np.pi * ((tones[..., None] + 2) * time + phases))
    x = waves[:, 0] + 0.5 * waves[:, 1] + 0.3 * rng.normal(size=(2000, 32))
    return split(standardise(x), tones[:, 0])


def _hastie() -> Split:
    """Make two classes: whether ten squares add up to more than usual; the inputs are multiplied by 20."""
    x, y = datasets.make_hastie_10_2(2400, random_state=9104)
    return split(20 * x, (y > 0).astype(int))


def _houses() -> Split:
    """Make prices of houses: areas, ages, distances and rooms in their own units, log prices standardised."""
    rng = np.random.default_rng(9105)
    area, age = np.exp(rng.normal(4.6, 0.4, 1800)), rng.integers(0, 100, 1800)
    distance, rooms = rng.exponential(8, 1800), rng.integers(1, 8, 1800)
    garage = rng.integers(0, 2, 1800)
    price = np.log(area) - 0.01 * age * (distance < 10) - 0.05 * distance + 0.2 * garage + 0.1 * rooms
    price += 0.1 * rng.normal(size=1800)
    return split(np.column_stack([area, age, distance, rooms, garage]), standardise(price[:, None]))


def _friedman() -> Split:
    """Make Friedman's first function as it is: targets of about 14, and inputs from 0 to 1."""
    x, y = datasets.make_friedman1(2000, noise=0.5, random_state=9106)
    return split(x, y[:, None])


def _s_curve() -> Split:
    """Make points on a bent sheet in space; the target is where on the sheet, from -5 to 5."""
    x, y = datasets.make_s_curve(1600, noise=0.1, random_state=9107)
    return split(x, y[:, None])


def _corners() -> Split:
    """Make grey images, 0 to 255, of an L in one of four turns."""
    rng = np.random.default_rng(9108)
    y = rng.integers(0, 4, 1400)
    x = rng.uniform(0, 110, (1400, 8, 8))
    for image, turn in zip(x, y, strict=True):
        row, column = rng.integers(0, 5, 2)
        corner = np.zeros((4, 4))
        corner[:, 0] = corner[3] = rng.uniform(80, 145)
        image[row : row + 4, column : column + 4] += np.rot90(corner, turn)
    return split(x[..., None], y)


TASKS = {
    "teacher_sgd": SearchTask(_teacher, 5, crossentropy, ("sgd",), True),
    "spirals_adam": SearchTask(_spirals, 3, crossentropy, ("adam",), True),
    "tones_either": SearchTask(_tones, 6, crossentropy, ("sgd", "adam"), True),
    "hastie_x20_sgd": SearchTask(_hastie, 2, crossentropy, ("sgd",), False),
    "houses_raw_adam": SearchTask(_houses, 1, squared, ("adam",), False),
    "friedman_raw_sgd": SearchTask(_friedman, 1, squared, ("sgd",), False),
    "s_curve_x50_either": SearchTask(_s_curve, 1, linear(squared, 50), ("sgd", "adam"), False),
    "corners_raw_either": SearchTask(_corners, 4, crossentropy, ("sgd", "adam"), False, is_image=True),
}


@functools.cache
def data_of(name: str) -> Split:
    """Return the data of a task, made once."""
    return TASKS[name].make()


def batches_per_epoch(name: str) -> int:
    """Return the batches in an epoch of a task."""
    return -(-len(data_of(name).x) // BATCH)
