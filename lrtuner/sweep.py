"""The learning-rate sweep: a model and its data in, an `LRCurve` out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lrtuner.curve import BlowUpDetector, LRCurve, geometric_ramp

# The sweep's budget in batches where the caller names none: one epoch, within these limits.  One sweep of
# 300 batches reads as well as one of 600; below 100 the readings of a range grow unreliable.
MIN_DEFAULT_STEPS = 100
MAX_DEFAULT_STEPS = 300
# Below ten batches no rule can tell a descent from noise.
MIN_STEPS = 10
# More epochs than any sweep needs: the sweep ends itself.
_ENDLESS = 1_000_000


class UnusableModelError(ValueError):
    """The model or the data can't be trained at all: no sweep, and no trial after it, could work."""


@dataclasses.dataclass(frozen=True)
class SweepReport:
    """What a sweep found, and what is known about the training that it was part of.

    Attributes:
        curve: The recorded `LRCurve`.
        optimizer: Class name of the optimizer.
        batch_size: Rows in a batch, or `None` where the data brings its own batches.
        train_steps: Batches in the full training, or `None` where nobody knows.
    """

    curve: LRCurve
    optimizer: str
    batch_size: int | None
    train_steps: int | None

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


def default_steps(batches_per_epoch: int | None) -> int:
    """Returns the number of batches in a sweep whose length the caller left open.

    Args:
        batches_per_epoch: Batches in one epoch, or `None` where nobody knows (generators).

    Returns:
        One epoch, but at least 100 and at most 300 batches; 300 where the epoch's length is unknown.
    """
    if batches_per_epoch is None:
        return MAX_DEFAULT_STEPS
    return min(max(batches_per_epoch, MIN_DEFAULT_STEPS), MAX_DEFAULT_STEPS)


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


