"""From a worker's answer to a finished sweep, with its range or the reason why it has none."""

from __future__ import annotations

import dataclasses

import keras_tuner as kt

from lrtuner.curve.curve import LRCurve, Training
from lrtuner.curve.lr_range import LRRange, NoRangeError
from lrtuner.curve.rules import Rule, suggest_range
from lrtuner.search.protocol import SweepAnswer
from lrtuner.search.record import ALONE, Sweep


def read_sweep(
    answer: SweepAnswer,
    hyperparameters: kt.HyperParameters,
    learning_rate: str | None,
    *,
    rule: str | Rule,
    epochs: int | None,
) -> Sweep:
    """Return the sweep that an answer tells of.

    Args:
        answer: What came of it.
        hyperparameters: What the model was built with.
        learning_rate: Name of the hyperparameter that was to be swept; None if the training code was to
            declare it.
        rule: How to read the range off the curve, see `suggest_range`.
        epochs: Epochs in one full training where the wrapped oracle sets them, as Hyperband does.

    Returns:
        The sweep, with a range or a reason why there is none.
    """
    sweep = Sweep(
        name=ALONE,
        hyperparameters=hyperparameters,
        reason=answer.error,
        relation=answer.relation,
        learning_rate=answer.learning_rate or learning_rate or "",
    )
    report = answer.report
    if report is not None:
        training = report.curve.training or Training()
        if epochs is not None:
            training = dataclasses.replace(training, epochs=epochs)
        sweep.curve = dataclasses.replace(report.curve, training=training)
        sweep.batch_size = training.batch_size
        sweep.lr_range, sweep.reason = _read_range(sweep.curve, rule, report.fault)
    return sweep


def _read_range(curve: LRCurve, rule: str | Rule, fault: str | None) -> tuple[LRRange | None, str | None]:
    """Return the range that a sweep's curve shows, and if it shows none the reason."""
    if fault is not None:
        return None, fault
    try:
        lr_range = suggest_range(curve, rule=rule)
    except NoRangeError as error:
        return None, str(error)
    except Exception as error:
        if isinstance(rule, str):
            raise
        # A rule of the user's own may fail in any way.
        return None, f"{type(error).__name__}: {error}"
    evidence = lr_range.evidence
    if evidence is not None and not evidence.is_from_curve:
        # What is usual for the optimizer is no reason to cut the user's space.
        return None, str(evidence)
    return lr_range, None
