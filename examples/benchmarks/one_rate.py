#!/usr/bin/env python3
"""Measure how well a net ends at the one rate that a sweep suggests, against Keras' default rate.

    python examples/benchmarks/one_rate.py             # measure and score: 1.5 hours on one core
    python examples/benchmarks/one_rate.py --quick     # few images, one epoch, one seed: half a minute
    python examples/benchmarks/one_rate.py score       # score again what was measured
    python examples/benchmarks/one_rate.py --mnist     # on MNIST, which Keras downloads

Needs scikit-learn, which brings scipy. The model, the batches and the sweep are those of examples/mnist.py.
An interrupted run goes on where it stopped. README.md in this folder says how it is measured, and what was
found.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import pathlib
from dataclasses import dataclass

import numpy as np
from bench import command, glyphs, store
from bench.data import Split
from bench.late import Late, keras, lrtuner
from bench.table import print_head, print_row

mnist = Late("examples.mnist")
stats = Late("scipy.stats")

DEFAULT, SUGGESTED, BY_EYE, MAXIMUM, ABOVE = "default", "suggested", "by eye", "maximum", "above"
# The notebook's authors chose 0.08 by eye, from their sweep of MNIST. The last one is to see what lies above.
RATES = {DEFAULT: 0.01, BY_EYE: 0.08, ABOVE: 0.32}
# What is measured of all seeds before the next.
ROUNDS = ([DEFAULT, SUGGESTED], [BY_EYE], [MAXIMUM], [ABOVE])


@dataclass(frozen=True)
class Swept:
    """What the sweep of a seed gave: its batches, and the range."""

    seed: int
    batches: int
    min_lr: float
    max_lr: float


@dataclass(frozen=True)
class Trained:
    """How a training ended: `error` is the share of the test images that it gets wrong."""

    seed: int
    arm: str
    rate: float
    error: float


@dataclass(frozen=True)
class Experiment:
    """The experiment on one data set, at full length or in short.

    Attributes:
        folder: Where the measurements are kept.
        seeds: Trainings of each arm.
        is_mnist: Whether the data are those of MNIST.
        is_quick: Whether it is short.
    """

    folder: pathlib.Path
    seeds: int
    is_mnist: bool
    is_quick: bool

    @property
    def epochs(self) -> int:
        """The epochs of a training."""
        return 1 if self.is_quick else 5

    @functools.cached_property
    def data(self) -> Split:
        """The images, [n, 28, 28, 1], and their digits."""
        train, test = (6400, 1000) if self.is_quick else (60000, 10000)
        if not self.is_mnist:
            return glyphs.rendered_digits(train, test)
        try:
            (x, y), (x_val, y_val) = keras.datasets.mnist.load_data()
        except Exception as error:
            # Keras raises a plain Exception where a download fails.
            raise SystemExit(
                f"MNIST could not be downloaded: {error}\nWithout --mnist, digits are rendered."
            ) from error
        x, x_val = (images[..., None] / np.float32(255) for images in (x, x_val))
        return Split(x[:train], y[:train], x_val[:test], y_val[:test])

    def model(self, seed: int, rate: float):
        """Return the compiled model; all that is drawn later follows from the seed, too."""
        return mnist.build_model(self.data.x.shape[1:], rate, 1000 * (seed + 1))

    def sweep(self, seed: int) -> Swept:
        """Sweep as examples/mnist.py does."""
        model = self.model(seed, RATES[DEFAULT])
        curve, lr_range = mnist.sweep(model, self.data.x, self.data.y, self.epochs)
        return Swept(seed, len(curve), lr_range.min_lr, lr_range.max_lr)

    def train(self, seed: int, arm: str) -> Trained:
        """Train at an arm's rate. All arms of a seed have the same first weights and batches."""
        data, rate = self.data, self.rate(seed, arm)
        model = self.model(seed, rate)
        model.fit(
            data.x,
            data.y,
            batch_size=mnist.BATCH_SIZE,
            epochs=self.epochs,
            callbacks=[keras.callbacks.TerminateOnNaN()],
            verbose=0,
        )
        accuracy = model.evaluate(data.x_val, data.y_val, batch_size=500, verbose=0)[1]
        return Trained(seed, arm, rate, 1 - accuracy)

    def rate(self, seed: int, arm: str) -> float:
        """Return an arm's learning rate, which the sweep of the seed may give."""
        if arm in RATES:
            return RATES[arm]
        swept = self.swept()[seed]
        return swept.max_lr if arm == MAXIMUM else lrtuner.LRRange(swept.min_lr, swept.max_lr).suggested

    def swept(self) -> dict[int, Swept]:
        """Return the sweeps that have been measured, by their seeds."""
        return {one.seed: one for one in store.read(self.folder / "sweeps", lambda config: Swept(**config))}

    def measure(self) -> None:
        """Measure what has no file yet: sweeps, then trainings seed by seed."""
        seeds = range(self.seeds)
        store.measure(self.folder / "sweeps", [(f"{s}", functools.partial(self.sweep, s)) for s in seeds])
        jobs = [
            (f"{seed}-{arm.replace(' ', '_')}", functools.partial(self.train, seed, arm))
            for arms in (ROUNDS[:2] if self.is_quick else ROUNDS)
            for seed in seeds
            for arm in arms
        ]
        store.measure(self.folder / "trainings", jobs)

    def score(self) -> None:
        """Print a table of the arms, and one of the seeds."""
        trained = {
            (one.arm, one.seed): one
            for one in store.read(self.folder / "trainings", lambda config: Trained(**config))
            if one.seed < self.seeds
        }
        if (DEFAULT, 0) not in trained:
            raise SystemExit(f"No training has been measured in {self.folder}: run `measure` first.")
        print(f"\n## Test error after {self.epochs} epochs\n")
        print_head("rate", "learning rates", "test error", "of each seed", "over the default's")
        for arm in itertools.chain(*ROUNDS):
            pairs = [
                (one, trained[DEFAULT, seed])
                for (name, seed), one in trained.items()
                if name == arm and (DEFAULT, seed) in trained
            ]
            if pairs:
                rates = np.array([one.rate for one, _ in pairs])
                errors = [one.error for one, _ in pairs]
                each = ", ".join(f"{error:.2%}" for error in errors)
                ratio = interval([one.error / default.error for one, default in pairs])
                between = f"{rates.min():.3g} to {rates.max():.3g}"
                print_row(arm, between, f"{np.mean(errors):.2%}", each, ratio)
        print("\n## Sweeps\n")
        print_head("seed", "batches", "range")
        for seed, swept in self.swept().items():
            print_row(seed, swept.batches, f"{swept.min_lr:.3g} to {swept.max_lr:.3g}")


def interval(ratios: list[float]) -> str:
    """Return the geometric mean of ratios and its 90% interval, by Student's t on their logarithms."""
    logs = np.log(ratios)
    mean = logs.mean()
    if len(logs) < 2:
        return f"{math.exp(mean):.2f}"
    half = stats.t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f} to {math.exp(mean + half):.2f})"


def parse() -> tuple[argparse.Namespace, Experiment]:
    """Return the options and the experiment."""
    parser = command.parser(__doc__)
    parser.add_argument("--mnist", action="store_true", help="MNIST in place of rendered digits")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each arm; default: 5")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    command.import_from_checkout()
    folder = command.folder(options, "one_rate_mnist" if options.mnist else "one_rate")
    return options, Experiment(folder, 1 if options.quick else options.seeds, options.mnist, options.quick)


def main() -> None:
    options, experiment = parse()
    if options.command != "score":
        experiment.measure()
    if options.command != "measure":
        experiment.score()


if __name__ == "__main__":
    main()
