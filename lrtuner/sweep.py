"""The learning-rate sweep: a model and its data in, an `LRCurve` out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import numbers
import random
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lrtuner.curve import BlowUpDetector, FloatArray, LRCurve, geometric_ramp

# The sweep's budget in batches where the caller names none: one epoch, within these limits.  One sweep of
# 300 batches reads as well as one of 600; below 100 the readings of a range grow unreliable.
MIN_DEFAULT_STEPS = 100
MAX_DEFAULT_STEPS = 300
# Below ten batches no rule can tell a descent from noise.
MIN_STEPS = 10
# Steps in one call of the compiled function.  It takes three high losses to tell a blow-up, and a sweep
# notices when the call is over: five steps after the first one at the latest.
_STEPS_PER_CALL = 4
# More epochs than any sweep needs: the sweep ends itself.
_ENDLESS = 1_000_000


class NoSweepError(RuntimeError):
    """The training code can't be swept, though it may train well."""


class UnusableModelError(ValueError):
    """The model or the data can't be trained at all: no sweep, and no trial after it, could work."""


@dataclasses.dataclass(frozen=True)
class SweepOrder:
    """What sets the sweep of a search apart from that of a model by itself.

    Attributes:
        optimizer: The optimizer whose rate is swept; by default the model's.
        epochs: Epochs in one full training; by default those of the fit that is swept.
        sweeps: Sweeps that share the budget of one full training.
        title: What the progress calls the sweep.
        check: Called now and then while it runs; an exception that it raises ends the sweep.
    """

    optimizer: Any = None
    epochs: int | None = None
    sweeps: int = 1
    title: str = "Learning-rate sweep"
    check: Callable[[], None] | None = None


