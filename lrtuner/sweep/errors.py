"""What keeps a model from being swept."""

from __future__ import annotations


class NoSweepError(RuntimeError):
    """The training code can't be swept, though it may train well."""


class NoLossError(NoSweepError, ValueError):
    """The model's training step reports no loss."""


class UnusableModelError(ValueError):
    """The model or the data can't be trained at all: no sweep, and no trial after it, could work."""
