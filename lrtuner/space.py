"""Narrowing the learning-rate hyperparameter of a `keras_tuner.HyperParameters` to a range of rates."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve import check_keys, config_float
from lrtuner.lr_range import LRRange

# "lr" or "learning_rate" as the last whole word: "adam_lr" and "encoder/learning_rate", but not "colr".
_LEARNING_RATE_NAME = re.compile(r"(?:^|[\W_])(?:lr|learning[\W_]?rate)$", re.IGNORECASE)

# Where a range lies beyond the declared bounds, at least this share of its width (in decades) is searched at
# the bound that it crosses.  Little of that can be good, so far from the range's middle, but a single value
# is no search.
_LEAST_SHARE = 0.5

# Grid values are computed in floating point: 1e-6 * 10 ** 3 differs from 1e-3.  In steps of the grid.
_GRID_TOLERANCE = 1e-9


class LearningRateError(ValueError):
    """The learning-rate hyperparameter can't be told, or can't be narrowed."""


class NothingToNarrowError(LearningRateError):
    """The learning rate is fixed, or chosen from things that are no numbers: there is nothing to narrow."""


class LearningRateNotFoundError(LearningRateError):
    """No such hyperparameter is registered.

    It may be yet: one that is declared in `HyperModel.fit` appears in the first trial.
    """


@dataclasses.dataclass(frozen=True)
class Narrowed:
    """What `narrow` did to a hyperparameter.

    Attributes:
        name: The hyperparameter's name.
        declared: Smallest and largest value before.
        narrowed: Smallest and largest value that the search can now draw.
        values: The values that are left, in KerasTuner's order, where it draws from a list (a `Choice`); None
            where it draws between bounds, in steps or not.
        default: The default value now, which a search may try first.
        clipped: Whether the range lay, wholly or partly, beyond the declared bounds.
        note: What had to be done about it, a sentence for the user; empty where the range fitted.
    """

    name: str
    declared: tuple[float, float]
    narrowed: tuple[float, float]
    values: tuple[float, ...] | None
    default: float
    clipped: bool
    note: str

    def __str__(self) -> str:
        """Describe the change in one line."""
        if self.values is None:
            now = f"{self.narrowed[0]:.3g} to {self.narrowed[1]:.3g}"
        else:
            now = ", ".join(f"{value:.3g}" for value in self.values)
        before = f"{self.declared[0]:.3g} to {self.declared[1]:.3g}"
        return f"{self.name}: narrowed from {before} to {now}." + (f" {self.note}" if self.note else "")


@dataclasses.dataclass(frozen=True)
class Relation:
    """How a hyperparameter's values turn into learning rates, known at a few points.

    Between the points, the logarithm of the rate is taken as linear in the value or in its logarithm,
    whichever the points fit better: exact for rates like `10 ** value` and `value * batch_size / 256`.

    Attributes:
        values: Values of the hyperparameter, at least two, strictly increasing.
        rates: The learning rate at each, positive, strictly increasing or strictly decreasing.

    Raises:
        LearningRateError: The rates don't depend on the values, or neither rise nor fall throughout.
    """

    values: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        points = ", ".join(
            f"{value:.4g} -> {rate:.4g}" for value, rate in zip(self.values, self.rates, strict=True)
        )
        if max(self.rates) - min(self.rates) <= 1e-6 * max(self.rates):
            raise LearningRateError(
                f"the learning rate does not depend on the hyperparameter ({points}): pass it to the "
                "optimizer"
            )
        steps = np.diff(np.array(self.rates) * math.copysign(1, self.rates[-1] - self.rates[0]))
        if min(self.rates) <= 0 or (steps <= 0).any():
            raise LearningRateError(
                f"the learning rate neither rises nor falls throughout with the hyperparameter ({points}): "
                "declare one that is the learning rate itself"
            )

    @classmethod
    def from_points(cls, points: Any) -> Relation | None:
        """Build a relation from what JSON holds of one.

        Args:
            points: A dict with lists of `values` and `rates`, or None, which gives None.

        Raises:
            ValueError: It is neither.
        """
        if points is None:
            return None
        check_keys(points, {"values", "rates"}, cls.__name__)
        values, rates = (tuple(config_float(one, key) for one in points[key]) for key in ("values", "rates"))
        return cls(values, rates)

    @functools.cached_property
    def _logarithmic(self) -> bool:
        """Whether the logarithm of the value fits better than the value."""
        if min(self.values) <= 0:
            return False
        rates = np.log(self.rates)
        misfits = [
            np.abs(rates - np.polyval(np.polyfit(x, rates, 1), x)).max()
            for x in (np.array(self.values), np.log(self.values))
        ]
        return bool(misfits[1] < misfits[0])

    def rate(self, value: float) -> float:
        """Return the learning rate at a value, held constant beyond the known ones."""
        x = np.log(self.values) if self._logarithmic else np.array(self.values)
        return float(
            np.exp(np.interp(math.log(value) if self._logarithmic else value, x, np.log(self.rates)))
        )

    def value(self, rate: float) -> float:
        """Return the value at which the learning rate is so high, within the known values."""
        x = np.log(self.values) if self._logarithmic else np.array(self.values)
        order = slice(None) if self.rates[-1] > self.rates[0] else slice(None, None, -1)
        at = float(np.interp(math.log(rate), np.log(self.rates)[order], x[order]))
        return math.exp(at) if self._logarithmic else at


def as_rate(value: float, relation: Relation | None) -> float:
    """Return the learning rate that a value of the hyperparameter stands for."""
    return float(value) if relation is None else relation.rate(value)


class _Same:
    """The relation of a hyperparameter that is the learning rate itself."""

    def rate(self, value: float) -> float:
        return value

    def value(self, rate: float) -> float:
        return rate


def find_learning_rate(hyperparameters: keras_tuner.HyperParameters, name: str | None = None) -> str:
    """Return the name of the hyperparameter that holds the learning rate.

    It is the one whose name is or ends in `learning_rate` or `lr` as a whole word, in upper or lower case and
    in any name scope: `lr`, `adam_lr`, `encoder/learning_rate`, but not `colr`.  A `Fixed` one is passed over
    where there is another.

    Args:
        hyperparameters: The space to look in.
        name: The name, scopes included, where the user gave it; then it is only checked.

    Raises:
        LearningRateNotFoundError: There is no such hyperparameter.
        NothingToNarrowError: It is fixed, or has no numbers to choose from.
        LearningRateError: There are several, the name is registered more than once, or it can't be narrowed.
    """
    names = list(dict.fromkeys(entry.name for entry in hyperparameters.space))
    if name is None:
        name = _only_learning_rate(hyperparameters, names)
    elif name not in names:
        raise LearningRateNotFoundError(
            f"There is no hyperparameter named {name!r}. {_listed(names)} "
            'Name one of them, name scopes included: learning_rate="..."'
        )
    entry = registered(hyperparameters, name)
    if isinstance(entry, hp_types.Fixed):
        raise NothingToNarrowError(
            f"{name!r} is fixed at {entry.value!r}, so there is nothing to narrow. To search the learning "
            f'rate, declare it with hp.Float({name!r}, 1e-6, 10.0, sampling="log"), say'
        )
    _check_number(entry)
    return name


def narrow(
    hyperparameters: keras_tuner.HyperParameters,
    name: str,
    lr_range: LRRange,
    relation: Relation | None = None,
) -> Narrowed:
    """Narrow a hyperparameter, in place, to the values inside a range of learning rates.

    The declared bounds are a hard limit, and a search always keeps some room:

    - Where the range lies beyond a bound, what is left is their overlap, or half of the range's width (in
      decades) at that bound where the overlap is less.
    - A step keeps the user's grid: the values inside the range, else the nearest one, in decades.
    - A `Choice` keeps its values inside the range, else the nearest one, in decades.
    - The default stays where it is inside; otherwise it becomes the value nearest to the geometric middle.

    Type, sampling, order and conditions stay as declared, with one exception: bounds can't cut a
    `reverse_log` grid, which KerasTuner counts down from the maximum in steps scaled by the minimum, so it
    becomes a `Choice` of the grid's values.  KerasTuner draws from both alike.

    The entry in the space is replaced, so declaring the hyperparameter again in a build function changes
    nothing.  If it is active its value becomes the default; hyperparameters that depend on that value gain or
    lose theirs.

    Args:
        hyperparameters: The space that holds the hyperparameter.  Narrow it before the first trial: earlier
            values outside of the range make grid and Bayesian searches fail.
        name: As `find_learning_rate` returned it.
        lr_range: The rates to keep.
        relation: How values turn into rates, where the hyperparameter is not the learning rate itself.

    Returns:
        What was declared and what is left.

    Raises:
        LearningRateNotFoundError: There is no hyperparameter of that name.
        LearningRateError: It is registered more than once, or can't be narrowed.
    """
    entry = registered(hyperparameters, name)
    replacement = narrowed(entry, lr_range, relation)
    replace(hyperparameters, name, replacement)
    return describe(entry, replacement, lr_range, relation)


def narrowed(entry: Any, lr_range: LRRange, relation: Relation | None = None) -> Any:
    """Return what a hyperparameter becomes when it is narrowed; it stays as it is.

    Args:
        entry: A `Float`, `Int` or `Choice` of KerasTuner.
        lr_range: The rates to keep.
        relation: How values turn into rates, where they are not the rates.

    Returns:
        A new hyperparameter, as `narrow` puts it into the space.

    Raises:
        LearningRateError: It can't be narrowed.
    """
    _check_number(entry)
    if relation is None:
        _check_positive(entry)
    mapping = relation or _Same()
    if isinstance(entry, hp_types.Choice):
        return _narrow_choice(entry, lr_range, mapping)
    if entry.step is None:
        return _narrow_interval(entry, lr_range, mapping)
    return _narrow_grid(entry, lr_range, mapping)


def describe(entry: Any, replacement: Any, lr_range: LRRange, relation: Relation | None = None) -> Narrowed:
    """Return, in figures and words, what narrowing a hyperparameter to a range did.

    Args:
        entry: As it was declared.
        replacement: What `narrowed` made of it.
        lr_range: The rates that were to be kept.
        relation: How values turn into rates, where they are not the rates.
    """
    mapping = relation or _Same()
    declared = bounds(entry)
    declared_rates = _rates(declared, mapping)
    return Narrowed(
        name=entry.name,
        declared=declared,
        narrowed=bounds(replacement),
        values=tuple(replacement.values) if isinstance(replacement, hp_types.Choice) else None,
        default=replacement.default,
        clipped=lr_range.min_lr < declared_rates[0] or lr_range.max_lr > declared_rates[1],
        note=_note(declared_rates, _rates(bounds(replacement), mapping), lr_range),
    )


def union(entry: Any, parts: Sequence[Any], default: float) -> Any:
    """Return the smallest hyperparameter of the declared kind that holds all of several narrowed ones.

    Args:
        entry: As it was declared.
        parts: What `narrowed` made of it for several ranges, at least one.
        default: Its default value, from one of the parts.
    """
    are_choices = [isinstance(part, hp_types.Choice) for part in parts]
    if any(are_choices) and not all(are_choices):
        # A `reverse_log` grid of which one range keeps all and another some.
        return _with_bounds(entry, entry.min_value, entry.max_value, default)
    if all(are_choices):
        values = [value for part in parts for value in part.values]
        order = list(entry.values) if isinstance(entry, hp_types.Choice) else sorted(values)
        return hp_types.Choice(
            entry.name,
            values=[value for value in dict.fromkeys(order) if value in values],
            ordered=parts[0].ordered,
            default=default,
            conditions=list(entry.conditions),
        )
    low, high = min(part.min_value for part in parts), max(part.max_value for part in parts)
    return _with_bounds(entry, low, high, default)


def is_inside(value: Any, part: Any) -> bool:
    """Return whether a value is one that a narrowed hyperparameter may have.

    Args:
        value: A value on the hyperparameter's grid, where it has one.
        part: What `narrowed` made of it.
    """
    if isinstance(part, hp_types.Choice):
        return value in part.values
    slack = _GRID_TOLERANCE * max(abs(part.min_value), abs(part.max_value))
    return bool(part.min_value - slack <= value <= part.max_value + slack)


def move_inside(value: Any, entry: Any, part: Any) -> Any:
    """Return the value that stands for a proposed one within a part of the space.

    A value inside stays.  Those outside are spread over the part in their order, so that values drawn evenly
    from all of the space are still drawn evenly from the part.

    Args:
        value: A value of `entry`.
        entry: The hyperparameter that it was proposed for.
        part: What is allowed, a `narrowed` hyperparameter of the same name.
    """
    if is_inside(value, part):
        return value
    try:
        place = entry.value_to_prob(value)
        low, high = sorted(entry.value_to_prob(end) for end in bounds(part))
    except (ValueError, ZeroDivisionError):
        # A value that the space doesn't hold, or no more, has no place in it.
        return part.default
    outside = 1.0 - (high - low)
    if not (0.0 <= place <= 1.0 and outside > 0.0):
        return part.default
    share = place if place < low else place - (high - low)
    return part.prob_to_value(min(max(share / outside, 0.0), 1.0))


def spread_values(hyperparameters: keras_tuner.HyperParameters, name: str) -> list[float]:
    """Return values of a hyperparameter from its lowest to its highest, to look at what they do.

    Args:
        hyperparameters: The space that holds it.
        name: As `find_learning_rate` returned it.

    Returns:
        All values of a `Choice`, otherwise at most five, strictly increasing.
    """
    entry = registered(hyperparameters, name)
    if isinstance(entry, hp_types.Choice):
        return sorted(set(entry.values))
    inner = [entry.prob_to_value(share) for share in (0.25, 0.5, 0.75)]
    return sorted({entry.min_value, *inner, entry.max_value})


def _only_learning_rate(hyperparameters: keras_tuner.HyperParameters, names: Sequence[str]) -> str:
    """Return the one name that reads as a learning rate's, out of all `names`."""
    candidates = [name for name in names if _LEARNING_RATE_NAME.search(name)]
    if len(candidates) > 1:
        # A rate that the user fixed beside one to search is no competitor.
        searched = [entry.name for entry in hyperparameters.space if not isinstance(entry, hp_types.Fixed)]
        candidates = [name for name in candidates if name in searched] or candidates
    if not candidates:
        raise LearningRateNotFoundError(
            f"No hyperparameter is named like a learning rate. {_listed(names)} "
            + ('If one of them is the learning rate, name it: learning_rate="..."' if names else _DECLARE)
        )
    if len(candidates) > 1:
        raise LearningRateError(
            f"Several hyperparameters are named like a learning rate: {', '.join(map(repr, candidates))}. "
            f"Name the one to narrow, for example learning_rate={candidates[0]!r}, or all of them in a list, "
            f"learning_rate={candidates!r}, for a range each."
        )
    return candidates[0]


