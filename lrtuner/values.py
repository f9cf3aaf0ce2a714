"""Checks of values that come from a caller or from a file, and how bounds are written.

A config is the dict of strict JSON that a record's `to_config` returns and its `from_config` reads.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping


def check_bounds(min_lr: float, max_lr: float) -> tuple[float, float]:
    """Return the bounds as Python floats.

    Raises:
        ValueError: They are not finite numbers with 0 < min_lr < max_lr.
    """
    for name, value in (("min_lr", min_lr), ("max_lr", max_lr)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number above 0, got {value!r}. Pass a learning rate.")
    low, high = float(min_lr), float(max_lr)
    if not low < high:
        raise ValueError(f"min_lr must be below max_lr, got {low!r} and {high!r}. Are the bounds swapped?")
    return low, high


def check_count(count: int | None, name: str) -> int | None:
    """Return the count as a Python int, or None where it is unknown.

    Raises:
        ValueError: It is neither an integer of at least 1 nor None.
    """
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1:
        raise ValueError(f"{name} must be an integer of at least 1 or None, got {count!r}.")
    return int(count)


def check_keys(config: object, keys: set[str], name: str) -> None:
    """Raise ValueError unless `config` is a mapping with just these keys."""
    if not isinstance(config, Mapping) or set(config) != keys:
        got = sorted(map(str, config)) if isinstance(config, Mapping) else config
        raise ValueError(
            f"The config of {name} must be a dict with the keys {sorted(keys)}, got {got!r}. "
            "Pass what to_config() returned."
        )


def config_float(value: object, key: str) -> float:
    """Return a number of a config as a float.

    Raises:
        ValueError: It is not a number, or has no floating-point value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} must hold numbers, got {value!r}. Pass what to_config() returned.")
    try:
        return float(value)
    except OverflowError as e:
        raise ValueError(
            f"{key} holds a number too large for a float. Pass what to_config() returned."
        ) from e


def bounds_in_words(low: float, high: float) -> str:
    """Write two learning rates, the lowest and the highest, as messages do."""
    return f"{low:.3g} to {high:.3g}"
