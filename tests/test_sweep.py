import gc
import random

import keras
import numpy as np
import processes
import pytest

import lrtuner
from lrtuner.curve.curve import geometric_ramp
from lrtuner.errors import UnusableModelError
from lrtuner.sweep.compiling import compiled_quickly, steps_per_call
from lrtuner.sweep.finder import default_steps
from lrtuner.sweep.model import peak_rate, preserved_random_state
from lrtuner.sweep.training import sweep_in_training

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


def losses_by_hand(
    x, y, rates, batch_size, *, steps, loss=lambda error: error**2, slope=lambda error: 2 * error
):
    """Trains the linear model with SGD in float64, one rate a batch, without Keras."""
    weights, bias, losses = np.ones((6, 1)), 0.0, []
    batches = [(x[i : i + batch_size], y[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    for step in range(steps):
        inputs, targets = batches[step % len(batches)]
        error = inputs.astype("float64") @ weights + bias - targets
        losses.append(loss(error).mean())
        weights = weights - rates[step] * inputs.T @ slope(error) / len(inputs)
        bias = bias - rates[step] * slope(error).mean()
    return np.array(losses)


def sweep(model, x=X, y=Y, **arguments):
    arguments = {
        "batch_size": 32,
        "min_lr": 1e-4,
        "max_lr": 0.3,
        "steps": 33,
        "verbose": 0,
        "shuffle": False,
        **arguments,
    }
    return lrtuner.find_lr(model, x, y, **arguments)


def state_of(model, *, metrics=True):
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [
        np.copy(keras.ops.convert_to_numpy(variable.value))
        for variable in [
            *model.variables,
            *model.optimizer.variables,
            *(model.metrics_variables if metrics else []),
        ]
    ]


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


def test_steps_per_execution_changes_nothing():
    model = linear(steps_per_execution=7)
    curve = sweep(model)
    np.testing.assert_allclose(
        curve.losses, losses_by_hand(X, Y, curve.learning_rates, 32, steps=33), rtol=1e-5
    )
    assert model.steps_per_execution == 7


def test_callback_records_the_same_as_find_lr():
    finder = lrtuner.LRFinder(1e-4, 0.3, steps=33)
    linear().fit(X, Y, batch_size=32, epochs=10, shuffle=False, verbose=0, callbacks=[finder])
    assert finder.curve == sweep(linear())


def test_negative_and_shifted_losses_are_recorded_as_they_are():
    def shifted(y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1) - 100.0

    curve = sweep(linear(loss=shifted))
    expected = losses_by_hand(X, Y, curve.learning_rates, 32, steps=33) - 100
    np.testing.assert_allclose(curve.losses, expected, rtol=1e-5)


def test_regularisation_and_added_losses_count():
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5)),
        ]
    )
    model.compile("sgd", "mse")
    curve = sweep(model, steps=10)
    plain = sweep(linear(), steps=10)
    assert curve.losses[0] == pytest.approx(plain.losses[0] + 0.5 * 6, rel=1e-5)


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


def test_blow_up_ends_the_sweep_early():
    curve = sweep(linear(), max_lr=1e6, steps=100)
    assert 20 < len(curve) < 90
    assert curve.losses[-1] > 10 * curve.losses[0] or not np.isfinite(curve.losses[-1])


def test_nan_ends_the_sweep_at_once():
    with pytest.warns(UserWarning, match="x holds NaN or infinite values in 140 of its 140 rows"):
        curve = sweep(linear(), x=np.full_like(X, np.nan))
    assert len(curve) == 1
    assert np.isnan(curve.losses[0])
    with pytest.raises(lrtuner.NoRangeError, match=r"(?i)nan"):
        lrtuner.suggest_range(curve)


def test_nan_that_a_relu_hides_is_found():
    x = np.copy(X)
    x[40] = np.nan
    with pytest.warns(UserWarning, match="at batch 2, .* in 1 of its 140 rows, first in row 40: remove"):
        curve = sweep(classifier(), x, LABELS, steps=100)
    # The row is in the second batch.
    assert len(curve) == 2
    assert np.isnan(curve.losses[-1])
    assert np.isfinite(curve.losses[:-1]).all()


