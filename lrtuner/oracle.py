"""The oracle that sweeps the learning rate first and then hands off to the user's own search.

One sweep serves a search whose settings all have the same range. Where some, such as the optimizer, move it,
each gets a sweep of its own: the space is narrowed to the union of the ranges, and what the wrapped oracle
proposes is moved into the range of its own setting before the trial is made.
"""

from __future__ import annotations

import copy
import glob
import json
import math
import os
import re
import shutil
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve import LRCurve
from lrtuner.jobs import Job, Jobs
from lrtuner.lr_range import LRRange, NoRangeError
from lrtuner.rules import next_range, suggest_range
from lrtuner.settings import Setting, SettingSpace, described, key_of, middle, values_of
from lrtuner.space import (
    LearningRateError,
    LearningRateNotFoundError,
    NothingToNarrowError,
    Relation,
    as_rate,
    bounds,
    describe,
    find_learning_rate,
    is_inside,
    move_inside,
    narrowed,
    registered,
    replace,
    union,
)
from lrtuner.state import (
    Sweep,
    check_writable,
    decode_state,
    encode_state,
    is_json,
    write_atomically,
)
from lrtuner.sweep import SweepReport, check_settings

# Reserved keys among a sweep's hyperparameter values, the one field that every transport of KerasTuner
# carries. They mark a trial as a sweep, with the sweep's settings as JSON ...
SETTINGS_KEY = "lrtuner/sweep"
# ... bring back what it recorded, as JSON, or why it recorded nothing ...
REPORT_KEY = "lrtuner/report"
ERROR_KEY = "lrtuner/error"
# ... tell the oracle, while the tuner collects the search space, that somebody will run its sweeps ...
RUNS_SWEEPS_KEY = "lrtuner/runs_sweeps"
# ... and carry, between a worker and its chief, the error that ends the search for all of them.
FATAL_KEY = "lrtuner/fatal"
_RESERVED = (SETTINGS_KEY, REPORT_KEY, ERROR_KEY, RUNS_SWEEPS_KEY, FATAL_KEY)

# Trials with such an id are the wrapper's own; KerasTuner's oracles number theirs.
_SWEEP_PREFIX = "lr_sweep"
# A worker asks under this and its own name whether the search goes on, which shows that it lives.
NEWS_PREFIX = _SWEEP_PREFIX + "_news/"

STATE_FILE = "lr_range.json"
PICTURE_FILE = "lr_sweeps.png"

# The name of the objective that KerasTuner puts in the place of none.
_NO_OBJECTIVE = "default_objective"
# A sweep that was given away so often and never came back takes its workers down with it.
_MOST_LEASES = 3
# Seconds between two questions of a worker that waits for the sweep of another.
_IDLE_PAUSE = 0.5
# Seconds after which a worker that has not been heard of counts as gone.
_SILENCE = 30.0
# Seconds that the chief's server stays up after a fatal error, for the workers to hear of it.
_FAREWELL = 6.0

# The hypermodels in this process that run sweeps: see LRRangeOracle.reload.
runners: weakref.WeakSet[Any] = weakref.WeakSet()


