"""The sweeps of a search that are due: at which values, who runs each, and until when it is waited for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.errors import LearningRateNotFoundError, NothingToNarrowError
from lrtuner.search import protocol
from lrtuner.search.learning_rates import LearningRates
from lrtuner.search.look import lists_optimizers
from lrtuner.search.options import SweepOptions
from lrtuner.search.protocol import Answer, Order
from lrtuner.search.ranges import SettingRanges
from lrtuner.search.settings import Setting, SettingSpace, setting_key
from lrtuner.space.entries import entry_bounds, has_given_default
from lrtuner.space.narrowing import nearest_value

# After this many expired leases we assume that the sweep itself crashes its workers, and give it up.
_MOST_LEASES = 3


@dataclasses.dataclass(eq=False)
class Job:
    """One sweep that is due.

    Attributes:
        learning_rate: Name of the hyperparameter that it narrows; None before it is known.
        setting: What sets it apart from the other sweeps; None for the first one, which finds the settings.
        hyperparameters: The values to sweep at.
        trial: The trial under way, or the last one.
        worker: Who runs it, or None.
        lease_ends: When it is given to another worker, on the monotonic clock.
        begun: How often it was given away.
        is_second_try: Whether it has failed once.
    """

    learning_rate: str | None
    setting: Setting | None
    hyperparameters: kt.HyperParameters
    trial: Any = None
    worker: str | None = None
    lease_ends: float = math.inf
    begun: int = 0
    is_second_try: bool = False


class Sweeps:
    """The sweeps of a search that are due, in order.

    Not synchronized: the oracle holds its lock in every call.

    Args:
        wrapped: The user's oracle.
        options: The options of the sweeps.
        names: The learning rates.
        ranges: The sweeps that are finished.

    Attributes:
        search_may_begin: Whether the search needs no sweep before its next trial. A trial may still turn out
            to need one.
        all_come_first: Whether all sweeps are run before the first trial. A chief wants it, so that its
            workers share them, and so does a grid, which is laid out once for all. Otherwise a sweep is run
            when a trial first needs it.
        tuner_ids: Those who run a sweep or wait for one.
    """

    def __init__(
        self, wrapped: kt.Oracle, options: SweepOptions, names: LearningRates, ranges: SettingRanges
    ) -> None:
        self._wrapped = wrapped
        self._options = options
        self._names = names
        self._ranges = ranges
        self._due: list[Job] = []
        # Each run has an id of its own, which tells a late result from the one that is waited for.
        self._by_trial: dict[str, Job | None] = {}
        self.search_may_begin = False
        self.all_come_first = isinstance(wrapped, kt.oracles.GridSearchOracle)
        self.tuner_ids: set[str] = set()

    def __len__(self) -> int:
        """Return how many sweeps are due."""
        return len(self._due)

    def running(self) -> dict[str, Any]:
        """Return the trials of the sweeps under way, by worker."""
        return {job.worker: job.trial for job in self._due if job.worker is not None}

    def trial(self, trial_id: str) -> Any:
        """Return the trial of a sweep that was given away, or one that stands for it when it is over."""
        job = self._by_trial.get(trial_id)
        return kt.engine.trial.Trial(kt.HyperParameters(), trial_id) if job is None else job.trial

    # --- A sweep becomes due --------------------------------------------------------------------------------

    def add_first(self) -> str | None:
        """Put the first sweep on the list, unless it has been there.

        Returns:
            Why there can be no sweep at all; None if there will be one, or was.

        Raises:
            LearningRateError: The learning rate can't be told, or can't be narrowed.
            ValueError: `sweep_per` names what can't be swept for.
        """
        if self.search_may_begin or self._due or self._ranges.sweeps:
            return None
        if self._wrapped.trials:
            return (
                "this search was begun without lrtuner, and narrowing its space now would upset it: it goes "
                "on as it began. For a narrowed search choose a new project_name"
            )
        try:
            self._names.check_space(self._wrapped.hyperparameters)
        except LearningRateNotFoundError:
            # Unless it is declared while a model is trained, whoever runs the sweep will say so.
            pass
        except NothingToNarrowError as error:
            return str(error)
        # A search of one trial of a large model must not pay for two sweeps.
        at: Setting = {}
        optimizers = [entry for entry in self._wrapped.hyperparameters.space if lists_optimizers(entry)]
        asked = kerastuner.combinations_asked(self._wrapped)
        if not self.all_come_first and asked and any(asked < len(entry.values) for entry in optimizers):
            proposed = kerastuner.first_values(self._wrapped)
            at = {entry.name: proposed[entry.name] for entry in optimizers if entry.name in proposed}
        self.add(self._names.first(), None, at)
        return None

    def add(self, name: str | None, setting: Setting | None, at: Setting | None = None) -> None:
        """Put a sweep on the list, unless the same is there already.

        Args:
            name: The learning rate; None if the training code is to declare it.
            setting: What sets the sweep apart from others; None for the first one, which finds the settings.
            at: Further values that it is run at, other than the defaults.
        """
        for job in self._due:
            is_same = setting is not None and setting_key(job.setting or {}) == setting_key(setting)
            if is_same and job.learning_rate == name:
                return
        space = self._wrapped.hyperparameters
        # A sweep of one learning rate leaves the others where they train.
        known = set(self._names.known()) - {name}
        resting = {entry.name: _resting_value(entry) for entry in space.space if entry.name in known}
        values = starting_values(space, {**resting, **(at or {}), **(setting or {})}, [name] if name else [])
        self._due.append(Job(name, setting, values))

    def _order(self, job: Job) -> Order:
        """Return what a tuner is told of a sweep."""
        settings = self._ranges.found_settings
        is_first = settings is None
        if settings is None and self._options.sweep_per is not None:
            settings = SettingSpace(tuple(self._options.sweep_per))
        return Order(
            min_lr=self._options.min_lr,
            max_lr=self._options.max_lr,
            steps=self._options.steps,
            shuffle=self._options.shuffle,
            learning_rate=job.learning_rate,
            learning_rates=self._options.several_names,
            others_count=self._options.learning_rate is None,
            settings=settings,
            is_first=is_first,
            scales=self._options.batch_size_scaling and is_first,
            number=len(self._ranges.sweeps) + self._due.index(job) + 1,
            # Hyperband sets its trials' epochs by itself.
            epochs=getattr(self._wrapped, "max_epochs", None),
            objectives=kerastuner.objective_names(self._wrapped),
        )

    def add_those_that_come_first(self) -> None:
        """Put on the list what must be swept before the search may begin, once the settings are known."""
        settings = self._ranges.found_settings
        if settings is not None and (self.all_come_first or self._ranges.must_come_first()):
            for name in self._names.known():
                for setting in settings.active_settings(self._wrapped.hyperparameters, name):
                    if self._ranges.sweep_of(name, setting) is None:
                        self.add(name, setting)
        self.search_may_begin = not self._due

    # --- A worker asks for it -------------------------------------------------------------------------------

    def given_up(self, now: float) -> list[Job]:
        """Return the sweeps that have been begun too often and never ended.

        Args:
            now: The time, on the monotonic clock.
        """
        lost = [job for job in self._due if job.worker is not None and now >= job.lease_ends]
        for job in lost:
            if self._wrapped.verbose:
                print(f"{job.worker!r} did not end the learning-rate sweep in {self._options.lease:g} s.")
            # It may have died, and a chief waits for nobody who has.
            self.tuner_ids.discard(str(job.worker))
            job.worker = None
        return [job for job in lost if job.begun >= _MOST_LEASES]

    def why_given_up(self, job: Job) -> str:
        """Return the reason for giving a sweep up."""
        return f"it was begun {job.begun} times and never ended in {self._options.lease:g} s"

    def next_trial(self, tuner_id: str, now: float) -> Any:
        """Return the trial of a sweep for a tuner to run, which carries an `Order`.

        Args:
            tuner_id: Who asks.
            now: The time, on the monotonic clock.

        Returns:
            The trial; one of status "IDLE" if all sweeps that are due run elsewhere; None if none is due.
        """
        if not self._due:
            self.tuner_ids.discard(tuner_id)
            return None
        self.tuner_ids.add(tuner_id)
        # Several processes may train one model under one id.
        own = next((job for job in self._due if job.worker == tuner_id), None)
        job = own or next((job for job in self._due if job.worker is None), None)
        if job is None:
            return protocol.waiting_trial()
        if own is None:
            trial_id = f"{protocol.SWEEP_PREFIX}_{len(self._by_trial)}"
            values = job.hyperparameters.copy()
            job.trial = kt.engine.trial.Trial(values, trial_id=trial_id, status="RUNNING")
            job.worker, job.lease_ends = tuner_id, now + self._options.lease
            job.begun += 1
            self._by_trial[trial_id] = job
            protocol.put(values, self._order(job))
        return job.trial

    # --- It ends --------------------------------------------------------------------------------------------

    def ended(self, trial: Any, answer: Answer) -> Job | None:
        """Return the sweep that a trial's end concludes.

        Args:
            trial: The trial that has ended.
            answer: What came of it.

        Returns:
            The sweep. None if it is concluded already, if it has been given to another worker meanwhile and
            this one has nothing to show, or if training failed for the first time and is tried once more.
        """
        job = self._by_trial.get(trial.trial_id)
        if job is None or (trial.trial_id != job.trial.trial_id and answer.curve is None):
            return None
        job.worker = None
        if answer.curve is None and answer.may_be_retried and not job.is_second_try:
            if self._wrapped.verbose:
                print(f"The learning-rate sweep failed and is run again: {answer.error}")
            job.is_second_try = True
            return None
        return job

    def conclude(self, job: Job) -> None:
        """Take a finished sweep off the list, and put on it what is due next."""
        self._due.remove(job)
        # Late results of its trials are ignored.
        self._by_trial = {
            trial_id: None if other is job else other for trial_id, other in self._by_trial.items()
        }
        if len(self._ranges.sweeps) == 1:
            self.add_those_that_come_first()
        self.search_may_begin = self.search_may_begin or not self._due


def starting_values(
    space: kt.HyperParameters, fixed: Mapping[str, Any], needed: Sequence[str]
) -> kt.HyperParameters:
    """Return hyperparameters with KerasTuner's default values, at which it has built a model by now.

    Args:
        space: The search space.
        fixed: Values in place of the defaults.
        needed: Names of hyperparameters that are to be active: their conditions are met, except where a fixed
            value says otherwise.
    """
    conditions = {
        condition.name: condition.values[0]
        for entry in space.space
        if entry.name in needed
        for condition in entry.conditions
    }
    fixed = {**conditions, **fixed}
    values = kt.HyperParameters()
    for entry in space.space:
        values.merge([entry])
        if values.is_active(entry):
            values.values[entry.name] = fixed.get(entry.name, entry.default)
    return values


def _resting_value(entry: Any) -> Any:
    """Return a value at which another learning rate may stand: its default, or the geometric middle.

    A default that the user has not given is the lowest rate, at which nothing is learned.
    """
    if has_given_default(entry):
        return entry.default
    low, high = entry_bounds(entry)
    return nearest_value(entry, math.sqrt(low * high)) if low > 0 else entry.prob_to_value(0.5)
