"""The learning-rate hyperparameter of a `keras_tuner.HyperParameters`, and how it is narrowed to a range.

The modules, from the ground up: `entries` finds and replaces hyperparameters, `learning_rate` tells which one
is the learning rate, `grid` is the arithmetic of a step, `narrowing` narrows, and `parts` holds together what
was narrowed to several ranges. How values turn into rates is in `lrtuner.relation`.
"""

from __future__ import annotations

from lrtuner.errors import LearningRateError, LearningRateNotFoundError, NothingToNarrowError
from lrtuner.relation import IDENTITY, Relation
from lrtuner.space.entries import (
    entry_bounds,
    entry_named,
    has_given_default,
    remove_entry,
    replace_entry,
    spread_values,
)
from lrtuner.space.grid import number_of_values
from lrtuner.space.learning_rate import (
    find_branch_learning_rates,
    find_learning_rate,
    is_named_like_learning_rate,
)
from lrtuner.space.narrowing import Narrowing, explain_narrowing, narrow_entry, nearest_value
from lrtuner.space.parts import allows, spread_into, union_of_parts

__all__ = [
    "IDENTITY",
    "LearningRateError",
    "LearningRateNotFoundError",
    "Narrowing",
    "NothingToNarrowError",
    "Relation",
    "allows",
    "entry_bounds",
    "entry_named",
    "explain_narrowing",
    "find_branch_learning_rates",
    "find_learning_rate",
    "has_given_default",
    "is_named_like_learning_rate",
    "narrow_entry",
    "nearest_value",
    "number_of_values",
    "remove_entry",
    "replace_entry",
    "spread_into",
    "spread_values",
    "union_of_parts",
]