_DECLARE = 'Declare it where the model is built: hp.Float("learning_rate", 1e-6, 10.0, sampling="log"), say.'


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "No hyperparameters are registered at all."
    return f"There are: {', '.join(map(repr, names))}."


def registered(hyperparameters: keras_tuner.HyperParameters, name: str) -> Any:
    """Return the one registered hyperparameter of that name.

    Args:
        hyperparameters: The space to look in.
        name: The name, scopes included.

    Raises:
        LearningRateNotFoundError: There is none.
        LearningRateError: There are several, under different conditions.
    """
    entries = [entry for entry in hyperparameters.space if entry.name == name]
    if not entries:
        names = list(dict.fromkeys(entry.name for entry in hyperparameters.space))
        raise LearningRateNotFoundError(f"There is no hyperparameter named {name!r}. {_listed(names)}")
    if len(entries) > 1:
        raise LearningRateError(
            f"The hyperparameter {name!r} is registered {len(entries)} times, under different conditions, "
            "which KerasTuner itself can't search. Give each branch a name of its own, or declare it once, "
            "outside of the conditions."
        )
    return entries[0]


def _check_number(entry: Any) -> None:
    """Raise unless the hyperparameter draws numbers from more than one."""
    if isinstance(entry, (hp_types.Float, hp_types.Int)) or (
        isinstance(entry, hp_types.Choice) and all(map(_is_number, entry.values))
    ):
        return
    raise NothingToNarrowError(_CANT_NARROW.format(name=entry.name, entry=entry, lack="no numbers"))


