"""From a worker's answer to a finished sweep, with its range or the reason why it has none."""

from __future__ import annotations

import keras_tuner as kt

from lrtuner.lr_range import LRRange, NoRangeError
from lrtuner.protocol import SweepAnswer
from lrtuner.rules import Rule, suggest_range
from lrtuner.search.record import Sweep
from lrtuner.sweep import SweepReport


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
        name="learning-rate sweep",
        hyperparameters=hyperparameters,
        reason=answer.error,
        relation=answer.relation,
        learning_rate=answer.learning_rate or learning_rate or "",
    )
    report = answer.report
    if report is not None:
        sweep.curve, sweep.batch_size = report.curve, report.batch_size
        sweep.lr_range, sweep.reason = _read_range(report, rule, epochs)
    return sweep


def _read_range(
    report: SweepReport, rule: str | Rule, epochs: int | None
) -> tuple[LRRange | None, str | None]:
    """Return the range that a sweep's curve shows, and if it shows none the reason."""
    if report.fault is not None:
        return None, report.fault
    epochs = epochs or report.epochs
    try:
        lr_range = suggest_range(
            report.curve,
            rule=rule,
            train_steps=report.batches_per_epoch * epochs if report.batches_per_epoch and epochs else None,
            optimizer=report.optimizer,
            batch_size=report.batch_size,
            momentum=report.momentum,
        )
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
