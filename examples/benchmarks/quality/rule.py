"""Rules that read a range off a curve, and what they are told."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from bench.late import lrtuner
from bench.truth import Range

from quality.measuring import MeasuredTask


class Case(NamedTuple):
    """A curve, and what a rule may know about the training that it belongs to."""

    learning_rates: np.ndarray
    losses: np.ndarray
    optimizer: str
    momentum: float | None
    batch_size: int
    train_steps: int


# What a rule of lrtuner's form is told, beside the curve, as far as its signature takes it.
HINTS = ("train_steps", "optimizer", "batch_size", "momentum")

GIVEN, OTHER, NO_SWEEP = "given", "other", "no sweep"


class Rule(NamedTuple):
    """A rule with the name that tables and pictures give it.

    `ask` returns log10 of minimum and maximum, or `None` where there is no range.
    """

    name: str
    ask: Callable[[Case], Range | None]
    origin: str = OTHER


def cases(measured: MeasuredTask, length: int | str) -> Iterator[Case]:
    """Yield the sweeps of this length, each with what is known about the task."""
    for sweep in measured.sweeps:
        if sweep.length == length:
            yield Case(
                *sweep.curve(),
                measured.optimizer,
                measured.momentum,
                measured.batch_size,
                measured.train_steps,
            )


def given(spec: str) -> list[Rule]:
    """Return the rule that `module:callable` names: with the curve alone, and told the task if it asks.

    Raises:
        ValueError: Where there is no such module or callable.
    """
    module, _, name = spec.partition(":")
    try:
        rule = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"a rule is module:callable, such as lrtuner:suggest_range, got {spec!r}: {error}"
        ) from error
    takes = [hint for hint in HINTS if hint in inspect.signature(rule).parameters]
    result = [Rule(spec, _asking(rule, []), GIVEN)]
    return [*result, Rule(f"{spec}, told the task", _asking(rule, takes), GIVEN)] if takes else result


def _asking(rule: Callable[..., Any], takes: list[str]) -> Callable[[Case], Range | None]:
    """Ask a rule of lrtuner's form, telling it these things."""

    def ask(case: Case) -> Range | None:
        told = {hint: getattr(case, hint) for hint in takes}
        try:
            found = rule(lrtuner.LRCurve(case.learning_rates, case.losses), **told)
        except ValueError:
            return None
        low, high = (found.min_lr, found.max_lr) if hasattr(found, "min_lr") else found
        return (float(np.log10(low)), float(np.log10(high))) if 0 < low < high < np.inf else None

    return ask
