"""The learning-rate hyperparameter of a `keras_tuner.HyperParameters`, and how it is narrowed to a range.

The rooms, from the ground up: `entries` finds and replaces hyperparameters, `learning_rate` tells which one
is the learning rate, `relation` turns values into rates, `grid` is the arithmetic of a step, `narrowing`
narrows, and `parts` holds together what was narrowed to several ranges.
"""

from __future__ import annotations

from typing import Any

from lrtuner.space.entries import (
    LearningRateError,
    LearningRateNotFoundError,
    NothingToNarrowError,
    entry_bounds,
    entry_named,
    remove_entry,
    replace_entry,
    spread_values,
)
from lrtuner.space.learning_rate import find_learning_rate, find_learning_rates, is_named_like_learning_rate
from lrtuner.space.narrowing import Narrowing, explain_narrowing, narrow_entry
from lrtuner.space.parts import allows, spread_into, union_of_parts
from lrtuner.space.relation import IDENTITY, Relation

__all__ = [
    "IDENTITY",
    "LearningRateError",
    "LearningRateNotFoundError",
    "Narrowing",
    "NothingToNarrowError",
    "Relation",
    "allows",
    "as_rate",
    "bounds",
    "describe",
    "entry_bounds",
    "entry_named",
    "explain_narrowing",
    "find_learning_rate",
    "find_learning_rates",
    "is_inside",
    "is_named_like_learning_rate",
    "move_inside",
    "narrow_entry",
    "narrowed",
    "registered",
    "remove_entry",
    "replace",
    "replace_entry",
    "spread_into",
    "spread_values",
    "union",
    "union_of_parts",
]

# Earlier names, until every caller has the new ones.
bounds = entry_bounds
describe = explain_narrowing
move_inside = spread_into
narrowed = narrow_entry
registered = entry_named
replace = replace_entry
union = union_of_parts


def is_inside(value: Any, part: Any) -> bool:
    """Return `allows(part, value)`."""
    return allows(part, value)


def as_rate(value: float, relation: Relation | None) -> float:
    """Return `relation.rate(value)`; None is taken for `IDENTITY`."""
    return (relation or IDENTITY).rate(value)
