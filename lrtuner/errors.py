"""What can be wrong with the hyperparameter that is to be the learning rate."""

from __future__ import annotations


class LearningRateError(ValueError):
    """No single hyperparameter can be told to be the learning rate, or it can't be narrowed."""


class NothingToNarrowError(LearningRateError):
    """The learning rate is fixed, or chosen from non-numeric values: there is nothing to narrow."""


class LearningRateNotFoundError(LearningRateError):
    """No such hyperparameter is registered.

    It may appear later: one that is declared in `HyperModel.fit` is registered in the first trial.
    """
