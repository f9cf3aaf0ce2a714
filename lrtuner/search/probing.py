"""What a hyperparameter does to a model, seen by building models at other values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve.curve import Training
from lrtuner.curve.rules import usual_log10_rate
from lrtuner.errors import LearningRateError, UnusableModelError
from lrtuner.search.builds import UNKNOWN, Built, normalisers_of
from lrtuner.search.protocol import without_reserved
from lrtuner.search.setting_finder import SettingFinder
from lrtuner.search.settings import SettingSpace
from lrtuner.space.entries import entry_bounds, entry_named, has_given_default, spread_values
from lrtuner.space.narrowing import nearest_value
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.sweep.model import compiled_with, momentum_of, optimizers_of, peak_rate, rate_of
from lrtuner.sweep.training import batch_size_of

# The peak of a warm-up schedule is met to about a percent.
_RATE_TOLERANCE = 0.02


class RateProbe:
    """Builds a hypermodel's model at other values than those of a sweep, and looks at its optimizers.

    Args:
        hypermodel: The user's `keras_tuner.HyperModel`.
        hyperparameters: The values of the sweep.
        model: The model that is to be swept.
    """

    def __init__(self, hypermodel: kt.HyperModel, hyperparameters: kt.HyperParameters, model: Any) -> None:
        self._hypermodel = hypermodel
        self._hyperparameters = hyperparameters
        self._model = model
        # The rates of the optimizers of models that were built, by a learning rate's name and value.
        self._rates: dict[tuple[str, Any], list[float]] = {}
        # The same of those built to find the settings, with all values that they were built at.
        self._seen: list[tuple[dict[str, Any], list[float]]] = []

    def settings(
        self, learning_rates: Sequence[str], *, names: Sequence[str] | None, others_count: bool
    ) -> tuple[SettingSpace, frozenset[str]]:
        """Return the hyperparameters that choose how the model is compiled, and so move its range.

        What only other branches of the build function declare is registered among the hyperparameters of the
        sweep, so that the search space is whole before the first trial.

        Args:
            learning_rates: Names of the learning rates, which are no such choice.
            names: The hyperparameters that choose; by default they are found.
            others_count: Whether the learning rates of other branches are searched as well.

        Returns:
            The settings, and the learning rates that the sweep's own model declares.
        """
        start = without_reserved(self._hyperparameters)
        finder = SettingFinder(start, learning_rates, self._built)
        found = finder.find(names)
        late = [entry for name, entry in finder.late.items() if name in found.declared_in]
        self._hyperparameters.merge(late)
        if not others_count:
            found = dataclasses.replace(found, learning_rates=())
        return found, finder.rates_at_start()

    def _built(self, hyperparameters: kt.HyperParameters) -> Built:
        """Return what the model is like that is built at these values."""
        with freed_at_once():
            try:
                model = self._hypermodel.build(hyperparameters)
                built = Built(compiled_with(model), normalisers_of(model))
            except Exception:
                # Its own sweep, or trial, will say what is wrong.
                return Built(UNKNOWN)
            with contextlib.suppress(UnusableModelError):
                rates = [peak_rate(optimizer) for optimizer in optimizers_of(model)]
                self._seen.append((dict(hyperparameters.values), rates))
            del model
            return built

    def followed_optimizers(self, name: str) -> tuple[list[Any], Relation]:
        """Return the optimizers of the model whose rates follow a hyperparameter, and how they follow.

        Args:
            name: The hyperparameter.

        Returns:
            The optimizers, at least one. How the hyperparameter's values turn into their rates.

        Raises:
            LearningRateError: No rate follows the hyperparameter, or one both rises and falls with it.
        """
        several = optimizers_of(self._model)
        value = float(self._hyperparameters.values[name])
        same = [
            optimizer
            for index, optimizer in enumerate(several)
            if _is_same_rate(peak_rate(optimizer), value) and not self._is_chance(name, index)
        ]
        if same:
            return same, IDENTITY
        if len(several) == 1:
            return several, self._relation(name, 0)
        for index, optimizer in enumerate(several):
            with contextlib.suppress(LearningRateError):
                return [optimizer], self._relation(name, index)
        raise LearningRateError(
            f"none of the model's {len(several)} optimizers has a rate that follows {name!r}: pass it to one"
        )

    def start_at_usual_rate(self, name: str, swept: Sequence[Any]) -> None:
        """Let optimizers that are not swept train at a rate that is usual for them.

        A learning rate whose default the user gave stays there, and so does one that no optimizer follows, or
        whose optimizer has no usual rate.

        Args:
            name: The hyperparameter of their learning rate, whose value is set to that rate.
            swept: The optimizers that are swept.
        """
        entry = entry_named(self._hyperparameters, name)
        if has_given_default(entry):
            return
        try:
            optimizers, relation = self.followed_optimizers(name)
        except LearningRateError:
            return
        kind = Training(optimizer=type(optimizers[0]).__name__, momentum=momentum_of(optimizers[0]))
        usual = usual_log10_rate(kind)
        if usual is None or any(one is other for one in optimizers for other in swept):
            return
        value = nearest_value(entry, 10.0**usual, relation)
        self._hyperparameters.values[name] = value
        for optimizer in optimizers:
            rate = rate_of(optimizer)
            # A schedule goes on from the rate that it was made with.
            if isinstance(rate, keras.Variable):
                rate.assign(relation.rate(value))

    def _is_chance(self, name: str, index: int) -> bool:
        """Return whether an optimizer that has the very rate of a hyperparameter doesn't follow it.

        Of a few declared values, one may well be the rate that an optimizer has by default.
        """
        entry = entry_named(self._hyperparameters, name)
        if isinstance(entry, hp_types.Float) and entry.step is None:
            # An arbitrary number between its bounds, which no optimizer has by chance.
            return False
        value = self._hyperparameters.values[name]
        other = next((one for one in spread_values(self._hyperparameters, name) if one != value), None)
        if other is None or self._was_followed(name, value, index):
            return False
        try:
            if _is_same_rate(self._rate_at(name, other, index), float(other)):
                return False
            # Where another rate is built than is trained with, the training code sets it.
            return _is_same_rate(self._rate_at(name, value, index), float(value))
        except LearningRateError:
            return False

    def _was_followed(self, name: str, value: Any, index: int) -> bool:
        """Return whether a model that was built at another value had that one for its rate."""
        return any(
            name in values and values[name] != value and _is_same_rate(rates[index], float(values[name]))
            for values, rates in self._seen
            if index < len(rates)
        )

    def _relation(self, name: str, index: int) -> Relation:
        """Return how a hyperparameter's values turn into the rates of one of the model's optimizers.

        Raises:
            LearningRateError: The rate doesn't follow the hyperparameter, or both rises and falls with it.
        """
        value, rate = self._hyperparameters.values[name], peak_rate(optimizers_of(self._model)[index])
        rates = {at: self._rate_at(name, at, index) for at in spread_values(self._hyperparameters, name)}
        rate_at_value = self._rate_at(name, value, index)
        if not _is_same_rate(rate, rate_at_value):
            raise LearningRateError(
                f"the model is built for a learning rate of {rate_at_value:.4g} but trains at {rate:.4g}: "
                "leave the rate to build, or declare and set it in HyperModel.fit as it is"
            )
        return Relation(tuple(rates), tuple(rates.values()))

    def _rate_at(self, name: str, value: Any, index: int) -> float:
        """Return the rate that one of its optimizers has if the model is built at a value."""
        key = (name, value)
        if key not in self._rates:
            self._rates[key] = self._rates_built_at(name, value)
        rates = self._rates[key]
        if index >= len(rates):
            raise LearningRateError("the number of the model's optimizers depends on the learning rate")
        return rates[index]

    def _rates_built_at(self, name: str, value: Any) -> list[float]:
        """Return the rates of the optimizers of a model that is built at a value."""
        hyperparameters = without_reserved(self._hyperparameters)
        hyperparameters.values[name] = value
        with freed_at_once():
            model = self._hypermodel.build(hyperparameters)
            if not model.compiled:
                raise LearningRateError(
                    "the model is compiled in HyperModel.fit, so how its learning rate follows the "
                    "hyperparameter can't be seen: compile it in build, or declare the rate itself"
                )
            rates = [peak_rate(optimizer) for optimizer in optimizers_of(model)]
            del model
            return rates

    def batch_size_name(self, batch_size: int | None, train: Callable[..., Any]) -> str | None:
        """Return the hyperparameter that is the batch size of `fit` and moves no rate by itself.

        Larger batches mean fewer of them in as many epochs, so the rate must grow. Measured on 108 settings:
        a range that grows with the square root of the batch size holds the good rates more often where the
        epochs are the same, and less often where the number of batches is.

        Args:
            batch_size: Rows in a batch of the sweep, or None where the data brings its own batches.
            train: Trains the model with the hyperparameters that it is given.

        Returns:
            The hyperparameter's name, or None if there is no such hyperparameter.
        """
        for entry in self._hyperparameters.space:
            value = self._hyperparameters.values.get(entry.name)
            if not isinstance(entry, (hp_types.Choice, hp_types.Int)) or isinstance(value, bool):
                continue
            if batch_size is None or value != batch_size:
                continue
            other = next((end for end in entry_bounds(entry) if end != batch_size), None)
            if other is None:
                continue
            changed = without_reserved(self._hyperparameters)
            changed.values[entry.name] = other
            try:
                if batch_size_of(self._model, functools.partial(train, changed)) != other:
                    continue
                # If the model is compiled in fit, or the user scales the rate with the batch size, lrtuner's
                # own law would be a guess, or be applied on top of the user's.
                rates = [self._rates_built_at(entry.name, size) for size in (batch_size, other)]
                return entry.name if rates[0] == rates[1] else None
            except Exception:
                # What can't be tried out is not relied on.
                return None
        return None


@contextlib.contextmanager
def freed_at_once() -> Iterator[None]:
    """Free what is made and dropped meanwhile: Keras' models hold themselves until Python looks for cycles.

    Python looks through what is new alone, so that it takes no longer the more there is.
    """
    was_enabled = gc.isenabled()
    gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect(0)


def _is_same_rate(rate: float, other: float) -> bool:
    return abs(rate - other) <= _RATE_TOLERANCE * abs(other)
