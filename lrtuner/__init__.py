"""One cheap sweep finds a good learning-rate range, then KerasTuner searches inside of it.

To read the code, begin here, and go on in this order:

| module | what it is |
|---|---|
| `tuners` | `RandomSearch` and the other tuners, and `narrowed_space`: what a user calls |
| `oracle` | `LRRangeOracle`; its docstring follows a sweep from stop to stop |
| `hypermodel` | the trial of a sweep, from its order to its answer |
| `results` | what a search has found, and its file |
| `plot`, `__main__`, `tensorboard`, `messages` | how that is shown |
| `kerastuner` | what is touched of KerasTuner beneath its public names |
| `errors` | all errors but `NoRangeError` |
| `sweep/` | the sweep of one model; knows Keras, and no KerasTuner |
| `curve/` | the curve, and the range that is read off it; knows numpy alone |
| `search/` | which sweeps a search needs, and what becomes of their ranges |
| `space/` | one hyperparameter: found, narrowed, replaced |
"""

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
    "SearchResults": "results",
    "Sweep": "results",
    "Training": "curve.curve",
    "Tuner": "tuners",
    "UnusableModelError": "errors",
    "find_lr": "sweep.find",
    "is_sweep": "search.protocol",
    "load": "results",
    "narrowed_space": "tuners",
    "suggest_range": "curve.rules",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from lrtuner.curve.curve import LRCurve, Training
    from lrtuner.curve.lr_range import LRRange, NoRangeError
    from lrtuner.curve.rules import suggest_range
    from lrtuner.errors import UnusableModelError
    from lrtuner.hypermodel import LRRangeHyperModel
    from lrtuner.oracle import LRRangeOracle
    from lrtuner.results import SearchResults, Sweep, load
    from lrtuner.search.protocol import is_sweep
    from lrtuner.sweep.find import find_lr
    from lrtuner.sweep.finder import LRFinder
    from lrtuner.tuners import (
        BayesianOptimization,
        GridSearch,
        Hyperband,
        RandomSearch,
        Tuner,
        narrowed_space,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
