"""The tuners that run the sweeps of an `LRRangeOracle`."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner, notebook
from lrtuner.errors import LearningRateNotFoundError, NothingToNarrowError
from lrtuner.hypermodel import LRRangeHyperModel
from lrtuner.oracle import LRRangeOracle
from lrtuner.search import messages
from lrtuner.search.files import is_json, write_atomically
from lrtuner.search.worker import ChiefsOracle
from lrtuner.sweep.model import own_optimizer, preserved_random_state
from lrtuner.tensorboard import SweepLog

# The options of the sweeps: what LRRangeOracle takes by keyword alone.
SWEEP_OPTIONS = [
    parameter.name
    for parameter in inspect.signature(LRRangeOracle).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY
]


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
            is no oracle or no hypermodel.
    """

    # Of the lines about sweeps, how many of the first are not in the cell of a notebook that is searching.
    _cleared = 0

    def __init__(self, oracle: kt.Oracle, hypermodel: Any = None, *args: Any, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in SWEEP_OPTIONS if name in kwargs}
        if not isinstance(oracle, kt.Oracle):
            # KerasTuner raises, and says what is wrong.
            super().__init__(oracle, hypermodel, *args, **kwargs)
            return
        if not isinstance(oracle, LRRangeOracle):
            oracle = LRRangeOracle(oracle, **options)
        elif options:
            raise TypeError(f"Give {sorted(options)} to the LRRangeOracle, not to the tuner.")
        oracle.expect_sweeps()
        if hypermodel is not None:
            if not isinstance(hypermodel, LRRangeHyperModel):
                hypermodel = LRRangeHyperModel(hypermodel)
            hypermodel.check_search = self._check_search
        super().__init__(oracle, hypermodel, *args, **kwargs)
        self.oracle: Any
        if kerastuner.is_worker(self):
            self.oracle = ChiefsOracle(self.oracle, self.tuner_id)
        elif hypermodel is None:
            oracle.skip_sweeps("the tuner has no hypermodel, and a sweep needs a model to train")

    # --- Before the search ----------------------------------------------------------------------------------

    def _populate_initial_space(self) -> None:
        super()._populate_initial_space()
        if self.hypermodel is None:
            return
        self._check_space(self.oracle.get_space())
        if not kerastuner.is_worker(self):
            # KerasTuner begins again what was cut off before its first trial; the sweep may be done.
            declared = self.oracle.get_space()
            self.oracle.restore()
            self.oracle.check_declaration(declared, may_come_late=self._declares_in_training())

    def _declares_in_training(self) -> bool:
        """Return whether a `fit` or `run_trial` of the user's own may declare hyperparameters."""
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

    # --- The search -----------------------------------------------------------------------------------------

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search, see `keras_tuner.Tuner`; the arguments are those of `model.fit`.

        Raises:
            keras_tuner.errors.FatalRuntimeError: On a worker, an error elsewhere has ended the search.
        """
        is_worker = isinstance(self.oracle, ChiefsOracle)
        self._cleared = 0 if is_worker else len(self.oracle.sweep_lines())
        with self._running_sweeps(fit_args, fit_kwargs):
            if is_worker:
                with self.oracle.watched():
                    super().search(*fit_args, **fit_kwargs)
                return
            super().search(*fit_args, **fit_kwargs)
        self.oracle.save_picture()
        self._log.add_sweeps(self.oracle.sweeps)
        if self.oracle.lr_range is not None:
            self._log.add_space(self.oracle)
        if self.oracle.sweeps and self.oracle.verbose and notebook.in_kernel():
            notebook.show(self.oracle.sweep_lines()[: self._cleared], self.oracle.plot_sweeps)
        for sweep in self.oracle.sweeps:
            self.oracle.advise(sweep)

    def on_trial_end(self, trial: Any) -> None:
        """End a trial, which in a notebook clears the cell's output, see `keras_tuner.Tuner`."""
        super().on_trial_end(trial)
        if not isinstance(self.oracle, ChiefsOracle):
            self._cleared = len(self.oracle.sweep_lines())

    @contextlib.contextmanager
    def _running_sweeps(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> Iterator[None]:
        """Run the sweeps that are due before a trial, unseen by the hooks, which are for trials."""
        is_worker = isinstance(self.oracle, ChiefsOracle)
        self._log = SweepLog(fit_kwargs.get("callbacks"), [] if is_worker else self.oracle.sweeps)

        def run_sweep(trial: Any) -> None:
            self.hypermodel.run_sweep(trial, lambda: self.run_trial(trial, *fit_args, **fit_kwargs))
            self.oracle.end_trial(trial)
            self.save()
            if not is_worker:
                self._log.add_sweeps(self.oracle.sweeps)

        if self.hypermodel is None or kerastuner.is_chief():
            # A chief trains nothing: its oracle hands the sweeps out to workers.
            yield
            return
        self.oracle.run_sweep = run_sweep
        try:
            yield
        finally:
            self.oracle.run_sweep = None

    def _check_search(self) -> None:
        """Raise on a worker if an error has ended the search."""
        if isinstance(self.oracle, ChiefsOracle):
            self.oracle.check()

    def on_batch_end(self, trial: Any, model: Any, batch: int, logs: dict[str, Any] | None = None) -> None:
        """End a worker's training if an error has ended the search."""
        super().on_batch_end(trial, model, batch, logs)
        self._check_search()

    # --- Files ----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save the oracle and the tuner in the project directory."""
        if not kerastuner.is_worker(self):
            self.oracle.save()
        # KerasTuner writes in place, and a crash meanwhile leaves a file that it can't read.
        write_atomically(kerastuner.tuner_file(self), json.dumps(self.get_state()))

    def reload(self) -> None:
        """Load the oracle and the tuner from the project directory.

        Raises:
            ValueError: A file in it is damaged.
        """
        path = kerastuner.tuner_file(self)
        if not is_json(path) and not self.get_state():
            messages.tuner_file_is_replaced(path)
            write_atomically(path, "{}")
        super().reload()
        if self.hypermodel is None or kerastuner.is_worker(self):
            return
        # What a build registers first holds. So the space must not be the oracle's, which is narrowed once
        # something is loaded, but as it was when the user made the oracle.
        declared = self.oracle.given_space.copy()
        try:
            with preserved_random_state():
                self.hypermodel.build(declared)
        except Exception:
            # A model that can't be built is the next trial's business.
            return
        self.oracle.check_declaration(declared, may_come_late=self._declares_in_training())
        self._check_optimizer(declared)

    def _check_optimizer(self, declared: kt.HyperParameters) -> None:
        """Warn if the model of the only sweep has another optimizer now."""
        if self._declares_in_training():
            # A `fit` or `run_trial` of the user's own may compile the model anew.
            return
        sweeps = self.oracle.sweeps
        training = sweeps[0].curve.training if len(sweeps) == 1 and sweeps[0].curve is not None else None
        if training is None or training.optimizer is None:
            return
        swept = declared.copy()
        swept.values.update(sweeps[0].hyperparameters.values)
        try:
            with preserved_random_state():
                optimizer = own_optimizer(self.hypermodel.build(swept))
        except Exception:
            # The next trial will say why it can't be built.
            return
        if optimizer is not None and type(optimizer).__name__ != training.optimizer:
            messages.optimizer_has_changed(training.optimizer, type(optimizer).__name__)


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
