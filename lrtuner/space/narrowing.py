"""Narrowing a learning-rate hyperparameter to a range of rates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve.lr_range import LRRange
from lrtuner.errors import LearningRateError
from lrtuner.space.entries import entry_bounds, with_bounds
from lrtuner.space.grid import TOLERANCE, grid_position, grid_size, grid_value, part_of_grid
from lrtuner.space.learning_rate import CANT_NARROW, check_has_numbers
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.values import bounds_in_words

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


@dataclasses.dataclass(frozen=True)
class Narrowing:
    """What narrowing did to a hyperparameter.

    Attributes:
        name: The hyperparameter's name.
        declared: Smallest and largest value before.
        narrowed: Smallest and largest value that the search can now draw.
        values: The values that are left, in KerasTuner's order, where it draws from a list (a `Choice`); None
            where it draws between bounds, in steps or not.
        note: What the user should know to declare better values; empty where the range fitted.
        remark: What else was done, which asks nothing of the user; mostly empty.
    """

    name: str
    declared: tuple[float, float]
    narrowed: tuple[float, float]
    values: tuple[float, ...] | None
    note: str
    remark: str = ""

    def __str__(self) -> str:
        """Describe the change in one line."""
        if self.values is None:
            now = bounds_in_words(*self.narrowed)
        else:
            now = ", ".join(f"{value:.3g}" for value in self.values)
        change = f"{self.name}: declared as {bounds_in_words(*self.declared)}, narrowed to {now}."
        return " ".join(part for part in (change, self.note, self.remark) if part)


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

    Type, sampling, order and conditions stay as declared, with one exception: bounds can't cut a
    `reverse_log` grid, which KerasTuner counts down from the maximum in steps scaled by the minimum, so it
    becomes a `Choice` of the grid's values. KerasTuner draws from both alike.

    Args:
        entry: A `Float`, `Int` or `Choice` of KerasTuner; it stays as it is.
        lr_range: The rates to keep.
        relation: How values turn into rates.

    Returns:
        A new hyperparameter, to be put in the old one's place with `replace_entry`.

    Raises:
        LearningRateError: It can't be narrowed.
    """
    check_has_numbers(entry)
    if relation.is_identity:
        _check_positive(entry)
    target = _Target.of(entry, lr_range, relation)
    if isinstance(entry, hp_types.Choice):
        return _narrow_choice(entry, target)
    if entry.step is not None:
        return _narrow_grid(entry, target)
    if isinstance(entry, hp_types.Int):
        return _narrow_integers(entry, target)
    low, high, middle = target.values(entry)
    return with_bounds(entry, low, high, entry.default if low <= entry.default <= high else middle)


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
    declared = entry_bounds(entry)
    declared_rates = relation.rate_bounds(declared)
    beyond = _beyond(declared_rates, lr_range)
    is_whole = lr_range.min_lr > declared_rates[1] or lr_range.max_lr < declared_rates[0]
    few = _few_values(entry, replacement)
    inside = [value for value in few if _is_inside(relation.rate(value), lr_range)]
    outside = [value for value in few if value not in inside]
    neighbour = _neighbour(inside, outside, lr_range, relation)
    return Narrowing(
        name=entry.name,
        declared=declared,
        narrowed=entry_bounds(replacement),
        values=tuple(replacement.values) if isinstance(replacement, hp_types.Choice) else None,
        note=beyond if is_whole else _too_few(inside, outside, lr_range, relation),
        remark=" ".join(filter(None, ("" if is_whole else beyond, neighbour))),
    )


