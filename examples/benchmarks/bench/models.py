"""Small Keras models, not compiled.

Layers draw the seeds of their weights when they are made, so the order of making them is part of a task.
"""

from __future__ import annotations

from typing import Any

from bench.late import keras


def mlp(
    widths: tuple[int, ...],
    outputs: int,
    activation: str = "relu",
    bn: bool = False,
    dropout: float = 0.0,
    **dense: Any,
) -> Any:
    """Build dense layers; `dense` goes to each hidden one."""
    layers = keras.layers
    stack = []
    for width in widths:
        stack.append(layers.Dense(width, **dense))
        if bn:
            stack.append(layers.BatchNormalization())
        stack.append(layers.Activation(activation))
        if dropout:
            stack.append(layers.Dropout(dropout))
    return keras.Sequential([*stack, layers.Dense(outputs)])


def residual(depth: int, width: int, outputs: int) -> Any:
    """Build residual dense blocks on 64 inputs."""
    layers = keras.layers
    inputs = keras.Input((64,))
    h = layers.Dense(width)(inputs)
    for _ in range(depth):
        h = h + layers.Dense(width)(layers.Activation("gelu")(layers.LayerNormalization()(h)))
    return keras.Model(inputs, layers.Dense(outputs)(h))


def cnn(outputs: int, filters: int = 8, bn: bool = False, dropout: float = 0.0, pool: bool = False) -> Any:
    """Build two convolutions, the second at half the resolution."""
    layers = keras.layers
    stack = []
    for strides in (1, 2):
        stack.append(layers.Conv2D(filters * strides, 3, strides=strides))
        if bn:
            stack.append(layers.BatchNormalization())
        stack.append(layers.Activation("relu"))
    stack.append(layers.GlobalAveragePooling2D() if pool else layers.Flatten())
    if dropout:
        stack.append(layers.Dropout(dropout))
    return keras.Sequential([*stack, layers.Dense(outputs)])


def recurrent(cell: str, units: int, outputs: int) -> Any:
    """Build one recurrent layer, `cell` being its class."""
    layers = keras.layers
    return keras.Sequential([getattr(layers, cell)(units, unroll=True), layers.Dense(outputs)])


def conv1d(outputs: int) -> Any:
    """Build two convolutions along time."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv1D(16, 3, activation="relu"),
            layers.Conv1D(16, 3, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(outputs),
        ]
    )


def transformer(outputs: int, width: int = 16, length: int = 10, vocabulary: int = 8, blocks: int = 1) -> Any:
    """Build blocks of attention over tokens, with learnt positions."""
    layers = keras.layers
    inputs = keras.Input((length,))
    h = layers.Embedding(vocabulary, width)(inputs) + layers.Embedding(length, width)(
        keras.ops.arange(length)
    )
    for _ in range(blocks):
        n = layers.LayerNormalization()(h)
        h = h + layers.MultiHeadAttention(2, width // 2)(n, n)
        n = layers.LayerNormalization()(h)
        h = h + layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(n))
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(h))
    return keras.Model(inputs, layers.Dense(outputs)(pooled))


def bag(outputs: int, vocabulary: int = 8) -> Any:
    """Build a dense net on embedded tokens."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Embedding(vocabulary, 16),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(outputs),
        ]
    )
