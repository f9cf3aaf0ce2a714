"""What is measured of a task: trainings at every learning rate of a grid, and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from bench.lab import Lab
from bench.records import MeasuredRates, MeasuredSweep, sweeps_from
from bench.task import Task

SWEEP_LENGTHS = ("epoch", 100, 300)
# A sweep of one epoch has at most as many batches: lrtuner's own are no longer.
LONGEST_EPOCH = 300


@dataclass(frozen=True)
class MeasuredTask:
    """One task as it is kept in a file.

    Attributes:
        task: Its name.
        optimizer: Class name of the optimizer.
        momentum: Momentum of SGD; `None` for other optimizers.
        batch_size: Rows in a batch.
        batches_per_epoch: Batches in an epoch.
        epochs: Epochs of a training.
        truth: What trainings in full end with.
        sweeps: Sweeps of each length from several seeds.
        is_pretrained: Whether most of what is trained was trained before.
    """

    task: str
    optimizer: str
    momentum: float | None
    batch_size: int
    batches_per_epoch: int
    epochs: int
    truth: MeasuredRates
    sweeps: list[MeasuredSweep]
    is_pretrained: bool = False

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MeasuredTask:
        """Build the record that a file describes."""
        truth, sweeps = MeasuredRates(**config["truth"]), sweeps_from(config["sweeps"])
        return cls(**{**config, "truth": truth, "sweeps": sweeps})


def measure(task: Task, quick: bool = False) -> MeasuredTask:
    """Train a task at all rates, and sweep it."""
    lab = Lab(task)
    per_decade, seeds, sweeps = (1, 1, 2) if quick else (task.per_decade, task.seeds, 4)
    starts = [lab.start(seed) for seed in range(max(seeds, sweeps))]
    truth = _measure_rates(lab, starts[:seeds], np.logspace(-6, 2, 8 * per_decade + 1))
    steps = {n: min(lab.batches_per_epoch, LONGEST_EPOCH) if n == "epoch" else n for n in SWEEP_LENGTHS}
    swept = [
        lab.sweep(starts[seed], seed, length, steps[length])
        for length in SWEEP_LENGTHS
        for seed in range(sweeps)
    ]
    optimizer = task.optimizer
    return MeasuredTask(
        task.name,
        optimizer.name,
        optimizer.momentum,
        task.batch,
        lab.batches_per_epoch,
        lab.epochs,
        truth,
        swept,
        task.is_pretrained,
    )


def _measure_rates(lab: Lab, starts: list[list[np.ndarray]], rates: np.ndarray) -> MeasuredRates:
    """Train in full at each rate from each start."""
    untrained = []
    losses: list[list[float | None]] = [[] for _ in rates]
    for seed, start in enumerate(starts):
        lab.train(start, seed, np.zeros(1))
        untrained.append(lab.validate())
        for row, rate in zip(losses, rates, strict=True):
            trained = lab.train(start, seed, np.full(lab.steps, rate))
            row.append(lab.validate() if np.isfinite(trained).all() else None)
    return MeasuredRates(rates.tolist(), losses, untrained, lab.chance())
