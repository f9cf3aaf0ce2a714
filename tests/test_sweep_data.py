"""The order in which a sweep reads its data."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from searches import Batches

import lrtuner
from lrtuner.sweep import data as data_module
from lrtuner.sweep.data import has_raw_inputs, sweep_data
from lrtuner.sweep.training import sweep_fit

ROWS, SIZE = 100, 8
X = np.arange(ROWS * 3, dtype="float32").reshape(ROWS, 3)
# Each row is known by its target.
Y = np.arange(ROWS, dtype="float32")


def in_batches():
    for index in range(13):
        rows = slice(index * SIZE, (index + 1) * SIZE)
        yield X[rows], Y[rows]


def dataset(*columns):
    return tf.data.Dataset.from_tensor_slices(columns or (X, Y)).batch(SIZE)


SOURCES = {
    "arrays in order": lambda: {"x": X, "y": Y, "batch_size": SIZE, "shuffle": False},
    "data frames in order": lambda: {
        **SOURCES["arrays in order"](),
        "x": pytest.importorskip("pandas").DataFrame(X),
        "y": pytest.importorskip("pandas").Series(Y),
    },
    "tf.data": lambda: {"x": dataset()},
    "cardinality unknown": lambda: {"x": dataset().filter(lambda *_batch: True)},
    "PyDataset": lambda: {"x": Batches(X, Y, size=SIZE)},
    "PyDataset in threads": lambda: {"x": Batches(X, Y, size=SIZE, workers=3)},
}


class Noted(keras.Model):
    """Notes the targets of each batch that it is trained on."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1, kernel_initializer="ones")
        self.seen = []

    def call(self, x):
        return self.layer(x)

    def train_step(self, data):
        _, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.seen.append((np.asarray(y), None if weight is None else np.asarray(weight)))
        return super().train_step(data)


def read(steps, *, in_random_order=True, **arguments):
    """Return the targets of each batch of a sweep, and its curve."""
    model = Noted()
    model.compile("sgd", "mse", run_eagerly=True, jit_compile=False)
    model(X[:1])
    arguments = {"verbose": 0, **arguments}
    curve = sweep_fit(model, arguments, min_lr=1e-12, max_lr=1e-10, steps=steps, shuffle=in_random_order)
    return [y.ravel() for y, _ in model.seen], curve


def are_whole(batches):
    """Whether each batch has the rows of one batch in their order, and no other."""
    expected = {tuple(y) for _, y in in_batches()}
    return all(tuple(batch) in expected for batch in batches)


@pytest.mark.parametrize("source", SOURCES)
def test_batches_come_whole_in_random_order(source):
    batches, curve = read(26, **SOURCES[source]())
    assert are_whole(batches)
    for epoch in (batches[:13], batches[13:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), Y)
    firsts = [batch[0] for batch in batches]
    assert firsts[:13] != sorted(firsts[:13])
    assert firsts[:13] != firsts[13:]
    training = curve.training
    assert training.is_shuffled is (None if source == "cardinality unknown" else True)
    assert (training.optimizer, training.momentum, training.batch_size) == ("SGD", 0.0, SIZE)
    assert training.batches_per_epoch == (None if source == "cardinality unknown" else 13)


@pytest.mark.parametrize("source", [*SOURCES, "generator"])
def test_the_order_is_kept_if_that_is_asked_for(source):
    arguments = SOURCES[source]() if source in SOURCES else {"x": in_batches()}
    batches, _ = read(13, **{**arguments, "shuffle": False}, in_random_order=False)
    np.testing.assert_array_equal(np.concatenate(batches), Y)


def test_arrays_are_shuffled_as_fit_does():
    for x in (X, tf.constant(X), [X, X], {"a": X}):
        for arguments in ({}, {"shuffle": True}):
            data = sweep_data({"x": x, "y": Y, "batch_size": SIZE, **arguments}, shuffle=True)
            assert data.arguments["x"] is x
            assert data.arguments.get("shuffle", True) is True
            assert data.is_shuffled


def test_arrays_in_order_keep_weights_and_leave_out_what_is_for_validation():
    arguments = {"x": X, "y": Y, "sample_weight": 3.0 * Y, "batch_size": SIZE, "shuffle": False}
    batches, _ = read(11, **arguments, validation_split=0.12)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), Y[:88])
    whole = sweep_data(arguments, shuffle=True).arguments["x"]
    for index in range(13):
        x, y, weight = whole[index]
        np.testing.assert_array_equal(x[:, 0], 3 * y)
        np.testing.assert_array_equal(weight, 3 * y)
    with_steps = sweep_data({**arguments, "batch_size": None, "steps_per_epoch": 20}, shuffle=True)
    assert len(with_steps.arguments["x"]) == 20
    weighted = sweep_data({**arguments, "class_weight": {0: 2.0}}, shuffle=True).arguments
    assert weighted["class_weight"] == {0: 2.0}