@dataclasses.dataclass(frozen=True)
class _Target:
    """The learning rates to search, within the bounds of one hyperparameter.

    Attributes:
        low: The lowest rate.
        high: The highest rate.
        lr_range: The range that they come from, which may lie beyond the bounds.
        relation: How the hyperparameter's values turn into rates.
    """

    low: float
    high: float
    lr_range: LRRange
    relation: Relation

    @classmethod
    def of(cls, entry: Any, lr_range: LRRange, relation: Relation) -> _Target:
        """Return what is to be searched of a hyperparameter for a range."""
        lowest, highest = relation.rate_bounds(entry_bounds(entry))
        low, high = lr_range.min_lr, lr_range.max_lr
        least = 10 ** (LEAST_SHARE * lr_range.decades)
        if lr_range.max_lr > highest:
            low = min(low, highest / least)
        if lr_range.min_lr < lowest:
            high = max(high, lowest * least)
        return cls(max(low, lowest), min(high, highest), lr_range, relation)

    @property
    def middle(self) -> float:
        """The geometric middle of the rates to search."""
        # Each root by itself: the product of two tiny bounds is zero.
        return min(max(math.sqrt(self.low) * math.sqrt(self.high), self.low), self.high)

    def values(self, entry: Any) -> tuple[float, float, float]:
        """Return the lowest and the highest value to search, and the one in the middle of their rates."""
        first, last = sorted((self.relation.value(self.low), self.relation.value(self.high)))
        first, last = max(first, entry.min_value), min(last, entry.max_value)
        return first, last, min(max(self.relation.value(self.middle), first), last)

    def outside(self, value: float) -> float:
        """Return how many decades a value's rate lies outside of the range."""
        return decades_outside(self.relation.rate(value), self.lr_range.min_lr, self.lr_range.max_lr)

    def is_hopeless(self, value: float) -> bool:
        """Return whether a value outside of the range is not worth a trial, by the evidence."""
        evidence = self.lr_range.evidence
        edge = math.inf if evidence is None or evidence.edge is None else evidence.edge
        too_far = self.outside(value) > HOPELESS_SHARE * self.lr_range.decades
        return too_far or self.relation.rate(value) > edge

    def keep(
        self, first: int, last: int, limits: tuple[int, int], value_at: Callable[[int], float]
    ) -> tuple[int, int]:
        """Return the first and the last index of a list or grid to keep: two values where one is no search.

        Args:
            first: Index of the first value inside.
            last: Index of the last. Where it is below `first`, no value is inside, and the two are those of
                the values around.
            limits: The smallest and the largest index there is.
            value_at: Gives the value at an index. The rates rise or fall with the index.
        """

        def outside(index: int) -> float:
            return self.outside(value_at(index))

        if first > last:
            first = last = min((last, first), key=outside)
        if first < last:
            return first, last
        neighbours = [index for index in (first - 1, first + 1) if limits[0] <= index <= limits[1]]
        hopeful = [index for index in neighbours if not self.is_hopeless(value_at(index))]
        nearest = min(hopeful, key=outside, default=first)
        return min(first, nearest), max(last, nearest)


def decades_outside(rate: float, low: float, high: float) -> float:
    """Return how far a rate lies outside of two others: 0 between them, infinite where it is no rate."""
    if not (math.isfinite(rate) and rate > 0):
        return math.inf
    place = math.log10(rate)
    return max(math.log10(low) - place, place - math.log10(high), 0.0)


def _check_positive(entry: Any) -> None:
    """Raise unless the hyperparameter can draw positive numbers."""
    if isinstance(entry, hp_types.Choice):
        positive = any(value > 0 for value in entry.values)
    else:
        positive = entry.max_value > 0 and (entry.step is None or grid_value(entry, grid_size(entry) - 1) > 0)
    if not positive:
        raise LearningRateError(CANT_NARROW.format(name=entry.name, entry=entry, lack="no positive numbers"))


def _narrow_integers(entry: Any, target: _Target) -> Any:
    """Narrow an `Int` without a step."""
    low, high, middle = target.values(entry)
    limits = (entry.min_value, entry.max_value)
    first, last = target.keep(math.ceil(low), math.floor(high), limits, lambda value: value)
    default = entry.default if first <= entry.default <= last else min(max(round(middle), first), last)
    return with_bounds(entry, first, last, default)


def _narrow_grid(entry: Any, target: _Target) -> Any:
    """Narrow a `Float` or `Int` with a step to values of its own grid."""
    low, high, middle = target.values(entry)
    least, most = 0, grid_size(entry) - 1
    if entry.min_value <= 0 and target.relation.is_identity:
        least = math.floor(-entry.min_value / entry.step) + 1

    def clip(index: int) -> int:
        return min(max(index, least), most)

    start, end = sorted((grid_position(entry, low), grid_position(entry, high)))
    first, last = target.keep(
        clip(math.ceil(start - TOLERANCE)),
        clip(math.floor(end + TOLERANCE)),
        (least, most),
        lambda index: grid_value(entry, index),
    )
    if entry.sampling == "reverse_log" and last - first < most:
        values = [grid_value(entry, index) for index in range(last, first - 1, -1)]
        return _choice(entry, values, target, ordered=True)
    return part_of_grid(entry, first, last, middle)


