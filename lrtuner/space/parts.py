"""Parts of a hyperparameter: what it was narrowed to for one of several ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.space.entries import entry_bounds, with_bounds
from lrtuner.space.grid import TOLERANCE


def union_of_parts(entry: Any, parts: Sequence[Any], default: float) -> Any:
    """Return the smallest hyperparameter of the declared kind that holds all of several parts.

    Args:
        entry: As it was declared.
        parts: What `narrow_entry` made of it for several ranges, at least one.
        default: Its default value, from one of the parts.
    """
    are_choices = [isinstance(part, hp_types.Choice) for part in parts]
    if any(are_choices) and not all(are_choices):
        # A `reverse_log` grid of which one range keeps all and another some.
        return with_bounds(entry, entry.min_value, entry.max_value, default)
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
