"""The callback that sweeps the learning rate during `model.fit`."""

from __future__ import annotations

import dataclasses
import math
import weakref
from typing import Any

import keras
import numpy as np

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.curve import LRCurve, Training, geometric_ramp
from lrtuner.errors import UnusableModelError
from lrtuner.messages import warn
from lrtuner.sweep.data import SweepData, chance_loss, holes_in, is_array_like, single_class
from lrtuner.sweep.model import Snapshot, is_head, is_pretrained, momentum_of, own_optimizer, size_of
from lrtuner.sweep.step import SweptStep

# The sweep's budget in batches where the caller names none: one epoch, within these limits. One sweep of
# 300 batches reads as well as one of 600; below 100 the readings of a range grow unreliable.
MIN_DEFAULT_STEPS = 100
MAX_DEFAULT_STEPS = 300
# Below ten batches no rule can tell a descent from noise.
MIN_STEPS = 10
# Values in a model whose state is kept although nobody wants it back: with Adam's moments, 800 MB.
_MOST_KEPT = 2**26
# If so many of the first batches are of one class each, no chance has drawn them: a batch of four rows has a
# class of a fifth of the rows alone in one case of 600.
_SINGLE_BATCHES, _FIRST_BATCHES = 6, 8
# A model with more trained weights (kernels, biases) takes a while to compile.
_MOST_SMALL = 24


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


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of a training beside what a callback sees.

    Attributes:
        data: What `model.fit` was called with.
        optimizer: The optimizer whose rate is swept; by default the model's.
        epochs: Epochs in one full training.
        sweeps: Sweeps that share the budget of one full training.
        title: What the progress calls the sweep.
    """

    data: SweepData = dataclasses.field(default_factory=lambda: SweepData({}))
    optimizer: Any = None
    epochs: int | None = None
    sweeps: int = 1
    title: str = "Learning-rate sweep"


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
        # A sweep in place of a training knows more.
        self.known = Known()
        self._step: SweptStep | None = None
        # What the model was at the start, where that is kept.
        self._start: Snapshot | None = None

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
        self._ramp = geometric_ramp(self.min_lr, self.max_lr, self._number_of_steps())
        # Also to see what a batch's loss was at the first weights.
        keeps = self.restore or (self.model.built and size_of(self.model) <= _MOST_KEPT)
        self._start = Snapshot(self.model) if keeps else None
        self._losses: list[float] = []
        self._updates: list[float] = []
        self._classes: list[float | None] = []
        self._targets: list[Any] = []
        self._chance: float | None = None
        self._rows: int | None = None
        self._fault: str | None = None
        self._has_outliers = self._is_over = False
        self._is_pretrained = is_pretrained(self.model)
        self._batches_before_epoch = -1
        self._detector = BlowUpDetector()
        self._step = SweptStep(self.model, self.known.optimizer)
        self._progress = self._begin_progress()

    def _begin_progress(self) -> Any:
        """Say that the sweep begins; return a progress bar, or None."""
        if self.verbose == 0:
            return None
        is_large = len(self.model.trainable_variables) > _MOST_SMALL
        compiles = is_large and keras.backend.backend() != "torch" and not self.model.run_eagerly
        first = ", once the model is compiled, which can take a minute" if compiles else ""
        print(f"{self.known.title} of at most {len(self._ramp)} batches{first}", flush=True)
        # As in Keras, 2 is for logs: no bar.
        if self.verbose == 2:
            return None
        return keras.utils.Progbar(
            len(self._ramp), stateful_metrics=["learning_rate", "loss"], unit_name="batch"
        )

    def _number_of_steps(self) -> int:
        per_epoch: int | None = self.params["steps"]
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
        steps = default_steps(per_epoch, epochs=self.known.epochs, sweeps=self.known.sweeps)
        if available is not None and available < steps:
            if available < MIN_STEPS:
                raise ValueError(
                    f"A sweep needs at least {MIN_STEPS} batches but this fit runs {available}: pass more "
                    "epochs to fit, or a smaller batch_size."
                )
            return int(available)
        return steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Finish where there is no more data, or the epoch before has brought no batch."""
        del epoch, logs
        if self._step is not None:
            if self.known.data.has_ended or self._batches_before_epoch == len(self._losses):
                self._finish()
            self._batches_before_epoch = len(self._losses)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the batch's learning rate and forget the loss of the batches before."""
        del batch, logs
        if self._step is not None and not self._is_over:
            self._step.set_rate(self._ramp[len(self._losses)])

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the batch's loss, and end the fit when there is no more to learn."""
        del batch
        if self._step is None or self._is_over:
            return
        loss = float((logs or {})["loss"])
        self._losses.append(loss)
        self._updates.append(self._step.update)
        self._look_at(self._step.batch)
        if self._has_blown_up(loss) or len(self._losses) == len(self._ramp):
            self._finish()
        if self._progress is not None:
            last = len(self._losses)
            values = [("learning_rate", self._ramp[last - 1]), ("loss", loss)]
            self._progress.update(last, values, finalize=False)

    def _look_at(self, batch: Any) -> None:
        """See how many rows a batch has, and whether the first batches have a class of their own each."""
        leaf = next((one for one in keras.tree.flatten(batch) if getattr(one, "shape", ())), None)
        if leaf is not None:
            self._rows = max(self._rows or 0, int(leaf.shape[0]))
        if len(self._classes) < _FIRST_BATCHES:
            _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            self._classes.append(single_class(y))
            # Those of images or texts are large, and not needed.
            self._targets.append(y if len(getattr(y, "shape", ())) <= 2 else None)
            if batch is not None and sample_weight is None and len(self._targets) == _FIRST_BATCHES:
                self._chance = chance_loss(self.model, self._targets)
            single = [one for one in self._classes if one is not None]
            if len(single) >= _SINGLE_BATCHES and len(set(single)) > 1:
                self._fault = (
                    f"At least {len(single)} of the first {_FIRST_BATCHES} batches hold rows of a single "
                    "class, so the loss follows the classes and not the learning rate: shuffle the rows "
                    "before they are cut into batches"
                )

    def _has_blown_up(self, loss: float) -> bool:
        """Return whether the learning rate has made the loss too high, or the data has made it NaN."""
        if not self._detector.update(loss):
            return False
        if math.isfinite(loss):
            if not self._detector.is_doubtful or not self._first_loss() > self._detector.calm_limit:
                return True
            # These rows stand out whatever the weights are.
            self._has_outliers = True
            self._detector = BlowUpDetector(has_outliers=True)
            return any(self._detector.update(one) for one in self._losses)
        was_diverging = len(self._losses) > 1 and self._losses[-2] > self._detector.limit
        if not was_diverging and not math.isfinite(self._first_loss(unknown=0.0)):
            self._fault = self._fault_in_words(loss)
        return True

    def _first_loss(self, unknown: float = math.nan) -> float:
        """Return the last batch's loss at the first weights."""
        assert self._step is not None
        if self._start is None or self._step.batch is None:
            return unknown
        try:
            return self._step.loss_at(self._start, self._ramp[0])
        except Exception:
            # What can't be run once more stays unexplained.
            return unknown

    def _fault_in_words(self, loss: float) -> str:
        """Return what has made the loss NaN or infinite at any weights."""
        assert self._step is not None
        head = f"The loss was {loss} at batch {len(self._losses)}, and"
        parts = keras.utils.unpack_x_y_sample_weight(self._step.batch)
        for name, part in zip(("x", "y", "sample_weight"), parts, strict=True):
            count, _, rows = holes_in(part)
            if count:
                where = f"{count} of that batch's {rows} rows"
                given = self.known.data.arguments.get(name)
                if given is not None and is_array_like(given):
                    count, first, rows = holes_in(given)
                    where = f"{count} of its {rows} rows, first in row {first}"
                return (
                    f"{head} {name} holds NaN or infinite values in {where}: remove or fill them, since "
                    "they make NaN of any model"
                )
        return (
            f"{head} is so at the weights that the sweep began with, though the batch holds no NaN: the "
            "model or its loss makes it, as log(0), a division by 0 or a label that is none of the classes "
            "do. No learning rate mends that"
        )

    def _finish(self) -> None:
        self._is_over = True
        self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Build the curve and give the model back as it was."""
        del logs
        self.close()

    def close(self) -> None:
        """Build the curve and undo what the sweep did to the model.

        `fit` does so when it ends by itself. Call it where `fit` was left by an exception; calling it twice
        does no harm.
        """
        if self._step is None:
            return
        step, self._step = self._step, None
        if self._progress is not None:
            self._progress.update(len(self._losses), finalize=True)
        step.release()
        losses = np.array(self._losses, dtype=float)
        self.curve = LRCurve(
            self._ramp[: len(losses)],
            losses,
            training=self._training(),
            updates=np.array(self._updates, dtype=float),
            fault=self._fault,
        )
        if self.restore and self._start is not None:
            self._start.restore()
        self._start = None
        _at_work.pop(self.model, None)

    def _training(self) -> Training:
        """Return what is known about the training.

        Of the epochs a callback knows nothing: a fit around it may run for the sweep alone.
        """
        known = self.known
        optimizer = known.optimizer or own_optimizer(self.model)
        return Training(
            optimizer=type(optimizer).__name__,
            momentum=momentum_of(optimizer),
            batch_size=known.data.arguments.get("batch_size") or self._rows,
            batches_per_epoch=self.params["steps"],
            epochs=known.epochs,
            is_shuffled=known.data.is_shuffled,
            has_outliers=self._has_outliers,
            is_pretrained=self._is_pretrained,
            is_head=is_head(self.model),
            chance=self._chance,
        )
