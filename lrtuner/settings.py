"""Which settings of a search have a learning-rate range of their own, and where their sweeps stand.

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

from lrtuner.curve import check_keys

Setting = dict[str, Any]
Signature = Callable[[keras_tuner.HyperParameters], Hashable]

# An Int with more values than this is no list of settings: nobody wants so many sweeps.
MOST_VALUES = 8
# Models that are built at the most to see which settings are compiled alike; beyond, each sweeps.
MOST_BUILDS = 24
# What a model that can't be built is compiled with.
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class SettingSpace:
    """The hyperparameters that move the learning-rate range, and which of their values count as the same.

    Attributes:
        names: Their names, in the search space's order.
        alike: Lists of settings whose models are compiled alike, so that one sweep serves all of a list.
            Settings that are in no list stand for themselves.
        batch_size: Name of the hyperparameter that is the batch size of `fit`, or None.
    """

    names: tuple[str, ...] = ()
    alike: tuple[tuple[Setting, ...], ...] = ()
    batch_size: str | None = None

    def setting_of(self, values: Mapping[str, Any]) -> Setting:
        """Return the setting that a trial's values belong to, as the one that stands for all its likes.

        Args:
            values: A trial's values; those of inactive hyperparameters are absent.
        """
        own = {name: values[name] for name in self.names if name in values}
        return next((group[0] for group in self.alike if own in group), own)

    def settings(self, hyperparameters: keras_tuner.HyperParameters, learning_rate: str) -> list[Setting]:
        """Return the settings in which a learning rate is active, one for each that need a sweep.

        Args:
            hyperparameters: The search space.
            learning_rate: The hyperparameter's name.
        """
        found: dict[str, Setting] = {}
        entry = next((one for one in hyperparameters.space if one.name == learning_rate), None)
        for values in combinations(hyperparameters, self.names):
            if entry is not None and any(
                condition.name in self.names and values.get(condition.name) not in condition.values
                for condition in entry.conditions
            ):
                continue
            setting = self.setting_of(values)
            found.setdefault(key_of(setting), setting)
        return list(found.values())

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict for JSON."""
        return {
            "names": list(self.names),
            "alike": [list(group) for group in self.alike],
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SettingSpace:
        """Build the settings that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {"names", "alike", "batch_size"}, cls.__name__)
        return cls(
            tuple(config["names"]),
            tuple(tuple(dict(setting) for setting in group) for group in config["alike"]),
            config["batch_size"],
        )


def key_of(setting: Setting) -> str:
    """Return what tells a setting from others."""
    return json.dumps(setting, sort_keys=True)


def described(learning_rate: str | None, setting: Setting) -> str:
    """Return in words what sets a sweep apart: `head_lr, optimizer=adam`.

    Args:
        learning_rate: Name of its hyperparameter, where there are several.
        setting: Its setting.
    """
    named = [] if learning_rate is None else [learning_rate]
    return ", ".join([*named, *(f"{name}={value}" for name, value in setting.items())])


def values_of(entry: Any) -> list[Any]:
    """Return the values of a hyperparameter that may tell settings apart, its default first.

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


def combinations(hyperparameters: keras_tuner.HyperParameters, names: Sequence[str]) -> list[Setting]:
    """Return all combinations of some hyperparameters' values, without those that are inactive.

    Args:
        hyperparameters: The search space.
        names: The hyperparameters.

    Returns:
        The combinations, that of the defaults first.
    """
    entries = [entry for entry in hyperparameters.space if entry.name in names]
    found: dict[str, Setting] = {}
    for values in itertools.product(*map(values_of, entries)):
        setting: Setting = {}
        for entry, value in zip(entries, values, strict=True):
            # Parents come before their children.
            if all(
                condition.name not in names or setting.get(condition.name) in condition.values
                for condition in entry.conditions
            ):
                setting[entry.name] = value
        found.setdefault(key_of(setting), setting)
    return list(found.values())


def middle(
    space: keras_tuner.HyperParameters, fixed: Mapping[str, Any], needed: Sequence[str] = ()
) -> keras_tuner.HyperParameters:
    """Return hyperparameters whose values stand in the middle of the space.

    KerasTuner's defaults are the smallest values, which train unlike most of a search: the best rate of the
    smallest width is 0.3 to 0.5 decades above that of the middle.

    Args:
        space: The search space.
        fixed: Values to set instead of the middle's.
        needed: Names of hyperparameters that shall be active: their conditions are met, but where a fixed
            value says otherwise.

    Returns:
        A copy of the space with values. A Boolean and a Choice without an order stand at their default.
    """
    return _placed(space, fixed, needed, _middle_value)


def defaults(
    space: keras_tuner.HyperParameters, fixed: Mapping[str, Any], needed: Sequence[str] = ()
) -> keras_tuner.HyperParameters:
    """Return hyperparameters with their default values; the arguments are those of `middle`."""
    return _placed(space, fixed, needed, lambda entry: entry.default)


def _placed(
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


def find_settings(
    hyperparameters: keras_tuner.HyperParameters, learning_rates: Sequence[str], signature: Signature
) -> SettingSpace:
    """Find the hyperparameters that choose how the model is compiled.

    Args:
        hyperparameters: The search space with the values to start from. Choice and Boolean hyperparameters
            are looked at.
        learning_rates: Names to leave out.
        signature: Builds a model at values and returns what it is compiled with, or `UNKNOWN` where it can't
            be built.
    """
    entries = [
        entry
        for entry in hyperparameters.space
        if isinstance(entry, (hp_types.Choice, hp_types.Boolean)) and entry.name not in learning_rates
    ]
    known: dict[str, Hashable] = {}

    def at(values: Mapping[str, Any], needed: Sequence[str] = ()) -> Hashable:
        # The start's values, but for conditions that have to be met.
        parents = {one.name for entry in entries if entry.name in needed for one in entry.conditions}
        start = {name: value for name, value in hyperparameters.values.items() if name not in parents}
        built = middle(hyperparameters, {**start, **values}, needed)
        key = key_of(built.values)
        if key not in known:
            known[key] = signature(built)
        return known[key]

    def choosing(names: Sequence[str]) -> list[str]:
        """Return those that choose, too, in some setting of the ones that are known to."""
        rest = [entry for entry in entries if entry.name not in names]
        # All at once first: mostly that changes nothing, at a model for each value of the longest list.
        # Those that matter beside known ones, such as one optimizer's momentum, do so at any other value.
        longest = max((len(entry.values) for entry in rest), default=0)
        together = [{one.name: one.values[i % len(one.values)] for one in rest} for i in range(longest)]
        if names:
            together = [{one.name: _another(one, hyperparameters.values.get(one.name)) for one in rest}]
        found: list[str] = []
        for setting in combinations(hyperparameters, names):
            change = any(at({**values, **setting}) != at(setting) for values in together)
            found += [
                entry.name
                for entry in rest
                # One in a branch may have been inactive.
                if change or (entry.conditions and not names)
                if len(
                    {at({**setting, entry.name: value}, [entry.name]) for value in entry.values} - {UNKNOWN}
                )
                > 1
            ]
        return found

    names: list[str] = []
    while len(combinations(hyperparameters, names)) <= MOST_BUILDS and (found := choosing(names)):
        names += dict.fromkeys(found)
    settings = combinations(hyperparameters, names)
    in_order = tuple(entry.name for entry in entries if entry.name in names)
    if not names or len(settings) > MOST_BUILDS:
        return SettingSpace(in_order)
    groups: dict[Hashable, list[Setting]] = {}
    for setting in settings:
        kind = at(setting, list(setting))
        groups.setdefault(key_of(setting) if kind is UNKNOWN else kind, []).append(setting)
    return SettingSpace(in_order, tuple(tuple(group) for group in groups.values() if len(group) > 1))


def _another(entry: Any, value: Any) -> Any:
    """Return a value of a hyperparameter other than one."""
    return next((one for one in entry.values if one != value), value)
