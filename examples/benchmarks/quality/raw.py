"""60 tasks on data as people bring them: inputs and targets in their own units, with SGD and Adam."""

from __future__ import annotations

import functools

import numpy as np
from bench.data import Split, split, table
from bench.late import datasets
from bench.losses import absolute, crossentropy, squared
from bench.models import mlp
from bench.task import ADAM, MOMENTUM, SGD, Task


def _friedman(rows: int, seed: int, noise: float) -> Split:
    """Make Friedman's first function as it is: targets of about 14."""
    x, y = datasets.make_friedman1(rows, noise=noise, random_state=seed)
    return split(x, y[:, None])


def _linear(bias: float) -> Split:
    """Make a linear function with a standard deviation of some 200, plus a constant."""
    x, y = datasets.make_regression(1200, 10, noise=10.0, bias=bias, random_state=5)
    return split(x, y[:, None])


def _bikes() -> Split:
    """Make counts of hired bikes, about 140, from hour, temperature and humidity."""
    rng = np.random.default_rng(42)
    hour, warmth, damp = rng.integers(0, 24, 1600), rng.normal(15, 8, 1600), rng.uniform(20, 100, 1600)
    y = 4.5 + np.sin((hour - 6) / 24 * 2 * np.pi) + 0.03 * warmth - 0.005 * damp
    y = np.exp(y + 0.2 * rng.normal(size=1600))
    return split(np.column_stack([hour, warmth, damp]), np.round(y)[:, None])


def _series() -> Split:
    """Make windows of 12 values of a noisy wave around 50; the target is the next value."""
    rng = np.random.default_rng(43)
    values = 50 + 10 * np.sin(np.arange(1600) / 25) + 3 * rng.normal(size=1600)
    return split(np.stack([values[i : i + 12] for i in range(1580)]), values[12:1592, None])


def _pixels() -> Split:
    """Return images of digits, 0 to 256."""
    x, y = datasets.load_digits(return_X_y=True)
    return split(x * 16, y)


def _incomes() -> Split:
    """Make two classes from age, gains (mostly 0, else thousands), hours of work and years of school."""
    rng = np.random.default_rng(44)
    age = rng.integers(17, 90, 2000)
    gain = np.where(rng.random(2000) < 0.08, rng.exponential(12000, 2000), 0)
    hours, school = rng.normal(40, 12, 2000), rng.integers(1, 16, 2000)
    z = 0.03 * (age - 38) + 0.0003 * gain + 0.04 * (hours - 40) + 0.35 * (school - 10) - 1
    y = (rng.random(2000) < 1 / (1 + np.exp(-z))).astype(int)
    return split(np.column_stack([age, gain, hours, school]), y)


_diabetes = functools.partial(table, "diabetes", raw=True, raw_target=True, column=True)
_DATA = {
    "friedman": (lambda: _friedman(1500, 77, 1.0), 1, squared),
    "friedman_small": (lambda: _friedman(900, 78, 0.3), 1, squared),
    "linear": (lambda: _linear(0.0), 1, squared),
    "linear_plus_500": (lambda: _linear(500.0), 1, squared),
    "diabetes": (_diabetes, 1, squared),
    "bikes": (_bikes, 1, squared),
    "bikes_absolute": (_bikes, 1, absolute),
    "series": (_series, 1, squared),
    "pixels": (_pixels, 10, crossentropy),
    "incomes": (_incomes, 2, crossentropy),
    "wine": (lambda: table("wine", raw=True), 3, crossentropy),
    "cancer": (lambda: table("breast_cancer", raw=True), 2, crossentropy),
}
_WIDTHS = {"deep": (32, 32), "wide": (128,)}
_OPTIMIZERS = {"sgd": SGD, "mom": MOMENTUM, "adam": ADAM}


def _task(name: str, optimizer: str, widths: str) -> Task:
    data, outputs, loss = _DATA[name]
    return Task(
        f"raw_{name}_{widths}_{optimizer}",
        data,
        lambda: mlp(_WIDTHS[widths], outputs),
        loss,
        _OPTIMIZERS[optimizer],
        32,
        8,
        per_decade=3,
        seeds=2,
    )


TASKS = [
    _task(name, optimizer, widths)
    for name in _DATA
    for optimizer in _OPTIMIZERS
    for widths in _WIDTHS
    if (optimizer, widths) != ("adam", "wide")
]
