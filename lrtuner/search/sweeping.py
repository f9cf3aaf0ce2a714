"""The sweeps of one search, each from the order to the narrowed space.

To follow a sweep, read the methods of `Sweeping` in their order: a sweep is ordered, its answer comes, it is
concluded, and a trial is proposed in its range. Each is a list of calls into other modules of this package.
Those know one job each, and neither `Sweeping` nor `LRRangeOracle`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.search import messages, protocol
from lrtuner.search.answers import read_sweep
from lrtuner.search.jobs import Job
from lrtuner.search.names import LearningRates
from lrtuner.search.options import SweepOptions
from lrtuner.search.project import Project
from lrtuner.search.proposals import Proposals
from lrtuner.search.protocol import SweepAnswer
from lrtuner.search.ranges import SettingRanges
from lrtuner.search.record import SearchRecord
from lrtuner.search.schedule import Schedule
from lrtuner.search_results import FinishedTrial, SearchResults
from lrtuner.space.grid import number_of_values


class Sweeping:
    """What an `LRRangeOracle` does about sweeps. Not synchronized: the oracle holds its lock in every call.

    Args:
        wrapped: The user's oracle.
        options: The options of the sweeps.

    Attributes:
        names: The learning rates.
        ranges: The finished sweeps.
        schedule: The sweeps that are due.
        project: The project directory.
        lines: What was said of each sweep that has ended in this process.
    """

    def __init__(self, wrapped: kt.Oracle, options: SweepOptions) -> None:
        self._wrapped = wrapped
        self._options = options
        self.names = LearningRates(wrapped, options)
        self.ranges = SettingRanges(wrapped, self.names)
        self.schedule = Schedule(wrapped, options, self.names, self.ranges)
        self._proposals = Proposals(wrapped, self.ranges, self.schedule)
        self.project = Project(wrapped)
        self.lines: list[str] = []
        self._is_restored = False
        self._is_saved = False
        self._is_finished = False

    # --- From the order to the narrowed space ---------------------------------------------------------------

    def next_trial(self, tuner_id: str, now: float) -> Any:
        """Return the trial of a sweep for a tuner to run.

        Args:
            tuner_id: Who asks.
            now: The time, on the monotonic clock.

        Returns:
            The trial; one of status "IDLE" if all sweeps that are due run elsewhere; None if none is due.

        Raises:
            ValueError: There can be no sweep as the learning rates or the other hyperparameters are declared,
                or the tuner runs no sweeps.
        """
        if self.schedule.search_may_begin and not len(self.schedule):
            return None
        self.restore()
        self.names.note_what_there_is()
        why_none = self.schedule.add_first()
        if why_none is not None:
            self.skip(why_none)
        for job in self.schedule.given_up(now):
            answer = SweepAnswer(error=self.schedule.why_given_up(job))
            self._conclude(job, answer, job.hyperparameters)
        return self.schedule.next_trial(tuner_id, now)

    def end(self, trial: Any) -> None:
        """Take what came of a sweep's trial."""
        answer = SweepAnswer.of(trial)
        job = self.schedule.ended(trial, answer)
        if job is None:
            return
        # What the training code declared first is part of the search from here on, and so is what only other
        # branches of the build function declare: a grid or a Gaussian process needs the whole space at once.
        if self._wrapped.allow_new_entries:
            self._wrapped.update_space(protocol.without_reserved(trial.hyperparameters))
        is_first = not self.ranges.sweeps
        if is_first:
            self.names.check_settings_are_declared()
            if answer.settings is not None:
                self.names.keep(answer.learning_rates)
        self._conclude(job, answer, trial.hyperparameters)
        if is_first:
            self.names.tell_of_late_rates()
            if answer.settings is not None:
                self.names.check_names_are_declared(is_over=False)

    def _conclude(self, job: Job, answer: SweepAnswer, hyperparameters: kt.HyperParameters) -> None:
        """Read a sweep's range, narrow the space to it, and tell the user."""
        sweep = read_sweep(
            answer,
            protocol.without_reserved(hyperparameters),
            job.learning_rate,
            rule=self._options.rule,
            epochs=getattr(self._wrapped, "max_epochs", None),
        )
        if job.fell_back is not None and answer.report is not None:
            messages.held_at_defaults(job.fell_back)
        narrowed = self.ranges.add(sweep, answer.settings, job.setting)
        self.schedule.conclude(job)
        before = self._combinations()
        self.ranges.narrow_space()
        left, asked = self._combinations(), kerastuner.combinations_asked(self._wrapped)
        self.project.remove_leftovers()
        self._is_saved = False
        self._wrapped.save()
        picture = self.save_picture()
        line = messages.sweep_ended(
            sweep,
            narrowed,
            label=self.ranges.label(sweep),
            held=self.ranges.other_rates(sweep),
            picture=picture,
            verbose=self._wrapped.verbose,
        )
        self.lines.append(line)
        if asked is not None and left < min(before, asked):
            is_hyperband = isinstance(self._wrapped, kt.oracles.HyperbandOracle)
            messages.few_combinations(left, asked, is_hyperband=is_hyperband, verbose=self._wrapped.verbose)

    def _combinations(self) -> float:
        """Return how many combinations of values the search space holds at most."""
        return math.prod(number_of_values(entry) for entry in self._wrapped.hyperparameters.space)

    def save_picture(self) -> str:
        """Draw the sweeps so far and the trials that have finished; see `Project.save_picture`."""
        return self.project.save_picture(self.results())

    def results(self) -> SearchResults:
        """Return what the search has found so far."""
        objective = self._wrapped.objective
        return SearchResults(
            project=self.project.name,
            sweeps=list(self.ranges.sweeps),
            trials=[
                FinishedTrial(trial.trial_id, trial.hyperparameters.values, float(trial.score))
                for trial in self._wrapped.trials.values()
                if trial.score is not None
            ],
            objective=objective.name,
            direction=objective.direction,
            learning_rates=self.names.known(),
            settings=self.ranges.setting_space,
        )

    def propose(self, original: Callable[[str], Any], trial_id: str) -> Any:
        """Propose a trial in the range of its setting; the wrapped oracle's `create_trial` calls this."""
        return self._proposals.propose(original, trial_id)

    def next_combination(self, original: Callable[[Any], Any], values: dict[str, Any]) -> Any:
        """Return the next point of a grid in the range of its setting; the wrapped oracle calls this."""
        return self._proposals.next_combination(original, values)

    def finish(self) -> None:
        """Tell the user, when the search is over, which learning rates were searched without a sweep."""
        if self.ranges.sweeps and not self._is_finished:
            self._is_finished = True
            self.names.tell_of_late_rates()
            self.names.check_names_are_declared(is_over=True)

    def skip(self, reason: str) -> None:
        """Go on in the declared space, without a sweep.

        Args:
            reason: Why, for the warning.
        """
        if not self.schedule.search_may_begin:
            messages.no_sweep(reason)
            self.schedule.search_may_begin = True
            self._is_saved = False

    # --- From one process to the next -----------------------------------------------------------------------

    def save(self, original: Callable[[], None]) -> None:
        """Save the sweeps, if they have changed, and the wrapped oracle, whose every `save` comes here.

        Args:
            original: The wrapped oracle's own `save`.
        """
        # The sweeps first: a space that was narrowed by a sweep that nobody knows would be swept again. A
        # worker that starts late with overwrite=True deletes what the chief has written, so look for it.
        has_something = self.schedule.search_may_begin or len(self.ranges.sweeps) > 0
        if has_something and not (self._is_saved and self.project.has_record()):
            record = SearchRecord(
                search_may_begin=self.schedule.search_may_begin,
                options=self._options.to_config(),
                declarations=self.names.to_config(),
                narrowed_to=self.ranges.narrowed_to_config(),
                setting_space=self.ranges.found_settings,
                sweeps=self.ranges.sweeps,
                objective=self._wrapped.objective.name,
                direction=self._wrapped.objective.direction,
            )
            self.project.save_record(record)
            self._is_saved = True
        # While a proposal is held, the oracle's notes tell of a trial that there is not yet. Read again after
        # a crash, it would look for it.
        if self._proposals.held is None:
            self.project.save_oracle(original)

    def reload(self) -> None:
        """Load the wrapped oracle and the sweeps of an earlier run.

        Raises:
            ValueError: A file is damaged or of a newer version, or a sweep is due and nobody runs sweeps.
        """
        self.project.reload_oracle()
        self.restore()
        if isinstance(self._wrapped, kt.oracles.GridSearchOracle) and self._wrapped.trials:
            messages.grid_cannot_go_on()
        if not self.schedule.search_may_begin and not self._wrapped.trials:
            # A tuner that reloads doesn't collect its space, so it can't say whether it runs sweeps: but if
            # nothing in this process does, it doesn't.
            self.schedule.has_runner |= protocol.a_runner_exists()
            self.schedule.require_runner()

    def restore(self) -> None:
        """Load the sweeps of an earlier run, once, and narrow the space to their ranges.

        Raises:
            ValueError: Their file is damaged or of a newer version.
        """
        if self._is_restored:
            return
        self._is_restored = True
        record = self.project.read_record()
        if record is None:
            return
        other_branches = record.of_other_branches()
        if other_branches.space and self._wrapped.allow_new_entries:
            # KerasTuner may have begun the search again, and declared what its first build declares.
            self._wrapped.update_space(other_branches)
        self.names.restore(record.declarations, [entry.name for entry in other_branches.space])
        self.ranges.restore(record.sweeps, record.setting_space, record.narrowed_to)
        self.schedule.search_may_begin = record.search_may_begin
        self._is_saved = True
        if not record.sweeps:
            return
        if not self.project.has_picture():
            self.save_picture()
        messages.sweeps_hold(record.sweeps, verbose=self._wrapped.verbose)
        messages.options_have_changed(record.options, self._options.to_config())
        if self.ranges.narrow_space():
            self._is_saved = False
        self.schedule.add_those_that_come_first()
