"""The tuners that run the sweeps of an `LRRangeOracle`, and the hypermodel that makes any tuner run them."""

from __future__ import annotations

import json
from typing import Any

import keras_tuner as kt

from lrtuner.oracle import ERROR_KEY, REPORT_KEY, RUNS_SWEEPS_KEY, SETTINGS_KEY, LRRangeOracle
from lrtuner.space import LearningRateNotFoundError, find_learning_rate
from lrtuner.sweep import UnusableModelError, peak_rate, preserved_random_state, sweep_in_training

_SWEEP_ARGUMENTS = ("learning_rate", "min_lr", "max_lr", "steps", "rule")


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
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a compiled
            model.

    Attributes:
        hypermodel: The wrapped one. Attributes that are not found here are looked up there.

    Raises:
        TypeError: Where it is neither.
    """

    def __init__(self, hypermodel: Any) -> None:
        if isinstance(hypermodel, LRRangeHyperModel):
            raise TypeError("The hypermodel is an LRRangeHyperModel already: wrap it once.")
        if not isinstance(hypermodel, kt.HyperModel):
            if not callable(hypermodel):
                raise TypeError(
                    "Expected a keras_tuner.HyperModel or a function that takes hyperparameters and returns a model, "
                    f"received {hypermodel!r} of type {type(hypermodel).__name__}."
                )
            build, hypermodel = hypermodel, kt.HyperModel()
            hypermodel.build = build
        self.hypermodel = hypermodel
        super().__init__(name=hypermodel.name)

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
                return self.hypermodel.build(hp)
        except Exception as error:
            hp.values[ERROR_KEY] = _describe(error)
            raise

    def fit(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains as the wrapped hypermodel does, or sweeps where the trial is a sweep.

        Returns:
            What the wrapped hypermodel's `fit` returns. Of a sweep 0.0, since it has no objective.
        """
        if SETTINGS_KEY not in hp.values:
            return self.hypermodel.fit(hp, model, *args, **kwargs)
        # A tuner with executions_per_trial > 1 comes here several times for one sweep.
        if REPORT_KEY not in hp.values:
            try:
                with preserved_random_state():
                    hp.values[REPORT_KEY] = self._sweep(hp, model, *args, **kwargs)
            except (UnusableModelError, LearningRateNotFoundError) as error:
                # No trial would do better: end the search here, before time is lost.
                raise kt.errors.FatalValueError(str(error)) from error
            except Exception as error:
                hp.values[ERROR_KEY] = _describe(error)
                raise
        return 0.0

    def _sweep(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> str:
        settings = json.loads(hp.values[SETTINGS_KEY])
        name = settings.pop("learning_rate")
        report = sweep_in_training(
            model,
            lambda: self.hypermodel.fit(hp, model, *args, **kwargs),
            on_start=lambda: self._check_learning_rate(hp, model, name),
            **settings,
        )
        return json.dumps(report.to_config(), allow_nan=False)

    def _check_learning_rate(self, hp: kt.HyperParameters, model: Any, name: str | None) -> None:
        """Raises where the model doesn't train at the rate that the hyperparameter says."""
        name = find_learning_rate(hp, name)
        value, rate = float(hp.values[name]), peak_rate(model)
        # The peak of a warm-up schedule is met to about a percent.
        if abs(rate - value) <= 0.02 * abs(value):
            return
        raise kt.errors.FailedTrialError(
            f"the model does not train at the learning rate that {name!r} says: with {name}={value:.4g} its optimizer "
            f"has {rate:.4g}. Pass the hyperparameter to the optimizer as it is"
        )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class Tuner(kt.Tuner):  # type: ignore[misc]  # KerasTuner is untyped
    """A `keras_tuner.Tuner` that narrows the learning rate with a sweep before the search.

    Args:
        oracle: An `LRRangeOracle`, or any other `keras_tuner.Oracle`, which is then wrapped in one.
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a compiled
            model.
        **kwargs: Arguments of `keras_tuner.Tuner`. Besides, where the oracle is not an `LRRangeOracle`, its
            keyword arguments `learning_rate`, `min_lr`, `max_lr`, `steps` and `rule`.

    Raises:
        TypeError: Where the sweep's arguments come beside an `LRRangeOracle`.
        ValueError: Where the learning-rate hyperparameter can't be found in what the hypermodel declares.
    """

    def __init__(self, oracle: kt.Oracle, hypermodel: Any = None, *args: Any, **kwargs: Any) -> None:
        sweep = {name: kwargs.pop(name) for name in _SWEEP_ARGUMENTS if name in kwargs}
        if not isinstance(oracle, LRRangeOracle):
            oracle = LRRangeOracle(oracle, **sweep)
        elif sweep:
            raise TypeError(f"Give {sorted(sweep)} to the LRRangeOracle, not to the tuner.")
        if hypermodel is None:
            oracle.skip_sweeps("the tuner has no hypermodel, and a sweep needs a model to train")
        elif not isinstance(hypermodel, LRRangeHyperModel):
            hypermodel = LRRangeHyperModel(hypermodel)
        super().__init__(oracle, hypermodel, *args, **kwargs)

    def _populate_initial_space(self) -> None:
        super()._populate_initial_space()
        if self.hypermodel is None:
            return
        try:
            find_learning_rate(self.oracle.get_space(), self.oracle.learning_rate)
        except LearningRateNotFoundError:
            # A fit method of the user's own may declare it yet.
            if type(self.hypermodel.hypermodel).fit is kt.HyperModel.fit:
                raise


class RandomSearch(kt.RandomSearch, Tuner):  # type: ignore[misc]
    """`keras_tuner.RandomSearch` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.RandomSearch`, and `learning_rate`, `min_lr`, `max_lr`, `steps` and `rule` of
    `LRRangeOracle`.
    """


class BayesianOptimization(kt.BayesianOptimization, Tuner):  # type: ignore[misc]
    """`keras_tuner.BayesianOptimization` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.BayesianOptimization`, and `learning_rate`, `min_lr`, `max_lr`, `steps` and
    `rule` of `LRRangeOracle`.
    """


class Hyperband(kt.Hyperband, Tuner):  # type: ignore[misc]
    """`keras_tuner.Hyperband` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.Hyperband`, and `learning_rate`, `min_lr`, `max_lr`, `steps` and `rule` of
    `LRRangeOracle`.
    """


class GridSearch(kt.GridSearch, Tuner):  # type: ignore[misc]
    """`keras_tuner.GridSearch` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.GridSearch`, and `learning_rate`, `min_lr`, `max_lr`, `steps` and `rule` of
    `LRRangeOracle`.
    """
