"""Which settings of a search have a learning-rate range of their own, and at which values their sweeps run.

A setting is a dict of the values of those hyperparameters that move the range, such as the optimizer's.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.records import check_keys
from lrtuner.space import is_named_like_learning_rate, remove_entry

Setting = dict[str, Any]
Signature = Callable[[keras_tuner.HyperParameters], Hashable]

# An Int with more values than this is no list of settings: nobody wants so many sweeps.
MOST_VALUES = 8
# At most so many settings are built to see which are compiled alike. Of more, each has a sweep of its own.
MOST_BUILDS = 24
# The signature of a model that can't be built.
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class SettingSpace:
    """The hyperparameters that move the learning-rate range, and which of their values count as the same.

    Attributes:
        names: Their names, in the search space's order.
        alike: Lists of settings whose models are compiled alike, so that one sweep serves all of a list.
            Settings that are in no list stand for themselves.
        batch_size: Name of the hyperparameter that is the batch size of `fit`, or None.
        declared_in: The settings in which a learning rate is declared, by its name, where others lack it:
            `adam_lr` in one branch of the build function, `sgd_lr` in another.
    """

    names: tuple[str, ...] = ()
    alike: tuple[tuple[Setting, ...], ...] = ()
    batch_size: str | None = None
    declared_in: Mapping[str, Sequence[Setting]] = dataclasses.field(default_factory=dict)

    def setting_of(self, values: Mapping[str, Any]) -> Setting:
        """Return the setting that a trial's values belong to, as the one that stands for all its likes.

        Args:
            values: A trial's values; those of inactive hyperparameters are absent.
        """
        own = {name: values[name] for name in self.names if name in values}
        return next((group[0] for group in self.alike if own in group), own)

    def active_settings(
        self, hyperparameters: keras_tuner.HyperParameters, learning_rate: str
    ) -> list[Setting]:
        """Return the settings in which a learning rate is active, one for each that needs a sweep.

        Args:
            hyperparameters: The search space.
            learning_rate: The hyperparameter's name.
        """
        found: dict[str, Setting] = {}
        entry = next((one for one in hyperparameters.space if one.name == learning_rate), None)
        declared_in = self.declared_in.get(learning_rate)
        for values in setting_combinations(hyperparameters, self.names):
            if entry is not None and any(
                condition.name in self.names and values.get(condition.name) not in condition.values
                for condition in entry.conditions
            ):
                continue
            if declared_in is not None and values not in declared_in:
                continue
            setting = self.setting_of(values)
            found.setdefault(setting_key(setting), setting)
        return list(found.values())

    # Earlier name, until every caller has the new one.
    settings = active_settings

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict for JSON."""
        return {
            "names": list(self.names),
            "alike": [list(group) for group in self.alike],
            "batch_size": self.batch_size,
            "declared_in": {name: list(settings) for name, settings in self.declared_in.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SettingSpace:
        """Build the settings that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {"names", "alike", "batch_size", "declared_in"}, cls.__name__)
        return cls(
            tuple(config["names"]),
            tuple(tuple(dict(setting) for setting in group) for group in config["alike"]),
            config["batch_size"],
            {name: [dict(setting) for setting in held] for name, held in config["declared_in"].items()},
        )


def setting_key(setting: Setting) -> str:
    """Return a string that tells a setting from others, to look it up by."""
    return json.dumps(setting, sort_keys=True)


def sweep_label(learning_rate: str | None, setting: Setting) -> str:
    """Return what tells a sweep from others, in words: `head_lr, optimizer=adam`.

    Args:
        learning_rate: Name of its hyperparameter, where there are several.
        setting: Its setting.
    """
    named = [] if learning_rate is None else [learning_rate]
    return ", ".join([*named, *(f"{name}={value}" for name, value in setting.items())])


def setting_values(entry: Any) -> list[Any]:
    """Return the values of a hyperparameter by which settings may differ, its default first.

    Raises:
        ValueError: It is none of Choice, Boolean and Int with up to eight values.
    """
    if isinstance(entry, (hp_types.Choice, hp_types.Boolean, hp_types.Fixed)):
        values = [entry.value] if isinstance(entry, hp_types.Fixed) else list(entry.values)
    else:
        # KerasTuner lists the values of an Int, and ten samples of a Float.
        values = list(entry.values) if isinstance(entry, hp_types.Int) else []
        if not 0 < len(values) <= MOST_VALUES:
            raise ValueError(
                f"sweep_per names {entry.name!r}, which is {entry!r}: each of its values would need a sweep. "
                f"Name a Choice, a Boolean or an Int with at most {MOST_VALUES} values."
            )
    return list(dict.fromkeys([entry.default, *values]))


def setting_combinations(hyperparameters: keras_tuner.HyperParameters, names: Sequence[str]) -> list[Setting]:
    """Return all combinations of some hyperparameters' values, without those that are inactive.

    Args:
        hyperparameters: The search space.
        names: The hyperparameters.

    Returns:
        The combinations, that of the defaults first.
    """
    entries = [entry for entry in hyperparameters.space if entry.name in names]
    found: dict[str, Setting] = {}
    for values in itertools.product(*map(setting_values, entries)):
        setting: Setting = {}
        for entry, value in zip(entries, values, strict=True):
            # Parents come before their children.
            if all(
                condition.name not in names or setting.get(condition.name) in condition.values
                for condition in entry.conditions
            ):
                setting[entry.name] = value
        found.setdefault(setting_key(setting), setting)
    return list(found.values())


def values_in_the_middle(
    space: keras_tuner.HyperParameters, fixed: Mapping[str, Any], needed: Sequence[str] = ()
) -> keras_tuner.HyperParameters:
    """Return hyperparameters with values in the middle of the space.

    KerasTuner's defaults are the smallest values, which train unlike most of a search: the best rate of the
    smallest width is 0.3 to 0.5 decades above that of the middle.

    Args:
        space: The search space.
        fixed: Values to set instead of the middle's.
        needed: Names of hyperparameters that are to be active: their conditions are met, except where a fixed
            value says otherwise.

    Returns:
        A copy of the space with values. A Boolean and a Choice without an order have their default.
    """
    return _filled(space, fixed, needed, _middle_value)


def default_values(
    space: keras_tuner.HyperParameters, fixed: Mapping[str, Any], needed: Sequence[str] = ()
) -> keras_tuner.HyperParameters:
    """Return hyperparameters with their default values; the arguments are those of `values_in_the_middle`."""
    return _filled(space, fixed, needed, lambda entry: entry.default)


def _filled(
    space: keras_tuner.HyperParameters,
    fixed: Mapping[str, Any],
    needed: Sequence[str],
    value_of: Callable[[Any], Any],
) -> keras_tuner.HyperParameters:
    conditions = {
        condition.name: condition.values[0]
        for entry in space.space
        if entry.name in needed
        for condition in entry.conditions
    }
    fixed = {**conditions, **fixed}
    hyperparameters = keras_tuner.HyperParameters()
    for entry in space.space:
        hyperparameters.merge([entry])
        if hyperparameters.is_active(entry):
            hyperparameters.values[entry.name] = fixed.get(entry.name, value_of(entry))
    return hyperparameters


def _middle_value(entry: Any) -> Any:
    if isinstance(entry, hp_types.Fixed):
        return entry.value
    if isinstance(entry, hp_types.Boolean) or (isinstance(entry, hp_types.Choice) and not entry.ordered):
        return entry.default
    return entry.prob_to_value(0.5)


class SettingFinder:
    """Finds the hyperparameters that choose how the model is compiled, by building models.

    What chooses the learning rate counts as well: a build function may declare `adam_lr` in one branch of an
    if and `sgd_lr` in the other.

    Args:
        hyperparameters: The search space with the values to start from. Choice and Boolean hyperparameters
            are looked at.
        learning_rates: Names of the learning rates that are searched, to leave out.
        signature: Builds a model at values, which declares its hyperparameters in them, and returns what it
            is compiled with, or `UNKNOWN` where it can't be built.

    Attributes:
        late_rates: Hyperparameters that are named like a learning rate and that the space lacks, since only
            settings other than its own declare them; by name, as the builds declared them.
    """

    def __init__(
        self,
        hyperparameters: keras_tuner.HyperParameters,
        learning_rates: Sequence[str],
        signature: Signature,
    ) -> None:
        self.late_rates: dict[str, Any] = {}
        self._hyperparameters = hyperparameters
        self._learning_rates = learning_rates
        self._signature = signature
        self._entries = [
            entry
            for entry in hyperparameters.space
            if isinstance(entry, (hp_types.Choice, hp_types.Boolean)) and entry.name not in learning_rates
        ]
        # What a build showed, by the values it was built at: the signature, and the learning rates declared.
        self._known: dict[str, Hashable] = {}
        self._declared: dict[str, frozenset[str]] = {}

    def find(self) -> SettingSpace:
        """Return the hyperparameters that choose, and which of their settings are compiled alike."""
        names: list[str] = []
        while len(self._combinations(names)) <= MOST_BUILDS and (more := self._choosing_beside(names)):
            names += dict.fromkeys(more)
        settings = self._combinations(names)
        in_order = tuple(entry.name for entry in self._entries if entry.name in names)
        if not names or len(settings) > MOST_BUILDS:
            return SettingSpace(in_order)
        groups: dict[Hashable, list[Setting]] = {}
        for setting in settings:
            kind = self._kind(setting, list(setting))
            groups.setdefault(setting_key(setting) if kind is UNKNOWN else kind, []).append(setting)
        alike = tuple(tuple(group) for group in groups.values() if len(group) > 1)
        return SettingSpace(in_order, alike, declared_in=self._declared_in(settings))

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

    def _kind(self, setting: Setting, needed: Sequence[str] = ()) -> Hashable:
        """Return what a setting's model is compiled with, and for which learning rates."""
        values = self._values(setting, needed)
        key = setting_key(values.values)
        if key not in self._known:
            parents = {condition.name for entry in values.space for condition in entry.conditions}
            for entry in list(values.space):
                if entry.name not in parents and self._is_rate(entry):
                    # Its value stays, and the build registers it again where it declares it.
                    remove_entry(values, entry)
            self._known[key] = self._signature(values)
            self._declared[key] = self._rates_of(values)
        if self._known[key] is UNKNOWN:
            return UNKNOWN
        # A rate that comes in addition to those searched, as for a second phase of training, changes nothing.
        declared = self._declared[key]
        return self._known[key], declared & set(self._learning_rates) or declared

    def _rates_of(self, values: keras_tuner.HyperParameters) -> frozenset[str]:
        """Return the names of the learning rates that a build has declared, and note those that are new."""
        rates = {entry.name: entry for entry in values.space if self._is_rate(entry)}
        known = {entry.name for entry in self._hyperparameters.space}
        self.late_rates |= {name: entry for name, entry in rates.items() if name not in known}
        return frozenset(rates)

    def _is_rate(self, entry: Any) -> bool:
        return entry.name in self._learning_rates or is_named_like_learning_rate(entry)

    def _declared_in(self, settings: Sequence[Setting]) -> dict[str, list[Setting]]:
        """Return the settings that declare a learning rate, by its name, where others don't."""
        declared = [
            (setting, self._declared[setting_key(self._values(setting, list(setting)).values)])
            for setting in settings
            if self._kind(setting, list(setting)) is not UNKNOWN
        ]
        found = {
            name: [setting for setting, rates in declared if name in rates]
            for name in sorted(frozenset().union(*(rates for _, rates in declared)))
        }
        return {name: held for name, held in found.items() if len(held) < len(declared)}

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


def find_settings(
    hyperparameters: keras_tuner.HyperParameters, learning_rates: Sequence[str], signature: Signature
) -> SettingSpace:
    """Return `SettingFinder(...).find()`."""
    return SettingFinder(hyperparameters, learning_rates, signature).find()
