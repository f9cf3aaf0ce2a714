"""Finding the hyperparameters that hold a learning rate, by their names."""

from __future__ import annotations

import itertools
import re
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.errors import LearningRateError, LearningRateNotFoundError, NothingToNarrowError
from lrtuner.space.entries import entry_named, entry_names, has_numbers, list_names

_WORD = r"(?:lr|learning[\W_]?rate)"
# The word as the last whole one: "adam_lr" and "encoder/learning_rate", but not "colr".
_ENDS_WITH_WORD = re.compile(rf"(?:^|[\W_]){_WORD}$", re.IGNORECASE)
# The word as the first whole one of the name's last part, after all name scopes: "lr_adam" and
# "encoder/learning_rate_head", but neither "lrelu" nor what the rest says to be a schedule's: "lr_decay".
_BEGINS_WITH_WORD = re.compile(
    rf"(?:^|/){_WORD}(?![^/]*[\W_](?:anneal|cool|cycle|decay|del|drop|epoch|fact|gamma|mult|patien|period|"
    r"plateau|power|ratio|redu|restart|scal|sched|step|thresh|warm))[\W_]+[^/]+$",
    re.IGNORECASE,
)
_DECLARE = 'Declare it where the model is built: hp.Float("learning_rate", 1e-6, 10.0, sampling="log"), say.'


def find_learning_rate(hyperparameters: keras_tuner.HyperParameters, name: str | None = None) -> str:
    """Return the name of the hyperparameter that holds the learning rate.

    It is found by the word `learning_rate` or `lr` in its name, in upper or lower case and in any name scope:

    - Names that are the word or end with it come first: `lr`, `adam_lr`, `encoder/learning_rate`, but not
      `colr`.
    - Where there are none, names that begin with the word count: `lr_adam`, `learning_rate_head`, but neither
      `lrelu` nor what belongs to a schedule, such as `lr_decay`, `lr_patience` and `lr_warmup_steps`.
    - A `Fixed` one and one without numbers, such as a `Boolean`, is passed over where there is another.

    Args:
        hyperparameters: The space to look in.
        name: The name, scopes included, where the user gave it; then it is only checked.

    Raises:
        LearningRateNotFoundError: There is no such hyperparameter.
        NothingToNarrowError: It is fixed, or has no numbers that bounds can cut.
        LearningRateError: There are several, the name is registered more than once, or it can't be narrowed.
    """
    if name is None:
        name = _only_learning_rate(hyperparameters)
    check_can_narrow(entry_named(hyperparameters, name))
    return name


def find_branch_learning_rates(hyperparameters: keras_tuner.HyperParameters) -> list[str]:
    """Return the names of the learning rates, of which a model has one.

    There are several where each is declared in a `conditional_scope` of its own, so that no two of them are
    ever active together.

    Args:
        hyperparameters: The space to look in.

    Raises:
        LearningRateError: As `find_learning_rate` does, for each of them.
    """
    names = find_learning_rates(hyperparameters)
    entries = [entry_named(hyperparameters, name) for name in names]
    if len(names) < 2 or not all(itertools.starmap(_exclude, itertools.combinations(entries, 2))):
        return [find_learning_rate(hyperparameters)]
    return [find_learning_rate(hyperparameters, name) for name in names]


def find_learning_rates(hyperparameters: keras_tuner.HyperParameters) -> list[str]:
    """Return the names of all hyperparameters that may hold a learning rate, in the space's order.

    They are those among which `find_learning_rate` expects a single one.
    """
    entries = {entry.name: entry for entry in hyperparameters.space}
    ending, beginning = (
        [name for name in entries if pattern.search(name)] for pattern in (_ENDS_WITH_WORD, _BEGINS_WITH_WORD)
    )
    searched = [name for name in ending if _is_searched(entries[name])]
    guessed = [name for name in beginning if _is_searched(entries[name])]
    # Names that begin with the word are a guess, so several of them don't outweigh one that is no rate to
    # search: a space without any is searched as it is declared.
    if searched or len(guessed) == 1 or not ending:
        return (
            searched or guessed or [name for name in beginning if isinstance(entries[name], hp_types.Fixed)]
        )
    return ending[:1]


def is_named_like_learning_rate(entry: Any) -> bool:
    """Return whether a hyperparameter is named like a learning rate and has numbers to choose from."""
    named = _ENDS_WITH_WORD.search(entry.name) or _BEGINS_WITH_WORD.search(entry.name)
    return named is not None and _is_searched(entry)


def check_can_narrow(entry: Any) -> None:
    """Raise unless the hyperparameter draws numbers that bounds can cut.

    Raises:
        NothingToNarrowError: It does not.
    """
    if isinstance(entry, hp_types.Fixed):
        raise NothingToNarrowError(
            f"{entry.name!r} is fixed at {entry.value!r}, so there is nothing to narrow. To search the "
            f'learning rate, declare it with hp.Float({entry.name!r}, 1e-6, 10.0, sampling="log"), say'
        )
    lack = "" if has_numbers(entry) else "no numbers to choose from"
    if getattr(entry, "sampling", None) == "reverse_log":
        lack = "values that bounds can't cut"
    if lack:
        raise NothingToNarrowError(CANT_NARROW.format(name=entry.name, entry=entry, lack=lack))


CANT_NARROW = (
    "The hyperparameter {name!r} can't be narrowed to a range of learning rates: {entry!r} has {lack}. "
    'Declare it with hp.Float({name!r}, 1e-6, 10.0, sampling="log"), say.'
)


def _only_learning_rate(hyperparameters: keras_tuner.HyperParameters) -> str:
    candidates = find_learning_rates(hyperparameters)
    if not candidates:
        names = entry_names(hyperparameters)
        raise LearningRateNotFoundError(
            f"No hyperparameter is named like a learning rate. {list_names(names)} "
            + ('If one of them is the learning rate, name it: learning_rate="..."' if names else _DECLARE)
        )
    if len(candidates) > 1:
        raise LearningRateError(
            f"Several hyperparameters are named like a learning rate: {', '.join(map(repr, candidates))}. "
            f"Name the one to narrow, for example learning_rate={candidates[0]!r}, or all of them in a list, "
            f"learning_rate={candidates!r}, for a range each."
        )
    return candidates[0]


def _exclude(entry: Any, other: Any) -> bool:
    """Return whether the conditions of two hyperparameters can't be met together."""
    return any(
        one.name == two.name and not set(one.values) & set(two.values)
        for one in entry.conditions
        for two in other.conditions
    )


def _is_searched(entry: Any) -> bool:
    return not isinstance(entry, hp_types.Fixed) and has_numbers(entry)
