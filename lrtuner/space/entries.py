"""The hyperparameters of a `keras_tuner.HyperParameters`: found, described and put back by name.

KerasTuner calls a hyperparameter that is registered in a search space an entry of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.errors import LearningRateError, LearningRateNotFoundError


def entry_named(hyperparameters: keras_tuner.HyperParameters, name: str) -> Any:
    """Return the one registered hyperparameter of a name.

    Args:
        hyperparameters: The space to look in.
        name: The name, scopes included.

    Raises:
        LearningRateNotFoundError: There is none.
        LearningRateError: There are several, under different conditions.
    """
    entries = [entry for entry in hyperparameters.space if entry.name == name]
    if not entries:
        raise LearningRateNotFoundError(
            f"There is no hyperparameter named {name!r}. {list_names(entry_names(hyperparameters))}"
        )
    if len(entries) > 1:
        raise LearningRateError(
            f"The hyperparameter {name!r} is registered {len(entries)} times, under different conditions, "
            "which KerasTuner itself can't search. Give each branch a name of its own, or declare it once, "
            "outside of the conditions."
        )
    return entries[0]


def entry_names(hyperparameters: keras_tuner.HyperParameters) -> list[str]:
    """Return the names that are registered, each once, in the space's order."""
    return list(dict.fromkeys(entry.name for entry in hyperparameters.space))


def list_names(names: Sequence[str]) -> str:
    """Return the sentence of an error message that lists the names there are."""
    if not names:
        return "No hyperparameters are registered at all."
    return f"There are: {', '.join(map(repr, names))}."


def has_numbers(entry: Any) -> bool:
    """Return whether a hyperparameter draws numbers: a `Float`, an `Int`, or a `Choice` of numbers."""
    if isinstance(entry, hp_types.Choice):
        return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in entry.values)
    return isinstance(entry, (hp_types.Float, hp_types.Int))


def entry_bounds(entry: Any) -> tuple[float, float]:
    """Return the smallest and the largest value of a numeric hyperparameter."""
    if isinstance(entry, hp_types.Choice):
        return min(entry.values), max(entry.values)
    return entry.min_value, entry.max_value


def has_given_default(entry: Any) -> bool:
    """Return whether the user gave a numeric hyperparameter a default.

    Without one, KerasTuner takes the smallest value, or the first of a list, and keeps no note of that.
    """
    first = entry.values[0] if isinstance(entry, hp_types.Choice) else entry.min_value
    return bool(entry.default != first)


def with_bounds(entry: Any, low: float, high: float, default: float) -> Any:
    """Return a copy of a `Float` or an `Int` with other bounds and another default."""
    return type(entry)(
        entry.name,
        min_value=low,
        max_value=high,
        step=entry.step,
        sampling=entry.sampling,
        default=default,
        conditions=list(entry.conditions),
    )


def spread_values(hyperparameters: keras_tuner.HyperParameters, name: str) -> list[float]:
    """Return values of a hyperparameter from its lowest to its highest, to look at what they do.

    Args:
        hyperparameters: The space that holds it.
        name: As `find_learning_rate` returned it.

    Returns:
        All values of a `Choice`, otherwise at most five, strictly increasing.
    """
    entry = entry_named(hyperparameters, name)
    if isinstance(entry, hp_types.Choice):
        return sorted(set(entry.values))
    inner = [entry.prob_to_value(share) for share in (0.25, 0.5, 0.75)]
    return sorted({entry.min_value, *inner, entry.max_value})


def replace_entry(hyperparameters: keras_tuner.HyperParameters, name: str, replacement: Any) -> None:
    """Put a hyperparameter where the one of that name was, in place, and make the active values fit it.

    Declaring the hyperparameter again in a build function then changes nothing. If it is active, its value
    becomes the replacement's default, and hyperparameters that depend on that value gain or lose theirs.

    Replace it before the first trial, or by one that allows all values of earlier trials: values outside
    of it make grid and Bayesian searches fail.

    Args:
        hyperparameters: The space that holds it.
        name: The name, scopes included.
        replacement: The new hyperparameter, of the same name.

    Raises:
        LearningRateNotFoundError: There is no hyperparameter of that name.
        LearningRateError: It is registered more than once.
    """
    entry = entry_named(hyperparameters, name)
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


def remove_entry(hyperparameters: keras_tuner.HyperParameters, entry: Any) -> None:
    """Take a hyperparameter out of a space, in place, but leave its value."""
    hyperparameters._space.remove(entry)
    hyperparameters._hps.pop(entry.name, None)
