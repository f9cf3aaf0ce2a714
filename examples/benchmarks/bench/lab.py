"""Trains one task at any learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import losses
from bench.late import keras
from bench.late import tensorflow as tf
from bench.records import MeasuredSweep, finite
from bench.task import Task

# First and last learning rate of a sweep: those of lrtuner, and beyond what any of the tasks can use.
MIN_LR, MAX_LR = 1e-7, 10.0


class Lab:
    """One task, traced once: any number of runs from any seed at any rates."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.split, self.judged = task.data(), task.judged or task.loss
        keras.utils.set_random_seed(0)
        self.model = task.model()
        self.model(tf.constant(self.split.x)[:2])
        self.optimizer = getattr(keras.optimizers, task.optimizer.name)(**task.optimizer.arguments)
        self.optimizer.build(self.model.trainable_variables)
        self.fresh = [v.numpy() for v in self.optimizer.variables]
        self.epochs = task.epochs_of(len(self.split.x))
        self.batches_per_epoch = -(-len(self.split.x) // task.batch)
        self.steps = self.batches_per_epoch * self.epochs
        self._run, self._validate = self._trace_training(), self._trace_validation()

    def _trace_training(self) -> Any:
        """Compile a function that trains batches of these rows and sizes at these rates."""
        model, optimizer = self.model, self.optimizer
        x, y = tf.constant(self.split.x), tf.constant(self.split.y)
        kernels = [v.value for v in model.trainable_variables if len(v.shape) > 1]

        @tf.function(autograph=False, reduce_retracing=True)
        def run(order: Any, sizes: Any, rates: Any, measures_updates: bool) -> Any:
            seen = tf.TensorArray(tf.float32, size=0, dynamic_size=True)

            def body(i: Any, seen: Any, _: Any) -> Any:
                rows = order[i][: sizes[i]]
                before = [tf.identity(kernel) for kernel in kernels if measures_updates]
                with tf.GradientTape() as tape:
                    predicted = model(tf.gather(x, rows), training=True)
                    loss = tf.reduce_mean(self.task.loss(tf.gather(y, rows), predicted)) + sum(model.losses)
                gradients = tape.gradient(loss, model.trainable_variables)
                optimizer.learning_rate.assign(rates[i])
                optimizer.apply(gradients, model.trainable_variables)
                update = tf.constant(np.nan)
                if measures_updates:
                    moved = [kernel - old for kernel, old in zip(kernels, before, strict=True)]
                    update = tf.linalg.global_norm(moved) / tf.linalg.global_norm(before)
                return i + 1, seen.write(i, tf.stack([loss, update])), tf.math.is_finite(loss)

            start = (tf.constant(0), seen, tf.constant(True))
            return tf.while_loop(lambda i, _, ok: ok & (i < tf.shape(rates)[0]), body, start)[1].stack()

        return run

    def _trace_validation(self) -> Any:
        """Compile a function that returns the validation loss."""
        x, y = self.split.x_val, self.split.y_val

        @tf.function(autograph=False, reduce_retracing=True)
        def validate() -> Any:
            return tf.reduce_mean(self.judged(tf.constant(y), self.model(tf.constant(x), training=False)))

        return validate

    def start(self, seed: int) -> list[np.ndarray]:
        """Return initial values of the model's variables for a seed."""
        keras.utils.set_random_seed(1000 + seed)
        model = self.task.model()
        model(self.split.x[:2])
        values = [v.numpy() for v in model.variables]
        if self.task.warm:
            self.train(values, seed, np.full(self.task.warm, self.task.warm_rate))
            values = [v.numpy() for v in self.model.variables]
        return values

    def train(self, values: list[np.ndarray], seed: int, rates: np.ndarray, after: int = 0) -> np.ndarray:
        """Train from these initial values, and return the losses up to the first that isn't finite.

        Where `after` is given, training goes on from that batch on, with the model as the last call left it.
        """
        return self.losses_and_updates(values, seed, rates, after)[:, 0]

    def losses_and_updates(
        self, values: list[np.ndarray], seed: int, rates: np.ndarray, after: int = 0, updates: bool = False
    ) -> np.ndarray:
        """Train, and return each batch's loss and, where asked for, the relative size of its update."""
        if not after:
            for variable, value in zip(self.model.variables, values, strict=True):
                variable.assign(value)
            for variable, value in zip(self.optimizer.variables, self.fresh, strict=True):
                variable.assign(value)
        order, sizes = self._batches(seed, after + len(rates))
        rates = rates.astype(np.float32)
        seen: np.ndarray = self._run(order[after:], sizes[after:], rates, updates).numpy()
        return seen.reshape(-1, 2)

    def sweep(self, values: list[np.ndarray], seed: int, length: int | str, steps: int) -> MeasuredSweep:
        """Sweep in so many steps, on batches in another order than in a training from the same seed."""
        seen = self.losses_and_updates(values, 100 + seed, np.geomspace(MIN_LR, MAX_LR, steps), updates=True)
        return MeasuredSweep(length, seed, MIN_LR, MAX_LR, steps, finite(seen[:, 0]), finite(seen[:, 1]))

    def _batches(self, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of each batch and their number; the last batch of an epoch may be smaller."""
        rng = np.random.default_rng(seed)
        n, batch = len(self.split.x), self.task.batch
        width = self.batches_per_epoch * batch
        epochs = -(-steps // self.batches_per_epoch)
        order = np.zeros((epochs, width), np.int32)
        for row in order:
            row[:n] = rng.permutation(n)
        last = n - (self.batches_per_epoch - 1) * batch
        sizes = np.tile([batch] * (self.batches_per_epoch - 1) + [last], epochs)
        return order.reshape(-1, batch)[:steps], sizes[:steps].astype(np.int32)

    def validate(self) -> float | None:
        """Return the validation loss of the model as it is, or `None` where it isn't finite."""
        return finite([float(self._validate())])[0]

    def chance(self) -> float:
        """Return the validation loss of the constant prediction that is best on the training targets."""
        y, outputs = self.split.y, self.model(self.split.x[:1]).shape[1:]
        if y.dtype.kind == "i":
            # A class that doesn't occur has a finite logarithm, too.
            best = np.log(np.bincount(y, minlength=outputs[-1]) / len(y) + 1e-6)
        else:
            best = BEST_CONSTANT.get(self.task.loss, lambda y: y.mean(0))(y)
        constant = tf.tile(
            tf.constant(best.astype(np.float32))[None], [len(self.split.y_val)] + [1] * len(outputs)
        )
        return float(tf.reduce_mean(self.judged(self.split.y_val, constant)))


# Where the best constant output isn't the mean of the targets.
BEST_CONSTANT = {
    losses.gaussian: lambda y: np.array([y.mean(), np.log(y.std())]),
    losses.poisson: lambda y: np.log(y.mean(0)),
    losses.binary: lambda y: np.log(y.mean(0) / (1 - y.mean(0))),
}