def test_class_weights_reach_batches_of_arrays_in_order():
    y = Y.astype("int64")
    for arguments in ({"x": X, "y": y, "batch_size": SIZE}, {"x": dataset(X, y)}):
        plain, weighted = (
            read(13, **arguments, shuffle=False, class_weight=weight)[1]
            for weight in (None, {0: 0.0, 99: 0.0})
        )
        assert weighted.losses.sum() < plain.losses.sum()


def test_the_same_seed_gives_the_same_order():
    for source in ("arrays in order", "tf.data", "PyDataset"):
        batches = []
        for _ in range(2):
            keras.utils.set_random_seed(5)
            batches.append(np.concatenate(read(20, **SOURCES[source]())[0]))
        np.testing.assert_array_equal(*batches)


def test_a_dataset_is_held_as_far_as_the_memory_goes(monkeypatch):
    read_from = []

    def noted(y):
        read_from.append(1)
        return y

    counted = dataset().map(lambda x, y: (x, tf.ensure_shape(tf.py_function(noted, [y], "float32"), (None,))))
    monkeypatch.setattr(data_module, "_MOST_BYTES", 4 * 4 * SIZE * 4)
    data = sweep_data({"x": counted}, shuffle=True)
    assert data.is_shuffled is None
    first = next(iter(data.arguments["x"]))
    assert first[1].shape == (SIZE,)
    # One to see how large it is, four that are held, and a few that are prepared.
    assert len(read_from) < 13


@pytest.mark.filterwarnings("ignore:The data is one batch")
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_batch_of_all_rows_is_never_permuted(shuffle):
    """In a graph, the columns of the adjacency matrix stand for its rows."""

    def aligned(y, y_pred):
        return keras.ops.square(y_pred[:, 0] - y) + 1e6 * keras.ops.cast(
            keras.ops.any(y[1:] < y[:-1]), "float32"
        )

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", aligned)
    arguments = {"x": X / 300, "y": Y / 100, "batch_size": ROWS, "shuffle": shuffle, "verbose": 0}
    curve = sweep_fit(model, arguments, min_lr=1e-7, max_lr=1e-3, steps=10)
    assert curve.losses.max() < 1e3


@pytest.mark.backend
@pytest.mark.parametrize("source", ["tf.data", "PyDataset", "generator", "arrays in order"])
def test_rows_that_belong_together_stay_together(source):
    def apart(y, y_pred):
        """Whether a row of the batch is not the one after the row before it."""
        return keras.ops.cast(keras.ops.any(y[1:] - y[:-1] != 1), "float32") + 0 * y_pred

    arguments = SOURCES[source]() if source in SOURCES else {"x": in_batches()}
    model = linear()
    model.compile("sgd", apart)
    curve = sweep_fit(model, {"verbose": 0, **arguments}, min_lr=1e-7, max_lr=1e-6, steps=13)
    assert len(curve) == 13
    assert not curve.losses.any()


def linear():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


