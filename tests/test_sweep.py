import random

import keras
import numpy as np
import pytest

import lrtuner
from lrtuner.curve import geometric_ramp
from lrtuner.sweep import UnusableModelError, default_steps, peak_rate, preserved_random_state

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(140, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 1)) + 1).astype("float32")
LABELS = (Y[:, 0] > 1).astype("int32")

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


def losses_by_hand(x, y, rates, batch_size, *, steps, loss=lambda error: error**2, slope=lambda error: 2 * error):
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
    arguments = {"batch_size": 32, "min_lr": 1e-4, "max_lr": 0.3, "steps": 33, "verbose": 0, "shuffle": False, **arguments}
    return lrtuner.find_lr(model, x, y, **arguments)


def state_of(model):
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    return [
        np.copy(keras.ops.convert_to_numpy(variable.value))
        for variable in [*model.variables, *optimizer.variables, *model.metrics_variables]
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
        [keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5))]
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
    curve = sweep(linear(), x=np.full_like(X, np.nan))
    assert len(curve) == 1
    assert np.isnan(curve.losses[0])
    with pytest.raises(lrtuner.NoRangeError, match=r"(?i)nan"):
        lrtuner.suggest_range(curve)


# --- The budget ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epoch", "steps"), [(5, 100), (99, 100), (120, 120), (300, 300), (5000, 300), (None, 300)])
def test_default_budget_is_an_epoch_within_limits(epoch, steps):
    assert default_steps(epoch) == steps


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


# --- The model afterwards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_model_comes_back_bit_for_bit(optimizer):
    model = classifier(optimizer, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), metrics=["accuracy"])
    model.optimizer.learning_rate = 0.0123
    model.fit(X, LABELS, verbose=0)
    before = state_of(model)
    sweep(model, y=LABELS)
    assert_same(before, state_of(model))
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0123)
    reference = classifier(optimizer, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), metrics=["accuracy"])
    reference.fit(X, LABELS, verbose=0)
    for trained in (model, reference):
        for variable, value in zip(
            [*trained.variables, *trained.optimizer.variables, *trained.metrics_variables], before, strict=True
        ):
            variable.assign(value)
    logs = [one.fit(X, LABELS, shuffle=False, verbose=0).history for one in (model, reference)]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"])


def test_sweeping_twice_gives_the_same_curve():
    model = classifier("adam", keras.layers.Dropout(0.5))
    assert sweep(model, y=LABELS) == sweep(model, y=LABELS)


class _Interrupted(keras.losses.Loss):
    """Raises in the middle of a sweep."""

    error: type[BaseException] = RuntimeError
    calls = 0

    def call(self, y_true, y_pred):
        self.calls += 1
        if self.calls > 7:
            raise self.error("stop here")
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


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
        assert peak_rate(linear(keras.optimizers.SGD(rate))) == pytest.approx(peak, rel=0.01)


def test_random_state_is_preserved():
    keras.utils.set_random_seed(3)
    expected = random.random(), np.random.random(), classifier().get_weights()[0]
    keras.utils.set_random_seed(3)
    with preserved_random_state():
        sweep(classifier("adam", keras.layers.Dropout(0.5)), y=LABELS, shuffle=True)
    drawn = random.random(), np.random.random(), classifier().get_weights()[0]
    assert drawn[:2] == expected[:2]
    np.testing.assert_array_equal(drawn[2], expected[2])


# --- What can't work says so --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 0.1}, "min_lr"),
        ({"min_lr": 0.0}, "min_lr"),
        ({"max_lr": float("inf")}, "max_lr"),
        ({"steps": 9}, "steps"),
        ({"steps": 12.5}, "steps"),
        ({"x": None, "y": None}, "No training data"),
        ({"x": X[:0], "y": Y[:0]}, "empty"),
    ],
)
def test_bad_arguments(arguments, message):
    model = linear()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        sweep(model, **arguments)
    assert_same(before, state_of(model))


def test_model_that_is_not_compiled():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    with pytest.raises(UnusableModelError, match=r"not compiled.*model\.compile"):
        sweep(model)


def test_something_that_is_no_model():
    with pytest.raises(TypeError, match="Keras model"):
        sweep("model")


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
    sweep(linear(), verbose=0)
    assert capsys.readouterr().out == ""
