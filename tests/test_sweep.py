import random
import warnings

import keras
import numpy as np
import processes
import pytest
from searches import Batches

import lrtuner
import lrtuner.sweep.finder as finder_module
import lrtuner.sweep.step as step_module
from lrtuner.curve.curve import geometric_ramp
from lrtuner.errors import UnusableModelError
from lrtuner.sweep.finder import default_steps
from lrtuner.sweep.model import peak_rate, preserved_random_state
from lrtuner.sweep.training import fit_arguments, sweep_fit

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(140, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 1)) + 1).astype("float32")
LABELS = (Y[:, 0] > 1).astype("int32")

# What a sweep does must not depend on the backend.
pytestmark = pytest.mark.backend
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="a feature of TensorFlow alone")


def linear(optimizer="sgd", loss="mse", **compile_arguments):
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer, loss, **compile_arguments)
    return model


def classifier(optimizer="sgd", *layers, **compile_arguments):
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(8, activation="relu"), *layers, keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compile_arguments)
    return model


def losses_by_hand(x, y, rates, batch_size, *, steps):
    """Trains the linear model with SGD in float64, one rate a batch, without Keras."""
    weights, bias, losses = np.ones((6, 1)), 0.0, []
    batches = [(x[i : i + batch_size], y[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    for step in range(steps):
        inputs, targets = batches[step % len(batches)]
        error = inputs.astype("float64") @ weights + bias - targets
        losses.append((error**2).mean())
        weights = weights - rates[step] * inputs.T @ (2 * error) / len(inputs)
        bias = bias - rates[step] * 2 * error.mean()
    return np.array(losses)


def sweep(model, x=X, y=Y, **arguments):
    ramp = {"min_lr": 1e-4, "max_lr": 0.3, "steps": 33}
    arguments = {"batch_size": 32, **ramp, "verbose": 0, "shuffle": False, **arguments}
    return lrtuner.find_lr(model, x, y, **arguments)


def state_of(model, *, metrics=True):
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables, *(model.metrics_variables if metrics else [])]
    return [np.copy(keras.ops.convert_to_numpy(variable.value)) for variable in variables]


def assert_same(before, after):
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


# --- The curve ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
def test_each_loss_is_its_own_batch_s_also_over_epochs_and_partial_batches(eager):
    model = linear(metrics=["mae"], run_eagerly=eager)
    curve = sweep(model)
    rates = geometric_ramp(1e-4, 0.3, 33)
    # 140 rows make four batches of 32 and one of 12: 33 batches are six epochs and a bit.
    np.testing.assert_allclose(curve.losses, losses_by_hand(X, Y, rates, 32, steps=33), rtol=1e-5)
    np.testing.assert_array_equal(curve.learning_rates, rates)


def test_steps_per_execution_and_jit_compile_change_nothing():
    model = linear(steps_per_execution=7)
    curve = sweep(model)
    np.testing.assert_allclose(
        curve.losses, losses_by_hand(X, Y, curve.learning_rates, 32, steps=33), rtol=1e-5
    )
    assert model.steps_per_execution == 7
    assert_swept_as_by_hand(lambda: linear(jit_compile=BACKEND != "torch", metrics=["mae"]), X, Y)


def test_callback_records_the_same_as_find_lr():
    finder = lrtuner.LRFinder(1e-4, 0.3, steps=33, restore=False)
    model = linear()
    model.fit(X, Y, batch_size=32, epochs=10, shuffle=False, verbose=0, callbacks=[finder])
    assert finder.curve == sweep(linear())
    # The model is left as the sweep left it.
    assert (model.get_weights()[0] != 1).any()


def test_sample_weight_class_weight_and_shuffle_reach_fit():
    weights = RNG.uniform(size=140).astype("float32")
    curve = sweep(linear(), steps=10, sample_weight=weights)
    error = (X[:32].sum(1) - Y[:32, 0]) ** 2
    assert curve.losses[0] == pytest.approx(np.mean(error * weights[:32]), rel=1e-5)
    balanced, weighted = (
        sweep(classifier(keras.optimizers.SGD()), y=LABELS, steps=10, class_weight=class_weight).losses[0]
        for class_weight in ({0: 1.0, 1: 1.0}, {0: 10.0, 1: 10.0})
    )
    assert weighted > 3 * balanced
    assert not np.allclose(sweep(linear(), shuffle=True).losses, sweep(linear()).losses)


# --- How far a batch moves the weights ----------------------------------------------------------------------


def updates_by_hand(model, curve, batch_size=32):
    """Trains the rows in their order with Keras' own `train_on_batch`."""
    updates = []
    for step, rate in enumerate(curve.learning_rates):
        rows = slice(step * batch_size % 140, step * batch_size % 140 + batch_size)
        before = [weight for weight in model.get_weights() if weight.ndim > 1]
        model.optimizer.learning_rate = float(rate)
        model.train_on_batch(X[rows], Y[rows])
        after = [weight for weight in model.get_weights() if weight.ndim > 1]
        moved = sum(np.sum((new - old) ** 2) for old, new in zip(before, after, strict=True))
        updates.append(np.sqrt(moved / sum(np.sum(old**2) for old in before)))
    return np.array(updates)


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}])
def test_relative_updates_of_the_kernels(optimizer, monkeypatch):
    def net():
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.layers.Input((6,)), *layers])
        model.compile(keras.optimizers.SGD(**optimizer), "mse")
        return model

    curve = sweep(net(), max_lr=0.1, steps=12, batch_size=28)
    expected = updates_by_hand(net(), curve, 28)
    np.testing.assert_allclose(curve.updates, expected, rtol=2e-3)
    # Of a large model, a third of the values stand for all.
    monkeypatch.setattr(step_module, "_MOST_SAMPLED", 20)
    sampled = sweep(net(), max_lr=0.1, steps=12, batch_size=28)
    np.testing.assert_array_equal(sampled.losses, curve.losses)
    assert 0.5 < np.median(sampled.updates / expected) < 2
    assert not np.array_equal(sampled.updates, curve.updates)


