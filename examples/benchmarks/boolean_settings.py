#!/usr/bin/env python3
"""Measure whether a Boolean that changes the architecture needs a learning-rate range for each of its values.

    python examples/benchmarks/boolean_settings.py            # measure what is missing, then score: 6 minutes
    python examples/benchmarks/boolean_settings.py score      # score again what was measured

The Boolean is batch normalisation after each hidden layer. A task is trained with and without it at the rates
of a grid, and the best validation loss of three during training counts, as KerasTuner takes a trial's best
epoch. Sweeps of 100 and 300 batches run for each value. `score` compares what a search may do with them, for
trials that have either value equally often; every second sweep is paid for with trials.

README.md in this folder says what was found.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import pathlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "runs" / "boolean_settings"
RATES = np.geomspace(1e-5, 10.0, 25)
SEEDS = (0, 1)
# Batches of a training, in segments after which the model is validated.
SEGMENTS, SEGMENT, BATCH = 3, 100, 32
SWEEPS = (100, 300)
# A rate is good within this share of the gap between the best and chance.
GOOD = 0.05
OPTIMIZERS = {"sgd": ("SGD", 0.0), "momentum": ("SGD", 0.9), "adam": ("Adam", None)}


# --- Tasks ----------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """Data in rows, and the shape of the model for them."""

    x: np.ndarray
    y: np.ndarray
    classes: int | None
    is_image: bool = False


def digits(*, is_image: bool, scale: float = 1.0) -> Task:
    """Handwritten digits of 8 x 8 pixels, from 0 to `scale`."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x * scale / 16.0
    return Task(x.reshape(-1, 8, 8, 1) if is_image else x, y, 10, is_image)


def noisy(scale: float) -> Task:
    """Four classes of which a fifth of the labels is drawn at random."""
    from sklearn.datasets import make_classification

    x, y = make_classification(1500, 20, n_informative=10, n_classes=4, flip_y=0.2, random_state=0)
    return Task(scale * (x - x.mean(0)) / x.std(0), y, 4)


def regression(name: str, *, is_raw: bool) -> Task:
    """Friedman's function or the progress of diabetes, with targets as they are or standardised."""
    from sklearn.datasets import load_diabetes, make_friedman1

    x, y = (
        load_diabetes(return_X_y=True)
        if name == "diabetes"
        else make_friedman1(1500, noise=1.0, random_state=0)
    )
    x = (x - x.mean(0)) / x.std(0)
    return Task(x, y if is_raw else (y - y.mean()) / y.std(), None)


def table(name: str) -> Task:
    """Columns in their own units, from 0.1 to 1,000."""
    import sklearn.datasets

    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return Task(x, y, int(y.max()) + 1)


TASKS: dict[str, Callable[[], Task]] = {
    "digits, MLP": lambda: digits(is_image=False),
    "digits to 255, MLP": lambda: digits(is_image=False, scale=255.0),
    "noisy classes": lambda: noisy(1.0),
    "noisy classes x20": lambda: noisy(20.0),
    "Friedman": lambda: regression("friedman", is_raw=False),
    "Friedman, raw targets": lambda: regression("friedman", is_raw=True),
    "diabetes, raw targets": lambda: regression("diabetes", is_raw=True),
    "cancer, raw columns": lambda: table("breast_cancer"),
    "digits, CNN": lambda: digits(is_image=True),
}


# Tasks whose inputs are not of the order of 1.
UNSCALED = ("digits to 255, MLP", "noisy classes x20", "cancer, raw columns")
GROUPS = {"inputs scaled": False, "inputs as they are": True}


# --- Measuring ------------------------------------------------------------------------------------------


