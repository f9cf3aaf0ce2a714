"""The settings of a search that have a learning-rate range of their own, and the values that sweeps run at.

A setting is a dict of the values of those hyperparameters that move the range, such as the optimizer's.

KerasTuner is imported where a function needs it: a record of settings is read without it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
    """

    names: tuple[str, ...] = ()
    alike: tuple[tuple[Setting, ...], ...] = ()
    batch_size: str | None = None
    declared_in: Mapping[str, Sequence[Setting]] = dataclasses.field(default_factory=dict)
    learning_rates: tuple[str, ...] = ()

    def setting_of(self, values: Mapping[str, Any]) -> Setting:
        """Return the setting that a trial's values belong to, as the one that stands for all its likes.

        Args:
            values: A trial's values; those of inactive hyperparameters are absent.
        """
        own = self._own(values)
        return next((group[0] for group in self.alike if own in group), own)

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
        for values in setting_combinations(hyperparameters, self.names):
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
