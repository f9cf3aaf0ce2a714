"""Records as strict JSON: dataclasses of numbers, words, arrays and records, read by their annotations."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def encode(value: Any) -> Any:
    """Return what JSON holds of a value: NaN is "nan", infinity "inf" or "-inf", and an array a list.

    Args:
        value: A dataclass, an array, a list, a dict, a number, words or None, in each other as well.
            KerasTuner's objects become what their `get_config` returns.
    """
    if hasattr(value, "get_config"):
        return value.get_config()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(one) for key, one in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return encode(value.tolist())
    if isinstance(value, (list, tuple)):
        return [encode(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def decode(kind: Any, config: Any, name: str = "The config") -> Any:
    """Return the value that `encode` described.

    Fields of a dataclass that have a default may be missing. What an annotation leaves open, by `Any` or by
    several kinds, stays as it is.

    Args:
        kind: The dataclass, or the annotation of another value.
        config: What `encode` returned, or JSON made of it.
        name: What the config is of, for messages.

    Raises:
        ValueError: The config does not fit, or the dataclass refuses its values.
    """
    origin, kinds = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = tuple(one for one in kinds if one is not types.NoneType)
        return config if config is None or kinds[1:] else decode(kinds[0], config, name)
    if dataclasses.is_dataclass(origin) and isinstance(config, Mapping):
        hints = typing.get_type_hints(kind)
        made = {key: decode(hints.get(key, Any), one, f"{name}'s {key}") for key, one in config.items()}
        try:
            return kind(**made)
        except TypeError as error:
            raise ValueError(f"{name} is not one of {kind.__name__}: {error}.") from error
    if origin in (dict, Mapping) and isinstance(config, Mapping):
        return {key: decode(kinds[1], one, name) for key, one in config.items()}
    if isinstance(config, (list, tuple)):
        if origin is np.ndarray:
            return np.array([decode(float, one, name) for one in config], dtype=np.float64)
        if origin in (tuple, list, Sequence):
            if origin is not tuple or kinds[1:] == (...,):
                kinds = kinds[:1] * len(config)
            if len(kinds) == len(config):
                parts = [decode(one, part, name) for one, part in zip(kinds, config, strict=True)]
                return tuple(parts) if origin is tuple else parts
    if kind is float and (type(config) in (int, float) or config in ("nan", "inf", "-inf")):
        return float(config)
    if kind is Any or type(config) is origin:
        return config
    raise ValueError(f"{name} must be of the kind {getattr(kind, '__name__', kind)}, got {config!r}.")
