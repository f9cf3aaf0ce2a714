"""The oracle that sweeps the learning rate first and then hands off to the user's own search.

The way of a sweep. Each stop is called by the one before it, or gets what that one returned:

1. `LRRangeOracle.create_trial` is asked for a trial; `LRRangeOracle.due_sweep` sees that a sweep comes first.
2. `Sweeps.next_trial` makes its trial, which carries an `Order`.
3. `Tuner.run_sweep` takes the trial, or the loop of a tuner of KerasTuner's does.
4. `LRRangeHyperModel.run_sweep` runs the user's code with it, up to the first `model.fit` and beyond.
5. `sweep_fit` sweeps there: an `LRCurve`, which goes back in an `Answer`.
6. `LRRangeOracle.end_trial` gets it, and asks `Sweeps.ended` which sweep it concludes.
7. `read_sweep` reads the range off the curve, with `suggest_range`: a `Sweep`.
8. `SettingRanges.add` narrows the hyperparameter to it, with `narrow_entry`.
9. `SettingRanges.narrow_space` puts the union of all ranges in the search space.
10. `sweep_ended` tells the user.
11. `SettingRanges.move_inside` moves what the wrapped oracle proposes into the range of its setting.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner, messages
from lrtuner.curve.lr_range import LRRange, NoRangeError
from lrtuner.curve.rules import Rule
from lrtuner.results import (
    PICTURE_FILE,
    STATE_FILE,
    FinishedTrial,
    SearchRecord,
    SearchResults,
    Sweep,
    files_at,
    write_file,
)
from lrtuner.search import protocol
from lrtuner.search.learning_rates import LearningRates
from lrtuner.search.options import OPTION_NAMES, SweepOptions
from lrtuner.search.protocol import Answer
from lrtuner.search.ranges import SettingRanges, read_sweep
from lrtuner.search.sweeps import Job, Sweeps
from lrtuner.space.narrowing import number_of_values

# Seconds between two questions of a tuner that waits for the sweep of another.
_IDLE_PAUSE = 0.5

NO_RUNNER = (
    "This tuner does not run the learning-rate sweep that LRRangeOracle asks for. Either use lrtuner.Tuner "
    "(or lrtuner.RandomSearch, BayesianOptimization, Hyperband, GridSearch) in place of KerasTuner's, or "
    "wrap the hypermodel: hypermodel=lrtuner.LRRangeHyperModel(build_model). A sweep needs a Keras model: a "
    "tuner of other models, such as SklearnTuner, takes the search's own oracle as it is."
)


def _of_wrapped(name: str) -> Any:
    """Return a method of `keras_tuner.Oracle` that is the wrapped oracle's; attributes need none."""

    def method(self: LRRangeOracle, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.oracle, name)(*args, **kwargs)

    return functools.wraps(getattr(kt.Oracle, name))(method)


