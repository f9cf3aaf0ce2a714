"""36 kinds of tasks as people have them, each with two optimizers for calibration and two held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bench.data import Split, adding, digits, flip, itself, made, stripes, table, tokens, waves, words
from bench.losses import Loss, crossentropy, huber, squared
from bench.models import bag, cnn, conv1d, mlp, recurrent, residual, transformer
from bench.task import ADAGRAD, ADAM, ADAMW, LION, MOMENTUM, RMSPROP, SGD, Optimizer, Task


def four(scale: float = 1.0, noise: float = 0.0) -> Split:
    """Return four classes that overlap."""
    s = made("classification", 2700, scale, n_features=20, n_informative=10, n_classes=4)
    return flip(s, noise, 4) if noise else s


# Data, model, loss, batch size and epochs.
# fmt: off
FAMILIES: dict[str, tuple[Callable[[], Split], Callable[[], Any], Loss, int, int]] = {
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
# fmt: on

# How common each optimizer is.
OPTIMIZERS: dict[str, tuple[Optimizer, float]] = {
    "sgd": (SGD, 0.18),
    "mom": (MOMENTUM, 0.16),
    "adam": (ADAM, 0.34),
    "adamw": (ADAMW, 0.12),
    "rms": (RMSPROP, 0.12),
    "adagrad": (ADAGRAD, 0.04),
    "lion": (LION, 0.04),
}
# These train slowly, so fewer seeds do.
SLOW = ("gru", "lstm", "transformer")


def tasks() -> tuple[list[Task], list[Task]]:
    """Return the tasks for calibration and those held out.

    Those held out have batch sizes and lengths of their own. Optimizers are drawn by how common they are, and
    a family never has the same one twice.
    """
    shares = np.array([share for _, share in OPTIMIZERS.values()])
    names = list(OPTIMIZERS)
    left = {family: list(names) for family in FAMILIES}
    groups: tuple[list[Task], list[Task]] = ([], [])
    for seed, count in ((2026, 2), (77, 1), (99, 1)):
        rng = np.random.default_rng(seed)
        for family, (data, model, loss, batch, epochs) in FAMILIES.items():
            free = [names.index(name) for name in left[family]]
            share = shares[free] / shares[free].sum()
            # NumPy draws differently where one is asked for without saying how many.
            chosen = np.atleast_1d(rng.choice(len(free), count if count > 1 else None, False, share))
            size, length = batch, epochs
            if count == 1:
                size = int(rng.choice([16, 32, 64, 128]))
                length = max(3, round(epochs * rng.choice([0.7, 1, 1.5]) * size / batch))
            seeds = 2 if family.startswith(SLOW) else 3
            for name in [names[free[k]] for k in chosen]:
                left[family].remove(name)
                full = f"everyday_{family}_{name}"
                task = Task(full, data, model, loss, OPTIMIZERS[name][0], size, length, seeds=seeds)
                groups[count == 1].append(task)
    return groups
