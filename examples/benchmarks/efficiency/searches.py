"""Real searches with KerasTuner's oracles, with lrtuner, and with Optuna."""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner as kt
from bench.losses import as_compiled
from bench.records import Loss, finite
from bench.task import Optimizer

import lrtuner
from efficiency import grids
from efficiency.arms import ARMS, TRIALS, Bounds
from efficiency.tasks import (
    BATCH,
    DROPOUT,
    EPOCHS,
    OPTIMIZERS,
    TASKS,
    UNITS,
    Architecture,
    batches_per_epoch,
    data_of,
)
from efficiency.trainings import validation_losses

# Half of the trials. With its default, three times the hyperparameters, so short a Bayesian search would be a
# random one.
RANDOM_FIRST = 6
# Seeds of searches lie far apart: KerasTuner counts a seed up by one for each draw.
SEED_STEP = 1000
# Of the trainings in the first search; no calibration task was trained from these.
FIRST_TRAINING_SEED = 500


@dataclass(frozen=True)
class MeasuredSearch:
    """One search as it is kept in a file.

    Attributes:
        task: Name of the task.
        oracle: A key of `ORACLES`, or "tpe".
        arm: A key of `ARMS`.
        seed: Number of the search.
        spent: Batches up to the end of each trial, those of the sweeps before it included.
        scores: Score of each trial; `None` where it failed.
        values: Learning rate, optimizer and architecture of each trial.
        sweeps: What each sweep read.
        died: Whether KerasTuner ended the search since three trials in a row had failed.
        seconds: What the search took of the processor.
        sweep_seconds: What its sweeps took, with building and tracing their models.
    """

    task: str
    oracle: str
    arm: str
    seed: int
    spent: list[int]
    scores: list[Loss]
    values: list[list[Any]]
    sweeps: list[dict[str, Any]]
    died: bool
    seconds: float
    sweep_seconds: float


class Space(kt.HyperModel):
    """The space of a search as a user would declare it.

    Args:
        name: The task.
        bounds: The range of the learning rate for each optimizer.
    """

    def __init__(self, name: str, bounds: dict[str, Bounds]) -> None:
        super().__init__()
        self.task, self.bounds = TASKS[name], bounds

    def declare(self, hp: Any) -> tuple[Architecture, str, float]:
        """Declare the hyperparameters; return architecture, optimizer and learning rate."""
        if len(self.bounds) > 1:
            optimizer = hp.Choice("optimizer", list(self.bounds))
        else:
            (optimizer,) = self.bounds
        architecture = Architecture(
            hp.Choice("units", list(UNITS)), hp.Choice("dropout", list(DROPOUT)), hp.Boolean("batch_norm")
        )
        low, high = self.bounds[optimizer]
        if len(set(self.bounds.values())) == 1:
            rate = hp.Float("learning_rate", low, high, sampling="log")
        else:
            # Ranges that differ by optimizer: a place in the range keeps the proposals paired.
            rate = low * (high / low) ** hp.Float("place", 0.0, 1.0)
        return architecture, optimizer, rate

    def build(self, hp: Any) -> Any:
        """Build and compile a model."""
        architecture, optimizer, rate = self.declare(hp)
        kind: Optimizer = OPTIMIZERS[optimizer]
        model = self.task.model(architecture)
        model.compile(
            getattr(keras.optimizers, kind.name)(rate, **kind.arguments), loss=as_compiled(self.task.loss)
        )
        return model


class _SharedTrainings:
    """Runs the trials of a tuner on the shared models. Its sweeps are real ones, with models of their own."""

    def prepare(self, name: str, seed: int) -> None:
        """Say what is searched, and where trainings begin."""
        self.name, self.training_seed = name, FIRST_TRAINING_SEED + seed
        self.spent: list[int] = []
        self.scores: list[Loss] = []
        self.values: list[list[Any]] = []
        self.trained, self.sweep_seconds = 0, 0.0

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as the trial says; a promoted trial of Hyperband goes on where it stood."""
        if trial.trial_id not in self.oracle.trials:
            return self._run_sweep(trial, *args, **kwargs)
        hp = trial.hyperparameters
        epochs, done = hp.values.get("tuner/epochs", EPOCHS), hp.values.get("tuner/initial_epoch", 0)
        architecture, optimizer, rate = self.hypermodel.declare(hp)
        losses = validation_losses(self.name, architecture, optimizer, rate, self.training_seed, epochs)
        losses = losses[done:]
        history = keras.callbacks.History()
        history.history = {"val_loss": list(losses)}
        self.trained += (epochs - done) * batches_per_epoch(self.name)
        swept = sum(len(s.curve) for s in getattr(self.oracle, "sweeps", ()) if s.curve is not None)
        self.spent.append(self.trained + swept)
        # KerasTuner's own: a training that is NaN after its first epoch has failed.
        self.scores += finite([math.nan if math.isnan(losses[0]) else min(x for x in losses if x == x)])
        self.values.append([rate, optimizer, *architecture])
        return history

    def _run_sweep(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        keras.utils.set_random_seed(self.training_seed)
        begun = time.process_time()
        try:
            return super().run_trial(trial, *args, **kwargs)
        finally:
            self.sweep_seconds += time.process_time() - begun


class PlainTuner(_SharedTrainings, kt.Tuner):
    """KerasTuner's own."""


