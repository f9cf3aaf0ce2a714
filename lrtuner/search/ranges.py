"""From finished sweeps to the part of the search space that each trial may use, and to the space of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras_tuner as kt
import numpy as np
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange
from lrtuner.curve.rules import batch_size_shift
from lrtuner.curve.smoothing import MEDIAN_DIFFERENCE
from lrtuner.errors import LearningRateError
from lrtuner.search.names import Declaration, LearningRates, rates_between
from lrtuner.search.record import Sweep
from lrtuner.search.settings import Setting, SettingSpace, setting_key
from lrtuner.space.entries import entry_bounds, entry_named, replace_entry
from lrtuner.space.narrowing import Narrowing, explain_narrowing, narrow_entry
from lrtuner.space.parts import allows, spread_into, union_of_parts


class SettingRanges:
    """The finished sweeps of a search, each the range of a learning rate in one setting.

    A part is a learning-rate hyperparameter, narrowed to one such range. The search space holds the union of
    all parts.

    Args:
        wrapped: The user's oracle, whose space is narrowed.
        names: The learning rates.

    Attributes:
        sweeps: The finished sweeps.
        found_settings: The hyperparameters that move the range; None before the first sweep has found them.
    """

    def __init__(self, wrapped: kt.Oracle, names: LearningRates) -> None:
        self._wrapped = wrapped
        self._names = names
        self.sweeps: list[Sweep] = []
        self.found_settings: SettingSpace | None = None
        # The learning rates as narrowed in the space, by name.
        self._narrowed_to: dict[str, Declaration] = {}
        # The parts met so far, by learning rate, setting, and the decades by which the batch size moves the
        # range. A declaration that changes voids them.
        self._parts: dict[tuple[str, str, float], Any] = {}

    def restore(
        self, sweeps: Sequence[Sweep], setting_space: SettingSpace | None, narrowed_to: dict[str, Any]
    ) -> None:
        """Take over the sweeps of an earlier run, as a `SearchRecord` holds them."""
        self.sweeps = list(sweeps)
        self.found_settings = setting_space
        self._narrowed_to = {name: Declaration.from_config(config) for name, config in narrowed_to.items()}

    def narrowed_to_config(self) -> dict[str, Any]:
        """Return how the learning rates are narrowed in the space, for a `SearchRecord`."""
        return {name: declaration.to_config() for name, declaration in self._narrowed_to.items()}

    @property
    def setting_space(self) -> SettingSpace:
        """The hyperparameters that move the range; none before the first sweep has found them."""
        return self.found_settings or SettingSpace()

    # --- A sweep ends ---------------------------------------------------------------------------------------

    def add(
        self, sweep: Sweep, settings: SettingSpace | None, ordered_for: Setting | None = None
    ) -> Narrowing | None:
        """Take a finished sweep in, and say in it what it is for and what comes of it.

        Args:
            sweep: The sweep, with its curve and its range or the reason why it has none.
            settings: The hyperparameters that move the range, if the sweep has found them.
            ordered_for: The setting that the sweep was ordered for; by default that of its values. The two
                differ where a trial lacks a hyperparameter that every model declares.

        Returns:
            What narrowing to its range does to the hyperparameter, or None if it has no range that the space
            can be narrowed to.
        """
        if self.found_settings is None:
            self.found_settings = settings
        if ordered_for is None:
            ordered_for = self.setting_space.setting_of(sweep.hyperparameters.values)
        sweep.setting = ordered_for
        done: Narrowing | None = None
        try:
            declaration = self._names.declaration(sweep.learning_rate)
            sweep.learning_rate = declaration.name
            entry = declaration.entry()
            sweep.declared = rates_between(entry, sweep.relation)
            if sweep.lr_range is not None:
                part = self._part_of(sweep)
                sweep.narrowed = rates_between(part, sweep.relation)
                done = explain_narrowing(entry, part, sweep.lr_range, sweep.relation)
                remarks = [done.remark, *self._remarks(sweep)]
                done = dataclasses.replace(done, remark=" ".join(filter(None, remarks)))
        except LearningRateError as error:
            sweep.lr_range = sweep.narrowed = None
            sweep.reason = sweep.reason or str(error)
        label = self.label(sweep)
        sweep.name = label or sweep.name
        if done is not None:
            sweep.outcome = f"{label}: {done}" if label else str(done)
        self.sweeps.append(sweep)
        return done

    def _remarks(self, sweep: Sweep) -> Iterator[str]:
        """Yield what to know of a range beside its ends."""
        batch_size = self.setting_space.batch_size
        if batch_size is not None and batch_size not in sweep.setting and sweep.batch_size is not None:
            yield (
                f"This is the range at batch size {sweep.batch_size}; it moves with the square root of the "
                "batch size."
            )
        if sweep.curve is not None and _shows_outliers(sweep.curve):
            yield (
                "Some rows of the data have losses far above all others, at any learning rate. Those of rare "
                "classes do; otherwise check whether their values are right."
            )

    def label(self, sweep: Sweep) -> str:
        """Return in words what sets a sweep apart from the others; empty if there are no others."""
        return self._names.label(sweep.learning_rate, sweep.setting)

    def other_rates(self, sweep: Sweep) -> dict[str, Any]:
        """Return the other learning rates, by name, and the values at which a sweep held them."""
        values = sweep.hyperparameters.values
        others = [name for name in self.names_in_use(values) if name != sweep.learning_rate]
        return {name: values[name] for name in others}

    # --- A trial is proposed --------------------------------------------------------------------------------

    def names_in_use(self, values: Mapping[str, Any]) -> list[str]:
        """Return the learning rates that the model of a trial has.

        Args:
            values: The trial's values, which may hold those of learning rates that only others use.
        """
        declares = self.setting_space.declares
        return [name for name in self._names.known() if name in values and declares(name, values)]

    def add_new_rates(self, values: dict[str, Any]) -> None:
        """Give a proposal a value of each learning rate that was declared since it was made.

        Args:
            values: The proposal's values, changed in place.
        """
        for entry in self._wrapped.hyperparameters.space:
            if entry.name in self._names.known() and not entry.conditions:
                values.setdefault(entry.name, entry.default)

    def sweep_of(self, name: str, values: Mapping[str, Any]) -> Sweep | None:
        """Return the finished sweep that a trial belongs to.

        Args:
            name: The learning rate.
            values: The trial's values.
        """
        setting = self.setting_space.setting_of(values)
        for sweep in self.sweeps:
            if sweep.learning_rate == name and sweep.setting == setting:
                return sweep
        return None

    def part(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return the part of the space that a trial may use.

        Args:
            name: The learning rate.
            values: The trial's values.

        Returns:
            The narrowed hyperparameter, or None if no range is known for such a trial.
        """
        sweep = self.sweep_of(name, values)
        if sweep is None or sweep.lr_range is None:
            return None
        return self._part_of(sweep, values.get(self.setting_space.batch_size or ""))

    def _part_of(self, sweep: Sweep, batch_size: int | None = None) -> Any:
        """Return the part for a sweep's range, moved to a trial's batch size if it is another one."""
        shift = batch_size_shift(batch_size, sweep.batch_size) if batch_size and sweep.batch_size else 0.0
        key = (sweep.learning_rate, setting_key(sweep.setting), shift)
        if key not in self._parts:
            assert sweep.lr_range is not None
            moved = moved_range(sweep.lr_range, 10.0**shift)
            entry = self._names.declarations[sweep.learning_rate].entry()
            self._parts[key] = narrow_entry(entry, moved, sweep.relation)
        return self._parts[key]

    def move_inside(self, name: str, values: dict[str, Any]) -> bool:
        """Move a trial's learning rate into its part of the space.

        Args:
            name: The learning rate.
            values: The trial's values, changed in place.

        Returns:
            Whether it had to be moved.
        """
        part = self.part(name, values)
        if part is None or allows(part, values[name]):
            return False
        entry = entry_named(self._wrapped.hyperparameters, name)
        if not allows(entry, values[name]):
            # Narrowed since this was proposed.
            entry = self._names.declarations[name].entry()
        values[name] = spread_into(values[name], entry, part)
        return True

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return whether each learning rate of a trial lies in its part of the space."""
        parts = [(values[name], self.part(name, values)) for name in self.names_in_use(values)]
        return all(part is None or allows(part, value) for value, part in parts)

    def is_plain(self, values: Mapping[str, Any]) -> bool:
        """Return whether all that a trial's model doesn't declare has its default value."""
        defaults = {entry.name: entry.default for entry in self._wrapped.hyperparameters.space}
        return all(
            values[name] == defaults[name]
            for name in self.setting_space.declared_in
            if name in values and name in defaults and not self.setting_space.declares(name, values)
        )

    def must_come_first(self) -> bool:
        """Return whether all sweeps must end before the first trial.

        KerasTuner gives each trial a value of every learning rate that a plain if declares, used or not. Such
        a value may lie outside of a range that is found later. A search that looks up the values of earlier
        trials in its space, as a Gaussian process does, could not find it.
        """
        in_branches = set(self.setting_space.declared_in) & set(self._names.known())
        return bool(in_branches) and not self._draws_anew()

    def _draws_anew(self) -> bool:
        """Return whether the wrapped oracle doesn't care what values earlier trials had."""
        return isinstance(self._wrapped, (kt.oracles.RandomSearchOracle, kt.oracles.HyperbandOracle))

    # --- The search space -----------------------------------------------------------------------------------

    def narrow_space(self) -> bool:
        """Narrow each learning rate to the union of its parts, once all of its settings have theirs.

        In the middle of a search this is safe where all trials so far have values of the union.

        Returns:
            Whether anything has changed.
        """
        changed = [self._narrow(name) for name in self._names.known() if name in self._names.declarations]
        return any(changed)

    def _narrow(self, name: str) -> bool:
        """Narrow a learning rate in the space; return whether that has changed anything."""
        space = self._wrapped.hyperparameters
        if all(entry.name != name for entry in space.space):
            return False
        now = Declaration.of(space, name)
        if now == self._narrowed_to.get(name):
            return False
        if now != self._names.declarations[name]:
            # Declared anew before the first trial; once begun, a search keeps its space.
            if self._wrapped.trials or self._wrapped.start_order:
                return False
            self._names.declarations[name] = now
            self._parts.clear()
            self._note_bounds(name)
        parts = [self.part(name, values) for values in self._all_values(name)]
        if not parts or None in parts:
            return False
        # A search may try the defaults first, so the default is that of their part.
        defaults = {entry.name: entry.default for entry in space.space if space.is_active(entry)}
        default = (self.part(name, defaults) or parts[0]).default
        union = union_of_parts(now.entry(), parts, default)
        tried = [trial.hyperparameters.values for trial in self._wrapped.trials.values()]
        if not self._draws_anew() and not all(allows(union, one[name]) for one in tried if name in one):
            # It was declared when the search had begun.
            return False
        replace_entry(space, name, union)
        self._narrowed_to[name] = Declaration.of(space, name)
        return True

    def _note_bounds(self, name: str) -> None:
        """Note in the sweeps of a learning rate what it is narrowed from, and to, as it is declared now."""
        for sweep in self.sweeps:
            if sweep.learning_rate == name:
                sweep.declared = rates_between(self._names.declarations[name].entry(), sweep.relation)
            if sweep.learning_rate == name and sweep.lr_range is not None:
                sweep.narrowed = rates_between(self._part_of(sweep), sweep.relation)

    def _all_values(self, name: str) -> list[Setting]:
        """Return values for each setting of a learning rate and, if they move its range, each batch size."""
        space, settings = self._wrapped.hyperparameters, self.setting_space
        found = settings.active_settings(space, name)
        batch_size = settings.batch_size
        if batch_size is None:
            return found
        entry = entry_named(space, batch_size)
        # Between the ends of an Int lie no rates that these don't span.
        sizes = entry.values if isinstance(entry, hp_types.Choice) else entry_bounds(entry)
        return [
            values
            for setting in found
            for values in (
                [setting] if batch_size in setting else [{**setting, batch_size: size} for size in sizes]
            )
        ]


