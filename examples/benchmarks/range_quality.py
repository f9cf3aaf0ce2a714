#!/usr/bin/env python3
"""Measure what a learning-rate range is worth, on tasks that were not used to make the rule.

    python examples/benchmarks/range_quality.py             # measure and score: 2.5 hours on one core
    python examples/benchmarks/range_quality.py --quick     # a few tasks, coarse grid: half a minute
    python examples/benchmarks/range_quality.py score       # score again what was measured
    python examples/benchmarks/range_quality.py score --rule mymodule:myrule
    python examples/benchmarks/range_quality.py measure --tasks digits_cnn_adam,wine_raw_adam

A task is a small Keras model, an optimizer, and data that need no download.  For each, `measure` trains in
full at every learning rate of a grid and keeps the final validation loss (the truth), and runs exponential
sweeps of one epoch, 100 and 300 batches from 1e-7 to 10, keeping the true loss of each batch up to the first
NaN.  The files, `truth.json` and `sweeps.json`, go to the directory given by `--data`.  One file for each
task in `--data`/tasks lets an interrupted run go on where it stopped.

`score` gives every rule the same sweeps.  A rule is a callable of a curve (with `learning_rates` and
`losses`) that returns an object with `min_lr` and `max_lr`, or a pair, or raises ValueError for no range; as
far as its signature takes them, it is also told `train_steps`, `optimizer`, `batch_size` and `momentum`.  A
rule's constants may be tuned on the calibration tasks.  Nothing is tuned on the held-out tasks.

A learning rate is good when its validation loss lies within 5% of the gap between the best on the grid and
chance (the best constant prediction, or the untrained model where that is better).  Columns, averaged over
tasks and seeds:

any       ranges that contain a good learning rate
best      ranges that contain the best learning rate of the grid
speed-up  P(a log-uniform draw from the range is good) / P(the same from 1e-6..10)
regret    expected loss of the best of three draws from the range: 0 is the best on the grid, 1 is chance
width     median decades from minimum to maximum
fail      sweeps with no range or min >= max; these count as not covering, at the full space's speed-up and
          regret

The calibration tasks are 62 made to break rules, 72 everyday ones and 400 drawn at random; held out are 72
more everyday ones, with other optimizers, batch sizes and lengths, and 180 more drawn ones. The default
rule's constants were chosen on the calibration tasks and 17 of another bench, one fifth left out in turn,
and rounded. Half of the held-out tasks were then scored; two falls, a clip, the growth and a width were
moved once more, on the calibration tasks; the other half was measured and scored after that.

What gave something, in ranges of 100 that contain the best rate at the same speed-up, on everyday, hand-
made and drawn calibration tasks; each was left out, with the offsets fitted again:

- where half and where 99% of the descent is done, in place of 95% alone: 0, 2, 2 in sweeps of one epoch, 3,
  3, 2 in those of 100 batches, 2, 2, 0 in those of 300.
- lower rates where the descent is clear, in standard deviations of one batch's loss: 0, 0, 1; 1, 0, 3; 1,
  1, 2.
- divergence without a descent as a bound from above, in place of one more reading: 0, 4, 5; 1, 1, 2; 0, 0,
  1.
- usual rates of Adagrad and Lion as measured: 0, 2, 0; -1, 3, 1; 0, 2, 2.
- a range that grows with the disagreement of prior and curve: -2, 1, 1; 6, 1, 3; 3, 0, 3. Growing to both
  sides is worth 1 more than toward the curve alone.
- the momentum of SGD, where it is known: 0.2 in speed-up. The curve does not tell it: classifiers on all
  landmarks separate the two with an area under the curve of 0.4 to 0.7.

What gave nothing beyond noise: log instead of linear losses; a Student-t product of prior and curve, and
other redescending pulls; the rates of a tenth and of nine tenths of the descent, its steepest point, the
minimum, the turn, the edge, and how high the loss goes, beside the two landmarks; the size of the good
window as predicted from the curve; a law for each optimizer.

How much more there is: forests and boosted trees on thirty landmarks, the optimizer, batch size and length,
trained on all calibration tasks, with widths of their own, reach on the held-out everyday tasks, at 88% of
the best rates inside, x4.37 after 300 batches where the rule reaches x4.23, and x4.57 where momentum is
known. The drawn tasks are harder: x3.56 and x3.62 where the rule reaches x3.42. So a bound of about x4.4
stands for one sweep of 300 batches whose optimizer's class is known. Ridge regression on fewer tasks, of
some 80, did no better than a rule by hand: with 548 it does.

What a second stage would give, measured with an earlier version on 76 drawn tasks: 37 batches from fresh
weights at each of four constant rates, a quarter and three quarters of a decade around the centre, are 148
batches more. The lowest final loss, weighed against the centre, makes ranges of 1.3 decades better after a
sweep of one epoch (any, best and speed-up 89%, 75%, x3.68 become 93%, 77%, x4.11) and of 100 batches (93%,
73%, x3.86 become 94%, 80%, x4.19), but not after one of 300 (93%, 81%, x4.14 become 92%, 80%, x4.24): a
sweep of 300 batches is as good for as many. Even 40 batches at each of 25 rates in six decades, 1,000 more,
do hardly better than that sweep, so what is left is not in the first few hundred batches. Two sweeps of 150
batches from different seeds, averaged, are as good as one of 150 (95%, 78%, x4.10 and 94%, 77%, x4.08), and
less good than one of 300 (93%, 81%, x4.23). Not tried: sweeps downwards.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parents[1] / "runs" / "range_quality"
SWEEP = (1e-7, 10.0)
SWEEP_LENGTHS = ("epoch", 100, 300)
HINTS = {"train_steps", "optimizer", "batch_size", "momentum"}
FULL = (-6.0, 1.0)  # log10 of the space that users declare, to which a rule's speed-up refers
QUICK = (
    "digits_mlp_sgd",
    "wine_raw_adam",
    "huber_outliers_rms",
    "cancer_raw_adamw",
    "digits_small_mom",
    "tokens_bag_adam",
    "everyday_iris_mlp_mom",
    "drawn498_breast_cancer_adam",
)


# --- Data: standard sets of scikit-learn and generated ones ---------------------------------------


class Split(NamedTuple):
    """Inputs and targets to train and to validate on."""

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray


def split(x: Any, y: Any, validation: float = 0.3) -> Split:
    order = np.random.default_rng(0).permutation(len(x))
    x, y = np.asarray(x, np.float32)[order], np.asarray(y)[order]
    y = y.astype(np.int32 if y.dtype.kind in "iu" else np.float32)
    n = round(len(x) * validation)
    return Split(x[n:], y[n:], x[:n], y[:n])


def standardise(x: Any) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return (x - x.mean(0)) / (x.std(0) + 1e-9)


def digits(
    shape: tuple[int, ...] = (64,), scale: float = 1 / 16, size: int = 1797, noise: float = 0.0
) -> Split:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    s = split(x[:size].reshape(-1, *shape) * scale, y[:size])
    return flip(s, noise, 10) if noise else s


def flip(s: Split, share: float, classes: int) -> Split:
    """Label noise: a share of the training labels is drawn at random."""
    rng = np.random.default_rng(1)
    noisy = np.where(rng.random(len(s.y)) < share, rng.integers(0, classes, len(s.y)), s.y)
    return s._replace(y=noisy.astype(np.int32))


def table(loader: str, raw: bool = False, raw_target: bool = False, column: bool = False) -> Split:
    """A data set of scikit-learn; `raw` keeps the inputs' units, `column` makes a target of [n, 1]."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{loader}")(return_X_y=True)
    if column:
        y = (y if raw_target else standardise(y)).reshape(len(y), -1)
    return split(x if raw else standardise(x), y)


