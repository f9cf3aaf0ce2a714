"""How a sweep sets each batch's rate and reads its loss: from Python, or inside of a compiled step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import keras

from lrtuner.curve.smoothing import FloatArray
from lrtuner.errors import NoLossError
from lrtuner.sweep.model import own_optimizer, rate_of


class Recorder(Protocol):
    """Takes over a model's training step when made, until `release`."""

    def __init__(self, model: Any, ramp: FloatArray, optimizer: Any = None) -> None: ...

    def before_batch(self, position: int) -> None:
        """Prepare the batch of that position on the ramp."""

    def new_losses(self, position: int, logs: dict[str, Any]) -> list[float]:
        """Return the losses from that position on, after a call of the training function."""

    def rows(self) -> int | None:
        """Return the rows in the largest batch so far, or None where they can't be seen."""

    def release(self) -> None:
        """Give the model its own step back."""


def recorder_for(model: Any) -> type[Recorder]:
    """Return the recorder that sweeps a model fastest."""
    return CompiledRecorder if CompiledRecorder.serves(model) else StepwiseRecorder


class SweptStep:
    """A model's training step, readied for a sweep and put back by `release`.

    What it changes: the optimizer's rate can be set, the reported loss is the batch's own once the trackers
    are reset before the batch, and no metrics are computed but the loss where the model leaves that open.
    """

    def __init__(self, model: Any, optimizer: Any = None) -> None:
        self.model = model
        self._train_function = model.train_function
        self._optimizer = own_optimizer(model) if optimizer is None else optimizer
        self._declared_rate = rate_of(self._optimizer)
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
        """Run, or trace, the model's step without its metrics; a validation in between keeps them."""
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
        """Make the model train with another step, until `release`."""
        self.model.train_step = step
        self.model.make_train_function(force=True)

    def reset_trackers(self) -> None:
        """Forget the losses of the batches before."""
        for tracker in self.trackers:
            tracker.reset_state()

    def rows_in(self, data: Any) -> Any:
        """Return the rows in a batch: a number where it is known, otherwise TensorFlow's tensor, or None."""
        strategy = getattr(self.model, "distribute_strategy", None)
        if strategy is not None and strategy.num_replicas_in_sync > 1:
            # This is a part of the batch.
            return None
        leaf = next((leaf for leaf in keras.tree.flatten(data) if hasattr(leaf, "shape")), None)
        if leaf is None or len(leaf.shape) == 0:
            return None
        if leaf.shape[0] is None and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.shape(leaf)[0] if isinstance(leaf, tf.Tensor) else None
        return int(leaf.shape[0])

    def own_loss(self, logs: dict[str, Any], weights: Any = None) -> Any:
        """Return the batch's loss from what the step reports; NaN where it left weights that are not finite.

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
        """Give the model its own step, and the optimizer its own rate."""
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


class StepwiseRecorder:
    """Sets the rate and reads the loss from Python, batch by batch: serves every backend and model."""

    def __init__(self, model: Any, ramp: FloatArray, optimizer: Any = None) -> None:
        if model.steps_per_execution != 1:
            raise ValueError(
                f"LRFinder needs steps_per_execution=1 here but the model is compiled with "
                f"{model.steps_per_execution}: set `model.steps_per_execution = 1` before the fit, or use "
                "lrtuner.find_lr, which does so itself."
            )
        self._ramp = ramp
        self._step = step = SweptStep(model, optimizer)
        self._rows: int | None = None
        # Only JAX keeps the model's state outside of its variables while it trains: its step takes and
        # returns that state, the trained weights first, and changes no variables.
        self._is_stateless = keras.backend.backend() == "jax"

        def swept_step(*arguments: Any) -> Any:
            data = arguments[-1]
            rows = step.rows_in(data)
            if isinstance(rows, int):
                self._rows = max(rows, self._rows or 0)
            if self._is_stateless:
                logs, state = self._run(step, *arguments)
                return {"loss": step.own_loss(logs, state[0]), **self._seen_in(data)}, state
            # Here and not from Python, since it may be compiled.
            step.reset_trackers()
            return {"loss": step.own_loss(self._run(step, *arguments)), **self._seen_in(data)}

        step.install(swept_step)

    def _run(self, step: SweptStep, *arguments: Any) -> Any:
        """Run, or trace, the step."""
        return step.run(*arguments)

    def _seen_in(self, data: Any) -> dict[str, Any]:
        """Return what else to report of a batch."""
        del data
        return {}

    def before_batch(self, position: int) -> None:
        """Set the batch's rate."""
        if self._is_stateless:
            self._step.model.jax_state_sync()
            self._step.reset_trackers()
        self._step.rate.assign(self._ramp[position])

    def new_losses(self, position: int, logs: dict[str, Any]) -> list[float]:
        """Return the one loss that the step reports."""
        del position
        return [float(_loss_in(logs))]

    def rows(self) -> int | None:
        """Return the rows in the largest batch so far, or None where a compiled step takes any number."""
        return self._rows

    def release(self) -> None:
        """Give the model its own step back."""
        if self._is_stateless:
            self._step.model.jax_state_sync()
        self._step.release()


