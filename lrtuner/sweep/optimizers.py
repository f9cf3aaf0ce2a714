"""The optimizers of a model and the learning rates that they train with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from lrtuner.sweep.errors import UnusableModelError


def rate_of(optimizer: Any) -> Any:
    """Return an optimizer's rate as it keeps it: a variable, a schedule or a callable.

    Raises:
        UnusableModelError: Where the optimizer has no single learning rate.
    """
    try:
        # MultiOptimizer keeps a rate that it doesn't use; its property raises.
        _ = optimizer.learning_rate
        return optimizer._learning_rate
    except AttributeError as error:
        raise UnusableModelError(
            f"The optimizer {type(optimizer).__name__} has no single learning rate to sweep: compile the "
            "model with one optimizer that has a learning_rate. The rates of a MultiOptimizer can be swept "
            "in a search alone, such as lrtuner.RandomSearch, with their names in a list as learning_rate."
        ) from error


def own_optimizer(model: Any) -> Any:
    """Return the optimizer that keeps a compiled model's learning rate, or else the first that it holds."""
    if model.optimizer is not None:
        # LossScaleOptimizer (mixed precision) keeps the rate in the optimizer that it wraps.
        return getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return next(iter(optimizers_of(model)), None)


def optimizers_of(model: Any) -> list[Any]:
    """Return all optimizers that a model holds, those that it is compiled with first.

    A model with a training step of its own keeps optimizers among its attributes and those of its layers and
    sub-models, also in lists and dicts.

    Args:
        model: A Keras model.

    Returns:
        The optimizers that have a rate of their own: in place of a `MultiOptimizer` those in it, in place of
        a `LossScaleOptimizer` the one that it wraps.
    """
    held = list(_optimizers_in(model.optimizer))
    for layer in model._flatten_layers():
        # TensorFlow's own notes on an object also name what it doesn't hold any more.
        attributes = {name: value for name, value in vars(layer).items() if not name.startswith("_self_")}
        held += _optimizers_in(attributes)
    # By identity: Keras' optimizers don't say when they are equal.
    return list({id(one): one for one in held}.values())


def _optimizers_in(value: Any) -> Iterator[Any]:
    if isinstance(value, keras.optimizers.Optimizer):
        inner = getattr(value, "inner_optimizer", value)
        yield from getattr(inner, "optimizers", [inner])
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _optimizers_in(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _optimizers_in(one)


def momentum_of(optimizer: Any) -> float | None:
    """Return an optimizer's momentum, at least 0 and below 1, or None where it has none to set."""
    momentum = getattr(optimizer, "momentum", None)
    # Keras allows for a momentum of 1, with which no rate trains.
    return float(momentum) if isinstance(momentum, (int, float)) and 0 <= momentum < 1 else None


def compiled_with(model: Any) -> Any:
    """Return what a model is compiled with, as far as it moves the best learning rate by much.

    Args:
        model: A Keras model.

    Returns:
        The class name and the momentum of each of its optimizers; `None` where it is not compiled.
    """
    if not getattr(model, "compiled", False):
        return None
    return tuple((type(one).__name__, getattr(one, "momentum", None)) for one in optimizers_of(model)) or None


def peak_rate(optimizer: Any) -> float:
    """Return the learning rate that an optimizer trains with; of a schedule, its highest.

    Args:
        optimizer: A Keras optimizer.

    Returns:
        The rate. A schedule is evaluated at steps 0, 1, 2, 4, ... 2**20, whose maximum is
        the base rate of a decay and close to the target rate of a warm-up.

    Raises:
        UnusableModelError: Where the optimizer has no single learning rate.
    """
    rate = rate_of(optimizer)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        steps = [0, *(2**power for power in range(21))]
        return max(float(keras.ops.convert_to_numpy(rate(step))) for step in steps)
    if callable(rate) and not isinstance(rate, keras.Variable):
        rate = rate()
    return float(keras.ops.convert_to_numpy(rate))


@contextlib.contextmanager
def rates_shared(optimizer: Any, others: Sequence[Any]) -> Iterator[None]:
    """Make other optimizers train at one optimizer's rate, as far as their rates are plain numbers."""
    shared = rate_of(optimizer)
    plain = [one for one in others if isinstance(rate_of(one), keras.Variable)]
    before = [rate_of(one) for one in plain] if isinstance(shared, keras.Variable) else []
    try:
        for one, _ in zip(plain, before, strict=False):
            one._learning_rate = shared
        yield
    finally:
        for one, rate in zip(plain, before, strict=False):
            one._learning_rate = rate