def _check_positive(entry: Any) -> None:
    """Raise unless the hyperparameter can draw positive numbers."""
    if isinstance(entry, hp_types.Choice):
        positive = any(value > 0 for value in entry.values)
    else:
        positive = entry.max_value > 0 and (
            entry.step is None or _grid_value(entry, _grid_size(entry) - 1) > 0
        )
    if not positive:
        raise LearningRateError(_CANT_NARROW.format(name=entry.name, entry=entry, lack="no positive numbers"))


_CANT_NARROW = (
    "The hyperparameter {name!r} can't be narrowed to a range of learning rates: {entry!r} has {lack} to "
    'choose from. Declare it with hp.Float({name!r}, 1e-6, 10.0, sampling="log"), say.'
)


def _rates(ends: tuple[float, float], mapping: Relation | _Same) -> tuple[float, float]:
    """Return the learning rates at the smallest and the largest value, in ascending order."""
    low, high = sorted(map(mapping.rate, ends))
    return low, high


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _overlap(low: float, high: float, lr_range: LRRange) -> tuple[float, float]:
    """Return the part of the bounds `low` to `high` that is to be searched for `lr_range`."""
    least = (lr_range.max_lr / lr_range.min_lr) ** _LEAST_SHARE
    first, last = lr_range.min_lr, lr_range.max_lr
    if lr_range.max_lr > high:
        first = min(first, high / least)
    if lr_range.min_lr < low:
        last = max(last, low * least)
    return max(first, low), min(last, high)


