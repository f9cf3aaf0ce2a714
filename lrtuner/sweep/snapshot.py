"""A model's state, kept over a sweep."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lrtuner.sweep.errors import UnusableModelError
from lrtuner.sweep.optimizers import optimizers_of

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