def _shows_outliers(curve: LRCurve) -> bool:
    """Return whether rows of the data are known for outliers, and their losses are beyond any doubt.

    A sweep goes on where rows stand out by 30 times the noise of the first batches. That noise may look far
    too small, since the batches are few. To name the rows to the user takes 100 times the whole curve's.
    """
    if curve.training is None or not curve.training.has_outliers:
        return False
    # As the loss blows up, high losses come before the batch at which that is certain.
    end = len(curve) if curve.blow_up is None else curve.blow_up - BlowUpDetector.WINDOW
    losses = curve.losses[: max(end, 0)]
    losses = losses[np.isfinite(losses)]
    if len(losses) < BlowUpDetector.WINDOW:
        return False
    noise = np.median(np.abs(np.diff(losses))) / MEDIAN_DIFFERENCE
    return bool(losses.max() - np.median(losses) > 100.0 * noise)


def moved_range(lr_range: LRRange, factor: float) -> LRRange:
    """Return a range with its evidence at rates that are higher by a factor."""
    evidence = lr_range.evidence
    if evidence is not None:
        rates = {name: getattr(evidence, name) for name in ("descent_end", "edge", "usual")}
        evidence = dataclasses.replace(
            evidence, **{name: rate * factor for name, rate in rates.items() if rate is not None}
        )
    return LRRange(lr_range.min_lr * factor, lr_range.max_lr * factor, evidence=evidence)