class LRRangeOracle(kt.Oracle):  # type: ignore[misc]  # KerasTuner is untyped
    """Narrows the learning-rate space with a cheap sweep, then hands off to another oracle.

    The first trial that a tuner gets is a sweep: at most about an epoch of training in which the learning
    rate rises from `min_lr` to `max_lr`. The good range is read off its loss curve, the learning-rate
    hyperparameter is narrowed to it inside the bounds that the user declared, and from then on every call
    goes to the wrapped oracle, which never hears of the sweep: its trials, their numbers, its seeds and
    `max_trials` are its own. Where a sweep fails or shows no range, the declared space stays as it is and a
    warning says why.

    Hyperparameters that choose the optimizer are found by building models, and each of their settings gets a
    sweep when a trial first needs it, all of them together at the price of about one trial. The search
    stays one: it proposes over the union of the ranges, and a trial's rate lies in the range of its own
    setting. A range moves with the square root of the batch size where that is a hyperparameter.

    ```python
    tuner = lrtuner.Tuner(
        oracle=lrtuner.LRRangeOracle(kt.oracles.BayesianOptimizationOracle("val_loss", max_trials=20)),
        hypermodel=build_model,
    )
    ```

    Attributes and methods that are not listed here are the wrapped oracle's, `trials` and `get_best_trials`
    among them.

    Args:
        oracle: The `keras_tuner.Oracle` that runs the search. Without one, `objective`, `max_trials`, `seed`
            and the other arguments of `keras_tuner.oracles.RandomSearchOracle` make one.
        learning_rate: String, the learning-rate hyperparameter's name. By default it is found:
            `learning_rate`, `lr`, or a name that ends so. A list of strings where there are several, each of
            which gets a range of its own.
        min_lr: Float, the first rate of the sweep.
        max_lr: Float, the last rate of the sweep.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300.
        rule: How the range is read off the curve, see `suggest_range`.
        sweep_per: List of strings, the hyperparameters each of whose settings gets a sweep: a Choice, a
            Boolean or an Int with at most 8 values. By default those are found that choose the optimizer
            (its class or its momentum); `[]` makes one sweep serve all.
        batch_size_scaling: Boolean, whether a range moves with the square root of the batch size, where a
            hyperparameter is the `batch_size` of `fit`: 10 times the batch, half a decade up (Krizhevsky
            2014, arXiv:1404.5997).
        lease: Float, seconds that a worker of a distributed search has for a sweep. Then the sweep is given
            to another worker, and whichever ends it first counts.
        **kwargs: Arguments of the `RandomSearchOracle` where `oracle` is left out.

    Attributes:
        oracle: The wrapped oracle.
        sweeps: List of `Sweep`, finished ones only.
        lr_range: The `LRRange` that the sweep found, or `None`; the smallest one that holds all where several
            sweeps found one.

    Raises:
        TypeError: Where `oracle` is not an oracle, or keyword arguments come beside one.
        ValueError: Where the bounds, the number of steps or the lease make no sense.
    """

    # What belongs to the wrapper, as annotated here; every other attribute is read from and written to the
    # wrapped oracle.
    oracle: kt.Oracle
    learning_rate: str | list[str] | None
    rule: str | Callable[[LRCurve], Any]
    sweep_per: list[str] | None
    batch_size_scaling: bool
    lease: float
    _settings: dict[str, Any]
    _lock: threading.RLock
    _sweeps: list[Sweep]
    # Whether the search itself may go on; until then, whether somebody is known to run sweeps.
    _decided: bool
    _has_runner: bool
    # The learning-rate hyperparameters as they are declared, as they were in the run before, and as they are
    # narrowed, by name.
    _declarations: dict[str, dict[str, Any]]
    _declared_before: dict[str, dict[str, Any]]
    _narrowed_to: dict[str, dict[str, Any]]
    # Which settings have a range of their own; None before the first sweep has told.
    _setting_space: SettingSpace | None
    # The narrowed hyperparameter for each learning rate, setting and batch size met so far.
    _parts: dict[tuple[str, str, Any], Any]
    _restored: bool
    _unsaved: bool
    # The sweeps that are due.
    _jobs: Jobs
    # The wrapped oracle's own ways to propose, and a proposal that waits for a sweep of its setting.
    _propose: Callable[[str], Any]
    _next_combination: Callable[..., Any]
    _held: tuple[str, Any] | None
    # When who was heard of last, until told that there is no more to do; and who was told.
    _heard: dict[str, float]
    _told: set[str]
    # The sweeps whose training code has reported metrics by itself.
    _reported: set[str]
    # The error that has ended a distributed search, and when.
    _fatal: str | None
    _fatal_since: float

    def __init__(
        self,
        oracle: kt.Oracle | None = None,
        *,
        learning_rate: str | Sequence[str] | None = None,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int | None = None,
        rule: str | Callable[[LRCurve], Any] = "posterior",
        sweep_per: Sequence[str] | None = None,
        batch_size_scaling: bool = True,
        lease: float = 600.0,
        **kwargs: Any,
    ) -> None:
        # The base class is not initialised: all of its state is the wrapped oracle's.
        if oracle is None:
            oracle = kt.oracles.RandomSearchOracle(**kwargs)
        elif not isinstance(oracle, kt.Oracle):
            raise TypeError(
                f"Expected a keras_tuner.Oracle to hand off to, received {oracle!r} of type "
                f"{type(oracle).__name__}. For a random search write LRRangeOracle(objective=..., "
                "max_trials=...)."
            )
        elif kwargs:
            raise TypeError(
                f"The arguments {sorted(kwargs)} belong to the wrapped oracle: give them to "
                f"{type(oracle).__name__}(...)."
            )
        elif isinstance(oracle, LRRangeOracle):
            raise TypeError("The oracle is an LRRangeOracle already: wrap the search's own oracle once.")
        check_settings(min_lr, max_lr, steps)
        if learning_rate is not None and not isinstance(learning_rate, str):
            if not _are_names(learning_rate) or not learning_rate:
                raise TypeError(
                    "learning_rate must be the name of a hyperparameter, or a list of names, received "
                    f"{learning_rate!r}. The rates to sweep are min_lr and max_lr."
                )
            learning_rate = list(learning_rate)
        if sweep_per is not None and not _are_names(sweep_per):
            raise TypeError(
                f"sweep_per must be a list of hyperparameters' names, received {sweep_per!r}. Leave it "
                "out to sweep for each optimizer, or pass [] for one sweep."
            )
        if not isinstance(batch_size_scaling, bool):
            raise TypeError(f"batch_size_scaling must be True or False, received {batch_size_scaling!r}.")
        if isinstance(rule, str):
            _check_rule(rule)
        elif not callable(rule):
            raise TypeError(f"rule must be the name of a rule or a callable, received {rule!r}.")
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0 < lease < math.inf:
            raise ValueError(f"lease must be a number of seconds above 0, received {lease!r}.")
        self.oracle = oracle
        self.learning_rate = learning_rate
        self.rule = rule
        self.sweep_per = None if sweep_per is None else list(sweep_per)
        self.batch_size_scaling = batch_size_scaling
        self.lease = float(lease)
        self._settings = {"min_lr": float(min_lr), "max_lr": float(max_lr), "steps": steps}
        self._lock = threading.RLock()
        self._sweeps = []
        self._decided = False
        self._has_runner = False
        self._declarations, self._declared_before, self._narrowed_to = {}, {}, {}
        self._setting_space = None
        self._parts = {}
        self._restored = False
        self._unsaved = True
        self._jobs = Jobs(_SWEEP_PREFIX)
        self._held = None
        self._heard = {}
        self._told = set()
        self._reported = set()
        self._fatal = None
        self._fatal_since = math.inf
        # The wrapped oracle saves itself from inside of its own calls. Those come here, where a crash leaves
        # no file half written.
        oracle.save = self.save
        oracle._save_trial = self._save_trial
        # And it proposes from inside of its own calls, too: here a proposal is moved into its range.
        self._propose = oracle.populate_space
        oracle.populate_space = self._populate
        if isinstance(oracle, kt.oracles.GridSearchOracle):
            self._next_combination = oracle._get_next_combination
            oracle._get_next_combination = self._next_allowed

    def __getattr__(self, name: str) -> Any:
        if name in LRRangeOracle.__annotations__:
            # Not set yet, as while being copied: looking it up in the wrapped oracle would never end.
            raise AttributeError(name)
        return getattr(self.oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LRRangeOracle.__annotations__:
            object.__setattr__(self, name, value)
        else:
            setattr(self.oracle, name, value)

    # --- What the user looks at -----------------------------------------------------------------------------

    @property
    def sweeps(self) -> list[Sweep]:
        """The finished sweeps."""
        return list(self._sweeps)

    @property
    def lr_range(self) -> LRRange | None:
        """The learning-rate range that the sweep found, or `None` where there is none (yet).

        Of several sweeps the smallest range that holds all of theirs.
        """
        ranges = [sweep.lr_range for sweep in self._sweeps if sweep.lr_range is not None]
        if len(ranges) < 2:
            return ranges[0] if ranges else None
        return LRRange(min(one.min_lr for one in ranges), max(one.max_lr for one in ranges))

    def plot_sweeps(self, ax: Any = None) -> Any:
        """Draws the sweeps' curves with their ranges, and the finished trials over them.

        Args:
            ax: Matplotlib `Axes` to draw on; by default those of a new figure.

        Returns:
            The matplotlib `Axes`.

        Raises:
            RuntimeError: Where no sweep has finished yet.
        """
        from lrtuner.plot import plot_sweeps

        if not self._sweeps:
            raise RuntimeError(
                "No sweep has finished yet: call plot_sweeps after tuner.search(...) has begun."
            )
        trials = [self._scored_rates(sweep) for sweep in self._sweeps]
        return plot_sweeps(self._sweeps, trials=trials, objective=self.objective.name, ax=ax)

    def _scored_rates(self, sweep: Sweep) -> list[tuple[float, float]]:
        """Returns the rate and the score of each finished trial of a sweep's setting."""
        name = sweep.learning_rate
        return [
            (as_rate(values[name], sweep.relation), float(trial.score))
            for trial in self.oracle.trials.values()
            for values in [trial.hyperparameters.values]
            if trial.score is not None and name in values and self._sweep_of(name, values) is sweep
        ]

    def advise(self, sweep: Sweep | None = None) -> LRRange | None:
        """Says where the next search should look, if the best trials lie at an edge of a sweep's range.

        Args:
            sweep: One of `sweeps`, where there are several; the first by default.

        Returns:
            The range that the next search should have, or `None` where this one's was right or too few trials
            have finished to tell.

        Raises:
            TypeError: `sweep` is neither a `Sweep` nor `None`.
        """
        if sweep is None:
            if not self._sweeps:
                return None
            sweep = self._sweeps[0]
        if not isinstance(sweep, Sweep):
            raise TypeError(f"sweep must be one of this oracle's `sweeps`, or None, received {sweep!r}.")
        name = sweep.learning_rate
        if sweep.lr_range is None or name not in self._declarations:
            return None
        trials = self._scored_rates(sweep)
        declared = _declared_entry(self._declarations[name])
        searched = _in_rates(narrowed(declared, sweep.lr_range, sweep.relation), sweep.relation)
        if not 0 < searched[0] < searched[1] or not trials:
            return None
        rates, scores = zip(*trials, strict=True)
        better = next_range(
            rates, scores, LRRange(*searched), maximize=self.oracle.objective.direction == "max"
        )
        if better is not None and self.verbose:
            edge = "upper" if better.max_lr > searched[1] else "lower"
            label = self._label(sweep)
            print(
                f"The best trials{f' of {label}' if label else ''} lie at the {edge} edge of the learning "
                f"rates searched, {_between(searched)}: search "
                f"{_between((better.min_lr, better.max_lr))} next."
            )
        return better

    @property
    def _given_name(self) -> str | None:
        """The one learning rate's name where the user gave it."""
        return self.learning_rate if isinstance(self.learning_rate, str) else None

    def _learning_rate_names(self) -> list[str]:
        """Returns the learning rates' names, as far as they are known."""
        if isinstance(self.learning_rate, list):
            return self.learning_rate
        if self._declarations:
            return list(self._declarations)
        try:
            return [find_learning_rate(self.oracle.hyperparameters, self._given_name)]
        except LearningRateError:
            return []

    def _label(self, sweep: Sweep) -> str:
        """Returns what sets a sweep apart from the others, in words; empty where there are no others."""
        return described(sweep.learning_rate if isinstance(self.learning_rate, list) else None, sweep.setting)

    # --- What a tuner calls ---------------------------------------------------------------------------------

    def _set_project_dir(self, directory: Any, project_name: str) -> None:
        self.oracle._set_project_dir(directory, project_name)
        check_writable(directory, project_name)

    def expect_sweeps(self) -> None:
        """Tells the oracle that its tuner runs sweeps, whatever it does to collect the search space."""
        self._has_runner = True

    def get_space(self) -> kt.HyperParameters:
        """Returns the search space: narrowed, once the sweep is done."""
        return self.oracle.get_space()

    def update_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Adds new hyperparameters to the search space, see `keras_tuner.Oracle`.

        Raises:
            ValueError: Where the tuner that collects its space here would not run any sweep.
        """
        if RUNS_SWEEPS_KEY in hyperparameters.values:
            self._has_runner = True
        elif not self._has_runner and getattr(self.oracle, "_project_name", None) is not None:
            raise ValueError(_NO_RUNNER)
        self.oracle.update_space(hyperparameters)

    def create_trial(self, tuner_id: str) -> Any:
        """Returns the sweeps that are due, else the wrapped oracle's next trial.

        Args:
            tuner_id: String, who asks.

        Returns:
            A `Trial`. While another tuner runs a sweep that is waited for its status is "IDLE", which makes
            the tuner ask again.
        """
        trial: Any = None
        if self._fatal is None and (not self._decided or len(self._jobs)):
            trial = self._guarded(self._sweep_or_wait, tuner_id)
        if trial is None and self._fatal is None:
            trial = self._guarded(self.oracle.create_trial, tuner_id)
            if self._fatal is None and trial.status == "IDLE" and len(self._jobs):
                # What it proposed needs a sweep first.
                trial = self._guarded(self._sweep_or_wait, tuner_id) or trial
        if trial is not None and trial.status == "IDLE" and len(self._jobs):
            # Whoever waits asks again at once, and a chief serves one at a time: answer slowly, but so
            # that all who wait together keep nobody else from being served for longer than one pause.
            time.sleep(_IDLE_PAUSE / max(len(self._heard), 1))
        if self._fatal is not None:
            return self.get_trial(NEWS_PREFIX)
        if trial.status == "STOPPED":
            with self._lock:
                self._heard.pop(tuner_id, None)
                self._told.add(tuner_id)
        return trial

    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Any:
        """Records a trial's metrics; a sweep has none."""
        if is_own_trial(trial_id):
            self._reported.add(trial_id)
            return self.get_trial(trial_id)
        return self.oracle.update_trial(trial_id, metrics, step=step)

    def end_trial(self, *args: Any, **kwargs: Any) -> None:
        """Ends a trial of the wrapped oracle, or a sweep: reads its range and narrows the space."""
        trial = args[0] if args else kwargs.get("trial")
        if not is_own_trial(getattr(trial, "trial_id", None)):
            self._guarded(self.oracle.end_trial, *args, **kwargs)
        elif FATAL_KEY in trial.hyperparameters.values:  # type: ignore[union-attr]
            self._end_search(str(trial.hyperparameters.values[FATAL_KEY]))  # type: ignore[union-attr]
        else:
            self._guarded(self._end_sweep, trial)

    def get_trial(self, trial_id: str) -> Any:
        """Returns the trial of that id; a sweep's has no values of metrics."""
        if not is_own_trial(trial_id):
            return self.oracle.get_trial(trial_id)
        if trial_id.startswith(NEWS_PREFIX):
            self._hear(trial_id.removeprefix(NEWS_PREFIX))
        trial = kt.engine.trial.Trial(kt.HyperParameters(), trial_id=trial_id, status="RUNNING")
        if trial_id in self._reported:
            # KerasTuner asks so whether a `run_trial` of the user's own needs to return anything.
            trial.metrics.register(self.objective.name, self.objective.direction)
        if self._fatal is not None:
            trial.status = "STOPPED"
            trial.hyperparameters.values[FATAL_KEY] = self._fatal
        return trial

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Returns the wrapped oracle's best trials, see `keras_tuner.Oracle`."""
        return self.oracle.get_best_trials(num_trials)  # type: ignore[no-any-return]

    def remaining_trials(self) -> int | None:
        """Returns how many trials the wrapped oracle has left; sweeps don't count."""
        return self.oracle.remaining_trials()  # type: ignore[no-any-return]

    def populate_space(self, trial_id: str) -> Any:
        """Proposes values, in the range of their setting, see `keras_tuner.Oracle`."""
        return self.oracle.populate_space(trial_id)

    def score_trial(self, trial: Any) -> None:
        """Scores a trial, see `keras_tuner.Oracle`."""
        self.oracle.score_trial(trial)

    @property
    def ongoing_trials(self) -> dict[str, Any]:
        """Who runs what, the sweep included: a chief waits until nobody runs anything."""
        if self._fatal is not None:
            return {}
        running: dict[str, Any] = self.oracle.ongoing_trials
        return {**running, **self._jobs.running()} if len(self._jobs) else running

    @property
    def tuner_ids(self) -> set[str]:
        """The tuners at work, those included that the wrapped oracle has not heard of yet.

        Raises:
            RuntimeError: Where an error has ended the search. A chief asks here whether it may shut its
                server down, and ends with the error instead once the other workers had the time to hear of
                it.
        """
        if self._fatal is not None:
            time.sleep(max(self._fatal_since + _FAREWELL - time.monotonic(), 0.0))
            raise RuntimeError(f"The search was ended by an error: {self._fatal}")
        ids: set[str] = self.oracle.tuner_ids
        with self._lock:
            heard_since = time.monotonic() - _SILENCE
            return ids | {tuner_id for tuner_id, heard in self._heard.items() if heard > heard_since}

    def _hear(self, tuner_id: str) -> None:
        with self._lock:
            if tuner_id and tuner_id not in self._told:
                self._heard[tuner_id] = time.monotonic()

    def _guarded(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls, and where this is a chief keeps the search's end by an error in order.

        There the caller is a server thread, which would only tell the one worker that it serves.
        """
        try:
            return call(*args, **kwargs)
        except Exception as error:
            if not _is_chief():
                raise
            traceback.print_exc()
            self._end_search(f"{type(error).__name__}: {error}")
            return None

    def _end_search(self, reason: str) -> None:
        with self._lock:
            if self._fatal is None:
                self._fatal = reason
                self._fatal_since = time.monotonic()
                print(f"The search ends with an error: {reason}", file=sys.stderr, flush=True)

    # --- State ----------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Returns the wrapped oracle's state; the sweeps are in a file of their own."""
        return self.oracle.get_state()  # type: ignore[no-any-return]

    def set_state(self, state: dict[str, Any]) -> None:
        """Sets the wrapped oracle's state."""
        self.oracle.set_state(state)

    def save(self) -> None:
        """Saves the wrapped oracle and, where they have changed, the sweeps in the project directory."""
        oracle = self.oracle
        # The sweeps first: a space that was narrowed by a sweep that nobody knows would be swept again. A
        # worker that starts late with overwrite=True deletes what the chief has written, so it is looked for.
        if (self._decided or self._sweeps) and (self._unsaved or not os.path.exists(self._path(STATE_FILE))):
            self._save_sweeps()
        if self._held is not None:
            # The oracle notes its next trial before there is one: read again after a crash, it would look
            # for it.
            return
        if type(oracle).save is not kt.Oracle.save or not self._is_local():
            type(oracle).save(oracle)
        else:
            write_atomically(self._path("oracle.json"), json.dumps(oracle.get_state()))

    def _save_trial(self, trial: Any) -> None:
        oracle = self.oracle
        if type(oracle)._save_trial is not kt.Oracle._save_trial or not self._is_local():
            type(oracle)._save_trial(oracle, trial)
        else:
            path = self._path(os.path.join(f"trial_{trial.trial_id}", "trial.json"))
            write_atomically(path, json.dumps(trial.get_state()))

    def reload(self) -> None:
        """Loads the wrapped oracle and the sweeps from the project directory.

        Raises:
            ValueError: Where a file in it is damaged or of a newer version, or the tuner runs no sweep and
                one is due.
        """
        try:
            self.oracle.reload()
        except Exception as error:
            path = self.oracle._get_oracle_fname()
            if not is_json(path):
                raise ValueError(
                    f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. Nothing "
                    "was changed. Put it back from a copy to go on. Or begin the search again and keep the "
                    f"finished sweep: leave {STATE_FILE} and delete everything else in "
                    f"{self.oracle._project_dir!r}. Or begin afresh: overwrite=True."
                ) from error
            damaged = [path for path in self._trial_files() if not is_json(path)]
            if not damaged:
                raise
            for path in damaged:
                self._give_up_trial(path)
            self.oracle.reload()
        self._check_trials()
        for path in glob.glob(os.path.join(glob.escape(self.oracle._project_dir), "tuner*.json")):
            if not is_json(path):
                raise ValueError(
                    f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. "
                    "KerasTuner's own tuners keep nothing in it: write {} into it, or put back a copy."
                )
        self.restore()
        if isinstance(self.oracle, kt.oracles.GridSearchOracle) and self.oracle.trials:
            warnings.warn(
                "KerasTuner's GridSearch keeps no note of where it was, so it can't go on with a grid that "
                "was begun. Its trials can be looked at; to search choose a new project_name, or "
                "overwrite=True.",
                stacklevel=3,
            )
        if not self._decided and not self.oracle.trials and not self._has_runner:
            # A tuner that reloads doesn't collect its space, so it can't be told whether it runs sweeps: but
            # where nothing in this process does, it doesn't.
            if not runners:
                raise ValueError(_NO_RUNNER)
            self._has_runner = True

    def _give_up_trial(self, path: str) -> None:
        """Puts a failed trial, which no search draws on, in the place of a damaged file."""
        os.replace(path, f"{path}.damaged")
        warnings.warn(
            f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. Its trial counts "
            "as failed, the search keeps the others and goes on. To have it back, put the file back from a "
            "copy before the next run.",
            stacklevel=4,
        )
        trial_id = os.path.basename(os.path.dirname(path)).removeprefix("trial_")
        failed = kt.engine.trial.Trial(
            kt.HyperParameters(), trial_id=trial_id, status="FAILED", message="its file was damaged"
        )
        write_atomically(path, json.dumps(failed.get_state()))

    def _trial_files(self) -> list[str]:
        return sorted(glob.glob(os.path.join(glob.escape(self.oracle._project_dir), "trial_*", "trial.json")))

    def _check_trials(self) -> None:
        """Takes out what a crash has left half done, and refuses what would lead out of the directory."""
        oracle = self.oracle
        begun = set(oracle.start_order)
        for trial_id, trial in list(oracle.trials.items()):
            for name in (trial_id, trial.hyperparameters.values.get("tuner/trial_id", trial_id)):
                if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
                    raise ValueError(
                        f"A trial in {oracle._project_dir!r} has the id {name!r}, which is no id of "
                        "KerasTuner's: its trial.json was changed. Put it back from a copy, or begin afresh "
                        "with overwrite=True."
                    )
            # Its file was written but not the oracle's: the oracle will propose it again, under its number.
            if trial_id not in begun:
                del oracle.trials[trial_id]
        # Those that have ended, with a crash before the oracle noted it, need no repetition.
        waiting = [oracle.trials[trial_id] for trial_id in oracle._retry_queue if trial_id in oracle.trials]
        oracle._retry_queue = [trial.trial_id for trial in waiting if trial.status in ("RUNNING", "INVALID")]
        noted = set(oracle.end_order)
        oracle.end_order += [
            trial.trial_id
            for trial in waiting
            if trial.status in ("COMPLETED", "FAILED") and trial.trial_id not in noted
        ]

    def _is_local(self) -> bool:
        return "://" not in str(self.oracle._directory)

    def _path(self, name: str) -> str:
        # Not by way of `_project_dir`, which looks for the directory each time: this is called in every call.
        return os.path.join(str(self.oracle._directory), self.oracle._project_name, name)

    def _save_sweeps(self) -> None:
        state = {
            "decided": self._decided,
            "settings": self._described_settings(),
            "declarations": self._declarations,
            "narrowed_to": self._narrowed_to,
            "setting_space": None if self._setting_space is None else self._setting_space.to_config(),
            "sweeps": [sweep.to_config() for sweep in self._sweeps],
        }
        write_atomically(self._path(STATE_FILE), encode_state(state), durable=True)
        self._unsaved = False

    def _described_settings(self) -> dict[str, Any]:
        rule = self.rule if isinstance(self.rule, str) else getattr(self.rule, "__name__", "a callable")
        return {
            **self._settings,
            "learning_rate": self.learning_rate,
            "rule": rule,
            "sweep_per": self.sweep_per,
            "batch_size_scaling": self.batch_size_scaling,
        }

    def restore(self) -> None:
        """Loads the sweeps of a run before from the project directory, once; a reload does so by itself.

        Where KerasTuner begins its own search again, as after a crash before its first trial, the space that
        it has collected is narrowed as the finished sweep says.

        Raises:
            ValueError: Where the file is damaged or of a newer version.
        """
        if self._restored:
            return
        self._restored = True
        path = self._path(STATE_FILE)
        if not os.path.exists(path):
            return
        state = decode_state(path)
        self._sweeps = [Sweep.from_config(config) for config in state["sweeps"]]
        self._decided = state["decided"]
        self._declarations, self._narrowed_to = state["declarations"], state["narrowed_to"]
        self._declared_before = dict(self._declarations)
        if state["setting_space"] is not None:
            self._setting_space = SettingSpace.from_config(state["setting_space"])
        self._unsaved = False
        if not self._sweeps:
            return
        if not os.path.exists(self._path(PICTURE_FILE)):
            self._save_picture()
        outcomes = [sweep.outcome for sweep in self._sweeps if sweep.outcome]
        if self.verbose and outcomes:
            hold = "sweep of an earlier run holds" if len(outcomes) == 1 else "sweeps of an earlier run hold"
            print(f"The learning-rate {hold}. {' '.join(outcomes)}")
        settings = self._described_settings()
        changed = [
            f"{key}={state['settings'].get(key)!r}"
            for key in settings
            if settings[key] != state["settings"].get(key)
        ]
        if changed:
            warnings.warn(
                f"The sweep of this project was run with {', '.join(changed)}, other than now. It holds, and "
                "is not repeated. For a new one choose a new project_name, or overwrite=True.",
                stacklevel=3,
            )
        self._narrow()
        self._add_upfront_jobs()

    def check_declaration(self, hyperparameters: kt.HyperParameters, *, may_come_late: bool = False) -> None:
        """Warns where the learning rate is declared otherwise than when the sweep was run.

        Args:
            hyperparameters: What the hypermodel declares now.
            may_come_late: Whether a `fit` of the user's own may declare the learning rate yet.
        """
        for name, before in self._declared_before.items():
            found: str | None = name
            if not isinstance(self.learning_rate, list):
                try:
                    found = find_learning_rate(hyperparameters, self._given_name)
                except LearningRateError:
                    found = None
            try:
                now = None if found is None else _declaration(hyperparameters, found)
            except LearningRateError:
                now = None
            if now == before or (now is None and (may_come_late or before["config"]["conditions"])):
                continue
            if now is None or now["config"]["name"] != before["config"]["name"]:
                held = "Its range is for the old name; another hyperparameter is searched as it is declared."
            elif self.oracle.start_order:
                held = "The old declaration, narrowed, holds for this search."
            else:
                held = "The sweep holds: the new declaration is narrowed to its range."
            warnings.warn(
                f"The learning rate was declared as {_worded(before)} when the sweep of this project was "
                f"run, and now as {_worded(now)}. {held} For a new sweep choose a new project_name, or "
                "overwrite=True.",
                stacklevel=4,
            )

    # --- The sweeps -----------------------------------------------------------------------------------------

    def _sweep_or_wait(self, tuner_id: str) -> Any:
        """Returns a sweep's trial or an idle one; None where no sweep is due."""
        with self._lock:
            self._prepare()
            now = time.monotonic()
            if len(self._jobs):
                self._told.discard(tuner_id)
                self._hear(tuner_id)
            own = self._jobs.of_worker(tuner_id, now)
            if own is not None:
                # Several processes may train one model under one id.
                return own.trial
            while (job := self._jobs.free(now)) is not None:
                if job.worker is not None:
                    if self.verbose:
                        print(f"{job.worker!r} did not end the learning-rate sweep in {self.lease:g} s.")
                    if job.begun >= _MOST_LEASES:
                        job.worker = None
                        reason = f"it was begun {job.begun} times and never ended in {self.lease:g} s"
                        self._conclude(job, self._new_sweep(job, job.hyperparameters), reason)
                        continue
                return self._jobs.give(job, tuner_id, now + self.lease)
            if not len(self._jobs):
                return None
            return kt.engine.trial.Trial(
                kt.HyperParameters(), trial_id=_SWEEP_PREFIX + "_wait", status="IDLE"
            )

    def check_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Raises where what is to be swept is not declared as it must be.

        Raises:
            LearningRateError: A learning rate is not found, or can't be narrowed.
            ValueError: A hyperparameter of `sweep_per` has too many values for a sweep each, or is not found.
        """
        entries = {entry.name: entry for entry in hyperparameters.space}
        given = self.learning_rate if isinstance(self.learning_rate, list) else [self._given_name]
        for rate in given:
            name = find_learning_rate(hyperparameters, rate)
            if name in (self.sweep_per or ()):
                raise ValueError(
                    f"sweep_per names {name!r}, the learning rate itself: name what moves its range, such as "
                    "the optimizer's hyperparameter."
                )
        for name in self.sweep_per or ():
            if name not in entries:
                raise LearningRateNotFoundError(
                    f"sweep_per names {name!r}, but there is no such hyperparameter. There are: "
                    f"{', '.join(map(repr, entries))}."
                )
            values_of(entries[name])

    def _prepare(self) -> None:
        """Makes the first sweep, or decides that there will be none."""
        self.restore()
        if self._decided or len(self._jobs) or self._sweeps:
            return
        if self.oracle.trials:
            self.skip_sweeps(
                "this search was begun without lrtuner, and narrowing its space now would upset it: "
                "it goes on as it began. For a narrowed search choose a new project_name"
            )
            return
        if not self._has_runner:
            raise ValueError(_NO_RUNNER)
        space = self.oracle.hyperparameters
        name: str | None = None
        try:
            self.check_space(space)
            name = self._learning_rate_names()[0]
        except LearningRateNotFoundError:
            # Unless the hypermodel declares it while it trains, whoever runs the sweep will say so.
            name = self.learning_rate[0] if isinstance(self.learning_rate, list) else self._given_name
        except NothingToNarrowError as error:
            self.skip_sweeps(str(error))
            return
        self._add_job(name, None)

    def _add_job(self, name: str | None, setting: Setting | None) -> None:
        """Puts a sweep on the list of those that are due."""
        space = self.oracle.hyperparameters
        names = self.learning_rate if isinstance(self.learning_rate, list) else []
        # A sweep of one learning rate leaves the others at their default.
        fixed = {entry.name: entry.default for entry in space.space if entry.name in names}
        for entry in space.space:
            if entry.name == name:
                # A value that no model has by chance shows whether the model uses it: 1e-3 and 1e-2 are what
                # Keras' optimizers begin with.
                others = [value for value in map(entry.prob_to_value, (0.45, 0.95)) if value != entry.default]
                unusual = [value for value in others if value not in (1e-3, 1e-2)]
                fixed[name] = [*unusual, *others, entry.default][0]
        hyperparameters = middle(space, {**fixed, **(setting or {})}, [] if name is None else [name])
        settings = self._setting_space
        if settings is None and self.sweep_per is not None:
            settings = SettingSpace(tuple(self.sweep_per))
        hyperparameters.values[SETTINGS_KEY] = json.dumps(
            {
                **self._settings,
                "learning_rate": name,
                "learning_rates": names,
                "settings": None if settings is None else settings.to_config(),
                "scales": self.batch_size_scaling and self._setting_space is None,
                "number": len(self._sweeps) + len(self._jobs) + 1,
                # Hyperband sets its trials' epochs by itself.
                "epochs": getattr(self.oracle, "max_epochs", None),
                # Without an objective, KerasTuner takes nothing but a number for what a training returns.
                "objective_is_named": self.oracle.objective.name != _NO_OBJECTIVE,
            }
        )
        self._jobs.add(Job(name, setting, hyperparameters))

    def _add_upfront_jobs(self) -> None:
        """Puts all sweeps on the list where the search can't begin before their ranges are known.

        A chief does so for its workers to share them, and a grid is laid out once for all. Otherwise a
        sweep is run when a trial first needs it.
        """
        settings = self._setting_space
        if settings is None or not (_is_chief() or isinstance(self.oracle, kt.oracles.GridSearchOracle)):
            self._decided = True
            return
        for name in self._learning_rate_names():
            for setting in settings.settings(self.oracle.hyperparameters, name):
                if self._sweep_of(name, setting) is None:
                    self._add_job(name, setting)
        self._decided = not len(self._jobs)

    def _end_sweep(self, trial: Any) -> None:
        with self._lock:
            job = self._jobs.of_trial(trial.trial_id)
            if job is None:
                return
            values = trial.hyperparameters.values
            report, error = values.get(REPORT_KEY), values.get(ERROR_KEY)
            is_late = trial.trial_id != job.trial.trial_id
            if is_late and report is None:
                # Another worker was given the sweep, since this one took too long.
                return
            if job.worker is not None and not is_late:
                self._hear(job.worker)
            job.worker = None
            job.ended += 1
            error = error or (trial.message or "").strip().rpartition("\n")[2]
            if (
                report is None
                and trial.status == "INVALID"
                and job.ended <= self.oracle.max_retries_per_trial
            ):
                if self.verbose:
                    print(f"The learning-rate sweep failed and is run again: {error}")
                return
            sweep = self._new_sweep(job, trial.hyperparameters)
            # What the training code declared first is part of the search from here on.
            self.oracle.update_space(sweep.hyperparameters)
            declared = {entry.name for entry in self.oracle.hyperparameters.space}
            unknown = sorted(set(self.sweep_per or ()) - declared)
            if unknown and not self._sweeps:
                warnings.warn(
                    f"sweep_per names {unknown}, which the hypermodel has not declared: no sweeps are run "
                    f"for them. It has declared {sorted(declared)}.",
                    stacklevel=4,
                )
            if report is None:
                reason: str | None = (
                    error or "the tuner ended its trial without training through HyperModel.fit and model.fit"
                )
            else:
                reason = self._read_range(sweep, report)
            self._conclude(job, sweep, reason)

    def _new_sweep(self, job: Job, hyperparameters: kt.HyperParameters) -> Sweep:
        hyperparameters = hyperparameters.copy()
        for key in _RESERVED:
            hyperparameters.values.pop(key, None)
        return Sweep(
            name="learning-rate sweep", hyperparameters=hyperparameters, learning_rate=job.learning_rate or ""
        )

    def _read_range(self, sweep: Sweep, report: Any) -> str | None:
        """Reads the sweep's curve and range; returns why there is no range, if there is none."""
        try:
            try:
                config = json.loads(report)
                sweep.relation = Relation.from_points(config.pop("relation"))
                settings = SettingSpace.from_config(config.pop("settings"))
                if self._setting_space is None:
                    self._setting_space = settings
                read = SweepReport.from_config(config)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                return f"the sweep's report can't be read: {type(error).__name__}: {error}"
            sweep.curve = read.curve
            sweep.batch_size = read.batch_size
            if read.fault is not None:
                return read.fault
            sweep.lr_range = suggest_range(
                read.curve,
                rule=self.rule,
                train_steps=self._train_steps(read),
                optimizer=read.optimizer,
                batch_size=read.batch_size,
                momentum=read.momentum,
            )
            evidence = sweep.lr_range.evidence
            if evidence is not None and not evidence.is_from_curve:
                # What is usual for the optimizer is no reason to cut the user's space.
                sweep.lr_range = None
                return str(evidence)
        except NoRangeError as error:
            return str(error)
        except Exception as error:
            if isinstance(self.rule, str):
                raise
            # A rule of the user's own may fail in any way.
            return f"{type(error).__name__}: {error}"
        return None

    def _train_steps(self, report: SweepReport) -> int | None:
        """Returns the batches in a full training: Hyperband sets its trials' epochs by itself."""
        epochs = getattr(self.oracle, "max_epochs", None) or report.epochs
        return report.batches_per_epoch * epochs if report.batches_per_epoch and epochs else None

    def skip_sweeps(self, reason: str) -> None:
        """Goes on in the declared space, without a sweep.

        Args:
            reason: Why, for the warning.
        """
        if self._decided:
            return
        warnings.warn(f"No learning-rate sweep: {reason.rstrip('.')}.", stacklevel=2)
        self._decided = self._unsaved = True

    def _conclude(self, job: Job, sweep: Sweep, reason: str | None) -> None:
        """Takes note of a sweep's end, narrows the space where its range is known, and tells the user."""
        space, part = self.oracle.hyperparameters, None
        settings = self._setting_space or SettingSpace()
        sweep.setting = settings.setting_of(sweep.hyperparameters.values)
        try:
            name = sweep.learning_rate or find_learning_rate(space, self._given_name)
            sweep.learning_rate = name
            if name not in self._declarations:
                self._declarations[name] = _declaration(space, name)
            declared = _declared_entry(self._declarations[name])
            sweep.declared = _in_rates(declared, sweep.relation)
            if sweep.lr_range is not None:
                part = narrowed(declared, sweep.lr_range, sweep.relation)
                outcome = describe(declared, part, sweep.lr_range, sweep.relation)
        except LearningRateError as error:
            sweep.lr_range = None
            reason = reason or str(error)
        label = self._label(sweep)
        sweep.name = label or sweep.name
        sweep.reason = reason
        if part is not None:
            sweep.outcome = f"{label}: {outcome}" if label else str(outcome)
        self._sweeps.append(sweep)
        self._jobs.conclude(job)
        self._unsaved = True
        if len(self._sweeps) == 1:
            self._add_upfront_jobs()
        self._decided = self._decided or not len(self._jobs)
        self._narrow()
        self._remove_leftovers()
        self.save()
        picture = self._save_picture()
        of_which = f" for {label}" if label else ""
        if part is None:
            warnings.warn(
                f"The learning-rate sweep{of_which} found no range, so the search goes on in the declared "
                f"space: {reason}",
                stacklevel=4,
            )
            return
        if outcome.note:
            warnings.warn(outcome.note, stacklevel=4)
        if self.verbose:
            assert sweep.curve is not None
            others = [one for one in sweep.hyperparameters.values if one in self._learning_rate_names()]
            others.remove(name)
            stand = "".join(
                f" {one} stood at its default, {sweep.hyperparameters.values[one]:.3g}." for one in others
            )
            print(
                f"Learning-rate sweep of {len(sweep.curve)} batches{of_which}: {name} declared as "
                f"{_between(outcome.declared)}, narrowed to {_between(outcome.narrowed)}.{stand} Picture: "
                f"{picture}"
            )

    # --- The ranges of the settings -------------------------------------------------------------------------

    def _sweep_of(self, name: str, values: Mapping[str, Any]) -> Sweep | None:
        """Returns the finished sweep of a learning rate that a trial's values belong to."""
        setting = (self._setting_space or SettingSpace()).setting_of(values)
        for sweep in self._sweeps:
            if sweep.learning_rate == name and sweep.setting == setting:
                return sweep
        return None

    def _part(self, name: str, values: Mapping[str, Any]) -> Any:
        """Returns the narrowed hyperparameter for a trial's values; None where there is no range for them."""
        settings = self._setting_space or SettingSpace()
        batch_size = values.get(settings.batch_size or "")
        key = (name, key_of(settings.setting_of(values)), batch_size)
        if key not in self._parts:
            sweep = self._sweep_of(name, values)
            if sweep is None:
                return None
            part = None
            if sweep.lr_range is not None:
                lr_range = sweep.lr_range
                if batch_size and sweep.batch_size:
                    factor = math.sqrt(batch_size / sweep.batch_size)
                    lr_range = LRRange(lr_range.min_lr * factor, lr_range.max_lr * factor)
                declared = _declared_entry(self._declarations[name])
                part = narrowed(declared, lr_range, sweep.relation)
            self._parts[key] = part
        return self._parts[key]

    def _narrow(self) -> None:
        """Narrows each learning rate to the union of its ranges, once all of its settings have theirs.

        In the middle of a search this is safe, since all trials so far have values of the union.
        """
        settings, space = self._setting_space or SettingSpace(), self.oracle.hyperparameters
        for name in self._learning_rate_names():
            if name not in self._declarations or _declaration(space, name) == self._narrowed_to.get(name):
                continue
            now = _declaration(space, name)
            if now != self._declarations[name]:
                # Declared anew before the first trial; once begun, a search keeps its space.
                if self.oracle.trials or self.oracle.start_order:
                    continue
                self._declarations[name] = now
            parts = [
                self._part(name, values)
                for setting in settings.settings(space, name)
                for values in self._with_batch_sizes(setting)
            ]
            if None in parts:
                continue
            entry = _declared_entry(self._declarations[name])
            # A search may try the defaults first, so this one is of their setting.
            defaults = {one.name: one.default for one in space.space if space.is_active(one)}
            part = self._part(name, defaults) or parts[0]
            replace(space, name, union(entry, parts, part.default))
            self._narrowed_to[name] = _declaration(space, name)
            self._unsaved = True

    def _with_batch_sizes(self, setting: Setting) -> list[Setting]:
        """Returns the setting with each batch size that the search has, where the range moves with it."""
        name = (self._setting_space or SettingSpace()).batch_size
        if name is None or name in setting:
            return [setting]
        entry = registered(self.oracle.hyperparameters, name)
        # Between the ends of an Int lie no rates that these don't span.
        sizes = entry.values if isinstance(entry, hp_types.Choice) else bounds(entry)
        return [{**setting, name: size} for size in sizes]

    def _populate(self, trial_id: str) -> Any:
        """Proposes as the wrapped oracle does, and moves the learning rate into the range of its setting.

        Where that is not known yet, the proposal waits until its sweep is done.
        """
        for _ in range(self.oracle._max_collisions):
            if self._held is not None and self._held[0] == trial_id:
                response = self._held[1]
            else:
                response = self._propose(trial_id)
            values = response.get("values")
            if response["status"] != "RUNNING" or not values or not self._sweeps:
                return response
            names = [name for name in self._learning_rate_names() if name in values]
            missing = [name for name in names if self._sweep_of(name, values) is None]
            if missing and self._setting_space is not None:
                self._held = (trial_id, response)
                for name in missing:
                    self._add_job(name, self._setting_space.setting_of(values))
                return {"status": "IDLE"}
            self._held = None
            moved = False
            for name in names:
                part = self._part(name, values)
                if part is not None and not is_inside(values[name], part):
                    entry = registered(self.oracle.hyperparameters, name)
                    if not is_inside(values[name], entry):
                        # Narrowed since this was proposed.
                        entry = _declared_entry(self._declarations[name])
                    values[name] = move_inside(values[name], entry, part)
                    moved = True
            if not moved or not self._is_tried(values):
                return response
        return {"status": "STOPPED", "values": None}

    def _is_tried(self, values: dict[str, Any]) -> bool:
        """Whether a trial had the same values, and the oracle can be asked again for others.

        Only a random search can: Hyperband notes where it has put a proposal, and a Gaussian process would
        propose the same again.
        """
        oracle = self.oracle
        return (
            isinstance(oracle, kt.oracles.RandomSearchOracle)
            and oracle._compute_values_hash(values) in oracle._tried_so_far
        )

    def _next_allowed(self, values: dict[str, Any]) -> Any:
        """Returns the next combination of a grid whose learning rates lie in the ranges of its setting."""
        combination = self._next_combination(values)
        while combination is not None and not self._allows(combination):
            combination = self._next_combination(combination)
        return combination

    def _allows(self, values: dict[str, Any]) -> bool:
        parts = [
            (values[name], self._part(name, values)) for name in self._learning_rate_names() if name in values
        ]
        return all(part is None or is_inside(value, part) for value, part in parts)

    def _remove_leftovers(self) -> None:
        """Removes the directories that KerasTuner makes for any trial: a sweep leaves no checkpoint there."""
        for directory in Path(self.oracle._project_dir).glob(f"trial_{_SWEEP_PREFIX}*"):
            shutil.rmtree(directory, ignore_errors=True)

    def _save_picture(self) -> str:
        from lrtuner.plot import plot_sweeps, save_picture

        path = self._path(PICTURE_FILE)
        try:
            save_picture(path, lambda ax: plot_sweeps(self._sweeps, ax=ax))
        except Exception as error:
            # Whatever keeps matplotlib from drawing, the search needs no picture.
            warnings.warn(f"The sweep's picture could not be drawn: {error!r}", stacklevel=5)
            return "none"
        return path


_NO_RUNNER = (
    "This tuner does not run the learning-rate sweep that LRRangeOracle asks for. Either use lrtuner.Tuner "
    "(or lrtuner.RandomSearch, BayesianOptimization, Hyperband, GridSearch) in place of KerasTuner's, or "
    "wrap the hypermodel: hypermodel=lrtuner.LRRangeHyperModel(build_model)."
)


def is_own_trial(trial_id: str | None) -> bool:
    """Returns whether a trial of that id is a sweep, or else none of the search's."""
    return trial_id is not None and trial_id.startswith(_SWEEP_PREFIX)


def _is_chief() -> bool:
    # As KerasTuner tells it.
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def _check_rule(rule: str) -> None:
    from lrtuner.rules import RULES

    if rule not in RULES:
        raise ValueError(f"rule must be one of {sorted(RULES)} or a callable, received {rule!r}.")


def _between(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"


def _declaration(hyperparameters: kt.HyperParameters, name: str) -> dict[str, Any]:
    """Returns how a hyperparameter is declared, as a dict for JSON."""
    entry = registered(hyperparameters, name)
    config: dict[str, Any] = json.loads(json.dumps(entry.get_config()))
    return {"class_name": type(entry).__name__, "config": config}


def _declared_entry(declaration: dict[str, Any]) -> Any:
    """Returns the hyperparameter that `_declaration` described."""
    # KerasTuner changes the config of a conditional hyperparameter while it reads it.
    return hp_types.deserialize(copy.deepcopy(declaration))


def _in_rates(entry: Any, relation: Relation | None) -> tuple[float, float]:
    """Returns the learning rates at a hyperparameter's smallest and largest value, in ascending order."""
    low, high = sorted(as_rate(value, relation) for value in bounds(entry))
    return low, high


def _are_names(names: Any) -> bool:
    """Whether these are names in a list or the like."""
    return (
        isinstance(names, Sequence) and not isinstance(names, str) and all(isinstance(n, str) for n in names)
    )


def _worded(declaration: dict[str, Any] | None) -> str:
    if declaration is None:
        return "nothing that can be narrowed"
    config = {key: value for key, value in declaration["config"].items() if value is not None and value != []}
    arguments = [f"{key}={value!r}" for key, value in config.items() if key not in ("name", "conditions")]
    return f"{declaration['class_name']}({', '.join([repr(config['name']), *arguments])})"