def test_divergence_is_not_laid_to_data_that_a_loss_masks():
    y = np.copy(Y)
    y[3] = np.nan
    model = linear()
    model.compile(
        "sgd", lambda y, y_pred: keras.ops.square(keras.ops.where(keras.ops.isnan(y), 0.0, y - y_pred))
    )
    # Each rate is 40,000 times the one before, too much for float32 before a blow-up is certain. A warning
    # would be an error here.
    curve = sweep(model, y=y, max_lr=1e36, steps=10)
    assert not np.isfinite(curve.losses[-1])


# --- The budget ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "steps"), [(5, 100), (99, 100), (120, 120), (300, 300), (5000, 300), (None, 300)]
)
def test_default_budget_is_an_epoch_within_limits(epoch, steps):
    assert default_steps(epoch) == steps


@pytest.mark.parametrize(
    ("epoch", "epochs", "sweeps", "steps"),
    [
        (500, 4, 1, 300),
        (500, 2, 4, 250),
        (500, 2, 50, 100),
        (50, 10, 3, 100),
        (None, 2, 3, 200),
        (400, None, 2, 200),
    ],
)
def test_several_sweeps_share_one_training(epoch, epochs, sweeps, steps):
    assert default_steps(epoch, epochs=epochs, sweeps=sweeps) == steps
    assert steps == 100 or steps * sweeps <= (epoch or 300) * (epochs or 1)


def test_small_data_is_cycled_and_callback_keeps_to_its_fit():
    assert len(sweep(linear(), steps=None, max_lr=1e-3)) == 100
    finder = lrtuner.LRFinder(1e-4, 1e-3)
    linear().fit(X, Y, batch_size=32, epochs=4, verbose=0, callbacks=[finder])
    assert len(finder.curve) == 20
    assert finder.curve.learning_rates[-1] == 1e-3


def test_callback_says_how_many_epochs_it_needs():
    finder = lrtuner.LRFinder(steps=33)
    with pytest.raises(ValueError, match=r"33 batches but this fit runs 10 .*epochs=7"):
        linear().fit(X, Y, batch_size=32, epochs=2, verbose=0, callbacks=[finder])
    with pytest.raises(ValueError, match="at least 10 batches but this fit runs 5"):
        linear().fit(X, Y, batch_size=32, verbose=0, callbacks=[lrtuner.LRFinder()])


def test_sweep_stops_within_five_steps_of_the_blow_up():
    model = linear(keras.optimizers.SGD(0.1))
    curve = sweep_in_training(
        model,
        lambda: model.fit(X, Y, batch_size=32, verbose=0),
        min_lr=1e-4,
        max_lr=1e6,
        steps=200,
    ).curve
    assert len(curve) < 180
    steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    assert len(curve) <= steps <= len(curve) + 5


@pytest.mark.parametrize("first", range(40, 45))
def test_sweep_stops_within_five_steps_of_the_first_high_loss(first):
    model = linear(keras.optimizers.SGD(0.1))
    targets = np.tile(Y, (4, 1))[: 8 * 100].copy()
    targets[8 * first :] += 1e4
    report = sweep_in_training(
        model,
        lambda: model.fit(np.tile(X, (4, 1))[: 8 * 100], targets, batch_size=8, shuffle=False, verbose=0),
        min_lr=1e-9,
        max_lr=1e-7,
        steps=100,
        shuffle=False,
    )
    assert report.curve.losses[first] > 1e7 > report.curve.losses[first - 1]
    # That of the first high loss, and five more.
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) <= first + 1 + 5


