"""The tuners that run the sweeps of an `LRRangeOracle`, and the narrowed space for tuners that don't."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner, messages
from lrtuner.errors import LearningRateNotFoundError, NothingToNarrowError
from lrtuner.hypermodel import LRRangeHyperModel
from lrtuner.oracle import ChiefsOracle, LRRangeOracle
from lrtuner.search.options import OPTION_NAMES
from lrtuner.search.protocol import is_sweep
from lrtuner.tensorboard import write_sweeps


class Tuner(kt.Tuner):  # type: ignore[misc]  # KerasTuner is untyped
    """A `keras_tuner.Tuner` that narrows the learning rate with a sweep before the search.

    >>> oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=20)
    >>> tuner = lrtuner.Tuner(oracle, build_model, steps=200)

    Args:
        oracle: An `LRRangeOracle`, or any other `keras_tuner.Oracle`, which is then wrapped in one.
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a
            compiled model.
        **kwargs: Arguments of `keras_tuner.Tuner`. Besides, where the oracle is not an `LRRangeOracle`, the
            options of one, from `learning_rate` to `lease`.

    Raises:
        TypeError: The options come beside an `LRRangeOracle`.
        ValueError: The learning-rate hyperparameter can't be found in what the hypermodel declares, or there
            is no oracle or no hypermodel, or an argument is unknown.
    """

    def __init__(self, oracle: kt.Oracle, hypermodel: Any = None, *args: Any, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in OPTION_NAMES if name in kwargs}
        if not isinstance(oracle, kt.Oracle):
            # KerasTuner raises, and says what is wrong.
            super().__init__(oracle, hypermodel, *args, **kwargs)
            return
        if not isinstance(oracle, LRRangeOracle):
            oracle = LRRangeOracle(oracle, **options)
        elif options:
            raise TypeError(f"Give {sorted(options)} to the LRRangeOracle, not to the tuner.")
        if hypermodel is not None and not isinstance(hypermodel, LRRangeHyperModel):
            hypermodel = LRRangeHyperModel(hypermodel)
        oracle.expect_sweeps()
        try:
            super().__init__(oracle, hypermodel, *args, **kwargs)
        except ValueError as error:
            if "Unrecognized arguments" not in str(error):
                raise
            raise ValueError(f"{error} The sweeps' options are: {', '.join(OPTION_NAMES)}.") from error
        self.oracle: Any
        if kerastuner.is_worker(self):
            self.oracle = ChiefsOracle(self.oracle)
        elif hypermodel is None:
            oracle.skip_sweeps("the tuner has no hypermodel, and a sweep needs a model to train")

    def _populate_initial_space(self) -> None:
        super()._populate_initial_space()
        if self.hypermodel is not None:
            self._check_space(self.oracle.get_space())
            if not kerastuner.is_worker(self):
                # KerasTuner begins again what was cut off before its first trial; the sweep may be done.
                self.oracle.restore()

    def _check_space(self, space: kt.HyperParameters) -> None:
        try:
            self.oracle.check_space(space)
        except NothingToNarrowError:
            # The search goes on without a sweep, and the oracle says so.
            pass
        except LearningRateNotFoundError:
            # Where it is named, another branch of the build function may declare it, and so may training.
            is_own = not type(self).run_trial.__module__.startswith("keras_tuner.")
            if not (
                is_own
                or self.oracle.learning_rate
                or type(self.hypermodel.hypermodel).fit is not kt.HyperModel.fit
            ):
                raise

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search, see `keras_tuner.Tuner`; the arguments are those of `model.fit`.

        Raises:
            NoRangeError: A sweep has found no range, and the options require one.
        """
        oracle = self.oracle
        is_worker = isinstance(oracle, ChiefsOracle)
        before = 0 if is_worker else len(oracle.sweeps)
        if self.hypermodel is not None and not kerastuner.is_chief():
            # A chief trains nothing: its oracle hands the sweeps out to workers.
            oracle.run_sweep = functools.partial(self.run_sweep, fit_args=fit_args, fit_kwargs=fit_kwargs)
        try:
            super().search(*fit_args, **fit_kwargs)
        finally:
            oracle.run_sweep = None
        if is_worker:
            return
        oracle.save_picture()
        results, callbacks = oracle.results(), fit_kwargs.get("callbacks")
        write_sweeps(callbacks, results.sweeps[:before], only_missing=True)
        write_sweeps(callbacks, results.sweeps[before:])
        for index, sweep in enumerate(results.sweeps):
            if index >= before and oracle.verbose and "ipykernel" in sys.modules:
                # KerasTuner has cleared the cell's output at each trial.
                print("Learning-rate sweep:", sweep.outcome or sweep.reason)
            advice = results.advice(sweep)
            if advice is not None:
                label = sweep.name if len(results.sweeps) > 1 else ""
                messages.advice(label, *advice, verbose=oracle.verbose)
        left_out = oracle._names.not_swept() if results.sweeps else []
        if left_out and oracle.verbose:
            print(f"Not swept: {', '.join(left_out)}.")

    def run_sweep(self, trial: Any, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        """Run the trial of a sweep and end it, unseen by the hooks, which are for trials.

        Args:
            trial: The trial.
            fit_args: Positional arguments of the search.
            fit_kwargs: Keyword arguments of the search.
        """
        executions: int = vars(self)["executions_per_trial"]
        self.executions_per_trial = 1
        try:
            self.hypermodel.run_sweep(trial, lambda: self.run_trial(trial, *fit_args, **fit_kwargs))
        finally:
            self.executions_per_trial = executions
        self.oracle.end_trial(trial)
        self.save()

    def _configure_tensorboard_dir(self, callbacks: Any, trial: Any, execution: int = 0) -> None:
        # No sweep calls them, and KerasTuner would make an empty directory.
        if not is_sweep(trial.hyperparameters):
            super()._configure_tensorboard_dir(callbacks, trial, execution)

    def save(self) -> None:
        """Save the oracle and the tuner in the project directory."""
        if not kerastuner.is_worker(self):
            self.oracle.save()
        kerastuner.save_tuner(self)


class RandomSearch(kt.RandomSearch, Tuner):  # type: ignore[misc]
    """`keras_tuner.RandomSearch` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.RandomSearch` and the options of `LRRangeOracle`.

    >>> tuner = lrtuner.RandomSearch(build_model, objective="val_loss", max_trials=2)
    >>> tuner.search(x, y, validation_split=0.2, epochs=1, verbose=0)
    >>> found = tuner.oracle.lr_range
    >>> rates = [trial.hyperparameters["learning_rate"] for trial in tuner.oracle.trials.values()]
    >>> all(found.min_lr <= rate <= found.max_lr for rate in rates)
    True
    """


class BayesianOptimization(kt.BayesianOptimization, Tuner):  # type: ignore[misc]
    """`keras_tuner.BayesianOptimization` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.BayesianOptimization` and the options of `LRRangeOracle`.

    >>> tuner = lrtuner.BayesianOptimization(build_model, objective="val_loss", max_trials=20)
    """


class Hyperband(kt.Hyperband, Tuner):  # type: ignore[misc]
    """`keras_tuner.Hyperband` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.Hyperband` and the options of `LRRangeOracle`.

    >>> tuner = lrtuner.Hyperband(build_model, objective="val_loss", max_epochs=30)
    """


class GridSearch(kt.GridSearch, Tuner):  # type: ignore[misc]
    """`keras_tuner.GridSearch` in a learning-rate space that a sweep has narrowed.

    The arguments are those of `keras_tuner.GridSearch` and the options of `LRRangeOracle`.

    >>> tuner = lrtuner.GridSearch(build_model, objective="val_loss", max_trials=20)
    """


def narrowed_space(
    hypermodel: Any, *fit_args: Any, directory: str | os.PathLike[str] | None = None, **kwargs: Any
) -> kt.HyperParameters:
    """Sweep as a search would, and return the search space with the learning rate narrowed.

    It is for KerasTuner's own tuners, whose `hyperparameters` argument takes it. The bounds in it hold
    whatever the build function declares for the same name.

    >>> space = lrtuner.narrowed_space(build_model, x, y, batch_size=32, verbose=0)
    >>> tuner = kt.RandomSearch(build_model, objective="val_loss", max_trials=20, hyperparameters=space)

    Where several settings, such as the optimizers of a `Choice`, get a sweep each, their one learning rate is
    narrowed to the smallest range that holds the ranges of all. A warning says so: a stock tuner can't keep a
    trial in the range of its own setting, as lrtuner's tuners do. Learning rates with names of their own,
    such as `adam_lr` and `sgd_lr`, each get their own range. Where a hyperparameter is the batch size, which
    moves the range, the space holds the ranges of all batch sizes.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a
            compiled model.
        *fit_args: Training data, as for `model.fit`.
        directory: String, a project directory to keep the sweeps and their picture in, which `lrtuner.load`
            reads. A second call with it repeats no sweep. By default nothing is kept.
        **kwargs: Options of `LRRangeOracle`, such as `learning_rate` and `steps`, and arguments of
            `model.fit`.

    Returns:
        A `keras_tuner.HyperParameters` with all that the hypermodel declares: the learning rate narrowed, of
        the same kind and name, and everything else as declared. Where the sweep shows no range, the declared
        space, and a warning says why.

    Raises:
        RuntimeError: This process is part of a distributed search, whose workers sweep by themselves.
        TypeError: The hypermodel is wrapped already, or an option is of the wrong type.
        ValueError: No trial could train the model, the learning rate is not found, or an option makes no
            sense.
    """
    if kerastuner.is_distributed():
        raise RuntimeError(
            "narrowed_space sweeps in one process, and this one is part of a distributed search "
            "(KERASTUNER_ORACLE_IP is set): use lrtuner's tuners there, which share the sweep."
        )
    options = {name: kwargs.pop(name) for name in OPTION_NAMES if name in kwargs}
    hypermodel = LRRangeHyperModel(hypermodel)
    # No trial follows, whatever its objective, that could need a sweep of its own setting.
    oracle = LRRangeOracle(kt.oracles.RandomSearchOracle("loss", max_trials=1), **options)
    oracle.sweep_all_first(keeps_pictures=directory is not None)
    if "verbose" in kwargs:
        oracle.verbose = kwargs["verbose"]
    with tempfile.TemporaryDirectory(prefix="lrtuner-") as temporary:
        parent, name = os.path.split(os.path.abspath(temporary if directory is None else directory))
        tuner = Tuner(oracle, hypermodel, directory=parent, project_name=name)
        while (trial := oracle.due_sweep(tuner.tuner_id)) is not None:
            tuner.run_sweep(trial, fit_args, kwargs)
    messages.ranges_are_joined(oracle.sweeps)
    return oracle.get_space()
