"""The tuners that run the sweeps of an `LRRangeOracle`, and the hypermodel that makes any tuner run them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import json
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.generators import SharedGenerators
from lrtuner.oracle import (
    ERROR_KEY,
    FATAL_KEY,
    NEWS_PREFIX,
    REPORT_KEY,
    RUNS_SWEEPS_KEY,
    SETTINGS_KEY,
    LRRangeOracle,
    is_own_trial,
    runners,
)
from lrtuner.settings import UNKNOWN, SettingSpace, defaults, described, find_settings
from lrtuner.space import (
    LearningRateError,
    LearningRateNotFoundError,
    NothingToNarrowError,
    Relation,
    bounds,
    find_learning_rate,
    spread_values,
)
from lrtuner.state import is_json, write_atomically
from lrtuner.sweep import (
    NoSweepError,
    SweepOrder,
    UnusableModelError,
    batch_size_of,
    compiled_with,
    optimizers_of,
    own_optimizer,
    peak_rate,
    preserved_random_state,
    sweep_in_training,
)

_SWEEP_ARGUMENTS = (
    "learning_rate",
    "min_lr",
    "max_lr",
    "steps",
    "rule",
    "sweep_per",
    "batch_size_scaling",
    "lease",
)


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
        TypeError: Where it is wrapped already.
        ValueError: Where it is neither.
    """

    def __init__(self, hypermodel: Any) -> None:
        if isinstance(hypermodel, LRRangeHyperModel):
            raise TypeError("The hypermodel is an LRRangeHyperModel already: wrap it once.")
        if not isinstance(hypermodel, kt.HyperModel):
            if not callable(hypermodel):
                # What KerasTuner raises, and begins with what it says.
                raise kt.errors.FatalValueError(
                    "The `hypermodel` argument should be either a keras_tuner.HyperModel or a function that "
                    "takes hyperparameters and returns a compiled model, received "
                    f"{hypermodel!r} of type {type(hypermodel).__name__}."
                )
            build, hypermodel = hypermodel, kt.HyperModel()
            hypermodel.build = build
        self.hypermodel = hypermodel
        # Generators are shared between a sweep and the first trial.
        self._generators = SharedGenerators()
        # A HyperModel of the user's may not have called its base, and KerasTuner runs it all the same.
        super().__init__(name=getattr(hypermodel, "name", None))
        runners.add(self)

    def __getattr__(self, name: str) -> Any:
        if name == "hypermodel":
            # Not set yet, as while being copied.
            raise AttributeError(name)
        return getattr(self.hypermodel, name)

    def declare_hyperparameters(self, hp: kt.HyperParameters) -> None:
        """Lets the wrapped hypermodel declare, and tells the oracle that its sweeps will be run."""
        hp.values[RUNS_SWEEPS_KEY] = True
        self.hypermodel.declare_hyperparameters(hp)

    def build(self, hp: kt.HyperParameters) -> Any:
        """Builds the wrapped hypermodel's model."""
        if SETTINGS_KEY not in hp.values:
            return self.hypermodel.build(hp)
        try:
            with preserved_random_state():
                return self._build_for_sweep(hp)
        except Exception as error:
            hp.values[ERROR_KEY] = _describe(error)
            raise

    def _build_for_sweep(self, hp: kt.HyperParameters) -> Any:
        """Builds at the given values, or where that fails at the defaults, as for too large a model."""
        try:
            return self.hypermodel.build(hp)
        except kt.errors.FatalError:
            raise
        except Exception as error:
            values = _default_values(hp)
            if values == hp.values:
                raise
            hp.values = values
            model = self.hypermodel.build(hp)
            warnings.warn(
                f"No model could be built in the middle of the search space ({_describe(error)}): the other "
                "hyperparameters of the learning-rate sweep stand at their defaults.",
                stacklevel=2,
            )
            return model

    def fit(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains as the wrapped hypermodel does, or sweeps where the trial is a sweep.

        Returns:
            What the wrapped hypermodel's `fit` returns. Of a sweep something that KerasTuner takes for a
            result, a `History` of zeros or 0.0.
        """
        if SETTINGS_KEY not in hp.values:
            args, kwargs = self._generators.for_training(args), self._generators.for_training(kwargs)
            return self.hypermodel.fit(hp, model, *args, **kwargs)
        _remove_tensorboard_directories(kwargs.get("callbacks"))
        # A tuner with executions_per_trial > 1 comes here several times for one sweep.
        if REPORT_KEY not in hp.values:
            try:
                with preserved_random_state():
                    hp.values[REPORT_KEY] = self._sweep(hp, model, *args, **kwargs)
            except (UnusableModelError, LearningRateNotFoundError) as error:
                # No trial would do better: end the search here, before time is lost.
                raise kt.errors.FatalValueError(str(error)) from error
            except (NoSweepError, LearningRateError) as error:
                # The trials may do well all the same, and another sweep would end like this one.
                hp.values[ERROR_KEY] = str(error)
            except Exception as error:
                hp.values[ERROR_KEY] = _describe(error)
                raise
        return _no_results(json.loads(hp.values[SETTINGS_KEY])["objective_is_named"])

    def _sweep(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> str:
        """Returns the sweep's report as JSON, and with the first one the settings that were found."""
        task = json.loads(hp.values[SETTINGS_KEY])
        points: dict[float, float] = {}
        settings = None if task["settings"] is None else SettingSpace.from_config(task["settings"])
        args, kwargs = self._generators.for_sweep(args), self._generators.for_sweep(kwargs)

        def train(values: kt.HyperParameters = hp) -> Any:
            return self.hypermodel.fit(values, model, *args, **kwargs)

        def on_start() -> SweepOrder:
            nonlocal settings
            name = find_learning_rate(hp, task["learning_rate"])
            optimizer, relation = self._follow(hp, model, name)
            points.update(relation)
            names = task["learning_rates"] or [name]
            if settings is None:
                settings = find_settings(_plain(hp), names, self._compiled_with)
            sweeps = max(sum(len(settings.settings(hp, one)) for one in names), 1)
            title = "Learning-rate sweep"
            if sweeps > 1:
                title += f" {task['number']} of {sweeps}"
                setting = settings.setting_of(hp.values)
                label = described(name if len(names) > 1 else None, setting)
                title += f" ({label})" if label else ""
            return SweepOrder(optimizer, task["epochs"], sweeps, title, _check_of(kwargs.get("callbacks")))

        report = sweep_in_training(
            model,
            train,
            on_start=on_start,
            min_lr=task["min_lr"],
            max_lr=task["max_lr"],
            steps=task["steps"],
        )
        assert settings is not None
        if task["scales"]:
            training = report.curve.training
            batch_size = None if training is None else training.batch_size
            settings = dataclasses.replace(
                settings, batch_size=self._batch_size_name(hp, model, batch_size, train)
            )
        relation = {"values": list(points), "rates": list(points.values())} if points else None
        return json.dumps(
            {**report.to_config(), "relation": relation, "settings": settings.to_config()}, allow_nan=False
        )

    def _compiled_with(self, values: kt.HyperParameters) -> Any:
        try:
            return compiled_with(self.hypermodel.build(values))
        except Exception:
            # Its own sweep, or trial, will say what is wrong.
            return UNKNOWN

    def _follow(self, hp: kt.HyperParameters, model: Any, name: str) -> tuple[Any, dict[float, float]]:
        """Returns the optimizer whose rate follows a hyperparameter, and its rates at some values.

        The optimizer is None for the model's own, and there are no rates where the values are the rates.

        Raises:
            LearningRateError: Where no rate follows the hyperparameter.
        """
        own, several = own_optimizer(model), optimizers_of(model)
        if several == [own] or not json.loads(hp.values[SETTINGS_KEY])["learning_rates"]:
            return None, self._points(hp, model, name)
        for optimizer in several:
            if _same_rate(peak_rate(optimizer), float(hp.values[name])):
                return optimizer, {}
        for index, optimizer in enumerate(several):
            with contextlib.suppress(LearningRateError):
                points = {
                    one: peak_rate(optimizers_of(self._build_at(hp, name, one))[index])
                    for one in spread_values(hp, name)
                }
                Relation(tuple(points), tuple(points.values()))
                return optimizer, points
        raise LearningRateError(
            f"none of the model's {len(several)} optimizers has a rate that follows {name!r}: pass it to one"
        )

    def _points(self, hp: kt.HyperParameters, model: Any, name: str) -> dict[float, float]:
        """Returns the learning rates at some values, or nothing where the values are the rates.

        Raises:
            LearningRateError: Where the rate doesn't follow the hyperparameter.
        """
        value, rate = float(hp.values[name]), peak_rate(own_optimizer(model))
        if _same_rate(rate, value):
            return {}
        points = {one: self._rate_at(hp, name, one) for one in spread_values(hp, name)}
        at_value = self._rate_at(hp, name, hp.values[name])
        if not _same_rate(rate, at_value):
            raise LearningRateError(
                f"the model is built for a learning rate of {at_value:.4g} but trains at {rate:.4g}: leave "
                "the rate to build, or declare and set it in HyperModel.fit as it is"
            )
        # Raises where it can't be inverted.
        Relation(tuple(points), tuple(points.values()))
        return points

    def _rate_at(self, hp: kt.HyperParameters, name: str, value: Any) -> float:
        """Returns the learning rate of a model that is built with a value of a hyperparameter."""
        return peak_rate(own_optimizer(self._build_at(hp, name, value)))

    def _build_at(self, hp: kt.HyperParameters, name: str, value: Any) -> Any:
        hp = _plain(hp)
        hp.values[name] = value
        model = self.hypermodel.build(hp)
        if not model.compiled:
            raise LearningRateError(
                "the model is compiled in HyperModel.fit, so how its learning rate follows the "
                "hyperparameter can't be seen: compile it in build, or declare the rate itself"
            )
        return model

    def _batch_size_name(
        self, hp: kt.HyperParameters, model: Any, batch_size: int | None, train: Callable[..., Any]
    ) -> str | None:
        """Returns the hyperparameter that is the batch size of `fit` and moves no rate by itself, or None.

        Larger batches mean fewer of them in as many epochs, so the rate must grow. Measured on 108 settings:
        a range that grows with the square root of the batch size holds the good rates more often where the
        epochs are the same, and less often where the number of batches is.
        """
        for entry in hp.space:
            value = hp.values.get(entry.name)
            if not isinstance(entry, (hp_types.Choice, hp_types.Int)) or isinstance(value, bool):
                continue
            if batch_size is None or value != batch_size:
                continue
            other = next((one for one in bounds(entry) if one != batch_size), None)
            if other is None:
                continue
            changed = _plain(hp)
            changed.values[entry.name] = other
            try:
                if batch_size_of(model, functools.partial(train, changed)) != other:
                    continue
                # Compiled in fit, or scaled with the batch size by the user: lrtuner's own law would be a
                # guess, or come on top.
                rates = [
                    [peak_rate(one) for one in optimizers_of(self._build_at(hp, entry.name, size))]
                    for size in (batch_size, other)
                ]
                return entry.name if rates[0] == rates[1] else None
            except Exception:
                # What can't be tried out is not relied on.
                return None
        return None


def _plain(hp: kt.HyperParameters) -> kt.HyperParameters:
    """Returns a copy without what lrtuner keeps among the values."""
    hp = hp.copy()
    hp.values = {key: one for key, one in hp.values.items() if not key.startswith("lrtuner/")}
    return hp


def _default_values(hp: kt.HyperParameters) -> dict[str, Any]:
    """Returns the values of a sweep with all at the default but its learning rates and its setting."""
    task = json.loads(hp.values[SETTINGS_KEY])
    names = list(task["learning_rates"])
    with contextlib.suppress(LearningRateError):
        names.append(find_learning_rate(hp, task["learning_rate"]))
    kept = names if task["settings"] is None else [*names, *SettingSpace.from_config(task["settings"]).names]
    own = {key: one for key, one in hp.values.items() if key.startswith("lrtuner/")}
    fixed = {name: hp.values[name] for name in kept if name in hp.values}
    return {**defaults(hp, fixed, names).values, **own}


def _no_results(objective_is_named: bool) -> Any:
    if not objective_is_named:
        return 0.0
    history = keras.callbacks.History()
    # Training code of the user's own looks up what it likes.
    history.history = collections.defaultdict(lambda: [0.0])
    return history


def _same_rate(rate: float, other: float) -> bool:
    # The peak of a warm-up schedule is met to about a percent.
    return abs(rate - other) <= 0.02 * abs(other)


def _check_of(callbacks: Any) -> Callable[[], None] | None:
    """Returns what tells a worker that the search has ended; KerasTuner's callback knows its tuner."""
    oracles = [getattr(getattr(one, "tuner", None), "oracle", None) for one in callbacks or ()]
    return next((one.check for one in oracles if isinstance(one, _ChiefsOracle)), None)


def _remove_tensorboard_directories(callbacks: Any) -> None:
    """Removes what KerasTuner has made for a TensorBoard callback, which no sweep calls."""
    for callback in callbacks or ():
        # It gives each trial a directory of its own below the user's.
        directory = Path(str(getattr(callback, "log_dir", ""))).parent
        if is_own_trial(directory.name):
            shutil.rmtree(directory, ignore_errors=True)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class Tuner(kt.Tuner):  # type: ignore[misc]  # KerasTuner is untyped
    """A `keras_tuner.Tuner` that narrows the learning rate with a sweep before the search.

    Args:
        oracle: An `LRRangeOracle`, or any other `keras_tuner.Oracle`, which is then wrapped in one.
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a
            compiled model.
        **kwargs: Arguments of `keras_tuner.Tuner`. Besides, where the oracle is not an `LRRangeOracle`, its
            keyword arguments `learning_rate`, `min_lr`, `max_lr`, `steps`, `rule`, `sweep_per`,
            `batch_size_scaling` and `lease`.

    Raises:
        TypeError: Where the sweep's arguments come beside an `LRRangeOracle`.
        ValueError: Where the learning-rate hyperparameter can't be found in what the hypermodel declares, or
            the oracle or the hypermodel is none.
    """

    def __init__(self, oracle: kt.Oracle, hypermodel: Any = None, *args: Any, **kwargs: Any) -> None:
        sweep = {name: kwargs.pop(name) for name in _SWEEP_ARGUMENTS if name in kwargs}
        if not isinstance(oracle, kt.Oracle):
            # KerasTuner says what is wrong.
            super().__init__(oracle, hypermodel, *args, **kwargs)
        if not isinstance(oracle, LRRangeOracle):
            oracle = LRRangeOracle(oracle, **sweep)
        elif sweep:
            raise TypeError(f"Give {sorted(sweep)} to the LRRangeOracle, not to the tuner.")
        oracle.expect_sweeps()
        if hypermodel is not None and not isinstance(hypermodel, LRRangeHyperModel):
            hypermodel = LRRangeHyperModel(hypermodel)
        super().__init__(oracle, hypermodel, *args, **kwargs)
        self.oracle: Any
        if self._is_worker():
            self.oracle = _ChiefsOracle(self.oracle, self.tuner_id)
        elif hypermodel is None:
            oracle.skip_sweeps("the tuner has no hypermodel, and a sweep needs a model to train")

    def _populate_initial_space(self) -> None:
        super()._populate_initial_space()
        if self.hypermodel is None:
            return
        self._check_space(self.oracle.get_space())
        if not self._is_worker():
            # KerasTuner begins again what was cut off before its first trial; the sweep may be done.
            declared = self.oracle.get_space()
            self.oracle.restore()
            self.oracle.check_declaration(declared, may_come_late=self._declares_in_training())

    def _declares_in_training(self) -> bool:
        """Whether a `fit` or `run_trial` of the user's own may declare hyperparameters."""
        fit, run_trial = type(self.hypermodel.hypermodel).fit, type(self).run_trial
        return fit is not kt.HyperModel.fit or not run_trial.__module__.startswith("keras_tuner.")

    def _check_space(self, space: kt.HyperParameters) -> None:
        try:
            self.oracle.check_space(space)
        except NothingToNarrowError:
            # The search goes on without a sweep, and the oracle says so.
            pass
        except LearningRateNotFoundError:
            if not self._declares_in_training():
                raise

    def save(self) -> None:
        """Saves the oracle and the tuner in the project directory."""
        if not self._is_worker():
            self.oracle.save()
        if "://" in str(self.directory):
            super().save()
        else:
            # KerasTuner writes in place, and a crash meanwhile leaves a file that it can't read.
            write_atomically(self._get_tuner_fname(), json.dumps(self.get_state()))

    def reload(self) -> None:
        """Loads the oracle and the tuner from the project directory.

        Raises:
            ValueError: Where a file in it is damaged.
        """
        declared = self.oracle.get_space()
        path = self._get_tuner_fname()
        if not is_json(path) and not self.get_state():
            warnings.warn(
                f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. It held "
                "nothing: the search goes on.",
                stacklevel=3,
            )
            write_atomically(path, "{}")
        super().reload()
        if self.hypermodel is None or self._is_worker():
            return
        try:
            with preserved_random_state():
                self.hypermodel.build(declared)
        except Exception:
            # A model that can't be built is the next trial's business.
            return
        self.oracle.check_declaration(declared, may_come_late=self._declares_in_training())

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Searches, see `keras_tuner.Tuner`; the arguments are those of `model.fit`.

        Raises:
            keras_tuner.errors.FatalRuntimeError: On a worker, where an error elsewhere has ended the search.
        """
        if self._is_worker():
            with self.oracle.watched():
                super().search(*fit_args, **fit_kwargs)
            return
        super().search(*fit_args, **fit_kwargs)
        for sweep in self.oracle.sweeps:
            self.oracle.advise(sweep)

    def on_batch_end(self, trial: Any, model: Any, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends a worker's training where the search has ended with an error."""
        super().on_batch_end(trial, model, batch, logs)
        if isinstance(self.oracle, _ChiefsOracle):
            self.oracle.check()

    def on_trial_end(self, trial: Any) -> None:
        """Reports the trial's end, and why a sweep failed: gRPC drops the message of a trial."""
        if trial.message and SETTINGS_KEY in trial.hyperparameters.values:
            reason = trial.message.strip().rpartition("\n")[2]
            trial.hyperparameters.values.setdefault(ERROR_KEY, reason)
        super().on_trial_end(trial)


class _ChiefsOracle:
    """What a worker sees of the oracle: KerasTuner's client, with words for what it can't answer."""

    # Seconds between two questions to the chief whether the search goes on.
    PERIOD = 2.0

    def __init__(self, client: Any, tuner_id: str) -> None:
        vars(self).update(_client=client, _tuner_id=tuner_id, _fatal=None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            value = getattr(self._client, name)
        except AttributeError:
            if name.startswith("_"):
                raise
            raise RuntimeError(
                f"`oracle.{name}` is known to the chief alone, and this process is the worker "
                f"{self._tuner_id!r}: use the chief's tuner, when its search is over, or load the project "
                "directory in a process of its own."
            ) from None
        if callable(value):
            # Nobody answers any more once the search has ended with an error.
            self.check()
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._client, name, value)

    def create_trial(self, tuner_id: str) -> Any:
        """Asks the chief for a trial."""
        self.check()
        trial = self._client.create_trial(tuner_id)
        self._take_news(trial)
        self.check()
        return trial

    def check(self) -> None:
        """Raises where an error has ended the search."""
        if self._fatal is not None:
            raise kt.errors.FatalRuntimeError(f"The search was ended by an error: {self._fatal}")

    def _take_news(self, trial: Any) -> None:
        vars(self).update(_fatal=trial.hyperparameters.values.get(FATAL_KEY))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keeps asking the chief whether the search goes on, and tells it where it doesn't here."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(self.PERIOD):
                # A chief that is being started again answers later.
                with contextlib.suppress(Exception):
                    self._take_news(self._client.get_trial(NEWS_PREFIX + self._tuner_id))

        threading.Thread(target=watch, name="lrtuner-watch", daemon=True).start()
        try:
            yield
        except Exception as error:
            if self._fatal is None:
                self._report(f"{type(error).__name__} on the worker {self._tuner_id!r}: {error}")
            raise
        finally:
            over.set()

    def _report(self, reason: str) -> None:
        trial = kt.engine.trial.Trial(kt.HyperParameters(), trial_id=NEWS_PREFIX, status="FAILED")
        trial.hyperparameters.values[FATAL_KEY] = reason
        # What is to be raised is the error itself.
        with contextlib.suppress(Exception):
            self._client.end_trial(trial)
            # A chief ends once it has answered that there are no more trials.
            self._client.create_trial(self._tuner_id)


class RandomSearch(kt.RandomSearch, Tuner):  # type: ignore[misc]
    """`keras_tuner.RandomSearch` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.RandomSearch`, and those of `LRRangeOracle`:
    `learning_rate`, `min_lr`, `max_lr`, `steps`, `rule`, `sweep_per`, `batch_size_scaling` and `lease`.
    """


class BayesianOptimization(kt.BayesianOptimization, Tuner):  # type: ignore[misc]
    """`keras_tuner.BayesianOptimization` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.BayesianOptimization`, and those of `LRRangeOracle`:
    `learning_rate`, `min_lr`, `max_lr`, `steps`, `rule`, `sweep_per`, `batch_size_scaling` and `lease`.
    """


class Hyperband(kt.Hyperband, Tuner):  # type: ignore[misc]
    """`keras_tuner.Hyperband` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.Hyperband`, and those of `LRRangeOracle`:
    `learning_rate`, `min_lr`, `max_lr`, `steps`, `rule`, `sweep_per`, `batch_size_scaling` and `lease`.
    """


class GridSearch(kt.GridSearch, Tuner):  # type: ignore[misc]
    """`keras_tuner.GridSearch` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.GridSearch`, and those of `LRRangeOracle`:
    `learning_rate`, `min_lr`, `max_lr`, `steps`, `rule`, `sweep_per`, `batch_size_scaling` and `lease`.
    """