def test_a_model_with_a_state_keeps_the_order():
    model = keras.Sequential(
        [
            keras.layers.Input(batch_shape=(SIZE, 3, 1)),
            keras.layers.LSTM(2, stateful=True),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    model.compile("sgd", "mse")
    batches = Batches(X[:96, :, None], Y[:96], size=SIZE)
    arguments = {"x": batches, "shuffle": False, "verbose": 0}
    losses = sweep_fit(model, arguments, min_lr=1e-12, max_lr=1e-10, steps=12).losses
    # They rise from batch to batch over an epoch in order.
    assert np.diff(losses).min() > 0


def test_what_a_callback_and_find_lr_know_of_the_training():
    finder = lrtuner.LRFinder(1e-9, 1e-7, steps=20)
    linear().fit(dataset(), epochs=2, shuffle=False, verbose=0, callbacks=[finder])
    found = lrtuner.find_lr(linear(), X, Y, batch_size=SIZE, min_lr=1e-9, max_lr=1e-7, verbose=0)
    for training in (finder.curve.training, found.training):
        assert (training.optimizer, training.batch_size, training.batches_per_epoch) == ("SGD", SIZE, 13)
        # The fit around a callback may be there for the sweep alone.
        assert training.epochs is None


# --- Data in an order ---------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
CLASSES = np.sort(RNG.integers(10, size=3200))
POINTS = (RNG.normal(size=(10, 20))[CLASSES] + RNG.normal(size=(3200, 20))).astype("float32")


@pytest.mark.backend
@pytest.mark.parametrize(("source", "kind"), [("tf.data", "one-hot"), ("arrays", "numbers")])
def test_batches_of_one_class_each_give_no_range(source, kind):
    y = np.eye(10, dtype="float32")[CLASSES] if kind == "one-hot" else CLASSES
    loss = "categorical_crossentropy" if kind == "one-hot" else "sparse_categorical_crossentropy"
    model = keras.Sequential([keras.layers.Input((20,)), keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", loss)
    arrays = {"x": POINTS, "y": y, "batch_size": 16, "verbose": 0}
    dataset = {"x": tf.data.Dataset.from_tensor_slices((POINTS, y)).batch(16), "verbose": 0}
    arguments = {**arrays, "shuffle": False} if source == "arrays" else dataset
    curve = sweep_fit(model, arguments, min_lr=1e-7, max_lr=10.0, steps=100)
    assert "batches hold rows of a single class" in curve.fault
    with pytest.raises(lrtuner.NoRangeError, match="shuffle the rows before they are cut"):
        lrtuner.suggest_range(curve)
    assert sweep_fit(model, arrays, min_lr=1e-7, max_lr=10.0, steps=100).fault is None
    # Targets that are all the same are no classes.
    curve = lrtuner.find_lr(linear(), X / 300, np.zeros(ROWS), batch_size=SIZE, steps=20, verbose=0)
    assert curve.fault is None


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "trend", "size"), [("adam", "season", 32), ("sgd", "straight", 64)])
def test_windows_of_a_series_in_their_order(optimizer, trend, size):
    time = np.arange(18_000)
    slow = 2 * np.sin(2 * np.pi * time / 9000) if trend == "season" else 4 * time / 18_000 - 2
    noise = 0.2 * np.random.default_rng(0).normal(size=len(time))
    series = (slow + 0.5 * np.sin(2 * np.pi * time / 50) + noise).astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(series, 20)[:-1, :, None]

    def suggested(*source, **arguments):
        # With this seed, batches of high loss follow one another before anything is learned.
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.layers.Input((20, 1)), keras.layers.LSTM(16), keras.layers.Dense(1)])
        model.compile(optimizer, "mse")
        found = lrtuner.suggest_range(lrtuner.find_lr(model, *source, verbose=0, **arguments))
        return found.min_lr, found.max_lr

    in_order = keras.utils.timeseries_dataset_from_array(series[:-20, None], series[20:], 20, batch_size=size)
    ranges = suggested(in_order), suggested(windows, series[20:], batch_size=size)
    # The middle of each lies inside of the other.
    for one, other in (ranges, ranges[::-1]):
        assert one[0] < np.sqrt(other[0] * other[1]) < one[1], ranges


PIXELS = np.random.default_rng(0).integers(0, 256, (16, 3)).astype("uint8")
NET = [keras.layers.Dense(1)]


@pytest.mark.parametrize(
    ("x", "layers", "is_raw"),
    [
        (PIXELS, NET, True),
        (Batches(PIXELS, Y[:16], size=8), NET, True),
        ((batch for batch in [(PIXELS, Y[:16])]), NET, False),
        (PIXELS / 255, NET, False),
        (np.where(np.eye(16, 3) > 0, np.nan, PIXELS), NET, True),
        (PIXELS, [keras.layers.Embedding(256, 2)], False),
        (np.full((4, 3), np.nan), NET, False),
        (None, NET, False),
        (PIXELS, [keras.layers.BatchNormalization()], True),
        (np.array([["a word"]] * 4), NET, False),
    ],
)
def test_inputs_that_are_not_scaled(x, layers, is_raw):
    assert has_raw_inputs(keras.Sequential(layers), x) is is_raw


def test_inputs_of_a_dataset_that_are_not_scaled():
    dataset = tf.data.Dataset.from_tensor_slices((PIXELS, PIXELS[:, 0])).batch(4)
    assert has_raw_inputs(keras.Sequential(NET), dataset)
    assert not has_raw_inputs(keras.Sequential(NET), dataset.map(lambda x, y: (x / 255, y)))
    rows = iter(zip(PIXELS, PIXELS[:, 0], strict=True))
    signature = (tf.TensorSpec((3,), "uint8"), tf.TensorSpec((), "uint8"))
    read_once = tf.data.Dataset.from_generator(lambda: rows, output_signature=signature).batch(4)
    assert not has_raw_inputs(keras.Sequential(NET), read_once)
    assert len(list(read_once)) == 4


PYTHON_DATA = """
import gc, keras, lrtuner, numpy as np
X, Y = np.ones((128, 6)), np.arange(128.0)

class Data(keras.utils.PyDataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]

model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
lrtuner.find_lr(model, Data(), steps=20, verbose=0)
gc.collect()
print("done")
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's log")
def test_a_sweep_of_python_data_leaves_no_traceback_in_the_log():
    # The log level is read when TensorFlow is loaded.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    program = [sys.executable, "-c", PYTHON_DATA]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("done\n")
    assert "Traceback" not in done.stderr


def test_a_sweep_ends_no_epoch_of_a_dataset_of_the_user_s():
    ended = []
    batches = Batches(X, Y, size=SIZE)
    batches.on_epoch_end = lambda: ended.append(1)
    assert len(lrtuner.find_lr(linear(), batches, steps=40, max_lr=1e-6, verbose=0)) == 40
    assert not ended