def test_relative_updates_count_rows_of_an_embedding_that_move():
    words = np.tile(np.arange(4), 40)[:, None]

    def updates(vocabulary, *layers):
        table = keras.layers.Embedding(vocabulary, 2, embeddings_initializer="ones")
        model = keras.Sequential([keras.layers.Input((1,)), table, keras.layers.Flatten(), *layers])
        model.compile("sgd", lambda _, y_pred: keras.ops.mean(keras.ops.square(y_pred - 3), axis=-1))
        return sweep(model, words, words, steps=10).updates

    np.testing.assert_allclose(updates(1000), updates(4), rtol=1e-4)
    assert (updates(4) > 0).all()


def test_relative_updates_without_any_kernel():
    class Shift(keras.layers.Layer):
        def build(self, shape):
            self.shift = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x + self.shift

    model = keras.Sequential([keras.layers.Input((1,)), Shift()])
    model.compile("sgd", "mse")
    curve = sweep(model, X[:, :1], X[:, :1], steps=10, max_lr=0.1)
    # The loss is the square of the shift.
    np.testing.assert_allclose(curve.updates, 2 * curve.learning_rates, rtol=1e-3)


# --- The budget ---------------------------------------------------------------------------------------------


def test_default_budget_is_an_epoch_within_limits_and_several_share_one_training():
    for epoch, steps in ((5, 100), (120, 120), (5000, 300), (None, 300)):
        assert default_steps(epoch) == steps
    for epoch, epochs, sweeps, steps in (
        (500, 4, 1, 300),
        (500, 2, 4, 250),
        (500, 2, 50, 100),
        (50, 10, 3, 100),
        (None, 2, 3, 200),
        (400, None, 2, 200),
    ):
        assert default_steps(epoch, epochs=epochs, sweeps=sweeps) == steps


