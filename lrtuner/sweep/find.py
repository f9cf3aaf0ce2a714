"""A sweep of a model that the user keeps."""

from __future__ import annotations

import dataclasses
from typing import Any

from lrtuner.curve.checks import check_count
from lrtuner.curve.curve import LRCurve
from lrtuner.messages import warn
from lrtuner.sweep.finder import check_ramp
from lrtuner.sweep.training import check_trainable, fit_arguments, sweep_fit


def find_lr(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    batch_size: int | None = None,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    steps: int | None = None,
    verbose: int | str = "auto",
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    shuffle: bool = True,
    steps_per_epoch: int | None = None,
    **fit: Any,
) -> LRCurve:
    """Sweeps the learning rate of a compiled model and gives the model back as it was.

    Weights, optimizer state, learning rate (or schedule) and metrics are restored bit for bit, also after an
    exception or Ctrl-C. See `LRFinder` for what is recorded. An optimizer without variables gets them, as in
    `fit`: compile the model again after you change what of it is trainable.

    >>> curve = lrtuner.find_lr(model, x, y, batch_size=64, steps=100, verbose=0)
    >>> lr_range = lrtuner.suggest_range(curve)
    >>> axes = curve.plot()

    Args:
        model: A compiled Keras model.
        x: Training inputs, anything that `model.fit` takes.
        y: Targets, as for `model.fit`.
        batch_size: Rows in a batch of arrays, as for `model.fit`.
        min_lr: Float, the first learning rate.
        max_lr: Float, the last learning rate.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300; 300 where nobody knows how long an epoch is.
        verbose: 0 for silence, 1 or "auto" for a progress bar, 2 for a line without a bar.
        sample_weight: As for `model.fit`.
        class_weight: As for `model.fit`.
        shuffle: Boolean, whether to draw rows of arrays, and whole batches of a `tf.data.Dataset` or a
            `PyDataset`, in random order: data that come in an order move the losses as the learning rate
            does. `False` takes them as they come.
        steps_per_epoch: As for `model.fit`.
        **fit: Whatever else `model.fit` takes. The rows of a `validation_split` are left out; `epochs` are
            noted for the range, and the sweep is no longer for them. Validation data are not looked at, and
            callbacks are not called.

    Returns:
        The `LRCurve`: learning rates and raw losses, both of shape `(batches,)`. It is shorter than `steps`
        where the loss blew up or the data ran out.

    Raises:
        TypeError: Where `model` is not a Keras model.
        UnusableModelError: A `ValueError`, where the model is not compiled or has no single learning rate,
            nothing to train, or there is no data.
        ValueError: Where the model's own training step reports no loss, or where the bounds, the number of
            steps or another argument make no sense.
    """
    check_ramp(min_lr, max_lr, steps)
    for name, count in (("batch_size", batch_size), ("steps_per_epoch", steps_per_epoch)):
        check_count(count, name)
    if class_weight is not None and not isinstance(class_weight, dict):
        raise ValueError(
            f"class_weight must be a dict of class and weight or None, got {class_weight!r}: pass "
            "{0: 1.0, 1: 5.0}, say."
        )
    check_trainable(model, x)
    given = fit_arguments(
        model,
        (x, y),
        {
            "batch_size": batch_size,
            "verbose": verbose,
            "sample_weight": sample_weight,
            "class_weight": class_weight,
            "shuffle": shuffle,
            "steps_per_epoch": steps_per_epoch,
            **fit,
        },
    )
    curve = sweep_fit(model, given, min_lr=min_lr, max_lr=max_lr, steps=steps, restore=True, shuffle=shuffle)
    if curve.fault is not None:
        warn(f"{curve.fault}.")
    if "epochs" in fit or curve.training is None:
        return curve
    # One epoch is no more than the default of `model.fit`, which was not asked for.
    return dataclasses.replace(curve, training=dataclasses.replace(curve.training, epochs=None))