class LRFinder(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Sweeps the learning rate during `model.fit` and records each batch's own loss.

    The rates rise from batch to batch on a geometric ramp, `min_lr * (max_lr / min_lr) ** (i / (steps - 1))`
    for batch `i`. The recorded loss is that of the batch alone, before its update: never Keras' running mean
    over the epoch. The sweep stops the fit when the ramp is through or the loss has blown up. Then, unless
    `restore=False`, the model is what it was before: weights, optimizer state, learning rate and metrics.

    ```python
    finder = lrtuner.LRFinder(steps=100)
    model.fit(x, y, batch_size=64, epochs=2, callbacks=[finder])
    finder.curve.plot()
    ```

    The LR range test is due to Smith, "Cyclical Learning Rates for Training Neural Networks", 2017
    (arXiv:1506.01186).

    Args:
        min_lr: Float, the first learning rate.
        max_lr: Float, the last learning rate.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 and at most 300,
            and no more than the fit runs.
        restore: Boolean, whether to give the model back as it was before the sweep.
        verbose: 0 for silence, anything else for a progress bar.

    Attributes:
        curve: The `LRCurve` of the sweep, with shape `(batches,)`; `None` before the first fit.

    Raises:
        ValueError: At construction, where the bounds or the number of steps make no sense; at the fit's start,
            where it runs fewer batches than the sweep needs or the optimizer has no single learning rate.
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
        self._rate: _SweptRate | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes over the learning rate, and keeps what the sweep will change."""
        del logs
        if self.model.steps_per_execution != 1:
            raise ValueError(
                f"LRFinder needs steps_per_execution=1 but the model is compiled with "
                f"{self.model.steps_per_execution}: set `model.steps_per_execution = 1` before the fit, or use "
                "lrtuner.find_lr, which does so itself."
            )
        self._ramp = geometric_ramp(self.min_lr, self.max_lr, self._number_of_steps())
        self._losses: list[float] = []
        self._batches_before_epoch = -1
        self._blow_up = BlowUpDetector()
        self._finished = False
        self.curve = None
        if self.restore:
            self._snapshot = _Snapshot(self.model)
        self._rate = _SweptRate(self.model)
        self._progress = None
        if self.verbose != 0:
            print("Learning-rate sweep")
            self._progress = keras.utils.Progbar(
                len(self._ramp), stateful_metrics=["learning_rate", "loss"], unit_name="batch"
            )

    def _number_of_steps(self) -> int:
        per_epoch = self.params.get("steps")
        available = None if per_epoch is None else per_epoch * self.params["epochs"]
        if self.steps is not None:
            if available is not None and available < self.steps:
                raise ValueError(
                    f"The sweep needs {self.steps} batches but this fit runs {available} "
                    f"({self.params['epochs']} epochs of {per_epoch}): pass "
                    f"epochs={-(-self.steps // per_epoch)} or more to fit, or fewer steps to LRFinder."
                )
            return self.steps
        steps = default_steps(per_epoch)
        if available is not None and available < steps:
            if available < MIN_STEPS:
                raise ValueError(
                    f"A sweep needs at least {MIN_STEPS} batches but this fit runs {available}: pass more "
                    "epochs to fit, or a smaller batch_size."
                )
            return available
        return steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notices when the data has run out for good."""
        del epoch, logs
        if self._batches_before_epoch == len(self._losses):
            self._finish()
        self._batches_before_epoch = len(self._losses)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the batch's learning rate and forgets the loss of the batches before."""
        del batch, logs
        if self._finished:
            return
        assert self._rate is not None
        self._rate.assign(self._ramp[len(self._losses)])
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Records the batch's loss, and ends the fit when there is no more to learn."""
        del batch
        if self._finished:
            return
        if not logs or "loss" not in logs:
            raise ValueError(
                "The model's train_step reports no 'loss', which the sweep records: it reports "
                f"{sorted(logs or {})}. Return {{'loss': ...}} from train_step."
            )
        loss = float(logs["loss"])
        rate = float(self._ramp[len(self._losses)])
        self._losses.append(loss)
        if self._progress is not None:
            self._progress.update(len(self._losses), [("learning_rate", rate), ("loss", loss)], finalize=False)
        if self._blow_up.update(loss) or len(self._losses) == len(self._ramp):
            self._finish()

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
        if self._rate is None:
            return
        if self._progress is not None:
            self._progress.update(len(self._losses), finalize=True)
        self.curve = LRCurve(self._ramp[: len(self._losses)], np.array(self._losses, dtype=float))
        self._rate.release()
        self._rate = None
        if self._snapshot is not None:
            self._snapshot.restore()
            self._snapshot = None


class _SweptRate:
    """The learning rate of a compiled model, taken over for a sweep and given back by `release`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        # LossScaleOptimizer (mixed precision) keeps the rate in the optimizer that it wraps.
        self._optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        self._declared = _rate_of(self._optimizer)
        self._value: float | None = None
        if isinstance(self._declared, keras.Variable):
            self._value = float(keras.ops.convert_to_numpy(self._declared.value))
            self._variable = self._declared
            return
        # A schedule or a callable can't be set to a number: put a variable in its place, as a plain rate has.
        with keras.name_scope(self._optimizer.name, caller=self._optimizer):
            self._variable = keras.Variable(
                0.0, name="learning_rate", dtype="float32", trainable=False, aggregation="only_first_replica"
            )
        self._optimizer._track_variable(self._variable)
        self._optimizer._learning_rate = self._variable
        model.train_function = None
        model.make_train_function(force=True)

    def assign(self, rate: float) -> None:
        sync = getattr(self._model, "jax_state_sync", None)
        if sync is not None:
            sync()
        self._variable.assign(rate)

    def release(self) -> None:
        if self._value is not None:
            self._variable.assign(self._value)
            return
        self._optimizer._learning_rate = self._declared
        self._optimizer._untrack_variable(self._variable)
        self._model.train_function = None


def _rate_of(optimizer: Any) -> Any:
    """Returns an optimizer's rate as it keeps it: a variable, a schedule or a callable."""
    rate = getattr(optimizer, "_learning_rate", None)
    if rate is None:
        raise UnusableModelError(
            f"The optimizer {type(optimizer).__name__} has no single learning rate to sweep: compile the model "
            "with one optimizer that has a learning_rate."
        )
    return rate


def peak_rate(model: Any) -> float:
    """Returns the learning rate that a compiled model trains with; of a schedule, its highest.

    Args:
        model: A compiled Keras model.

    Returns:
        The rate of its optimizer. A schedule is evaluated at steps 0, 1, 2, 4, ... 2**20, whose maximum is the
        base rate of a decay and close to the target rate of a warm-up.

    Raises:
        UnusableModelError: Where the optimizer has no single learning rate.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
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
                "The model has no weights yet, so they can't be restored after the sweep: build it first, for "
                "example by calling it on one batch of inputs, `model(x[:1])`."
            )
        self._model = model
        model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        # By identity: one variable may stand in several of these lists.
        unique = {id(variable): variable for variable in variables}.values()
        self._values = [(variable, np.copy(keras.ops.convert_to_numpy(variable.value))) for variable in unique]

    def restore(self) -> None:
        sync = getattr(self._model, "jax_state_sync", None)
        if sync is not None:
            sync()
        for variable, value in self._values:
            variable.assign(value)


def _check_trainable(model: Any, x: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model, received {model!r} of type {type(model).__name__}.")
    if not model.compiled or model.optimizer is None:
        raise UnusableModelError(
            f"The model {model.name!r} is not compiled, so it has no optimizer whose learning rate could be swept: "
            "call model.compile(optimizer=..., loss=...) before it is returned or swept."
        )
    if x is None:
        raise UnusableModelError("No training data: pass x (and y), as to model.fit.")
    try:
        batches_or_rows = len(x)
    except TypeError:
        return
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
    on_start: Callable[[], None] = lambda: None,
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
        on_start: Called when `model.fit` is about to begin.

    Returns:
        A `SweepReport` with a curve of at most `steps` batches.

    Raises:
        UnusableModelError: Where the model is not compiled or there is no data.
        RuntimeError: Where the training function never calls `model.fit`.
    """
    plain_fit = model.fit
    signature = inspect.signature(plain_fit)
    finder: LRFinder | None = None
    training: dict[str, Any] = {}

    @functools.wraps(plain_fit)
    def fit(*args: Any, **kwargs: Any) -> None:
        nonlocal finder
        arguments = signature.bind(*args, **kwargs).arguments
        arguments.update(arguments.pop("kwargs", {}))
        training.update(arguments)
        _check_trainable(model, arguments.get("x"))
        on_start()
        finder = LRFinder(
            min_lr, max_lr, steps, restore=restore, verbose=arguments.get("verbose", "auto")
        )
        for name in ("validation_data", "validation_steps", "validation_batch_size", "initial_epoch"):
            arguments.pop(name, None)
        # A validation_split still decides which rows are trained on; its validation never runs.
        arguments.update(epochs=_ENDLESS, verbose=0, callbacks=[finder], validation_freq=_ENDLESS + 1)
        if model.steps_per_execution != 1:
            model.steps_per_execution = 1
            model.train_function = None
        plain_fit(**arguments)
        raise _SweepFinished

    steps_per_execution = getattr(model, "steps_per_execution", 1)
    model.fit = fit
    try:
        train()
    except _SweepFinished:
        pass
    finally:
        del model.fit
        if finder is not None:
            finder.close()
        if restore and getattr(model, "steps_per_execution", 1) != steps_per_execution:
            model.steps_per_execution = steps_per_execution
            model.train_function = None
    if finder is None or finder.curve is None:
        raise RuntimeError(
            "The training function ended without a call of model.fit, so no learning-rate curve could be recorded: "
            "train with model.fit, or declare a narrower learning-rate space by hand."
        )
    batches_per_epoch = finder.params.get("steps")
    epochs = training.get("epochs", 1) - training.get("initial_epoch", 0)
    return SweepReport(
        curve=finder.curve,
        optimizer=type(getattr(model.optimizer, "inner_optimizer", model.optimizer)).__name__,
        batch_size=_batch_size(training),
        train_steps=batches_per_epoch * epochs if batches_per_epoch and epochs > 0 else None,
    )


def _batch_size(training: dict[str, Any]) -> int | None:
    """Returns the rows in a batch of what `model.fit` was called with."""
    if training.get("batch_size") is not None:
        return int(training["batch_size"])
    data = training["x"]
    spec = getattr(data, "element_spec", None)
    if spec is None:
        # Keras batches arrays by 32 where nothing is said; everything else brings batches of its own.
        return 32 if hasattr(data, "shape") else None
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
        verbose: 0 for silence, anything else for a progress bar.
        sample_weight: As for `model.fit`.
        class_weight: As for `model.fit`.
        shuffle: As for `model.fit`.
        steps_per_epoch: As for `model.fit`.

    Returns:
        The `LRCurve`: learning rates and raw losses, both of shape `(batches,)`. It is shorter than `steps`
        where the loss blew up or the data ran out.

    Raises:
        TypeError: Where `model` is not a Keras model.
        UnusableModelError: A `ValueError`, where the model is not compiled, not built and not buildable, has no
            single learning rate, or there is no data.
        ValueError: Where the bounds or the number of steps make no sense.
    """
    check_settings(min_lr, max_lr, steps)
    _check_trainable(model, x)
    return sweep_in_training(
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
    ).curve


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