class LRRangeOracle(kt.Oracle):  # type: ignore[misc]  # KerasTuner is untyped
    """Narrows the learning-rate space with a cheap sweep, then hands off to another oracle.

    First comes a sweep: a hundred batches of training or more, in which the learning rate rises from `min_lr`
    to `max_lr`. A tuner of KerasTuner's own gets it as its first trial. The good range is read off its loss
    curve, and the learning-rate hyperparameter is narrowed to it inside the bounds that the user declared.
    From then on every call goes to the wrapped oracle, which never hears of the sweep: its trials, their
    numbers, its seeds and `max_trials` are its own. Where a sweep fails or shows no range, the declared space
    stays as it is and a warning says why.

    Hyperparameters that choose the optimizer are found by building models, and each of their settings gets a
    sweep when a trial first needs it. The search stays one: it proposes over the union of the ranges, and a
    trial's rate lies in the range of its own setting. A range moves with the square root of the batch size
    where that is a hyperparameter.

    >>> oracle = lrtuner.LRRangeOracle(kt.oracles.BayesianOptimizationOracle("val_loss", max_trials=20))
    >>> tuner = lrtuner.Tuner(oracle, build_model)

    Attributes and methods that are not listed here are the wrapped oracle's, `trials` and `get_best_trials`
    among them. What is set is set there, too, where that has such an attribute.

    Args:
        oracle: The `keras_tuner.Oracle` that runs the search. Without one, `objective`, `max_trials`, `seed`
            and the other arguments of `keras_tuner.oracles.RandomSearchOracle` make one.
        learning_rate: String, the learning-rate hyperparameter's name. By default it is found:
            `learning_rate`, `lr`, or a name that ends or begins so. A list of strings where there are
            several, each of which gets a range of its own.
        min_lr: Float, the first rate of the sweep.
        max_lr: Float, the last rate of the sweep.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300; 300 where nobody knows how long an epoch is. Several sweeps share the
            batches of one training, where that leaves each at least 100.
        rule: How the range is read off the curve, see `suggest_range`.
        sweep_per: List of strings, the hyperparameters each of whose settings gets a sweep: a Choice, a
            Boolean or an Int with at most 8 values. By default those are found that choose the optimizer
            (its class or its momentum), and where the inputs are not scaled the one that adds normalisation;
            `[]` makes one sweep serve all.
        batch_size_scaling: Boolean, whether a range moves with the square root of the batch size, where a
            hyperparameter is the `batch_size` of `fit`: 10 times the batch, half a decade up (Krizhevsky
            2014, arXiv:1404.5997).
        shuffle: Boolean, whether a sweep may draw its batches in random order. `False` keeps the given one.
        require_range: Boolean, whether to raise `NoRangeError` where a search would go on in the declared
            space.
        lease: Float, seconds that a worker of a distributed search has for a sweep. Then the sweep is given
            to another worker, and whichever ends it first counts.
        **kwargs: Arguments of the `RandomSearchOracle` where `oracle` is left out.

    Attributes:
        oracle: The wrapped oracle.
        run_sweep: Runs the trial of a sweep and ends it. lrtuner's own tuners set it while they search.
            Without it, `create_trial` returns sweeps as trials.

    Raises:
        TypeError: `oracle` is not an oracle or is wrapped already, keyword arguments come beside one, or an
            option is of the wrong type.
        ValueError: The bounds, the number of steps, the rule's name, the lease or the objective's direction
            make no sense.
    """

    def __init__(
        self,
        oracle: kt.Oracle | None = None,
        *,
        learning_rate: str | Sequence[str] | None = None,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int | None = None,
        rule: str | Rule = "curve_and_optimizer",
        sweep_per: Sequence[str] | None = None,
        batch_size_scaling: bool = True,
        shuffle: bool = True,
        require_range: bool = False,
        lease: float = 600.0,
        **kwargs: Any,
    ) -> None:
        # The base class is not initialised: all of its state is the wrapped oracle's.
        oracle = _oracle_to_wrap(oracle, kwargs)
        self._options = SweepOptions(
            learning_rate=learning_rate,
            min_lr=min_lr,
            max_lr=max_lr,
            steps=steps,
            rule=rule,
            sweep_per=sweep_per,
            batch_size_scaling=batch_size_scaling,
            shuffle=shuffle,
            require_range=require_range,
            lease=lease,
        )
        self._names = LearningRates(oracle, self._options)
        self._ranges = SettingRanges(oracle, self._names)
        self._sweeps = Sweeps(oracle, self._options, self._names, self._ranges)
        self.run_sweep: Callable[[Any], None] | None = None
        # Held in every public method but while a tuner waits, a sweep runs or a picture is drawn.
        self._lock = threading.RLock()
        # What the wrapped oracle has proposed for a trial that waits for the sweep of its setting, by trial.
        self._held: dict[str, dict[str, Any]] = {}
        self._is_chief = self._has_runner = self._is_restored = self._is_saved = False
        self._keeps_pictures = True
        # From here on, what is set is set there where that has such an attribute.
        self.oracle = oracle
        # The wrapped oracle proposes and saves itself from inside of its own calls.
        kerastuner.intercept(oracle, "populate_space", self._propose)
        kerastuner.intercept(oracle, "save", self._save)
        kerastuner.intercept(oracle, "_save_trial", functools.partial(kerastuner.save_trial, oracle))
        if isinstance(oracle, kt.oracles.GridSearchOracle):
            kerastuner.intercept(oracle, "_get_next_combination", self._next_combination)

    # --- The wrapped oracle's attributes and methods --------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if "oracle" not in vars(self):
            # Not set yet, as while being copied.
            raise AttributeError(name)
        return getattr(self._options if name in OPTION_NAMES else self.oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or "oracle" not in vars(self):
            object.__setattr__(self, name, value)
        elif name in OPTION_NAMES:
            self._options.change(name, value)
        elif hasattr(self.oracle, name):
            setattr(self.oracle, name, value)
        else:
            object.__setattr__(self, name, value)

    get_space = _of_wrapped("get_space")
    populate_space = _of_wrapped("populate_space")
    score_trial = _of_wrapped("score_trial")
    get_best_trials = _of_wrapped("get_best_trials")
    remaining_trials = _of_wrapped("remaining_trials")
    get_state = _of_wrapped("get_state")
    set_state = _of_wrapped("set_state")

    def save(self) -> None:
        """Save the wrapped oracle and the sweeps in the project directory."""
        with self._lock:
            self.oracle.save()

    # --- What a tuner calls before the search ---------------------------------------------------------------

    def _set_project_dir(self, directory: Any, project_name: str) -> None:
        self.oracle._set_project_dir(directory, project_name)
        kerastuner.check_writable(self._path())
        # Asked once, here, where the tuner is made: not all of a chief's threads can tell.
        self._is_chief = kerastuner.is_chief()
        self._sweeps.all_come_first |= self._is_chief

    def _path(self, *names: str) -> str:
        return os.path.join(kerastuner.project_directory(self.oracle), *names)

    def expect_sweeps(self) -> None:
        """Tell the oracle that its tuner runs sweeps, whatever it does to collect the search space."""
        self._has_runner = True

    def update_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Add new hyperparameters to the search space, see `keras_tuner.Oracle`.

        Raises:
            ValueError: The tuner that collects its space here would not run any sweep.
        """
        with self._lock:
            self._has_runner = self._has_runner or protocol.announces_runner(hyperparameters)
            if kerastuner.has_project(self.oracle) and not self._has_runner:
                raise ValueError(NO_RUNNER)
            self.oracle.update_space(hyperparameters)

    def check_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Raise if what is to be swept is not declared as it must be.

        Args:
            hyperparameters: The search space.

        Raises:
            LearningRateError: A learning rate is not found, or can't be narrowed.
            ValueError: A hyperparameter of `sweep_per` has too many values for a sweep each, or is not found.
        """
        with self._lock:
            self._names.check_space(hyperparameters)

    def skip_sweeps(self, reason: str) -> None:
        """Go on in the declared space, without a sweep.

        Args:
            reason: Why, for the warning.

        Raises:
            NoRangeError: The options require a range.
        """
        with self._lock:
            if self.require_range:
                raise NoRangeError(f"No learning-rate sweep: {reason}.")
            messages.warn(f"No learning-rate sweep: {reason.rstrip('.')}.")
            self._sweeps.search_may_begin = True
            self._is_saved = False

    def sweep_all_first(self, *, keeps_pictures: bool) -> None:
        """Have all sweeps run before the first trial.

        Args:
            keeps_pictures: Whether to draw them; there is no need where the directory is thrown away.
        """
        self._sweeps.all_come_first, self._keeps_pictures = True, keeps_pictures

    # --- What a tuner calls during the search ---------------------------------------------------------------

    def create_trial(self, tuner_id: str) -> Any:
        """Return the wrapped oracle's next trial, once the sweeps that come before it are done.

        Args:
            tuner_id: String, who asks.

        Returns:
            A `Trial`, which is that of a sweep if nothing is there to run it, see `run_sweep`. While another
            tuner is still running a sweep that this search needs, the trial's status is "IDLE" and the tuner
            asks again.
        """
        trial = self._next_trial(tuner_id)
        while self.run_sweep is not None and protocol.is_sweep(trial.hyperparameters):
            self.run_sweep(trial)
            trial = self._next_trial(tuner_id)
        if trial.status == "IDLE" and len(self._sweeps):
            # It will ask at once, and a chief serves one tuner at a time: all who wait together keep nobody
            # else from being served for longer than one pause.
            time.sleep(_IDLE_PAUSE / max(len(self.tuner_ids), 1))
        return trial

    def _next_trial(self, tuner_id: str) -> Any:
        with self._lock:
            trial = self.due_sweep(tuner_id)
            if trial is None:
                trial = self.oracle.create_trial(tuner_id)
                if trial.status == "IDLE":
                    # What it proposed may need a sweep first.
                    trial = self.due_sweep(tuner_id) or trial
            if self._is_chief:
                protocol.to_wire(trial)
            return trial

    def due_sweep(self, tuner_id: str) -> Any:
        """Return the trial of a sweep, one that waits for a sweep, or None if no sweep is due.

        Args:
            tuner_id: String, who asks.

        Raises:
            ValueError: There can be no sweep as the learning rates or the other hyperparameters are declared.
        """
        with self._lock:
            self.restore()
            why_none = self._sweeps.add_first()
            if why_none is not None:
                self.skip_sweeps(why_none)
            now = time.monotonic()
            for job in self._sweeps.given_up(now):
                self._conclude(job, Answer(error=self._sweeps.why_given_up(job)), job.hyperparameters)
            return self._sweeps.next_trial(tuner_id, now)

    def end_trial(self, *args: Any, **kwargs: Any) -> None:
        """End a trial of the wrapped oracle, or a sweep: read its range and narrow the space.

        Raises:
            NoRangeError: The sweep has found no range, and the options require one.
        """
        trial: Any = args[0] if args else kwargs.get("trial")
        if not protocol.is_own_trial(getattr(trial, "trial_id", None)):
            with self._lock:
                self.oracle.end_trial(*args, **kwargs)
            return
        with self._lock:
            protocol.from_wire(trial)
            answer = protocol.answer_in(trial)
            job = self._sweeps.ended(trial, answer)
            if job is None:
                return
            # What the training code declared first is part of the search from here on, and so is what only
            # other branches of the build function declare: a grid or a Gaussian process needs the whole
            # space at once.
            if self.oracle.allow_new_entries:
                self.oracle.update_space(trial.hyperparameters)
            if not self._ranges.sweeps and answer.settings is not None:
                self._names.keep(answer.learning_rates)
        self._conclude(job, answer, trial.hyperparameters)

    def _conclude(self, job: Job, answer: Answer, hyperparameters: kt.HyperParameters) -> None:
        """Read a sweep's range, narrow the space to it, and tell the user."""
        with self._lock:
            sweep = read_sweep(answer, hyperparameters.copy(), job.learning_rate, self._options.rule)
            narrowed = self._ranges.add(sweep, answer.settings, job.setting)
            self._sweeps.conclude(job)
            before = self._combinations()
            self._ranges.narrow_space()
            left, asked = self._combinations(), kerastuner.combinations_asked(self.oracle)
            # KerasTuner makes a directory for any trial. A sweep leaves no checkpoint there.
            kerastuner.remove_directories(self._path(f"trial_{protocol.SWEEP_PREFIX}*"))
            self._is_saved = False
            self.oracle.save()
        messages.sweep_ended(
            sweep,
            narrowed,
            label=self._names.label(sweep.learning_rate, sweep.setting),
            held=self._ranges.other_rates(sweep),
            # A chief has one thread for all workers, and draws when the search is over.
            picture="" if self._is_chief else self.save_picture(),
            verbose=self.verbose,
        )
        if narrowed is None and self.require_range:
            raise NoRangeError(sweep.reason)
        if asked is not None and left < min(before, asked):
            is_hyperband = isinstance(self.oracle, kt.oracles.HyperbandOracle)
            messages.few_combinations(left, asked, is_hyperband=is_hyperband, verbose=self.verbose)

    def _combinations(self) -> float:
        """Return how many combinations of values the search space holds at most."""
        return math.prod(number_of_values(entry) for entry in self.oracle.hyperparameters.space)

    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Any:
        """Record a trial's metrics; of a sweep, that there are some."""
        with self._lock:
            if not protocol.is_own_trial(trial_id):
                return self.oracle.update_trial(trial_id, metrics, step=step)
            trial = self._sweeps.trial(trial_id)
            if not trial.metrics.exists(self.objective.name):
                trial.metrics.register(self.objective.name, self.objective.direction)
            return trial

    def get_trial(self, trial_id: str) -> Any:
        """Return the trial of that id, see `keras_tuner.Oracle`."""
        with self._lock:
            is_own = protocol.is_own_trial(trial_id)
            return self._sweeps.trial(trial_id) if is_own else self.oracle.get_trial(trial_id)

    # --- What a chief looks at to see whether it may end ----------------------------------------------------

    @property
    def ongoing_trials(self) -> dict[str, Any]:
        """Who runs what, the sweep included: a chief waits until nobody runs anything."""
        with self._lock:
            return {**self.oracle.ongoing_trials, **self._sweeps.running()}

    @property
    def tuner_ids(self) -> set[str]:
        """The tuners at work, those included that run a sweep or wait for one."""
        with self._lock:
            return {*self.oracle.tuner_ids, *self._sweeps.tuner_ids}

    # --- What the wrapped oracle calls ----------------------------------------------------------------------

    def _propose(self, original: Callable[[str], dict[str, Any]], trial_id: str) -> dict[str, Any]:
        """Propose as the wrapped oracle does, with each learning rate in the range of its setting.

        If that range is not known yet, the proposal is held until its sweep is done. What a Bayesian search
        proposes although it has failed before is replaced by a random proposal.
        """
        repeats = False
        for _ in range(kerastuner.most_collisions(self.oracle)):
            response: dict[str, Any]
            if trial_id in self._held:
                response = self._held[trial_id]
                self._ranges.add_new_rates(response["values"])
            else:
                response = kerastuner.random_proposal(self.oracle) if repeats else original(trial_id)
            values = response.get("values")
            if response["status"] != "RUNNING" or not values or not self._ranges.sweeps:
                return response
            names, settings = self._ranges.names_in_use(values), self._ranges.found_settings
            missing = [name for name in names if self._ranges.sweep_of(name, values) is None]
            if missing and settings is not None:
                for name in missing:
                    self._sweeps.add(name, settings.setting_of(values))
                self._held = {trial_id: response}
                return {"status": "IDLE"}
            self._held = {}
            moved = [self._ranges.move_inside(name, values) for name in names]
            repeats = kerastuner.repeats_a_failure(self.oracle, values)
            is_new = not any(moved) or not kerastuner.may_ask_for_another(self.oracle, values)
            if is_new and not repeats:
                return response
        return {"status": "STOPPED", "values": None}

    def _next_combination(self, original: Callable[[Any], Any], values: dict[str, Any]) -> Any:
        """Return the next combination of a grid whose learning rates lie in the ranges of its setting."""
        combination = original(values)
        while combination is not None and not self._ranges.belongs_to_grid(combination):
            combination = original(combination)
        return combination

    def _save(self, original: Callable[[], None]) -> None:
        """Save the sweeps, if they have changed, and the wrapped oracle."""
        sweeps, path = self._sweeps, self._path(STATE_FILE)
        # The sweeps first: a space that was narrowed by a sweep that nobody knows would be swept again. A
        # worker that starts late with overwrite=True deletes what the chief has written, so look for it.
        has_something = sweeps.search_may_begin or self._ranges.sweeps
        if has_something and not (self._is_saved and files_at(path).exists(path)):
            SearchRecord(
                search_may_begin=sweeps.search_may_begin,
                learning_rates=self._names.known(),
                declarations=self._names.declarations,
                narrowed_to=self._ranges.narrowed_to,
                setting_space=self._ranges.found_settings,
                sweeps=self._ranges.sweeps,
                objective=self.objective.name,
                direction=self.objective.direction,
            ).write(path)
            self._is_saved = True
        # While a proposal is held, the oracle's notes tell of a trial that there is not yet. Read again after
        # a kill, it would look for it.
        if not self._held:
            kerastuner.save_oracle(self.oracle, original)

    # --- From one process to the next -----------------------------------------------------------------------

    def reload(self) -> None:
        """Load the wrapped oracle and the sweeps from the project directory.

        Raises:
            ValueError: The sweeps' file is damaged or of another version.
        """
        with self._lock:
            kerastuner.reload(self.oracle)
            self.restore()
            if isinstance(self.oracle, kt.oracles.GridSearchOracle) and self.oracle.trials:
                messages.warn(
                    "KerasTuner's GridSearch does not save its place in the grid, so it can't resume this "
                    "search. The finished trials can still be read. To search again, pass a new project_name "
                    "or overwrite=True."
                )

    def restore(self) -> None:
        """Load the sweeps of an earlier run from the project directory, once; a reload does so by itself.

        If KerasTuner begins its own search again, as after a kill before its first trial, the space that it
        has collected is narrowed as the finished sweep says.

        Raises:
            NoRangeError: A sweep has found no range, and the options require one.
            ValueError: The file is damaged or of another version.
        """
        with self._lock:
            path = self._path(STATE_FILE)
            if self._is_restored or not files_at(path).exists(path):
                self._is_restored = True
                return
            record = SearchRecord.read(path)
            self._is_restored = self._is_saved = True
            if record.sweeps and self.oracle.allow_new_entries:
                # KerasTuner may have begun the search again, and declared what its first build declares.
                self.oracle.update_space(record.sweeps[0].hyperparameters)
            self._ranges.restore(record)
            self._sweeps.search_may_begin = record.search_may_begin
            without = [sweep for sweep in record.sweeps if sweep.lr_range is None]
            if without and self.require_range:
                raise NoRangeError(
                    "A sweep of an earlier run found no range, and require_range=True asks for one. Pass "
                    f"overwrite=True to sweep again. The reason was: {without[0].reason}"
                )
            messages.sweeps_hold(record.sweeps, verbose=self.verbose)
            if record.sweeps:
                self._is_saved = not self._ranges.narrow_space()
                self._sweeps.add_those_that_come_first()

    # --- What the user looks at -----------------------------------------------------------------------------

    def results(self) -> SearchResults:
        """Return what the search has found so far, as `lrtuner.load` does from its files."""
        with self._lock:
            has_project = kerastuner.has_project(self.oracle)
            return SearchResults(
                project=os.path.basename(self._path()) if has_project else None,
                sweeps=list(self._ranges.sweeps),
                trials=[
                    FinishedTrial(trial.trial_id, trial.hyperparameters.values, float(trial.score))
                    for trial in self.oracle.trials.values()
                    if trial.score is not None
                ],
                objective=self.objective.name,
                direction=self.objective.direction,
                learning_rates=self._names.known(),
                settings=self._ranges.settings,
            )

    @property
    def sweeps(self) -> list[Sweep]:
        """The finished sweeps."""
        return self.results().sweeps

    @property
    def lr_range(self) -> LRRange | None:
        """The learning-rate range that the sweep found, or `None` where there is none (yet).

        Of several sweeps the smallest range that holds all of theirs. Where they are of several
        hyperparameters, such as `adam_lr` and `sgd_lr`, there is no such range: see `sweeps` for each.
        """
        return self.results().lr_range

    def plot_sweeps(self, ax: Any = None) -> Any:
        """Draw the sweeps' curves with their ranges, and the finished trials in a panel below.

        Args:
            ax: Matplotlib `Axes` to draw on; by default those of a new figure.

        Returns:
            The matplotlib `Axes` of the curves.

        Raises:
            RuntimeError: No sweep has finished yet.
            TypeError: `ax` is no matplotlib `Axes`.
        """
        return self.results().plot_sweeps(ax)

    def plot_search(self, ax: Any = None) -> Any:
        """Draw the objective of each finished trial over its learning rate, with the sweeps' ranges.

        Args:
            ax: Matplotlib `Axes` to draw on; by default those of a new figure.

        Returns:
            The matplotlib `Axes`.

        Raises:
            RuntimeError: No trial with a learning rate has finished yet.
            TypeError: `ax` is no matplotlib `Axes`.
        """
        return self.results().plot_search(ax)

    def save_picture(self) -> str:
        """Draw `lr_sweeps.png` in the project directory again, with the trials that have finished since.

        A tuner does so when its search ends.

        Returns:
            The picture's path; empty where there is none, as without any sweep.
        """
        results, path = self.results(), self._path(PICTURE_FILE)
        if not results.sweeps or not self._keeps_pictures:
            return ""
        try:
            from lrtuner.plot import png

            write_file(path, png(results.plot_sweeps))
        except Exception as error:
            # Whatever keeps matplotlib from drawing, the search needs no picture.
            messages.warn(f"The sweep's picture could not be drawn: {error!r}")
            return ""
        return path

    def __repr__(self) -> str:
        sweeps = self.sweeps
        number = f"{len(sweeps) or 'no'} sweep{'' if len(sweeps) == 1 else 's'}"
        found = "" if self.lr_range is None else f", {self.lr_range!r}"
        return f"{type(self).__name__}({type(self.oracle).__name__}, {number}{found})"

    def _repr_html_(self) -> str | None:
        return self.results()._repr_html_()


def _oracle_to_wrap(oracle: Any, arguments: dict[str, Any]) -> kt.Oracle:
    """Return the user's oracle, or a random search if there is none.

    Args:
        oracle: What the user gave as oracle, or None.
        arguments: Arguments for the random search.

    Raises:
        TypeError: It is no oracle, or is an `LRRangeOracle`, or there are arguments beside it.
        ValueError: The direction of its objective is unknown.
    """
    if oracle is None:
        try:
            oracle = kt.oracles.RandomSearchOracle(**arguments)
        except TypeError as error:
            raise TypeError(f"{error}. The options of the sweeps are: {', '.join(OPTION_NAMES)}.") from error
    elif not isinstance(oracle, kt.Oracle):
        raise TypeError(
            f"Expected a keras_tuner.Oracle to hand off to, got {oracle!r} of type {type(oracle).__name__}. "
            "For a random search write LRRangeOracle(objective=..., max_trials=...)."
        )
    elif arguments:
        raise TypeError(
            f"The arguments {sorted(arguments)} belong to the wrapped oracle: give them to "
            f"{type(oracle).__name__}(...). The options of the sweeps are: {', '.join(OPTION_NAMES)}."
        )
    if isinstance(oracle, LRRangeOracle):
        raise TypeError("The oracle is an LRRangeOracle already: wrap the search's own oracle once.")
    kerastuner.check_objective(oracle)
    return oracle


class ChiefsOracle:
    """KerasTuner's client of the oracle that the chief has, for a worker, which runs the sweeps.

    Args:
        client: KerasTuner's `OracleClient`.

    Attributes:
        run_sweep: As of an `LRRangeOracle`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.run_sweep: Callable[[Any], None] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return getattr(self._client, name)
        except AttributeError:
            raise RuntimeError(
                f"`oracle.{name}` is known to the chief alone, and this process is a worker: use the chief's "
                "tuner, when its search is over, or load the project directory in a process of its own."
            ) from None

    def create_trial(self, tuner_id: str) -> Any:
        """Ask the chief for a trial, and run the sweeps that come before it."""
        while True:
            trial = self._client.create_trial(tuner_id)
            protocol.from_wire(trial)
            if self.run_sweep is None or not protocol.is_sweep(trial.hyperparameters):
                return trial
            self.run_sweep(trial)

    def end_trial(self, trial: Any) -> None:
        """Tell the chief that a trial is over, and of a sweep what came of it."""
        protocol.to_wire(trial)
        self._client.end_trial(trial)
