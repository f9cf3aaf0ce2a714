"""Which settings of a search have a learning-rate range of their own, and at which values their sweeps run.

A setting is a dict of the values of those hyperparameters that move the range, such as the optimizer's.

KerasTuner is imported where a function needs it: a record of settings is read without it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrtuner.values import check_keys

if TYPE_CHECKING:
    import keras_tuner

Setting = dict[str, Any]

# An Int with more values than this is no list of settings: nobody wants so many sweeps.
MOST_VALUES = 8


@dataclasses.dataclass(frozen=True)
class SettingSpace:
    """The hyperparameters that move the learning-rate range, and which of their values count as the same.

    Attributes:
        names: Their names, in the search space's order.
        alike: Lists of settings whose models are compiled alike, so that one sweep serves all of a list.
            Settings that are in no list stand for themselves.
        batch_size: Name of the hyperparameter that is the batch size of `fit`, or None.
        declared_in: The settings in which a hyperparameter is declared, by its name, where others lack it:
            `adam_lr` in one branch of the build function, `sgd_lr` in another. They are the learning rates,
            and what is declared beside them in a branch that the first sweep's model has not taken.
        learning_rates: Names of the learning rates where each was found in a branch of its own, that of the
            first sweep before the others; empty where there is one, or the user has named them.
        normalising: The hyperparameters that add layers which bring their inputs to one scale, such as a
            Boolean `batch_norm`, where the training data are not scaled. Then each value has its own range.
    """

    names: tuple[str, ...] = ()
    alike: tuple[tuple[Setting, ...], ...] = ()
    batch_size: str | None = None
    declared_in: Mapping[str, Sequence[Setting]] = dataclasses.field(default_factory=dict)
    learning_rates: tuple[str, ...] = ()
    normalising: tuple[str, ...] = ()

    def setting_of(self, values: Mapping[str, Any]) -> Setting:
        """Return the setting that a trial's values belong to, as the one that stands for all its likes.

        Args:
            values: A trial's values; those of inactive hyperparameters are absent.
        """
        own = self._own(values)
        compiled = next((group[0] for group in self.alike if own in group), own)
        return compiled | {name: values[name] for name in self.normalising if name in values}

    def declares(self, name: str, values: Mapping[str, Any]) -> bool:
        """Return whether a trial's model declares a hyperparameter, which otherwise is of no use to it.

        KerasTuner gives each trial a value of what only another branch of an if declares.

        Args:
            name: The hyperparameter.
            values: The trial's values.
        """
        held = self.declared_in.get(name)
        return held is None or self._own(values) in held

    def _own(self, values: Mapping[str, Any]) -> Setting:
        """Return the values of those hyperparameters that move the range."""
        return {name: values[name] for name in self.names if name in values}

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
        for values in setting_combinations(hyperparameters, (*self.names, *self.normalising)):
            if entry is not None and any(
                condition.name in self.names and values.get(condition.name) not in condition.values
                for condition in entry.conditions
            ):
                continue
            if not self.declares(learning_rate, values):
                continue
            setting = self.setting_of(values)
            found.setdefault(setting_key(setting), setting)
        return list(found.values())

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict for JSON."""
        return {
            "names": list(self.names),
            "alike": [list(group) for group in self.alike],
            "batch_size": self.batch_size,
            "declared_in": {name: list(settings) for name, settings in self.declared_in.items()},
            "learning_rates": list(self.learning_rates),
            "normalising": list(self.normalising),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SettingSpace:
        """Build the settings that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {field.name for field in dataclasses.fields(cls)}, cls.__name__)
        return cls(
            tuple(config["names"]),
            tuple(tuple(dict(setting) for setting in group) for group in config["alike"]),
            config["batch_size"],
            {name: [dict(setting) for setting in held] for name, held in config["declared_in"].items()},
            tuple(config["learning_rates"]),
            tuple(config["normalising"]),
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
    from keras_tuner.engine import hyperparameters as hp_types

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
    import keras_tuner

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
    from keras_tuner.engine import hyperparameters as hp_types

    if isinstance(entry, hp_types.Fixed):
        return entry.value
    if isinstance(entry, hp_types.Boolean) or (isinstance(entry, hp_types.Choice) and not entry.ordered):
        return entry.default
    return entry.prob_to_value(0.5)
