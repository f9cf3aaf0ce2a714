"""What has made the loss of a sweep NaN: the learning rate, the data or the model."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from searches import Batches

import lrtuner
from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.sweep.training import sweep_fit

ROWS, SIZE, HOLE = 160, 16, 53
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 1)) + 1).astype("float32")


def generator(*arrays):
    for index in range(30):
        yield Batches(*arrays, size=SIZE)[index % 10]


SOURCES = {
    "arrays": lambda *arrays: arrays,
    "data frames": lambda *arrays: tuple(map(pytest.importorskip("pandas").DataFrame, arrays)),
    "tensors": lambda *arrays: tuple(map(tf.constant, arrays)),
    "tf.data": lambda *arrays: (tf.data.Dataset.from_tensor_slices(arrays).batch(SIZE),),
    "PyDataset": lambda *arrays: (Batches(*arrays, size=SIZE),),
    "generator": lambda *arrays: (generator(*arrays),),
}


def with_hole(array):
    array = np.copy(array)
    array[HOLE] = np.nan
    return array


def linear(loss="mse"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", loss)
    return model


def sweep(model, *data, max_lr=1e-3, shuffle=True):
    names = dict(zip(("x", "y", "sample_weight"), data, strict=False))
    arguments = {**names, "batch_size": None if len(data) == 1 else SIZE, "verbose": 0, "shuffle": shuffle}
    return sweep_fit(model, arguments, min_lr=1e-7, max_lr=max_lr, steps=30, shuffle=shuffle)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_a_hole_in_the_targets(source, shuffle):
    curve = sweep(linear(), *SOURCES[source](X, with_hole(Y)), shuffle=shuffle)
    batch = len(curve)
    assert batch <= 10 if shuffle and source != "generator" else batch == HOLE // SIZE + 1
    assert curve.fault.startswith(f"The loss was nan at batch {batch}, and y ")
    is_whole = source in ("arrays", "data frames", "tensors")
    where = "1 of its 160 rows, first in row 53" if is_whole else "1 of that batch's 16 rows"
    assert where in curve.fault
    assert curve.fault.endswith("remove or fill them, since they make NaN of any model")
    with pytest.raises(lrtuner.NoRangeError, match="y holds NaN"):
        lrtuner.suggest_range(curve)


def test_holes_in_one_of_several_inputs_and_in_sample_weights():
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    outputs = keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    dataset = tf.data.Dataset.from_tensor_slices(({"a": X, "b": with_hole(X)}, Y)).batch(SIZE)
    assert "x holds NaN or infinite values in 1 of that batch's 16 rows" in sweep(model, dataset).fault
    weights = with_hole(np.ones(ROWS, "float32"))
    assert "and sample_weight holds NaN" in sweep(linear(), Batches(X, Y, weights, size=SIZE)).fault


@pytest.mark.backend
def test_a_hole_that_a_relu_hides():
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    curve = sweep(model, generator(with_hole(X), Y))
    assert f"at batch {len(curve)}, and x holds" in curve.fault


@pytest.mark.parametrize("source", ["arrays", "generator"])
def test_a_model_without_weights_before_its_first_batch(source):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert "y holds NaN" in sweep(model, *SOURCES[source](X, with_hole(Y))).fault


@pytest.mark.parametrize("source", ["data frames", "PyDataset"])
def test_a_loss_that_is_nan_by_itself(source):
    def logarithmic(y, y_pred):
        return keras.ops.square(keras.ops.log(y) - y_pred)

    y = np.copy(np.abs(Y) + 1)
    y[HOLE] = -1.0
    fault = sweep(linear(logarithmic), *SOURCES[source](X, y)).fault
    assert "is so at the weights that the sweep began with, though the batch holds no NaN" in fault
    assert fault.endswith("No learning rate mends that")


@pytest.mark.parametrize("y", [Y, with_hole(Y)], ids=["whole", "masked hole"])
@pytest.mark.parametrize("source", ["arrays", "tf.data", "generator"])
def test_divergence_is_no_fault(source, y):
    def masked(y, y_pred):
        error = keras.ops.square(keras.ops.nan_to_num(y) - y_pred)
        edge = keras.ops.log(200.0 - keras.ops.square(y_pred))
        return keras.ops.where(keras.ops.isnan(y), 0.0, error) + edge

    curve = sweep(linear(masked), *SOURCES[source](X, y), max_lr=1e12)
    assert np.isnan(curve.losses[-1])
    assert curve.losses[:-1].max() < 1e3
    assert curve.fault is None


@pytest.mark.parametrize("source", SOURCES)
def test_an_outlying_row_is_no_blow_up(source):
    y = np.copy(Y)
    y[HOLE] = 1e4
    # At rates that change nothing, and no others, the high loss must be the data's.
    curve = sweep(linear(), *SOURCES[source](X, y), max_lr=1e-6)
    assert curve.training.has_outliers or curve.losses[:5].max() > 1e5
    assert len(curve) == 30
    assert curve.losses.max() > 1e5
    assert curve.fault is None
    assert curve.blow_up is None


@pytest.mark.backend
def test_to_judge_a_batch_leaves_the_training_as_it_is():
    """Beside the batch that is run once more, nothing is different."""
    y = np.copy(Y)
    y[HOLE] = 1e4

    def net():
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
        model = keras.Sequential([keras.layers.Input((6,)), *layers, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(), "mse")
        return model

    source = SOURCES["tf.data"](np.roll(X, 64, 0), np.roll(y, 64, 0))
    judged = sweep(net(), *source, max_lr=1e-2, shuffle=False)
    assert judged.training.has_outliers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlowUpDetector, "update", lambda *_: False)
        plain = sweep(net(), *source, max_lr=1e-2, shuffle=False)
    assert plain == judged
    np.testing.assert_array_equal(plain.updates, judged.updates)


class TestOutliers:
    """A row whose loss is far above all others ends no sweep, and one step at too high a rate does."""

    X = np.random.default_rng(0).normal(size=(3200, 8)).astype("float32")
    Y = X[:, 0] + 0.5 * X[:, 1]
    FAR = np.where(np.arange(3200) % 800 == 5, Y + 300, Y)

    def curve(self, data, optimizer="adam"):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input(data[0][0].shape[1:]), *layers])
        model.compile(optimizer, "mse")
        return lrtuner.find_lr(model, data, verbose=0)

    @pytest.mark.backend
    def test_outlying_rows_do_not_end_the_sweep(self):
        clean, far = (self.curve(Batches(self.X, y, size=32)) for y in (self.Y, self.FAR))
        assert not clean.training.has_outliers
        assert far.training.has_outliers
        # Thirty times as high as any other loss, and not the last.
        assert far.losses[:-5].max() > 1000
        expected, found = lrtuner.suggest_range(clean), lrtuner.suggest_range(far)
        middles = [math.log10(one.min_lr * one.max_lr) / 2 for one in (expected, found)]
        assert abs(middles[0] - middles[1]) < 0.3

    def test_a_net_that_dies_in_one_step_has_blown_up(self):
        random = np.random.default_rng(5)
        x = random.uniform(size=(3200, 5))
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        curve = self.curve(Batches(x, 30 * y, size=32), "sgd")
        assert curve.blow_up is not None
        assert not curve.training.has_outliers
        found = lrtuner.suggest_range(curve)
        assert found.max_lr <= curve.learning_rates[curve.blow_up]


class TestRarePositives:
    """Batches with one of a few positives have losses ten times as high as those without, at any weights."""

    def curve(self, seed, batch_size, source):
        random = np.random.default_rng(0)
        x = (random.random((15_000, 60)) < 0.03).astype("float32")
        logits = -6 + 2.5 * x[:, 0] + 2.5 * x[:, 1] + 2 * x[:, 2]
        y = (random.random(len(x)) < 1 / (1 + np.exp(-logits))).astype("int32")
        keras.utils.set_random_seed(seed)
        # As the guides for imbalanced data advise: the first output is the share of positives.
        bias = keras.initializers.Constant(np.log(y.mean() / (1 - y.mean())))
        layers = [keras.layers.Dense(32, activation="relu"), keras.layers.Dropout(0.3)]
        output = keras.layers.Dense(1, activation="sigmoid", bias_initializer=bias)
        model = keras.Sequential([keras.Input((60,)), *layers, output])
        model.compile("adam", "binary_crossentropy")
        if source == "dataset":
            dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)
            return lrtuner.find_lr(model, dataset, verbose=0)
        return lrtuner.find_lr(model, x, y, batch_size=batch_size, verbose=0)

    @pytest.mark.parametrize(("seed", "batch_size", "source"), [(0, 128, "arrays"), (4, 32, "dataset")])
    def test_they_do_not_end_the_sweep(self, seed, batch_size, source):
        curve = self.curve(seed, batch_size, source)
        assert curve.learning_rates[-1] > 0.1
        # Trained at fixed rates, 0.01 alone learns within three epochs of 0.001, 0.01 and 0.1.
        found = lrtuner.suggest_range(curve)
        assert found.min_lr < 0.01 < found.max_lr