def _decades_outside(value: float, lr_range: LRRange) -> float:
    """Return how far a value lies outside of the range: 0 inside of it, infinite where it is no rate."""
    if not (math.isfinite(value) and value > 0):
        return math.inf
    rate = math.log10(value)
    return max(math.log10(lr_range.min_lr) - rate, rate - math.log10(lr_range.max_lr), 0.0)


def _middle(low: float, high: float) -> float:
    # Each root by itself: the product of two tiny bounds is zero.
    return min(max(math.sqrt(low) * math.sqrt(high), low), high)


def _to_search(entry: Any, lr_range: LRRange, mapping: Relation | _Same) -> tuple[float, float, float]:
    """Return the lowest and the highest value to search, and the one in the middle of their rates."""
    low, high = _overlap(*_rates((entry.min_value, entry.max_value), mapping), lr_range)
    first, last = sorted((mapping.value(low), mapping.value(high)))
    first, last = max(first, entry.min_value), min(last, entry.max_value)
    return first, last, min(max(mapping.value(_middle(low, high)), first), last)


def _narrow_interval(entry: Any, lr_range: LRRange, mapping: Relation | _Same) -> Any:
    """Narrow a `Float` or `Int` without a step."""
    low, high, middle = _to_search(entry, lr_range, mapping)
    if isinstance(entry, hp_types.Int):
        first, last = math.ceil(low), math.floor(high)
        if first > last:
            # `first` is the integer above the range, `last` the one below; both lie in the declared bounds.
            first = last = min(
                (last, first), key=lambda value: _decades_outside(mapping.rate(value), lr_range)
            )
        low, high = first, last
        middle = min(max(round(middle), first), last)
    return _with_bounds(entry, low, high, entry.default if low <= entry.default <= high else middle)


