"""Ways to the learning rates of a search: with a sweep, or in a range that is said beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from bench.late import Late

from efficiency.grids import MeasuredGrid
from efficiency.tasks import ARCHITECTURES, EPOCHS

trainings = Late("efficiency.trainings")

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
        is_swept: Whether lrtuner searches.
        is_tpe: Whether Optuna searches.
    """

    title: str
    bounds: Callable[[str, str, Grids], Bounds] = lambda *_: DECLARED
    is_swept: bool = False
    is_tpe: bool = False


def _usual(_: str, optimizer: str, __: Grids) -> Bounds:
    """Return 0.75 decades around ten times Keras' default."""
    rate = 10 * {"sgd": 0.01, "adam": 0.001}[optimizer]
    return rate * 10**-0.75, rate * 10**0.75


def _first_gradients(name: str, optimizer: str, grids: Grids) -> Bounds:
    """Return 0.67 decades around the rate at which a first step of SGD moves the kernels by 6%.

    The model is that of KerasTuner's default values; the median of the first eight batches counts. Adam has
    its usual range.
    """
    if optimizer != "sgd":
        return _usual(name, optimizer, grids)
    lab, small = trainings.lab(name, ARCHITECTURES[0], optimizer), 1e-5
    updates = lab.losses_and_updates(lab.start(0), 0, np.full(8, small), updates=True)[:, 1]
    rate = 0.06 * small / float(np.median(updates))
    return rate * 10**-0.67, rate * 10**0.67


ARMS = {
    "wide": Arm("1e-6 to 10, as declared"),
    "lrtuner": Arm("lrtuner", is_swept=True),
    "ideal": Arm("ideal range", lambda name, optimizer, grids: grids[name, optimizer].best_range()),
    "usual": Arm("ten times the default ±0.75", _usual),
    "gradients": Arm("from the first gradients ±0.67", _first_gradients),
    "guide": Arm("1e-4 to 1e-2", lambda *_: (1e-4, 1e-2)),
    "decades3": Arm("1e-4 to 1e-1", lambda *_: (1e-4, 1e-1)),
    "tpe": Arm("Optuna's TPE, as declared", is_tpe=True),
}