def made(
    kind: str, samples: int = 1500, scale: float = 1.0, target_scale: float = 1.0, **kwargs: Any
) -> Split:
    """A generator of scikit-learn, standardised and then scaled; regression targets become [n, outputs]."""
    from sklearn import datasets

    x, y = getattr(datasets, f"make_{kind}")(n_samples=samples, random_state=3, **kwargs)
    if y.dtype.kind == "f":
        y = standardise(y).reshape(len(y), -1) * target_scale
    return split(standardise(x) * scale, y)


def words(
    samples: int = 1500, vocabulary: int = 400, length: int = 25, classes: int = 4, weighted: bool = False
) -> Split:
    """Sparse bags of words; each class prefers words of its own."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, classes, samples)
    frequency = rng.dirichlet(np.full(vocabulary, 0.1), classes) + 1 / vocabulary
    frequency /= frequency.sum(1, keepdims=True)
    x = np.array([rng.multinomial(length, frequency[c]) for c in y], float)
    if weighted:
        x *= np.log(samples / (1 + (x > 0).sum(0)))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return split(x, y)


def tokens(samples: int = 1500, length: int = 10, vocabulary: int = 8) -> Split:
    """Sequences of tokens; the class says whether 0 comes before 1, and whether 2 occurs."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, vocabulary, (samples, length))
    first = np.where((x == 0).any(1), (x == 0).argmax(1), length) < np.where(
        (x == 1).any(1), (x == 1).argmax(1), length
    )
    return split(x, 2 * first + (x == 2).any(1))


def waves(samples: int = 1200, length: int = 10) -> Split:
    """Noisy waves of three shapes."""
    rng = np.random.default_rng(6)
    y = rng.integers(0, 3, samples)
    phase = (np.arange(length) / length * rng.uniform(1, 2, (samples, 1)) + rng.random((samples, 1))) % 1
    shapes = np.stack([np.sin(2 * np.pi * phase), np.sign(phase - 0.5), 2 * phase - 1])
    x = shapes[y, np.arange(samples)] + 0.3 * rng.normal(size=(samples, length))
    return split(x[..., None], y)


def adding(samples: int = 1500, length: int = 8) -> Split:
    """Sequences of numbers, two of which are marked; the target is their sum."""
    rng = np.random.default_rng(7)
    x = np.zeros((samples, length, 2))
    x[..., 0] = rng.random((samples, length))
    for row in x:
        row[rng.choice(length, 2, replace=False), 1] = 1
    return split(x, (x[..., 0] * x[..., 1]).sum(1, keepdims=True) - 1)


def stripes(samples: int = 1200, size: int = 8) -> Split:
    """Noisy images of stripes in four directions."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, 4, samples)
    i, j = np.mgrid[:size, :size]
    angle = y[:, None, None] * np.pi / 4
    phase = i * np.cos(angle) + j * np.sin(angle) + rng.uniform(0, 6, (samples, 1, 1))
    return split((np.sin(1.5 * phase) + rng.normal(size=phase.shape))[..., None], y)


def counts(samples: int = 1500) -> Split:
    """Counts with a log-linear rate, for the Poisson loss."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(samples, 12))
    return split(
        x,
        rng.poisson(np.exp(0.5 * x[:, 0] - 0.5 * x[:, 1] + 0.3 * x[:, 2] * x[:, 3]))
        .reshape(-1, 1)
        .astype(float),
    )


def outliers(samples: int = 1500) -> Split:
    """A regression in which one target in twenty is far off."""
    s = made("friedman1", samples, noise=0.5)
    far = np.random.default_rng(10).random(len(s.y)) < 0.05
    return s._replace(y=np.where(far[:, None], s.y * 20, s.y).astype(np.float32))


def itself(s: Split) -> Split:
    """Inputs as targets."""
    return Split(s.x, s.x, s.x_val, s.x_val)


def directions(s: Split, classes: int = 10, size: int = 16) -> Split:
    """A random unit vector for each class as target."""
    v = np.random.default_rng(11).normal(size=(classes, size)).astype(np.float32)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return s._replace(y=v[s.y], y_val=v[s.y_val])


def multilabel(samples: int = 1200) -> Split:
    s = made("multilabel_classification", samples, n_features=20, n_classes=6, n_labels=2)
    return s._replace(y=s.y.astype(np.float32), y_val=s.y_val.astype(np.float32))


def rare(samples: int = 2000) -> Split:
    """Two classes, one of them a twentieth of the data."""
    return made("classification", samples, n_features=20, n_informative=6, weights=[0.95], flip_y=0)


# --- Models ---------------------------------------------------------------------------------------


def layers() -> Any:
    import keras

    return keras.layers


def mlp(
    widths: tuple[int, ...],
    outputs: int,
    activation: str = "relu",
    bn: bool = False,
    dropout: float = 0.0,
    **kw: Any,
) -> Any:
    import keras

    stack = []
    for width in widths:
        stack.append(layers().Dense(width, **kw))
        if bn:
            stack.append(layers().BatchNormalization())
        stack.append(layers().Activation(activation))
        if dropout:
            stack.append(layers().Dropout(dropout))
    return keras.Sequential([*stack, layers().Dense(outputs)])


def residual(depth: int, width: int, outputs: int) -> Any:
    import keras

    def build(inputs: Any) -> Any:
        h = layers().Dense(width)(inputs)
        for _ in range(depth):
            h = h + layers().Dense(width)(layers().Activation("gelu")(layers().LayerNormalization()(h)))
        return layers().Dense(outputs)(h)

    inputs = keras.Input((64,))
    return keras.Model(inputs, build(inputs))


def cnn(outputs: int, filters: int = 8, bn: bool = False, dropout: float = 0.0, pool: bool = False) -> Any:
    import keras

    stack = []
    for strides in (1, 2):
        stack.append(layers().Conv2D(filters * strides, 3, strides=strides))
        if bn:
            stack.append(layers().BatchNormalization())
        stack.append(layers().Activation("relu"))
    stack.append(layers().GlobalAveragePooling2D() if pool else layers().Flatten())
    if dropout:
        stack.append(layers().Dropout(dropout))
    return keras.Sequential([*stack, layers().Dense(outputs)])


def recurrent(cell: str, units: int, outputs: int) -> Any:
    import keras

    return keras.Sequential([getattr(layers(), cell)(units, unroll=True), layers().Dense(outputs)])


def conv1d(outputs: int) -> Any:
    import keras

    k = layers()
    return keras.Sequential(
        [
            k.Conv1D(16, 3, activation="relu"),
            k.Conv1D(16, 3, activation="relu"),
            k.GlobalMaxPooling1D(),
            k.Dense(outputs),
        ]
    )


def transformer(outputs: int, width: int = 16, length: int = 10, vocabulary: int = 8, blocks: int = 1) -> Any:
    import keras

    k = layers()
    inputs = keras.Input((length,))
    h = k.Embedding(vocabulary, width)(inputs) + k.Embedding(length, width)(keras.ops.arange(length))
    for _ in range(blocks):
        n = k.LayerNormalization()(h)
        h = h + k.MultiHeadAttention(2, width // 2)(n, n)
        h = h + k.Dense(width)(k.Dense(2 * width, activation="gelu")(k.LayerNormalization()(h)))
    return keras.Model(inputs, k.Dense(outputs)(k.GlobalAveragePooling1D()(k.LayerNormalization()(h))))


def bag(outputs: int, vocabulary: int = 8) -> Any:
    import keras

    k = layers()
    return keras.Sequential(
        [k.Embedding(vocabulary, 16), k.Flatten(), k.Dense(32, activation="relu"), k.Dense(outputs)]
    )


# --- Losses: each gives one number for each example -----------------------------------------------


def crossentropy(y: Any, z: Any) -> Any:
    import keras

    return keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)


def binary(y: Any, z: Any) -> Any:
    import keras

    return keras.ops.mean(keras.ops.binary_crossentropy(y, z, from_logits=True), axis=-1)


def squared(y: Any, z: Any) -> Any:
    import keras

    return keras.ops.mean(keras.ops.square(y - z), axis=tuple(range(1, len(z.shape))))


