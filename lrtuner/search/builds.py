"""What building a model shows: what it is compiled with, and which layers bring their inputs to one scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import keras
import keras_tuner

# What is not known, as of a model that can't be built.
UNKNOWN = "unknown"
# Layers that bring the inputs of the whole model to scale.
SCALING = {"Normalization", "Rescaling"}
# Layers that bring their inputs to one scale; `RMSNormalization` is not in every Keras 3.
_NORMALISERS = tuple(
    layer
    for name in (
        "BatchNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "Normalization",
        "Rescaling",
        "RMSNormalization",
        "UnitNormalization",
    )
    if (layer := getattr(keras.layers, name, None)) is not None
)


class Built(NamedTuple):
    """What a build's model is like.

    Attributes:
        compiled: What it is compiled with, or `UNKNOWN` where it can't be built.
        normalisers: Class names of its layers that bring their inputs to one scale.
    """

    compiled: Hashable
    normalisers: frozenset[str] = frozenset()


Builder = Callable[[keras_tuner.HyperParameters], Built]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a build showed.

    Attributes:
        given: The hyperparameters whose values it was given.
        values: Their values, and those of what it has declared beside them, the defaults.
        declared: The hyperparameters that it declared.
        rates: Those of them that are learning rates.
        built: What its model is like.
    """

    given: frozenset[str]
    values: Mapping[str, Any]
    declared: frozenset[str]
    rates: frozenset[str]
    built: Built

    def holds_at(self, values: Mapping[str, Any]) -> bool:
        """Return whether a build at other values shows the same.

        What it doesn't declare, it can't see, and the rates' values are no part of what it shows.
        """
        return all(
            values[name] == self.values[name] if name in values else name not in self.given
            for name in self.declared - self.rates
        )


def normalisers_of(model: keras.Model) -> frozenset[str]:
    """Return the class names of a model's layers that bring their inputs to one scale."""
    layers = list(model._flatten_layers())
    return frozenset(
        kind.__name__ for kind in _NORMALISERS if any(isinstance(layer, kind) for layer in layers)
    )