def test_small_data_is_cycled_and_callback_keeps_to_its_fit():
    assert len(sweep(linear(), steps=None, max_lr=1e-3)) == 100
    finder = lrtuner.LRFinder(1e-4, 1e-3)
    linear().fit(X, Y, batch_size=32, epochs=4, verbose=0, callbacks=[finder])
    assert len(finder.curve) == 20
    assert finder.curve.learning_rates[-1] == 1e-3


def test_callback_says_what_is_wrong_and_how_many_epochs_it_needs():
    with pytest.raises(ValueError, match="min_lr must be a finite number above 0, got 'low'"):
        lrtuner.LRFinder(min_lr="low")
    finder = lrtuner.LRFinder(steps=33)
    with pytest.raises(ValueError, match=r"33 batches but this fit runs 10 .*epochs=7"):
        linear().fit(X, Y, batch_size=32, epochs=2, verbose=0, callbacks=[finder])
    with pytest.raises(ValueError, match="at least 10 batches but this fit runs 5"):
        linear().fit(X, Y, batch_size=32, verbose=0, callbacks=[lrtuner.LRFinder()])


def test_two_runs_with_a_seed_give_the_same_curve():
    curves = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        curves.append(sweep(classifier("adam", keras.layers.Dropout(0.5)), y=LABELS, shuffle=True))
    assert curves[0] == curves[1]


def test_sweep_stops_at_the_batch_that_blows_up():
    model = linear(keras.optimizers.SGD(0.1))
    arguments = {"x": X, "y": Y, "batch_size": 32, "verbose": 0}
    curve = sweep_fit(model, arguments, min_lr=1e-4, max_lr=1e6, steps=200)
    assert len(curve) < 180
    # Nobody has asked for the model as it was.
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == len(curve) == curve.blow_up + 1


