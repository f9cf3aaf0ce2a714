"""The callback that sweeps the learning rate during `model.fit`."""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import keras
import numpy as np

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.curve import LRCurve, Training, geometric_ramp
from lrtuner.curve.smoothing import FloatArray
from lrtuner.errors import UnusableModelError
from lrtuner.notebook import ProgressLine, in_kernel
from lrtuner.sweep.compiling import is_small
from lrtuner.sweep.model import Snapshot, momentum_of, own_optimizer
from lrtuner.sweep.recorders import Recorder, recorder_for
from lrtuner.sweep.report import SweepOrder
from lrtuner.warn import warn

# The sweep's budget in batches where the caller names none: one epoch, within these limits. One sweep of
# 300 batches reads as well as one of 600; below 100 the readings of a range grow unreliable.
MIN_DEFAULT_STEPS = 100
MAX_DEFAULT_STEPS = 300
# Below ten batches no rule can tell a descent from noise.
MIN_STEPS = 10


def default_steps(batches_per_epoch: int | None, *, epochs: int | None = None, sweeps: int = 1) -> int:
    """Return the number of batches in a sweep whose length the caller left open.

    Args:
        batches_per_epoch: Batches in one epoch, or `None` where nobody knows (generators).
        epochs: Epochs in one full training; one where nobody knows.
        sweeps: Sweeps that share the budget, which is one full training for all of them.

    Returns:
        One epoch, but at least 100 and at most 300 batches; 300 where the epoch's length is unknown. Several
        sweeps get an equal share of one full training where that is less, but at least 100 batches.
    """
    epoch = MAX_DEFAULT_STEPS if batches_per_epoch is None else batches_per_epoch
    share = epoch * (epochs or 1) // sweeps if sweeps > 1 else epoch
    return min(max(min(epoch, share), MIN_DEFAULT_STEPS), MAX_DEFAULT_STEPS)


def check_ramp(min_lr: float, max_lr: float, steps: int | None) -> None:
    """Raise before any work where a sweep over this ramp makes no sense.

    Args:
        min_lr: First learning rate of the ramp.
        max_lr: Last learning rate of the ramp.
        steps: Batches in the sweep, or `None` for the default budget.

    Raises:
        ValueError: Where the bounds are not 0 < min_lr < max_lr, or there are fewer than ten steps.
    """
    geometric_ramp(min_lr, max_lr, MIN_STEPS if steps is None else steps)


# The LRFinder that is at work on each model, so that one cut off by an exception can be undone.
_at_work: weakref.WeakKeyDictionary[Any, LRFinder] = weakref.WeakKeyDictionary()


