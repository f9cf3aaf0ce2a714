"""Which hyperparameters are the learning rates, and how each is declared."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.errors import LearningRateError, LearningRateNotFoundError
from lrtuner.search import messages
from lrtuner.search.options import SweepOptions
from lrtuner.search.settings import Setting, setting_values, sweep_label
from lrtuner.space.entries import entry_bounds, entry_named
from lrtuner.space.learning_rate import (
    find_branch_learning_rates,
    find_learning_rate,
    is_named_like_learning_rate,
)
from lrtuner.space.relation import Relation


@dataclasses.dataclass(frozen=True)
class Declaration:
    """How a hyperparameter is declared, to be kept in JSON and compared.

    Attributes:
        class_name: Its class in KerasTuner.
        config: What its `get_config` returns.
    """

    class_name: str
    config: dict[str, Any]

    @classmethod
    def of(cls, hyperparameters: kt.HyperParameters, name: str) -> Declaration:
        """Return how a hyperparameter is declared in a space.

        Raises:
            LearningRateError: The space holds none of that name, or several.
        """
        entry = entry_named(hyperparameters, name)
        # As it comes back from a file, so that the two can be compared.
        return cls(type(entry).__name__, json.loads(json.dumps(entry.get_config())))

    @property
    def name(self) -> str:
        """The hyperparameter's name."""
        return str(self.config["name"])

    @property
    def is_conditional(self) -> bool:
        """Whether it is active only under conditions."""
        return bool(self.config["conditions"])

    def entry(self) -> Any:
        """Return the hyperparameter, a new one with each call."""
        # KerasTuner changes the config of a conditional hyperparameter while it reads it.
        return hp_types.deserialize(copy.deepcopy(self.to_config()))

    def __str__(self) -> str:
        """Describe the declaration as the call that would make it."""
        config = {key: value for key, value in self.config.items() if value is not None and value != []}
        arguments = [f"{key}={value!r}" for key, value in config.items() if key not in ("name", "conditions")]
        return f"{self.class_name}({', '.join([repr(self.name), *arguments])})"

    def to_config(self) -> dict[str, Any]:
        """Return the declaration as a dict for JSON."""
        return {"class_name": self.class_name, "config": self.config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Declaration:
        """Build the declaration that `to_config` described."""
        return cls(config["class_name"], config["config"])


def rates_between(entry: Any, relation: Relation) -> tuple[float, float]:
    """Return the lowest and the highest learning rate that a hyperparameter can have.

    Args:
        entry: The hyperparameter.
        relation: How its values turn into rates.
    """
    return relation.rate_bounds(entry_bounds(entry))


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
        self.declarations: dict[str, Declaration] = {}
        # As they were when an earlier run of this project ended.
        self._declared_before: dict[str, Declaration] = {}
        # Those of them that only other branches of the build function declare than its first build takes.
        self._in_other_branches: set[str] = set()
        # The hyperparameters that there were before the first sweep, or that the user was told of since.
        self._told_of: set[str] | None = None

    def restore(self, declarations: dict[str, Any], in_other_branches: Iterable[str] = ()) -> None:
        """Take over what an earlier run knew.

        Args:
            declarations: The declarations, as a `SearchRecord` holds them.
            in_other_branches: The hyperparameters that only branches declare that the first sweep's model
                did not take.
        """
        self._in_other_branches = set(in_other_branches)
        self.declarations = {name: Declaration.from_config(config) for name, config in declarations.items()}
        self._declared_before = dict(self.declarations)

    def to_config(self) -> dict[str, Any]:
        """Return the declarations, for a `SearchRecord`."""
        return {name: declaration.to_config() for name, declaration in self.declarations.items()}

    def known(self) -> list[str]:
        """Return the names of the learning rates that are declared; those of branches may come later."""
        if self._options.several_names:
            registered = self._registered()
            return [name for name in self._options.several_names if name in registered]
        if self.declarations:
            return list(self.declarations)
        try:
            return self._found_in(self._wrapped.hyperparameters)
        except LearningRateError:
            return []

    def _registered(self) -> dict[str, Any]:
        """Return all hyperparameters of the search space by name."""
        return {entry.name: entry for entry in self._wrapped.hyperparameters.space}

    def _found_in(self, hyperparameters: kt.HyperParameters) -> list[str]:
        """Return the learning rate that the user named, or those that are found.

        Raises:
            LearningRateError: There is none, it can't be told from others, or it can't be narrowed.
        """
        name = self._options.single_name
        return (
            find_branch_learning_rates(hyperparameters)
            if name is None
            else [find_learning_rate(hyperparameters, name)]
        )

    def name_to_sweep_first(self) -> str | None:
        """Return the name for the first sweep; None if its training code is to declare the learning rate."""
        return next(iter((*self.known(), *self._options.several_names)), self._options.single_name)

    def keep(self, names: Iterable[str]) -> None:
        """Take in what the first sweep has found: the learning rates, each in a branch of its own."""
        registered = self._registered()
        for name in names:
            if name in registered:
                self.declaration(name)

    def told_apart(self) -> bool:
        """Return whether there are several learning rates, so that a sweep must say which one it is for."""
        return bool(self._options.several_names) or len(self.declarations) > 1

    def declaration(self, name: str) -> Declaration:
        """Return how a learning rate is declared, and keep it.

        Args:
            name: The hyperparameter's name; empty to find it.

        Raises:
            LearningRateError: It is not found, or can't be told from others.
        """
        space = self._wrapped.hyperparameters
        name = name or find_learning_rate(space, self._options.single_name)
        if name not in self.declarations:
            self.declarations[name] = Declaration.of(space, name)
        return self.declarations[name]

    def label(self, name: str, setting: Setting) -> str:
        """Return in words what sets a sweep apart from the others; empty if there are no others."""
        return sweep_label(name if self.told_apart() else None, setting)

    def check_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Raise if what is to be swept is not declared as it must be.

        Args:
            hyperparameters: The search space.

        Raises:
            LearningRateError: A learning rate is not found, or can't be narrowed.
            ValueError: A hyperparameter of `sweep_per` has too many values for a sweep each, or is not found.
        """
        entries = {entry.name: entry for entry in hyperparameters.space}
        sweep_per = self._options.sweep_per or ()
        several = self._options.several_names
        # Those that are missing may be declared in another branch, which a sweep will look at.
        listed = [name for name in several if name in entries] or several[:1]
        names = [find_learning_rate(hyperparameters, name) for name in listed]
        for name in names or self._found_in(hyperparameters):
            if name in sweep_per:
                raise ValueError(
                    f"sweep_per names {name!r}, the learning rate itself: name what moves its range, such as "
                    "the optimizer's hyperparameter."
                )
        for name in sweep_per:
            if name not in entries:
                raise LearningRateNotFoundError(
                    f"sweep_per names {name!r}, but there is no such hyperparameter. There are: "
                    f"{', '.join(map(repr, entries))}."
                )
            setting_values(entries[name])

    def check_settings_are_declared(self) -> None:
        """Warn if the training code has not declared what `sweep_per` names."""
        declared = {entry.name for entry in self._wrapped.hyperparameters.space}
        unknown = sorted(set(self._options.sweep_per or ()) - declared)
        if unknown:
            messages.settings_not_declared(unknown, sorted(declared))

    def note_what_there_is(self) -> None:
        """Remember what is declared before the first sweep: the user is told of what comes later."""
        if self._told_of is None:
            self._told_of = set(self._registered())

    def tell_of_late_rates(self) -> None:
        """Print which learning rates have come late and are searched as they are declared."""
        if self._options.learning_rate is not None or self._told_of is None:
            return
        late = [
            name
            for name, entry in self._registered().items()
            if name not in self._told_of and name not in self.known() and is_named_like_learning_rate(entry)
        ]
        self._told_of |= set(late)
        if late:
            messages.rates_not_swept(late, self.known(), verbose=self._wrapped.verbose)

    def check_names_are_declared(self, *, is_over: bool) -> None:
        """Say so if nothing has declared a learning rate that the user named in a list.

        Args:
            is_over: Whether the search is over; otherwise a branch not taken so far may declare it yet.
        """
        registered = self._registered()
        missing = [name for name in self._options.several_names if name not in registered]
        if missing and is_over:
            messages.names_never_declared(missing, sorted(registered))
        elif missing:
            messages.names_not_declared_yet(missing, sorted(registered), verbose=self._wrapped.verbose)

    def check_declaration(self, hyperparameters: kt.HyperParameters, *, may_come_late: bool) -> None:
        """Warn if a learning rate is declared otherwise than when its sweep was run.

        Args:
            hyperparameters: What the hypermodel declares now.
            may_come_late: Whether a `fit` of the user's own may declare the learning rate yet.
        """
        registered = {entry.name for entry in hyperparameters.space}
        for name, before in self._declared_before.items():
            if name in self._in_other_branches and name not in registered:
                continue
            now: Declaration | None = None
            try:
                if not (self._options.several_names or name in registered):
                    name = find_learning_rate(hyperparameters, self._options.single_name)
                now = Declaration.of(hyperparameters, name)
            except LearningRateError:
                pass
            if now == before or (now is None and (may_come_late or before.is_conditional)):
                continue
            is_renamed = now is None or now.name != before.name
            messages.declared_otherwise(
                str(before),
                None if now is None else str(now),
                is_renamed=is_renamed,
                has_trials=bool(self._wrapped.start_order),
            )
