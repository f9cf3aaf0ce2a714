"""The grid of a `Float` or an `Int` with a step, as KerasTuner draws from it."""

from __future__ import annotations

import math
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.space.entries import with_bounds

# Grid values are computed in floating point: 1e-6 * 10 ** 3 differs from 1e-3. In steps of the grid.
TOLERANCE = 1e-9


def grid_size(entry: Any) -> int:
    """Return how many values KerasTuner draws from."""
    if entry.sampling == "linear":
        return int((entry.max_value - entry.min_value) // entry.step + 1)
    return int(math.log(entry.max_value / entry.min_value, entry.step) + 1e-8) + 1


def number_of_values(entry: Any) -> float:
    """Return how many values KerasTuner draws from for a hyperparameter; infinite between real bounds."""
    if isinstance(entry, hp_types.Fixed):
        return 1
    if isinstance(entry, (hp_types.Choice, hp_types.Boolean)):
        return len(set(entry.values))
    if entry.step is not None:
        return grid_size(entry)
    return entry.max_value - entry.min_value + 1 if isinstance(entry, hp_types.Int) else math.inf


def grid_value(entry: Any, index: int) -> float:
    """Return the value that KerasTuner draws for an index: ascending, but descending for `reverse_log`."""
    if entry.sampling == "linear":
        value = entry.min_value + index * entry.step
    elif entry.sampling == "log":
        value = entry.min_value * math.pow(entry.step, index)
    else:
        value = entry.max_value + entry.min_value - entry.min_value * math.pow(entry.step, index)
    return int(value) if isinstance(entry, hp_types.Int) else float(value)


def grid_position(entry: Any, value: float) -> float:
    """Return the index, with a fraction between grid values, of a value within the declared bounds."""
    if entry.sampling == "linear":
        return float((value - entry.min_value) / entry.step)
    if entry.sampling == "reverse_log":
        value = entry.max_value + entry.min_value - value
    return math.log(value / entry.min_value) / math.log(entry.step)


def part_of_grid(entry: Any, first: int, last: int, middle: float) -> Any:
    """Return a hyperparameter with the part of the grid between two indices, both included.

    Args:
        entry: The hyperparameter with the whole grid, `linear` or `log`.
        first: Index of the first value to keep.
        last: Index of the last.
        middle: A value near which the default is to be, where the declared default is left out.
    """
    if first == 0 and last == grid_size(entry) - 1:
        low, high = entry.min_value, entry.max_value
    else:
        low, high = grid_value(entry, first), grid_value(entry, last)
        if entry.sampling == "log":
            # As KerasTuner counts from the new minimum, so that a grid search tries no rate twice.
            high = type(low)(low * math.pow(entry.step, last - first))
        high = min(high, entry.max_value)
        if (high - low) // entry.step < last - first and entry.sampling == "linear":
            # Rounding has cost the last value. A sliver of a step brings it back: above, or below where the
            # declared maximum leaves no room above.
            high = min(high + 1e-6 * entry.step, entry.max_value)
            if (high - low) // entry.step < last - first:
                low = max(low - TOLERANCE * entry.step, entry.min_value)
    grid = with_bounds(entry, low, high, low)

    def snapped(position: float) -> float:
        index = min(max(round(position), first), last)
        # Rounding takes a value at a bound beyond it.
        return min(max(grid_value(grid, index - first), float(grid.min_value)), float(grid.max_value))

    default = snapped(grid_position(entry, min(max(middle, low), high)))
    if entry.min_value <= entry.default <= entry.max_value:
        position = grid_position(entry, entry.default)
        if first <= position <= last and abs(position - round(position)) > TOLERANCE:
            # Between grid values by the user's own choice.
            default = entry.default
        elif first <= round(position) <= last:
            default = snapped(position)
    return with_bounds(entry, low, high, default)
