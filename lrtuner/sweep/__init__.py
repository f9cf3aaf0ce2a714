"""The learning-rate sweep: a model and its data in, an `LRCurve` out."""

from __future__ import annotations

from lrtuner.sweep.compiling import is_small
from lrtuner.sweep.data import has_raw_inputs
from lrtuner.sweep.errors import NoSweepError, UnusableModelError
from lrtuner.sweep.find import find_lr
from lrtuner.sweep.finder import LRFinder, check_ramp
from lrtuner.sweep.optimizers import (
    compiled_with,
    momentum_of,
    optimizers_of,
    own_optimizer,
    peak_rate,
    rate_of,
    rates_shared,
)
from lrtuner.sweep.randomness import preserved_random_state
from lrtuner.sweep.report import SweepOrder, SweepReport
from lrtuner.sweep.training import batch_size_of, sweep_in_training

__all__ = [
    "LRFinder",
    "NoSweepError",
    "SweepOrder",
    "SweepReport",
    "UnusableModelError",
    "batch_size_of",
    "check_ramp",
    "compiled_with",
    "find_lr",
    "has_raw_inputs",
    "is_small",
    "momentum_of",
    "optimizers_of",
    "own_optimizer",
    "peak_rate",
    "preserved_random_state",
    "rate_of",
    "rates_shared",
    "sweep_in_training",
]
