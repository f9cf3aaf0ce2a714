"""The oracle that sweeps the learning rate first and then hands off to the user's own search."""

from __future__ import annotations

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt

from lrtuner.curve import LRCurve
from lrtuner.lr_range import LRRange, NoRangeError, next_range, suggest_range
from lrtuner.space import (
    LearningRateError,
    LearningRateNotFoundError,
    Narrowed,
    NothingToNarrowError,
    Relation,
    as_rate,
    find_learning_rate,
    narrow,
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
    """Narrows the learning-rate space with one sweep, then hands off to another oracle.

    The first trial that a tuner gets is a sweep: at most about an epoch of training in which the learning
    rate rises from `min_lr` to `max_lr`. The good range is read off its loss curve, the learning-rate
    hyperparameter is narrowed to it inside the bounds that the user declared, and from then on every call
    goes to the wrapped oracle, which never hears of the sweep: its trials, their numbers, its seeds and
    `max_trials` are its own. Where a sweep fails or shows no range, the declared space stays as it is and a
    warning says why.

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
            `learning_rate`, `lr`, or a name that ends so.
        min_lr: Float, the first rate of the sweep.
        max_lr: Float, the last rate of the sweep.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300.
        rule: How the range is read off the curve, see `suggest_range`.
        lease: Float, seconds that a worker of a distributed search has for a sweep. Then the sweep is given
            to another worker, and whichever ends it first counts.
        **kwargs: Arguments of the `RandomSearchOracle` where `oracle` is left out.

    Attributes:
        oracle: The wrapped oracle.
        sweeps: List of `Sweep`, finished ones only.
        lr_range: The `LRRange` that the sweep found, or `None`.

    Raises:
        TypeError: Where `oracle` is not an oracle, or keyword arguments come beside one.
        ValueError: Where the bounds, the number of steps or the lease make no sense.
    """

    # What belongs to the wrapper, as annotated here; every other attribute is read from and written to the
    # wrapped oracle.
    oracle: kt.Oracle
    learning_rate: str | None
    rule: str | Callable[[LRCurve], Any]
    lease: float
    _settings: dict[str, Any]
    _lock: threading.RLock
    _sweeps: list[Sweep]
    # Whether sweeping is over, one way or the other; until then, whether somebody is known to run the sweep.
    _decided: bool
    _has_runner: bool
    # The learning-rate hyperparameter of a finished sweep as it was declared, and as it was narrowed.
    _declaration: dict[str, Any] | None
    _narrowed_to: dict[str, Any] | None
    _restored: bool
    _unsaved: bool
    # What to sweep at, while a sweep is due; its trial while it runs; how often it was begun and has ended.
    _due: kt.HyperParameters | None
    _trial: Any
    _begun: int
    _ended: int
    # Who runs the sweep and until when.
    _worker: str | None
    _lease_ends: float
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
        learning_rate: str | None = None,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int | None = None,
        rule: str | Callable[[LRCurve], Any] = "posterior",
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
            raise TypeError(
                f"learning_rate must be the name of a hyperparameter, received {learning_rate!r}. "
                "The rates to sweep are min_lr and max_lr."
            )
        if isinstance(rule, str):
            _check_rule(rule)
        elif not callable(rule):
            raise TypeError(f"rule must be the name of a rule or a callable, received {rule!r}.")
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0 < lease < math.inf:
            raise ValueError(f"lease must be a number of seconds above 0, received {lease!r}.")
        self.oracle = oracle
        self.learning_rate = learning_rate
        self.rule = rule
        self.lease = float(lease)
        self._settings = {"min_lr": float(min_lr), "max_lr": float(max_lr), "steps": steps}
        self._lock = threading.RLock()
        self._sweeps = []
        self._decided = False
        self._has_runner = False
        self._declaration = self._narrowed_to = None
        self._restored = False
        self._unsaved = True
        self._due = self._trial = None
        self._begun = self._ended = 0
        self._worker = None
        self._lease_ends = math.inf
        self._heard = {}
        self._told = set()
        self._reported = set()
        self._fatal = None
        self._fatal_since = math.inf
        # The wrapped oracle saves itself from inside of its own calls. Those come here, where a crash leaves
        # no file half written.
        oracle.save = self.save
        oracle._save_trial = self._save_trial

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
        """The learning-rate range that the sweep found, or `None` where there is none (yet)."""
        return self._sweeps[-1].lr_range if self._sweeps else None

    def plot_sweeps(self, ax: Any = None) -> Any:
        """Draws the sweep's curve with its range, and the finished trials over it.

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
        return plot_sweeps(self._sweeps, trials=self._scored_rates(), objective=self.objective.name, ax=ax)

    def _scored_rates(self) -> list[tuple[float, float]]:
        name = self._learning_rate_name()
        relation = self._sweeps[-1].relation
        return [
            (as_rate(trial.hyperparameters.values[name], relation), float(trial.score))
            for trial in self.oracle.trials.values()
            if trial.score is not None and name in trial.hyperparameters.values
        ]

    def advise(self) -> LRRange | None:
        """Says where the next search should look, if this one's best trials lie at an edge of its range.

        Returns:
            The range that the next search should have, or `None` where this one's was right or too few trials
            have finished to tell.
        """
        name = self._learning_rate_name()
        if self.lr_range is None or name is None:
            return None
        relation = self._sweeps[-1].relation
        searched = _declared_rates(_declaration(self.oracle.hyperparameters, name), relation)
        trials = self._scored_rates()
        if not 0 < searched[0] < searched[1] or not trials:
            return None
        rates, scores = zip(*trials, strict=True)
        better = next_range(
            rates, scores, LRRange(*searched), maximize=self.oracle.objective.direction == "max"
        )
        if better is not None and self.verbose:
            edge = "upper" if better.max_lr > searched[1] else "lower"
            print(
                f"The best trials lie at the {edge} edge of the learning rates searched, "
                f"{_bounds(searched)}: search {_bounds((better.min_lr, better.max_lr))} next."
            )
        return better

    def _learning_rate_name(self) -> str | None:
        if self._declaration is not None:
            return str(self._declaration["config"]["name"])
        try:
            return find_learning_rate(self.oracle.hyperparameters, self.learning_rate)
        except LearningRateError:
            return None

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
        """Returns the sweep as long as it is due, then the wrapped oracle's trials.

        Args:
            tuner_id: String, who asks.

        Returns:
            A `Trial`. While another tuner runs the sweep its status is "IDLE", which makes the tuner ask
            again.
        """
        trial: Any = None
        if not self._decided and self._fatal is None:
            trial = self._guarded(self._sweep_or_wait, tuner_id)
            if trial is not None and trial.status == "IDLE":
                # Whoever waits asks again at once, and a chief serves one at a time: answer slowly, but so
                # that all who wait together keep nobody else from being served for longer than one pause.
                time.sleep(_IDLE_PAUSE / max(len(self._heard), 1))
            if trial is not None:
                return trial
        if self._fatal is None:
            trial = self._guarded(self.oracle.create_trial, tuner_id)
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
        """Proposes values, see `keras_tuner.Oracle`."""
        return self.oracle.populate_space(trial_id)

    def score_trial(self, trial: Any) -> None:
        """Scores a trial, see `keras_tuner.Oracle`."""
        self.oracle.score_trial(trial)

    @property
    def ongoing_trials(self) -> dict[str, Any]:
        """Who runs what, the sweep included: a chief waits until nobody runs anything."""
        if self._fatal is not None:
            return {}
        worker = self._worker
        running: dict[str, Any] = self.oracle.ongoing_trials
        return running if worker is None else {**running, worker: self._trial}

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
        if self._decided and (self._unsaved or not os.path.exists(self._path(STATE_FILE))):
            self._save_sweeps()
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
            damaged = self._damaged_files()
            if not damaged:
                raise
            raise ValueError(
                f"KerasTuner's files {damaged} are damaged, as after a crash while they were written. "
                "Nothing was changed. Put them back from a copy to go on. Or begin the search again and keep "
                f"the finished sweep: leave {STATE_FILE} and delete everything else in "
                f"{self.oracle._project_dir!r}. Or begin afresh: overwrite=True."
            ) from error
        self._check_trials()
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

    def _damaged_files(self) -> list[str]:
        paths = [self.oracle._get_oracle_fname(), *self._trial_files()]
        return [path for path in paths if not is_json(path)]

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
            "declaration": self._declaration,
            "narrowed_to": self._narrowed_to,
            "sweeps": [sweep.to_config() for sweep in self._sweeps],
        }
        write_atomically(self._path(STATE_FILE), encode_state(state), durable=True)
        self._unsaved = False

    def _described_settings(self) -> dict[str, Any]:
        rule = self.rule if isinstance(self.rule, str) else getattr(self.rule, "__name__", "a callable")
        return {**self._settings, "learning_rate": self.learning_rate, "rule": rule}

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
        self._declaration, self._narrowed_to = state["declaration"], state["narrowed_to"]
        self._unsaved = False
        if not self._decided:
            return
        if self._sweeps and not os.path.exists(self._path(PICTURE_FILE)):
            self._save_picture()
        if self.verbose and self._sweeps and self._sweeps[-1].outcome:
            print(f"The learning-rate sweep of an earlier run holds. {self._sweeps[-1].outcome}")
        settings = self._described_settings()
        changed = [
            f"{key}={state['settings'].get(key)!r}"
            for key in settings
            if settings[key] != state["settings"].get(key)
        ]
        if changed and self._sweeps:
            warnings.warn(
                f"The sweep of this project was run with {', '.join(changed)}, other than now. It holds, and "
                "is not repeated. For a new one choose a new project_name, or overwrite=True.",
                stacklevel=3,
            )
        if self.lr_range is not None and not self.oracle.trials and not self.oracle.start_order:
            self._narrow_again(self.lr_range)

    def _narrow_again(self, lr_range: LRRange) -> None:
        """Narrows a space that was collected anew; one that was saved is narrowed already."""
        name = self._learning_rate_name()
        if name is not None and _declaration(self.oracle.hyperparameters, name) != self._narrowed_to:
            narrow(self.oracle.hyperparameters, name, lr_range, self._sweeps[-1].relation)

    def check_declaration(self, hyperparameters: kt.HyperParameters, *, may_come_late: bool = False) -> None:
        """Warns where the learning rate is declared otherwise than when the sweep was run.

        Args:
            hyperparameters: What the hypermodel declares now.
            may_come_late: Whether a `fit` of the user's own may declare the learning rate yet.
        """
        if self._declaration is None or not self._sweeps:
            return
        try:
            name = find_learning_rate(hyperparameters, self.learning_rate)
        except LearningRateError:
            name = None
        now = None if name is None else _declaration(hyperparameters, name)
        before = self._declaration
        if now == before or (now is None and (may_come_late or before["config"]["conditions"])):
            return
        if now is None or now["config"]["name"] != before["config"]["name"]:
            held = "Its range is for the old name; another hyperparameter is searched as it is declared."
        elif self.oracle.start_order:
            held = "The old declaration, narrowed, holds for this search."
        else:
            held = "The sweep holds: the new declaration is narrowed to its range."
        warnings.warn(
            f"The learning rate was declared as {_worded(before)} when the sweep of this project was run, "
            f"and now as {_worded(now)}. {held} For a new sweep choose a new project_name, or "
            "overwrite=True.",
            stacklevel=4,
        )

    # --- The sweep ------------------------------------------------------------------------------------------

    def _sweep_or_wait(self, tuner_id: str) -> Any:
        """Returns the sweep's trial or an idle one; None where no sweep is due any more."""
        with self._lock:
            self._prepare()
            if self._decided:
                return None
            now = time.monotonic()
            self._told.discard(tuner_id)
            self._hear(tuner_id)
            if self._worker == tuner_id and now < self._lease_ends:
                # Several processes may train one model under one id.
                return self._trial
            if self._worker is not None and now < self._lease_ends:
                return kt.engine.trial.Trial(
                    kt.HyperParameters(), trial_id=_SWEEP_PREFIX + "_wait", status="IDLE"
                )
            if self._worker is not None:
                if self.verbose:
                    print(f"{self._worker!r} did not end the learning-rate sweep in {self.lease:g} s.")
                if self._begun >= _MOST_LEASES:
                    self._worker = None
                    sweep = self._new_sweep(self._trial.hyperparameters)
                    self._conclude(
                        sweep, f"it was begun {self._begun} times and never ended in {self.lease:g} s"
                    )
                    return None
            assert self._due is not None
            # Each run has an id of its own, which tells a late result from the one that is waited for.
            trial_id = f"{_SWEEP_PREFIX}_{self._begun}"
            self._trial = kt.engine.trial.Trial(self._due.copy(), trial_id=trial_id, status="RUNNING")
            self._begun += 1
            self._worker = tuner_id
            self._lease_ends = now + self.lease
            return self._trial

    def _prepare(self) -> None:
        """Makes the sweep's trial, or decides that there will be none."""
        self.restore()
        if self._decided or self._due is not None:
            return
        if self.oracle.trials:
            self.skip_sweeps(
                "this search was begun without lrtuner, and narrowing its space now would upset it: "
                "it goes on as it began. For a narrowed search choose a new project_name"
            )
            return
        if not self._has_runner:
            raise ValueError(_NO_RUNNER)
        try:
            hyperparameters, name = self._sweep_hyperparameters()
        except NothingToNarrowError as error:
            self.skip_sweeps(str(error))
            return
        # Without an objective, KerasTuner takes nothing but a number for what a training returns.
        named = self.oracle.objective.name != _NO_OBJECTIVE
        settings = {**self._settings, "learning_rate": name, "objective_is_named": named}
        hyperparameters.values[SETTINGS_KEY] = json.dumps(settings)
        self._due = hyperparameters

    def _sweep_hyperparameters(self) -> tuple[kt.HyperParameters, str | None]:
        """Returns the values to sweep at and the learning rate's name, None where `fit` is to declare any."""
        space = self.oracle.hyperparameters.space
        try:
            name: str | None = find_learning_rate(self.oracle.hyperparameters, self.learning_rate)
        except LearningRateNotFoundError:
            # Unless the hypermodel declares it while it trains, whoever runs the sweep will say so.
            name = self.learning_rate
        # Under conditions, those that make the model use the learning rate.
        conditions = {
            condition.name: condition.values[0]
            for hp in space
            if hp.name == name
            for condition in hp.conditions
        }
        hyperparameters = kt.HyperParameters()
        for hp in space:
            hyperparameters.merge([hp])
            if not hyperparameters.is_active(hp):
                continue
            if hp.name in conditions:
                hyperparameters.values[hp.name] = conditions[hp.name]
            elif hp.name == name:
                # A value that no model has by chance shows whether the model uses it: 1e-3 and 1e-2 are what
                # Keras' optimizers begin with.
                others = [value for value in map(hp.prob_to_value, (0.45, 0.95)) if value != hp.default]
                unusual = [value for value in others if value not in (1e-3, 1e-2)]
                hyperparameters.values[name] = [*unusual, *others, hp.default][0]
        return hyperparameters, name

    def _end_sweep(self, trial: Any) -> None:
        with self._lock:
            values = trial.hyperparameters.values
            report, error = values.get(REPORT_KEY), values.get(ERROR_KEY)
            is_late = self._trial is None or trial.trial_id != self._trial.trial_id
            if self._decided or (is_late and report is None):
                # Another worker was given the sweep, since this one took too long.
                return
            if self._worker is not None and not is_late:
                self._hear(self._worker)
            self._worker = None
            self._ended += 1
            error = error or (trial.message or "").strip().rpartition("\n")[2]
            if (
                report is None
                and trial.status == "INVALID"
                and self._ended <= self.oracle.max_retries_per_trial
            ):
                if self.verbose:
                    print(f"The learning-rate sweep failed and is run again: {error}")
                return
            sweep = self._new_sweep(trial.hyperparameters)
            # What the training code declared first is part of the search from here on.
            self.oracle.update_space(sweep.hyperparameters)
            if report is None:
                self._conclude(
                    sweep,
                    error
                    or "the tuner ended its trial without training through HyperModel.fit and model.fit",
                )
            else:
                self._conclude(sweep, self._read_range(sweep, report))

    def _new_sweep(self, hyperparameters: kt.HyperParameters) -> Sweep:
        hyperparameters = hyperparameters.copy()
        for key in _RESERVED:
            hyperparameters.values.pop(key, None)
        return Sweep(name="learning-rate sweep", hyperparameters=hyperparameters)

    def _read_range(self, sweep: Sweep, report: Any) -> str | None:
        """Reads the sweep's curve and range; returns why there is no range, if there is none."""
        try:
            try:
                config = json.loads(report)
                sweep.relation = Relation.from_points(config.pop("relation"))
                read = SweepReport.from_config(config)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                return f"the sweep's report can't be read: {type(error).__name__}: {error}"
            sweep.curve = read.curve
            if read.fault is not None:
                return read.fault
            sweep.lr_range = suggest_range(
                read.curve,
                rule=self.rule,
                train_steps=self._train_steps(read),
                optimizer=read.optimizer,
                batch_size=read.batch_size,
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

    def _conclude(self, sweep: Sweep, reason: str | None) -> None:
        """Narrows the space where there is a range, tells the user and keeps everything."""
        narrowing: Narrowed | None = None
        space = self.oracle.hyperparameters
        try:
            name = find_learning_rate(space, self.learning_rate)
            self._declaration = _declaration(space, name)
            if sweep.lr_range is not None:
                narrowing = narrow(space, name, sweep.lr_range, sweep.relation)
                self._narrowed_to = _declaration(space, name)
                sweep.outcome = str(narrowing)
            sweep.declared = _declared_rates(self._declaration, sweep.relation)
        except LearningRateError as error:
            reason = reason or str(error)
        sweep.reason = reason
        self._sweeps.append(sweep)
        self._due = self._trial = None
        self._unsaved = True
        self._decided = True
        self._remove_leftovers()
        self.save()
        picture = self._save_picture()
        if narrowing is None:
            warnings.warn(
                "The learning-rate sweep found no range, so the search goes on in the declared space: "
                f"{reason}",
                stacklevel=4,
            )
            return
        if narrowing.note:
            warnings.warn(narrowing.note, stacklevel=4)
        if self.verbose:
            assert sweep.curve is not None
            print(
                f"Learning-rate sweep of {len(sweep.curve)} batches: {name} declared as "
                f"{_bounds(narrowing.declared)}, narrowed to {_bounds(narrowing.narrowed)}. Picture: "
                f"{picture}"
            )

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
    from lrtuner.lr_range import RULES

    if rule not in RULES:
        raise ValueError(f"rule must be one of {sorted(RULES)} or a callable, received {rule!r}.")


def _bounds(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.3g} to {bounds[1]:.3g}"


def _declaration(hyperparameters: kt.HyperParameters, name: str) -> dict[str, Any]:
    """Returns how a hyperparameter is declared, as a dict for JSON."""
    entry = next(entry for entry in hyperparameters.space if entry.name == name)
    config: dict[str, Any] = json.loads(json.dumps(entry.get_config()))
    return {"class_name": type(entry).__name__, "config": config}


def _declared_rates(declaration: dict[str, Any], relation: Relation | None) -> tuple[float, float]:
    config = declaration["config"]
    values = config["values"] if "values" in config else [config["min_value"], config["max_value"]]
    low, high = sorted(as_rate(value, relation) for value in (min(values), max(values)))
    return low, high


def _worded(declaration: dict[str, Any] | None) -> str:
    if declaration is None:
        return "nothing that can be narrowed"
    config = {key: value for key, value in declaration["config"].items() if value is not None and value != []}
    arguments = [f"{key}={value!r}" for key, value in config.items() if key not in ("name", "conditions")]
    return f"{declaration['class_name']}({', '.join([repr(config['name']), *arguments])})"
