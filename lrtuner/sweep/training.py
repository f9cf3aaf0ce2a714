"""The sweep inside of training code: the first call of `model.fit` becomes the sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lrtuner.sweep.calls import LeaveFit, binding, epochs_of, run_until_fit
from lrtuner.sweep.compiling import is_worth_compiling
from lrtuner.sweep.data import rows_declared
from lrtuner.sweep.recorders import recorder_for
from lrtuner.sweep.report import SweepOrder, SweepReport
from lrtuner.sweep.swept_fit import FinderInTraining, SweptFit


def sweep_in_training(
    model: Any,
    train: Callable[[], Any],
    *,
    min_lr: float,
    max_lr: float,
    steps: int | None,
    restore: bool = False,
    on_start: Callable[[dict[str, Any]], SweepOrder] = lambda _arguments: SweepOrder(),
    shuffle: bool = True,
) -> SweepReport:
    """Run a training function and turn the `model.fit` inside of it into a sweep.

    Whatever the training function passes to `model.fit` holds, data, batch size, weights and `verbose` among
    it. Callbacks and validation are left out, the number of epochs is whatever the sweep takes, and the
    batches come in random order, see `in_random_order`.

    Args:
        model: A compiled Keras model.
        train: Called without arguments; is expected to call `model.fit`.
        min_lr: First learning rate.
        max_lr: Last learning rate.
        steps: Batches in the sweep, or `None` for the default budget.
        restore: Whether to give the model back as it was.
        on_start: Called with the arguments of `model.fit`, by name, when that is about to begin; says what to
            sweep.
        shuffle: Whether to draw the batches in random order, whatever is passed to `model.fit`.

    Returns:
        A `SweepReport` with a curve of at most `steps` batches.

    Raises:
        UnusableModelError: Where the model is not compiled or there is no data.
        NoSweepError: Where the training function never calls `model.fit`.
    """

    def new_finder(arguments: dict[str, Any]) -> FinderInTraining:
        order = on_start(arguments)
        if not is_worth_compiling(model, steps):
            # `SweptFit.close` puts it back.
            model.run_eagerly = True
        return FinderInTraining(
            min_lr,
            max_lr,
            steps,
            restore=restore,
            verbose=arguments.get("verbose", "auto"),
            order=dataclasses.replace(order, epochs=order.epochs or epochs_of(arguments)),
            recorder=recorder_for(model),
            arguments=arguments,
        )

    fit = SweptFit(model, new_finder, shuffle=shuffle)
    try:
        try:
            run_until_fit(model, train, fit)
        except Exception:
            # What training code does when it is left, as in a `finally`, may fail for lack of results.
            if not fit.is_over:
                raise
        return fit.report()
    finally:
        fit.close()


def batch_size_of(model: Any, train: Callable[[], Any]) -> int | None:
    """Return the batch size that a training function passes to `model.fit`, without training anything.

    Args:
        model: A compiled Keras model.
        train: Called without arguments; is expected to call `model.fit`.

    Returns:
        Rows in a batch, or `None` where the arguments don't tell them, `model.fit` is not called, or trains
        on as many batches whatever their size (`steps_per_epoch`).
    """
    bind = binding(model)
    training: dict[str, Any] = {}

    def fit(*args: Any, **kwargs: Any) -> None:
        training.update(bind(args, kwargs))
        raise LeaveFit

    run_until_fit(model, train, fit)
    if training.get("x") is None or training.get("steps_per_epoch") is not None:
        return None
    return rows_declared(training)
