"""Ways to the learning rates of a search: with a sweep, or in a range that is said beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from efficiency.grids import MeasuredGrid
from efficiency.tasks import EPOCHS, batches_per_epoch

DECLARED = (1e-6, 10.0)
TRIALS = 12
TOTAL_EPOCHS = TRIALS * EPOCHS  # of a whole search, with any oracle

Bounds = tuple[float, float]
Grids = dict[tuple[str, str], MeasuredGrid]


class Arm(NamedTuple):
    """One way.

    Attributes:
        title: What tables call it.
        bounds: Returns the range of a task's optimizer, given the grids.
        sweep: Returns the options of lrtuner for a task; `None` where there is no sweep.
        is_tpe: Whether Optuna searches.
    """

    title: str
    bounds: Callable[[str, str, Grids], Bounds] = lambda *_: DECLARED
    sweep: Callable[[str], dict[str, Any]] | None = None
    is_tpe: bool = False


def _usual(_: str, optimizer: str, __: Grids) -> Bounds:
    """Return 0.75 decades around ten times Keras' default."""
    rate = 10 * {"sgd": 0.01, "adam": 0.001}[optimizer]
    return rate * 10**-0.75, rate * 10**0.75


def _share(name: str) -> dict[str, Any]:
    """Return a twentieth of the search's batches, but at least 100 and at most 300, for each sweep."""
    return {"steps": int(np.clip(TOTAL_EPOCHS * batches_per_epoch(name) // 20, 100, 300))}


ARMS = {
    "wide": Arm("1e-6 to 10, as declared"),
    "lrtuner": Arm("lrtuner", sweep=lambda _: {}),
    "lrtuner300": Arm("lrtuner, 300 batches", sweep=lambda _: {"steps": 300}),
    "ideal": Arm("ideal range", lambda name, optimizer, grids: grids[name, optimizer].best_range()),
    "usual": Arm("ten times the default ±0.75", _usual),
    "guide": Arm("1e-4 to 1e-2", lambda *_: (1e-4, 1e-2)),
    "decades3": Arm("1e-4 to 1e-1", lambda *_: (1e-4, 1e-1)),
    "tpe": Arm("Optuna's TPE, as declared", is_tpe=True),
    "lrtuner5": Arm("lrtuner, 5% of the budget", sweep=_share),
}
