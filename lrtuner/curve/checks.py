"""Checks of numbers that come from a caller."""

from __future__ import annotations

import math
import numbers


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