def _with_bounds(entry: Any, low: float, high: float, default: float) -> Any:
    return type(entry)(
        entry.name,
        min_value=low,
        max_value=high,
        step=entry.step,
        sampling=entry.sampling,
        default=default,
        conditions=list(entry.conditions),
    )


def _grid_size(entry: Any) -> int:
    """Return how many values KerasTuner draws from, for a `Float` or `Int` with a step."""
    if entry.sampling == "linear":
        return int((entry.max_value - entry.min_value) // entry.step + 1)
    return int(math.log(entry.max_value / entry.min_value, entry.step) + 1e-8) + 1


def _grid_value(entry: Any, index: int) -> float:
    """Return the value that KerasTuner draws for an index: ascending, but descending for `reverse_log`."""
    if entry.sampling == "linear":
        value = entry.min_value + index * entry.step
    elif entry.sampling == "log":
        value = entry.min_value * math.pow(entry.step, index)
    else:
        value = entry.max_value + entry.min_value - entry.min_value * math.pow(entry.step, index)
    return int(value) if isinstance(entry, hp_types.Int) else float(value)


def _grid_position(entry: Any, value: float) -> float:
    """Return the index, with a fraction between grid values, of a value within the declared bounds."""
    if entry.sampling == "linear":
        return float((value - entry.min_value) / entry.step)
    if entry.sampling == "reverse_log":
        value = entry.max_value + entry.min_value - value
    return math.log(value / entry.min_value) / math.log(entry.step)


def _narrow_grid(entry: Any, lr_range: LRRange, mapping: Relation | _Same) -> Any:
    """Narrow a `Float` or `Int` with a step to values of its own grid."""
    low, high, middle = _to_search(entry, lr_range, mapping)
    least, most = 0, _grid_size(entry) - 1
    if entry.min_value <= 0 and isinstance(mapping, _Same):
        least = math.floor(-entry.min_value / entry.step) + 1

    def clip(index: int) -> int:
        return min(max(index, least), most)

    start, end = sorted((_grid_position(entry, low), _grid_position(entry, high)))
    first, last = clip(math.ceil(start - _GRID_TOLERANCE)), clip(math.floor(end + _GRID_TOLERANCE))
    if first > last:
        first = last = min(
            (last, first),
            key=lambda index: _decades_outside(mapping.rate(_grid_value(entry, index)), lr_range),
        )

    if entry.sampling == "reverse_log" and last - first < most:
        values = [_grid_value(entry, index) for index in range(last, first - 1, -1)]
        return _choice(entry, values, mapping, ordered=True)
    return _with_grid(entry, first, last, middle)


def _with_grid(entry: Any, first: int, last: int, middle: float) -> Any:
    """Return the hyperparameter with the part of its grid between two indices, both included."""
    if first == 0 and last == _grid_size(entry) - 1:
        low, high = entry.min_value, entry.max_value
    else:
        low, high = _grid_value(entry, first), min(_grid_value(entry, last), entry.max_value)
        if (high - low) // entry.step < last - first and entry.sampling == "linear":
            # Rounding has cost the last value; a sliver of a step brings it back, below where above is none.
            high = min(high + 1e-6 * entry.step, entry.max_value)
            if (high - low) // entry.step < last - first:
                low = max(low - _GRID_TOLERANCE * entry.step, entry.min_value)
    grid = _with_bounds(entry, low, high, low)

    def snapped(position: float) -> float:
        index = min(max(round(position), first), last)
        return min(_grid_value(grid, index - first), float(grid.max_value))

    default = snapped(_grid_position(entry, min(max(middle, low), high)))
    if entry.min_value <= entry.default <= entry.max_value:
        position = _grid_position(entry, entry.default)
        if first <= position <= last and abs(position - round(position)) > _GRID_TOLERANCE:
            # Between grid values by the user's own choice.
            default = entry.default
        elif first <= round(position) <= last:
            default = snapped(position)
    return _with_bounds(entry, low, high, default)


def _narrow_choice(entry: Any, lr_range: LRRange, mapping: Relation | _Same) -> Any:
    outside = [_decades_outside(mapping.rate(value), lr_range) for value in entry.values]
    kept = [value for value, far in zip(entry.values, outside, strict=True) if far < _GRID_TOLERANCE]
    return _choice(entry, kept or [entry.values[outside.index(min(outside))]], mapping, ordered=entry.ordered)


def _choice(entry: Any, values: list[float], mapping: Relation | _Same, *, ordered: bool) -> Any:
    """Return a `Choice` of `values`, with the default of `entry` where it is among them."""
    rates = [mapping.rate(value) for value in values]
    middle = _middle(min(rates), max(rates))
    default = min(values, key=lambda value: abs(math.log(mapping.rate(value) / middle)))
    for value in values:
        if math.isclose(value, entry.default, rel_tol=_GRID_TOLERANCE):
            default = value
    return hp_types.Choice(
        entry.name, values=values, ordered=ordered, default=default, conditions=list(entry.conditions)
    )


def bounds(entry: Any) -> tuple[float, float]:
    """Return the smallest and the largest value of a numeric hyperparameter."""
    if isinstance(entry, hp_types.Choice):
        return min(entry.values), max(entry.values)
    return entry.min_value, entry.max_value


def replace(hyperparameters: keras_tuner.HyperParameters, name: str, replacement: Any) -> None:
    """Put the replacement where the hyperparameter of that name was, and make the active values fit it."""
    entry = registered(hyperparameters, name)
    # KerasTuner has no public way to change a registered entry: `update_space` ignores known names, and
    # `merge` adds a second entry of the same name.
    hyperparameters._space[:] = [replacement if other is entry else other for other in hyperparameters.space]
    hyperparameters._hps[entry.name] = [replacement]
    if not hyperparameters.is_active(replacement):
        return
    hyperparameters.values[entry.name] = replacement.default
    # The space lists parents before their children.
    for other in hyperparameters.space:
        if hyperparameters.is_active(other):
            hyperparameters.values.setdefault(other.name, other.default)
        elif not hyperparameters.is_active(other.name):
            hyperparameters.values.pop(other.name, None)


def _note(declared: tuple[float, float], narrowed: tuple[float, float], lr_range: LRRange) -> str:
    """Say where the range lies beyond the declared bounds, or falls between the declared values."""
    found = f"the range found, {lr_range.min_lr:.3g} to {lr_range.max_lr:.3g},"
    above, below = lr_range.max_lr > declared[1], lr_range.min_lr < declared[0]
    if above and below:
        return f"{found[0].upper()}{found[1:]} covers all that was declared."
    if above or below:
        whole = lr_range.min_lr > declared[1] or lr_range.max_lr < declared[0]
        part = f"{found[0].upper()}{found[1:]} lies" if whole else f"Part of {found} lies"
        limit = (
            f"above the declared maximum, {declared[1]:.3g}"
            if above
            else f"below the declared minimum, {declared[0]:.3g}"
        )
        return f"{part} {limit}; declare wider bounds to search there."
    if _decades_outside(narrowed[0], lr_range) > _GRID_TOLERANCE:
        return f"No declared value lies in {found} so the nearest one is kept."
    return ""