def test_what_else_a_fit_takes():
    def refuse(*_arguments, **_keywords):
        raise AssertionError("called")

    class Guarded(keras.Sequential):
        evaluate = refuse

    def swept(**arguments):
        model = Guarded([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        return sweep(model, **arguments)

    never_called = keras.callbacks.LambdaCallback(on_train_begin=refuse)
    curve = swept(validation_data=(X, Y), epochs=2, callbacks=[never_called])
    assert curve.training.epochs == 2
    plain = sweep(linear(), steps=33.0)
    assert plain == curve
    assert plain.training.epochs is None
    split = swept(validation_split=0.2)
    # The last fifth of the rows is for validation.
    expected = losses_by_hand(X[:112], Y[:112], split.learning_rates, 32, steps=33)
    np.testing.assert_allclose(split.losses, expected, rtol=1e-5)


def test_arguments_of_a_call_have_names():
    model = linear()
    assert fit_arguments(model, (X, Y), {"epochs": 3}) == {"x": X, "y": Y, "epochs": 3}
    with pytest.raises(UnusableModelError, match=r"can't begin: .*'epoch'.* model\.fit takes: x, y"):
        fit_arguments(model, (X, Y), {"epoch": 3})


def test_a_sweep_calls_the_class_s_own_fit():
    class Wrapped(keras.Sequential):
        def fit(self, *arguments, **keywords):
            return super().fit(*arguments, **keywords)

    model = Wrapped([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    # As a search has it for a while.
    model.fit = None
    assert sweep(model) == sweep(linear())


def test_warnings_name_the_line_that_trains():
    said = r"one batch, which the sweep repeats.*smaller batch_size"
    with pytest.warns(UserWarning, match=said) as inside_of_keras:
        sweep(linear(), X[:20], Y[:20])
    model = linear()
    before = state_of(model)
    with pytest.warns(UserWarning, match="x holds NaN") as afterwards:
        sweep(model, x=np.full_like(X, np.nan))
    assert_same(before, state_of(model))
    ours = [one for one in [*inside_of_keras, *afterwards] if one.category is UserWarning]
    assert [one.filename for one in ours] == [__file__] * 2


# --- The model afterwards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_model_comes_back_bit_for_bit(optimizer):
    def make():
        layers = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)
        return classifier(optimizer, *layers, metrics=["accuracy"])

    model, reference = make(), make()
    model.optimizer.learning_rate = 0.0123
    history = model.fit(X, LABELS, verbose=0)
    before = state_of(model)
    sweep(model, y=LABELS)
    assert_same(before, state_of(model))
    assert model.history is history
    assert not model.stop_training
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0123)
    reference.fit(X, LABELS, verbose=0)
    for trained in (model, reference):
        variables = [*trained.variables, *trained.optimizer.variables, *trained.metrics_variables]
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    losses = []
    for one in (model, reference):
        # Dropout draws from the backend's generator on torch.
        keras.utils.set_random_seed(1)
        losses.append(one.fit(X, LABELS, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1])


def test_validation_beside_the_callback_keeps_its_metrics():
    model = linear(metrics=["mae"])
    before = state_of(model)[:2]
    finder = lrtuner.LRFinder(1e-5, 1e-2, steps=30)
    arguments = {"batch_size": 8, "epochs": 2, "validation_data": (X, Y), "verbose": 0}
    history = model.fit(X, Y, callbacks=[finder], **arguments)
    assert "val_mae" in history.history
    assert_same(before, state_of(model)[:2])
    assert set(model.evaluate(X, Y, verbose=0, return_dict=True)) == {"loss", "mae"}
    assert "val_mae" in model.fit(X, Y, validation_data=(X, Y), verbose=0).history


def test_sweep_that_an_exception_cut_off_is_undone_by_the_next():
    def stop(batch, **_logs):
        if batch == 3:
            raise KeyboardInterrupt

    stops = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    model = linear(keras.optimizers.SGD(0.05))
    before = state_of(model)
    finder = lrtuner.LRFinder(1e-4, 0.1, steps=20)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[finder, stops])
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[lrtuner.LRFinder(1e-4, 0.1, steps=20)])
    assert_same(before, state_of(model))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[finder, stops])
    finder.close()
    assert_same(before, state_of(model))
    assert len(finder.curve) == 4
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_model_comes_back_after_an_exception_and_ctrl_c(error):
    calls = []

    def interrupted(y_true, y_pred):
        calls.append(1)
        if len(calls) > 7:
            raise error
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)

    model = linear(keras.optimizers.SGD(0.05), loss=interrupted, run_eagerly=True, jit_compile=False)
    before = state_of(model)
    with pytest.raises(error):
        sweep(model)
    assert_same(before, state_of(model))
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.05)
    assert "fit" not in vars(model)


def test_schedule_is_swept_at_plain_rates_and_put_back():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 50)
    model = linear(keras.optimizers.SGD(schedule))
    curve = sweep(model)
    np.testing.assert_allclose(
        curve.losses, losses_by_hand(X, Y, curve.learning_rates, 32, steps=33), rtol=1e-5
    )
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    model.fit(X, Y, batch_size=14, epochs=5, verbose=0)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0, abs=1e-6)


def test_peak_rate_of_plain_rates_and_schedules():
    schedules = keras.optimizers.schedules
    rates = {
        0.2: 0.2,
        0.1: schedules.ExponentialDecay(0.1, 100, 0.9),
        0.5: schedules.CosineDecay(0.0, 10_000, warmup_target=0.5, warmup_steps=1000),
        0.3: schedules.PiecewiseConstantDecay([10], [0.3, 0.03]),
    }
    for peak, rate in rates.items():
        assert peak_rate(keras.optimizers.SGD(rate)) == pytest.approx(peak, rel=0.01)


