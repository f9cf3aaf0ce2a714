"""A model's training step during a sweep, on any backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from lrtuner.errors import NoLossError
from lrtuner.sweep.model import Snapshot, own_optimizer, preserved_random_state, rate_of

# Of more values in kernels than this, a fixed sample is looked at to measure updates. All 1.2 million of a
# small convolutional net would take a sixth of its step.
_MOST_SAMPLED = 2**18


class SweptStep:
    """Takes over a model's training step when made, until `release`.

    What it changes: the optimizer's rate can be set from batch to batch, the reported loss is the batch's
    own, the size of the update is reported beside it, no metrics are computed but the loss where the model
    leaves that open, and the batch itself stays in hand until the next one.

    Args:
        model: A compiled Keras model in the middle of a `fit`.
        optimizer: The optimizer whose rate is swept; by default the model's.

    Attributes:
        batch: What the last step was given, or None where it was a part of the batch, as with several
            replicas.

    Raises:
        UnusableModelError: Where the optimizer has no single learning rate.
        ValueError: Where several steps would run in one call.
    """

    def __init__(self, model: Any, optimizer: Any = None) -> None:
        if model.steps_per_execution != 1:
            raise ValueError(
                f"LRFinder needs steps_per_execution=1 but the model is compiled with "
                f"{model.steps_per_execution}: set `model.steps_per_execution = 1` before the fit, or use "
                "lrtuner.find_lr, which does so itself."
            )
        self.batch: Any = None
        self._update: Any = math.nan
        self._model = model
        self._train_function = model.train_function
        self._optimizer = own_optimizer(model) if optimizer is None else optimizer
        self._declared_rate = rate_of(self._optimizer)
        if isinstance(self._declared_rate, keras.Variable):
            self._rate_before = keras.ops.convert_to_numpy(self._declared_rate)
            self._rate = self._declared_rate
        else:
            # A schedule or a callable can't be set to a number: put a variable in its place.
            with keras.name_scope(self._optimizer.name, caller=self._optimizer):
                self._rate = keras.Variable(0.0, name="learning_rate", dtype="float32", trainable=False)
            self._optimizer._track_variable(self._rate)
            self._optimizer._learning_rate = self._rate
        # Only JAX keeps the model's state outside of its variables while it trains: its step takes and
        # returns that state, the trained weights first, and changes no variables.
        self._is_stateless = keras.backend.backend() == "jax"
        strategy = getattr(model, "distribute_strategy", None)
        self._sees_batches = strategy is None or strategy.num_replicas_in_sync == 1
        self._plain_step = model.train_step
        self._inside = 0
        self._trackers = model.metrics
        methods = ("train_step", "compute_metrics", "get_metrics_result")
        self._leaves_metrics_open = all(
            getattr(type(model), method) is getattr(keras.Model, method) for method in methods
        )
        if self._leaves_metrics_open:
            self._trackers = [model._loss_tracker]
            result = model.get_metrics_result

            def result_or_loss() -> dict[str, Any]:
                try:
                    return dict(result())
                except ValueError:
                    # Keras asks after the epoch for compiled metrics, which no step has computed.
                    return {"loss": model._loss_tracker.result()}

            model.get_metrics_result = result_or_loss
        model.train_step = self._step
        model.make_train_function(force=True)
        model.train_function = self._keeping_the_batch(model.train_function)

    # --- What a step does -----------------------------------------------------------------------------------

    def _step(self, *arguments: Any) -> Any:
        """Run, or trace, one step."""
        if self._is_stateless:
            before = self._kernels(arguments[0][0])
            logs, state = self._without_metrics(*arguments)
            return self._seen(logs, before, state[0], arguments[-1]), state
        # Here and not from Python, since it may be compiled.
        self._reset_trackers()
        before = self._kernels(self._model.trainable_variables)
        logs = self._without_metrics(*arguments)
        return self._seen(logs, before, self._model.trainable_variables, arguments[-1])

    def _seen(self, logs: dict[str, Any], before: list[Any], weights: list[Any], data: Any) -> dict[str, Any]:
        """Return what a step has shown.

        The loss needn't show that weights are NaN: TensorFlow's relu makes zeros of them. Their sums are
        finite where all of them are, but for overflows far from good rates.
        """
        if "loss" not in logs:
            raise NoLossError(
                f"The model's train_step reports no 'loss', which the sweep records: it reports "
                f"{sorted(logs)}. Return {{'loss': ...}} from train_step."
            )
        loss = logs["loss"]
        if weights:
            sums = [keras.ops.sum(keras.ops.stop_gradient(weight)) for weight in weights]
            finite = keras.ops.all(keras.ops.stack([keras.ops.isfinite(one) for one in sums]))
            loss = keras.ops.where(finite, loss, math.nan)
        seen = {"loss": loss, "update": _relative_update(before, self._kernels(weights))}
        return {**seen, "batch": data} if self._sees_batches else seen

    def _without_metrics(self, *arguments: Any) -> Any:
        """Run the model's own step without its metrics; a validation in between keeps them."""
        if not self._leaves_metrics_open:
            return self._plain_step(*arguments)
        model, tracker = self._model, self._trackers[0]
        # A strategy's replicas are traced in turns, the next one before the last has ended.
        self._inside += 1
        model.compute_metrics = lambda *_args, **_kwargs: {"loss": tracker.result()}
        try:
            return self._plain_step(*arguments)
        finally:
            self._inside -= 1
            if not self._inside:
                del model.compute_metrics

    def _kernels(self, weights: list[Any]) -> list[tuple[Any, bool]]:
        """Return the values whose updates are measured, and whether those of them that rest don't count.

        These are the weights with more than one axis, of large models a fixed sample. Where there are none,
        they are all weights. The rows of an `Embedding` that a batch doesn't hold rest.
        """
        variables = self._model.trainable_variables
        kernels = [index for index, variable in enumerate(variables) if len(variable.shape) > 1]
        layers = [one for one in self._model._flatten_layers() if isinstance(one, keras.layers.Embedding)]
        tables = {id(variable) for layer in layers for variable in layer.trainable_variables}
        # An odd stride comes by all channels, whose number is a power of 2 as a rule.
        stride = sum(math.prod(variables[index].shape) for index in kernels) // _MOST_SAMPLED | 1
        values = []
        for index in kernels or range(len(variables)):
            value = keras.ops.stop_gradient(weights[index])
            if stride > 1:
                value = keras.ops.reshape(value, (-1,))[::stride]
            may_rest = not kernels or id(variables[index]) in tables
            values.append((keras.ops.copy(keras.ops.cast(value, "float32")), may_rest))
        return values

    def _reset_trackers(self) -> None:
        """Forget the losses of the batches before."""
        for tracker in self._trackers:
            tracker.reset_state()

    def _keeping_the_batch(self, train: Callable[..., Any]) -> Callable[..., Any]:
        """Return a training function that reports the loss alone, as other callbacks expect."""

        def train_function(*arguments: Any) -> Any:
            result = train(*arguments)
            logs = result[0] if self._is_stateless else result
            self.batch, self._update = logs.pop("batch", None), logs.pop("update")
            return result

        return train_function

    # --- From batch to batch --------------------------------------------------------------------------------

    def set_rate(self, rate: float) -> None:
        """Set the next batch's rate."""
        if self._is_stateless:
            self._model.jax_state_sync()
            self._reset_trackers()
        self._rate.assign(rate)

    @property
    def update(self) -> float:
        """Return `|w_after - w_before| / |w_before|` of the last batch."""
        return float(self._update)

    def loss_at(self, snapshot: Snapshot, rate: float) -> float:
        """Return the loss of the last batch at the weights of a snapshot; the model stays as it is.

        The step runs once more, uncompiled.

        Args:
            snapshot: The model's state of another time.
            rate: A rate that spoils no weights: those that the step leaves must be finite.
        """
        self._sync()
        now = Snapshot(self._model)
        snapshot.restore()
        try:
            with preserved_random_state():
                if not self._is_stateless:
                    self._rate.assign(rate)
                    return float(keras.ops.convert_to_numpy(self._step(self.batch)["loss"]))
                self.set_rate(rate)
                model = self._model
                parts = (
                    model.trainable_variables,
                    model.non_trainable_variables,
                    model.optimizer.variables,
                    model.metrics_variables,
                )
                state = tuple([variable.value for variable in part] for part in parts)
                return float(self._step(state, self.batch)[0]["loss"])
        finally:
            now.restore()

    def _sync(self) -> None:
        if self._is_stateless:
            self._model.jax_state_sync()

    def release(self) -> None:
        """Give the model its own step, and the optimizer its own rate."""
        self._sync()
        self.batch = None
        del self._model.train_step
        if self._leaves_metrics_open:
            del self._model.get_metrics_result
        if self._rate is self._declared_rate:
            self._rate.assign(self._rate_before)
        else:
            self._optimizer._learning_rate = self._declared_rate
            self._optimizer._untrack_variable(self._rate)
        # The function from before the sweep, if there was one, still holds its compiled step.
        self._model.train_function = self._train_function


def _relative_update(before: list[tuple[Any, bool]], after: list[tuple[Any, bool]]) -> Any:
    """Return `|after - before| / |before|`; NaN where there is nothing to compare."""
    moved = size = keras.ops.zeros((), "float32")
    for (old, may_rest), (new, _) in zip(before, after, strict=False):
        moved = moved + keras.ops.sum(keras.ops.square(new - old))
        squares = keras.ops.square(old)
        size = size + keras.ops.sum(keras.ops.where(new == old, 0.0, squares) if may_rest else squares)
    return keras.ops.where(size > 0, keras.ops.sqrt(moved / size), math.nan)