class Lab:
    """One model and optimizer, compiled once, that trains at any rates from any seed."""

    def __init__(self, task: Task, optimizer: str, has_norm: bool) -> None:
        import keras
        import tensorflow as tf

        order = np.random.default_rng(0).permutation(len(task.x))
        held = len(order) * 3 // 10
        self.task, self._keras = task, keras
        self._x, self._y = task.x.astype("float32")[order], task.y[order]
        self._y = self._y.astype("float32")[:, None] if task.classes is None else self._y.astype("int32")
        self._training, self._validation = np.arange(held, len(order)), np.arange(held)
        self._model = build(task, has_norm)
        name, momentum = OPTIMIZERS[optimizer]
        extra = {} if momentum is None else {"momentum": momentum}
        self._optimizer = keras.optimizers.get(
            {"class_name": name, "config": {"learning_rate": 1e-3, **extra}}
        )
        self._optimizer.build(self._model.trainable_variables)
        self._weights: dict[int, list[np.ndarray]] = {}
        self._start = [variable.numpy() for variable in self._optimizer.variables]
        squared, crossentropy = keras.losses.mean_squared_error, keras.losses.sparse_categorical_crossentropy
        x, y = tf.constant(self._x), tf.constant(self._y)
        kernels = [v.value for v in self._model.trainable_variables if len(v.shape) > 1]

        def loss_of(rows: Any, training: bool) -> Any:
            z, target = self._model(tf.gather(x, rows), training=training), tf.gather(y, rows)
            each = squared(target, z) if task.classes is None else crossentropy(target, z, from_logits=True)
            return tf.reduce_mean(each)

        # XLA makes these small models five times as fast, but not their convolutions.
        @tf.function(jit_compile=not task.is_image)
        def train(rates: Any, batches: Any) -> Any:
            seen = tf.TensorArray(tf.float32, SEGMENT, element_shape=(3,))
            for i in tf.range(SEGMENT):
                before = [tf.identity(kernel) for kernel in kernels]
                with tf.GradientTape() as tape:
                    loss = loss_of(batches[i], True)
                gradients = tape.gradient(loss, self._model.trainable_variables)
                self._optimizer.learning_rate.assign(rates[i])
                self._optimizer.apply_gradients(zip(gradients, self._model.trainable_variables, strict=True))
                moved = [kernel - old for kernel, old in zip(kernels, before, strict=True)]
                size = tf.linalg.global_norm(before)
                seen = seen.write(
                    i, [loss, tf.linalg.global_norm(moved) / size, tf.linalg.global_norm(gradients) / size]
                )
            return seen.stack()

        self._train = train
        self._validate = tf.function(lambda: loss_of(tf.constant(self._validation), False))
        self._predict = tf.function(lambda: self._model(tf.gather(x, self._validation), training=False))

    def reset(self, seed: int) -> np.random.Generator:
        """Start again with the weights and the order of batches of a seed."""
        if seed not in self._weights:
            self._keras.utils.set_random_seed(seed)
            self._weights[seed] = self._keras.models.clone_model(self._model).get_weights()
        self._model.set_weights(self._weights[seed])
        for variable, value in zip(self._optimizer.variables, self._start, strict=True):
            variable.assign(value)
        return np.random.default_rng(seed)

    def steps(self, rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Train a batch at each rate.

        Returns:
            The loss of each batch, and the sizes of its update and of its gradient beside that of the
            kernels, shape (batches, 3).
        """
        epochs = -(-len(rates) * BATCH // (len(self._training) // BATCH * BATCH))
        rows = [
            rng.permutation(self._training)[: len(self._training) // BATCH * BATCH] for _ in range(epochs)
        ]
        batches = np.concatenate(rows)[: len(rates) * BATCH].reshape(-1, SEGMENT, BATCH).astype("int32")
        parts = rates.astype("float32").reshape(-1, SEGMENT)
        return np.concatenate([self._train(*part).numpy() for part in zip(parts, batches, strict=True)])

    def trained(self, rate: float, seed: int) -> tuple[float, float]:
        """Return the best validation loss of a training at one rate, and the best share of wrong classes."""
        rng, found = self.reset(seed), [self.chance()]
        for _ in range(SEGMENTS):
            if not np.isfinite(self.steps(np.full(SEGMENT, rate), rng)[-1, 0]):
                break
            loss, error = float(self._validate()), 0.0
            if self.task.classes is not None:
                error = float(np.mean(self._predict().numpy().argmax(1) != self._y[self._validation]))
            if np.isfinite(loss):
                found.append((loss, error))
        return min(loss for loss, _ in found), min(error for _, error in found)

    def swept(self, batches: int, seed: int) -> list[list[float | None]]:
        """Return what `steps` does of a sweep from 1e-7 to 10."""
        seen = self.steps(np.geomspace(1e-7, 10.0, batches), self.reset(seed)).tolist()
        return [[one if math.isfinite(one) else None for one in row] for row in seen]

    def chance(self) -> tuple[float, float]:
        """Return the loss and the share of wrong classes of the best constant prediction."""
        y = self._y[self._validation]
        if self.task.classes is None:
            return float(y.var()), 0.0
        share = np.bincount(y) / len(y)
        return float(-np.sum(share * np.log(np.maximum(share, 1e-9)))), float(1 - share.max())


def build(task: Task, has_norm: bool) -> Any:
    """Return a model with two hidden layers, each with batch normalisation or without."""
    import keras

    layers: list[Any] = [keras.Input(task.x.shape[1:])]
    for width in (8, 16) if task.is_image else (64, 64):
        layers.append(keras.layers.Conv2D(width, 3) if task.is_image else keras.layers.Dense(width))
        layers += [keras.layers.BatchNormalization()] if has_norm else []
        layers.append(keras.layers.Activation("relu"))
    layers += [keras.layers.Flatten()] if task.is_image else []
    return keras.Sequential([*layers, keras.layers.Dense(task.classes or 1)])


def file_of(name: str, optimizer: str, has_norm: bool) -> pathlib.Path:
    """Return the file of one task, optimizer and value of the Boolean."""
    key = f"{name} {optimizer} {'norm' if has_norm else 'plain'}"
    return DATA / f"{key.replace(',', '').replace(' ', '_')}.json"


def load(name: str, optimizer: str, has_norm: bool) -> dict[str, Any] | None:
    """Return what was measured; None where nothing was."""
    file = file_of(name, optimizer, has_norm)
    return json.loads(file.read_text()) if file.exists() else None


def measure(name: str, optimizer: str, has_norm: bool) -> None:
    """Train and sweep one task at all rates, unless that was done before."""
    file = file_of(name, optimizer, has_norm)
    if file.exists():
        return
    lab, first = Lab(TASKS[name](), optimizer, has_norm), zlib.crc32(name.encode()) % 1000
    truth = np.array([[lab.trained(rate, first + seed) for seed in SEEDS] for rate in RATES])
    found = {
        "chance": dict(zip(("losses", "errors"), lab.chance(), strict=True)),
        "steps": SEGMENTS * SEGMENT,
        "losses": truth[..., 0].tolist(),
        "errors": truth[..., 1].tolist(),
        "sweeps": {n: [lab.swept(n, first + 100 + seed) for seed in SEEDS] for n in SWEEPS},
    }
    DATA.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".part").write_text(json.dumps(found))
    file.with_suffix(".part").rename(file)
    print(f"measured {file.stem}", flush=True)


# --- Scoring --------------------------------------------------------------------------------------------

FINE = np.linspace(-5.0, 1.0, 1201)  # log10 learning rate


class Range(NamedTuple):
    """A range in log10.

    Attributes:
        low: Its minimum.
        high: Its maximum.
        usual: The rate that is usual for the optimizer and the batch size.
        scale: Size of the kernels beside that of the gradient, the median of the first eight batches.
    """

    low: float
    high: float
    usual: float = math.inf
    scale: float = 0.0


class Value(NamedTuple):
    """What was measured for one value of the Boolean.

    Attributes:
        scores: At the rates of FINE: 0 is the best loss of either value, 1 is chance.
        own: The same with 0 for this value's own best loss.
        ranges: The log10 range of each sweep, by its batches.
    """

    scores: np.ndarray
    own: np.ndarray
    ranges: dict[int, list[Range]]

    @property
    def centre(self) -> float:
        """The middle of the good rates around the best one, in log10."""
        good, best = self.own <= GOOD, int(np.argmin(self.own))
        low, high = best, best
        while low > 0 and good[low - 1]:
            low -= 1
        while high < len(FINE) - 1 and good[high + 1]:
            high += 1
        return float(FINE[low] + FINE[high]) / 2


def suggested(seen: list[list[float | None]], optimizer: str, steps: int, chance: float) -> Range:
    """Return the log10 range that a search takes from a sweep: all there is where the curve shows none."""
    import lrtuner
    from lrtuner.curve.rules import usual_log10_rate

    losses, updates, gradients = np.array(seen, dtype=float).T
    name, momentum = OPTIMIZERS[optimizer]
    training = lrtuner.Training(
        optimizer=name,
        momentum=momentum,
        batch_size=BATCH,
        batches_per_epoch=steps,
        epochs=1,
        chance=chance,
    )
    scale = -math.log10(np.median(gradients[:8]))
    rates = np.geomspace(1e-7, 10.0, len(losses))
    everywhere = Range(FINE[0], FINE[-1], scale=scale)
    try:
        found = lrtuner.suggest_range(lrtuner.LRCurve(rates, losses, training=training, updates=updates))
    except lrtuner.NoRangeError:
        return everywhere
    if found.evidence is None or not found.evidence.is_from_curve:
        return everywhere
    usual = usual_log10_rate(training)
    low, high = math.log10(found.min_lr), math.log10(found.max_lr)
    return Range(max(low, FINE[0]), min(high, FINE[-1]), usual, scale)


def values_of(name: str, optimizer: str, figure: str) -> tuple[Value, Value] | None:
    """Return what was measured without and with normalisation, in "losses" or "errors"; None for nothing."""
    measured = [load(name, optimizer, has_norm) for has_norm in (False, True)]
    if None in measured or not measured[0]["chance"][figure]:
        return None
    chance, level = measured[0]["chance"][figure], measured[0]["chance"]["losses"]
    means = [np.minimum(np.array(one[figure]), chance).mean(1) for one in measured]
    best = min(mean.min() for mean in means)

    def scores(mean: np.ndarray, best: float) -> np.ndarray:
        return np.interp(FINE, np.log10(RATES), (mean - best) / (chance - best))

    plain, norm = (
        Value(
            scores(mean, best),
            scores(mean, mean.min()),
            {
                n: [suggested(y, optimizer, one["steps"], level) for y in one["sweeps"][str(n)]]
                for n in SWEEPS
            },
        )
        for mean, one in zip(means, measured, strict=True)
    )
    return plain, norm


Arm = Callable[[Range, Range], tuple[Range, Range, int]]


def widened(by_low: float, by_high: float) -> Arm:
    """Return the arm that widens the range of the default's sweep by so many decades, for both values."""

    def arm(plain: Range, _: Range) -> tuple[Range, Range, int]:
        both = Range(plain.low - by_low, plain.high + by_high)
        return both, both, 1

    return arm


def union(plain: Range, norm: Range) -> tuple[Range, Range, int]:
    """One range that holds those of both values."""
    both = Range(min(plain.low, norm.low), max(plain.high, norm.high))
    return both, both, 2


def where_low(plain: Range, norm: Range) -> tuple[Range, Range, int]:
    """A second sweep where the middle of the first range lies a decade or more below the usual rate."""
    is_low = (plain.low + plain.high) / 2 < plain.usual - 1.0
    return (plain, norm, 2) if is_low else (plain, plain, 1)


def by_gradients(plain: Range, norm: Range) -> tuple[Range, Range, int]:
    """The first sweep's range, moved for the other value as the first gradients say."""
    shift = norm.scale - plain.scale
    return plain, Range(plain.low + shift, plain.high + shift), 1


# The ranges for trials without and with normalisation, from those of the two sweeps, and how many are run.
ARMS: dict[str, Arm] = {
    "one sweep, at the default (without)": widened(0.0, 0.0),
    "one sweep, with": lambda _, norm: (norm, norm, 1),
    "one sweep each": lambda plain, norm: (plain, norm, 2),
    "one each where the first is low": where_low,
    "one sweep, moved by the first gradients": by_gradients,
    "union of both": union,
    "default, 0.25 decades wider at each end": widened(0.25, 0.25),
    "default, 0.5 wider at each end": widened(0.5, 0.5),
    "default, 0.5 wider at the top": widened(0.0, 0.5),
    "default, 1 wider at the top": widened(0.0, 1.0),
}


def expected_best(scores: np.ndarray, draws: float) -> float:
    """Return the expected score of the best of some independent draws from equally likely ones."""
    in_order = np.sort(scores)
    left = 1 - np.arange(len(in_order) + 1) / len(in_order)
    return float(np.sum(in_order * (left[:-1] ** draws - left[1:] ** draws)))


def score_arm(values: tuple[Value, Value], ranges: tuple[Range, Range, int], batches: int) -> list[float]:
    """Return P(good), best inside, and the regret of the best of 3 and 10 trials, less the sweeps' cost."""
    good, inside, drawn = [], [], []
    for value, (low, high, *_) in zip(values, ranges[:2], strict=True):
        at = np.linspace(max(low, FINE[0]), min(high, FINE[-1]), 300)
        good.append(np.mean(np.interp(at, FINE, value.own) <= GOOD))
        inside.append(low <= FINE[np.argmin(value.own)] <= high)
        drawn.append(np.interp(at, FINE, value.scores))
    cost = (ranges[2] - 1) * batches / (SEGMENTS * SEGMENT)
    regrets = [expected_best(np.concatenate(drawn), trials - cost) for trials in (3, 10)]
    return [float(np.mean(good)), float(np.mean(inside)), *regrets]


def score() -> None:
    """Print how far normalisation moves the best rates, and what each arm is worth."""
    for optimizer, figure in itertools.product(OPTIMIZERS, ("losses", "errors")):
        found = {name: both for name in TASKS if (both := values_of(name, optimizer, figure)) is not None}
        if not found:
            continue
        print(
            f"\n{optimizer}, by {figure}: middle of the good rates without and with, in log10; shift of the"
        )
        print("middle, and of that of the ranges by 100 and 300 batches; best score without and with")
        for name, both in found.items():
            centres = [value.centre for value in both]
            shifts = [
                np.diff([np.mean([one[:2] for one in value.ranges[n]]) for value in both]).item()
                for n in SWEEPS
            ]
            best = [float(np.min(value.scores)) for value in both]
            print(
                f"  {name:24}"
                + "".join(f"{x:+7.2f}" for x in (*centres, np.diff(centres)[0], *shifts, *best))
            )
        for group, is_unscaled in GROUPS.items():
            chosen = {name: both for name, both in found.items() if (name in UNSCALED) == is_unscaled}
            for batches in SWEEPS if chosen else ():
                print(
                    f"  {group}, sweeps of {batches}: P(good), best inside, regret of the best of 3 and of 10"
                )
                for label, arm in ARMS.items():
                    rows = [
                        score_arm(both, arm(plain, norm), batches)
                        for both in chosen.values()
                        for plain, norm in zip(both[0].ranges[batches], both[1].ranges[batches], strict=True)
                    ]
                    good, inside, three, ten = np.mean(rows, 0)
                    print(f"    {label:42} {good:5.2f} {inside:5.2f} {three:7.3f} {ten:7.3f}")


def main() -> None:
    """Measure what is missing, then score."""
    if sys.argv[1:] != ["score"]:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for optimizer in OPTIMIZERS:
            for name in TASKS:
                for has_norm in (False, True):
                    measure(name, optimizer, has_norm)
    score()


if __name__ == "__main__":
    main()
