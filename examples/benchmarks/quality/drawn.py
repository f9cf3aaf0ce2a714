"""Tasks drawn at random, so that nobody's idea of a typical task decides what is held out.

Three in ten tables have inputs of an unusual scale, and as many regressions have such targets; two in ten
losses are scaled by 1/30 to 100.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench import models
from bench.data import Split, adding, digits, made, stripes, table, tokens, waves, words
from bench.losses import Loss, absolute, crossentropy, huber, linear, squared
from bench.task import (
    ADAFACTOR,
    ADAGRAD,
    ADAM,
    ADAMAX,
    ADAMW,
    LION,
    MOMENTUM,
    NADAM,
    NESTEROV,
    RMSPROP,
    SGD,
    Task,
)

# How often each optimizer is drawn, of 33.
OPTIMIZERS = [
    (SGD, 5),
    (MOMENTUM, 5),
    (NESTEROV, 2),
    (ADAM, 8),
    (ADAMW, 4),
    (RMSPROP, 4),
    (ADAGRAD, 1),
    (NADAM, 1),
    (ADAMAX, 1),
    (LION, 1),
    (ADAFACTOR, 1),
]


@dataclass(frozen=True)
class Draw:
    """What is drawn for every kind of data. A kind that needs more draws it from `rng`."""

    rng: np.random.Generator
    kind: str
    samples: int
    scale: float  # of the inputs
    target: float  # of the targets
    noise: float  # share of random labels
    widths: tuple[int, ...]
    style: dict[str, Any]  # activation, batch normalisation and dropout of dense layers

    def mlp(self, outputs: int) -> Callable[[], Any]:
        """Return what makes a dense net as drawn."""
        return lambda: models.mlp(self.widths, outputs, **self.style)


@dataclass(frozen=True)
class Parts:
    """What a kind of data makes of a draw. Heavy ones train for fewer batches, from fewer seeds."""

    data: Callable[[], Split]
    model: Callable[[], Any]
    loss: Loss = crossentropy
    heavy: bool = False
    largest_batch: int = 128


def _classes(classes: int, **options: Any) -> Callable[[Draw], Parts]:
    return lambda d: Parts(lambda: made(d.kind, d.samples, d.scale, **options), d.mlp(classes))


def _regression(**options: Any) -> Callable[[Draw], Parts]:
    def parts(d: Draw) -> Parts:
        loss = [squared, squared, huber, absolute][int(d.rng.integers(4))]
        return Parts(lambda: made(d.kind, d.samples, d.scale, d.target, **options), d.mlp(1), loss)

    return parts


def _table(d: Draw) -> Parts:
    raw = bool(d.rng.random() < 0.3)
    return Parts(lambda: table(d.kind, raw=raw), d.mlp(3), largest_batch=32)


def _diabetes(d: Draw) -> Parts:
    raw = bool(d.rng.random() < 0.3)
    data = lambda: table("diabetes", raw_target=raw, column=True)  # noqa: E731
    return Parts(data, d.mlp(1), squared, largest_batch=32)


def _images(data: Callable[[Draw], Callable[[], Split]], classes: int) -> Callable[[Draw], Parts]:
    def parts(d: Draw) -> Parts:
        bn, dropout = d.style["bn"], d.style["dropout"]
        return Parts(data(d), lambda: models.cnn(classes, bn=bn, dropout=dropout), heavy=True)

    return parts


def _waves(d: Draw) -> Parts:
    cell = str(d.rng.choice(["GRU", "LSTM", "conv"]))
    model = lambda: models.conv1d(3) if cell == "conv" else models.recurrent(cell, 12, 3)  # noqa: E731
    return Parts(waves, model, heavy=True)


def _tokens(d: Draw) -> Parts:
    attention = bool(d.rng.random() < 0.5)
    return Parts(tokens, lambda: models.transformer(4) if attention else models.bag(4), heavy=attention)


KINDS: dict[str, Callable[[Draw], Parts]] = {
    "blobs": _classes(4, centers=4, n_features=6, cluster_std=4.0),
    "moons": _classes(2, noise=0.25),
    "circles": _classes(2, noise=0.15, factor=0.5),
    "gaussian_quantiles": _classes(3, n_features=5, n_classes=3),
    "classification": _classes(3, n_features=20, n_informative=10, n_classes=3),
    "digits": lambda d: Parts(lambda: digits(scale=d.scale / 16, noise=d.noise), d.mlp(10)),
    "wine": _table,
    "breast_cancer": _table,
    "words": lambda d: Parts(lambda: words(d.samples), d.mlp(4)),
    "diabetes": _diabetes,
    "friedman1": _regression(noise=1.0),
    "friedman2": _regression(),
    "friedman3": _regression(),
    "swiss_roll": _regression(),
    "regression": _regression(n_features=12, noise=30.0),
    "images": _images(lambda d: lambda: digits((8, 8, 1), noise=d.noise), 10),
    "stripes": _images(lambda _: stripes, 4),
    "waves": _waves,
    "adding": lambda _: Parts(adding, lambda: models.recurrent("GRU", 12, 1), squared, heavy=True),
    "tokens": _tokens,
}


def task(index: int) -> Task:
    """Return the task of this number. The order of the draws is part of the tasks."""
    rng = np.random.default_rng(7_000 + index)

    def some(chance: float, low: float, high: float) -> float:
        """Draw a power of ten with this chance, else 1."""
        power = 10.0 ** rng.uniform(low, high)
        return power if rng.random() < chance else 1.0

    share = np.array([share for _, share in OPTIMIZERS])
    optimizer = OPTIMIZERS[int(rng.choice(len(share), p=share / share.sum()))][0]
    batch = int(rng.choice([8, 16, 32, 64, 128]))
    batches = int(10 ** rng.uniform(2, 2.7))
    scale, target = some(0.3, -1.5, 1.5), some(0.3, -1, 2)
    factor = some(0.2, -1.5, 2)
    noise = float(rng.choice([0.0, 0.3], p=[0.85, 0.15]))
    widths = (int(2 ** rng.integers(4, 8)),) * int(rng.integers(1, 5))
    style = {
        "activation": str(rng.choice(["relu", "tanh", "gelu"])),
        "bn": bool(rng.random() < 0.2),
        "dropout": float(rng.choice([0.0, 0.3], p=[0.8, 0.2])),
    }
    kind = str(rng.choice(list(KINDS)))
    samples = int(rng.integers(600, 2000))
    parts = KINDS[kind](Draw(rng, kind, samples, scale, target, noise, widths, style))
    label = "mom" if optimizer.momentum else optimizer.name.lower()
    return Task(
        f"drawn{index:02d}_{kind}_{label}",
        parts.data,
        parts.model,
        parts.loss if factor == 1 else linear(parts.loss, factor),
        optimizer,
        min(batch, parts.largest_batch),
        batches=min(batches, 350) if parts.heavy else batches,
        seeds=2 if parts.heavy else 3,
    )
