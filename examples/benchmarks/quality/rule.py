"""Rules that read a range off a curve, and what they are told."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from bench.late import lrtuner
from bench.losses import absolute, crossentropy, squared
from bench.truth import Range

from quality import tasks
from quality.measuring import MeasuredTask


class Case(NamedTuple):
    """The curve of one sweep, and the task that was swept."""

    learning_rates: np.ndarray
    losses: np.ndarray
    updates: np.ndarray
    task: MeasuredTask


# Of these, and their like, a sweep knows the loss of a constant prediction.
KNOWN_CHANCE = (crossentropy, squared, absolute)
GIVEN, OTHER, NO_SWEEP = "given", "other", "no sweep"


class Rule(NamedTuple):
    """A rule with the name that tables and pictures give it.

    `ask` returns log10 of minimum and maximum, or `None` where there is no range.
    """

    name: str
    ask: Callable[[Case], Range | None]
    origin: str = OTHER


def cases(task: MeasuredTask, length: int | str) -> Iterator[Case]:
    """Yield the sweeps of this length."""
    for sweep in task.sweeps:
        if sweep.length == length:
            yield Case(*sweep.curve(), task)


def given(spec: str) -> list[Rule]:
    """Return the rule that `module:callable` names: told nothing else, and told the task.

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
    return [
        Rule(spec, _asking(rule, told=False), GIVEN),
        Rule(f"{spec}, told the task", _asking(rule, told=True), GIVEN),
    ]


def _asking(rule: Callable[[Any], Any], told: bool) -> Callable[[Case], Range | None]:
    """Ask a rule of lrtuner's form. What it is told stands in the curve's `training`."""

    def ask(case: Case) -> Range | None:
        training = _training(case.task) if told else None
        try:
            updates = case.updates if told else None
            found = rule(
                lrtuner.LRCurve(case.learning_rates, case.losses, training=training, updates=updates)
            )
        except ValueError:
            return None
        low, high = (found.min_lr, found.max_lr) if hasattr(found, "min_lr") else found
        return (float(np.log10(low)), float(np.log10(high))) if 0 < low < high < np.inf else None

    return ask


def _training(task: MeasuredTask) -> Any:
    """Return what a search knows of a task."""
    return lrtuner.Training(
        optimizer=task.optimizer,
        momentum=task.momentum,
        batch_size=task.batch_size,
        batches_per_epoch=task.batches_per_epoch,
        epochs=task.epochs,
        is_shuffled=True,
        is_pretrained=task.is_pretrained,
        chance=task.truth.chance if tasks.task(task.task).loss in KNOWN_CHANCE else None,
    )