def test_validation_stays_out_of_the_sweep():
    class Guarded(keras.Sequential):
        def evaluate(self, *_arguments, **_keywords):
            raise AssertionError("validated")

    def train(**arguments):
        model = Guarded([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        return sweep_in_training(
            model,
            lambda: model.fit(X, Y, batch_size=32, shuffle=False, verbose=0, **arguments),
            min_lr=1e-4,
            max_lr=0.3,
            steps=33,
            shuffle=False,
        )

    assert train(validation_data=(X, Y), epochs=2).curve == sweep(linear())
    split = train(validation_split=0.2).curve
    # The last fifth of the rows is for validation.
    expected = losses_by_hand(X[:112], Y[:112], split.learning_rates, 32, steps=33)
    np.testing.assert_allclose(split.losses, expected, rtol=1e-5)


def test_fit_that_only_passes_on_its_arguments():
    class Wrapped(keras.Sequential):
        def fit(self, *arguments, **keywords):
            return super().fit(*arguments, **keywords)

    model = Wrapped([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    assert sweep(model) == sweep(linear())


def test_one_batch_of_data_is_said():
    with pytest.warns(UserWarning, match=r"one batch, which the sweep repeats.*smaller batch_size"):
        sweep(linear(), X[:20], Y[:20])


def test_warnings_name_the_line_that_trains():
    with pytest.warns(UserWarning, match="one batch") as inside_of_keras:
        sweep(linear(), X[:20], Y[:20])
    with pytest.warns(UserWarning, match="NaN") as afterwards:
        sweep(linear(), x=np.full_like(X, np.nan))
    ours = [one for one in [*inside_of_keras, *afterwards] if one.category is UserWarning]
    assert [one.filename for one in ours] == [__file__] * 2


# --- The model afterwards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_model_comes_back_bit_for_bit(optimizer):
    model = classifier(
        optimizer, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), metrics=["accuracy"]
    )
    model.optimizer.learning_rate = 0.0123
    history = model.fit(X, LABELS, verbose=0)
    before = state_of(model)
    sweep(model, y=LABELS)
    assert_same(before, state_of(model))
    assert model.history is history
    assert not model.stop_training
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0123)
    reference = classifier(
        optimizer, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), metrics=["accuracy"]
    )
    reference.fit(X, LABELS, verbose=0)
    for trained in (model, reference):
        for variable, value in zip(
            [*trained.variables, *trained.optimizer.variables, *trained.metrics_variables],
            before,
            strict=True,
        ):
            variable.assign(value)
    losses = []
    for one in (model, reference):
        # Dropout draws from the backend's generator on torch.
        keras.utils.set_random_seed(1)
        losses.append(one.fit(X, LABELS, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1])


def test_two_runs_with_a_seed_give_the_same_curve():
    curves = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        curves.append(sweep(classifier("adam", keras.layers.Dropout(0.5)), y=LABELS, shuffle=True))
    assert curves[0] == curves[1]


class _Interrupted(keras.losses.Loss):
    """Raises in the middle of a sweep."""

    error: type[BaseException] = RuntimeError
    calls = 0

    def call(self, y_true, y_pred):
        self.calls += 1
        if self.calls > 7:
            raise self.error("stop here")
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


def test_validation_beside_the_callback_keeps_its_metrics():
    model = linear(metrics=["mae"])
    before = state_of(model)[:2]
    history = model.fit(
        X,
        Y,
        batch_size=8,
        epochs=2,
        validation_data=(X, Y),
        verbose=0,
        callbacks=[lrtuner.LRFinder(1e-5, 1e-2, steps=30)],
    )
    assert "val_mae" in history.history
    assert_same(before, state_of(model)[:2])
    assert set(model.evaluate(X, Y, verbose=0, return_dict=True)) == {"loss", "mae"}
    assert "val_mae" in model.fit(X, Y, validation_data=(X, Y), verbose=0).history


def test_sweep_that_an_exception_cut_off_is_undone_by_the_next():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del logs
            if batch == 3:
                raise KeyboardInterrupt

    model = linear(keras.optimizers.SGD(0.05))
    before = state_of(model)
    finder = lrtuner.LRFinder(1e-4, 0.1, steps=20)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[finder, Stop()])
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[lrtuner.LRFinder(1e-4, 0.1, steps=20)])
    assert_same(before, state_of(model))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[finder, Stop()])
    finder.close()
    assert_same(before, state_of(model))
    assert len(finder.curve) == 4
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_model_comes_back_after_an_exception_and_ctrl_c(error):
    loss = _Interrupted()
    loss.error = error
    model = linear(keras.optimizers.SGD(0.05), loss=loss, run_eagerly=True, jit_compile=False)
    before = state_of(model)
    with pytest.raises(error):
        sweep(model)
    assert_same(before, state_of(model))
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.05)
    assert "fit" not in vars(model)