def absolute(y: Any, z: Any) -> Any:
    import keras

    return keras.ops.mean(keras.ops.abs(y - z), axis=-1)


def huber(y: Any, z: Any) -> Any:
    import keras

    return keras.losses.huber(y, z)


def poisson(y: Any, z: Any) -> Any:
    import keras

    return keras.ops.mean(keras.ops.exp(z) - y * z, axis=-1)


def gaussian(y: Any, z: Any) -> Any:
    """Negative log likelihood of a mean and a log standard deviation; negative where the fit is close."""
    import keras

    mean, log_std = z[:, :1], z[:, 1:]
    return keras.ops.mean(log_std + 0.5 * keras.ops.square((y - mean) * keras.ops.exp(-log_std)), axis=-1)


def cosine(y: Any, z: Any) -> Any:
    import keras

    return keras.losses.cosine_similarity(y, z)


def hinge(y: Any, z: Any) -> Any:
    import keras

    hot = keras.ops.one_hot(y, z.shape[-1])
    return keras.losses.categorical_hinge(hot, z)


def linear(loss: Callable, scale: float = 1.0, shift: float = 0.0) -> Callable:
    """The loss, scaled and shifted."""
    return lambda y, z: loss(y, z) * scale + shift


# --- Tasks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What to train and how.

    `optimizer` is the name of a Keras optimizer with its arguments.  `warm` steps at the rate `warm_rate`
    come before everything else and stand for pre-training.  `per_decade` and `seeds` size the grid of the
    truth.
    """

    name: str
    data: Callable[[], Split]
    model: Callable[[], Any]
    loss: Callable
    optimizer: tuple[str, dict[str, Any]]
    batch: int
    epochs: int
    outputs: int = 0  # width of the prediction when it isn't that of the target
    warm: int = 0
    warm_rate: float = 1e-3
    per_decade: int = 4
    seeds: int = 3


SGD = ("SGD", {})
MOMENTUM = ("SGD", {"momentum": 0.9})
NESTEROV = ("SGD", {"momentum": 0.9, "nesterov": True})
ADAM = ("Adam", {})
ADAMW = ("AdamW", {"weight_decay": 0.01})
RMSPROP = ("RMSprop", {})
ADAGRAD = ("Adagrad", {})

# fmt: off
CALIBRATION = [
    Task("digits_mlp_sgd", digits, lambda: mlp((64,), 10), crossentropy, SGD, 64, 10),
    Task("digits_cnn_adam", lambda: digits((8, 8, 1)), lambda: cnn(10), crossentropy, ADAM, 32, 5),
    Task("digits_deep_mom", digits, lambda: mlp((32,) * 6, 10), crossentropy, MOMENTUM, 32, 8),
    Task("digits_raw_adam", lambda: digits(scale=1.0), lambda: mlp((32,), 10), crossentropy, ADAM, 64, 10),
    Task("wine_raw_adam", lambda: table("wine", raw=True), lambda: mlp((32,), 3), crossentropy, ADAM, 16, 30),
    Task("diabetes_target_rms", lambda: table("diabetes", raw_target=True, column=True),
         lambda: mlp((32,), 1), squared, RMSPROP, 32, 30),
    Task("friedman_x100_sgd", lambda: made("friedman1"), lambda: mlp((32,), 1), linear(squared, 100), SGD, 32,
         8),
    Task("moons_small_mom", lambda: made("moons", noise=0.2), lambda: mlp((32,), 2),
         linear(crossentropy, 0.03), MOMENTUM, 32, 12),
    Task("digits_cosine_adam", lambda: directions(digits()), lambda: mlp((64,), 16), cosine, ADAM, 64, 10),
    Task("friedman_gaussian_adam", lambda: made("friedman2"), lambda: mlp((32, 32), 2), gaussian, ADAM, 32, 8,
         outputs=2),
    Task("digits_shifted_mom", digits, lambda: mlp((32,), 10), linear(crossentropy, 1, -3), MOMENTUM, 32, 6),
    Task("iris_tiny_adam", lambda: table("iris"), lambda: mlp((16,), 3), crossentropy, ADAM, 64, 80),
    Task("digits_batch512_sgd", digits, lambda: mlp((64,), 10), crossentropy, SGD, 512, 60),
    Task("digits_noise_mom", lambda: digits(noise=0.4), lambda: mlp((64,), 10, dropout=0.2), crossentropy,
         MOMENTUM, 32, 6),
    Task("words_adam", words, lambda: mlp((32,), 4), crossentropy, ADAM, 32, 6),
    Task("digits_warm_adam", digits, lambda: mlp((64,), 10), crossentropy, ADAM, 32, 6, warm=80),
    Task("moons_long_adam", lambda: made("moons", 1000, noise=0.25), lambda: mlp((8,), 2), crossentropy, ADAM,
         32, 910, per_decade=2, seeds=2),
    Task("adding_gru_rms", adding, lambda: recurrent("GRU", 12, 1), squared, RMSPROP, 32, 8),
    Task("tokens_transformer_adam", tokens, lambda: transformer(4), crossentropy, ADAM, 64, 14, seeds=2),
    Task("digits_ae_nadam", lambda: itself(digits()), lambda: mlp((32, 8, 32), 64), squared, ("Nadam", {}),
         64, 12),
    Task("digits_bn_cnn_mom", lambda: digits((8, 8, 1)), lambda: cnn(10, bn=True), crossentropy, MOMENTUM, 64,
         6, seeds=2),
    Task("quantiles_dropout_adamw", lambda: made("gaussian_quantiles", n_classes=3, n_features=6),
         lambda: mlp((64, 64), 3, dropout=0.5), crossentropy, ADAMW, 64, 15),
    Task("circles_lion", lambda: made("circles", noise=0.1, factor=0.5), lambda: mlp((32,), 2), crossentropy,
         ("Lion", {}), 32, 8),
    Task("friedman_adagrad", lambda: made("friedman3"), lambda: mlp((32,), 1), squared, ADAGRAD, 32, 8),
    Task("digits_wide_adam", digits, lambda: mlp((1024,), 10), crossentropy, ADAM, 64, 5, seeds=2),
    Task("swiss_nesterov", lambda: made("swiss_roll"), lambda: mlp((32, 32), 1, "tanh"), squared, NESTEROV,
         32, 10),
    Task("blobs_batch8_rms", lambda: made("blobs", 800, centers=6, n_features=5, cluster_std=4.0),
         lambda: mlp((16,), 6), crossentropy, RMSPROP, 8, 5),
    Task("huber_outliers_rms", outliers, lambda: mlp((32,), 1), huber, RMSPROP, 64, 15),
    Task("cancer_linear_sgd", lambda: table("breast_cancer"), lambda: mlp((), 2), crossentropy, SGD, 16, 10),
    Task("waves_conv_adamw", waves, lambda: conv1d(3), crossentropy, ADAMW, 32, 10),
    Task("stripes_cnn_mom", stripes, lambda: cnn(4, pool=True), crossentropy, MOMENTUM, 32, 8, seeds=2),
    Task("digits_tanh_adamw", digits, lambda: mlp((48, 48), 10, "tanh"), crossentropy, ADAMW, 32, 6),
    Task("digits_residual_adam", digits, lambda: residual(6, 32, 10), crossentropy, ADAM, 64, 8, seeds=2),
    Task("cancer_raw_adamw", lambda: table("breast_cancer", raw=True), lambda: mlp((32,), 2), crossentropy,
         ADAMW, 32, 30),
    Task("diabetes_target_sgd", lambda: table("diabetes", raw_target=True, column=True),
         lambda: mlp((16,), 1), squared, SGD, 32, 20),
    Task("wine_x100_adam", lambda: table("wine"), lambda: mlp((16,), 3), linear(crossentropy, 100), ADAM, 16,
         20),
    Task("digits_small_mom", digits, lambda: mlp((32,), 10), linear(crossentropy, 0.03), MOMENTUM, 32, 8),
    Task("swiss_gaussian_rms", lambda: made("swiss_roll"), lambda: mlp((32, 32), 2), gaussian, RMSPROP, 32,
         10, outputs=2),
    Task("stripes_cosine_sgd", lambda: directions(stripes(), 4, 8), lambda: cnn(8), cosine, SGD, 32, 10,
         seeds=2),
    Task("friedman_shifted_sgd", lambda: made("friedman2"), lambda: mlp((32,), 1), linear(squared, 1, -2),
         SGD, 16, 5),
    Task("linear_tiny_adam",
         lambda: made("classification", 90, n_features=20, n_informative=8, class_sep=2.0),
         lambda: mlp((32,), 2), crossentropy, ADAM, 16, 50),
    Task("quantiles_batch512_adam", lambda: made("gaussian_quantiles", 3000, n_classes=4, n_features=5),
         lambda: mlp((64,), 4), crossentropy, ADAM, 512, 50),
    Task("friedman_noise_adam", lambda: made("friedman1", noise=10.0), lambda: mlp((32,), 1), squared, ADAM,
         32, 6),
    Task("words_tfidf_adagrad", lambda: words(weighted=True), lambda: mlp((32,), 4), crossentropy, ADAGRAD,
         32, 10),
    Task("stripes_warm_sgd", stripes, lambda: cnn(4), crossentropy, SGD, 32, 6, warm=60, warm_rate=0.03,
         seeds=2),
    Task("friedman_long_sgd", lambda: made("friedman1", 1000, noise=1.0), lambda: mlp((8,), 1), squared, SGD,
         32, 910, per_decade=2, seeds=2),
    Task("waves_lstm_adam", waves, lambda: recurrent("LSTM", 12, 3), crossentropy, ADAM, 32, 8, seeds=2),
    Task("tokens_transformer_adamw", lambda: tokens(2000), lambda: transformer(4, width=16, blocks=2),
         crossentropy, ADAMW, 128, 16, seeds=2),
    Task("stripes_ae_rms", lambda: itself(split(*_flat(stripes()))), lambda: mlp((64, 8, 64), 64), squared,
         RMSPROP, 64, 12),
    Task("cancer_bn_rms", lambda: table("breast_cancer"), lambda: mlp((32, 32), 2, bn=True), crossentropy,
         RMSPROP, 32, 15),
    Task("digits_dropout_cnn_adam", lambda: digits((8, 8, 1)), lambda: cnn(10, dropout=0.5), crossentropy,
         ADAM, 64, 8, seeds=2),
    Task("multilabel_lion", multilabel, lambda: mlp((32,), 6), binary, ("Lion", {}), 32, 10),
    Task("digits_adamax", digits, lambda: mlp((64,), 10), crossentropy, ("Adamax", {}), 32, 6),
    Task("regression_adafactor", lambda: made("regression", n_features=15, n_informative=10, noise=20.0),
         lambda: mlp((32,), 1), squared, ("Adafactor", {}), 32, 8),
    Task("digits_deep_adam", digits, lambda: mlp((32,) * 12, 10), crossentropy, ADAM, 32, 8, seeds=2),
    Task("iris_batch8_sgd", lambda: table("iris"), lambda: mlp((16,), 3), crossentropy, SGD, 8, 20),
    Task("counts_nesterov", counts, lambda: mlp((32,), 1), poisson, NESTEROV, 32, 8),
    Task("digits_hinge_mom", lambda: digits(size=900), lambda: mlp((32,), 10), hinge, MOMENTUM, 16, 8),
    Task("rare_rms", rare, lambda: mlp((32,), 2), crossentropy, RMSPROP, 64, 12),
    Task("scaled_absolute_adam", lambda: made("regression", 600, n_features=10, n_targets=3, scale=30.0),
         lambda: mlp((32,), 3), absolute, ADAM, 32, 20),
    Task("tokens_bag_adam", tokens, lambda: bag(4), crossentropy, ADAM, 32, 10),
    Task("moons_long_mom", lambda: made("moons", 1000, noise=0.2), lambda: mlp((8,), 2), crossentropy,
         MOMENTUM, 16, 460, per_decade=2, seeds=2),
]
# fmt: on


def drawn(index: int) -> Task:
    """A task drawn at random, so that nobody's idea of a typical task decides what is held out.

    Three in ten tables have inputs of an unusual scale, and as many regressions have such targets; two in
    ten losses are scaled by 1/30 to 100.
    """
    rng = np.random.default_rng(7_000 + index)

    def some(chance: float, low: float, high: float) -> float:
        """A power of ten with this chance, else 1."""
        power = 10.0 ** rng.uniform(low, high)
        return power if rng.random() < chance else 1.0

    optimizer = [SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, ADAGRAD, ("Nadam", {}), ("Adamax", {})]
    optimizer = [*optimizer, ("Lion", {}), ("Adafactor", {})]
    share = np.array([5, 5, 2, 8, 4, 4, 1, 1, 1, 1, 1])
    chosen = optimizer[int(rng.choice(len(share), p=share / share.sum()))]
    batch = int(rng.choice([8, 16, 32, 64, 128]))
    steps = int(10 ** rng.uniform(2, 2.7))
    scale, target = some(0.3, -1.5, 1.5), some(0.3, -1, 2)
    factor = some(0.2, -1.5, 2)
    noise = float(rng.choice([0.0, 0.3], p=[0.85, 0.15]))
    widths = (int(2 ** rng.integers(4, 8)),) * int(rng.integers(1, 5))
    style = {
        "activation": str(rng.choice(["relu", "tanh", "gelu"])),
        "bn": bool(rng.random() < 0.2),
        "dropout": float(rng.choice([0.0, 0.3], p=[0.8, 0.2])),
    }
    classes = {"blobs": 4, "moons": 2, "circles": 2, "gaussian_quantiles": 3, "classification": 3}
    options: dict[str, dict[str, Any]] = {
        "blobs": {"centers": 4, "n_features": 6, "cluster_std": 4.0},
        "moons": {"noise": 0.25},
        "circles": {"noise": 0.15, "factor": 0.5},
        "gaussian_quantiles": {"n_features": 5, "n_classes": 3},
        "classification": {"n_features": 20, "n_informative": 10, "n_classes": 3},
        "regression": {"n_features": 12, "noise": 30.0},
        "friedman1": {"noise": 1.0},
    }
    kinds = [*classes, "digits", "wine", "breast_cancer", "words", "diabetes", "friedman1", "friedman2"]
    kinds = [
        *kinds,
        "friedman3",
        "swiss_roll",
        "regression",
        "images",
        "stripes",
        "waves",
        "adding",
        "tokens",
    ]
    kind = str(rng.choice(kinds))
    samples = int(rng.integers(600, 2000))
    loss, heavy = crossentropy, False
    if kind in classes:
        n = classes[kind]
        data, model = lambda: made(kind, samples, scale, **options[kind]), lambda: mlp(widths, n, **style)
    elif kind == "digits":
        data, model = lambda: digits(scale=scale / 16, noise=noise), lambda: mlp(widths, 10, **style)
    elif kind in ("wine", "breast_cancer"):
        raw = bool(rng.random() < 0.3)
        data, model = lambda: table(kind, raw=raw), lambda: mlp(widths, 3, **style)
        batch = min(batch, 32)
    elif kind == "words":
        data, model = lambda: words(samples), lambda: mlp(widths, 4, **style)
    elif kind == "diabetes":
        raw, loss, batch = bool(rng.random() < 0.3), squared, min(batch, 32)
        data, model = lambda: table(kind, raw_target=raw, column=True), lambda: mlp(widths, 1, **style)
    elif kind in ("images", "stripes"):
        data = (lambda: digits((8, 8, 1), noise=noise)) if kind == "images" else stripes
        bn, n, heavy = style["bn"], 10 if kind == "images" else 4, True
        model = lambda: cnn(n, bn=bn, dropout=style["dropout"])  # noqa: E731
    elif kind == "waves":
        cell = str(rng.choice(["GRU", "LSTM", "conv"]))
        data, heavy = waves, True
        model = lambda: conv1d(3) if cell == "conv" else recurrent(cell, 12, 3)  # noqa: E731
    elif kind == "adding":
        data, model, loss, heavy = adding, lambda: recurrent("GRU", 12, 1), squared, True
    elif kind == "tokens":
        attention = bool(rng.random() < 0.5)
        data, heavy = tokens, attention
        model = lambda: transformer(4) if attention else bag(4)  # noqa: E731
    else:
        loss = [squared, squared, huber, absolute][int(rng.integers(4))]
        data = lambda: made(kind, samples, scale, target, **options.get(kind, {}))  # noqa: E731
        model = lambda: mlp(widths, 1, **style)  # noqa: E731
    rows = len(data().x)
    epochs = max(2, round((min(steps, 350) if heavy else steps) / (rows / batch)))
    scaled = loss if factor == 1 else linear(loss, factor)
    name = chosen[0].lower() if chosen[0] != "SGD" else "mom" if chosen[1] else "sgd"
    name = f"drawn{index:02d}_{kind}_{name}"
    return Task(name, data, model, scaled, chosen, batch, epochs, seeds=2 if heavy else 3)


def four(scale: float = 1.0, noise: float = 0.0) -> Split:
    s = made("classification", 2700, scale, n_features=20, n_informative=10, n_classes=4)
    return flip(s, noise, 4) if noise else s


# Tasks as people have them: data, model, loss, batch size, epochs.
# fmt: off
EVERYDAY: dict[str, tuple[Callable[[], Split], Callable[[], Any], Callable, int, int]] = {
    "digits_mlp": (digits, lambda: mlp((64,), 10), crossentropy, 32, 8),
    "digits_mlp2": (digits, lambda: mlp((128, 64), 10, dropout=0.3), crossentropy, 64, 10),
    "digits_cnn": (lambda: digits((8, 8, 1)), lambda: cnn(10), crossentropy, 64, 8),
    "digits_cnnbn": (lambda: digits((8, 8, 1)), lambda: cnn(10, 16, bn=True), crossentropy, 64, 8),
    "digits_deep": (digits, lambda: mlp((64,) * 5, 10), crossentropy, 32, 10),
    "digits_sigmoid": (digits, lambda: mlp((64, 64), 10, "sigmoid"), crossentropy, 32, 10),
    "digits_tanh": (digits, lambda: mlp((64, 64), 10, "tanh"), crossentropy, 32, 8),
    "digits_raw": (lambda: digits(scale=1.0), lambda: mlp((64,), 10), crossentropy, 32, 8),
    "digits_ae": (lambda: itself(digits()), lambda: mlp((32, 8, 32), 64), squared, 32, 8),
    "digits_bnmlp": (digits, lambda: mlp((64, 64), 10, bn=True), crossentropy, 128, 10),
    "digits_noise": (lambda: digits(noise=0.3), lambda: mlp((128,), 10), crossentropy, 64, 8),
    "gru_adding": (adding, lambda: recurrent("GRU", 16, 1), squared, 32, 8),
    "lstm_waves": (waves, lambda: recurrent("LSTM", 16, 3), crossentropy, 64, 12),
    "gru_waves": (waves, lambda: recurrent("GRU", 16, 3), crossentropy, 32, 8),
    "conv_waves": (waves, lambda: conv1d(3), crossentropy, 32, 8),
    "transformer": (lambda: tokens(2200), lambda: transformer(4), crossentropy, 64, 12),
    "bag": (tokens, lambda: bag(4), crossentropy, 32, 8),
    "diabetes_norm": (lambda: table("diabetes", column=True), lambda: mlp((32,), 1), squared, 32, 12),
    "diabetes_raw": (lambda: table("diabetes", raw_target=True, column=True), lambda: mlp((32,), 1), squared,
                     32, 20),
    "bc_mlp": (lambda: table("breast_cancer"), lambda: mlp((32,), 2), crossentropy, 16, 10),
    "bc_raw": (lambda: table("breast_cancer", raw=True), lambda: mlp((32,), 2), crossentropy, 32, 15),
    "wine_mlp": (lambda: table("wine"), lambda: mlp((32,), 3), crossentropy, 16, 15),
    "wine_raw": (lambda: table("wine", raw=True), lambda: mlp((32,), 3), crossentropy, 16, 20),
    "iris_mlp": (lambda: table("iris"), lambda: mlp((16,), 3), crossentropy, 16, 25),
    "noise_mlp": (lambda: four(noise=0.3), lambda: mlp((64, 64), 4), crossentropy, 64, 6),
    "scaled_inputs": (lambda: four(scale=30.0), lambda: mlp((64,), 4), crossentropy, 64, 6),
    "small_inputs": (lambda: four(scale=0.03), lambda: mlp((64,), 4), crossentropy, 64, 8),
    "resmlp_ln": (digits, lambda: residual(4, 64, 10), crossentropy, 128, 10),
    "class_mlp": (four, lambda: mlp((64, 64), 4), crossentropy, 32, 5),
    "friedman_norm": (lambda: made("friedman1", noise=1.0), lambda: mlp((64,), 1), squared, 32, 8),
    "friedman_raw": (lambda: made("friedman2", target_scale=300.0), lambda: mlp((64,), 1), squared, 32, 10),
    "friedman_huber": (lambda: made("friedman3"), lambda: mlp((64, 64), 1), huber, 64, 12),
    "swiss": (lambda: made("swiss_roll"), lambda: mlp((64, 64), 1), squared, 32, 10),
    "moons": (lambda: made("moons", noise=0.2), lambda: mlp((32, 32), 2), crossentropy, 32, 8),
    "stripes_cnn": (stripes, lambda: cnn(4), crossentropy, 32, 8),
    "words": (words, lambda: mlp((64,), 4), crossentropy, 32, 6),
}
EVERYDAY_OPTIMIZERS: dict[str, tuple[tuple[str, dict[str, Any]], float]] = {
    "sgd": (SGD, 0.18),
    "mom": (MOMENTUM, 0.16),
    "adam": (ADAM, 0.34),
    "adamw": (ADAMW, 0.12),
    "rms": (RMSPROP, 0.12),
    "adagrad": (ADAGRAD, 0.04),
    "lion": (("Lion", {}), 0.04),
}
# fmt: on


def everyday() -> tuple[list[Task], list[Task]]:
    """Each everyday task with two optimizers for calibration, and twice with another one, held out.

    Those held out have batch sizes and lengths of their own.  Optimizers are drawn by how common they are.
    """
    shares = np.array([share for _, share in EVERYDAY_OPTIMIZERS.values()])
    names = list(EVERYDAY_OPTIMIZERS)
    left = {family: list(names) for family in EVERYDAY}
    groups: tuple[list[Task], list[Task]] = ([], [])
    for seed, count in ((2026, 2), (77, 1), (99, 1)):
        rng = np.random.default_rng(seed)
        for family, (data, model, loss, batch, epochs) in EVERYDAY.items():
            free = [names.index(name) for name in left[family]]
            chosen = rng.choice(
                len(free), count if count > 1 else None, False, shares[free] / shares[free].sum()
            )
            seeds = 2 if family.startswith(("gru", "lstm", "transformer")) else 3
            size, length = batch, epochs
            if count == 1:
                size = int(rng.choice([16, 32, 64, 128]))
                length = max(3, round(epochs * rng.choice([0.7, 1, 1.5]) * size / batch))
            for name in [names[free[k]] for k in np.atleast_1d(chosen)]:
                left[family].remove(name)
                optimizer = EVERYDAY_OPTIMIZERS[name][0]
                task = Task(
                    f"everyday_{family}_{name}", data, model, loss, optimizer, size, length, seeds=seeds
                )
                groups[count == 1].append(task)
    return groups


# Those drawn first were held out once, and have been looked at since.
_calibration, _held_out = everyday()
CALIBRATION += [*_calibration, *(drawn(index) for index in range(400))]
HELD_OUT = [*_held_out, *(drawn(index) for index in range(400, 580))]
TASKS = {
    t.name: (half, t) for half, group in (("calibration", CALIBRATION), ("heldout", HELD_OUT)) for t in group
}


def _flat(s: Split) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate([s.x, s.x_val])
    return x.reshape(len(x), -1), np.concatenate([s.y, s.y_val])


# --- Measuring ------------------------------------------------------------------------------------


class Lab:
    """One task, traced once: any number of runs from any seed at any rates."""

    def __init__(self, task: Task):
        import keras
        import tensorflow as tf

        self.task = task
        self.split = s = task.data()
        x, y = tf.constant(s.x), tf.constant(s.y)
        keras.utils.set_random_seed(0)
        self.model = model = task.model()
        model(x[:2])
        kind, arguments = task.optimizer
        self.optimizer = optimizer = getattr(keras.optimizers, kind)(**arguments)
        optimizer.build(model.trainable_variables)
        self.fresh = [v.numpy() for v in optimizer.variables]
        self.steps_per_epoch = -(-len(s.x) // task.batch)
        self.steps = self.steps_per_epoch * task.epochs

        @tf.function(autograph=False, reduce_retracing=True)
        def run(order: Any, sizes: Any, rates: Any) -> Any:
            losses = tf.TensorArray(tf.float32, size=0, dynamic_size=True)

            def body(i: Any, losses: Any, _: Any) -> Any:
                rows = order[i][: sizes[i]]
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(
                        task.loss(tf.gather(y, rows), model(tf.gather(x, rows), training=True))
                    ) + sum(model.losses)
                gradients = tape.gradient(loss, model.trainable_variables)
                optimizer.learning_rate.assign(rates[i])
                optimizer.apply(gradients, model.trainable_variables)
                return i + 1, losses.write(i, loss), tf.math.is_finite(loss)

            start = (tf.constant(0), losses, tf.constant(True))
            return tf.while_loop(lambda i, _, ok: ok & (i < tf.shape(rates)[0]), body, start)[1].stack()

        @tf.function(autograph=False, reduce_retracing=True)
        def validate() -> Any:
            return tf.reduce_mean(
                task.loss(tf.constant(s.y_val), model(tf.constant(s.x_val), training=False))
            )

        self._run, self._validate = run, validate

    def start(self, seed: int) -> list[np.ndarray]:
        """Initial values of the model's variables for a seed."""
        import keras

        keras.utils.set_random_seed(1000 + seed)
        model = self.task.model()
        model(self.split.x[:2])
        values = [v.numpy() for v in model.variables]
        if self.task.warm:
            self.train(values, seed, np.full(self.task.warm, self.task.warm_rate))
            values = [v.numpy() for v in self.model.variables]
        return values

    def train(self, values: list[np.ndarray], seed: int, rates: np.ndarray, after: int = 0) -> np.ndarray:
        """Losses of the batches, up to the first that isn't finite, from these initial values.

        Where `after` is given, training goes on from that batch on, with the model as the last call left it.
        """
        if not after:
            for variable, value in zip(self.model.variables, values, strict=True):
                variable.assign(value)
            for variable, value in zip(self.optimizer.variables, self.fresh, strict=True):
                variable.assign(value)
        order, sizes = self.batches(seed, after + len(rates))
        return self._run(order[after:], sizes[after:], rates.astype(np.float32)).numpy()

    def batches(self, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of each batch and their number; the last batch of an epoch may be smaller."""
        rng = np.random.default_rng(seed)
        n, batch = len(self.split.x), self.task.batch
        width = self.steps_per_epoch * batch
        epochs = -(-steps // self.steps_per_epoch)
        order = np.zeros((epochs, width), np.int32)
        for row in order:
            row[:n] = rng.permutation(n)
        last = n - (self.steps_per_epoch - 1) * batch
        sizes = np.tile([batch] * (self.steps_per_epoch - 1) + [last], epochs)
        return order.reshape(-1, batch)[:steps], sizes[:steps].astype(np.int32)

    def validate(self) -> float | None:
        """Validation loss of the model as it is, or None where it isn't finite."""
        loss = float(self._validate())
        return loss if np.isfinite(loss) else None

    def chance(self) -> float:
        """Validation loss of the constant prediction that is best on the training targets."""
        import tensorflow as tf

        s = self.split
        outputs = self.model(s.x[:1]).shape[1:]
        if s.y.dtype.kind == "i":
            share = np.bincount(s.y, minlength=outputs[-1]) / len(s.y)
            first = np.log(share + 1e-6)
        elif self.task.loss is gaussian:
            first = np.array([s.y.mean(), np.log(s.y.std())])
        elif self.task.loss is poisson:
            first = np.log(s.y.mean(0))
        elif self.task.loss is binary:
            first = np.log(s.y.mean(0) / (1 - s.y.mean(0)))
        else:
            first = s.y.mean(0)
        z = tf.Variable(first.astype(np.float32))
        constant = tf.tile(z[None], [len(s.y_val)] + [1] * len(outputs))
        return float(tf.reduce_mean(self.task.loss(s.y_val, constant)))


def measure_task(task: Task, half: str, quick: bool = False) -> dict[str, Any]:
    """Truth and sweeps of one task."""
    lab = Lab(task)
    per_decade, seeds, sweeps = (1, 1, 2) if quick else (task.per_decade, task.seeds, 4)
    rates = np.logspace(-6, 2, 8 * per_decade + 1)
    starts = [lab.start(s) for s in range(max(seeds, sweeps))]
    untrained = []
    val_loss: list[list[float | None]] = [[] for _ in rates]
    for seed in range(seeds):
        lab.train(starts[seed], seed, np.zeros(1))
        untrained.append(lab.validate())
        for row, rate in zip(val_loss, rates, strict=True):
            losses = lab.train(starts[seed], seed, np.full(lab.steps, rate))
            row.append(lab.validate() if np.isfinite(losses).all() else None)
    curves = []
    for length in SWEEP_LENGTHS:
        n = min(lab.steps_per_epoch, 300) if length == "epoch" else length
        for seed in range(sweeps):
            losses = lab.train(starts[seed], 100 + seed, np.geomspace(*SWEEP, n))
            loss = [float(v) if np.isfinite(v) else None for v in losses]
            curves.append(
                {
                    "range": "a",
                    "N": length,
                    "steps": n,
                    "seed": seed,
                    "lo": SWEEP[0],
                    "hi": SWEEP[1],
                    "loss": loss,
                }
            )
    families = {
        "SGD": "mom" if task.optimizer[1] else "sgd",
        "AdamW": "adamw",
        "RMSprop": "rms",
        "Adagrad": "other",
        "Lion": "other",
    }
    truth = {
        "split": half,
        "opt": families.get(task.optimizer[0], "adam"),
        "optimizer": task.optimizer[0],
        "kind": "cls" if lab.split.y.dtype.kind == "i" else "reg",
        "batch": task.batch,
        "epochs": task.epochs,
        "steps_per_epoch": lab.steps_per_epoch,
        "steps": lab.steps,
        "chance": lab.chance(),
        "lrs": rates.tolist(),
        "untrained": untrained,
        "val_loss": val_loss,
    }
    return {"truth": truth, "sweeps": curves}


def measure(data: pathlib.Path, names: list[str], quick: bool) -> None:
    """Measure the tasks that have no file yet, and gather all files."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    folder = data / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    for i, name in enumerate(names, 1):
        file = folder / f"{name}.json"
        if file.exists():
            continue
        half, task = TASKS[name]
        before = time.perf_counter()
        result = measure_task(task, half, quick)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.replace(file)
        keras.backend.clear_session()
        now = time.perf_counter()
        print(
            f"{i:3d}/{len(names)} {name:28s} {now - before:6.1f} s  {now - begun:7.1f} s in all", flush=True
        )
    gather(data)


def gather(data: pathlib.Path) -> None:
    results = {f.stem: json.loads(f.read_text()) for f in sorted((data / "tasks").glob("*.json"))}
    for name, result in results.items():
        result["truth"]["split"] = TASKS[name][0]
    for part in ("truth", "sweeps"):
        (data / f"{part}.json").write_text(json.dumps({name: r[part] for name, r in results.items()}))


# --- Rules that others use, from their public descriptions ----------------------------------------


class Sweep(NamedTuple):
    """A curve and what a rule may know about its task."""

    learning_rates: np.ndarray
    losses: np.ndarray
    optimizer: str


Range = tuple[float, float]  # log10 of minimum and maximum


def average(losses: np.ndarray, decay: float) -> np.ndarray:
    """Exponential moving average, corrected for its start."""
    weights = decay ** np.arange(len(losses))
    return np.array([losses[i::-1] @ weights[: i + 1] / weights[: i + 1].sum() for i in range(len(losses))])


def usable(sweep: Sweep, losses: np.ndarray, times: float) -> tuple[np.ndarray, np.ndarray]:
    """log10 rates and losses up to where the loss exceeds so many times its best, or isn't finite."""
    stop = ~(
        np.isfinite(losses)
        & (losses <= times * np.minimum.accumulate(np.where(np.isnan(losses), np.inf, losses)))
    )
    # The first batches are always kept: negative losses exceed any multiple of themselves at once.
    n = max(2, int(np.argmax(stop))) if stop.any() else len(losses)
    return np.log10(sweep.learning_rates[:n]), losses[:n]


def around(centre: float, half: float = 0.5) -> Range:
    return centre - half, centre + half


def steepest(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2:
        raise ValueError("too few batches")
    return float(x[np.argmin(np.gradient(y))])


def notebook(sweep: Sweep) -> Range:
    """From the steepest descent of the averaged loss to a tenth of the rate at its minimum."""
    x, y = usable(sweep, average(sweep.losses, 0.9), 4)
    return steepest(x, y), float(x[np.argmin(y)]) - 1


def notebook_running(sweep: Sweep) -> Range:
    """The same on what Keras logs: the mean since the sweep began."""
    return notebook(sweep._replace(losses=np.cumsum(sweep.losses) / np.arange(1, len(sweep.losses) + 1)))


def torch_lr_finder(sweep: Sweep) -> Range:
    """Steepest descent of a moving average (0.95), without the first 10 and the last 5 batches."""
    y = [sweep.losses[0]]
    for loss in sweep.losses[1:]:
        y.append(0.05 * loss + 0.95 * y[-1])
    x, smooth = usable(sweep, np.array(y), 5)
    return around(steepest(x[10:-5], smooth[10:-5]))


def lightning(sweep: Sweep) -> Range:
    """Steepest descent of a moving average (0.98), without the first 10 batches and the last."""
    x, y = usable(sweep, average(sweep.losses, 0.98), 4)
    return around(steepest(x[10:-1], y[10:-1]))


def _fastai(sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    x, y = usable(sweep, average(sweep.losses, 0.98), 4)
    skip = len(sweep.losses) // 10
    if len(x) - skip - 5 < 2:
        raise ValueError("too few batches")
    return x[skip:-5], y[skip:-5]


def fastai_minimum(sweep: Sweep) -> Range:
    x, y = _fastai(sweep)
    return around(float(x[np.argmin(y)]) - 1)


def fastai_steep(sweep: Sweep) -> Range:
    x, y = _fastai(sweep)
    return around(float(x[np.argmin(np.diff(y))]))


def longest_descent(y: np.ndarray) -> tuple[int, int]:
    """Last index and number of losses of the longest (not gapless) descending subsequence."""
    length = np.ones(len(y), int)
    for i in range(1, len(y)):
        length[i] += max(length[:i][y[:i] > y[i]], default=0)
    last = int(np.argmax(length))
    return last, int(length[last])


def fastai_valley(sweep: Sweep) -> Range:
    """The middle of as many batches, up to its end, as the longest descent has."""
    x, y = _fastai(sweep)
    last, length = longest_descent(y)
    return around(float(x[max(0, round(last - length / 2))]))


def fastai_slide(sweep: Sweep) -> Range:
    """Slides 15 batches down from the end while the slopes at both sides differ by more than 0.005."""
    x, y = _fastai(sweep)
    slope = np.gradient(y)
    left, right = len(y) - 16, len(y) - 1
    if left < 0:
        raise ValueError("too few batches")
    while left > 0 and abs(slope[right] - slope[left]) > 0.005:
        left, right = left - 1, right - 1
    return around(float(x[left]))


def ktrain(sweep: Sweep) -> Range:
    """Between its two estimates: steepest descent, and a tenth of the rate at the minimum."""
    x, y = usable(sweep, average(sweep.losses, 0.98), 4)
    low, high = sorted((steepest(x, y), float(x[np.argmin(y)]) - 1))
    return low, high


def keras_default(sweep: Sweep) -> Range:
    """No sweep: ten times the default of the optimizer in Keras."""
    return around(-1.0 if sweep.optimizer == "SGD" else -2.0, 0.75)


OTHERS: dict[str, Callable[[Sweep], Range]] = {
    "notebook": notebook,
    "notebook, running mean": notebook_running,
    "torch-lr-finder": torch_lr_finder,
    "Lightning": lightning,
    "fastai minimum/10": fastai_minimum,
    "fastai steep": fastai_steep,
    "fastai valley": fastai_valley,
    "fastai slide": fastai_slide,
    "ktrain": ktrain,
    "Keras default x 10": keras_default,
    "1e-6..10": lambda _: FULL,
    "1e-4..1e-1": lambda _: (-4.0, -1.0),
    "1e-4..1e-2": lambda _: (-4.0, -2.0),
}


# --- Scoring --------------------------------------------------------------------------------------


def named(spec: str) -> Any:
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


class Truth:
    """How good each learning rate is for one task: 0 the best on the grid, 1 chance."""

    POINTS = 401  # on each range

    def __init__(self, measured: dict[str, Any]):
        self.measured = measured
        self.x = np.log10(measured["lrs"])
        rows = [[np.inf if v is None else v for v in row] for row in measured["val_loss"]]
        loss = np.mean(rows, axis=1)
        chance = min(measured["chance"], float(np.mean(measured["untrained"])))
        self.best = float(self.x[np.argmin(loss)])
        self.can_be_learned = bool(loss.min() < chance)
        self.score = (np.minimum(loss, chance) - loss.min()) / (chance - loss.min())

    def draws(self, low: float, high: float) -> tuple[float, float]:
        """P(good) of a draw from 10**[low, high], and expected regret of the best of three."""
        score = np.sort(np.interp(np.linspace(low, high, self.POINTS), self.x, self.score))
        at_least = np.arange(len(score), 0, -1) / len(score)
        return float(np.mean(score <= 0.05)), float((at_least**3 - np.append(at_least[1:], 0) ** 3) @ score)

    def rate(self, bounds: Range | None) -> list[float]:
        """The columns for one sweep: any, best, P(good), P(good) in the full space, regret, width, fail."""
        p_full, regret_full = self.draws(*FULL)
        if bounds is None:
            return [0, 0, p_full, p_full, regret_full, np.nan, 1]
        low, high = bounds
        p, regret = self.draws(low, high)
        points = np.append(np.linspace(low, high, self.POINTS), self.x[(self.x >= low) & (self.x <= high)])
        good = (np.interp(points, self.x, self.score) <= 0.05).any()
        return [good, low - 1e-6 <= self.best <= high + 1e-6, p, p_full, regret, high - low, 0]


def ask_other(rule: Callable[[Sweep], Range]) -> Callable[[Sweep, dict[str, Any]], Range | None]:
    def ask(sweep: Sweep, _: dict[str, Any]) -> Range | None:
        try:
            low, high = rule(sweep)
        except ValueError:
            return None
        return (low, high) if low < high else None

    return ask


def ask_rule(spec: str, hints: bool) -> Callable[[Sweep, dict[str, Any]], Range | None]:
    """Ask a rule of lrtuner's form."""
    rule, curve = named(spec), named("lrtuner:LRCurve")
    takes = inspect.signature(rule).parameters if hints else {}

    def ask(sweep: Sweep, measured: dict[str, Any]) -> Range | None:
        told = {
            "train_steps": measured["steps"],
            "optimizer": measured["optimizer"],
            "batch_size": measured["batch"],
            "momentum": {"sgd": 0.0, "mom": 0.9}.get(measured["opt"]),
        }
        try:
            r = rule(
                curve(sweep.learning_rates, sweep.losses), **{k: v for k, v in told.items() if k in takes}
            )
        except ValueError:
            return None
        low, high = (r.min_lr, r.max_lr) if hasattr(r, "min_lr") else r
        return (float(np.log10(low)), float(np.log10(high))) if 0 < low < high < np.inf else None

    return ask


def sweeps_of(curves: list[dict[str, Any]], measured: dict[str, Any], length: int | str) -> Iterator[Sweep]:
    for c in curves:
        if c["N"] == length and c["range"] == "a":
            losses = np.array([np.nan if v is None else v for v in c["loss"]], float)
            rates = np.geomspace(c["lo"], c["hi"], c["steps"])[: len(losses)]
            yield Sweep(rates, losses, measured["optimizer"])


def score(
    data: pathlib.Path, names: list[str], rules: list[str], picture: pathlib.Path | None, per_task: bool
) -> None:
    """Print a table for each half and sweep length, and draw the picture."""
    truths = json.loads((data / "truth.json").read_text())
    curves = json.loads((data / "sweeps.json").read_text())
    asked = {name: ask_other(rule) for name, rule in OTHERS.items()}
    for spec in rules:
        asked[spec] = ask_rule(spec, hints=False)
        if HINTS & set(inspect.signature(named(spec)).parameters):
            asked[spec + ", told the task"] = ask_rule(spec, hints=True)
    points: dict[str, dict[str, np.ndarray]] = {}
    for half in ("heldout", "calibration"):
        tasks = {k: Truth(t) for k, t in truths.items() if k in names and t["split"] == half}
        hopeless = sorted(k for k, truth in tasks.items() if not truth.can_be_learned)
        tasks = {k: truth for k, truth in tasks.items() if truth.can_be_learned}
        if hopeless:
            print(f"\nNo rate ends better than chance, left out: {', '.join(hopeless)}.")
        if not tasks:
            continue
        print(f"\n## {half}: {len(tasks)} tasks\n")
        print(
            "| rule | N | any | best | speed-up | regret | width | fail |\n|---|---|---|---|---|---|---|---|"
        )
        for rule, ask in asked.items():
            for length in SWEEP_LENGTHS:
                rows = {}
                for name, truth in tasks.items():
                    with np.errstate(all="ignore"):
                        rows[name] = np.array(
                            [
                                truth.rate(ask(s, truth.measured))
                                for s in sweeps_of(curves[name], truth.measured, length)
                            ]
                        )
                mean = np.mean([r.mean(0) for r in rows.values()], axis=0)
                print(row(rule, length, mean, np.concatenate(list(rows.values()))[:, 5]))
                if per_task and ":" in rule:
                    for name, r in rows.items():
                        print(row("- " + name, length, r.mean(0), r[:, 5]))
                if length == 300:
                    points.setdefault(half, {})[rule] = mean
    if picture and points:
        half = "heldout" if "heldout" in points else "calibration"
        draw(half.replace("heldout", "held-out"), points[half], picture)
        print(f"\nPicture: {picture}")


def row(rule: str, length: int | str, mean: np.ndarray, widths: np.ndarray) -> str:
    width = f"{np.nanmedian(widths):.2f}" if np.isfinite(widths).any() else "-"
    speed = f"x{mean[2] / mean[3]:.2f}" if mean[3] else "-"
    cells = (
        rule,
        length,
        f"{mean[0]:.0%}",
        f"{mean[1]:.0%}",
        speed,
        f"{mean[4]:.3f}",
        width,
        f"{mean[6]:.0%}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def draw(half: str, rules: dict[str, np.ndarray], file: pathlib.Path) -> None:
    """Coverage against speed-up at 300 batches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import PercentFormatter

    fig, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    ax.set(
        title=f"{half} tasks, one sweep of 300 batches",
        xlabel="how much more often a draw is good than one from 1e-6..10",
        ylabel="ranges that contain the best learning rate",
        xlim=(0.4, 0.4 + 1.2 * max(m[2] / m[3] for m in rules.values())),
        ylim=(0, 1.08),
    )
    ax.xaxis.set_major_formatter("x{x:g}")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(alpha=0.3)
    # Ours first: the others' labels make room.
    named_points = sorted(rules.items(), key=lambda item: ":" not in item[0])
    points = [(float(mean[2] / mean[3]), float(mean[1])) for _, mean in named_points]
    colours = []
    for (name, _), point in zip(named_points, points, strict=True):
        ours, sweepless = ":" in name, name.startswith(("1e-", "Keras"))
        marker, colour = ("*", "#D55E00") if ours else ("s", "0.55") if sweepless else ("o", "#0072B2")
        ax.plot(*point, marker, color=colour, markersize=13 if ours else 6, zorder=3)
        colours.append(colour if ours else "0.2")
    # The layout is settled by drawing once; from then on places are known in pixels.
    fig.canvas.draw()
    taken = [ax.transData.transform(point) + np.array([[-5, -5], [5, 5]]) for point in points]
    for k, ((name, _), point) in enumerate(zip(named_points, points, strict=True)):
        label = name.replace("lrtuner:suggest_range", "lrtuner")
        text = ax.annotate(label, point, (8, 0), textcoords="offset points", fontsize=8.5, va="center")
        text.set_color(colours[k])
        for dx, dy in ((8, 0), (8, 8), (8, -8), (-8, 0), (-8, 8), (-8, -8), (0, 13), (0, -13), (0, 22)):
            text.set(position=(dx, dy), ha="left" if dx > 0 else "right" if dx < 0 else "center")
            box = text.get_window_extent().get_points()
            others = taken[:k] + taken[k + 1 :]
            free = all((box[0] >= b[1]).any() or (box[1] <= b[0]).any() for b in others)
            if free and ax.bbox.x0 < box[0, 0] and box[1, 0] < ax.bbox.x1:
                break
        taken.append(box)
    file.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(file, dpi=100)
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("measure", "score", "all"), default="all")
    parser.add_argument("--data", type=pathlib.Path, help=f"where the measurements are kept; default: {DATA}")
    parser.add_argument("--tasks", help="comma-separated names; default: all")
    parser.add_argument("--half", choices=("calibration", "heldout"), help="one half of the tasks")
    parser.add_argument("--quick", action="store_true", help="a few tasks, one rate a decade, one seed")
    parser.add_argument(
        "--rule", action="append", help="module:callable, may be repeated; default: lrtuner:suggest_range"
    )
    parser.add_argument(
        "--picture", type=pathlib.Path, help="default: range_quality.png in the data directory"
    )
    parser.add_argument(
        "--per-task", action="store_true", help="also a row for each task, for the rules of --rule"
    )
    a = parser.parse_args()
    sys.path[:0] = [".", str(HERE.parents[1])]
    names = a.tasks.split(",") if a.tasks else list(QUICK if a.quick else TASKS)
    unknown = sorted(set(names) - set(TASKS))
    if unknown:
        parser.error(f"unknown tasks {unknown}; known: {sorted(TASKS)}")
    names = [n for n in names if a.half in (None, TASKS[n][0])]
    data = a.data or (DATA.with_name("range_quality_quick") if a.quick else DATA)
    if a.command != "score":
        measure(data, names, a.quick)
    if a.command != "measure":
        score(
            data,
            names,
            a.rule or ["lrtuner:suggest_range"],
            a.picture or data / "range_quality.png",
            a.per_task,
        )


if __name__ == "__main__":
    main()
