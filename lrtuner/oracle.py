"""The oracle that sweeps the learning rate first and then hands off to the user's own search."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt

from lrtuner.curve import LRCurve
from lrtuner.lr_range import LRRange, NoRangeError, suggest_range
from lrtuner.space import LearningRateNotFoundError, find_learning_rate, narrow
from lrtuner.sweep import SweepReport, check_settings

# Reserved keys among a sweep's hyperparameter values, the one field that every transport of KerasTuner carries.
# They mark a trial as a sweep, with the sweep's settings as JSON ...
SETTINGS_KEY = "lrtuner/sweep"
# ... bring back what it recorded, as JSON, or why it recorded nothing ...
REPORT_KEY = "lrtuner/report"
ERROR_KEY = "lrtuner/error"
# ... and tell the oracle, while the tuner collects the search space, that somebody will run its sweeps.
RUNS_SWEEPS_KEY = "lrtuner/runs_sweeps"
_RESERVED = (SETTINGS_KEY, REPORT_KEY, ERROR_KEY, RUNS_SWEEPS_KEY)

STATE_FILE = "lr_range.json"
STATE_VERSION = 1
PICTURE_FILE = "lr_sweeps.png"


@dataclasses.dataclass
class Sweep:
    """One learning-rate sweep of a search, finished or under way.

    Attributes:
        name: What sets this sweep apart from the others.
        hyperparameters: The `keras_tuner.HyperParameters` that the swept model was built with.
        curve: The recorded `LRCurve`, or `None` where nothing was recorded.
        lr_range: The `LRRange` read off the curve, or `None` where there is none.
        reason: Why there is no range or why it was not used, in words; `None` where all went well.
        declared: The learning-rate space that the user declared, as (lowest, highest); `None` before it is known.
        outcome: What the search does now, in words.
    """

    name: str
    hyperparameters: kt.HyperParameters
    curve: LRCurve | None = None
    lr_range: LRRange | None = None
    reason: str | None = None
    declared: tuple[float, float] | None = None
    outcome: str | None = None

    def to_config(self) -> dict[str, Any]:
        """Returns the sweep as a dict for JSON."""
        return {
            "name": self.name,
            "hyperparameters": self.hyperparameters.get_config(),
            "curve": None if self.curve is None else self.curve.to_config(),
            "lr_range": None if self.lr_range is None else self.lr_range.to_config(),
            "reason": self.reason,
            "declared": None if self.declared is None else list(self.declared),
            "outcome": self.outcome,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sweep:
        """Builds the sweep that `to_config` described."""
        declared = config["declared"]
        return cls(
            name=config["name"],
            hyperparameters=kt.HyperParameters.from_config(config["hyperparameters"]),
            curve=None if config["curve"] is None else LRCurve.from_config(config["curve"]),
            lr_range=None if config["lr_range"] is None else LRRange.from_config(config["lr_range"]),
            reason=config["reason"],
            declared=None if declared is None else (float(declared[0]), float(declared[1])),
            outcome=config["outcome"],
        )


class LRRangeOracle(kt.Oracle):  # type: ignore[misc]  # KerasTuner is untyped
    """Narrows the learning-rate space with one sweep, then hands off to another oracle.

    The first trial that a tuner gets is a sweep: at most about an epoch of training in which the learning rate
    rises from `min_lr` to `max_lr`. The good range is read off its loss curve, the learning-rate hyperparameter is
    narrowed to it inside the bounds that the user declared, and from then on every call goes to the wrapped
    oracle, which never hears of the sweep: its trials, their numbers, its seeds and `max_trials` are its own. Where a
    sweep fails or shows no range, the declared space stays as it is and a warning says why.

    ```python
    tuner = lrtuner.Tuner(
        oracle=lrtuner.LRRangeOracle(kt.oracles.BayesianOptimizationOracle("val_loss", max_trials=20)),
        hypermodel=build_model,
    )
    ```

    Attributes and methods that are not listed here are the wrapped oracle's, `trials` and `get_best_trials` among
    them.

    Args:
        oracle: The `keras_tuner.Oracle` that runs the search. Without one, `objective`, `max_trials`, `seed` and
            the other arguments of `keras_tuner.oracles.RandomSearchOracle` make one.
        learning_rate: String, the learning-rate hyperparameter's name. By default it is found: `learning_rate`,
            `lr`, or a name that ends so.
        min_lr: Float, the first rate of the sweep.
        max_lr: Float, the last rate of the sweep.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300.
        rule: How the range is read off the curve, see `suggest_range`.
        **kwargs: Arguments of the `RandomSearchOracle` where `oracle` is left out.

    Attributes:
        oracle: The wrapped oracle.
        sweeps: List of `Sweep`, finished ones only.
        lr_range: The `LRRange` that the sweep found, or `None`.

    Raises:
        TypeError: Where `oracle` is not an oracle, or keyword arguments come beside one.
        ValueError: Where the bounds or the number of steps make no sense.
    """

    # What belongs to the wrapper; every other attribute is read from and written to the wrapped oracle.
    _OWN = frozenset(
        {"oracle", "learning_rate", "rule", "_settings", "_lock", "_sweeps", "_trial", "_runs", "_worker", "_waiting"}
        | {"_decided", "_has_runner", "_restored"}
    )

    def __init__(
        self,
        oracle: kt.Oracle | None = None,
        *,
        learning_rate: str | None = None,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int | None = None,
        rule: str | Callable[[LRCurve], Any] = "d90",
        **kwargs: Any,
    ) -> None:
        # The base class is not initialised: all of its state is the wrapped oracle's.
        if oracle is None:
            oracle = kt.oracles.RandomSearchOracle(**kwargs)
        elif not isinstance(oracle, kt.Oracle):
            raise TypeError(
                f"Expected a keras_tuner.Oracle to hand off to, received {oracle!r} of type {type(oracle).__name__}. "
                "For a random search write LRRangeOracle(objective=..., max_trials=...)."
            )
        elif kwargs:
            raise TypeError(
                f"The arguments {sorted(kwargs)} belong to the wrapped oracle: give them to "
                f"{type(oracle).__name__}(...)."
            )
        elif isinstance(oracle, LRRangeOracle):
            raise TypeError("The oracle is an LRRangeOracle already: wrap the search's own oracle once.")
        check_settings(min_lr, max_lr, steps)
        self.oracle = oracle
        self.learning_rate = learning_rate
        self.rule = rule
        self._settings = {"min_lr": float(min_lr), "max_lr": float(max_lr), "steps": steps}
        self._lock = threading.RLock()
        self._sweeps: list[Sweep] = []
        # The sweep's trial while it is due, running or to be repeated; how often it ran; which tuner has it.
        self._trial: kt.engine.trial.Trial | None = None
        self._runs = 0
        self._worker: str | None = None
        # Tuners that wait for the sweep: a chief must not shut down while there are any.
        self._waiting: set[str] = set()
        self._decided = False
        self._has_runner = False
        self._restored = False

    def __getattr__(self, name: str) -> Any:
        if name in LRRangeOracle._OWN:
            # Not set yet, as while being copied: looking it up in the wrapped oracle would never end.
            raise AttributeError(name)
        return getattr(self.oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LRRangeOracle._OWN:
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
            raise RuntimeError("No sweep has finished yet: call plot_sweeps after tuner.search(...) has begun.")
        return plot_sweeps(self._sweeps, trials=self._scored_rates(), objective=self.objective.name, ax=ax)

    def _scored_rates(self) -> list[tuple[float, float]]:
        name = self._learning_rate_name()
        return [
            (float(trial.hyperparameters.values[name]), float(trial.score))
            for trial in self.oracle.trials.values()
            if trial.score is not None and name in trial.hyperparameters.values
        ]

    def _learning_rate_name(self) -> str | None:
        try:
            return find_learning_rate(self.oracle.hyperparameters, self.learning_rate)
        except ValueError:
            return None

    # --- What a tuner calls ---------------------------------------------------------------------------------

    def _set_project_dir(self, directory: Any, project_name: str) -> None:
        self.oracle._set_project_dir(directory, project_name)
        _check_writable(directory, project_name)

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
            A `Trial`. While another tuner runs the sweep its status is "IDLE", which makes the tuner ask again.
        """
        with self._lock:
            if not self._decided:
                self._prepare()
            if not self._decided:
                self._waiting.add(tuner_id)
                if self._worker in (None, tuner_id):
                    self._worker = tuner_id
                    return self._trial
                return _idle_trial()
            self._waiting.discard(tuner_id)
        return self.oracle.create_trial(tuner_id)

    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Any:
        """Records a trial's metrics; a sweep has none."""
        if self._is_sweep(trial_id):
            return self._trial
        return self.oracle.update_trial(trial_id, metrics, step=step)

    def end_trial(self, *args: Any, **kwargs: Any) -> None:
        """Ends a trial of the wrapped oracle, or a sweep: reads its range and narrows the space."""
        trial = args[0] if args else kwargs.get("trial")
        if self._is_sweep(getattr(trial, "trial_id", None)):
            with self._lock:
                self._end_sweep(trial)
        else:
            self.oracle.end_trial(*args, **kwargs)

    def get_trial(self, trial_id: str) -> Any:
        """Returns the trial, or the running sweep, of that id."""
        return self._trial if self._is_sweep(trial_id) else self.oracle.get_trial(trial_id)

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
        running = {} if self._worker is None else {self._worker: self._trial}
        return {**self.oracle.ongoing_trials, **running}

    @property
    def tuner_ids(self) -> set[str]:
        """The tuners at work, those that wait for the sweep included."""
        return self.oracle.tuner_ids | self._waiting  # type: ignore[no-any-return]

    # --- State ----------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Returns the wrapped oracle's state; the sweeps are in a file of their own."""
        return self.oracle.get_state()  # type: ignore[no-any-return]

    def set_state(self, state: dict[str, Any]) -> None:
        """Sets the wrapped oracle's state."""
        self.oracle.set_state(state)

    def save(self) -> None:
        """Saves the wrapped oracle and the sweeps in the project directory."""
        self.oracle.save()
        self._save_sweeps()

    def reload(self) -> None:
        """Loads the wrapped oracle and the sweeps from the project directory."""
        self.oracle.reload()
        self._restore()

    def _state_path(self) -> Path:
        return Path(self.oracle._project_dir, STATE_FILE)

    def _save_sweeps(self) -> None:
        state = {
            "version": STATE_VERSION,
            "decided": self._decided,
            "has_runner": self._has_runner,
            "settings": self._settings,
            "sweeps": [sweep.to_config() for sweep in self._sweeps],
        }
        write_atomically(self._state_path(), json.dumps(state, allow_nan=False).encode())

    def _restore(self) -> None:
        self._restored = True
        path = self._state_path()
        if not path.exists():
            return
        state = json.loads(path.read_text())
        self._sweeps = [Sweep.from_config(config) for config in state["sweeps"]]
        self._decided = state["decided"]
        self._has_runner = self._has_runner or state["has_runner"]

    # --- The sweep ------------------------------------------------------------------------------------------

    def _is_sweep(self, trial_id: str | None) -> bool:
        return self._trial is not None and self._trial.trial_id == trial_id

    def _prepare(self) -> None:
        """Makes the sweep's trial, or decides that there will be none."""
        if not self._restored:
            self._restore()
        if self._decided or self._trial is not None:
            return
        if self.oracle.trials:
            self.skip_sweeps(
                "this search was begun without lrtuner, and narrowing its space now would upset it: "
                "it goes on as it began. For a narrowed search choose a new project_name"
            )
            return
        if not self._has_runner:
            raise ValueError(_NO_RUNNER)
        hyperparameters, name = self._sweep_hyperparameters()
        hyperparameters.values[SETTINGS_KEY] = json.dumps({**self._settings, "learning_rate": name})
        self._trial = kt.engine.trial.Trial(hyperparameters, trial_id="lr_sweep", status="RUNNING")

    def _sweep_hyperparameters(self) -> tuple[kt.HyperParameters, str | None]:
        """Returns the values to sweep at and the learning rate's name, which `HyperModel.fit` may yet declare."""
        try:
            name = find_learning_rate(self.oracle.hyperparameters, self.learning_rate)
        except LearningRateNotFoundError:
            # Unless the hypermodel declares it while it trains, whoever runs the sweep will say so.
            name = None
        hyperparameters = kt.HyperParameters()
        for hp in self.oracle.hyperparameters.space:
            hyperparameters.merge([hp])
            if hp.name == name and hyperparameters.is_active(hp):
                # A value that no model has by chance shows whether the model uses it.
                hyperparameters.values[name] = next(
                    (value for value in map(hp.prob_to_value, (0.45, 0.95)) if value != hp.default), hp.default
                )
        return hyperparameters, name

    def _end_sweep(self, trial: Any) -> None:
        self._worker = None
        self._runs += 1
        values = trial.hyperparameters.values
        error = values.pop(ERROR_KEY, None) or (trial.message or "").strip().rpartition("\n")[2]
        if trial.status == "INVALID" and self._runs <= self.oracle.max_retries_per_trial:
            print(f"The learning-rate sweep failed and is run again: {error}")
            return
        report = values.pop(REPORT_KEY, None)
        for key in _RESERVED:
            values.pop(key, None)
        sweep = Sweep(name="learning-rate sweep", hyperparameters=trial.hyperparameters)
        # What the training code declared first is part of the search from here on.
        self.oracle.update_space(trial.hyperparameters)
        if report is not None:
            self._read_range(sweep, SweepReport.from_config(json.loads(report)))
        else:
            sweep.reason = error or (
                "the tuner ended the sweep's trial without training through HyperModel.fit and model.fit"
            )
        self._conclude(sweep)

    def _read_range(self, sweep: Sweep, report: SweepReport) -> None:
        sweep.curve = report.curve
        try:
            sweep.lr_range = suggest_range(
                report.curve,
                rule=self.rule,
                train_steps=report.train_steps,
                optimizer=report.optimizer,
                batch_size=report.batch_size,
            )
        except NoRangeError as error:
            sweep.reason = str(error)

    def skip_sweeps(self, reason: str) -> None:
        """Goes on in the declared space, without a sweep.

        Args:
            reason: Why, for the warning.
        """
        warnings.warn(f"No learning-rate sweep: {reason}.", stacklevel=2)
        self._decided = True

    def _conclude(self, sweep: Sweep) -> None:
        """Narrows the space where there is a range, tells the user and keeps everything."""
        name = self._learning_rate_name() if sweep.lr_range is None else find_learning_rate(
            self.oracle.hyperparameters, self.learning_rate
        )
        if sweep.lr_range is not None:
            narrowing = narrow(self.oracle.hyperparameters, name, sweep.lr_range)
            sweep.declared = narrowing.declared
            sweep.outcome = str(narrowing)
            if narrowing.clipped:
                warnings.warn(narrowing.note, stacklevel=4)
        self._trial = None
        self._decided = True
        self._sweeps.append(sweep)
        self.save()
        picture = self._save_picture()
        if sweep.lr_range is None:
            warnings.warn(
                f"The learning-rate sweep found no range, so the search goes on in the declared space: {sweep.reason}",
                stacklevel=4,
            )
        elif self.verbose:
            assert sweep.curve is not None
            print(f"{sweep.outcome}, from a sweep of {len(sweep.curve)} batches. Picture: {picture}")

    def _save_picture(self) -> str:
        from lrtuner.plot import plot_sweeps, save_picture

        path = Path(self.oracle._project_dir, PICTURE_FILE)
        try:
            save_picture(path, lambda ax: plot_sweeps(self._sweeps, ax=ax))
        except Exception as error:
            # Whatever keeps matplotlib from drawing, the search needs no picture.
            warnings.warn(f"The sweep's picture could not be drawn: {error!r}", stacklevel=5)
            return "none"
        return str(path)


_NO_RUNNER = (
    "This tuner does not run the learning-rate sweep that LRRangeOracle asks for. Either use lrtuner.Tuner (or "
    "lrtuner.RandomSearch, BayesianOptimization, Hyperband, GridSearch) in place of KerasTuner's, or wrap the "
    "hypermodel: hypermodel=lrtuner.LRRangeHyperModel(build_model)."
)


def _idle_trial() -> Any:
    return kt.engine.trial.Trial(kt.HyperParameters(), trial_id="lr_sweep_wait", status="IDLE")


def _check_writable(directory: Any, project_name: str) -> None:
    """Raises before any training where the project directory can't be written."""
    path = Path(str(directory), project_name)
    if "://" in str(directory):
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(
            f"The project directory {str(path)!r} can't be written ({error}): pass another `directory` to the tuner."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves the old or the new one, never a half."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