def test_model_comes_back_after_an_error_in_the_data():
    def ending():
        for start in range(0, 56, 8):
            yield X[start : start + 8], Y[start : start + 8]
        raise OSError("the data is gone")

    model = linear(keras.optimizers.SGD(0.05, momentum=0.9))
    before = state_of(model)
    with pytest.raises(Exception, match="the data is gone"):
        lrtuner.find_lr(model, ending(), min_lr=1e-4, max_lr=0.1, steps=20, verbose=0)
    assert_same(before, state_of(model))
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.05)


def test_callback_can_leave_the_model_as_the_sweep_left_it():
    model = linear()
    before = state_of(model)
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[lrtuner.LRFinder(1e-4, 1e-1, steps=20, restore=False)])
    assert any(not np.array_equal(old, new) for old, new in zip(before, state_of(model), strict=True))


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
    keras.utils.set_random_seed(3)
    expected = random.random(), np.random.random(), classifier().get_weights()[0]
    keras.utils.set_random_seed(3)
    with preserved_random_state():
        sweep(classifier("adam", keras.layers.Dropout(0.5)), y=LABELS, shuffle=True)
    drawn = random.random(), np.random.random(), classifier().get_weights()[0]
    assert drawn[:2] == expected[:2]
    np.testing.assert_array_equal(drawn[2], expected[2])


# --- Whatever a Keras user brings ---------------------------------------------------------------------------


def assert_swept_as_by_hand(make_model, x, y, *, swept=None, batch_size=28, steps=12, rtol=1e-5, **arguments):
    """Compares a sweep with Keras' own `train_on_batch`, the rate set before each batch."""
    keras.utils.set_random_seed(1)
    model = make_model()
    source = (x, y) if swept is None else swept()
    # Metrics have no variables before the first fit.
    before = state_of(model, metrics=False) if model.built else None
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