def test_random_state_is_preserved():
    import tensorflow as tf

    def draws():
        own = [keras.ops.convert_to_numpy(keras.random.normal((3,))) for _ in range(2)]
        # TensorFlow shuffles the rows of a dataset on every backend.
        rows = list(tf.data.Dataset.range(99).shuffle(99).as_numpy_iterator())
        values = [random.random(), np.random.random(), classifier().get_weights()[0], *own, rows]
        if BACKEND == "torch":
            import torch

            values.append(torch.rand(3).numpy())
        return values

    def seed():
        keras.utils.set_random_seed(3)
        keras.random.normal((1,))

    seed()
    expected = draws()
    seed()
    with preserved_random_state():
        sweep(classifier("adam", keras.layers.Dropout(0.5)), y=LABELS, shuffle=True)
        draws()
    for drawn, first in zip(draws(), expected, strict=True):
        np.testing.assert_array_equal(drawn, first)


# --- Whatever a Keras user brings ---------------------------------------------------------------------------


def assert_swept_as_by_hand(make_model, x, y, *, swept=None, batch_size=28, steps=12, rtol=1e-5, **arguments):
    """Compares a sweep with Keras' own `train_on_batch`, the rate set before each batch."""
    keras.utils.set_random_seed(1)
    model = make_model()
    source = (x, y) if swept is None else swept()
    # Metrics have no variables before the first fit.
    is_built = all(layer.built for layer in model._flatten_layers())
    before = state_of(model, metrics=False) if is_built else None
    curve = sweep(model, *source, batch_size=batch_size if swept is None else None, steps=steps, **arguments)
    if before is not None:
        assert_same(before, state_of(model, metrics=False))
    # A few optimizers blow up before the ramp's end.
    assert len(curve) >= 10
    keras.utils.set_random_seed(1)
    reference = make_model()
    expected = []
    for step, rate in enumerate(curve.learning_rates):
        rows = slice(step * batch_size % 140, step * batch_size % 140 + batch_size)
        batch = keras.tree.map_structure(lambda array, rows=rows: array[rows], (x, y))
        reference.optimizer.learning_rate = float(rate)
        reference.reset_metrics()
        logs = reference.train_on_batch(*batch, return_dict=True)
        expected.append(float(logs["loss"]))
    np.testing.assert_allclose(curve.losses, expected, rtol=rtol)
    return model


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(),
    "Muon": lambda: keras.optimizers.Muon(),
    "EMA of weights": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=3),
    "accumulation": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=3),
    "clipping": lambda: keras.optimizers.SGD(0.1, clipnorm=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    if name == "Muon" and not hasattr(keras.optimizers, "Muon"):
        pytest.skip("this Keras has no Muon")
    assert_swept_as_by_hand(lambda: linear(OPTIMIZERS[name]()), X, Y, rtol=1e-4)


def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = assert_swept_as_by_hand(lambda: linear(keras.optimizers.SGD(0.01)), X, Y, rtol=1e-2)
        assert type(model.optimizer).__name__ == "LossScaleOptimizer"
    finally:
        keras.config.set_dtype_policy("float32")


def test_optimizer_without_a_single_rate():
    MultiOptimizer = getattr(keras.optimizers, "MultiOptimizer", None)  # noqa: N806
    if MultiOptimizer is None:
        pytest.skip("this Keras has no MultiOptimizer")
    model = linear()
    model.compile(MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD())), "mse")
    with pytest.raises(UnusableModelError, match=r"no single learning rate.*in a list as learning_rate"):
        sweep(model)


def functional():
    inputs = {name: keras.Input((6,), name=name) for name in ("a", "b")}
    hidden = keras.layers.Concatenate()(list(inputs.values()))
    outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in ("first", "second")}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"first": "mse", "second": "mae"}, loss_weights={"first": 1.0, "second": 0.3})
    return model


def unbuilt():
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


