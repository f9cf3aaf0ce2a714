"""A Keras model as a sweep sees it: its optimizers and their rates, its state, and the random generators."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from lrtuner.errors import UnusableModelError

# --- Optimizers ---------------------------------------------------------------------------------------------


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


# A bias or a gain (as of normalisation) is made of zeros, of ones, or of both, as that of an LSTM.
_FRESH_VALUES = 2
# Where half of a net is frozen, its good rates were measured to be those of a fresh one. This share of the
# kernels is trained where an embedding is frozen, or all normalisation.
_WHOLE = 0.75


def _trainable_kernels(model: Any) -> list[bool]:
    """Return of each weight with more than one axis whether it is to be trained."""
    return [bool(one.trainable) for one in model.weights if len(one.shape) > 1]


def is_pretrained(model: Any) -> bool:
    """Return whether nearly all of a model is to be trained, and most of it was trained before.

    Of what was trained, biases and gains are not as they are made. A model without any counts as fresh.
    """
    kernels = _trainable_kernels(model)
    if sum(kernels) < _WHOLE * len(kernels):
        return False
    vectors = [one for one in model.trainable_variables if len(one.shape) == 1 or one.name == "bias"]
    values = [keras.ops.convert_to_numpy(one) for one in vectors]
    trained = [len(np.unique(one)) > _FRESH_VALUES for one in values if one.size > _FRESH_VALUES]
    return 2 * sum(trained) >= len(trained) > 0


def is_head(model: Any) -> bool:
    """Return whether a single layer is to be trained, on top of frozen ones."""
    kernels = _trainable_kernels(model)
    return sum(kernels) == 1 < len(kernels)


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


# --- State --------------------------------------------------------------------------------------------------

# The name under which Keras keeps the generator of what draws without a seed.
_KERAS_GENERATOR = "global_seed_generator"
# An array of fewer values is copied as it is.
_FEW = 1024


class Snapshot:
    """What a sweep changes in a model, to be put back bit for bit.

    Args:
        model: A compiled Keras model.

    Raises:
        UnusableModelError: Where the model has no weights yet.
    """

    def __init__(self, model: Any) -> None:
        if not model.built:
            raise UnusableModelError(
                "The model has no weights yet, so they can't be restored after the sweep: build it first, "
                "for example by calling it on one batch of inputs, `model(x[:1])`."
            )
        self._model = model
        build_optimizer(model)
        others = [one for one in optimizers_of(model) if one is not model.optimizer]
        # Of these nobody knows which weights they will train.
        self._unbuilt = [(one, one.get_config()) for one in others if not one.built]
        variables = [*model.variables, *model.metrics_variables]
        for optimizer in [model.optimizer, *others]:
            variables += [] if optimizer is None else optimizer.variables
        # By identity: one variable may stand in several of these lists.
        unique = {id(variable): variable for variable in variables}.values()
        self._values = [(variable, _copied(keras.ops.convert_to_numpy(variable))) for variable in unique]

    def restore(self) -> None:
        """Put the state back."""
        sync = getattr(self._model, "jax_state_sync", None)
        if sync is not None:
            sync()
        for optimizer, config in self._unbuilt:
            if optimizer.built:
                fresh = type(optimizer).from_config(config)
                fresh.build(optimizer._trainable_variables)
                for variable, first in zip(optimizer.variables, fresh.variables, strict=True):
                    variable.assign(first)
        for variable, value in self._values:
            variable.assign(value)


def build_optimizer(model: Any) -> None:
    """Give a model's optimizer its variables, unless it has them.

    Args:
        model: A compiled Keras model that has its weights.
    """
    # A LossScaleOptimizer that is built twice has its variables twice, and the scale it began with.
    if model.optimizer is not None and not model.optimizer.built:
        strategy = getattr(model, "distribute_strategy", None)
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            model.optimizer.build(model.trainable_variables)


def _copied(array: Any) -> Any:
    """Return a copy of an array, which takes no memory where all values have the same bits.

    So have the moments of an optimizer that has made no step: with Adam, two thirds of what is kept.
    """
    array = np.asarray(array)
    if array.size >= _FEW and array.itemsize in (1, 2, 4, 8):
        bits = array.view(f"u{array.itemsize}")
        if (bits == bits.flat[0]).all():
            return np.broadcast_to(array.flat[0].copy(), array.shape)
    return np.copy(array)


def size_of(model: Any) -> int:
    """Return the number of values in a model's weights."""
    return sum(int(np.prod(variable.shape)) for variable in model.variables)


# --- Random generators --------------------------------------------------------------------------------------


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give the global random generators back as they were, so that what follows draws what it would have.

    Covers Python's, from which Keras draws its default seeds, NumPy's, Keras' own and the backend's; and
    TensorFlow's, with which tf.data shuffles on every backend.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras_generator = global_state.get_global_attribute(_KERAS_GENERATOR)
    keras_state = None if keras_generator is None else keras.ops.convert_to_numpy(keras_generator.state)
    tensorflow_generator = None
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        tensorflow_generator = getattr(context.context(), "_rng", None)
    tensorflow_state = None if tensorflow_generator is None else tensorflow_generator.getstate()
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            import torch

            # That of each GPU as well.
            stack.enter_context(torch.random.fork_rng(range(torch.cuda.device_count())))
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            global_state.set_global_attribute(_KERAS_GENERATOR, keras_generator)
            if keras_generator is not None:
                keras_generator.state.assign(keras_state)
            if tensorflow_generator is not None:
                tensorflow_generator.setstate(tensorflow_state)


def current_seed() -> int:
    """Return a seed that follows from Python's generator, and draw nothing from it.

    After `keras.utils.set_random_seed` it is always the same.
    """
    state = random.getstate()
    seed = random.getrandbits(31)
    random.setstate(state)
    return seed