def of_many_layers():
    layers = [keras.layers.Dense(6, kernel_initializer="identity") for _ in range(13)]
    model = keras.Sequential([keras.layers.Input((6,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(), "mse")
    return model


# The shorter sweep of a model of many layers is not compiled.
@pytest.mark.parametrize("steps", [12, 30])
def test_model_of_many_layers(steps):
    model = assert_swept_as_by_hand(of_many_layers, X, Y, steps=steps, rtol=1e-3)
    assert not model.run_eagerly


@only_tensorflow
def test_short_sweeps_of_large_models_are_not_compiled():
    import tensorflow as tf

    def compiled(make_model, steps):
        model, eager = make_model(), set()

        def loss(y_true, y_pred):
            eager.add(tf.executing_eagerly())
            return keras.losses.mean_squared_error(y_true, y_pred)

        model.compile(keras.optimizers.Adam(), loss)
        sweep(model, steps=steps)
        return eager == {False}

    assert not compiled(of_many_layers, 12)
    assert compiled(of_many_layers, 30)
    assert compiled(linear, 12)


@only_tensorflow
def test_only_large_models_are_compiled_without_optimizing_the_graph():
    from tensorflow.python.eager import context

    def options():
        return context.context().function_call_options.config_proto_serialized

    before = options()
    for model, is_large in ((linear(), False), (of_many_layers(), True)):
        assert steps_per_call(model) == (1 if is_large else 4)
        with compiled_quickly(model):
            assert (options() != before) is is_large
        assert options() == before


@only_tensorflow
@pytest.mark.parametrize("kind", ["plain", "loss scale", "accumulation"])
def test_no_graph_of_a_sweep_is_left(kind):
    """TensorFlow keeps the graph of each step that plain `fit` compiles."""

    def graphs_after_a_sweep():
        adam = keras.optimizers.Adam(gradient_accumulation_steps=2 if kind == "accumulation" else None)
        optimizer = keras.optimizers.LossScaleOptimizer(adam) if kind == "loss scale" else adam
        model = linear(optimizer)
        sweep(model, steps=12)
        assert "_all_reduce_sum_gradients" not in vars(adam)
        del model, adam, optimizer
        gc.collect()
        return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())

    before = graphs_after_a_sweep()
    assert graphs_after_a_sweep() == before


OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Nesterov": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": lambda: keras.optimizers.Adam(),
    "AdamW": lambda: keras.optimizers.AdamW(),
    "RMSprop": lambda: keras.optimizers.RMSprop(),
    "Adagrad": lambda: keras.optimizers.Adagrad(),
    "Adafactor": lambda: keras.optimizers.Adafactor(),
    "Lion": lambda: keras.optimizers.Lion(),
    "Ftrl": lambda: keras.optimizers.Ftrl(),
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
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    hidden = keras.layers.Concatenate()(list(inputs.values()))
    outputs = {
        "first": keras.layers.Dense(1, name="first")(hidden),
        "second": keras.layers.Dense(1, name="second")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"first": "mse", "second": "mae"}, loss_weights={"first": 1.0, "second": 0.3})
    return model


def test_several_inputs_outputs_and_weighted_losses():
    assert_swept_as_by_hand(functional, {"a": X, "b": -X}, {"first": Y, "second": 2 * Y})


def test_sequential_without_input_shape():
    def unbuilt():
        model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        return model

    assert_swept_as_by_hand(unbuilt, X, Y)


class Subclassed(keras.Model):
    """Adds a loss in its call."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.sum(keras.ops.square(self.dense(inputs))))
        return self.dense(inputs)


def test_subclassed_model_with_an_added_loss():
    def make():
        model = Subclassed()
        model.compile("sgd", "mse")
        return model

    assert_swept_as_by_hand(make, X, Y, max_lr=1e-2)


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
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.tracker = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.tracker]

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


def test_jit_compile():
    assert_swept_as_by_hand(lambda: linear(jit_compile=BACKEND != "torch", metrics=["mae"]), X, Y)


@only_tensorflow
def test_tf_data_batched_infinite_and_of_unknown_length():
    import tensorflow as tf

    batched = tf.data.Dataset.from_tensor_slices((X, Y)).batch(28)
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (batched, None))
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (batched.repeat(), None), steps_per_epoch=4)
    unknown = batched.filter(lambda *_batch: True)
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (unknown, None))


class Batches(keras.utils.PyDataset):
    """The data in batches of 28, in the arrays' order."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[28 * index : 28 * index + 28], Y[28 * index : 28 * index + 28]


def test_py_dataset():
    assert_swept_as_by_hand(linear, X, Y, swept=lambda: (Batches(), None))


def test_py_dataset_with_workers():
    # Keras itself skips a batch here on JAX and torch, which look at one before training.
    curve = sweep(linear(), Batches(workers=2), None, batch_size=None)
    assert len(curve) == 33
    first = [
        float(((x.sum(1, keepdims=True) - y) ** 2).mean()) for x, y in map(Batches().__getitem__, range(2))
    ]
    assert min(abs(curve.losses[0] / np.array(first) - 1)) < 1e-4


def endless_batches():
    step = 0
    while True:
        yield Batches()[step % 5]
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
    curve = sweep(model, (Batches()[i] for i in range(5)), None, batch_size=None, steps=33)
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
import warnings, numpy as np, tensorflow as tf, keras, lrtuner
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
x = rng.normal(size=(128, 6)).astype("float32")
y = (x @ rng.normal(size=(6, 1))).astype("float32")
def make():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    return model
arguments = dict(batch_size=32, steps=24, min_lr=1e-4, max_lr=0.1, shuffle=False, verbose=0)
single = lrtuner.find_lr(make(), x, y, **arguments)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = make()
assert model.distribute_strategy.num_replicas_in_sync == 2
before = [variable.numpy() for variable in model.variables]
mirrored = lrtuner.find_lr(model, x, y, **arguments)
np.testing.assert_allclose(mirrored.losses, single.losses, rtol=1e-4)
assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.variables))
assert abs(float(model.optimizer.learning_rate.numpy()) - 0.05) < 1e-8
y[50] = np.nan
dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    lrtuner.find_lr(model, dataset, steps=24, verbose=0)
assert "y holds NaN or infinite values in 1 of" in str([str(one.message) for one in caught])
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
        ({"min_lr": 0.0}, "min_lr"),
        ({"max_lr": float("inf")}, "max_lr"),
        ({"steps": 9}, "steps"),
        ({"steps": 12.5}, "steps"),
        ({"batch_size": "32"}, "batch_size must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1 or None, got 0"),
        ({"batch_size": True}, "batch_size must be an integer of at least 1 or None, got True"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1 or None, got 0"),
        ({"steps_per_epoch": 2.5}, r"steps_per_epoch must be an integer of at least 1 or None, got 2\.5"),
        ({"class_weight": [1.0, 2.0]}, r"class_weight must be a dict .*got \[1\.0, 2\.0\]: pass"),
        # Keras says it well enough.
        ({"sample_weight": np.ones(3)}, "cardinality is ambiguous.*\n.*\n.*'sample_weight' sizes: 3"),
        ({"y": Y[:5]}, "cardinality is ambiguous.*\n'y' sizes: 5"),
        ({"x": "data"}, "Unrecognized data type: x=data"),
        ({"x": None, "y": None}, "No training data"),
        ({"x": X[:0], "y": Y[:0]}, "empty"),
        ({"x": {"a": X[:0]}}, "empty"),
    ],
)
def test_bad_arguments(arguments, message):
    model = linear()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        sweep(model, **arguments)
    assert_same(before, state_of(model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 0.1}, "min_lr"),
        ({"min_lr": -1.0}, "min_lr"),
        ({"max_lr": float("nan")}, "max_lr"),
        ({"steps": 9}, "steps must be an integer of at least 10, got 9"),
        ({"steps": True}, "steps must be an integer"),
        ({"min_lr": "low"}, "min_lr must be a finite number above 0, got 'low'"),
        ({"max_lr": None}, "max_lr must be a finite number above 0, got None"),
    ],
)
def test_bad_arguments_of_the_callback(arguments, message):
    with pytest.raises(ValueError, match=message):
        lrtuner.LRFinder(**arguments)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="on the others Keras builds the model first")
