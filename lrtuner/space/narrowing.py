"""Narrowing a learning-rate hyperparameter to a range of rates, and what several ranges leave of it."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve.lr_range import LRRange
from lrtuner.errors import LearningRateError
from lrtuner.messages import bounds_in_words
from lrtuner.space.entries import entry_bounds, with_bounds
from lrtuner.space.learning_rate import CANT_NARROW, check_can_narrow
from lrtuner.space.relation import IDENTITY, Relation

# Where a range lies beyond the declared bounds, at least this share of its width (in decades) is searched at
# the bound that it crosses. Little of that can be good, so far from the range's middle, but a single value
# is no search.
LEAST_SHARE = 0.5

# Where a range leaves one value of a list or grid, its nearest neighbour is kept as well, unless it lies
# farther outside of the range than this share of the range's width (in decades), or above the curve's edge.
# Measured with values a decade apart on 17 tasks, with sweeps of 100 and 300 batches: 68% of the ranges
# hold one value, whose regret is 0.067 (0 is the best rate's loss, 1 is chance). A neighbour is better by
# more than 0.02 in 33% where it lies within a tenth of the width below the range, in 24% up to two tenths,
# in 5% or less beyond three, and in 0.5% above the edge. With the nearest one within half of the width, the
# better of the two has a regret of 0.038, and the best of three random draws 0.072. Without a neighbour both
# are 0.067, with both neighbours they are 0.031 and 0.099.
HOPELESS_SHARE = 0.5

# A part of a range that reaches beyond a declared bound by no more than this factor is not worth a word.
SLIGHTLY = 1.25


# Values of a grid are computed in floating point: 1e-6 * 10 ** 3 differs from 1e-3. In decades, in steps of a
# grid, or as a share of a bound.
TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Narrowing:
    """What narrowing did to a hyperparameter.

    Attributes:
        name: The hyperparameter's name.
        declared: Smallest and largest value before.
        narrowed: Smallest and largest value that the search can now draw.
        note: What the user should know to declare better values; empty where the range fitted.
        remark: What else was done, which asks nothing of the user; mostly empty.
    """

    name: str
    declared: tuple[float, float]
    narrowed: tuple[float, float]
    note: str
    remark: str = ""

    def __str__(self) -> str:
        """Describe the change in one line."""
        declared, narrowed = bounds_in_words(*self.declared), bounds_in_words(*self.narrowed)
        change = f"{self.name}: declared as {declared}, narrowed to {narrowed}."
        return " ".join(filter(None, (change, self.note, self.remark)))


def narrow_entry(entry: Any, lr_range: LRRange, relation: Relation = IDENTITY) -> Any:
    """Return what a hyperparameter becomes when it is narrowed to a range of learning rates.

    The declared bounds are a hard limit, and a search always keeps some room:

    - Where the range lies beyond a bound, what is left is their overlap, or half of the range's width (in
      decades) at that bound where the overlap is less.
    - A `Choice` keeps its values inside, and a step keeps the user's grid: the values inside. Where there is
      none, the nearest one is kept, in decades.
    - Where a `Choice`, a grid or an `Int` is left with one value, its nearest neighbour is kept as well. It
      is left out where it is hopeless: more than half of the range's width outside, or above the rate from
      which on the curve rose.
    - The default stays where it is kept; otherwise it becomes the value nearest to the geometric middle.

    Type, sampling, order and conditions stay as declared.

    Args:
        entry: A `Float`, `Int` or `Choice` of KerasTuner; it stays as it is.
        lr_range: The rates to keep.
        relation: How values turn into rates.

    Returns:
        A new hyperparameter, to be put in the old one's place with `replace_entry`.

    Raises:
        LearningRateError: It can't be narrowed.
    """
    check_can_narrow(entry)
    values = _InOrder(entry, relation) if number_of_values(entry) < math.inf else None
    lowest, highest = relation.rate_bounds(entry_bounds(entry))
    if (highest if values is None else values.rate(values.size - 1)) <= 0:
        raise LearningRateError(
            CANT_NARROW.format(name=entry.name, entry=entry, lack="no positive numbers to choose from")
        )
    (low, high), room = lr_range, 10 ** (LEAST_SHARE * lr_range.decades)
    if lr_range.max_lr > highest:
        low = min(low, highest / room)
    if lr_range.min_lr < lowest:
        high = max(high, lowest * room)
    low, high = max(low, lowest), min(high, highest)
    # Each root by itself: the product of two tiny bounds is zero.
    middle = min(max(math.sqrt(low) * math.sqrt(high), low), high)
    if values is not None:
        return _narrow_list(entry, values, lr_range, (low, high, middle))
    least, most = entry_bounds(entry)
    first, last = sorted(min(max(relation.value(rate), least), most) for rate in (low, high))
    default = entry.default if first <= entry.default <= last else relation.value(middle)
    return with_bounds(entry, first, last, min(max(default, first), last))


def nearest_value(entry: Any, rate: float, relation: Relation = IDENTITY) -> Any:
    """Return the value of a hyperparameter whose learning rate is nearest to one.

    Args:
        entry: The hyperparameter.
        rate: The learning rate.
        relation: How values turn into rates.

    Raises:
        LearningRateError: The hyperparameter holds no learning rates.
    """
    return narrow_entry(entry, LRRange(rate * (1 - 1e-6), rate * (1 + 1e-6)), relation).default


def explain_narrowing(
    entry: Any, replacement: Any, lr_range: LRRange, relation: Relation = IDENTITY
) -> Narrowing:
    """Return, in figures and words, what narrowing a hyperparameter to a range did.

    Args:
        entry: As it was declared.
        replacement: What `narrow_entry` made of it.
        lr_range: The rates that were to be kept.
        relation: How values turn into rates.
    """
    lowest, highest = relation.rate_bounds(entry_bounds(entry))
    found = f"range found, {bounds_in_words(*lr_range)},"
    is_whole = lr_range.min_lr > highest or lr_range.max_lr < lowest
    slack = 1.0 if is_whole else SLIGHTLY
    above = f"above the declared maximum, {highest:.3g}" if lr_range.max_lr > slack * highest else ""
    below = f"below the declared minimum, {lowest:.3g}" if slack * lr_range.min_lr < lowest else ""
    beyond = " and ".join(filter(None, (above, below)))
    if beyond:
        part = "The" if is_whole else "Part of the"
        beyond = f"{part} {found} lies {beyond}; declare wider bounds to search there."
    is_cut = entry_bounds(entry) != entry_bounds(replacement)
    left = list(dict.fromkeys(replacement.values)) if is_cut and number_of_values(replacement) <= 2 else []
    inside = [value for value in left if _decades_outside(relation.rate(value), lr_range) <= TOLERANCE]
    few = ""
    if left and len(inside) < 2:
        words = " and ".join(
            f"{value:.3g}" + ("" if relation.is_identity else f" (a rate of {relation.rate(value):.3g})")
            for value in left
        )
        kept = "the nearest two are" if left[1:] else "it alone is" if inside else "the nearest one is"
        few = f"{'One' if inside else 'No'} declared value lies in the {found} so {kept} kept: {words}."
    # Part of the range beyond the bounds, or a neighbour beside the only value inside, asks for nothing.
    note = beyond if is_whole else "" if inside and left[1:] else few
    remarks = [] if is_whole else [beyond, "" if note else few]
    return Narrowing(
        name=entry.name,
        declared=entry_bounds(entry),
        narrowed=entry_bounds(replacement),
        note=note,
        remark=" ".join(filter(None, remarks)),
    )


def number_of_values(entry: Any) -> float:
    """Return how many values KerasTuner draws from for a hyperparameter; infinite between real bounds."""
    if isinstance(entry, hp_types.Fixed):
        return 1
    if isinstance(entry, (hp_types.Choice, hp_types.Boolean)):
        return len(set(entry.values))
    if isinstance(entry, hp_types.Float) and entry.step is None:
        return math.inf
    # As KerasTuner counts them.
    if _is_geometric(entry):
        return int(math.log(entry.max_value / entry.min_value, entry.step) + 1e-8) + 1
    return int((entry.max_value - entry.min_value) // (entry.step or 1) + 1)


def union_of_parts(entry: Any, parts: Sequence[Any], default: float) -> Any:
    """Return the smallest hyperparameter of the declared kind that holds all of several parts.

    Args:
        entry: As it was declared.
        parts: What `narrow_entry` made of it for several ranges, at least one.
        default: Its default value, from one of the parts.
    """
    if isinstance(entry, hp_types.Choice):
        kept = {value for part in parts for value in part.values}
        return _choice(entry, kept, default)
    low, high = min(part.min_value for part in parts), max(part.max_value for part in parts)
    return with_bounds(entry, low, high, default)


def allows(part: Any, value: Any) -> bool:
    """Return whether a part allows a value.

    Args:
        part: What `narrow_entry` made of a hyperparameter.
        value: A value on the hyperparameter's grid, where it has one.
    """
    if isinstance(part, hp_types.Choice):
        return value in part.values
    slack = TOLERANCE * max(abs(part.min_value), abs(part.max_value))
    return bool(part.min_value - slack <= value <= part.max_value + slack)


def spread_into(value: Any, entry: Any, part: Any) -> Any:
    """Return the value that stands for a proposed one within a part of the space.

    A value inside stays. Those outside are spread over the part in their order, so that values drawn evenly
    from all of the space are still drawn evenly from the part.

    Args:
        value: A value of `entry`.
        entry: The hyperparameter that it was proposed for.
        part: What is allowed: what `narrow_entry` made of a hyperparameter of the same name.
    """
    if allows(part, value):
        return value
    try:
        place = entry.value_to_prob(value)
        low, high = sorted(entry.value_to_prob(end) for end in entry_bounds(part))
    except (ValueError, ZeroDivisionError):
        # A value that the space doesn't hold, or no longer holds, has no place in it.
        return part.default
    outside = 1.0 - (high - low)
    if not (0.0 <= place <= 1.0 and outside > 0.0):
        return part.default
    share = place if place < low else place - (high - low)
    return part.prob_to_value(min(max(share / outside, 0.0), 1.0))


class _InOrder:
    """The values of a `Choice`, a grid or an `Int`, in the order of their learning rates.

    Args:
        entry: The hyperparameter.
        relation: How its values turn into rates.
    """

    def __init__(self, entry: Any, relation: Relation) -> None:
        self._entry, self._relation = entry, relation
        self._listed = sorted(set(entry.values)) if isinstance(entry, hp_types.Choice) else None
        self.size = int(number_of_values(entry))
        self.rises = True
        self.rises = self.rate(0) <= self.rate(self.size - 1)

    def value(self, index: int) -> Any:
        """Return the value at an index."""
        index = index if self.rises else self.size - 1 - index
        return _grid_value(self._entry, index) if self._listed is None else self._listed[index]

    def rate(self, index: int) -> float:
        """Return the learning rate at an index."""
        return self._relation.rate(self.value(index))

    def search(self, rate: float) -> int:
        """Return the first index whose rate is not below another."""
        return bisect.bisect_left(range(self.size), rate, key=self.rate)


def _narrow_list(entry: Any, values: _InOrder, lr_range: LRRange, rates: tuple[float, float, float]) -> Any:
    """Narrow a `Choice`, a grid or an `Int` to some of its values.

    Args:
        entry: The hyperparameter.
        values: Its values.
        lr_range: The range of rates.
        rates: The lowest and the highest rate to search, and the middle.
    """

    def outside(index: int) -> float:
        return _decades_outside(values.rate(index), lr_range)

    low, high, middle = rates
    first, last = values.search(low * (1 - TOLERANCE)), values.search(high * (1 + TOLERANCE)) - 1
    if first > last:
        first = last = min((index for index in (last, first) if 0 <= index < values.size), key=outside)
    if first == last:
        edge = math.inf if lr_range.evidence is None else lr_range.evidence.edge or math.inf
        hopeful = [
            index
            for index in (first - 1, first + 1)
            if 0 <= index < values.size
            and outside(index) <= HOPELESS_SHARE * lr_range.decades
            and values.rate(index) <= edge
        ]
        nearest = min(hopeful, key=outside, default=first)
        first, last = min(first, nearest), max(last, nearest)
    at = values.search(middle)
    around = [min(max(index, first), last) for index in (at - 1, at)]
    default = values.value(min(around, key=lambda index: abs(math.log(values.rate(index) / middle))))
    if isinstance(entry, hp_types.Choice):
        kept = {values.value(index) for index in range(first, last + 1)}
        return _choice(entry, kept, entry.default if entry.default in kept else default)
    if not values.rises:
        first, last = values.size - 1 - last, values.size - 1 - first
    return _part_of_grid(entry, first, last, default)


def _choice(entry: Any, kept: set[float], default: float) -> Any:
    """Return a `Choice` with some of its values, in its own order, and another default."""
    values = [value for value in entry.values if value in kept]
    conditions = list(entry.conditions)
    return hp_types.Choice(entry.name, values, entry.ordered, default=default, conditions=conditions)


def _part_of_grid(entry: Any, first: int, last: int, default: float) -> Any:
    """Return a grid or an `Int` with its values between two indices, both included.

    Args:
        entry: The hyperparameter with the whole grid.
        first: Index of the first value to keep.
        last: Index of the last.
        default: The default where the declared one is left out.
    """
    low, high = _grid_value(entry, first), _grid_value(entry, last)
    if _is_geometric(entry):
        # As KerasTuner counts from the new minimum, so that a grid search tries no rate twice.
        high = min(type(low)(low * math.pow(entry.step, last - first)), entry.max_value)
    elif (high - low) // (entry.step or 1) < last - first:
        # Rounding has cost the last value. A sliver of a step brings it back: above, or below where the
        # declared maximum leaves no room above.
        if high + 1e-6 * entry.step <= entry.max_value:
            high += 1e-6 * entry.step
        else:
            low -= TOLERANCE * entry.step
    if (first, last) == (0, number_of_values(entry) - 1):
        low, high = entry.min_value, entry.max_value
    part = with_bounds(entry, low, high, low)
    if allows(part, entry.default):
        default = entry.default
    # What lies on the grid is written as KerasTuner counts it, again so that it is tried once.
    if _is_geometric(entry):
        position = math.log(default / low, entry.step)
    else:
        position = (default - low) / (entry.step or 1)
    if abs(position - round(position)) < 1e-6:
        default = _grid_value(part, round(position))
    return with_bounds(entry, low, high, min(max(default, low), high))


def _is_geometric(entry: Any) -> bool:
    return entry.step is not None and entry.sampling == "log"


def _grid_value(entry: Any, index: int) -> Any:
    """Return the value of a grid, or of an `Int`, at an index, as KerasTuner computes it."""
    if _is_geometric(entry):
        value = entry.min_value * math.pow(entry.step, index)
    else:
        value = entry.min_value + index * (entry.step or 1)
    return int(value) if isinstance(entry, hp_types.Int) else float(value)


def _decades_outside(rate: float, lr_range: LRRange) -> float:
    """Return how far a rate lies outside of a range: 0 inside, infinite where it is no rate."""
    if not (math.isfinite(rate) and rate > 0):
        return math.inf
    low, high, place = (math.log10(one) for one in (*lr_range, rate))
    return max(low - place, place - high, 0.0)
