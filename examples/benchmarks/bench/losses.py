"""Losses that give one number for each example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.late import keras

Loss = Callable[[Any, Any], Any]


def crossentropy(y: Any, z: Any) -> Any:
    return keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)


def binary(y: Any, z: Any) -> Any:
    return keras.ops.mean(keras.ops.binary_crossentropy(y, z, from_logits=True), axis=-1)


def squared(y: Any, z: Any) -> Any:
    return keras.ops.mean(keras.ops.square(y - z), axis=tuple(range(1, len(z.shape))))


def absolute(y: Any, z: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(y - z), axis=-1)


def huber(y: Any, z: Any) -> Any:
    return keras.losses.huber(y, z)


def poisson(y: Any, z: Any) -> Any:
    return keras.ops.mean(keras.ops.exp(z) - y * z, axis=-1)


def gaussian(y: Any, z: Any) -> Any:
    """Return the negative log likelihood of a mean and a log standard deviation; close fits go below 0."""
    mean, log_std = z[:, :1], z[:, 1:]
    return keras.ops.mean(log_std + 0.5 * keras.ops.square((y - mean) * keras.ops.exp(-log_std)), axis=-1)


def cosine(y: Any, z: Any) -> Any:
    return keras.losses.cosine_similarity(y, z)


def hinge(y: Any, z: Any) -> Any:
    hot = keras.ops.one_hot(y, z.shape[-1])
    return keras.losses.categorical_hinge(hot, z)


def as_compiled(loss: Loss) -> Any:
    """Return the loss that people compile a model with for this one: Keras' own, where there is one."""
    names = {crossentropy: keras.losses.SparseCategoricalCrossentropy(from_logits=True), squared: "mse"}
    return names.get(loss, loss)


def linear(loss: Loss, scale: float = 1.0, shift: float = 0.0) -> Loss:
    """Return the loss, scaled and shifted."""
    return lambda y, z: loss(y, z) * scale + shift
