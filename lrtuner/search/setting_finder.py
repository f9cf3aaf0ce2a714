"""Finding the settings of a search that have a learning-rate range of their own, by building models."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.search.builds import SCALING, UNKNOWN, Builder, Seen
from lrtuner.search.settings import (
    Setting,
    SettingSpace,
    setting_combinations,
    setting_key,
    values_in_the_middle,
)
from lrtuner.space.entries import remove_entry
from lrtuner.space.learning_rate import is_named_like_learning_rate

# At most so many models are built to find which hyperparameters choose the optimizer. A model of hundreds of
# layers takes a second.
MOST_BUILDS = 8
# Of more settings than this none is built to see which are compiled alike: each has a sweep of its own.
MOST_SETTINGS = 24

# Names of what is tried before the rest where one of several hyperparameters chooses.
_LIKELY_NAME = re.compile("optim|momentum|nesterov|solver", re.IGNORECASE)
_LIKELY_NORMALISER = re.compile("norm|bn|scal", re.IGNORECASE)
# One with more values than this would need too many sweeps.
_MOST_NORMALISATIONS = 4
_OPTIMIZERS = {
    name.lower()
    for name, one in vars(keras.optimizers).items()
    if isinstance(one, type) and issubclass(one, keras.optimizers.Optimizer)
}


class _Doing(NamedTuple):
    """Something that a hyperparameter may do to the model.

    Attributes:
        kind: Returns what tells models apart, of a setting with some changes; `UNKNOWN` without a model.
        is_likely: Whether one does it, by its name.
    """

    kind: Callable[[Setting, Setting], Hashable]
    is_likely: Callable[[str], bool]


class SettingFinder:
    """Finds the hyperparameters that choose how the model is compiled, by building models.

    What chooses the learning rate counts as well: a build function may declare `adam_lr` in one branch of an
    if and `sgd_lr` in the other.

    Mostly few of many hyperparameters choose. So all of them are changed at once, beside each setting of
    those that are known to choose. Where that changes the model, the one that did it is looked for by halves.
    A hyperparameter that changed nothing beside a setting is taken to change nothing there at all.

    Args:
        hyperparameters: The search space with the values to start from. Choice and Boolean hyperparameters
            are looked at.
        learning_rates: Names of the learning rates that are searched, as far as they are known.
        build: Builds a model at values, which declares its hyperparameters in them.

    Attributes:
        late: Hyperparameters that the space lacks, since only settings other than its own declare them; by
            name, as the builds declared them.
    """

    def __init__(
        self,
        hyperparameters: keras_tuner.HyperParameters,
        learning_rates: Sequence[str],
        build: Builder,
    ) -> None:
        self.late: dict[str, Any] = {}
        self._hyperparameters = hyperparameters
        self._learning_rates = learning_rates
        self._build = build
        self._first_known = {entry.name for entry in hyperparameters.space}
        self._entries = [entry for entry in hyperparameters.space if self._may_choose(entry)]
        self._seen: list[Seen] = []
        self._builds_left = MOST_BUILDS
        # Settings, and the hyperparameters that were changed beside each and changed nothing.
        self._indifferent: list[tuple[Setting, set[str]]] = []

    def find(self, names: Sequence[str] | None = None) -> SettingSpace:
        """Return the hyperparameters that choose, and which of their settings are compiled alike.

        Args:
            names: The hyperparameters that are to choose; by default they are found, and settings that are
                compiled alike count as one.
        """
        if names is not None:
            # The user has asked for these settings, so each is looked at.
            self._builds_left = max(MOST_SETTINGS, self._builds_left)
            return self._setting_space(tuple(names), alike=False)
        found = self._setting_space(self._choosing(), alike=True)
        while more := self._late_choices():
            # A branch has declared what may choose as well, such as the momentum of its optimizer.
            self._hyperparameters = self._hyperparameters.copy()
            self._hyperparameters.merge(more)
            self._entries += more
            found = self._setting_space(self._choosing(), alike=True)
        return dataclasses.replace(found, normalising=self._normalising(found.names))

    def rates_at_start(self) -> frozenset[str]:
        """Return the learning rates that the model declares at the values to start from.

        They are those that are searched, where it declares one of them.
        """
        seen = self._look({})
        return frozenset() if seen is None else self._rates_in(seen)

    def _setting_space(self, names: tuple[str, ...], *, alike: bool) -> SettingSpace:
        settings = self._combinations(names)
        if not names or len(settings) > MOST_SETTINGS:
            return SettingSpace(names)
        groups: dict[Hashable, list[Setting]] = {}
        for setting in settings:
            kind = self._kind(self._stand_in(setting) if alike else setting)
            groups.setdefault(setting_key(setting) if kind is UNKNOWN else kind, []).append(setting)
        declared = self._declared_by(settings)
        declared_in = self._declared_in(declared)
        return SettingSpace(
            names,
            tuple(tuple(group) for group in groups.values() if len(group) > 1) if alike else (),
            declared_in=declared_in,
            learning_rates=self._branch_rates([seen for _, seen in declared], declared_in),
        )

    def _late_choices(self) -> list[Any]:
        """Return what may choose as well, of the hyperparameters met since the last look."""
        seen = {entry.name for entry in self._entries}
        return [entry for entry in self.late.values() if self._may_choose(entry) and entry.name not in seen]

    def _may_choose(self, entry: Any) -> bool:
        return isinstance(entry, (hp_types.Choice, hp_types.Boolean)) and not self._is_rate(entry)

    def _combinations(self, names: Sequence[str]) -> list[Setting]:
        return setting_combinations(self._hyperparameters, names)

    # --- What a build shows ---------------------------------------------------------------------------------

    def _look(self, setting: Setting, changes: Mapping[str, Any] | None = None) -> Seen | None:
        """Return what a build shows at the start's values, changed to those of a setting and to some more.

        Conditions of the setting's hyperparameters are met. None where too many models were built before.
        """
        fixed = {**setting, **(changes or {})}
        values = self._values(fixed, list(setting))
        seen = next((one for one in self._seen if one.holds_at(values.values)), None)
        if seen is not None or self._builds_left == 0:
            return seen
        self._builds_left -= 1
        if fixed:
            # The same build then shows whether the optimizer follows a rate that is one of a list.
            self._move_rates(values)
        parents = {condition.name for entry in values.space for condition in entry.conditions}
        for entry in list(values.space):
            if entry.name not in parents and (self._is_rate(entry) or entry.name in self.late):
                # Its value stays, and the build registers it again where it declares it.
                remove_entry(values, entry)
        given = frozenset(values.values)
        built = self._build(values)
        declared = frozenset(entry.name for entry in values.space if values.is_active(entry))
        rates = frozenset(entry.name for entry in values.space if self._is_rate(entry))
        seen = Seen(given, dict(values.values), declared, rates & declared, built)
        self._seen.append(seen)
        new = {entry.name: entry for entry in values.space if entry.name not in self._first_known}
        self.late = {**new, **self.late}
        return seen

    def _values(self, fixed: Setting, needed: Sequence[str]) -> keras_tuner.HyperParameters:
        """Return the start's values with some others, except for conditions that have to be met."""
        parents = self._parents(needed)
        start = {name: value for name, value in self._hyperparameters.values.items() if name not in parents}
        return values_in_the_middle(self._hyperparameters, {**start, **fixed}, needed)

    def _move_rates(self, values: keras_tuner.HyperParameters) -> None:
        """Give learning rates that are one of a list another value of it."""
        for entry in values.space:
            if isinstance(entry, hp_types.Choice) and self._is_rate(entry) and entry.name in values.values:
                value = values.values[entry.name]
                values.values[entry.name] = next((one for one in entry.values if one != value), value)

    def _parents(self, names: Sequence[str]) -> set[str]:
        """Return the hyperparameters on which it depends whether others are active."""
        return {
            condition.name for entry in self._entries if entry.name in names for condition in entry.conditions
        }

    def _kind(self, setting: Setting, changes: Mapping[str, Any] | None = None) -> Hashable:
        """Return what a setting's model is compiled with, and for which learning rates."""
        seen = self._look(setting, changes)
        if seen is None or seen.built.compiled is UNKNOWN:
            return UNKNOWN
        return seen.built.compiled, self._rates_in(seen)

    def _normalisers(self, setting: Setting, changes: Mapping[str, Any] | None = None) -> Hashable:
        """Return the kinds of normalisation in a setting's model."""
        seen = self._look(setting, changes)
        return UNKNOWN if seen is None or seen.built.compiled is UNKNOWN else seen.built.normalisers

    def _rates_in(self, seen: Seen) -> frozenset[str]:
        """Return the learning rates that a build declares, or those of them that are searched.

        A rate that comes in addition to those searched, as for a second phase of training, changes nothing.
        """
        return seen.rates & set(self._learning_rates) or seen.rates

    def _rates(self) -> set[str]:
        """Return the names of all learning rates met so far."""
        met = (*self._hyperparameters.space, *self.late.values())
        return {entry.name for entry in met if self._is_rate(entry)}

    def _is_rate(self, entry: Any) -> bool:
        return entry.name in self._learning_rates or is_named_like_learning_rate(entry)

    def _declared_by(self, settings: Sequence[Setting]) -> list[tuple[Setting, Seen]]:
        """Return what the settings' builds have declared, without those that can't be built.

        One for which too many were built before is taken to declare what the one most like it does.
        """
        looked = [(setting, self._look(self._stand_in(setting))) for setting in settings]
        built = [
            (setting, seen)
            for setting, seen in looked
            if seen is not None and seen.built.compiled is not UNKNOWN
        ]

        def most_like(setting: Setting) -> Seen:
            def agreeing(pair: tuple[Setting, Seen]) -> int:
                return sum(pair[0].get(name) == value for name, value in setting.items())

            return max(built, key=agreeing)[1]

        others = [(setting, most_like(setting)) for setting, seen in looked if seen is None and built]
        order = [setting for setting, _ in looked]
        return sorted([*built, *others], key=lambda pair: order.index(pair[0]))

    def _declared_in(self, declared: Sequence[tuple[Setting, Seen]]) -> dict[str, list[Setting]]:
        """Return the settings that declare a learning rate, or what is late, by name, where others don't."""
        found = {
            name: [setting for setting, seen in declared if name in seen.declared]
            for name in sorted(self._rates() | set(self.late))
        }
        return {name: held for name, held in found.items() if 0 < len(held) < len(declared)}

    def _branch_rates(
        self, several: Sequence[Seen], declared_in: Mapping[str, Sequence[Setting]]
    ) -> tuple[str, ...]:
        """Return the learning rates that are the only one of their branch, those given before the others.

        Which of two in one branch is the learning rate can't be told, unless one was given.
        """
        rates = [self._rates_in(seen) for seen in several]
        given = set(self._learning_rates)
        found = [name for name in self._learning_rates if any(name in held for held in rates)]
        found += [name for held in rates if len(held) == 1 for name in held if name not in given]
        unique = tuple(dict.fromkeys(found))
        return unique if len(unique) > 1 and any(name in declared_in for name in unique) else ()

    # --- Which hyperparameters choose -----------------------------------------------------------------------

    def _choosing(self) -> tuple[str, ...]:
        """Return the names of the hyperparameters that choose, in the space's order."""
        names: list[str] = []
        while (more := self._one_more(names)) is not None:
            names.append(more)
        return tuple(entry.name for entry in self._entries if entry.name in names)

    def _one_more(self, names: Sequence[str]) -> str | None:
        """Return a further hyperparameter that changes how the model is compiled, given those known to."""
        does = _Doing(self._kind, self._is_likely)
        for setting, changes in self._changes_to_try(names):
            kind = self._kind(setting)
            if kind is UNKNOWN or not changes or self._look(setting, changes) is None:
                continue
            if kind == self._kind(setting, changes):
                self._indifferent.append((setting, set(changes)))
            elif (name := self._culprit(does, setting, {}, changes)) is not None:
                return name
        return None

    def _normalising(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the one hyperparameter that adds or removes normalisation, other than those that choose.

        Where there are or may be several, as one for each layer, their combinations would be too many to
        sweep each. Where all models bring their inputs to scale, none of them matters.
        """
        seen = [one.built.normalisers for one in self._seen if one.built.compiled is not UNKNOWN]
        if not seen or not SCALING.isdisjoint(frozenset.intersection(*seen)):
            return ()
        entries = [
            entry
            for entry in self._entries
            if entry.name in self._first_known
            and entry.name not in names
            and not entry.conditions
            and len(entry.values) <= _MOST_NORMALISATIONS
        ]
        likely = [entry for entry in entries if _LIKELY_NORMALISER.search(entry.name)]
        if likely:
            answers = {entry.name: self._normalises(entry, names) for entry in likely}
            found = [name for name, answer in answers.items() if answer is not False]
            return tuple(found) if len(found) == 1 and answers[found[0]] else ()
        changes = self._changes(entries, 0)
        # While what chooses was looked for, all others were changed at once.
        if len(set(seen)) == 1 or not changes:
            return ()
        kinds = (self._normalisers({}), self._normalisers({}, changes))
        if UNKNOWN in kinds or kinds[0] == kinds[1]:
            return ()
        name = self._culprit(_Doing(self._normalisers, lambda _: False), {}, {}, changes)
        return () if name is None else (name,)

    def _normalises(self, entry: Any, names: Sequence[str]) -> bool | None:
        """Return whether a hyperparameter changes the normalisation beside a setting; None if unknown."""
        is_known = True
        for setting in self._combinations(names):
            kinds = {self._normalisers(setting, {entry.name: value}) for value in self._others(entry)}
            kinds.add(self._normalisers(setting))
            if len(kinds - {UNKNOWN}) > 1:
                return True
            is_known = is_known and UNKNOWN not in kinds
        return False if is_known else None

    def _changes_to_try(self, names: Sequence[str]) -> Iterator[tuple[Setting, Setting]]:
        """Yield settings, and changes of the other hyperparameters to try beside each."""
        ruled_out = {*names, *self._parents(names)}
        rest = [entry for entry in self._entries if entry.name not in ruled_out]
        if not names:
            # Most often a choice of optimizers by their names chooses.
            yield from (
                ({}, {entry.name: self._others(entry)[0]}) for entry in rest if lists_optimizers(entry)
            )
        start, *settings = self._combinations(names)
        settings = [setting for setting in settings if self._stand_in(setting) is setting]
        yield start, self._changes(rest, 0)
        # The settings' own models come before further changes beside them, and those that may have a momentum
        # before the others.
        kinds = [self._kind(setting) for setting in settings]
        order = sorted(range(len(settings)), key=lambda index: not _has_momentum(kinds[index]))
        for turn, index in enumerate(order, 1):
            yield settings[index], self._changes(rest, turn)
        for turn in range(len(settings) + 1, max((len(self._others(one)) for one in rest), default=0)):
            yield start, self._changes(rest, turn)
        for entry in rest:
            if entry.conditions and not self._was_changed(entry):
                values = self._values({}, [entry.name]).values
                branch = {condition.name: values[condition.name] for condition in entry.conditions}
                yield from ((branch, {entry.name: value}) for value in self._others(entry))

    def _changes(self, entries: Sequence[Any], turn: int) -> Setting:
        """Return another value for each of several hyperparameters, in turn."""
        others = {entry.name: self._others(entry) for entry in entries}
        return {name: values[turn % len(values)] for name, values in others.items() if values}

    def _others(self, entry: Any) -> list[Any]:
        """Return the values of a hyperparameter that tell whether it chooses, other than the start's."""
        start = self._hyperparameters.values.get(entry.name)
        if start is None:
            start = self._values({}, [entry.name]).values[entry.name]
        others = [value for value in entry.values if value != start]
        numbers = [value for value in others if not isinstance(value, str)]
        return [numbers[0], numbers[-1]] if len(numbers) > 2 else others

    def _was_changed(self, entry: Any) -> bool:
        others = self._others(entry)
        return any(seen.values.get(entry.name) in others for seen in self._seen if entry.name in seen.values)

    def _culprit(self, does: _Doing, setting: Setting, held: Setting, changes: Setting) -> str | None:
        """Return one of several hyperparameters that were changed at once and changed the model.

        Args:
            does: What it does to the model.
            setting: The setting beside which they were changed.
            held: Changes that are known to change nothing.
            changes: The others.

        Returns:
            Its name, or None where no single one is seen to, as where the model can't be built.
        """
        kind = does.kind(setting, held)
        if len(changes) == 1:
            return None if does.kind(setting, {**held, **changes}) in (kind, UNKNOWN) else next(iter(changes))
        likely = [name for name in changes if does.is_likely(name)]
        first = likely if 0 < len(likely) < len(changes) else list(changes)[: len(changes) // 2]
        half = {name: changes[name] for name in first}
        rest = {name: value for name, value in changes.items() if name not in half}
        seen = does.kind(setting, {**held, **half})
        if seen is UNKNOWN:
            # One of the halves, or both, can't be built.
            return self._culprit(does, setting, held, half) or self._culprit(does, setting, held, rest)
        return (
            self._culprit(does, setting, {**held, **half}, rest)
            if seen == kind
            else self._culprit(does, setting, held, half)
        )

    def _is_likely(self, name: str) -> bool:
        entry = next(one for one in self._entries if one.name == name)
        return _LIKELY_NAME.search(name) is not None or lists_optimizers(entry)

    def _stand_in(self, setting: Setting) -> Setting:
        """Return the part of a setting beside which the rest of it changes nothing, or the setting itself."""
        for part, changed in self._indifferent:
            is_part = all(name in setting and setting[name] == value for name, value in part.items())
            if is_part and setting.keys() - part.keys() and setting.keys() - part.keys() <= changed:
                return part
        return setting


def lists_optimizers(entry: Any) -> bool:
    """Return whether a hyperparameter chooses among optimizers by the names that Keras has for them."""
    values = entry.values if isinstance(entry, hp_types.Choice) else ()
    return sum(str(value).lower() in _OPTIMIZERS for value in values) > 1


def _has_momentum(kind: Hashable) -> bool:
    """Return whether one of the optimizers that a model is compiled with can have a momentum."""
    signature = kind[0] if isinstance(kind, tuple) else None
    pairs = signature if isinstance(signature, tuple) else ()
    return any(isinstance(pair, tuple) and pair[1:] != (None,) for pair in pairs)
