"""One cheap sweep finds a good learning-rate range, then KerasTuner searches inside of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used: Keras takes seconds to load.
_HOME = {
    "BayesianOptimization": "tuners",
    "GridSearch": "tuners",
    "Hyperband": "tuners",
    "LRCurve": "curve.curve",
    "LRFinder": "sweep.finder",
    "LRRange": "curve.lr_range",
    "LRRangeHyperModel": "hypermodel",
    "LRRangeOracle": "oracle",
    "NoRangeError": "curve.lr_range",
    "RandomSearch": "tuners",
    "SearchResults": "search_results",
    "Sweep": "search.record",
    "Training": "curve.curve",
    "Tuner": "tuners",
    "UnusableModelError": "errors",
    "find_lr": "sweep.find",
    "load": "loading",
    "narrowed_space": "narrowed",
    "suggest_range": "curve.rules",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from lrtuner.curve.curve import LRCurve, Training
    from lrtuner.curve.lr_range import LRRange, NoRangeError
    from lrtuner.curve.rules import suggest_range
    from lrtuner.errors import UnusableModelError
    from lrtuner.hypermodel import LRRangeHyperModel
    from lrtuner.loading import load
    from lrtuner.narrowed import narrowed_space
    from lrtuner.oracle import LRRangeOracle
    from lrtuner.search.record import Sweep
    from lrtuner.search_results import SearchResults
    from lrtuner.sweep.find import find_lr
    from lrtuner.sweep.finder import LRFinder
    from lrtuner.tuners import BayesianOptimization, GridSearch, Hyperband, RandomSearch, Tuner


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