class SweepingTuner(_SharedTrainings, lrtuner.Tuner):
    """lrtuner's."""


def _random(seed: int) -> Any:
    return kt.oracles.RandomSearchOracle("val_loss", max_trials=TRIALS, seed=seed)


def _bayesian(seed: int) -> Any:
    return kt.oracles.BayesianOptimizationOracle(
        "val_loss", max_trials=TRIALS, num_initial_points=RANDOM_FIRST, seed=seed
    )


def _hyperband(seed: int) -> Any:
    # Two times 36 epochs, as many as those of 12 trials.
    return kt.oracles.HyperbandOracle("val_loss", max_epochs=EPOCHS, hyperband_iterations=2, seed=seed)


ORACLES = {"random": _random, "bayesian": _bayesian, "hyperband": _hyperband}


def measure(folder: pathlib.Path, name: str, oracle: str, arm: str, seed: int) -> MeasuredSearch:
    """Search a task; `folder` has the grids."""
    bounds = {o: ARMS[arm].bounds(name, o, grids.load(folder)) for o in TASKS[name].optimizers}
    if ARMS[arm].is_tpe:
        return _search_with_optuna(name, arm, seed, bounds)
    with (
        tempfile.TemporaryDirectory() as directory,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        return _search(directory, name, oracle, arm, seed, bounds)


def _search(
    directory: str, name: str, oracle: str, arm: str, seed: int, bounds: dict[str, Bounds]
) -> MeasuredSearch:
    data = data_of(name)
    searching = ORACLES[oracle](SEED_STEP * (seed + 1))
    begun = time.process_time()
    common = {"hypermodel": Space(name, bounds), "directory": directory}
    if ARMS[arm].is_swept:
        tuner = SweepingTuner(oracle=lrtuner.LRRangeOracle(searching), **common)
    else:
        tuner = PlainTuner(oracle=searching, **common)
    tuner.prepare(name, seed)
    died = False
    try:
        tuner.search(
            data.x,
            data.y,
            batch_size=BATCH,
            epochs=EPOCHS,
            validation_data=(data.x_val, data.y_val),
            verbose=0,
        )
    except RuntimeError as error:
        if "consecutive failures" not in str(error):
            raise
        died = True
    return MeasuredSearch(
        name,
        oracle,
        arm,
        seed,
        tuner.spent,
        tuner.scores,
        tuner.values,
        [_of_sweep(s) for s in getattr(tuner.oracle, "sweeps", ())],
        died,
        time.process_time() - begun,
        tuner.sweep_seconds,
    )


def _of_sweep(sweep: Any) -> dict[str, Any]:
    """Return what a sweep read, and its curve."""
    found, curve = sweep.lr_range, sweep.curve
    return {
        "setting": sweep.setting,
        "range": found and [found.min_lr, found.max_lr],
        "evidence": found and str(found.evidence),
        "reason": sweep.reason,
        "rates": [] if curve is None else curve.learning_rates.tolist(),
        "losses": [] if curve is None else finite(curve.losses),
        "updates": [] if curve is None or curve.updates is None else finite(curve.updates),
    }


def _search_with_optuna(name: str, arm: str, seed: int, bounds: dict[str, Bounds]) -> MeasuredSearch:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    begun = time.process_time()
    scores: list[Loss] = []
    values: list[list[Any]] = []

    def objective(trial: Any) -> float:
        architecture = Architecture(
            trial.suggest_categorical("units", UNITS),
            trial.suggest_categorical("dropout", DROPOUT),
            trial.suggest_categorical("batch_norm", (False, True)),
        )
        optimizer = trial.suggest_categorical("optimizer", tuple(bounds))
        rate = trial.suggest_float("learning_rate", *bounds[optimizer], log=True)
        losses = validation_losses(name, architecture, optimizer, rate, FIRST_TRAINING_SEED + seed, EPOCHS)
        score = math.nan if math.isnan(losses[0]) else min(x for x in losses if x == x)
        scores.extend(finite([score]))
        values.append([rate, optimizer, *architecture])
        return score

    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_FIRST, seed=SEED_STEP * (seed + 1))
    optuna.create_study(sampler=sampler).optimize(objective, TRIALS)
    trial = EPOCHS * batches_per_epoch(name)
    spent = [trial * (i + 1) for i in range(TRIALS)]
    return MeasuredSearch(
        name, "tpe", arm, seed, spent, scores, values, [], False, time.process_time() - begun, 0.0
    )
