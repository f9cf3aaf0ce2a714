"""What stands in for a model's `fit` during a sweep."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import keras

from lrtuner.curve.curve import LRCurve, Training
from lrtuner.errors import NoSweepError
from lrtuner.sweep.calls import LeaveFit, binding, check_trainable, takes
from lrtuner.sweep.compiling import compiled_quickly, freed_with_the_model, is_small, steps_per_call
from lrtuner.sweep.data import (
    SweepData,
    in_given_order,
    in_random_order,
    is_array_like,
    is_stateful,
    iterator_goes_first,
    rows_declared,
    some_inputs,
)
from lrtuner.sweep.faults import (
    Inspection,
    Outlier,
    ended_suddenly,
    fault_in_words,
    holes_in_arrays,
    outlier_at_the_end,
)
from lrtuner.sweep.finder import MIN_DEFAULT_STEPS, LRFinder, default_steps
from lrtuner.sweep.model import (
    Snapshot,
    build_optimizer,
    keep_random_state,
    own_optimizer,
    preserved_random_state,
    repeatable_shuffles,
    size_of,
)
from lrtuner.sweep.recorders import CompiledRecorder, Recorder
from lrtuner.sweep.report import SweepOrder, SweepReport

# More epochs than any sweep needs: the sweep ends itself.
_ENDLESS = 1_000_000
# Values in the weights of a model that are kept to look for faults: with Adam's moments, 800 MB.
_MOST_KEPT = 2**26
# What a sweep leaves out of a call of `model.fit`.
_LEFT_OUT = ("validation_data", "validation_steps", "validation_batch_size", "initial_epoch")


class FinderInTraining(LRFinder):
    """The finder of a sweep whose order and data are known."""

    def __init__(
        self,
        *args: Any,
        order: SweepOrder,
        recorder: type[Recorder],
        arguments: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._order = order
        self._recorder = recorder
        self._arguments = arguments
        self.data = in_given_order(arguments)

    @property
    def optimizer(self) -> Any:
        """The optimizer whose rate is swept."""
        return self._order.optimizer or own_optimizer(self.model)

    @property
    def is_compiled(self) -> bool:
        """Whether several steps may run in one call."""
        return self._recorder is CompiledRecorder

    @property
    def planned(self) -> int:
        """How many batches the sweep would have had to its end."""
        return self.steps_for(self._batches_per_epoch())

    @property
    def start(self) -> Snapshot | None:
        """What the model was at the start of the sweep, or None where it had no weights or too many."""
        return self._start

    def steps_for(self, batches_per_epoch: int | None) -> int:
        """Return the number of batches in the sweep, given those in an epoch."""
        if self.steps is not None:
            return self.steps
        return default_steps(batches_per_epoch, epochs=self._order.epochs, sweeps=self._order.sweeps)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the batch's loss, and let go of the batches before it."""
        super().on_train_batch_end(batch, logs)
        if self._run is not None:
            self.data.forget(self._run.batches - 1)

    def expect_outliers(self) -> None:
        """Take no single loss for a blow-up, however high."""
        self._has_outliers = True

    def _keeps_start(self) -> bool:
        # To run the batch again that may have spoilt the sweep.
        return self.restore or (self.model.built and size_of(self.model) <= _MOST_KEPT)

    def _batches_per_epoch(self) -> int | None:
        return self.data.batches_per_epoch if self.data.is_endless else super()._batches_per_epoch()

    def _training(self, rows: int | None) -> Training:
        return dataclasses.replace(
            super()._training(rows),
            batch_size=self._arguments.get("batch_size") or rows or rows_declared(self._arguments),
            epochs=self._order.epochs,
            is_shuffled=self.data.is_shuffled,
            has_outliers=self._has_outliers,
        )

    def _data_has_ended(self) -> bool:
        return self.data.has_ended


