"""Data sets that need no download: standard ones of scikit-learn, and generated ones.

Every set is made from fixed seeds, so it is the same at every run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bench.late import datasets


class Split(NamedTuple):
    """Inputs and targets to train and to validate on."""

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray


def split(x: Any, y: Any, validation: float = 0.3) -> Split:
    """Shuffle the rows, and set a share of them aside to validate on."""
    order = np.random.default_rng(0).permutation(len(x))
    x, y = np.asarray(x, np.float32)[order], np.asarray(y)[order]
    y = y.astype(np.int32 if y.dtype.kind in "iu" else np.float32)
    n = round(len(x) * validation)
    return Split(x[n:], y[n:], x[:n], y[:n])


def standardise(x: Any) -> np.ndarray:
    """Scale the columns to mean 0 and standard deviation 1."""
    x = np.asarray(x, np.float64)
    return (x - x.mean(0)) / (x.std(0) + 1e-9)


def digits(
    shape: tuple[int, ...] = (64,), scale: float = 1 / 16, size: int = 1797, noise: float = 0.0
) -> Split:
    """Return images of digits, each of this shape; `noise` is the share of random labels."""
    x, y = datasets.load_digits(return_X_y=True)
    s = split(x[:size].reshape(-1, *shape) * scale, y[:size])
    return flip(s, noise, 10) if noise else s


def flip(s: Split, share: float, classes: int) -> Split:
    """Draw this share of the training labels at random."""
    rng = np.random.default_rng(1)
    noisy = np.where(rng.random(len(s.y)) < share, rng.integers(0, classes, len(s.y)), s.y)
    return s._replace(y=noisy.astype(np.int32))


def table(loader: str, raw: bool = False, raw_target: bool = False, column: bool = False) -> Split:
    """Return a table of scikit-learn; `raw` keeps the inputs' units, `column` makes a target of [n, 1]."""
    x, y = getattr(datasets, f"load_{loader}")(return_X_y=True)
    if column:
        y = (y if raw_target else standardise(y)).reshape(len(y), -1)
    return split(x if raw else standardise(x), y)


def made(
    kind: str, samples: int = 1500, scale: float = 1.0, target_scale: float = 1.0, **kwargs: Any
) -> Split:
    """Make data with a generator of scikit-learn, standardise and then scale them.

    Targets of regressions are [n, outputs].
    """
    x, y = getattr(datasets, f"make_{kind}")(n_samples=samples, random_state=3, **kwargs)
    if y.dtype.kind == "f":
        y = standardise(y).reshape(len(y), -1) * target_scale
    return split(standardise(x) * scale, y)


def words(
    samples: int = 1500, vocabulary: int = 400, length: int = 25, classes: int = 4, weighted: bool = False
) -> Split:
    """Make sparse bags of words; each class prefers words of its own."""
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
    """Make sequences of tokens; the class says whether 0 comes before 1, and whether 2 occurs."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, vocabulary, (samples, length))
    first = np.where((x == 0).any(1), (x == 0).argmax(1), length) < np.where(
        (x == 1).any(1), (x == 1).argmax(1), length
    )
    return split(x, 2 * first + (x == 2).any(1))


def waves(samples: int = 1200, length: int = 10) -> Split:
    """Make noisy waves of three shapes."""
    rng = np.random.default_rng(6)
    y = rng.integers(0, 3, samples)
    phase = (np.arange(length) / length * rng.uniform(1, 2, (samples, 1)) + rng.random((samples, 1))) % 1
    shapes = np.stack([np.sin(2 * np.pi * phase), np.sign(phase - 0.5), 2 * phase - 1])
    x = shapes[y, np.arange(samples)] + 0.3 * rng.normal(size=(samples, length))
    return split(x[..., None], y)


def adding(samples: int = 1500, length: int = 8) -> Split:
    """Make sequences of numbers, two of which are marked; the target is their sum."""
    rng = np.random.default_rng(7)
    x = np.zeros((samples, length, 2))
    x[..., 0] = rng.random((samples, length))
    for row in x:
        row[rng.choice(length, 2, replace=False), 1] = 1
    return split(x, (x[..., 0] * x[..., 1]).sum(1, keepdims=True) - 1)


def stripes(samples: int = 1200, size: int = 8) -> Split:
    """Make noisy images of stripes in four directions."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, 4, samples)
    i, j = np.mgrid[:size, :size]
    angle = y[:, None, None] * np.pi / 4
    phase = i * np.cos(angle) + j * np.sin(angle) + rng.uniform(0, 6, (samples, 1, 1))
    return split((np.sin(1.5 * phase) + rng.normal(size=phase.shape))[..., None], y)


def counts(samples: int = 1500) -> Split:
    """Make counts with a log-linear rate, for the Poisson loss."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(samples, 12))
    rate = np.exp(0.5 * x[:, 0] - 0.5 * x[:, 1] + 0.3 * x[:, 2] * x[:, 3])
    return split(x, rng.poisson(rate).reshape(-1, 1).astype(float))


def outliers(samples: int = 1500) -> Split:
    """Make a regression in which one target in twenty is far off."""
    s = made("friedman1", samples, noise=0.5)
    far = np.random.default_rng(10).random(len(s.y)) < 0.05
    return s._replace(y=np.where(far[:, None], s.y * 20, s.y).astype(np.float32))


def itself(s: Split) -> Split:
    """Make the inputs the targets."""
    return Split(s.x, s.x, s.x_val, s.x_val)


def directions(s: Split, classes: int = 10, size: int = 16) -> Split:
    """Make a random unit vector for each class the target."""
    v = np.random.default_rng(11).normal(size=(classes, size)).astype(np.float32)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return s._replace(y=v[s.y], y_val=v[s.y_val])


def multilabel(samples: int = 1200) -> Split:
    """Make six labels, of which an example may have any number."""
    s = made("multilabel_classification", samples, n_features=20, n_classes=6, n_labels=2)
    return s._replace(y=s.y.astype(np.float32), y_val=s.y_val.astype(np.float32))


def rare(samples: int = 2000) -> Split:
    """Make two classes, one of them a twentieth of the data."""
    return made("classification", samples, n_features=20, n_informative=6, weights=[0.95], flip_y=0)


def flat(s: Split) -> Split:
    """Make every example one row of numbers, and shuffle once more."""
    x = np.concatenate([s.x, s.x_val])
    return split(x.reshape(len(x), -1), np.concatenate([s.y, s.y_val]))
