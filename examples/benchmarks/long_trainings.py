#!/usr/bin/env python3
"""Measure where the good rates of long trainings lie against a sweep of 300 batches.

    python examples/benchmarks/long_trainings.py            # measure and score: 1.5 hours on one core
    python examples/benchmarks/long_trainings.py --quick    # one task, 300 batches: half a minute
    python examples/benchmarks/long_trainings.py score      # score again what was measured

An interrupted run goes on where it stopped. README.md in this folder says what was found.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench import command, glyphs, models, store
from bench.data import Split
from bench.lab import Lab
from bench.late import keras, lrtuner
from bench.losses import crossentropy, squared
from bench.records import MeasuredRates, MeasuredSweep, sweeps_from
from bench.table import print_head, print_row
from bench.task import ADAM, ADAMW, MOMENTUM, Task
from bench.truth import Truth
from quality import pretrained

# Batches after which a training is validated.
LENGTHS = (300, 1000, 3000, 10_000, 20_000)
SWEEPS, BATCHES = 3, 300
POWERS = [-4.5, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5]
USERS, ITEMS = 3000, 1500


def _ratings() -> Split:
    """Return users, items and ratings that six tastes make, with noise."""
    rng = np.random.default_rng(1)
    tastes = [rng.normal(size=(count, 6)) for count in (USERS, ITEMS)]
    x = np.column_stack([rng.integers(0, USERS, 120_000), rng.integers(0, ITEMS, 120_000)]).astype(np.int32)
    y = (tastes[0][x[:, 0]] * tastes[1][x[:, 1]]).sum(1) / math.sqrt(6) + 0.3 * rng.normal(size=len(x))
    y = y.astype(np.float32)[:, None]
    return Split(x[:110_000], y[:110_000], x[110_000:], y[110_000:])


def _factors() -> Any:
    """Return a model that multiplies learnt factors of users and items."""
    x = keras.Input((2,), dtype="int32")
    user, item = keras.layers.Embedding(USERS, 16)(x[:, 0]), keras.layers.Embedding(ITEMS, 16)(x[:, 1])
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Multiply()([user, item])))


def _text_model() -> Any:
    return models.transformer(5, width=32, length=pretrained.LENGTH, vocabulary=98, blocks=2)


_judged: dict[str, Any] = {"judged": pretrained.wrong}
_DIGITS: Callable[[], Split] = functools.partial(glyphs.rendered_digits, 60_000, 4000)
TASKS = [
    Task("recommender_adam", _ratings, _factors, squared, ADAM, 64, 1),
    Task("cnn_bn_momentum", _DIGITS, lambda: models.cnn(10, bn=True), crossentropy,
         MOMENTUM, 32, 1, **_judged),
    Task("gru_adam", lambda: pretrained.shapes(20_000), lambda: models.recurrent("GRU", 24, 4), crossentropy,
         ADAM, 32, 1, **_judged),
    Task("transformer_adamw", lambda: pretrained.packages(30_000), _text_model, crossentropy, ADAMW, 32, 1,
         **_judged),
]  # fmt: skip


@dataclass(frozen=True)
class MeasuredTask:
    """One task as it is kept in a file.

    Attributes:
        task: Its name.
        lengths: Batches after which it was validated.
        truths: What trainings of these lengths end with.
        sweeps: Sweeps of 300 batches.
    """

    task: str
    lengths: list[int]
    truths: list[MeasuredRates]
    sweeps: list[MeasuredSweep]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MeasuredTask:
        """Build the record that a file describes."""
        truths = [MeasuredRates(**truth) for truth in config["truths"]]
        return cls(**{**config, "truths": truths, "sweeps": sweeps_from(config["sweeps"])})


def measure(task: Task, lengths: list[int]) -> MeasuredTask:
    """Train a task at all rates, and sweep it."""
    lab = Lab(task)
    starts = [lab.start(seed) for seed in range(SWEEPS)]
    lab.train(starts[0], 0, np.zeros(1))
    untrained, losses = lab.validate(), [[] for _ in lengths]
    for power in POWERS:
        done, is_finite = 0, True
        for length, rows in zip(lengths, losses, strict=True):
            if is_finite:
                trained = lab.train(starts[0], 0, np.full(length - done, 10.0**power), after=done)
                done, is_finite = length, bool(np.isfinite(trained).all())
            rows.append([lab.validate() if is_finite else None])
    rates = [10.0**power for power in POWERS]
    truths = [MeasuredRates(rates, rows, [untrained], lab.chance()) for rows in losses]
    return MeasuredTask(
        task.name, lengths, truths, [lab.sweep(s, i, BATCHES, BATCHES) for i, s in enumerate(starts)]
    )


def score(found: MeasuredTask) -> None:
    """Print the good rates after each length, and what a search that is told the length takes."""
    task = next(task for task in TASKS if task.name == found.task)
    print(f"\n## {task.name}\n")
    print_head("batches", "best, at", "good", "middle of them", "middles of the ranges", "good share of them")
    for length, measured in zip(found.lengths, found.truths, strict=True):
        truth = Truth(measured)
        good = truth.x[truth.score <= Truth.GOOD]
        fine = np.linspace(truth.x[0], truth.x[-1], 601)
        middle = float(np.mean(fine[truth.at(fine) <= Truth.GOOD][[0, -1]]))
        middles, shares = [], []
        for sweep in found.sweeps:
            rates, losses, updates = sweep.curve()
            training = lrtuner.Training(
                optimizer=task.optimizer.name,
                momentum=task.optimizer.momentum,
                batch_size=task.batch,
                batches_per_epoch=length,
                epochs=1,
                chance=measured.chance,
            )
            low, high = lrtuner.suggest_range(
                lrtuner.LRCurve(rates, losses, training=training, updates=updates)
            )
            middles.append((math.log10(low) + math.log10(high)) / 2)
            shares.append(truth.draws(math.log10(low), math.log10(high))[0])
        print_row(
            length,
            f"{truth.loss.min():.3g}, {10**truth.best:.2g}",
            f"{10 ** good[0]:.2g} to {10 ** good[-1]:.2g}",
            f"{middle:.2f}",
            " ".join(f"{one:.2f}" for one in middles),
            f"{np.mean(shares):.2f}",
        )


def main() -> None:
    options = command.parser(__doc__).parse_args()
    command.import_from_checkout()
    folder = command.folder(options, "long_trainings")
    tasks, lengths = (TASKS[:1], [100, 300]) if options.quick else (TASKS, list(LENGTHS))
    if options.command != "score":
        store.measure(folder, [(task.name, functools.partial(measure, task, lengths)) for task in tasks])
    if options.command != "measure":
        for found in store.read(folder, MeasuredTask.from_config):
            score(found)


if __name__ == "__main__":
    main()
