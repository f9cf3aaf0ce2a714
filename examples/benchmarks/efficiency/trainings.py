"""Trainings that all arms share.

Each architecture is traced once, and a training is a function of its arguments: arms that try the same thing
get the same result.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from bench.lab import Lab
from bench.task import Task

from efficiency.tasks import BATCH, EPOCHS, OPTIMIZERS, TASKS, Architecture, data_of


@functools.cache
def lab(name: str, architecture: Architecture, optimizer: str) -> Lab:
    """Return the traced model of a task."""
    task = TASKS[name]
    return Lab(
        Task(
            name,
            lambda: data_of(name),
            lambda: task.model(architecture),
            task.loss,
            OPTIMIZERS[optimizer],
            BATCH,
            EPOCHS,
        )
    )


@functools.cache
def _start(name: str, architecture: Architecture, optimizer: str, seed: int) -> list[np.ndarray]:
    return lab(name, architecture, optimizer).start(seed)


@functools.cache
def validation_losses(
    name: str, architecture: Architecture, optimizer: str, rate: float, seed: int, epochs: int
) -> tuple[float, ...]:
    """Train, and return the validation loss after each epoch: NaN from where it is not finite.

    Args:
        name: The task.
        architecture: The model.
        optimizer: A key of `OPTIMIZERS`.
        rate: The learning rate.
        seed: Of the initial weights, of dropout and of the order of the batches.
        epochs: How long to train. A longer training begins as a shorter one does.
    """
    at, start = lab(name, architecture, optimizer), _start(name, architecture, optimizer, seed)
    rates = np.full(at.batches_per_epoch, rate)
    losses: list[float] = []
    for epoch in range(epochs):
        trained = at.train(start, seed, rates, after=epoch * at.batches_per_epoch)
        loss = at.validate() if np.isfinite(trained).all() else None
        if loss is None:
            break
        losses.append(loss)
    return (*losses, *[math.nan] * (epochs - len(losses)))


def chance(name: str) -> float:
    """Return the validation loss of the best constant prediction for a task."""
    return lab(name, Architecture(16, 0.0, False), TASKS[name].optimizers[0]).chance()