class LRFinder(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Sweeps the learning rate during `model.fit` and records each batch's own loss.

    The rates rise from batch to batch on a geometric ramp, `min_lr * (max_lr / min_lr) ** (i / (steps - 1))`
    for batch `i`. The recorded loss is that of the batch alone, before its update: never Keras' running mean
    over the epoch. A batch that leaves weights which are not finite counts as a loss of NaN. The sweep stops
    the fit when the ramp is through or the loss has blown up. Then, unless
    `restore=False`, the model is what it was before: weights, optimizer state, learning rate and metrics.

    >>> finder = lrtuner.LRFinder(steps=100, verbose=0)
    >>> history = model.fit(x, y, batch_size=8, epochs=8, callbacks=[finder], verbose=0)
    >>> axes = finder.curve.plot()

    The batches come in the order of the fit. Let it shuffle them: data that come in an order, such as a time
    series or a folder that is read class by class, move the losses as the learning rate does. `find_lr`
    draws them in random order by itself.

    Put it last among the callbacks, so that none of the others changes the model after it was restored. Where
    an exception or Ctrl-C leaves the fit, call `close()`; `find_lr` does so by itself.

    The LR range test is due to Smith, "Cyclical Learning Rates for Training Neural Networks", 2017
    (arXiv:1506.01186).

    Args:
        min_lr: Float, the first learning rate.
        max_lr: Float, the last learning rate.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 and at most
            300, and no more than the fit runs.
        restore: Boolean, whether to give the model back as it was before the sweep.
        verbose: 0 for silence, 1 or "auto" for a progress bar, 2 for a line without a bar.

    Attributes:
        curve: The `LRCurve` of the sweep, with shape `(batches,)`; `None` before the first fit.

    Raises:
        ValueError: At construction, where the bounds or the number of steps make no sense; at the fit's
            start, where it runs fewer batches than the sweep needs or none at all, the model is not built, or
            its optimizer has no single learning rate.
    """

    def __init__(
        self,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int | None = None,
        *,
        restore: bool = True,
        verbose: int | str = 0,
    ) -> None:
        super().__init__()
        check_ramp(min_lr, max_lr, steps)
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.steps = steps
        self.restore = restore
        self.verbose = verbose
        self.curve: LRCurve | None = None
        self._run: _Run | None = None
        # What the model was at the start, where that is kept.
        self._start: Snapshot | None = None
        # A sweep inside of training code brings an order of its own, and may choose how it records.
        self._order = SweepOrder()
        self._recorder: type[Recorder] | None = None
        # Whether rows of the data are known to have losses that would pass for a blow-up.
        self._has_outliers = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take over the learning rate, and keep what the sweep will change."""
        del logs
        # What an exception has cut off would otherwise be taken for the model's own state.
        self.close()
        cut_off = _at_work.get(self.model)
        if cut_off is not None:
            cut_off.close()
        _at_work[self.model] = self
        self.curve = None
        ramp = geometric_ramp(self.min_lr, self.max_lr, self._number_of_steps())
        self._start = Snapshot(self.model) if self._keeps_start() else None
        recorder = self._recorder or recorder_for(self.model)
        detector = BlowUpDetector(has_outliers=self._has_outliers)
        self._run = _Run(self.model, ramp, self._order, recorder, detector, self.verbose)

    def _keeps_start(self) -> bool:
        return self.restore

    def _batches_per_epoch(self) -> int | None:
        batches: int | None = self.params.get("steps")
        return batches

    def _training(self, rows: int | None) -> Training:
        """Return what is known about the training.

        Not its epochs: a fit around a callback may run for the sweep alone.
        """
        optimizer = self._order.optimizer or own_optimizer(self.model)
        return Training(
            optimizer=type(optimizer).__name__,
            momentum=momentum_of(optimizer),
            batch_size=rows,
            batches_per_epoch=self._batches_per_epoch(),
        )

    def _number_of_steps(self) -> int:
        per_epoch = self._batches_per_epoch()
        if per_epoch == 0:
            raise UnusableModelError("The training data is empty: it has no batch.")
        if per_epoch == 1:
            warn(
                "The data is one batch, which the sweep repeats: its curve shows how well that batch is "
                "learned by heart. Pass a smaller batch_size, unless you train on whole batches on purpose."
            )
        available = None if per_epoch is None else per_epoch * self.params["epochs"]
        if self.steps is not None:
            if per_epoch is not None and available is not None and available < self.steps:
                raise ValueError(
                    f"The sweep needs {self.steps} batches but this fit runs {available} "
                    f"({self.params['epochs']} epochs of {per_epoch}): pass "
                    f"epochs={-(-self.steps // per_epoch)} or more to fit, or fewer steps to LRFinder."
                )
            return self.steps
        steps = default_steps(per_epoch, epochs=self._order.epochs, sweeps=self._order.sweeps)
        if available is not None and available < steps:
            if available < MIN_STEPS:
                raise ValueError(
                    f"A sweep needs at least {MIN_STEPS} batches but this fit runs {available}: pass more "
                    "epochs to fit, or a smaller batch_size."
                )
            return int(available)
        return steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notice when the data has run out for good."""
        del epoch, logs
        if self._run is not None:
            self._run.begin_epoch(data_has_ended=self._data_has_ended())

    def _data_has_ended(self) -> bool:
        """Whether the data is known to have no batch left."""
        return False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the batch's learning rate and forget the loss of the batches before."""
        del batch, logs
        if self._run is not None:
            self._run.begin_batch()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the batch's loss, and end the fit when there is no more to learn."""
        del batch
        if self._run is not None:
            self._run.end_batch(logs or {})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Build the curve and give the model back as it was."""
        del logs
        self.close()

    def close(self) -> None:
        """Build the curve and undo what the sweep did to the model.

        `fit` does so when it ends by itself. Call it where `fit` was left by an exception; calling it twice
        does no harm.
        """
        if self._run is None:
            return
        run, self._run = self._run, None
        training = self._training(run.rows)
        self.curve = dataclasses.replace(run.close(), training=training)
        if self.restore and self._start is not None:
            self._start.restore()
        _at_work.pop(self.model, None)


def _progress_bar(batches: int) -> Any:
    """Return a progress bar for a sweep of at most so many batches."""
    if in_kernel():
        return ProgressLine(batches)
    return keras.utils.Progbar(batches, stateful_metrics=["learning_rate", "loss"], unit_name="batch")


class _Run:
    """One sweep of a model during its fit."""

    def __init__(
        self,
        model: Any,
        ramp: FloatArray,
        order: SweepOrder,
        recorder: type[Recorder],
        detector: BlowUpDetector,
        verbose: int | str,
    ) -> None:
        self._model = model
        self._ramp = ramp
        self._order = order
        self._losses: list[float] = []
        self._blow_up = detector
        self._batches_before_epoch = -1
        self._finished = False
        self._recorder = recorder(model, ramp, order.optimizer)
        self._progress = None
        if verbose != 0:
            compiles = keras.backend.backend() != "torch" and not (model.run_eagerly or is_small(model))
            first = ", once the model is compiled, which can take a minute" if compiles else ""
            print(f"{order.title} of at most {len(ramp)} batches{first}", flush=True)
        # As in Keras, 2 is for logs: no bar.
        if verbose not in (0, 2):
            self._progress = _progress_bar(len(ramp))

    def begin_epoch(self, *, data_has_ended: bool) -> None:
        """Finish where there is no more data, or the epoch before has brought no batch."""
        if data_has_ended or self._batches_before_epoch == len(self._losses):
            self._finish()
        self._batches_before_epoch = len(self._losses)

    def begin_batch(self) -> None:
        """Prepare the next batch of the ramp."""
        if not self._finished:
            self._recorder.before_batch(len(self._losses))

    def end_batch(self, logs: dict[str, Any]) -> None:
        """Take the losses of what has just been run."""
        if self._finished:
            return
        if self._order.check is not None:
            self._order.check()
        for loss in self._recorder.new_losses(len(self._losses), logs):
            self._losses.append(loss)
            if self._blow_up.update(loss) or len(self._losses) == len(self._ramp):
                self._finish()
                break
        if self._progress is not None and self._losses:
            last = len(self._losses)
            self._progress.update(
                last, [("learning_rate", self._ramp[last - 1]), ("loss", self._losses[-1])], finalize=False
            )

    def _finish(self) -> None:
        self._finished = True
        self._model.stop_training = True

    @property
    def batches(self) -> int:
        """Batches recorded so far."""
        return len(self._losses)

    @property
    def rows(self) -> int | None:
        """Rows in the largest batch so far, or None where they can't be seen."""
        return self._recorder.rows()

    def close(self) -> LRCurve:
        """Give the model its own training step back and return the curve."""
        if self._progress is not None:
            self._progress.update(len(self._losses), finalize=True)
        self._recorder.release()
        losses = np.array(self._losses, dtype=float)
        return LRCurve(self._ramp[: len(losses)], losses)