def test_several_inputs_outputs_and_weighted_losses():
    assert_swept_as_by_hand(functional, {"a": X, "b": -X}, {"first": Y, "second": 2 * Y})


class Subclassed(keras.Model):
    """Adds a loss in its call, and one of its weights."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer="l2")

    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.sum(keras.ops.square(self.dense(inputs))))
        return self.dense(inputs)


def test_subclassed_model_with_added_losses():
    def make():
        model = Subclassed()
        model.compile("sgd", "mse")
        return model

    assert_swept_as_by_hand(make, X, Y, max_lr=1e-2)


class Half(keras.Model):
    """Is built by its shape alone, without its layers."""

    def __init__(self, base=None):
        super().__init__()
        self.base = base
        self.head = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, x):
        return self.head(x if self.base is None else self.base(x))


def built_by_its_shape():
    model = Half()
    with warnings.catch_warnings():
        # Keras says what will come of it.
        warnings.simplefilter("ignore")
        model.build((None, 6))
    return model


def with_a_late_head(is_frozen):
    base = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(6, kernel_initializer="identity")])
    base.trainable = not is_frozen
    return Half(base)


@pytest.mark.parametrize("source", ["arrays", "generator"])
@pytest.mark.parametrize(
    "make", [built_by_its_shape, lambda: with_a_late_head(True), lambda: with_a_late_head(False)]
)
def test_half_built_models(make, source):
    def compiled():
        model = make()
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse")
        return model

    given = (lambda: (X, Y)) if source == "arrays" else lambda: ((one for one in endless_batches()), None)
    assert_swept_as_by_hand(compiled, X, Y, swept=given if source == "generator" else None)


def test_frozen_layers_and_batch_normalization():
    def make():
        model = classifier("sgd", keras.layers.BatchNormalization())
        model.layers[0].trainable = False
        model.compile("sgd", model.loss)
        return model

    model = assert_swept_as_by_hand(make, X, LABELS)
    assert len(model.trainable_variables) == 4


@only_tensorflow
def test_custom_train_step_with_a_tracker_of_its_own():
    import tensorflow as tf

    class Custom(keras.Sequential):
        tracker = keras.metrics.Mean(name="loss")
        metrics = property(lambda self: [self.tracker])

        def train_step(self, batch):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    def make():
        model = Custom([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd")
        return model

    assert_swept_as_by_hand(make, X, Y)


@only_tensorflow
def test_tf_data_batched_infinite_and_of_unknown_length():
    import tensorflow as tf

    batched = tf.data.Dataset.from_tensor_slices((X, Y)).batch(28)
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (batched, None))
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (batched.repeat(), None), steps_per_epoch=4)
    unknown = batched.filter(lambda *_batch: True)
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (unknown, None))


BATCHES = Batches(X, Y, size=28)


def test_py_dataset_with_workers():
    # Keras itself skips a batch here on JAX and torch, which look at one before training.
    curve = sweep(linear(), Batches(X, Y, size=28, workers=2), None, batch_size=None)
    assert len(curve) == 33
    first = [float(((x.sum(1, keepdims=True) - y) ** 2).mean()) for x, y in (BATCHES[0], BATCHES[1])]
    assert min(abs(curve.losses[0] / np.array(first) - 1)) < 1e-4


def endless_batches():
    step = 0
    while True:
        yield BATCHES[step % 5]
        step += 1


def test_endless_generator_is_read_no_further_than_needed():
    read = []

    def counted():
        for batch in endless_batches():
            read.append(1)
            yield batch

    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (counted(), None))
    # Keras reads ahead.
    assert 12 <= len(read) < 60


def test_one_shot_source_that_runs_dry_ends_the_sweep():
    model = linear()
    curve = sweep(model, (BATCHES[i] for i in range(5)), None, batch_size=None, steps=33)
    assert len(curve) == 5


@pytest.mark.skipif(BACKEND != "torch", reason="a feature of torch alone")
def test_torch_data_loader():
    import torch

    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(pairs, batch_size=28)
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (loader, None))


@only_tensorflow
@pytest.mark.slow
def test_mirrored_strategy_on_two_logical_devices(tmp_path):
    # Logical devices must be made before TensorFlow starts: in a process of its own.
    (tmp_path / "program.py").write_text("""
