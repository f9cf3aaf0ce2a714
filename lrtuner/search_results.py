"""What a search has found so far, from its oracle or from the files of its project."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lrtuner.curve.lr_range import LRRange
from lrtuner.curve.rules import next_range
from lrtuner.search.record import Sweep
from lrtuner.search.settings import Setting, SettingSpace, setting_key, sweep_label
from lrtuner.space.relation import IDENTITY, Relation


@dataclasses.dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended with a score.

    Attributes:
        trial_id: KerasTuner's id of it.
        hyperparameters: Its values, by name.
        score: Its objective.
    """

    trial_id: str
    hyperparameters: Mapping[str, Any]
    score: float


class NotSwept(NamedTuple):
    """What stands in a picture for the sweep of a setting that has none; see `Sweep`."""

    name: str
    learning_rate: str
    setting: Setting
    relation: Relation = IDENTITY
    curve: None = None
    lr_range: None = None
    reason: None = None
    declared: None = None


class Advice(NamedTuple):
    """Where to search next.

    Attributes:
        searched: The learning rates that were searched.
        better: Those to search next.
    """

    searched: LRRange
    better: LRRange


@dataclasses.dataclass(kw_only=True)
class SearchResults:
    """What a search has found: its sweeps and its finished trials. `lrtuner.load` returns it.

    Attributes:
        project: Name of the project, or `None` before a tuner has one.
        sweeps: List of `Sweep`, finished ones only. Each has its `curve`, its `lr_range` or the `reason` why
            it has none, its `setting`, and the learning rates that were `declared` and those `narrowed` to.
        trials: The finished trials, the best first where the direction is known. Each has a `trial_id`, its
            `hyperparameters` by name, and a `score`.
        objective: Name of what the scores are, or `None` where it is unknown.
        direction: "min" or "max" where lower or higher scores are better, `None` where it is unknown.
        learning_rates: Names of the hyperparameters that are learning rates.
        settings: Which hyperparameters move the range.
    """

    project: str | None
    sweeps: list[Sweep]
    trials: list[FinishedTrial]
    objective: str | None
    direction: str | None
    learning_rates: Sequence[str] = dataclasses.field(repr=False)
    settings: SettingSpace = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if self.direction is not None:
            sign = -1.0 if self.direction == "max" else 1.0
            self.trials = sorted(
                self.trials,
                key=lambda trial: sign * trial.score if math.isfinite(trial.score) else math.inf,
            )

    @property
    def lr_range(self) -> LRRange | None:
        """The learning-rate range that the sweep found, or `None` where there is none.

        Of several sweeps the smallest range that holds all of theirs.
        """
        ranges = [sweep.lr_range for sweep in self.sweeps if sweep.lr_range is not None]
        if len(ranges) < 2:
            return ranges[0] if ranges else None
        return LRRange(min(found.min_lr for found in ranges), max(found.max_lr for found in ranges))

    # --- The trials of a sweep ------------------------------------------------------------------------------

    def scored_rates(self, sweep: Sweep | NotSwept) -> list[tuple[float, float]]:
        """Return the learning rate and the score of each finished trial of a sweep's setting."""
        name, setting = sweep.learning_rate, setting_key(sweep.setting)
        return [
            (sweep.relation.rate(values[name]), float(trial.score))
            for trial in self.trials
            for values in [trial.hyperparameters]
            if name in values and setting_key(self.settings.setting_of(values)) == setting
        ]

    def settings_not_swept(self) -> list[NotSwept]:
        """Return what stands for the sweep of each setting whose trials were proposed without one."""
        swept = {(sweep.learning_rate, setting_key(sweep.setting)) for sweep in self.sweeps}
        found: dict[tuple[str, str], NotSwept] = {}
        for trial in self.trials:
            values = trial.hyperparameters
            setting = self.settings.setting_of(values)
            for name in self.learning_rates:
                key = name, setting_key(setting)
                if key in swept or name not in values or not self.settings.declares(name, values):
                    continue
                label = sweep_label(name if len(self.learning_rates) > 1 else None, setting) or "no sweep"
                found[key] = NotSwept(label, name, setting)
        return list(found.values())

    def advice(self, sweep: Sweep) -> Advice | None:
        """Return where to search next, if a sweep's best trials lie at an edge of what was searched.

        Args:
            sweep: One of `sweeps`.

        Returns:
            What was searched and what to search next, or None if this was right or too few trials have
            finished to tell.
        """
        trials = self.scored_rates(sweep)
        low, high = sweep.narrowed or (0.0, 0.0)
        if not trials or self.direction is None or not 0 < low < high:
            return None
        searched = LRRange(low, high)
        rates, scores = zip(*trials, strict=True)
        better = next_range(rates, scores, searched, maximize=self.direction == "max")
        return None if better is None else Advice(searched, better)

    # --- Pictures -------------------------------------------------------------------------------------------

    def plot_sweeps(self, ax: Any = None) -> Any:
        """Draw the sweeps and the trials: see `LRRangeOracle.plot_sweeps` for result and errors."""
        from lrtuner.plot import plot_sweeps

        if not self.sweeps:
            raise RuntimeError(
                "No sweep has finished yet: call plot_sweeps after tuner.search(...) has begun."
            )
        return plot_sweeps(
            self.sweeps, trials=[self.scored_rates(sweep) for sweep in self.sweeps], ax=ax, **self._about()
        )

    def plot_search(self, ax: Any = None) -> Any:
        """Draw the trials over their rates: see `LRRangeOracle.plot_search` for result and errors."""
        from lrtuner.plot import plot_search

        sweeps: list[Any] = [*self.sweeps, *self.settings_not_swept()]
        trials = [self.scored_rates(sweep) for sweep in sweeps]
        if not any(trials):
            raise RuntimeError(
                "No trial with a learning rate has finished yet: call plot_search after tuner.search(...)."
            )
        return plot_search(sweeps, trials, ax=ax, **self._about())

    def _about(self) -> dict[str, Any]:
        return {"project": self.project, "objective": self.objective, "direction": self.direction}
