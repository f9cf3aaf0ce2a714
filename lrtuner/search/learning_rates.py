"""Which hyperparameters are the learning rates, and how each is declared."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.errors import LearningRateError, LearningRateNotFoundError
from lrtuner.search.options import SweepOptions
from lrtuner.search.settings import Setting, setting_values, sweep_label
from lrtuner.space.entries import entry_named
from lrtuner.space.learning_rate import (
    find_branch_learning_rates,
    find_learning_rate,
    is_named_like_learning_rate,
)


def declaration_of(space: kt.HyperParameters, name: str) -> dict[str, Any]:
    """Return how a hyperparameter is declared, as KerasTuner serializes it, to be kept and compared.

    Raises:
        LearningRateError: The space holds none of that name, or several.
    """
    entry = entry_named(space, name)
    # As it comes back from a file.
    return json.loads(  # type: ignore[no-any-return]
        json.dumps({"class_name": type(entry).__name__, "config": entry.get_config()})
    )


class LearningRates:
    """The learning rates of a search, by the names of their hyperparameters.

    Args:
        wrapped: The user's oracle, whose space holds them.
        options: The options of the sweeps.

    Attributes:
        declarations: How each is declared, as far as sweeps have ended.
    """

    def __init__(self, wrapped: kt.Oracle, options: SweepOptions) -> None:
        self._wrapped = wrapped
        self._options = options
        self.declarations: dict[str, dict[str, Any]] = {}

    def registered(self) -> list[str]:
        """Return the names of all hyperparameters of the search space."""
        return [entry.name for entry in self._wrapped.hyperparameters.space]

    def known(self) -> list[str]:
        """Return the names of the learning rates that are declared; those of branches may come later."""
        if self._options.several_names:
            registered = self.registered()
            return [name for name in self._options.several_names if name in registered]
        if self.declarations:
            return list(self.declarations)
        try:
            return self._found_in(self._wrapped.hyperparameters)
        except LearningRateError:
            return []

    def _found_in(self, space: kt.HyperParameters) -> list[str]:
        """Return the learning rate that the user named, or those that are found.

        Raises:
            LearningRateError: There is none, it can't be told from others, or it can't be narrowed.
        """
        named = self._options.names
        return [find_learning_rate(space, named[0])] if named else find_branch_learning_rates(space)

    def first(self) -> str | None:
        """Return the name for the first sweep; None if its training code is to declare the learning rate."""
        return next(iter((*self.known(), *self._options.names)), None)

    def keep(self, names: Iterable[str]) -> None:
        """Take in what the first sweep has found: the learning rates, each in a branch of its own."""
        registered = self.registered()
        for name in names:
            if name in registered:
                self.declare(name)

    def not_swept(self) -> list[str]:
        """Return the names without a sweep: of the user's list those that nothing declares, or found ones."""
        if self._options.names:
            registered = self.registered()
            return [name for name in self._options.several_names if name not in registered]
        space, known = self._wrapped.hyperparameters.space, self.known()
        return [one.name for one in space if is_named_like_learning_rate(one) and one.name not in known]

    def is_one_of_several(self) -> bool:
        """Return whether there are several learning rates, so that a sweep must say which one it is for."""
        return bool(self._options.several_names) or len(self.declarations) > 1

    def declare(self, name: str) -> str:
        """Keep how a learning rate is declared.

        Args:
            name: The hyperparameter's name; empty to find it.

        Returns:
            Its name.

        Raises:
            LearningRateError: It is not found, or can't be told from others.
        """
        space = self._wrapped.hyperparameters
        name = name or find_learning_rate(space, *self._options.names[:1])
        if name not in self.declarations:
            self.declarations[name] = declaration_of(space, name)
        return name

    def entry(self, name: str) -> Any:
        """Return a learning rate as it is declared, a new hyperparameter with each call."""
        # KerasTuner changes the config of a conditional hyperparameter while it reads it.
        return hp_types.deserialize(copy.deepcopy(self.declarations[name]))

    def label(self, name: str, setting: Setting) -> str:
        """Return in words what sets a sweep apart from the others; empty if there are no others."""
        return sweep_label(name if self.is_one_of_several() else None, setting)

    def check_space(self, space: kt.HyperParameters) -> None:
        """Raise if what is to be swept is not declared as it must be.

        Raises:
            LearningRateError: A learning rate is not found, or can't be narrowed.
            ValueError: A hyperparameter of `sweep_per` has too many values for a sweep each, or is not found.
        """
        entries = {entry.name: entry for entry in space.space}
        sweep_per = self._options.sweep_per or ()
        several = self._options.several_names
        # Those that are missing may be declared in another branch, which a sweep will look at.
        listed = [name for name in several if name in entries] or several[:1]
        rates = [find_learning_rate(space, name) for name in listed] or self._found_in(space)
        for name in sweep_per:
            if name in rates:
                raise ValueError(
                    f"sweep_per names {name!r}, the learning rate itself: name what moves its range, such as "
                    "the optimizer's hyperparameter."
                )
            if name not in entries:
                raise LearningRateNotFoundError(
                    f"sweep_per names {name!r}, but there is no such hyperparameter. There are: "
                    f"{', '.join(map(repr, entries))}."
                )
            setting_values(entries[name])
