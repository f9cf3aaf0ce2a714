"""From finished sweeps to the part of the search space that each trial may use, and to the space of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange, NoRangeError
from lrtuner.curve.rules import Rule, batch_size_shift, suggest_range
from lrtuner.errors import LearningRateError
from lrtuner.results import ALONE, SearchRecord, Sweep
from lrtuner.search.learning_rates import LearningRates, declaration_of
from lrtuner.search.protocol import Answer
from lrtuner.search.settings import Setting, SettingSpace, setting_key
from lrtuner.space.entries import entry_bounds, entry_named, replace_entry
from lrtuner.space.narrowing import (
    Narrowing,
    allows,
    explain_narrowing,
    narrow_entry,
    spread_into,
    union_of_parts,
)


def read_sweep(
    answer: Answer, hyperparameters: kt.HyperParameters, learning_rate: str | None, rule: str | Rule
) -> Sweep:
    """Return the sweep that an answer tells of.

    Args:
        answer: What came of it.
        hyperparameters: What the model was built with.
        learning_rate: Name of the hyperparameter that was to be swept; None if the training code was to
            declare it.
        rule: How to read the range off the curve, see `suggest_range`.

    Returns:
        The sweep, with a range or a reason why there is none.
    """
    curve = answer.curve
    lr_range, reason = (None, answer.error) if curve is None else _read_range(curve, rule)
    return Sweep(
        ALONE,
        hyperparameters,
        curve=curve,
        lr_range=lr_range,
        reason=reason,
        relation=answer.relation,
        learning_rate=answer.learning_rate or learning_rate or "",
        batch_size=None if curve is None or curve.training is None else curve.training.batch_size,
    )


def _read_range(curve: LRCurve, rule: str | Rule) -> tuple[LRRange | None, str | None]:
    """Return the range that a sweep's curve shows, and if it shows none the reason."""
    if curve.fault is not None:
        return None, curve.fault
    try:
        lr_range = suggest_range(curve, rule=rule)
    except NoRangeError as error:
        return None, str(error)
    except Exception as error:
        if isinstance(rule, str):
            raise
        # A rule of the user's own may fail in any way.
        return None, f"{type(error).__name__}: {error}"
    evidence = lr_range.evidence
    if evidence is not None and not evidence.is_from_curve:
        # What is usual for the optimizer is no reason to cut the user's space.
        few = f"{evidence.batches} batches may be too few to show it: sweep over more, for example steps=300."
        return None, f"{evidence.loss_in_words()} {few}"
    return lr_range, None


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
        narrowed_to: The learning rates as narrowed in the space, by name, see `declaration_of`.
    """

    def __init__(self, wrapped: kt.Oracle, names: LearningRates) -> None:
        self._wrapped = wrapped
        self._names = names
        self.sweeps: list[Sweep] = []
        self.found_settings: SettingSpace | None = None
        self.narrowed_to: dict[str, dict[str, Any]] = {}
        # The parts met so far, by learning rate, setting, and the decades by which the batch size moves the
        # range. A declaration that changes voids them.
        self._parts: dict[tuple[str, str, float], Any] = {}

    def restore(self, record: SearchRecord) -> None:
        """Take over the sweeps of an earlier run."""
        self.sweeps = list(record.sweeps)
        self.found_settings = record.setting_space
        self.narrowed_to = record.narrowed_to
        self._names.declarations = record.declarations

    @property
    def settings(self) -> SettingSpace:
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
        sweep.setting = (
            self.settings.setting_of(sweep.hyperparameters.values) if ordered_for is None else ordered_for
        )
        done: Narrowing | None = None
        try:
            sweep.learning_rate = self._names.declare(sweep.learning_rate)
            entry = self._names.entry(sweep.learning_rate)
            sweep.declared = sweep.relation.rate_bounds(entry_bounds(entry))
            if sweep.lr_range is not None:
                part = self._part_of(sweep)
                sweep.narrowed = sweep.relation.rate_bounds(entry_bounds(part))
                done = explain_narrowing(entry, part, sweep.lr_range, sweep.relation)
                batch_size = self.settings.batch_size
                if batch_size is not None and batch_size not in sweep.setting and sweep.batch_size:
                    moves = (
                        f"This is the range at batch size {sweep.batch_size}; it moves with the square root "
                        "of the batch size."
                    )
                    done = dataclasses.replace(done, remark=" ".join(filter(None, (done.remark, moves))))
        except LearningRateError as error:
            sweep.lr_range = sweep.narrowed = None
            sweep.reason = sweep.reason or str(error)
        label = self._names.label(sweep.learning_rate, sweep.setting)
        sweep.name = label or sweep.name
        if done is not None:
            sweep.outcome = f"{label}: {done}" if label else str(done)
        self.sweeps.append(sweep)
        return done

    def other_rates(self, sweep: Sweep) -> dict[str, Any]:
        """Return the other learning rates, by name, and the values at which a sweep held them."""
        values = sweep.hyperparameters.values
        return {name: values[name] for name in self.names_in_use(values) if name != sweep.learning_rate}

    # --- A trial is proposed --------------------------------------------------------------------------------

    def names_in_use(self, values: Mapping[str, Any]) -> list[str]:
        """Return the learning rates that the model of a trial has.

        Args:
            values: The trial's values, which may hold those of learning rates that only others use.
        """
        declares = self.settings.declares
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
        """Return the finished sweep of a learning rate that a trial with these values belongs to."""
        setting = self.settings.setting_of(values)
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
        return self._part_of(sweep, values.get(self.settings.batch_size or ""))

    def _part_of(self, sweep: Sweep, batch_size: int | None = None) -> Any:
        """Return the part for a sweep's range, moved to a trial's batch size if it is another one."""
        shift = batch_size_shift(batch_size, sweep.batch_size) if batch_size and sweep.batch_size else 0.0
        key = (sweep.learning_rate, setting_key(sweep.setting), shift)
        if key not in self._parts:
            assert sweep.lr_range is not None
            moved = moved_range(sweep.lr_range, 10.0**shift)
            entry = self._names.entry(sweep.learning_rate)
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
            entry = self._names.entry(name)
        values[name] = spread_into(values[name], entry, part)
        return True

    def belongs_to_grid(self, values: Mapping[str, Any]) -> bool:
        """Return whether a grid may hold these values.

        Each learning rate lies in its part of the space, and what the values' model does not declare has its
        default: of combinations that differ only there, the grid holds one.
        """
        parts = [(values[name], self.part(name, values)) for name in self.names_in_use(values)]
        defaults = {entry.name: entry.default for entry in self._wrapped.hyperparameters.space}
        unused = [name for name in self.settings.declared_in if not self.settings.declares(name, values)]
        return all(part is None or allows(part, value) for value, part in parts) and all(
            values[name] == defaults[name] for name in unused if name in values and name in defaults
        )

    def must_come_first(self) -> bool:
        """Return whether all sweeps must end before the first trial.

        KerasTuner gives each trial a value of every learning rate that a plain if declares, used or not. Such
        a value may lie outside of a range that is found later. A search that looks up the values of earlier
        trials in its space, as a Gaussian process does, could not find it.
        """
        in_branches = set(self.settings.declared_in) & set(self._names.known())
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
        registered = self._names.registered()
        names = [name for name in self._names.known() if name in self._names.declarations]
        return sum(self._narrow(name) for name in names if name in registered) > 0

    def _narrow(self, name: str) -> bool:
        """Narrow a learning rate in the space; return whether that has changed anything."""
        space = self._wrapped.hyperparameters
        now = declaration_of(space, name)
        if now == self.narrowed_to.get(name):
            return False
        if now != self._names.declarations[name]:
            # KerasTuner has collected the space anew.
            self._names.declarations[name] = now
            self._parts.clear()
        parts = [self.part(name, values) for values in self._all_values(name)]
        if not parts or None in parts:
            return False
        # A search may try the defaults first, so the default is that of their part.
        defaults = {entry.name: entry.default for entry in space.space if space.is_active(entry)}
        default = (self.part(name, defaults) or parts[0]).default
        union = union_of_parts(self._names.entry(name), parts, default)
        tried = [trial.hyperparameters.values for trial in self._wrapped.trials.values()]
        if not self._draws_anew() and not all(allows(union, one[name]) for one in tried if name in one):
            # It was declared when the search had begun.
            return False
        replace_entry(space, name, union)
        self.narrowed_to[name] = declaration_of(space, name)
        return True

    def _all_values(self, name: str) -> list[Setting]:
        """Return values for each setting of a learning rate and, if they move its range, each batch size."""
        space, settings = self._wrapped.hyperparameters, self.settings
        found, batch_size = settings.active_settings(space, name), settings.batch_size
        if batch_size is None:
            return found
        entry = entry_named(space, batch_size)
        # Between the ends of an Int lie no rates that these don't span.
        sizes = entry.values if isinstance(entry, hp_types.Choice) else entry_bounds(entry)
        return [{batch_size: size, **setting} for setting in found for size in sizes]


def moved_range(lr_range: LRRange, factor: float) -> LRRange:
    """Return a range, and the rate from which on the loss rises, at rates that are higher by a factor."""
    evidence = lr_range.evidence
    if evidence is not None and evidence.edge is not None:
        evidence = dataclasses.replace(evidence, edge=evidence.edge * factor)
    return LRRange(lr_range.min_lr * factor, lr_range.max_lr * factor, evidence=evidence)
