"""Steers what the wrapped oracle proposes into the range of each trial's own setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.search.ranges import SettingRanges
from lrtuner.search.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class HeldProposal:
    """A proposal that waits for the sweep of its setting.

    Attributes:
        trial_id: The trial that it was made for.
        response: What the wrapped oracle's `populate_space` returned.
    """

    trial_id: str
    response: dict[str, Any]


class Proposals:
    """What the wrapped oracle proposes, moved into the ranges.

    Args:
        wrapped: The user's oracle.
        ranges: The ranges of the finished sweeps.
        schedule: Where sweeps are put that a proposal needs.

    Attributes:
        held: The proposal that waits for a sweep, or None.
    """

    def __init__(self, wrapped: kt.Oracle, ranges: SettingRanges, schedule: Schedule) -> None:
        self._wrapped = wrapped
        self._ranges = ranges
        self._schedule = schedule
        self.held: HeldProposal | None = None

    def propose(self, original: Callable[[str], dict[str, Any]], trial_id: str) -> dict[str, Any]:
        """Propose as the wrapped oracle does, with each learning rate in the range of its setting.

        If that range is not known yet, the proposal is held until its sweep is done. What a Bayesian search
        proposes although it has failed before is replaced by a random proposal.

        Args:
            original: The wrapped oracle's own `populate_space`.
            trial_id: The trial to propose for.

        Returns:
            What `keras_tuner.Oracle.populate_space` returns.
        """
        repeats = False
        for _ in range(kerastuner.most_collisions(self._wrapped)):
            if self.held is not None and self.held.trial_id == trial_id:
                response = self.held.response
                self._ranges.add_new_rates(response["values"])
            elif repeats:
                response = kerastuner.random_proposal(self._wrapped)
            else:
                response = original(trial_id)
            values = response.get("values")
            if response["status"] != "RUNNING" or not values or not self._ranges.sweeps:
                return response
            names = self._ranges.names_in_use(values)
            if self._order_missing_sweeps(names, values):
                self.held = HeldProposal(trial_id, response)
                return {"status": "IDLE"}
            self.held = None
            moved = [self._ranges.move_inside(name, values) for name in names]
            repeats = kerastuner.repeats_a_failure(self._wrapped, values)
            if repeats:
                continue
            if not any(moved) or not self._may_ask_for_another(values):
                return response
        return {"status": "STOPPED", "values": None}

    def _order_missing_sweeps(self, names: list[str], values: dict[str, Any]) -> bool:
        """Put the sweeps that a proposal lacks on the list; return whether there are any."""
        settings = self._ranges.found_settings
        if settings is None:
            return False
        missing = [name for name in names if self._ranges.sweep_of(name, values) is None]
        for name in missing:
            self._schedule.add(name, settings.setting_of(values))
        return bool(missing)

    def _may_ask_for_another(self, values: dict[str, Any]) -> bool:
        """Return whether a trial had the same values, and the oracle can be asked again for others.

        Only a random search can: Hyperband notes where it has put a proposal, and a Gaussian process would
        propose the same again.
        """
        is_random = isinstance(self._wrapped, kt.oracles.RandomSearchOracle)
        return is_random and kerastuner.was_tried(self._wrapped, values)

    def next_combination(self, original: Callable[..., Any], values: dict[str, Any]) -> Any:
        """Return the next combination of a grid whose learning rates lie in the ranges of its setting.

        Of combinations that differ only in what their model does not declare, there is one.

        Args:
            original: The wrapped oracle's own way to the next combination.
            values: The combination before.

        Returns:
            The combination, or None if there are no more.
        """
        combination = original(values)
        while combination is not None and not (
            self._ranges.allows(combination) and self._ranges.is_plain(combination)
        ):
            combination = original(combination)
        return combination
