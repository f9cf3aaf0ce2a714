"""The hypermodel that makes any tuner run the sweeps of an `LRRangeOracle`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import keras_tuner as kt

from lrtuner.errors import LearningRateError, NoSweepError, UnusableModelError
from lrtuner.search.look import Models
from lrtuner.search.protocol import (
    NO_FIT,
    Answer,
    Order,
    announce_runner,
    answer_of,
    error_text,
    order_of,
    put,
)
from lrtuner.search.settings import sweep_label
from lrtuner.space.learning_rate import find_learning_rate
from lrtuner.space.relation import Relation
from lrtuner.sweep.model import preserved_random_state, rates_shared
from lrtuner.sweep.training import check_trainable, fit_arguments, sweep_fit

_log = logging.getLogger("lrtuner")


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
        # A HyperModel of the user's may not have called its base, and KerasTuner runs it all the same.
        super().__init__(name=getattr(hypermodel, "name", None))

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
        """Run the trial of a sweep.

        The user's code in it runs to its end, as in any trial. What it returns or raises after the sweep is
        of no account: it has nothing but a made-up history.

        Args:
            trial: The trial. It gets a status, and the answer to the oracle beside its hyperparameters.
            run: Trains as in any trial, through this hypermodel.

        Raises:
            keras_tuner.errors.FatalError: The search can't go on.
        """
        try:
            with preserved_random_state(), _errors_kept(trial.hyperparameters):
                run()
        except Exception as error:
            answer = answer_of(trial.hyperparameters)
            # Of results that are no use to the search, KerasTuner says so with such an error.
            if isinstance(error, kt.errors.FatalError) and (answer is None or answer.curve is None):
                raise
            _log.debug("The trial of a learning-rate sweep has failed.", exc_info=True)
        answer = answer_of(trial.hyperparameters)
        trial.status = "INVALID" if answer is not None and answer.may_be_retried else "COMPLETED"

    def build(self, hp: kt.HyperParameters) -> Any:
        """Build the wrapped hypermodel's model, whose first `fit` sweeps in the trial of a sweep."""
        order = order_of(hp)
        if order is None:
            return self.hypermodel.build(hp)
        with preserved_random_state(), _errors_kept(hp):
            return self._made_to_sweep(self.hypermodel.build(hp), hp, order)

    def fit(self, hp: kt.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as the wrapped hypermodel does; in the trial of a sweep its first `model.fit` sweeps.

        Returns:
            What the wrapped hypermodel's `fit` returns.

        Raises:
            keras_tuner.errors.FatalValueError: No trial could train this model.
        """
        order = order_of(hp)
        if order is None:
            return self.hypermodel.fit(hp, model, *args, **kwargs)
        model = self._made_to_sweep(model, hp, order)
        with preserved_random_state(), _errors_kept(hp), self._own_builds_made_to_sweep(hp, order):
            return self.hypermodel.fit(hp, model, *args, **kwargs)

    @contextlib.contextmanager
    def _own_builds_made_to_sweep(self, hp: kt.HyperParameters, order: Order) -> Iterator[None]:
        """Reach the models that the user's own `fit` builds with `self.build`, as for cross-validation."""
        hypermodel, build = self.hypermodel, self.hypermodel.build
        is_own = "build" in vars(hypermodel)
        hypermodel.build = lambda *args, **kwargs: self._made_to_sweep(build(*args, **kwargs), hp, order)
        try:
            yield
        finally:
            if is_own:
                hypermodel.build = build
            else:
                del hypermodel.build

    def _made_to_sweep(self, model: Any, hp: kt.HyperParameters, order: Order) -> Any:
        """Return a model whose `fit` is the sweep, or does nothing where the trial has had its sweep."""
        if not isinstance(model, keras.Model):
            kind = type(model).__name__
            put(hp, Answer(error=f"a sweep needs a Keras model, and the hypermodel has built a {kind}"))
            return model
        if hasattr(vars(model).get("fit"), "is_sweep"):
            return model
        calls = itertools.count(1)

        @functools.wraps(model.fit)
        def fit(*args: Any, **kwargs: Any) -> Any:
            answer = answer_of(hp)
            # Code that has trained in another way may yet call `fit`.
            if answer is None or answer.error == NO_FIT:
                with preserved_random_state(), _errors_answered(hp):
                    arguments = fit_arguments(model, args, kwargs)
                    put(hp, _swept(self.hypermodel, hp, model, order, arguments))
            return _as_if_trained(model, order, kwargs.get("epochs"))

        def train_on_batch(*args: Any, return_dict: bool = False, **kwargs: Any) -> Any:
            del args, kwargs
            if answer_of(hp) is None:
                put(hp, Answer(error=NO_FIT))
            # It falls, for loops that wait for that.
            loss = 1.0 / next(calls)
            if return_dict:
                return _AnyMetric(loss=loss)
            return [loss] * len(model.metrics) if len(model.metrics) > 1 else loss

        fit.is_sweep = True  # type: ignore[attr-defined]
        model.fit, model.train_on_batch = fit, train_on_batch
        return model


def _swept(
    hypermodel: kt.HyperModel, hp: kt.HyperParameters, model: Any, order: Order, arguments: dict[str, Any]
) -> Answer:
    """Look at a model and those near it, then sweep it.

    Args:
        hypermodel: The user's.
        hp: The values of the sweep. What only other branches of `build` declare is registered among them.
        model: The model.
        order: The order.
        arguments: Those of the call of `model.fit` whose place the sweep takes, by name.
    """
    check_trainable(model, arguments.get("x"))
    ordered = [one for one in (order.learning_rate, *order.learning_rates) if one is not None]
    declared = [one for one in ordered if one in hp.values]
    name = next(iter(declared or ordered), None) or find_learning_rate(hp)
    models = Models(hypermodel.build, hp, model, order)
    settings = order.settings
    if order.is_first or settings is None:
        settings = models.settings(name, arguments.get("x"))
    if not declared and name in settings.declared_in:
        # Another branch declares it: that one's model is swept.
        hp.values.update(settings.declared_in[name][0])
        model = hypermodel.build(hp)
        models = Models(hypermodel.build, hp, model, order)
    own = models.rates_at_start() if order.is_first and order.others_count and settings.names else ()
    if len(own) == 1 and name not in own:
        # The first trial's branch has a rate of its own, which the builds have registered.
        (name,) = own
        models = Models(hypermodel.build, hp, model, order)
    find_learning_rate(hp, name)
    name, (optimizer, *others), relation = _followed(models, name, hp, order)
    names = order.learning_rates or settings.learning_rates or (name,)
    sweeps = max(sum(len(settings.active_settings(hp, one)) for one in names), 1)
    title = "Learning-rate sweep"
    if sweeps > 1:
        label = sweep_label(name if len(names) > 1 else None, settings.setting_of(hp.values))
        title += f" {order.number} of {sweeps}" + (f" ({label})" if label else "")
    with rates_shared(optimizer, others):
        curve = sweep_fit(
            model,
            arguments,
            min_lr=order.min_lr,
            max_lr=order.max_lr,
            steps=order.steps,
            shuffle=order.shuffle,
            optimizer=optimizer,
            epochs=order.epochs,
            sweeps=sweeps,
            title=title,
        )
    # As many batches in any case mean more epochs of larger ones.
    if order.scales and curve.training is not None and arguments.get("steps_per_epoch") is None:
        settings = dataclasses.replace(settings, batch_size=models.batch_size_name(curve.training.batch_size))
    return Answer(curve=curve, relation=relation, settings=settings, learning_rate=name)


def _followed(
    models: Models, name: str, hp: kt.HyperParameters, order: Order
) -> tuple[str, list[Any], Relation]:
    """Return the learning rate to sweep, the optimizers that follow it, and how they do.

    Of those that the user has listed, the first sweep takes another one if the first fit does not train at
    the one that was ordered.

    Raises:
        LearningRateError: No rate of the first fit follows the one that was ordered.
    """
    try:
        return name, *models.followers(name)
    except LearningRateError as error:
        for other in order.learning_rates:
            if other == name or other not in hp.values:
                continue
            try:
                followed = models.followers(other)
            except LearningRateError:
                continue
            if order.is_first:
                return other, *followed
            raise LearningRateError(
                f"the first model.fit trains at {other!r} and not at {name!r}, and a sweep sees the first "
                f"fit alone. If a later fit trains at {name!r}, as after unfreezing layers, declare it as "
                "narrow as you know it; otherwise pass it to the optimizer"
            ) from error
        raise


@contextlib.contextmanager
def _errors_answered(hp: kt.HyperParameters) -> Iterator[None]:
    """Answer with what goes wrong in a sweep, and let the user's code go on to its end.

    Raises:
        keras_tuner.errors.FatalValueError: No trial could train this model, so that time would be lost.
    """
    try:
        yield
    except UnusableModelError as error:
        raise kt.errors.FatalValueError(str(error)) from error
    except (NoSweepError, LearningRateError) as error:
        # The trials may do well all the same, and another sweep would end like this one.
        put(hp, Answer(error=str(error)))
    except Exception as error:
        _log.debug("A learning-rate sweep has failed.", exc_info=True)
        text = f"{error_text(error)}\nIf data or model are at fault, the trials will fail in the same way"
        put(hp, Answer(error=text, may_be_retried=True))


@contextlib.contextmanager
def _errors_kept(hp: kt.HyperParameters) -> Iterator[None]:
    """Keep what the user's code raises for the oracle, unless it is raised after the sweep."""
    try:
        yield
    except Exception as error:
        if answer_of(hp) is None:
            is_over = isinstance(error, kt.errors.FailedTrialError)
            put(hp, Answer(error=error_text(error), may_be_retried=not is_over))
        raise


def _as_if_trained(model: Any, order: Order, epochs: Any) -> Any:
    """Return what looks like the history of a training, whose results are better than no other's."""
    epochs = epochs if isinstance(epochs, int) and epochs > 0 else 1
    history = _MadeUpHistory(math.inf)
    history.set_model(model)
    history.set_params({"verbose": 0, "epochs": epochs, "steps": 1})
    history.epoch = list(range(epochs))
    names = ["loss", *(metric.name for metric in model.metrics)]
    names += [*(f"val_{name}" for name in names), *order.objectives]
    history.history = _AnyMetric({name: [_worst(name)] * epochs for name in names})
    return history


class _MadeUpHistory(float, keras.callbacks.History):  # type: ignore[misc]  # Keras is untyped
    """A history that is a number, too: KerasTuner wants one of a search without an objective."""

    def __init__(self, loss: float) -> None:
        del loss
        keras.callbacks.History.__init__(self)


class _AnyMetric(dict[str, Any]):
    """The metrics of a made-up training, which has whatever metric it is asked for."""

    def __missing__(self, name: str) -> Any:
        return [_worst(name)] * len(self["loss"]) if isinstance(self["loss"], list) else _worst(name)


def _worst(name: str) -> float:
    """Return a value of a metric that no code takes for its best."""
    # The lower a loss is, the better. Of other metrics nobody knows; NaN is no better either way.
    return math.inf if name.endswith("loss") else math.nan
