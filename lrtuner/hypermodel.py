"""The hypermodel that makes any tuner run the sweeps of an `LRRangeOracle`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_tuner as kt

from lrtuner.callbacks import check_rate_is_kept, remove_tensorboard_directories
from lrtuner.errors import LearningRateError, LearningRateNotFoundError, NoSweepError, UnusableModelError
from lrtuner.generators import SharedGenerators
from lrtuner.search.probing import RateProbe
from lrtuner.search.protocol import (
    NO_TRAINING,
    SweepAnswer,
    SweepTask,
    announce_runner,
    error_text,
    is_swept,
    register_runner,
    reserved_set_aside,
)
from lrtuner.search.settings import sweep_label
from lrtuner.space.learning_rate import find_learning_rate
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.sweep.compiling import is_small
from lrtuner.sweep.data import has_raw_inputs
from lrtuner.sweep.model import preserved_random_state, rates_shared
from lrtuner.sweep.report import SweepOrder
from lrtuner.sweep.training import sweep_in_training


class LeaveTrial(BaseException):
    """Leaves the user's `run_trial`, or the `fit` that builds models, once the sweep inside of it is done.

    A `BaseException`, so that `except Exception` in that code lets it pass.
    """


class LRRangeHyperModel(kt.HyperModel):  # type: ignore[misc]  # KerasTuner is untyped
    """Makes a tuner that trains through `HyperModel.fit` run the sweeps of an `LRRangeOracle`.

    Ordinary trials go straight to the wrapped hypermodel. lrtuner's own tuners wrap theirs by themselves.

    >>> oracle = lrtuner.LRRangeOracle(objective="val_loss", max_trials=20)
    >>> tuner = kt.Tuner(oracle, lrtuner.LRRangeHyperModel(build_model))

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
        # The sweep that lrtuner's own tuner runs, and what has come of it.
        self._task: SweepTask | None = None
        self._answer: SweepAnswer | None = None
        self._loss = 1.0
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
        self.hypermodel.declare_hyperparameters(hp)
        announce_runner(hp)

    # --- The trial of a sweep -------------------------------------------------------------------------------

    def run_sweep(self, trial: Any, run: Callable[[], Any]) -> None:
        """Run the trial of a sweep up to where the sweep is done.

        The user's code in it never sees any results of a sweep, nor lrtuner's own values.

        Args:
            trial: The trial. It gets a status, and its hyperparameters get the answer to the oracle.
            run: Trains as in any trial, through this hypermodel.

        Raises:
            keras_tuner.errors.FatalError: The search can't go on.
        """
        task = self._task = SweepTask.of(trial.hyperparameters)
        assert task is not None
        self._answer = None
        trial.status = "COMPLETED"
        try:
            with preserved_random_state(), reserved_set_aside(trial.hyperparameters):
                run()
        except LeaveTrial:
            pass
        except kt.errors.FatalError:
            raise
        except Exception as error:
            if self._answer is None or self._answer.report is None:
                trial.status = "FAILED" if isinstance(error, kt.errors.FailedTrialError) else "INVALID"
                self._answer = SweepAnswer(error=error_text(error))
                if not task.may_fall_back:
                    traceback.print_exc()
        finally:
            self._task = None
        (self._answer or SweepAnswer(error=NO_TRAINING)).write_to(trial.hyperparameters)
        self._answer = None

    def build(self, hp: kt.HyperParameters) -> Any:
        """Build the wrapped hypermodel's model."""
        task = self._task or SweepTask.of(hp)
        if task is None:
            return self.hypermodel.build(hp)
        try:
            with preserved_random_state(), reserved_set_aside(hp):
                return self._swept_in_fit(hp, self.hypermodel.build(hp), task)
        except Exception as error:
            self._keep(SweepAnswer(error=error_text(error)), hp)
            raise

    def fit(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as the wrapped hypermodel does, or sweep if the trial is a sweep.

        Returns:
            What the wrapped hypermodel's `fit` returns. After a sweep, lrtuner's own tuners leave the trial
            here, and KerasTuner's get what looks like the result of a training that went well.

        Raises:
            keras_tuner.errors.FatalValueError: No trial could train this model, or the learning rate that the
                user named is not found.
        """
        task = self._task or SweepTask.of(hp)
        if task is None:
            args, kwargs = self._generators.for_training(args), self._generators.for_training(kwargs)
            return self.hypermodel.fit(hp, model, *args, **kwargs)
        if getattr(vars(model).get("fit"), "is_sweep", False):
            del model.fit
        callbacks = kwargs.get("callbacks")
        remove_tensorboard_directories(callbacks)
        args, kwargs = self._generators.for_sweep(args), self._generators.for_sweep(kwargs)

        def train(hyperparameters: kt.HyperParameters) -> Any:
            check_rate_is_kept(callbacks)
            return self.hypermodel.fit(hyperparameters, model, *args, **kwargs)

        with contextlib.suppress(LeaveTrial):
            self._sweep(hp, model, task, train)
        if self._task is not None:
            raise LeaveTrial
        return _as_if_trained(self._loss, model, task)

    def _sweep(
        self, hp: kt.HyperParameters, model: Any, task: SweepTask, train: Callable[[kt.HyperParameters], Any]
    ) -> None:
        """Sweep while a model is trained, unless the trial has had its sweep, and keep the answer."""
        # A tuner with executions_per_trial > 1 comes here several times for one sweep.
        if is_swept(hp) or self._answer is not None:
            return
        try:
            with preserved_random_state(), reserved_set_aside(hp), self._builds_swept_in_fit(hp, task):
                probe = RateProbe(self.hypermodel, hp, model)
                answer = _SweepRun(task, hp, probe, self.check_search).run(model, train)
        except (UnusableModelError, LearningRateNotFoundError) as error:
            # No trial would do better: end the search here, before time is lost.
            raise kt.errors.FatalValueError(str(error)) from error
        except (NoSweepError, LearningRateError) as error:
            # The trials may do well all the same, and another sweep would end like this one.
            answer = SweepAnswer(error=str(error))
        except Exception as error:
            self._keep(SweepAnswer(error=error_text(error)), hp)
            raise
        self._keep(answer, hp)

    def _keep(self, answer: SweepAnswer, hp: kt.HyperParameters) -> None:
        """Keep what came of a sweep until its trial ends."""
        self._loss = _plausible_loss(answer)
        if self._task is not None:
            self._answer = answer
        else:
            answer.write_to(hp)

    # --- Training code that calls `fit` on models of its own ------------------------------------------------

    def _swept_in_fit(
        self, hp: kt.HyperParameters, model: Any, task: SweepTask, *, leaves: bool = False
    ) -> Any:
        """Return a model whose `fit` is the sweep, as cross-validation needs it.

        Args:
            hp: The values of the sweep.
            model: What the user's `build` has returned.
            task: The order.
            leaves: Whether the sweep then leaves the user's code, even in a tuner of KerasTuner's.
        """
        if not isinstance(model, keras.Model):
            error = f"a sweep needs a Keras model, and the hypermodel has built a {type(model).__name__}"
            self._keep(SweepAnswer(error=error), hp)
            return model
        if "fit" in vars(model):
            return model

        def train(args: Any, kwargs: Any, _: kt.HyperParameters) -> Any:
            check_rate_is_kept(kwargs.get("callbacks"))
            return model.fit(*args, **kwargs)

        @functools.wraps(model.fit)
        def fit(*args: Any, **kwargs: Any) -> Any:
            del model.fit
            args, kwargs = self._generators.for_sweep(args), self._generators.for_sweep(kwargs)
            self._sweep(hp, model, task, functools.partial(train, args, kwargs))
            if leaves or self._task is not None:
                raise LeaveTrial
            return _as_if_trained(self._loss, model, task)

        fit.is_sweep = True  # type: ignore[attr-defined]
        model.fit = fit
        return model

    @contextlib.contextmanager
    def _builds_swept_in_fit(self, hp: kt.HyperParameters, task: SweepTask) -> Iterator[None]:
        """Do the same with the models that the user's own `fit` builds with `self.build`."""
        hypermodel, plain = self.hypermodel, self.hypermodel.build
        is_own = "build" in vars(hypermodel)

        def build(*args: Any, **kwargs: Any) -> Any:
            return self._swept_in_fit(hp, plain(*args, **kwargs), task, leaves=True)

        hypermodel.build = build
        try:
            yield
        finally:
            if is_own:
                hypermodel.build = plain
            else:
                del hypermodel.build


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
        # While it is open, all optimizers that follow the hyperparameter train at the swept rate.
        self._at_one_rate = contextlib.ExitStack()

    def run(self, model: Any, train: Callable[[kt.HyperParameters], Any]) -> SweepAnswer:
        """Sweep in the middle of a training.

        Args:
            model: The model that is trained.
            train: Trains it with the hyperparameters that it is given, through `model.fit`.
        """
        with self._at_one_rate:
            report = sweep_in_training(
                model,
                lambda: train(self._hyperparameters),
                on_start=lambda arguments: self._begin(model, arguments),
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

    def _begin(self, model: Any, arguments: dict[str, Any]) -> SweepOrder:
        """Look at the model when `model.fit` is called: until then, training code may declare and compile.

        Args:
            model: The model.
            arguments: Those of `model.fit`, by name.
        """
        task, hyperparameters = self._task, self._hyperparameters
        name = find_learning_rate(hyperparameters, _first_registered(hyperparameters, task))
        if task.is_first or self._settings is None:
            if arguments.get("verbose") != 0 and self._settings is None and not is_small(model):
                # To build a large model takes seconds.
                print("Learning-rate sweep: models are built to see what chooses the optimizer", flush=True)
            self._settings, own = self._probe.settings(
                task.learning_rates or (name,),
                names=None if self._settings is None else self._settings.names,
                others_count=task.others_count,
            )
            if self._settings.normalising and not has_raw_inputs(model, arguments.get("x")):
                # Then normalisation moves the best rate by little.
                self._settings = dataclasses.replace(self._settings, normalising=())
            if name not in own and len(own) == 1 and (task.others_count or own <= set(task.learning_rates)):
                # In the middle of the space, the build function takes another branch than at the defaults.
                (name,) = own
        beside = [one for one in task.learning_rates if one in hyperparameters.values]
        name, (optimizer, *others), self._relation = self._followed(name, beside)
        self._learning_rate = name
        for one in beside:
            if one != name:
                self._probe.start_at_usual_rate(one, [optimizer, *others])
        self._at_one_rate.enter_context(rates_shared(optimizer, others))
        names = task.learning_rates or self._settings.learning_rates or (name,)
        sweeps = max(sum(len(self._settings.active_settings(hyperparameters, each)) for each in names), 1)
        return SweepOrder(optimizer, task.epochs, sweeps, self._title(name, sweeps), self._check_search)

    def _followed(self, name: str, listed: Sequence[str]) -> tuple[str, list[Any], Relation]:
        """Return the learning rate to sweep, the optimizers that follow it, and how they do.

        Args:
            name: The learning rate that was ordered.
            listed: Those that the user has listed. The first sweep takes another one of them if the first fit
                does not train at the one that was ordered.

        Raises:
            LearningRateError: No rate of the first fit follows the one that was ordered.
        """
        try:
            return name, *self._probe.followed_optimizers(name)
        except LearningRateError as error:
            for other in (one for one in listed if one != name):
                try:
                    followed = self._probe.followed_optimizers(other)
                except LearningRateError:
                    continue
                if self._task.is_first:
                    return other, *followed
                raise LearningRateError(
                    f"the first model.fit trains at {other!r} and not at {name!r}, and a sweep sees the "
                    f"first fit alone. If a later fit trains at {name!r}, as after unfreezing layers, "
                    "declare it as narrow as you know it; otherwise pass it to the optimizer"
                ) from error
            raise

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


def _plausible_loss(answer: SweepAnswer) -> float:
    """Return the lowest loss of a sweep that a training could have had; 1 where there is none."""
    losses = [] if answer.report is None else answer.report.curve.losses.tolist()
    return min((loss for loss in losses if math.isfinite(loss) and loss > 0), default=1.0)


def _as_if_trained(loss: float, model: Any, task: SweepTask) -> Any:
    """Return what looks like the result of a training of one epoch, for code that expects one."""
    if not task.objective_is_named:
        return loss
    history = keras.callbacks.History()
    history.set_model(model)
    history.set_params({"verbose": 0, "epochs": 1, "steps": 1})
    history.epoch = [0]
    names = ["loss", *(metric.name for metric in model.metrics)]
    history.history = _AnyMetric(
        {name: [loss] for name in [*names, *(f"val_{name}" for name in names), *task.objectives]}
    )
    return history


class _AnyMetric(dict[str, list[float]]):
    """The metrics of a made-up training, which has whatever metric it is asked for."""

    def __missing__(self, name: str) -> list[float]:
        return self["loss"]
