"""The search space: three data sets, and settings of everything but the learning rate."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from bench import models
from bench.data import Split, digits, made
from bench.late import keras
from bench.losses import Loss, crossentropy, squared
from bench.task import ADAM, MOMENTUM, RMSPROP, SGD, Optimizer, Task


class Setting(NamedTuple):
    """One point of the search space, but for its learning rate."""

    optimizer: str
    batch: int
    width: int
    depth: int
    batch_norm: bool
    dropout: float
    l2: float


OPTIMIZERS = {"sgd": SGD, "momentum": MOMENTUM, "adam": ADAM, "rmsprop": RMSPROP}
BATCHES = (16, 64, 256)
WIDTHS = (32, 64, 128, 256)
DEPTHS = (1, 2, 3)
DROPOUT = (0.0, 0.5)
L2 = (1e-6, 1e-2)
# KerasTuner's default values are the first and smallest ones.
DEFAULT = Setting("sgd", 16, 32, 1, False, DROPOUT[0], L2[0])
MIDDLE = Setting("adam", 64, 128, 2, False, 0.25, 1e-4)
# Random settings at each optimizer and batch size, on each data set.
REPEATS = 3


def optimizer_of(setting: Setting) -> Optimizer:
    """Return the optimizer that a setting names."""
    return OPTIMIZERS[setting.optimizer]


def random_settings(seed: int) -> list[Setting]:
    """Return random settings: each optimizer at each batch size equally often, the rest drawn freely."""
    rng = np.random.default_rng(seed)
    return [
        Setting(
            optimizer,
            batch,
            int(rng.choice(WIDTHS)),
            int(rng.choice(DEPTHS)),
            bool(rng.integers(2)),
            float(rng.uniform(*DROPOUT)),
            float(10 ** rng.uniform(*np.log10(L2))),
        )
        for _ in range(REPEATS)
        for optimizer, batch in itertools.product(OPTIMIZERS, BATCHES)
    ]


def shared_settings() -> list[Setting]:
    """Return where the sweeps that serve many settings stand."""
    return [
        *(MIDDLE._replace(optimizer=o, batch=b) for o in OPTIMIZERS for b in BATCHES),
        *(DEFAULT._replace(optimizer=o) for o in OPTIMIZERS),
    ]


def _mlp(outputs: int) -> Callable[[Setting], Any]:
    def build(setting: Setting) -> Any:
        return models.mlp(
            (setting.width,) * setting.depth,
            outputs,
            bn=setting.batch_norm,
            dropout=setting.dropout,
            kernel_regularizer=keras.regularizers.L2(setting.l2),
        )

    return build


def _cnn(setting: Setting) -> Any:
    """Build convolutions of an eighth of the width; from the second on they halve the image's sides."""
    layers = keras.layers
    stack: list[Any] = []
    for i in range(setting.depth):
        decay = keras.regularizers.L2(setting.l2)
        stack.append(
            layers.Conv2D(
                setting.width // 8, 3, strides=1 + (i > 0), padding="same", kernel_regularizer=decay
            )
        )
        if setting.batch_norm:
            stack.append(layers.BatchNormalization())
        stack.append(layers.ReLU())
    return keras.Sequential([*stack, layers.Flatten(), layers.Dropout(setting.dropout), layers.Dense(10)])


def _noisy_classes() -> Split:
    """Return four classes; a fifth of the labels is drawn at random."""
    return made(
        "classification", 2000, n_features=20, n_informative=8, n_classes=4, flip_y=0.2, class_sep=1.5
    )


class DataSet(NamedTuple):
    """A data set, with what models of a setting predict and how that is judged."""

    data: Callable[[], Split]
    model: Callable[[Setting], Any]
    loss: Loss


SETS = {
    "digits_cnn": DataSet(lambda: digits((8, 8, 1)), _cnn, crossentropy),
    "noisy_mlp": DataSet(_noisy_classes, _mlp(4), crossentropy),
    "regression_mlp": DataSet(lambda: made("friedman1", 2000, noise=1.0), _mlp(1), squared),
}


def task_of(name: str, setting: Setting) -> Task:
    """Return the task of training this setting on this data set; its length is said batch by batch."""
    data, model, loss = SETS[name]
    return Task(name, data, lambda: model(setting), loss, optimizer_of(setting), setting.batch, epochs=1)
