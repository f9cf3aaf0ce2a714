"""Which sweeps are due, for whom, and for how long."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.errors import LearningRateNotFoundError, NothingToNarrowError
from lrtuner.search import messages, protocol
from lrtuner.search.jobs import Job, Jobs
from lrtuner.search.names import LearningRates
from lrtuner.search.options import SweepOptions
from lrtuner.search.protocol import SweepAnswer, SweepTask
from lrtuner.search.ranges import SettingRanges
from lrtuner.search.setting_finder import lists_optimizers
from lrtuner.search.settings import Setting, SettingSpace, default_values, values_in_the_middle
from lrtuner.space.entries import entry_bounds, has_given_default
from lrtuner.space.narrowing import nearest_value

# After this many expired leases we assume that the sweep itself crashes its workers, and give it up.
_MOST_LEASES = 3
# A sweep sets its rates by itself. So the value that its learning rate is given is a mere mark: a model whose
# optimizer has that very rate uses the hyperparameter. Two candidates, as shares of the declared bounds; the
# default is none, since a model may have it by chance.
_MARKING_SHARES = (0.45, 0.95)
# Nor are these, the rates that Keras' optimizers have unless told otherwise.
_KERAS_DEFAULT_RATES = (1e-3, 1e-2)

NO_RUNNER = (
    "This tuner does not run the learning-rate sweep that LRRangeOracle asks for. Either use lrtuner.Tuner "
    "(or lrtuner.RandomSearch, BayesianOptimization, Hyperband, GridSearch) in place of KerasTuner's, or "
    "wrap the hypermodel: hypermodel=lrtuner.LRRangeHyperModel(build_model). A sweep needs a Keras model: a "
    "tuner of other models, such as SklearnTuner, takes the search's own oracle as it is."
)


class Schedule:
    """The sweeps of a search that are due.

    Args:
        wrapped: The user's oracle.
        options: The options of the sweeps.
        names: The learning rates.
        ranges: The sweeps that are finished.

    Attributes:
        search_may_begin: Whether the search needs no sweep before its next trial. A trial may still turn out
            to need one.
        has_runner: Whether somebody is known to run sweeps.
        all_come_first: Whether all sweeps are run before the first trial. A chief wants it, so that its
            workers share them, and so does a grid, which is laid out once for all. Otherwise a sweep is run
            when a trial first needs it.
    """

    def __init__(
        self, wrapped: kt.Oracle, options: SweepOptions, names: LearningRates, ranges: SettingRanges
    ) -> None:
        self._wrapped = wrapped
        self._options = options
        self._names = names
        self._ranges = ranges
        self._jobs = Jobs(protocol.SWEEP_PREFIX)
        self.search_may_begin = False
        self.has_runner = False
        self.all_come_first = isinstance(wrapped, kt.oracles.GridSearchOracle)

    def __len__(self) -> int:
        """Return how many sweeps are due."""
        return len(self._jobs)

    def running(self) -> dict[str, Any]:
        """Return the trials of the sweeps under way, by worker."""
        return self._jobs.running()

    def require_runner(self) -> None:
        """Raise unless somebody is known to run sweeps.

        Raises:
            ValueError: Nobody is.
        """
        if not self.has_runner:
            raise ValueError(NO_RUNNER)

    # --- A sweep becomes due --------------------------------------------------------------------------------

    def add_first(self) -> str | None:
        """Put the first sweep on the list, unless it has been there.

        Returns:
            Why there can be no sweep at all; None if there will be one, or was.

        Raises:
            LearningRateError: The learning rate can't be told, or can't be narrowed.
            ValueError: Nobody runs sweeps, or `sweep_per` names what can't be swept for.
        """
        if self.search_may_begin or len(self) or self._ranges.sweeps:
            return None
        if self._wrapped.trials:
            return (
                "this search was begun without lrtuner, and narrowing its space now would upset it: it goes "
                "on as it began. For a narrowed search choose a new project_name"
            )
        self.require_runner()
        try:
            self._names.check_space(self._wrapped.hyperparameters)
        except LearningRateNotFoundError:
            # Unless the hypermodel declares it while it trains, whoever runs the sweep will say so.
            pass
        except NothingToNarrowError as error:
            return str(error)
        self.add(self._names.name_to_sweep_first(), None, self._optimizer_of_first_trial())
        return None

    def _optimizer_of_first_trial(self) -> Setting:
        """Return the values that choose the optimizer of the first trial, as far as they are known by now.

        With another optimizer, the first trial would need a second sweep, and whoever trains a large model
        waits for both.
        """
        space = self._wrapped.hyperparameters
        rates = [entry for entry in space.space if entry.name in self._names.known()]
        # A learning rate that only some optimizers have is swept at one of those.
        if self.all_come_first or len(rates) != 1 or rates[0].conditions:
            return {}
        chosen = self._options.sweep_per
        if chosen is None:
            chosen = [entry.name for entry in space.space if lists_optimizers(entry)]
        proposed = kerastuner.first_proposal(self._wrapped) if chosen else {}
        return {name: proposed[name] for name in chosen if name in proposed}

    def add(self, name: str | None, setting: Setting | None, at: Setting | None = None) -> None:
        """Put a sweep on the list, unless the same is there already.

        Args:
            name: The learning rate; None if the training code is to declare it.
            setting: What sets the sweep apart from others; None for the first one, which finds the settings.
            at: Further values to sweep at. Should that give no curve, the sweep is run without them.
        """
        space = self._wrapped.hyperparameters
        # A sweep of one learning rate leaves the others where they train. Each starts at a value of its own,
        # by which the sweep tells their optimizers apart.
        known = self._names.known()
        others = [entry for entry in space.space if entry.name in known and entry.name != name]
        fixed = {entry.name: _resting_value(entry, index) for index, entry in enumerate(others)}
        fixed |= {entry.name: _marking_value(entry) for entry in space.space if entry.name == name}
        fixed |= setting or {}
        needed = [] if name is None else [name]
        hyperparameters = values_in_the_middle(space, fixed, needed)
        defaults = default_values(space, fixed, needed)
        has_fallback = defaults.values != hyperparameters.values
        task = self._task(name, may_fall_back=has_fallback)
        job = Job(name, setting, hyperparameters, defaults=defaults if has_fallback else None)
        moved = values_in_the_middle(space, {**fixed, **(at or {})}, needed)
        if moved.values != hyperparameters.values:
            job.hyperparameters, job.instead = moved, hyperparameters
            dataclasses.replace(task, may_fall_back=True).write_to(moved)
        task.write_to(hyperparameters)
        dataclasses.replace(task, may_fall_back=False).write_to(defaults)
        self._jobs.add(job)

    def _task(self, name: str | None, *, may_fall_back: bool) -> SweepTask:
        """Return what a tuner is told of the sweep of a learning rate."""
        settings = self._ranges.found_settings
        is_first = settings is None
        if settings is None and self._options.sweep_per is not None:
            settings = SettingSpace(tuple(self._options.sweep_per))
        return SweepTask(
            min_lr=self._options.min_lr,
            max_lr=self._options.max_lr,
            steps=self._options.steps,
            learning_rate=name,
            learning_rates=self._options.several_names,
            others_count=self._options.learning_rate is None,
            settings=settings,
            is_first=is_first,
            scales=self._options.batch_size_scaling and is_first,
            number=len(self._ranges.sweeps) + len(self) + 1,
            # Hyperband sets its trials' epochs by itself.
            epochs=getattr(self._wrapped, "max_epochs", None),
            objective_is_named=kerastuner.has_objective(self._wrapped),
            objectives=kerastuner.objective_names(self._wrapped),
            may_fall_back=may_fall_back,
        )

    def add_those_that_come_first(self) -> None:
        """Put on the list what must be swept before the search may begin, once the settings are known."""
        settings = self._ranges.found_settings
        if settings is not None and (self.all_come_first or self._ranges.must_come_first()):
            for name in self._names.known():
                for setting in settings.active_settings(self._wrapped.hyperparameters, name):
                    if self._ranges.sweep_of(name, setting) is None:
                        self.add(name, setting)
        self.search_may_begin = not len(self)

    # --- A worker asks for it -------------------------------------------------------------------------------

    def given_up(self, now: float) -> list[Job]:
        """Return the sweeps that have been begun too often and never ended.

        Args:
            now: The time, on the monotonic clock.
        """
        lost = [job for job in self._jobs.late(now) if job.begun >= _MOST_LEASES]
        for job in lost:
            self._say_that_the_lease_has_ended(job)
        return lost

    def why_given_up(self, job: Job) -> str:
        """Return the reason for giving a sweep up."""
        return f"it was begun {job.begun} times and never ended in {self._options.lease:g} s"

    def next_trial(self, tuner_id: str, now: float) -> Any:
        """Return the trial of a sweep for a tuner to run.

        Args:
            tuner_id: Who asks.
            now: The time, on the monotonic clock.

        Returns:
            The trial; one of status "IDLE" if all sweeps that are due run elsewhere; None if none is due.
        """
        own = self._jobs.of_worker(tuner_id, now)
        if own is not None:
            # Several processes may train one model under one id.
            return own.trial
        job = self._jobs.free(now)
        if job is not None:
            self._say_that_the_lease_has_ended(job)
            return self._jobs.give(job, tuner_id, now + self._options.lease)
        return protocol.waiting_trial() if len(self) else None

    def _say_that_the_lease_has_ended(self, job: Job) -> None:
        if job.worker is not None:
            messages.lease_has_ended(job.worker, self._options.lease, verbose=self._wrapped.verbose)

    # --- It ends --------------------------------------------------------------------------------------------

    def worker_of(self, trial_id: str) -> str | None:
        """Return who runs the trial of a sweep; None if it is not waited for any more."""
        job = self._jobs.of_trial(trial_id)
        return job.worker if job is not None and job.trial.trial_id == trial_id else None

    def ended(self, trial: Any, answer: SweepAnswer) -> Job | None:
        """Return the sweep that a trial's end concludes.

        Args:
            trial: The trial that has ended.
            answer: What came of it.

        Returns:
            The sweep. None if it is concluded already, if it has been given to another worker meanwhile and
            this one has nothing to show, or if it failed and will be run again: without the optimizer of
            the first trial, as often as the search retries a trial, and then once at the default values.
        """
        job = self._jobs.of_trial(trial.trial_id)
        if job is None:
            return None
        is_late = trial.trial_id != job.trial.trial_id
        if is_late and answer.report is None:
            return None
        job.worker = None
        if answer.report is None and job.instead is not None:
            # The optimizer of the first trial may not use the learning rate.
            messages.sweep_is_run_again(answer.error, verbose=self._wrapped.verbose)
            job.hyperparameters, job.instead = job.instead, None
            return None
        job.ended += 1
        has_failed = answer.report is None and trial.status in ("INVALID", "FAILED")
        may_be_retried = trial.status == "INVALID" and job.ended <= self._wrapped.max_retries_per_trial
        if not has_failed or (job.defaults is None and not may_be_retried):
            return job
        messages.sweep_is_run_again(answer.error, verbose=self._wrapped.verbose)
        if not may_be_retried and job.defaults is not None:
            job.hyperparameters, job.defaults, job.fell_back = job.defaults, None, answer.error
        return None

    def conclude(self, job: Job) -> None:
        """Take a finished sweep off the list, and put on it what is due next."""
        self._jobs.conclude(job)
        if len(self._ranges.sweeps) == 1:
            self.add_those_that_come_first()
        self.search_may_begin = self.search_may_begin or not len(self)


def _resting_value(entry: Any, index: int) -> Any:
    """Return a value at which another learning rate may stand: its default, or one near the middle.

    A default that the user has not given is the lowest rate, at which nothing is learned.

    Args:
        entry: The hyperparameter.
        index: Which of several it is.
    """
    if has_given_default(entry):
        return entry.default
    share = 0.5 + 0.03 * index
    low, high = entry_bounds(entry)
    if low <= 0:
        return entry.prob_to_value(share)
    return nearest_value(entry, low * (high / low) ** share)


def _marking_value(entry: Any) -> Any:
    """Return a value for a sweep's learning rate that no model has by chance, as far as there is one."""
    others = [value for value in map(entry.prob_to_value, _MARKING_SHARES) if value != entry.default]
    unusual = [value for value in others if value not in _KERAS_DEFAULT_RATES]
    return [*unusual, *others, entry.default][0]
