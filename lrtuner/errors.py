"""The errors of lrtuner, but for `NoRangeError`."""

from __future__ import annotations


class LearningRateError(ValueError):
    """No single hyperparameter can be told to be the learning rate, or it can't be narrowed."""


class NothingToNarrowError(LearningRateError):
    """The learning rate is fixed, or chosen from non-numeric values: there is nothing to narrow."""


class LearningRateNotFoundError(LearningRateError):
    """No such hyperparameter is registered.

    It may appear later: one that is declared in `HyperModel.fit` is registered in the first trial.
    """


class NoSweepError(RuntimeError):
    """The training code can't be swept, though it may train well."""


class NoLossError(NoSweepError, ValueError):
    """The model's training step reports no loss."""


class UnusableModelError(ValueError):
    """The model or the data can't be trained at all: no sweep, and no trial after it, could work."""