@dataclasses.dataclass(frozen=True)
class SweepReport:
    """What a sweep found, and what is known about the training that it was part of.

    Attributes:
        curve: The recorded `LRCurve`.
        optimizer: Class name of the optimizer.
        momentum: Its momentum, or `None` where it has none to set.
        batch_size: Rows in a batch, or `None` where the data brings its own batches.
        batches_per_epoch: Batches in an epoch, or `None` where nobody knows.
        epochs: Epochs that the training was to have, or `None`.
        fault: What in the data has spoilt the curve, in words, or `None`.
    """

    curve: LRCurve
    optimizer: str
    batch_size: int | None
    batches_per_epoch: int | None
    epochs: int | None
    momentum: float | None = None
    fault: str | None = None

    def to_config(self) -> dict[str, Any]:
        """Returns the report as a dict for JSON."""
        return {**dataclasses.asdict(self), "curve": self.curve.to_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SweepReport:
        """Builds the report that `to_config` described."""
        return cls(**{**config, "curve": LRCurve.from_config(config["curve"])})


class _SweepFinished(BaseException):
    """Leaves a user's own training code once the sweep inside of it is done.

    A `BaseException`, so that `except Exception` in that code lets it pass.
    """


def default_steps(batches_per_epoch: int | None, *, epochs: int | None = None, sweeps: int = 1) -> int:
    """Returns the number of batches in a sweep whose length the caller left open.

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


def check_settings(min_lr: float, max_lr: float, steps: int | None) -> None:
    """Raises before any work where a sweep with these settings makes no sense.

    Args:
        min_lr: First learning rate of the ramp.
        max_lr: Last learning rate of the ramp.
        steps: Batches in the sweep, or `None` for the default budget.

    Raises:
        ValueError: Where the bounds are not 0 < min_lr < max_lr, or there are fewer than ten steps.
    """
    geometric_ramp(min_lr, max_lr, MIN_STEPS if steps is None else steps)


# Which sweep has a model in hand.
_sweeping: weakref.WeakKeyDictionary[Any, LRFinder] = weakref.WeakKeyDictionary()


class LRFinder(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Sweeps the learning rate during `model.fit` and records each batch's own loss.

    The rates rise from batch to batch on a geometric ramp, `min_lr * (max_lr / min_lr) ** (i / (steps - 1))`
    for batch `i`. The recorded loss is that of the batch alone, before its update: never Keras' running mean
    over the epoch. A batch that leaves weights which are not finite counts as a loss of NaN. The sweep stops
    the fit when the ramp is through or the loss has blown up. Then, unless
    `restore=False`, the model is what it was before: weights, optimizer state, learning rate and metrics.

    ```python
    finder = lrtuner.LRFinder(steps=100)
    model.fit(x, y, batch_size=64, epochs=2, callbacks=[finder])
    finder.curve.plot()
    ```

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
        check_settings(min_lr, max_lr, steps)
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.steps = steps
        self.restore = restore
        self.verbose = verbose
        self.curve: LRCurve | None = None
        self._snapshot: _Snapshot | None = None
        self._recorder: _CompiledRecorder | _StepwiseRecorder | None = None
        self._data_ended = False
        self._order = SweepOrder()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes over the learning rate, and keeps what the sweep will change."""
        del logs
        # What an exception has cut off would otherwise be taken for the model's own state.
        self.close()
        cut_off = _sweeping.get(self.model)
        if cut_off is not None:
            cut_off.close()
        _sweeping[self.model] = self
        ramp = geometric_ramp(self.min_lr, self.max_lr, self._number_of_steps())
        self._ramp = ramp
        self._losses: list[float] = []
        self._batches_before_epoch = -1
        self._blow_up = BlowUpDetector()
        self._finished = False
        self.curve = None
        if self.restore:
            self._snapshot = _Snapshot(self.model)
        recorder = _CompiledRecorder if _CompiledRecorder.serves(self.model) else _StepwiseRecorder
        self._recorder = recorder(self.model, ramp, self._order.optimizer)
        self._progress = None
        if self.verbose != 0:
            print(f"{self._order.title} of at most {len(ramp)} batches")
        # As in Keras, 2 is for logs: no bar.
        if self.verbose not in (0, 2):
            self._progress = keras.utils.Progbar(
                len(ramp), stateful_metrics=["learning_rate", "loss"], unit_name="batch"
            )

    def _number_of_steps(self) -> int:
        per_epoch = self.params.get("steps")
        if per_epoch == 0:
            raise UnusableModelError("The training data is empty: it has no batch.")
        if per_epoch == 1:
            warnings.warn(
                "The data is one batch, which the sweep repeats: its curve shows how well that batch is "
                "learned by heart. Pass a smaller batch_size, unless you train on whole batches on purpose.",
                stacklevel=2,
            )
        available = None if per_epoch is None else per_epoch * self.params["epochs"]
        if self.steps is not None:
            if available is not None and available < self.steps:
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
        """Notices when the data has run out for good."""
        del epoch, logs
        if self._data_ended or self._batches_before_epoch == len(self._losses):
            self._finish()
        self._batches_before_epoch = len(self._losses)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the batch's learning rate and forgets the loss of the batches before."""
        del batch, logs
        if not self._finished:
            assert self._recorder is not None
            self._recorder.before_batch(len(self._losses))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Records the batch's loss, and ends the fit when there is no more to learn."""
        del batch
        if self._finished:
            return
        if self._order.check is not None:
            self._order.check()
        assert self._recorder is not None
        for loss in self._recorder.new_losses(len(self._losses), logs or {}):
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
        self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Builds the curve and gives the model back as it was."""
        del logs
        self.close()

    def close(self) -> None:
        """Builds the curve and undoes what the sweep did to the model.

        `fit` does so when it ends by itself. Call it where `fit` was left by an exception; calling it twice
        does no harm.
        """
        if self._recorder is None:
            return
        if self._progress is not None:
            self._progress.update(len(self._losses), finalize=True)
        self.curve = LRCurve(self._ramp[: len(self._losses)], np.array(self._losses, dtype=float))
        self._recorder.release()
        self._recorder = None
        _sweeping.pop(self.model, None)
        if self._snapshot is not None:
            self._snapshot.restore()
            self._snapshot = None


class _SweptStep:
    """A model's training step, readied for a sweep and put back by `release`.

    What it changes: the optimizer's rate can be set, the reported loss is the batch's own once the trackers
    are reset before the batch, and no metrics are computed but the loss where the model leaves that open.
    """

    def __init__(self, model: Any, optimizer: Any = None) -> None:
        self.model = model
        self._train_function = model.train_function
        self._optimizer = own_optimizer(model) if optimizer is None else optimizer
        self._declared_rate = _rate_of(self._optimizer)
        if isinstance(self._declared_rate, keras.Variable):
            self._rate_before = keras.ops.convert_to_numpy(self._declared_rate)
            self.rate = self._declared_rate
        else:
            # A schedule or a callable can't be set to a number: put a variable in its place.
            with keras.name_scope(self._optimizer.name, caller=self._optimizer):
                self.rate = keras.Variable(0.0, name="learning_rate", dtype="float32", trainable=False)
            self._optimizer._track_variable(self.rate)
            self._optimizer._learning_rate = self.rate
        self.trackers = model.metrics
        self._plain_step = model.train_step
        self._inside = 0
        self._plain = _defaults(model, "train_step", "compute_metrics", "get_metrics_result")
        if self._plain:
            tracker = model._loss_tracker
            self.trackers = [tracker]
            result = model.get_metrics_result

            def result_or_loss() -> dict[str, Any]:
                try:
                    return dict(result())
                except ValueError:
                    # Keras asks after the epoch for compiled metrics, which no step has computed.
                    return {"loss": tracker.result()}

            model.get_metrics_result = result_or_loss

    def run(self, *arguments: Any) -> Any:
        """Runs, or traces, the model's step without its metrics; a validation in between keeps them."""
        if not self._plain:
            return self._plain_step(*arguments)
        tracker = self.trackers[0]
        if not self._inside:
            self.model.compute_metrics = lambda *_args, **_kwargs: {"loss": tracker.result()}
        # A strategy's replicas are traced in turns, the next one before the last has ended.
        self._inside += 1
        try:
            return self._plain_step(*arguments)
        finally:
            self._inside -= 1
            if not self._inside:
                del self.model.compute_metrics

    def install(self, step: Callable[..., Any]) -> None:
        """Makes the model train with another step, until `release`."""
        self.model.train_step = step
        self.model.make_train_function(force=True)

    def reset_trackers(self) -> None:
        for tracker in self.trackers:
            tracker.reset_state()

    def own_loss(self, logs: dict[str, Any], weights: Any = None) -> Any:
        """Returns the batch's loss from what the step reports; NaN where it left weights that are not finite.

        The loss needn't show that weights are NaN: TensorFlow's relu makes zeros of them. Their sums are
        finite where all of them are, but for overflows far from good rates.

        Args:
            logs: What the step reports.
            weights: The trained weights, by default the model's variables.
        """
        weights = self.model.trainable_variables if weights is None else weights
        loss = _loss_in(logs)
        if not weights:
            return loss
        sums = [keras.ops.sum(keras.ops.stop_gradient(weight)) for weight in weights]
        finite = keras.ops.all(keras.ops.stack([keras.ops.isfinite(one) for one in sums]))
        return keras.ops.where(finite, loss, math.nan)

    def release(self) -> None:
        del self.model.train_step
        if self._plain:
            del self.model.get_metrics_result
        if self.rate is self._declared_rate:
            self.rate.assign(self._rate_before)
        else:
            self._optimizer._learning_rate = self._declared_rate
            self._optimizer._untrack_variable(self.rate)
        # The function from before the sweep, if there was one, still holds its compiled step.
        self.model.train_function = self._train_function


class _StepwiseRecorder:
    """Sets the rate and reads the loss from Python, batch by batch: serves every backend and model."""

    def __init__(self, model: Any, ramp: FloatArray, optimizer: Any = None) -> None:
        if model.steps_per_execution != 1:
            raise ValueError(
                f"LRFinder needs steps_per_execution=1 here but the model is compiled with "
                f"{model.steps_per_execution}: set `model.steps_per_execution = 1` before the fit, or use "
                "lrtuner.find_lr, which does so itself."
            )
        self._ramp = ramp
        self._step = step = _SweptStep(model, optimizer)
        # Only JAX keeps the model's state outside of its variables while it trains: its step takes and
        # returns that state, the trained weights first, and changes no variables.
        self._is_stateless = keras.backend.backend() == "jax"

        def swept_step(*arguments: Any) -> Any:
            if self._is_stateless:
                logs, state = step.run(*arguments)
                return {"loss": step.own_loss(logs, state[0])}, state
            # Here and not from Python, since it may be compiled.
            step.reset_trackers()
            return {"loss": step.own_loss(step.run(*arguments))}

        step.install(swept_step)

    def before_batch(self, position: int) -> None:
        if self._is_stateless:
            self._step.model.jax_state_sync()
            self._step.reset_trackers()
        self._step.rate.assign(self._ramp[position])

    def new_losses(self, position: int, logs: dict[str, Any]) -> list[float]:
        del position
        return [float(_loss_in(logs))]

    def release(self) -> None:
        if self._is_stateless:
            self._step.model.jax_state_sync()
        self._step.release()


class _CompiledRecorder:
    """Runs ramp and recording inside of TensorFlow's compiled step, so that many steps fit into a call."""

    def __init__(self, model: Any, ramp: FloatArray, optimizer: Any = None) -> None:
        import tensorflow as tf

        self._step = step = _SweptStep(model, optimizer)
        rates = tf.constant(ramp, dtype=step.rate.dtype)
        numbers = tf.range(len(ramp))
        self._position = position = tf.Variable(0, dtype=numbers.dtype)
        self._recorded = recorded = tf.Variable(tf.zeros(len(ramp)))

        def swept_step(data: Any) -> dict[str, Any]:
            step.rate.assign(rates[tf.minimum(position, len(ramp) - 1)])
            step.reset_trackers()
            loss = tf.cast(step.own_loss(step.run(data)), recorded.dtype)
            # A comparison, not a scatter: XLA compiles it, and steps past the ramp's end write nothing.
            recorded.assign(tf.where(numbers == position, loss, recorded))
            position.assign_add(1)
            return {"loss": loss}

        step.install(swept_step)

    @staticmethod
    def serves(model: Any) -> bool:
        """Whether the sweep can run in a compiled step: not for eager or distributed models."""
        if keras.backend.backend() != "tensorflow" or model.run_eagerly:
            return False
        import tensorflow as tf

        # Inside of a strategy the recording variables would need one copy for each replica.
        return not tf.distribute.has_strategy() and model.distribute_strategy is tf.distribute.get_strategy()

    def before_batch(self, position: int) -> None:
        pass

    def new_losses(self, position: int, logs: dict[str, Any]) -> list[float]:
        del logs
        recorded: list[float] = self._recorded.numpy()[position : int(self._position.numpy())].tolist()
        return recorded

    def release(self) -> None:
        self._step.release()


def _defaults(model: Any, *methods: str) -> bool:
    """Whether a model's methods are those of Keras, not overridden by its class."""
    return all(getattr(type(model), method) is getattr(keras.Model, method) for method in methods)


def _loss_in(logs: dict[str, Any]) -> Any:
    if "loss" not in logs:
        raise ValueError(
            f"The model's train_step reports no 'loss', which the sweep records: it reports {sorted(logs)}. "
            "Return {'loss': ...} from train_step."
        )
    return logs["loss"]


def _rate_of(optimizer: Any) -> Any:
    """Returns an optimizer's rate as it keeps it: a variable, a schedule or a callable."""
    try:
        # MultiOptimizer keeps a rate that it doesn't use; its property raises.
        _ = optimizer.learning_rate
        return optimizer._learning_rate
    except AttributeError as error:
        raise UnusableModelError(
            f"The optimizer {type(optimizer).__name__} has no single learning rate to sweep: compile the "
            "model with one optimizer that has a learning_rate."
        ) from error


def own_optimizer(model: Any) -> Any:
    """Returns the optimizer that keeps a compiled model's learning rate."""
    # LossScaleOptimizer (mixed precision) keeps the rate in the optimizer that it wraps.
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def optimizers_of(model: Any) -> list[Any]:
    """Returns the optimizers of a compiled model that have a learning rate, its own first.

    A `MultiOptimizer` counts as those that it holds; a model with a training step of its own may keep some
    among its attributes.
    """
    own = own_optimizer(model)
    kept = [one for one in vars(model).values() if isinstance(one, keras.optimizers.Optimizer)]
    # By identity: Keras' optimizers don't say when they are equal.
    unique = {id(one): one for one in [*getattr(own, "optimizers", [own]), *kept]}
    return [one for one in unique.values() if one is own or one is not model.optimizer]


def compiled_with(model: Any) -> Any:
    """Returns what a model is compiled with, as far as it moves the best learning rate by much.

    Args:
        model: A Keras model.

    Returns:
        The class name and the momentum of each of its optimizers; `None` where it is not compiled.
    """
    if not getattr(model, "compiled", False) or model.optimizer is None:
        return None
    return tuple((type(one).__name__, getattr(one, "momentum", None)) for one in optimizers_of(model))


def peak_rate(optimizer: Any) -> float:
    """Returns the learning rate that an optimizer trains with; of a schedule, its highest.

    Args:
        optimizer: A Keras optimizer.

    Returns:
        The rate. A schedule is evaluated at steps 0, 1, 2, 4, ... 2**20, whose maximum is
        the base rate of a decay and close to the target rate of a warm-up.

    Raises:
        UnusableModelError: Where the optimizer has no single learning rate.
    """
    rate = _rate_of(optimizer)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        steps = [0, *(2**power for power in range(21))]
        return max(float(keras.ops.convert_to_numpy(rate(step))) for step in steps)
    if callable(rate) and not isinstance(rate, keras.Variable):
        rate = rate()
    return float(keras.ops.convert_to_numpy(rate))


class _Snapshot:
    """What a sweep changes in a model, to be put back bit for bit."""

    def __init__(self, model: Any) -> None:
        if not model.built:
            raise UnusableModelError(
                "The model has no weights yet, so they can't be restored after the sweep: build it first, "
                "for example by calling it on one batch of inputs, `model(x[:1])`."
            )
        self._model = model
        # A LossScaleOptimizer that is built twice has its variables twice, and the scale it began with.
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        # By identity: one variable may stand in several of these lists.
        unique = {id(variable): variable for variable in variables}.values()
        self._values = [(variable, np.copy(keras.ops.convert_to_numpy(variable))) for variable in unique]

    def restore(self) -> None:
        sync = getattr(self._model, "jax_state_sync", None)
        if sync is not None:
            sync()
        for variable, value in self._values:
            variable.assign(value)


def _check_trainable(model: Any, x: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Expected a Keras model, received {model!r} of type {type(model).__name__}: pass a keras.Model "
            "that is compiled."
        )
    if not model.compiled or model.optimizer is None:
        raise UnusableModelError(
            f"The model {model.name!r} is not compiled, so it has no learning rate to sweep: "
            "call model.compile(optimizer=..., loss=...) before it is returned or swept."
        )
    if model.built and not model.trainable_variables:
        raise UnusableModelError(
            f"The model {model.name!r} has no trainable weights, so no learning rate changes anything: "
            "unfreeze or add a layer."
        )
    if x is None:
        raise UnusableModelError("No training data: pass x (and y), as to model.fit.")
    for data in keras.tree.flatten(x):
        try:
            batches_or_rows = len(data)
        except TypeError:
            continue
        if batches_or_rows == 0:
            raise UnusableModelError("The training data is empty: x has length 0.")


def sweep_in_training(
    model: Any,
    train: Callable[[], Any],
    *,
    min_lr: float,
    max_lr: float,
    steps: int | None,
    restore: bool = False,
    on_start: Callable[[], SweepOrder] = SweepOrder,
) -> SweepReport:
    """Runs a training function and turns the `model.fit` inside of it into a sweep.

    Whatever the training function passes to `model.fit` holds, data, batch size, weights and `verbose` among
    it. Callbacks and validation are left out, and the number of epochs is whatever the sweep takes.

    Args:
        model: A compiled Keras model.
        train: Called without arguments; is expected to call `model.fit`.
        min_lr: First learning rate.
        max_lr: Last learning rate.
        steps: Batches in the sweep, or `None` for the default budget.
        restore: Whether to give the model back as it was.
        on_start: Called when `model.fit` is about to begin; says what to sweep.

    Returns:
        A `SweepReport` with a curve of at most `steps` batches.

    Raises:
        UnusableModelError: Where the model is not compiled or there is no data.
        NoSweepError: Where the training function never calls `model.fit`.
    """
    plain_fit = model.fit
    bind = _binding(model)
    finder: LRFinder | None = None
    training: dict[str, Any] = {}

    def fit(*args: Any, **kwargs: Any) -> None:
        nonlocal finder
        if finder is not None:
            # The sweep is over, and the training code has caught what was to tell it.
            raise _SweepFinished
        arguments = bind(args, kwargs)
        training.update(arguments)
        _check_trainable(model, arguments.get("x"))
        order = on_start()
        finder = LRFinder(min_lr, max_lr, steps, restore=restore, verbose=arguments.get("verbose", "auto"))
        finder._order = dataclasses.replace(order, epochs=order.epochs or _epochs(training))
        if inspect.isgenerator(arguments["x"]):
            arguments["x"] = _noting_its_end(arguments["x"], finder)
        elif restore and not model.built:
            model(_some_inputs(arguments["x"]))
        for name in ("validation_data", "validation_steps", "validation_batch_size", "initial_epoch"):
            arguments.pop(name, None)
        # A validation_split still decides which rows are trained on; its validation never runs.
        arguments.update(epochs=_ENDLESS, verbose=0, callbacks=[finder], validation_freq=_ENDLESS + 1)
        model.steps_per_execution = _STEPS_PER_CALL if _CompiledRecorder.serves(model) else 1
        with warnings.catch_warnings():
            # Data of unknown length is cycled on purpose.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            plain_fit(**{name: value for name, value in arguments.items() if _takes(plain_fit, name)})
        raise _SweepFinished

    changed = ("steps_per_execution", "train_function", "history", "stop_training")
    before = {name: getattr(model, name, None) for name in changed}
    try:
        _run_until_fit(model, train, fit)
    finally:
        if finder is not None:
            finder.close()
            for name, value in before.items():
                setattr(model, name, value)
    if finder is None or finder.curve is None:
        raise NoSweepError(
            "The training function ended without a call of model.fit, so no learning-rate curve could be "
            "recorded: train with model.fit, or declare a narrower learning-rate space by hand."
        )
    optimizer = finder._order.optimizer or own_optimizer(model)
    momentum = getattr(optimizer, "momentum", None)
    return SweepReport(
        curve=finder.curve,
        optimizer=type(optimizer).__name__,
        momentum=None if momentum is None else float(momentum),
        batch_size=_batch_size(training),
        batches_per_epoch=finder.params.get("steps"),
        epochs=_epochs(training),
        fault=_fault_in_data(finder.curve.losses, training),
    )


def batch_size_of(model: Any, train: Callable[[], Any]) -> int | None:
    """Returns the batch size that a training function passes to `model.fit` for so many epochs, untrained.

    Args:
        model: A compiled Keras model.
        train: Called without arguments; is expected to call `model.fit`.

    Returns:
        Rows in a batch, or `None` where the data brings its own batches, `model.fit` is not called, or trains
        on as many batches whatever their size (`steps_per_epoch`).
    """
    bind = _binding(model)
    training: dict[str, Any] = {}

    def fit(*args: Any, **kwargs: Any) -> None:
        training.update(bind(args, kwargs))
        raise _SweepFinished

    _run_until_fit(model, train, fit)
    if training.get("x") is None or training.get("steps_per_epoch") is not None:
        return None
    return _batch_size(training)


def _run_until_fit(model: Any, train: Callable[[], Any], fit: Callable[..., None]) -> None:
    """Runs a training function with another `model.fit`, which ends it."""

    def train_on_batch(*_args: Any, **_kwargs: Any) -> None:
        raise _SweepFinished

    model.fit, model.train_on_batch = functools.wraps(model.fit)(fit), train_on_batch
    try:
        train()
    except _SweepFinished:
        pass
    finally:
        del model.fit, model.train_on_batch


def _binding(model: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """Returns a function that names the arguments of a call of `model.fit`."""
    parameters = inspect.signature(model.fit).parameters.values()
    # Where a fit of the user's own only passes on what it is given, that is named as for Keras' fit.
    passes_on = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    signature = inspect.signature(functools.partial(keras.Model.fit, model) if passes_on else model.fit)

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            arguments = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise UnusableModelError(
                f"The training can't begin: {error}. Pass to it what model.fit takes: "
                f"{', '.join(signature.parameters)}."
            ) from error
        arguments.update(arguments.pop("kwargs", {}))
        return arguments

    return bind


def _takes(fit: Callable[..., Any], name: str) -> bool:
    """Whether a `fit` takes an argument of that name."""
    parameters = inspect.signature(fit).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _epochs(training: dict[str, Any]) -> int | None:
    """Returns the epochs of what `model.fit` was called with."""
    epochs = training.get("epochs", 1) - training.get("initial_epoch", 0)
    return epochs if epochs > 0 else None


def _fault_in_data(losses: FloatArray, training: dict[str, Any]) -> str | None:
    """Returns in words where the data has made the loss NaN, which reads like a blow-up."""
    if len(losses) == 0 or np.isfinite(losses[-1]):
        return None
    detector = BlowUpDetector()
    for loss in losses[:-1]:
        detector.update(loss)
    if len(losses) > 1 and losses[-2] > detector.limit:
        # It was diverging already: the data may be masked by the user's own loss.
        return None
    for name in ("x", "y", "sample_weight"):
        for array in keras.tree.flatten(training.get(name)):
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                continue
            bad: Any = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            if bad.any():
                return (
                    f"The loss was {losses[-1]} at batch {len(losses)}, and {name} holds NaN or infinite "
                    f"values in {bad.sum()} of its {len(bad)} rows, first in row {bad.argmax()}: remove or "
                    "fill them, since they make NaN of any model"
                )
    return None


def _noting_its_end(batches: Iterator[Any], finder: LRFinder) -> Iterator[Any]:
    """Passes a generator's batches on; Keras would start an exhausted one again with its first two."""
    # Not `yield from`, which would close the user's generator together with this one.
    for batch in batches:  # noqa: UP028
        yield batch
    finder._data_ended = True


def _some_inputs(x: Any) -> Any:
    """Returns a few inputs for a model that has no weights until it sees some."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0][0]
    if hasattr(x, "element_spec") or hasattr(x, "collate_fn"):
        batch = next(iter(x))
        return batch[0] if isinstance(batch, (tuple, list)) else batch
    return keras.tree.map_structure(lambda array: array[:1], x)


def _batch_size(training: dict[str, Any]) -> int | None:
    """Returns the rows in a batch of what `model.fit` was called with."""
    if training.get("batch_size") is not None:
        return int(training["batch_size"])
    data = training["x"]
    spec = getattr(data, "element_spec", None)
    if spec is None:
        # Keras batches arrays by 32 where nothing is said; everything else brings batches of its own.
        return 32 if all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(data)) else None
    rows = keras.tree.flatten(spec)[0].shape[0]
    return None if rows is None else int(rows)


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
) -> LRCurve:
    """Sweeps the learning rate of a compiled model and gives the model back as it was.

    Weights, optimizer state, learning rate (or schedule) and metrics are restored bit for bit, also after an
    exception or Ctrl-C. See `LRFinder` for what is recorded.

    ```python
    curve = lrtuner.find_lr(model, x, y, batch_size=64)
    print(lrtuner.suggest_range(curve))
    curve.plot()
    ```

    Args:
        model: A compiled Keras model.
        x: Training inputs, anything that `model.fit` takes.
        y: Targets, as for `model.fit`.
        batch_size: Rows in a batch of arrays, as for `model.fit`.
        min_lr: Float, the first learning rate.
        max_lr: Float, the last learning rate.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300.
        verbose: 0 for silence, 1 or "auto" for a progress bar, 2 for a line without a bar.
        sample_weight: As for `model.fit`.
        class_weight: As for `model.fit`.
        shuffle: As for `model.fit`.
        steps_per_epoch: As for `model.fit`.

    Returns:
        The `LRCurve`: learning rates and raw losses, both of shape `(batches,)`. It is shorter than `steps`
        where the loss blew up or the data ran out.

    Raises:
        TypeError: Where `model` is not a Keras model.
        UnusableModelError: A `ValueError`, where the model is not compiled or has no single learning rate,
            or there is no data.
        ValueError: Where the bounds, the number of steps or another argument make no sense.
    """
    check_settings(min_lr, max_lr, steps)
    for name, count in (("batch_size", batch_size), ("steps_per_epoch", steps_per_epoch)):
        if count is not None and (
            isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1
        ):
            raise ValueError(f"{name} must be an integer above 0 or None, received {count!r}.")
    if class_weight is not None and not isinstance(class_weight, dict):
        raise ValueError(
            f"class_weight must be a dict of class and weight or None, received {class_weight!r}: pass "
            "{0: 1.0, 1: 5.0}, say."
        )
    _check_trainable(model, x)
    report = sweep_in_training(
        model,
        lambda: model.fit(
            x,
            y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            class_weight=class_weight,
            shuffle=shuffle,
            steps_per_epoch=steps_per_epoch,
        ),
        min_lr=min_lr,
        max_lr=max_lr,
        steps=steps,
        restore=True,
    )
    if report.fault is not None:
        warnings.warn(f"{report.fault}.", stacklevel=2)
    return report.curve


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Gives the global random generators back as they were, so that what follows draws what it would have.

    Covers Python's, NumPy's and the backend's. Keras draws its default seeds from Python's.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    restore_backend = _keep_backend_random_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        restore_backend()


def _keep_backend_random_state() -> Callable[[], None]:
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        state = torch.get_rng_state()
        return lambda: torch.set_rng_state(state)
    # tf.data shuffles with TensorFlow's generator on every backend.
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        generator = getattr(context.context(), "_rng", None)
        if generator is not None:
            tensorflow_state = generator.getstate()
            return lambda: generator.setstate(tensorflow_state)
    return lambda: None