def _narrow_choice(entry: Any, target: _Target) -> Any:
    """Narrow a `Choice` to values of its own, in their order."""
    in_order = sorted(set(entry.values), key=target.relation.rate)
    rates = [target.relation.rate(value) for value in in_order]
    inside = [
        index
        for index, rate in enumerate(rates)
        if decades_outside(rate, target.low, target.high) < TOLERANCE
    ] or [min(range(len(in_order)), key=lambda index: target.outside(in_order[index]))]
    first, last = target.keep(inside[0], inside[-1], (0, len(in_order) - 1), in_order.__getitem__)
    kept = in_order[first : last + 1]
    values = [value for value in entry.values if value in kept]
    return _choice(entry, values, target, ordered=entry.ordered)


def _choice(entry: Any, values: list[float], target: _Target, *, ordered: bool) -> Any:
    """Return a `Choice` of `values`, with the default of `entry` where it is among them."""
    default = min(values, key=lambda value: abs(math.log(target.relation.rate(value) / target.middle)))
    for value in values:
        if math.isclose(value, entry.default, rel_tol=TOLERANCE):
            default = value
    return hp_types.Choice(
        entry.name, values=values, ordered=ordered, default=default, conditions=list(entry.conditions)
    )


def _is_inside(rate: float, lr_range: LRRange) -> bool:
    return decades_outside(rate, lr_range.min_lr, lr_range.max_lr) <= TOLERANCE


def _beyond(declared: tuple[float, float], lr_range: LRRange) -> str:
    """Say where the range lies beyond the declared rates; empty where it does not."""
    lowest, highest = declared
    found = f"the range found, {lr_range.min_lr:.3g} to {lr_range.max_lr:.3g},"
    whole = lr_range.min_lr > highest or lr_range.max_lr < lowest
    far = 1.0 if whole else SLIGHTLY
    above, below = lr_range.max_lr > far * highest, far * lr_range.min_lr < lowest
    if above and below:
        return f"{found[0].upper()}{found[1:]} covers all that was declared."
    if not (above or below):
        return ""
    part = f"{found[0].upper()}{found[1:]} lies" if whole else f"Part of {found} lies"
    limit = f"above the declared maximum, {highest:.3g}"
    if below:
        limit = f"below the declared minimum, {lowest:.3g}"
    return f"{part} {limit}; declare wider bounds to search there."


def _too_few(inside: list[float], outside: list[float], lr_range: LRRange, relation: Relation) -> str:
    """Say that no declared value lies in the range, or only one without a neighbour near it."""
    found = f"the range found, {lr_range.min_lr:.3g} to {lr_range.max_lr:.3g},"
    if inside[1:] or bool(inside) == bool(outside):
        return ""
    if inside:
        only = _value_in_words(inside[0], relation)
        return (
            f"{only} is the only declared value in {found} so it is all that is left to search: declare more."
        )
    words = [_value_in_words(value, relation) for value in outside]
    kept = f"two are kept: {' and '.join(words)}" if words[1:] else f"one is kept: {words[0]}"
    return f"No declared value lies in {found} so the nearest {kept}."


def _neighbour(inside: list[float], outside: list[float], lr_range: LRRange, relation: Relation) -> str:
    """Say that a value outside of the range is kept beside the only one inside; empty where there is none."""
    if not (inside and outside):
        return ""
    only, other = (_value_in_words(values[0], relation) for values in (inside, outside))
    return (
        f"{only} is the only declared value in the range found, {lr_range.min_lr:.3g} to "
        f"{lr_range.max_lr:.3g}, so its neighbour is kept as well: {other}."
    )


def _value_in_words(value: float, relation: Relation) -> str:
    return f"{value:.3g}" if relation.is_identity else f"{value:.3g} (a rate of {relation.rate(value):.3g})"


def _few_values(entry: Any, replacement: Any) -> list[float]:
    """Return the values that are left where they are one or two of a longer list or grid; else none."""
    if isinstance(replacement, hp_types.Choice):
        values = list(dict.fromkeys(replacement.values))
    elif replacement.step is not None:
        values = [grid_value(replacement, index) for index in range(min(grid_size(replacement), 3))]
    elif isinstance(replacement, hp_types.Int):
        values = list(range(replacement.min_value, min(replacement.max_value + 1, replacement.min_value + 3)))
    else:
        return []
    return values if len(values) <= 2 and entry_bounds(entry) != entry_bounds(replacement) else []