import numpy as np, tensorflow as tf, keras, lrtuner
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
x = rng.normal(size=(128, 6)).astype("float32")
y = (x @ rng.normal(size=(6, 1))).astype("float32")
def make():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    return model
arguments = dict(batch_size=32, steps=10, min_lr=1e-4, max_lr=0.1, shuffle=False, verbose=0)
single = lrtuner.find_lr(make(), x, y, **arguments)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = make()
assert model.distribute_strategy.num_replicas_in_sync == 2
before = [variable.numpy() for variable in model.variables]
mirrored = lrtuner.find_lr(model, x, y, **arguments)
np.testing.assert_allclose(mirrored.losses, single.losses, rtol=1e-4)
assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.variables))
assert abs(float(model.optimizer.learning_rate.numpy()) - 0.05) < 1e-8
print("the same")
""")
    output = tmp_path / "output.txt"
    process = processes.start(tmp_path / "program.py", output=output, environment={})
    process.join()
    assert "the same" in output.read_text(), output.read_text()


# --- What can't work says so --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 0.1}, "min_lr"),
        ({"steps": 12.5}, r"steps must be an integer of at least 10, got 12\.5"),
        ({"batch_size": "32"}, "batch_size must be an integer of at least 1 or None, got '32'"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1 or None, got 0"),
        ({"class_weight": [1.0, 2.0]}, r"class_weight must be a dict .*got \[1\.0, 2\.0\]: pass"),
        # Keras says it well enough.
        ({"sample_weight": np.ones(3)}, "cardinality is ambiguous.*\n.*\n.*'sample_weight' sizes: 3"),
        ({"y": Y[:5]}, "cardinality is ambiguous.*\n'y' sizes: 5"),
        ({"x": "data"}, "Unrecognized data type: x=data"),
        ({"x": None, "y": None}, "No training data"),
        ({"x": {"a": X[:0]}}, "empty"),
    ],
)
def test_bad_arguments(arguments, message):
    model = linear()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        sweep(model, **arguments)
    assert_same(before, state_of(model))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="on the others Keras builds and looks at data first")
def test_callback_without_weights_or_data():
    with pytest.raises(UnusableModelError, match=r"no weights yet.*build it first.*model\(x\[:1\]\)"):
        unbuilt().fit(X, Y, epochs=9, verbose=0, callbacks=[lrtuner.LRFinder(steps=10)])
    with pytest.raises(UnusableModelError, match="empty"):
        linear().fit(X[:0], Y[:0], verbose=0, callbacks=[lrtuner.LRFinder()])


def test_models_that_can_t_be_trained():
    for thing in ("model", None, keras.Sequential):
        with pytest.raises(TypeError, match=r"Expected a Keras model, got .*: pass a keras\.Model"):
            sweep(thing)
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    with pytest.raises(UnusableModelError, match=r"not compiled.*model\.compile"):
        sweep(model)
    model.compile("sgd", "mse")
    model.trainable = False
    with pytest.raises(UnusableModelError, match="no trainable weights"):
        sweep(model)


def test_train_step_without_a_loss():
    class Silent(keras.Sequential):
        def train_step(self, *arguments):
            result = super().train_step(*arguments)
            return ({}, result[1]) if BACKEND == "jax" else {}

    model = Silent([keras.layers.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="reports no 'loss'"):
        sweep(model)


def test_progress_bar_shows_and_is_silenced(capsys, monkeypatch):
    sweep(linear(), verbose=1)
    assert "33/33" in capsys.readouterr().out
    sweep(linear(), verbose=2)
    assert capsys.readouterr().out == "Learning-rate sweep of at most 33 batches\n"
    sweep(linear(), verbose=0)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(finder_module, "_MOST_SMALL", 1)
    sweep(linear(), verbose=2)
    assert ("once the model is compiled" in capsys.readouterr().out) is (BACKEND != "torch")


def trained(weights):
    for one in weights:
        if len(one.shape) == 1:
            one.assign(one + RNG.uniform(size=one.shape))


def seems_pretrained(model, *, is_head=False):
    curve = lrtuner.find_lr(model, X, RNG.normal(size=(140, 4)), batch_size=32, steps=10, verbose=0)
    assert curve.training.is_head is is_head
    return curve.training.is_pretrained


def test_what_was_trained_before_is_seen_by_its_biases_and_gains():
    layers = keras.layers
    stack = [layers.Dense(8), layers.BatchNormalization(), layers.Reshape((2, 4)), layers.LSTM(3)]
    stack.append(layers.Dense(4))
    model = keras.Sequential([layers.Input((6,)), *stack])
    model.compile("adam", "mse")
    # The moments that a Normalization adapts, or a few batches move, are no training.
    trained(model.non_trainable_variables)
    assert seems_pretrained(model) is False
    trained(variable for layer in stack[:-1] for variable in layer.trainable_variables)
    assert seems_pretrained(model) is True
    # On a frozen base, or half of it, the good rates are those of a fresh net.
    for frozen in (stack[3:4], stack[:4]):
        for layer in frozen:
            layer.trainable = False
        model.compile("adam", "mse")
        assert seems_pretrained(model, is_head=frozen == stack[:4]) is False


CLASSES = RNG.integers(0, 3, 140)
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
FAR = 50 + RNG.uniform(-2, 2, (140, 1))


@pytest.mark.parametrize(
    ("outputs", "loss", "y", "options", "expected"),
    [
        (1, "mse", FAR, {}, 4 / 3),
        (1, keras.losses.MeanAbsoluteError(), FAR[:, 0], {}, 1.0),
        (3, SPARSE, CLASSES, {}, np.log(3)),
        # Untrained nets give rare positives half, and learn how rare they are.
        (1, keras.losses.BinaryCrossentropy(from_logits=True), np.arange(140) < 3, {}, np.log(2)),
        # Of these nobody knows the loss of a constant prediction, or its scale.
        (1, keras.losses.MeanSquaredError(reduction="sum"), FAR, {}, None),
        (3, SPARSE, CLASSES, {"loss_weights": [9.0]}, None),
        (3, SPARSE, CLASSES, {"class_weight": {0: 9.0, 1: 1.0, 2: 1.0}}, None),
        (1, "mse", FAR, {"batch_size": 2}, None),
        (1, "mse", FAR / 100, {}, None),
        (1, lambda y, z: 9 * keras.ops.square(y - z), FAR, {}, None),
    ],
)
def test_the_loss_of_a_constant_prediction_is_known(outputs, loss, y, options, expected):
    dense = keras.layers.Dense(outputs, bias_regularizer=lambda bias: keras.ops.sum(bias) + 0.5)
    model = keras.Sequential([keras.Input((6,)), dense])
    model.compile("sgd", loss, loss_weights=options.pop("loss_weights", None))
    curve = lrtuner.find_lr(model, X, y, steps=40, verbose=0, **{"batch_size": 32, **options})
    assert curve.training.chance == (None if expected is None else pytest.approx(expected + 0.5, rel=0.2))


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no double precision unless it is told so as it starts")
def test_a_model_in_double_precision():
    keras.config.set_floatx("float64")
    try:
        curve = sweep(linear(), X.astype("float64"), Y.astype("float64"))
    finally:
        keras.config.set_floatx("float32")
    assert np.isfinite(curve.updates).all()