def test_callback_on_a_model_without_weights():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(UnusableModelError, match=r"no weights yet.*build it first.*model\(x\[:1\]\)"):
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[lrtuner.LRFinder(steps=10)])


def test_model_that_is_not_compiled():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    with pytest.raises(UnusableModelError, match=r"not compiled.*model\.compile"):
        sweep(model)


def test_model_without_trainable_weights():
    model = linear()
    model.trainable = False
    model.compile("sgd", "mse")
    with pytest.raises(UnusableModelError, match="no trainable weights"):
        sweep(model)


@pytest.mark.parametrize("thing", ["model", None, keras.Sequential])
def test_something_that_is_no_model(thing):
    with pytest.raises(TypeError, match=r"Expected a Keras model, got .*: pass a keras\.Model"):
        sweep(thing)
    with pytest.raises(TypeError, match="epochs"):
        sweep(linear(), epochs=3)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="on the others Keras wants a batch before the callback")
def test_callback_says_that_there_is_no_data():
    with pytest.raises(lrtuner.UnusableModelError, match="empty"):
        linear().fit(X[:0], Y[:0], verbose=0, callbacks=[lrtuner.LRFinder()])


def test_train_step_without_a_loss():
    class Silent(keras.Sequential):
        def train_step(self, *arguments):
            result = super().train_step(*arguments)
            return ({}, result[1]) if BACKEND == "jax" else {}

    model = Silent([keras.layers.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="reports no 'loss'"):
        sweep(model)


def test_progress_bar_shows_and_is_silenced(capsys):
    sweep(linear(), verbose=1)
    assert "33/33" in capsys.readouterr().out
    sweep(linear(), verbose=2)
    assert capsys.readouterr().out == "Learning-rate sweep of at most 33 batches\n"
    sweep(linear(), verbose=0)
    assert capsys.readouterr().out == ""


def test_progress_says_first_that_a_large_model_is_compiled(capsys):
    sweep(of_many_layers(), verbose=2)
    is_compiled = BACKEND != "torch"
    assert ("once the model is compiled" in capsys.readouterr().out) is is_compiled


def test_outlying_rows_do_not_end_the_sweep():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3200, 8)).astype("float32")
    y = x[:, 0] + 0.5 * x[:, 1] + np.where(np.arange(3200) % 800 == 5, 300, 0)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    curve = lrtuner.find_lr(model, x, y, batch_size=32, verbose=0)
    assert curve.training.has_outliers
    assert curve.learning_rates[-1] > 0.1