class SweptFit:
    """Stands in for a model's `fit`: its first call is the sweep, a second one ends the training code."""

    _CHANGED = ("run_eagerly", "steps_per_execution", "train_function", "history", "stop_training")

    def __init__(
        self, model: Any, new_finder: Callable[[dict[str, Any]], FinderInTraining], *, shuffle: bool
    ) -> None:
        self._model = model
        self._plain_fit = model.fit
        self._bind = binding(model)
        self._new_finder = new_finder
        self._shuffle = shuffle
        self._finder: FinderInTraining | None = None
        # Whether the curve is in hand.
        self.is_over = False
        self._arguments: dict[str, Any] = {}
        self._before = {name: getattr(model, name, None) for name in self._CHANGED}
        self._restart_random = keep_random_state()
        self._shuffles = contextlib.ExitStack()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Sweep in place of training."""
        if self._finder is not None:
            # The sweep is over, and the training code has caught what was to tell it.
            raise LeaveFit
        self._arguments = self._bind(args, kwargs)
        check_trainable(self._model, self._arguments.get("x"))
        self._finder = finder = self._new_finder(self._arguments)
        if self._shuffle and not is_stateful(self._model):
            finder.data = in_random_order(self._arguments, finder.steps_for)
        if not self._model.built:
            self._build(finder)
        if self._model.built:
            # Keras traces a step twice in which the optimizer makes its variables.
            build_optimizer(self._model)
        self._model.steps_per_execution = steps_per_call(self._model) if finder.is_compiled else 1
        self._shuffles.enter_context(repeatable_shuffles())
        self._restart_random = keep_random_state()
        self._sweep(finder)
        self.is_over = True
        raise LeaveFit

    def _sweep(self, finder: FinderInTraining) -> None:
        try:
            self._fit(finder.data.arguments, finder)
        except NoSweepError:
            # No other order mends that.
            raise
        except Exception:
            # The rows of a batch may belong together. A generator can't be read again.
            is_read_once = inspect.isgenerator(self._arguments["x"])
            if not finder.data.is_endless or is_read_once or finder.start is None:
                raise
            finder.close()
            self._sweep_again(finder, in_given_order(self._arguments))
        outlier = outlier_at_the_end(finder.curve.losses) if finder.curve else None
        if outlier is None or not self._is_worth_inspecting(finder):
            return
        if self._inspect(finder, outlier).holes is not None:
            finder.expect_outliers()
            self._sweep_again(finder, finder.data.rest())

    def _sweep_again(self, finder: FinderInTraining, data: SweepData) -> None:
        assert finder.start is not None
        finder.start.restore()
        finder.data = data
        self._model.steps_per_execution = steps_per_call(self._model) if finder.is_compiled else 1
        self._fit(data.arguments, finder)

    def _build(self, finder: FinderInTraining) -> None:
        """Give the model its weights, so that they can be kept."""
        x = self._arguments["x"]
        if inspect.isgenerator(x):
            # Only where its batches are held, none of them is lost.
            x = finder.data.arguments["x"]
            if inspect.isgenerator(x):
                return
        try:
            self._model(some_inputs(x))
        except Exception:
            # Plain training may manage without.
            if finder.restore:
                raise

    def _fit(self, arguments: dict[str, Any], callback: keras.callbacks.Callback) -> None:
        """Call the model's own `fit` with the data of some arguments."""
        arguments = {name: value for name, value in arguments.items() if name not in _LEFT_OUT}
        # A validation_split still decides which rows are trained on; its validation never runs.
        arguments.update(epochs=_ENDLESS, verbose=0, callbacks=[callback], validation_freq=_ENDLESS + 1)
        model = self._model
        with (
            warnings.catch_warnings(),
            compiled_quickly(model),
            freed_with_the_model(model),
            iterator_goes_first(model, arguments["x"]),
        ):
            # Data of unknown length is cycled on purpose.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            self._plain_fit(
                **{name: value for name, value in arguments.items() if takes(self._plain_fit, name)}
            )

    def report(self) -> SweepReport:
        """Return what the sweep has found.

        Raises:
            NoSweepError: Where there was no sweep.
        """
        finder = self._finder
        if finder is None or finder.curve is None:
            raise NoSweepError(
                "The training function ended without a call of model.fit, so no learning-rate curve could be "
                "recorded: train with model.fit, or declare a narrower learning-rate space by hand."
            )
        fault = self._fault(finder, finder.curve) if ended_suddenly(finder.curve.losses) else None
        return SweepReport(curve=finder.curve, fault=fault)

    def _fault(self, finder: FinderInTraining, curve: LRCurve) -> str | None:
        """Run the batch at which the loss turned NaN at the first weights; return its fault, if any."""
        loss, index = float(curve.losses[-1]), len(curve) - 1
        if not self._is_worth_inspecting(finder):
            where = holes_in_arrays(self._arguments)
            return None if where is None else fault_in_words(loss, index + 1, {"x": 1}, self._arguments)
        holes = self._inspect(finder, None).holes
        return None if holes is None else fault_in_words(loss, index + 1, holes, self._arguments)

    def _is_worth_inspecting(self, finder: FinderInTraining) -> bool:
        """Return whether the batch that ended the sweep can be run again in much less time than the sweep.

        A large model takes as long to compile for that as for the sweep, so it must be one batch, uncompiled.
        """
        if finder.start is None or finder.curve is None:
            return False
        return is_small(self._model) or finder.data.only(len(finder.curve) - 1) is not None

    def _inspect(self, finder: FinderInTraining, outlier: Outlier | None) -> Inspection:
        """Run the batch that has ended the sweep at the weights of the start, and those before it."""
        assert finder.start is not None
        assert finder.curve is not None
        batches = len(finder.curve)
        first = 0
        only = finder.data.only(batches - 1)
        if only is not None:
            batches = 1
        elif is_array_like(self._arguments["x"]) and keras.backend.backend() == "tensorflow":
            # They come in the same order again. Elsewhere the first fit of a model draws an order more.
            first = batches - (1 if outlier is None else outlier.batches)
        else:
            # Data that don't come in the same order again show their faults in as many batches, more or less,
            # and for certain in an epoch. A sweep that ended early has most of its batches to spare.
            batches = max(2 * batches, finder.planned, MIN_DEFAULT_STEPS)
        inspection = Inspection(batches, first, finder.optimizer, outlier)
        after = Snapshot(self._model)
        finder.start.restore()
        self._model.steps_per_execution = 1
        was_eager = self._model.run_eagerly
        if first or not is_small(self._model):
            self._model.run_eagerly = True
        try:
            # What can't be run again stays unexplained.
            with preserved_random_state(), contextlib.suppress(Exception):
                self._restart_random()
                self._fit(only or finder.data.arguments, inspection)
        finally:
            self._model.run_eagerly = was_eager
            inspection.close()
            after.restore()
        return inspection

    def close(self) -> None:
        """Give the model back, also after an exception."""
        self._shuffles.close()
        if self._finder is not None:
            self._finder.close()
            for name, value in self._before.items():
                setattr(self._model, name, value)
