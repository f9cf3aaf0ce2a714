"""One cheap sweep finds a good learning-rate range, then KerasTuner searches inside of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lrtuner.curve import LRCurve, Training
    from lrtuner.hypermodel import LRRangeHyperModel
    from lrtuner.loading import load
    from lrtuner.lr_range import LRRange, NoRangeError
    from lrtuner.narrowed import narrowed_space
    from lrtuner.oracle import LRRangeOracle
    from lrtuner.rules import suggest_range
    from lrtuner.search.record import Sweep
    from lrtuner.search_results import SearchResults
    from lrtuner.sweep import LRFinder, UnusableModelError, find_lr
    from lrtuner.tuners import (
        BayesianOptimization,
        GridSearch,
        Hyperband,
        RandomSearch,
        Tuner,
    )

__all__ = [
    "BayesianOptimization",
    "GridSearch",
    "Hyperband",
    "LRCurve",
    "LRFinder",
    "LRRange",
    "LRRangeHyperModel",
    "LRRangeOracle",
    "NoRangeError",
    "RandomSearch",
    "SearchResults",
    "Sweep",
    "Training",
    "Tuner",
    "UnusableModelError",
    "find_lr",
    "load",
    "narrowed_space",
    "suggest_range",
]

# Where each name lives. They are imported when first used: Keras takes seconds to load.
_MODULES = {
    "curve": ("LRCurve", "Training"),
    "hypermodel": ("LRRangeHyperModel",),
    "loading": ("load",),
    "lr_range": ("LRRange", "NoRangeError"),
    "narrowed": ("narrowed_space",),
    "oracle": ("LRRangeOracle",),
    "rules": ("suggest_range",),
    "search.record": ("Sweep",),
    "search_results": ("SearchResults",),
    "sweep": ("LRFinder", "UnusableModelError", "find_lr"),
    "tuners": ("BayesianOptimization", "GridSearch", "Hyperband", "RandomSearch", "Tuner"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
