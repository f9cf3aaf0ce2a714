"""What has made the loss of a sweep NaN: the learning rate, the data or the model."""

import math
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

import lrtuner
from lrtuner.sweep.compiling import MOST_SMALL
from lrtuner.sweep.training import sweep_in_training

ROWS, SIZE, HOLE = 160, 16, 53
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 1)) + 1).astype("float32")


class Batches(keras.utils.PyDataset):
    """Arrays in batches of 16."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return ROWS // SIZE

    def __getitem__(self, index):
        return tuple(array[SIZE * index : SIZE * index + SIZE] for array in self.arrays)


def generator(*arrays):
    for index in range(ROWS // SIZE):
        yield Batches(*arrays)[index]


SOURCES = {
    "arrays": lambda *arrays: arrays,
    "data frames": lambda *arrays: tuple(map(pytest.importorskip("pandas").DataFrame, arrays)),
    "tensors": lambda *arrays: tuple(map(tf.constant, arrays)),
    "tf.data": lambda *arrays: (tf.data.Dataset.from_tensor_slices(arrays).batch(SIZE),),
    "PyDataset": lambda *arrays: (Batches(*arrays),),
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


def sweep(model, *data, max_lr=1e-3, random_order=True, **arguments):
    return sweep_in_training(
        model,
        lambda: model.fit(*data, batch_size=None if len(data) == 1 else SIZE, verbose=0, **arguments),
        min_lr=1e-7,
        max_lr=max_lr,
        steps=30,
        shuffle=random_order,
    )


@pytest.mark.parametrize("random_order", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_a_hole_in_the_targets(source, random_order):
    report = sweep(
        linear(), *SOURCES[source](X, with_hole(Y)), random_order=random_order, shuffle=random_order
    )
    batch = len(report.curve)
    assert batch <= 10 if random_order else batch == HOLE // SIZE + 1
    assert report.fault.startswith(f"The loss was nan at batch {batch}, and y ")
    is_whole = source in ("arrays", "data frames", "tensors")
    assert ("1 of its 160 rows, first in row 53" if is_whole else "1 of that batch's rows") in report.fault
    assert report.fault.endswith("remove or fill them, since they make NaN of any model")


def test_holes_in_one_of_several_inputs_and_in_sample_weights():
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    outputs = keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    dataset = tf.data.Dataset.from_tensor_slices(({"a": X, "b": with_hole(X)}, Y)).batch(SIZE)
    assert "x holds NaN or infinite values in 1 of that batch's rows" in sweep(model, dataset).fault
    weights = with_hole(np.ones(ROWS, "float32"))
    assert "and sample_weight holds NaN" in sweep(linear(), Batches(X, Y, weights)).fault


def test_a_hole_that_a_relu_hides():
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    report = sweep(model, generator(with_hole(X), Y))
    assert f"at batch {len(report.curve)}, and x holds" in report.fault


@pytest.mark.parametrize("source", SOURCES)
def test_a_model_without_weights_before_its_first_batch(source):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert "y holds NaN" in sweep(model, *SOURCES[source](X, with_hole(Y))).fault


@pytest.mark.parametrize("source", SOURCES)
def test_a_loss_that_is_nan_by_itself(source):
    def logarithmic(y, y_pred):
        return keras.ops.square(keras.ops.log(y) - y_pred)

    y = np.copy(np.abs(Y) + 1)
    y[HOLE] = -1.0
    fault = sweep(linear(logarithmic), *SOURCES[source](X, y)).fault
    assert "is so at the weights that the sweep began with, though the batch holds no NaN" in fault
    assert fault.endswith("No learning rate mends that")


@pytest.mark.parametrize("source", SOURCES)
def test_divergence_is_no_fault(source):
    def with_edge(y, y_pred):
        return keras.ops.square(y - y_pred) + keras.ops.log(200.0 - keras.ops.square(y_pred))

    report = sweep(linear(with_edge), *SOURCES[source](X, Y), max_lr=1e12)
    assert np.isnan(report.curve.losses[-1])
    assert report.curve.losses[:-1].max() < 1e3
    assert report.fault is None


@pytest.mark.parametrize("source", SOURCES)
def test_holes_that_the_loss_masks_are_no_fault(source):
    def masked(y, y_pred):
        error = keras.ops.square(keras.ops.nan_to_num(y) - y_pred)
        edge = keras.ops.log(200.0 - keras.ops.square(y_pred))
        return keras.ops.where(keras.ops.isnan(y), 0.0, error) + edge

    report = sweep(linear(masked), *SOURCES[source](X, with_hole(Y)), max_lr=1e12)
    assert np.isnan(report.curve.losses[-1])
    assert report.curve.losses[:-1].max() < 1e3
    assert report.fault is None


def test_find_lr_tells_the_fault_and_gives_the_model_back():
    model = linear()
    before = model.get_weights()
    with pytest.warns(UserWarning, match="y holds NaN") as warned:
        curve = lrtuner.find_lr(model, Batches(X, with_hole(Y)), steps=30, verbose=0)
    assert [one.filename for one in warned if one.category is UserWarning] == [__file__]
    assert len(curve) <= 10
    for weight, first in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, first)
    assert "fit" not in vars(model)
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("random_order", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_an_outlying_row_is_no_blow_up(source, random_order):
    y = np.copy(Y)
    y[HOLE] = 1e4
    # At rates that change nothing, and no others, the high loss must be the data's.
    report = sweep(
        linear(), *SOURCES[source](X, y), max_lr=1e-6, random_order=random_order, shuffle=random_order
    )
    assert report.curve.training.has_outliers or report.curve.losses[:5].max() > 1e5
    # A generator in order ends with its last batch.
    assert len(report.curve) == 30 or (source == "generator" and not random_order)
    assert report.curve.losses.max() > 1e5
    assert report.fault is None


def test_a_single_step_that_explodes_is_a_blow_up():
    x = np.tile(X, (4, 1))
    y = 100 * np.tile(Y, (4, 1))
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    report = sweep_in_training(
        model, lambda: model.fit(x, y, batch_size=SIZE, verbose=0), min_lr=1e-7, max_lr=10.0, steps=100
    )
    assert report.curve.blow_up is not None
    assert not report.curve.training.has_outliers
    assert len(report.curve) < 100


class TestOutliers:
    """A row whose loss is far above all others ends no sweep, and one step at too high a rate does."""

    X = np.random.default_rng(0).normal(size=(3200, 8)).astype("float32")
    Y = X[:, 0] + 0.5 * X[:, 1]
    FAR = np.where(np.arange(3200) % 800 == 5, Y + 300, Y)

    def curve(self, data, optimizer="adam"):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input(data[0].shape[1:] if len(data) == 2 else (8,)), *layers])
        model.compile(optimizer, "mse")
        return lrtuner.find_lr(model, *data, batch_size=32 if len(data) == 2 else None, verbose=0)

    def batches(self, y):
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 100

            def __getitem__(self, index):
                rows = slice(32 * index, 32 * (index + 1))
                return TestOutliers.X[rows], y[rows]

        return Batches()

    @pytest.mark.parametrize("source", ["arrays", "batches"])
    def test_outlying_rows_do_not_end_the_sweep(self, source):
        def data(y):
            return (self.X, y) if source == "arrays" else (self.batches(y),)

        clean, far = self.curve(data(self.Y)), self.curve(data(self.FAR))
        assert not clean.training.has_outliers
        assert far.training.has_outliers
        # Thirty times as high as any other loss, and not the last.
        assert far.losses[:-5].max() > 1000
        expected, found = lrtuner.suggest_range(clean), lrtuner.suggest_range(far)
        assert abs(math.log10(found.min_lr / expected.min_lr)) < 0.3

    def test_a_net_that_dies_in_one_step_has_blown_up(self):
        random = np.random.default_rng(5)
        x = random.uniform(size=(3200, 5))
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        curve = self.curve((x, 30 * y), keras.optimizers.SGD())
        assert curve.blow_up is not None
        assert not curve.training.has_outliers
        found = lrtuner.suggest_range(curve)
        assert found.max_lr <= curve.learning_rates[curve.blow_up]


@pytest.mark.parametrize(("source", "is_run_again"), [("arrays", False), ("generator", True)])
def test_a_batch_of_a_large_model_is_run_again_where_it_is_at_hand(source, is_run_again):
    """To find the batch in arrays again, the model would have to be compiled once more."""
    y = np.copy(Y)
    y[HOLE] = 1e4
    layers = [keras.layers.Dense(6) for _ in range(MOST_SMALL // 2)]
    model = keras.Sequential([keras.layers.Input((6,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    report = sweep(model, *SOURCES[source](X, y), max_lr=1e-6, random_order=True, shuffle=True)
    # A high loss among the first five is no blow-up to begin with.
    is_early = is_run_again and report.curve.losses[:5].max() > 1e5
    assert (report.curve.training.has_outliers or is_early) == is_run_again
    assert not model.run_eagerly


def test_an_outlying_row_among_many_is_told_apart_without_a_seed():
    # The sweep sees 30 of 100 batches. In another order, the batch that ended it would most likely not come.
    x, y = np.tile(X, (10, 1)), np.tile(Y, (10, 1))
    y[HOLE] = 1e4
    met = 0
    for seed in range(12):
        model = linear()
        random.seed(seed)
        np.random.seed(seed)
        # As TensorFlow is where nobody has seeded it.
        tf.random.set_seed(None)
        drawn = [float(tf.random.uniform([], seed=5)) for _ in range(2)]
        report = sweep(model, x, y, max_lr=1e-6)
        assert len(report.curve) == 30
        met += report.curve.losses[5:].max() > 1e5 and report.curve.training.has_outliers
        assert context.context()._seed is None
        # What has a seed of its own goes on where it was.
        assert float(tf.random.uniform([], seed=5)) not in drawn
    assert met > 0


def test_an_outlying_row_in_a_dataset_of_another_order_each_time():
    x, y = np.tile(X, (20, 1)), np.tile(Y, (20, 1))
    y[HOLE] = 1e4
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(SIZE)
    for _ in range(6):
        model = linear()
        tf.random.set_seed(None)
        curve = sweep_in_training(
            model, lambda model=model: model.fit(dataset, verbose=0), min_lr=1e-7, max_lr=1e-6, steps=None
        ).curve
        # One epoch has the row, wherever the sweep has ended first.
        assert len(curve) == len(x) // SIZE
        assert curve.training.has_outliers or curve.losses[:5].max() > 1e5


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

    @pytest.mark.parametrize("source", ["arrays", "dataset"])
    @pytest.mark.parametrize(("seed", "batch_size"), [(0, 128), (1, 128), (2, 128), (0, 32), (4, 32)])
    def test_they_do_not_end_the_sweep(self, seed, batch_size, source):
        curve = self.curve(seed, batch_size, source)
        assert curve.learning_rates[-1] > 0.1
        # Trained at fixed rates, 0.01 alone learns within three epochs of 0.001, 0.01 and 0.1.
        found = lrtuner.suggest_range(curve)
        assert found.min_lr < 0.01 < found.max_lr

    def test_heavy_tails_of_the_targets_do_not_end_it_either(self):
        random = np.random.default_rng(1)
        x = random.normal(size=(9000, 10)).astype("float32")
        y = np.exp(0.7 * x[:, 0] + 2 * random.normal(size=9000)).astype("float32")
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        curve = lrtuner.find_lr(model, x, y, batch_size=32, verbose=0)
        assert curve.learning_rates[-1] > 0.1
        found = lrtuner.suggest_range(curve)
        assert found.min_lr < 0.01 < found.max_lr