class InspectingRecorder(StepwiseRecorder):
    """Reports, besides the loss, in how many rows of a batch there are values that are not finite.

    Attributes:
        passes_over: Whether to report a loss of 0 without any step. It takes effect in an eager model alone,
            and not on JAX.
    """

    NAMES = ("x", "y", "sample_weight")
    passes_over = False

    def _run(self, step: SweptStep, *arguments: Any) -> Any:
        return {"loss": keras.ops.zeros(())} if self.passes_over else super()._run(step, *arguments)

    def _seen_in(self, data: Any) -> dict[str, Any]:
        parts = zip(self.NAMES, keras.utils.unpack_x_y_sample_weight(data), strict=True)
        seen = {name: _rows_with_holes(part) for name, part in parts}
        strategy = getattr(self._step.model, "distribute_strategy", None)
        if strategy is None or strategy.num_replicas_in_sync == 1:
            return seen
        import tensorflow as tf

        # Each replica has a part of the batch, and Keras reports what the first one says.
        replica = tf.distribute.get_replica_context()
        return {name: replica.all_reduce(tf.distribute.ReduceOp.SUM, rows) for name, rows in seen.items()}


class CompiledRecorder:
    """Runs ramp and recording inside of TensorFlow's compiled step, so that many steps fit into a call."""

    def __init__(self, model: Any, ramp: FloatArray, optimizer: Any = None) -> None:
        import tensorflow as tf

        self._step = step = SweptStep(model, optimizer)
        rates = tf.constant(ramp, dtype=step.rate.dtype)
        indices = tf.range(len(ramp))
        self._position = position = tf.Variable(0, dtype=indices.dtype)
        self._recorded = recorded = tf.Variable(tf.zeros(len(ramp)))
        self._rows = largest = tf.Variable(0, dtype=indices.dtype)

        def swept_step(data: Any) -> dict[str, Any]:
            rows = step.rows_in(data)
            if rows is not None:
                largest.assign(tf.maximum(largest, tf.cast(rows, largest.dtype)))
            step.rate.assign(rates[tf.minimum(position, len(ramp) - 1)])
            step.reset_trackers()
            loss = tf.cast(step.own_loss(step.run(data)), recorded.dtype)
            # A comparison, not a scatter: XLA compiles it, and steps past the ramp's end write nothing.
            recorded.assign(tf.where(indices == position, loss, recorded))
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
        """Do nothing: the step does all of it."""

    def new_losses(self, position: int, logs: dict[str, Any]) -> list[float]:
        """Return the losses that the steps since then have recorded."""
        del logs
        recorded: list[float] = self._recorded.numpy()[position : int(self._position.numpy())].tolist()
        return recorded

    def rows(self) -> int | None:
        """Return the rows in the largest batch so far, or None where its tensors don't tell."""
        return int(self._rows.numpy()) or None

    def release(self) -> None:
        """Give the model its own step back."""
        self._step.release()


def _defaults(model: Any, *methods: str) -> bool:
    """Whether a model's methods are those of Keras, not overridden by its class."""
    return all(getattr(type(model), method) is getattr(keras.Model, method) for method in methods)


def _loss_in(logs: dict[str, Any]) -> Any:
    """Return the loss that a training step reports."""
    if "loss" not in logs:
        raise NoLossError(
            f"The model's train_step reports no 'loss', which the sweep records: it reports {sorted(logs)}. "
            "Return {'loss': ...} from train_step."
        )
    return logs["loss"]


def _rows_with_holes(part: Any) -> Any:
    """Return the number of rows with a value that is not finite, in what a batch holds of one kind."""
    count = keras.ops.zeros(())
    for leaf in keras.tree.flatten(part):
        # Labels and texts are always there, and of ragged and sparse tensors the rows can't be told.
        if "float" not in str(getattr(leaf, "dtype", "")) or not keras.ops.is_tensor(leaf):
            continue
        if hasattr(leaf, "row_splits") or hasattr(leaf, "dense_shape") or len(leaf.shape) == 0:
            continue
        finite = keras.ops.isfinite(leaf)
        if len(leaf.shape) > 1:
            finite = keras.ops.all(finite, axis=tuple(range(1, len(leaf.shape))))
        count = keras.ops.maximum(count, keras.ops.sum(1.0 - keras.ops.cast(finite, "float32")))
    return count
