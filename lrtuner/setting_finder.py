"""Finding the settings of a search that have a learning-rate range of their own, by building models."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.settings import (
    Setting,
    SettingSpace,
    setting_combinations,
    setting_key,
    values_in_the_middle,
)
from lrtuner.space import is_named_like_learning_rate, remove_entry

Signature = Callable[[keras_tuner.HyperParameters], Hashable]

# At most so many settings are built to see which are compiled alike. Of more, each has a sweep of its own.
MOST_BUILDS = 24
# The signature of a model that can't be built.
UNKNOWN = "unknown"


class SettingFinder:
    """Finds the hyperparameters that choose how the model is compiled, by building models.

    What chooses the learning rate counts as well: a build function may declare `adam_lr` in one branch of an
    if and `sgd_lr` in the other.

    Args:
        hyperparameters: The search space with the values to start from. Choice and Boolean hyperparameters
            are looked at.
        learning_rates: Names of the learning rates that are searched, as far as they are known.
        signature: Builds a model at values, which declares its hyperparameters in them, and returns what it
            is compiled with, or `UNKNOWN` where it can't be built.

    Attributes:
        late: Hyperparameters that the space lacks, since only settings other than its own declare them; by
            name, as the builds declared them.
    """

    def __init__(
        self,
        hyperparameters: keras_tuner.HyperParameters,
        learning_rates: Sequence[str],
        signature: Signature,
    ) -> None:
        self.late: dict[str, Any] = {}
        self._hyperparameters = hyperparameters
        self._learning_rates = learning_rates
        self._signature = signature
        self._first_known = {entry.name for entry in hyperparameters.space}
        self._entries = [entry for entry in hyperparameters.space if self._may_choose(entry)]
        # What a build showed, by the values it was built at: the signature, and the names declared.
        self._known: dict[str, Hashable] = {}
        self._declared: dict[str, frozenset[str]] = {}

    def find(self, names: Sequence[str] | None = None) -> SettingSpace:
        """Return the hyperparameters that choose, and which of their settings are compiled alike.

        Args:
            names: The hyperparameters that are to choose; by default they are found, and settings that are
                compiled alike count as one.
        """
        if names is not None:
            return self._setting_space(tuple(names), alike=False)
        found = self._setting_space(self._choosing(), alike=True)
        while more := self._late_choices():
            # A branch has declared what may choose as well, such as the momentum of its optimizer.
            self._hyperparameters = self._hyperparameters.copy()
            self._hyperparameters.merge(more)
            self._entries += more
            found = self._setting_space(self._choosing(), alike=True)
        return found

    def rates_at_start(self) -> frozenset[str]:
        """Return the learning rates that the model declares at the values to start from.

        They are those that are searched, where it declares one of them.
        """
        return self._rates_of({})

    def _choosing(self) -> tuple[str, ...]:
        """Return the names of the hyperparameters that choose, in the space's order."""
        names: list[str] = []
        while len(self._combinations(names)) <= MOST_BUILDS and (more := self._choosing_beside(names)):
            names += dict.fromkeys(more)
        return tuple(entry.name for entry in self._entries if entry.name in names)

    def _setting_space(self, names: tuple[str, ...], *, alike: bool) -> SettingSpace:
        settings = self._combinations(names)
        if not names or len(settings) > MOST_BUILDS:
            return SettingSpace(names)
        groups: dict[Hashable, list[Setting]] = {}
        for setting in settings:
            kind = self._kind(setting, list(setting))
            groups.setdefault(setting_key(setting) if kind is UNKNOWN else kind, []).append(setting)
        declared_in = self._declared_in(settings)
        return SettingSpace(
            names,
            tuple(tuple(group) for group in groups.values() if len(group) > 1) if alike else (),
            declared_in=declared_in,
            learning_rates=self._branch_rates(settings, declared_in),
        )

    def _late_choices(self) -> list[Any]:
        """Return what may choose as well, of the hyperparameters met since the last look."""
        seen = {entry.name for entry in self._entries}
        return [entry for entry in self.late.values() if self._may_choose(entry) and entry.name not in seen]

    def _may_choose(self, entry: Any) -> bool:
        return isinstance(entry, (hp_types.Choice, hp_types.Boolean)) and not self._is_rate(entry)

    def _combinations(self, names: Sequence[str]) -> list[Setting]:
        return setting_combinations(self._hyperparameters, names)

    def _values(self, setting: Setting, needed: Sequence[str]) -> keras_tuner.HyperParameters:
        """Return the start's values with those of a setting, except for conditions that have to be met."""
        parents = {
            condition.name
            for entry in self._entries
            if entry.name in needed
            for condition in entry.conditions
        }
        start = {name: value for name, value in self._hyperparameters.values.items() if name not in parents}
        return values_in_the_middle(self._hyperparameters, {**start, **setting}, needed)

    # --- What a build shows ---------------------------------------------------------------------------------

    def _build(self, setting: Setting, needed: Sequence[str]) -> str:
        """Build a setting's model, unless it was built; return the key of what that showed."""
        values = self._values(setting, needed)
        key = setting_key(values.values)
        if key not in self._known:
            parents = {condition.name for entry in values.space for condition in entry.conditions}
            for entry in list(values.space):
                if entry.name not in parents and (self._is_rate(entry) or entry.name in self.late):
                    # Its value stays, and the build registers it again where it declares it.
                    remove_entry(values, entry)
            self._known[key] = self._signature(values)
            self._declared[key] = frozenset(entry.name for entry in values.space if values.is_active(entry))
            new = {entry.name: entry for entry in values.space if entry.name not in self._first_known}
            self.late = {**new, **self.late}
        return key

    def _kind(self, setting: Setting, needed: Sequence[str] = ()) -> Hashable:
        """Return what a setting's model is compiled with, and for which learning rates."""
        signature = self._known[self._build(setting, needed)]
        return UNKNOWN if signature is UNKNOWN else (signature, self._rates_of(setting, needed))

    def _rates_of(self, setting: Setting, needed: Sequence[str] = ()) -> frozenset[str]:
        """Return the learning rates that a setting's model declares, or those of them that are searched.

        A rate that comes in addition to those searched, as for a second phase of training, changes nothing.
        """
        declared = self._declared[self._build(setting, needed)] & self._rates()
        return declared & set(self._learning_rates) or declared

    def _rates(self) -> set[str]:
        """Return the names of all learning rates met so far."""
        met = (*self._hyperparameters.space, *self.late.values())
        return {entry.name for entry in met if self._is_rate(entry)}

    def _is_rate(self, entry: Any) -> bool:
        return entry.name in self._learning_rates or is_named_like_learning_rate(entry)

    def _buildable(self, settings: Sequence[Setting]) -> list[Setting]:
        return [setting for setting in settings if self._kind(setting, list(setting)) is not UNKNOWN]

    def _declared_in(self, settings: Sequence[Setting]) -> dict[str, list[Setting]]:
        """Return the settings that declare a learning rate, or what is late, by name, where others don't."""
        declared = [
            (setting, self._declared[self._build(setting, list(setting))])
            for setting in self._buildable(settings)
        ]
        found = {
            name: [setting for setting, names in declared if name in names]
            for name in sorted(self._rates() | set(self.late))
        }
        return {name: held for name, held in found.items() if 0 < len(held) < len(declared)}

    def _branch_rates(
        self, settings: Sequence[Setting], declared_in: Mapping[str, Sequence[Setting]]
    ) -> tuple[str, ...]:
        """Return the learning rates that are the only one of their branch, those given before the others.

        Which of two in one branch is the learning rate can't be told, unless one was given.
        """
        rates = [self._rates_of(setting, list(setting)) for setting in self._buildable(settings)]
        given = set(self._learning_rates)
        found = [name for name in self._learning_rates if any(name in held for held in rates)]
        found += [name for held in rates if len(held) == 1 for name in held if name not in given]
        several = tuple(dict.fromkeys(found))
        return several if len(several) > 1 and any(name in declared_in for name in several) else ()

    # --- Which hyperparameters choose -----------------------------------------------------------------------

    def _choosing_beside(self, names: Sequence[str]) -> list[str]:
        """Return further hyperparameters that change how the model is compiled, given those known to."""
        rest = [entry for entry in self._entries if entry.name not in names]
        together = self._joint_changes(rest, is_first=not names)
        found: list[str] = []
        for setting in self._combinations(names):
            changes = any(self._kind({**values, **setting}) != self._kind(setting) for values in together)
            found += [
                entry.name
                for entry in rest
                # One in a branch may have been inactive.
                if changes or (entry.conditions and not names)
                if self._chooses(entry, setting)
            ]
        return found

    def _joint_changes(self, rest: Sequence[Any], *, is_first: bool) -> list[Setting]:
        """Return values of all of several hyperparameters at once: mostly they change nothing.

        The first time they are a model for each value of the longest list. Those that matter beside known
        ones, such as one optimizer's momentum, do so at any other value.
        """
        if is_first:
            longest = max((len(entry.values) for entry in rest), default=0)
            return [{one.name: one.values[i % len(one.values)] for one in rest} for i in range(longest)]
        start = self._hyperparameters.values
        return [{one.name: _another(one, start.get(one.name)) for one in rest}]

    def _chooses(self, entry: Any, setting: Setting) -> bool:
        """Return whether the values of a hyperparameter give models of several kinds, beside a setting."""
        kinds = {self._kind({**setting, entry.name: value}, [entry.name]) for value in entry.values}
        return len(kinds - {UNKNOWN}) > 1


def _another(entry: Any, value: Any) -> Any:
    """Return a value of a hyperparameter other than one."""
    return next((one for one in entry.values if one != value), value)
