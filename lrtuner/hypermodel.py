"""The hypermodel that makes any tuner run the sweeps of an `LRRangeOracle`."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from lrtuner.generators import SharedGenerators
from lrtuner.probing import RateProbe
from lrtuner.protocol import (
    SweepAnswer,
    SweepTask,
    announce_runner,
    is_own_trial,
    is_swept,
    register_runner,
    reserved_values,
)
from lrtuner.settings import default_values, sweep_label
from lrtuner.space import IDENTITY, LearningRateError, LearningRateNotFoundError, find_learning_rate
from lrtuner.sweep import (
    NoSweepError,
    SweepOrder,
    UnusableModelError,
    preserved_random_state,
    sweep_in_training,
)
from lrtuner.warn import warn


class LRRangeHyperModel(kt.HyperModel):  # type: ignore[misc]  # KerasTuner is untyped
    """Makes a tuner that trains through `HyperModel.fit` run the sweeps of an `LRRangeOracle`.

    Ordinary trials go straight to the wrapped hypermodel. lrtuner's own tuners wrap theirs by themselves.

    ```python
    tuner = kt.Tuner(
        oracle=lrtuner.LRRangeOracle(objective="val_loss", max_trials=20),
        hypermodel=lrtuner.LRRangeHyperModel(build_model),
    )
    ```

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a
            compiled model.

    Attributes:
        hypermodel: The wrapped one. Attributes that are not found here are looked up there.

    Raises:
        TypeError: The hypermodel is wrapped already.
        ValueError: `hypermodel` is neither a hypermodel nor a function.
    """

    def __init__(self, hypermodel: Any) -> None:
        if isinstance(hypermodel, LRRangeHyperModel):
            raise TypeError("The hypermodel is an LRRangeHyperModel already: wrap it once.")
        if not isinstance(hypermodel, kt.HyperModel):
            if not callable(hypermodel):
                # The class that KerasTuner raises, and the words that its message begins with.
                raise kt.errors.FatalValueError(
                    "The `hypermodel` argument should be either a keras_tuner.HyperModel or a function that "
                    "takes hyperparameters and returns a compiled model, got "
                    f"{hypermodel!r} of type {type(hypermodel).__name__}."
                )
            build, hypermodel = hypermodel, kt.HyperModel()
            hypermodel.build = build
        self.hypermodel = hypermodel
        # Generators are shared between a sweep and the first trial.
        self._generators = SharedGenerators()
        # Called during a sweep; raises if the search has ended elsewhere. A worker's tuner sets it.
        self.check_search: Callable[[], None] | None = None
        # A HyperModel of the user's may not have called its base, and KerasTuner runs it all the same.
        super().__init__(name=getattr(hypermodel, "name", None))
        register_runner(self)

    def __getattr__(self, name: str) -> Any:
        if name == "hypermodel":
            # Not set yet, as while being copied.
            raise AttributeError(name)
        return getattr(self.hypermodel, name)

    def declare_hyperparameters(self, hp: kt.HyperParameters) -> None:
        """Let the wrapped hypermodel declare, and tell the oracle that its sweeps will be run."""
        announce_runner(hp)
        self.hypermodel.declare_hyperparameters(hp)

    def build(self, hp: kt.HyperParameters) -> Any:
        """Build the wrapped hypermodel's model."""
        task = SweepTask.of(hp)
        if task is None:
            return self.hypermodel.build(hp)
        try:
            with preserved_random_state():
                return self._build_for_sweep(hp, task)
        except Exception as error:
            SweepAnswer(error=_error_text(error)).write_to(hp)
            raise

    def _build_for_sweep(self, hp: kt.HyperParameters, task: SweepTask) -> Any:
        """Build at the given values, or where that fails at the defaults, as for too large a model."""
        try:
            return self.hypermodel.build(hp)
        except kt.errors.FatalError:
            raise
        except Exception as error:
            values = _default_values(hp, task)
            if values == hp.values:
                raise
            hp.values = values
            model = self.hypermodel.build(hp)
            warn(
                f"No model could be built in the middle of the search space ({_error_text(error)}). For the "
                "learning-rate sweep, the other hyperparameters were held at their defaults."
            )
            return model

    def fit(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as the wrapped hypermodel does, or sweep if the trial is a sweep.

        Returns:
            What the wrapped hypermodel's `fit` returns. For a sweep, something that KerasTuner accepts as a
            result: a `History` of zeros, or 0.0.

        Raises:
            keras_tuner.errors.FatalValueError: No trial could train this model, or the learning rate that the
                user named is not found.
        """
        task = SweepTask.of(hp)
        if task is None:
            args, kwargs = self._generators.for_training(args), self._generators.for_training(kwargs)
            return self.hypermodel.fit(hp, model, *args, **kwargs)
        _remove_tensorboard_directories(kwargs.get("callbacks"))
        # A tuner with executions_per_trial > 1 comes here several times for one sweep.
        if not is_swept(hp):
            try:
                with preserved_random_state():
                    answer = self._sweep(hp, model, task, args, kwargs)
            except (UnusableModelError, LearningRateNotFoundError) as error:
                # No trial would do better: end the search here, before time is lost.
                raise kt.errors.FatalValueError(str(error)) from error
            except (NoSweepError, LearningRateError) as error:
                # The trials may do well all the same, and another sweep would end like this one.
                answer = SweepAnswer(error=str(error))
            except Exception as error:
                SweepAnswer(error=_error_text(error)).write_to(hp)
                raise
            answer.write_to(hp)
        return _no_results(task.objective_is_named)

    def _sweep(
        self, hp: kt.HyperParameters, model: Any, task: SweepTask, args: Any, kwargs: Any
    ) -> SweepAnswer:
        args, kwargs = self._generators.for_sweep(args), self._generators.for_sweep(kwargs)

        def train(hyperparameters: kt.HyperParameters) -> Any:
            return self.hypermodel.fit(hyperparameters, model, *args, **kwargs)

        return _SweepRun(task, hp, RateProbe(self.hypermodel, hp, model), self.check_search).run(model, train)


class _SweepRun:
    """One sweep, from its order to its answer.

    Args:
        task: The order.
        hyperparameters: The values to sweep at.
        probe: Builds models at other values.
        check_search: Called now and then; raises if the search has ended elsewhere.
    """

    def __init__(
        self,
        task: SweepTask,
        hyperparameters: kt.HyperParameters,
        probe: RateProbe,
        check_search: Callable[[], None] | None,
    ) -> None:
        self._task = task
        self._hyperparameters = hyperparameters
        self._probe = probe
        self._check_search = check_search
        # Found when the training begins.
        self._learning_rate: str | None = None
        self._settings = task.settings
        self._relation = IDENTITY

    def run(self, model: Any, train: Callable[[kt.HyperParameters], Any]) -> SweepAnswer:
        """Sweep in the middle of a training.

        Args:
            model: The model that is trained.
            train: Trains it with the hyperparameters that it is given, through `model.fit`.
        """
        report = sweep_in_training(
            model,
            lambda: train(self._hyperparameters),
            on_start=self._begin,
            min_lr=self._task.min_lr,
            max_lr=self._task.max_lr,
            steps=self._task.steps,
        )
        settings = self._settings
        assert settings is not None
        if self._task.scales:
            batch_size = report.curve.training.batch_size if report.curve.training else None
            name = self._probe.batch_size_name(batch_size, train)
            settings = dataclasses.replace(settings, batch_size=name)
        return SweepAnswer(
            report=report, relation=self._relation, settings=settings, learning_rate=self._learning_rate
        )

    def _begin(self) -> SweepOrder:
        """Look at the model when `model.fit` is called: until then, training code may declare and compile."""
        task, hyperparameters = self._task, self._hyperparameters
        name = find_learning_rate(hyperparameters, _first_registered(hyperparameters, task))
        if task.is_first or self._settings is None:
            self._settings, own = self._probe.settings(
                task.learning_rates or (name,),
                names=None if self._settings is None else self._settings.names,
                others_count=task.others_count,
            )
            if name not in own and len(own) == 1 and (task.others_count or own <= set(task.learning_rates)):
                # In the middle of the space, the build function takes another branch than at the defaults.
                (name,) = own
        self._learning_rate = name
        optimizer = None
        if task.learning_rates:
            optimizer, self._relation = self._probe.followed_optimizer(name)
        else:
            self._relation = self._probe.relation(name)
        names = task.learning_rates or self._settings.learning_rates or (name,)
        sweeps = max(sum(len(self._settings.settings(hyperparameters, each)) for each in names), 1)
        return SweepOrder(optimizer, task.epochs, sweeps, self._title(name, sweeps), self._check_search)

    def _title(self, name: str, sweeps: int) -> str:
        if sweeps == 1:
            return "Learning-rate sweep"
        assert self._settings is not None
        setting = self._settings.setting_of(self._hyperparameters.values)
        several = len(self._task.learning_rates) > 1 or self._settings.learning_rates
        label = sweep_label(name if several else None, setting)
        title = f"Learning-rate sweep {self._task.number} of {sweeps}"
        return f"{title} ({label})" if label else title


def _first_registered(hp: kt.HyperParameters, task: SweepTask) -> str | None:
    """Return the learning rate to sweep, or where it is not registered the first of the others that is."""
    registered = {entry.name for entry in hp.space}
    names = (task.learning_rate, *task.learning_rates)
    return next((name for name in names if name in registered), task.learning_rate)


def _default_values(hp: kt.HyperParameters, task: SweepTask) -> dict[str, Any]:
    """Return the values of a sweep with all at the default but its learning rates and its setting."""
    names = list(task.learning_rates)
    with contextlib.suppress(LearningRateError):
        names.append(find_learning_rate(hp, task.learning_rate))
    kept = names if task.settings is None else [*names, *task.settings.names]
    fixed = {name: hp.values[name] for name in kept if name in hp.values}
    return {**default_values(hp, fixed, names).values, **reserved_values(hp)}


def _no_results(objective_is_named: bool) -> Any:
    if not objective_is_named:
        return 0.0
    history = keras.callbacks.History()
    # Training code of the user's own looks up what it likes.
    history.history = collections.defaultdict(lambda: [0.0])
    return history


def _remove_tensorboard_directories(callbacks: Any) -> None:
    """Remove what KerasTuner has made for a TensorBoard callback, which no sweep calls."""
    for callback in callbacks or ():
        # It gives each trial a directory of its own below the user's.
        directory = Path(str(getattr(callback, "log_dir", ""))).parent
        if is_own_trial(directory.name):
            shutil.rmtree(directory, ignore_errors=True)


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
