"""The order in which a sweep reads its data."""

import os
import random
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import lrtuner
from lrtuner.generators import SharedGenerators
from lrtuner.sweep import mixing
from lrtuner.sweep.data import has_raw_inputs, in_given_order, in_random_order
from lrtuner.sweep.model import preserved_random_state
from lrtuner.sweep.training import sweep_in_training

ROWS, SIZE = 100, 8
X = np.arange(ROWS * 3, dtype="float32").reshape(ROWS, 3)
# Each row is known by its target. In their order, the rows of the first half are of class 0.
Y = np.arange(ROWS, dtype="float32")


class Batches(keras.utils.PyDataset):
    """The rows in batches of 8, the last one of 4."""

    def __init__(self, batches=None, **kwargs):
        super().__init__(**kwargs)
        self.batches = list(in_batches()) if batches is None else batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def in_batches(count=13):
    for index in range(count):
        rows = slice(index * SIZE % ROWS, index * SIZE % ROWS + SIZE)
        yield X[rows], Y[rows]


def endless():
    while True:
        yield from in_batches()


def dataset(*columns):
    return tf.data.Dataset.from_tensor_slices(columns or (X, Y)).batch(SIZE)


SOURCES = {
    "tf.data": dataset,
    "cardinality unknown": lambda: dataset().filter(lambda *_batch: True),
    "PyDataset": Batches,
    "PyDataset in threads": lambda: Batches(workers=3),
    "generator": in_batches,
}


def shuffled(x, steps=13, **arguments):
    return in_random_order({"x": x, **arguments}, lambda _known: steps)


def read(data, count):
    """Return the first batches of what a sweep reads, as Keras reads it."""
    x = data.arguments["x"]
    if isinstance(x, tf.data.Dataset):
        return list(x.take(count).as_numpy_iterator())
    return [x[index] for index in range(count)]


def targets(batches):
    return np.concatenate([np.asarray(batch[1]) for batch in batches])


@pytest.mark.parametrize("source", SOURCES)
def test_an_epoch_has_each_row_once_with_its_target_and_mixes_them(source):
    with preserved_random_state():
        batches = read(shuffled(SOURCES[source]()), 26)
    assert sorted(len(batch[1]) for batch in batches[:13]) == [4] + [SIZE] * 12
    for epoch in (batches[:13], batches[13:]):
        np.testing.assert_array_equal(np.sort(targets(epoch)), Y)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches])[:, 0], 3 * targets(batches))
    assert not np.array_equal(targets(batches[:13]), targets(batches[13:]))
    # Eight neighbours span 7 rows, eight of a hundred in random order about 78.
    assert np.median([np.ptp(batch[1]) for batch in batches]) > 50


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_seed_gives_the_same_order_and_draws_nothing(source):
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        drawn.append(targets(read(shuffled(SOURCES[source]()), 13)))
        drawn[-1] = [*drawn[-1], random.random(), np.random.random()]
    keras.utils.set_random_seed(5)
    assert drawn[0] == drawn[1]
    assert drawn[0][-2:] == [random.random(), np.random.random()]


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize("kind", ["array", "tensor", "data frame", "list", "dict"])
def test_arrays_are_shuffled_by_keras(kind, shuffle):
    x = {
        "array": lambda: X,
        "tensor": lambda: tf.constant(X),
        "data frame": lambda: pytest.importorskip("pandas").DataFrame(X),
        "list": lambda: [X, X],
        "dict": lambda: {"a": X},
    }[kind]()
    data = shuffled(x, y=Y, shuffle=shuffle, batch_size=SIZE)
    assert data.arguments["shuffle"] is True
    assert data.arguments["x"] is x


def test_sample_weights_dicts_and_texts_stay_with_their_rows():
    texts = np.array([f"row {row}" for row in range(ROWS)])
    rows = ({"text": texts, "x": X}, {"a": Y, "b": 2 * Y}, 3 * Y)
    [*batches] = read(shuffled(dataset(*rows)), 13)
    for x, y, weight in batches:
        np.testing.assert_array_equal(y["b"], 2 * y["a"])
        np.testing.assert_array_equal(weight, 3 * y["a"])
        assert [text.decode() for text in x["text"]] == [f"row {row:.0f}" for row in y["a"]]
    several = Batches([({"x": x}, [y, 2 * y], 3 * y) for x, y in in_batches()])
    for x, y, weight in read(shuffled(several), 13):
        np.testing.assert_array_equal(x["x"][:, 0], 3 * y[0])
        np.testing.assert_array_equal(y[1], 2 * y[0])
        np.testing.assert_array_equal(weight, 3 * y[0])


def test_batches_of_different_shapes_stay_whole():
    ragged = dataset(tf.ragged.constant([[1.0] * (1 + row % 3) for row in range(ROWS)]), Y)
    # Graphs: as many columns as rows.
    graphs = [(np.zeros((size, size)), np.full(size, size)) for size in range(2, 20)]
    padded = tf.data.Dataset.from_generator(
        lambda: iter(graphs), output_signature=(tf.TensorSpec((None, None)), tf.TensorSpec((None,)))
    )
    for source, whole in ((ragged, 13), (padded, 18), (Batches(graphs), 18), (iter_of(graphs), 18)):
        batches = read(shuffled(source, steps=whole), whole)
        assert all(len(set(np.diff(np.sort(y)))) <= 1 for _, y in batches)
        firsts = [int(y[0]) for _, y in batches]
        assert len(set(firsts)) == whole
        assert firsts != sorted(firsts)


def iter_of(batches):
    yield from batches


def test_an_ordered_dataset_longer_than_the_sweep_is_drawn_from_all_over():
    for source in (dataset(), Batches()):
        data = shuffled(source, steps=4)
        assert data.is_shuffled
        # Of each quarter at least one batch, but for the last, which is one batch.
        assert np.ptp(targets(read(data, 4))) > 40
    # One in random order is read no further than need be.
    already = np.random.default_rng(0).permutation(ROWS)
    seen = []
    counted = dataset(X[already], Y[already]).map(
        lambda x, y: (x, tf.py_function(noted(seen), [y], "float32"))
    )
    data = shuffled(counted, steps=3)
    read(data, 3)
    assert data.is_shuffled is None
    # A sample of the first 13 batches, and the sweep's 3, which are prepared once more for its second round.
    assert len(seen) <= 13 + 3 * 2


def noted(seen):
    def note(y):
        seen.append(1)
        return y

    return note


def test_endless_sources_are_read_no_further_than_the_sweep_needs():
    read_from = []

    def counted():
        for batch in endless():
            read_from.append(1)
            yield batch

    data = shuffled(counted(), steps=20)
    read(data, 20)
    assert len(read_from) == 20
    assert data.batches_per_epoch is None
    repeated = shuffled(dataset().repeat(), steps=13, steps_per_epoch=13)
    assert repeated.batches_per_epoch == 13
    assert len(np.unique(targets(read(repeated, 13)))) > 90


def test_large_batches_are_mixed_as_far_as_the_memory_goes(monkeypatch):
    monkeypatch.setattr(mixing, "HELD_BYTES", 4 * SIZE * 16)
    batches = read(shuffled(in_batches(), steps=13), 13)
    # Four batches are held at a time.
    assert sorted(targets(batches[:4])) == list(range(32))
    assert np.median([np.ptp(batch[1]) for batch in batches]) > 15
    by_index = read(shuffled(Batches(), steps=13), 13)
    # Those four are from all over.
    assert np.ptp(targets(by_index[:4])) > 60
    np.testing.assert_array_equal(np.sort(targets(by_index)), Y)


def test_a_source_that_runs_dry_is_mixed_again():
    batches = read(shuffled(in_batches(4), steps=20), 8)
    for epoch in (batches[:4], batches[4:]):
        assert sorted(targets(epoch)) == list(range(32))


@pytest.mark.parametrize("source", [dataset().take(1), Batches(list(in_batches(1))), iter([X])])
def test_what_has_no_order_or_no_known_one_stays_itself(source):
    data = shuffled(source)
    assert data.arguments["x"] is source
    assert not data.is_endless


def test_given_order_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert in_given_order({"x": dataset(), "shuffle": True}).arguments["shuffle"] is False
        assert in_given_order({"x": X, "shuffle": True}).arguments["shuffle"] is True


# --- In a sweep ---------------------------------------------------------------------------------------------


def linear():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


def sweep(model, x, y=None, *, random_order=True, steps=12, **arguments):
    """Sweeps at rates at which nothing changes, so that a batch's loss tells which rows it has."""
    return sweep_in_training(
        model,
        lambda: model.fit(x, y, shuffle=False, verbose=0, **arguments),
        min_lr=1e-12,
        max_lr=1e-10,
        steps=steps,
        shuffle=random_order,
    ).curve


def is_in_order(curve):
    """Whether the loss rises from batch to batch, as it does over an epoch in order."""
    return np.diff(curve.losses[:12]).min() > 0


def test_what_the_user_has_put_in_order_is_shuffled_in_a_search():
    for x, arguments in (
        (X, {"y": Y, "batch_size": SIZE}),
        (dataset(), {}),
        (Batches(), {}),
        (endless(), {}),
    ):
        assert is_in_order(sweep(linear(), x, **arguments, random_order=False))
        assert not is_in_order(sweep(linear(), x, **arguments))


def test_find_lr_keeps_the_order_if_asked_to():
    def found(*source, **arguments):
        ramp = {"min_lr": 1e-12, "max_lr": 1e-7, "steps": 13}
        return lrtuner.find_lr(linear(), *source, **ramp, shuffle=False, verbose=0, **arguments)

    expected = found(X, Y, batch_size=SIZE)
    for source in (dataset(), Batches(), in_batches()):
        np.testing.assert_allclose(found(source).losses, expected.losses, rtol=1e-5)


def test_a_model_with_a_state_keeps_the_order():
    def stateful():
        model = keras.Sequential(
            [
                keras.layers.Input(batch_shape=(SIZE, 3, 1)),
                keras.layers.LSTM(2, stateful=True),
                keras.layers.Dense(1, kernel_initializer="ones"),
            ]
        )
        model.compile("sgd", "mse")
        return model

    batches = [(x[:, :, None], y) for x, y in in_batches(12)]
    assert is_in_order(sweep(stateful(), Batches(batches)))


def test_the_first_trial_gets_a_generator_s_batches_in_their_own_order():
    shared, source = SharedGenerators(), endless()
    sweep(linear(), shared.for_sweep((source,))[0], steps=26)
    training = shared.for_training((source,))[0]
    np.testing.assert_array_equal(targets(next(training) for _ in range(39)), np.tile(Y, 3))


def test_rows_that_belong_together_are_swept_in_their_order():
    def neighbours_alone(y, y_pred):
        if np.ptp(y) > SIZE:
            raise ValueError("these rows don't belong together")
        return keras.ops.square(y - y_pred[:, 0])

    model = linear()
    model.compile("sgd", neighbours_alone, run_eagerly=True, jit_compile=False)
    assert is_in_order(sweep(model, Batches()))


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_known_of_the_training_stands_on_the_curve(source):
    training = sweep(linear(), SOURCES[source](), steps=13, epochs=7).training
    assert (training.optimizer, training.momentum, training.epochs) == ("SGD", 0.0, 7)
    assert training.batch_size == SIZE
    is_known = source not in ("generator", "cardinality unknown")
    assert training.batches_per_epoch == (13 if is_known else None)
    assert training.is_shuffled is (True if is_known else None)


def test_what_a_callback_and_find_lr_know_of_the_training():
    finder = lrtuner.LRFinder(1e-9, 1e-7, steps=20)
    linear().fit(dataset(), epochs=2, shuffle=False, verbose=0, callbacks=[finder])
    found = lrtuner.find_lr(linear(), X, Y, batch_size=SIZE, min_lr=1e-9, max_lr=1e-7, verbose=0)
    for training in (finder.curve.training, found.training):
        assert (training.optimizer, training.batch_size, training.batches_per_epoch) == ("SGD", SIZE, 13)
        # The fit around a callback may be there for the sweep alone.
        assert training.epochs is None


def test_class_weights_reach_batches_that_are_mixed():
    weights = {0: 0.0, 99: 0.0}
    for source in (dataset(X, Y.astype("int64")), Batches([(x, y.astype("int64")) for x, y in in_batches()])):
        plain = sweep(linear(), source, steps=13)
        weighted = sweep(linear(), source, steps=13, class_weight=weights)
        assert weighted.losses.sum() < plain.losses.sum()


# --- No ordered source may give a range that misses the shuffled one ----------------------------------------

RNG = np.random.default_rng(0)
CLASSES = np.sort(RNG.integers(10, size=6400))
POINTS = (RNG.normal(size=(10, 20))[CLASSES] + RNG.normal(size=(6400, 20))).astype("float32")


def pairs(x, y, size=32):
    return [(x[start : start + size], y[start : start + size]) for start in range(0, len(x), size)]


def swept_range(model, x, y=None, *, random_order=True, shuffle=False, **arguments):
    model = model()
    report = sweep_in_training(
        model,
        lambda: model.fit(x, y, shuffle=shuffle, verbose=0, **arguments),
        min_lr=1e-7,
        max_lr=10.0,
        steps=None,
        shuffle=random_order,
    )
    suggested = lrtuner.suggest_range(report.curve)
    return suggested.min_lr, suggested.max_lr


def assert_agree(ordered, shuffled):
    """Asserts that the middle of each range lies inside of the other one."""
    for one, other in ((ordered, shuffled), (shuffled, ordered)):
        assert one[0] < np.sqrt(other[0] * other[1]) < one[1], (ordered, shuffled)


SORTED = {
    "tf.data": lambda: (tf.data.Dataset.from_tensor_slices((POINTS, CLASSES)).batch(32), None),
    "PyDataset": lambda: (Batches(pairs(POINTS, CLASSES)), None),
    "generator": lambda: (iter_of(3 * pairs(POINTS, CLASSES)), None),
    "arrays": lambda: (POINTS, CLASSES),
}


@pytest.mark.parametrize("source", SORTED)
def test_rows_that_are_sorted_by_class(source):
    def model():
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [keras.layers.Input((20,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    shuffled_by_keras = swept_range(model, POINTS, CLASSES, random_order=False, shuffle=True)
    assert_agree(swept_range(model, *SORTED[source]()), shuffled_by_keras)
    # In order it gives another range, or is seen through.
    with pytest.raises((AssertionError, lrtuner.NoRangeError)):
        assert_agree(swept_range(model, *SORTED[source](), random_order=False), shuffled_by_keras)


def test_a_folder_that_is_read_class_by_class(tmp_path):
    random = np.random.default_rng(0)
    classes = np.repeat(range(4), 160)
    patterns = random.uniform(60, 190, (4, 8, 8, 3))
    images = np.clip(patterns[classes] + random.normal(0, 60, (640, 8, 8, 3)), 0, 255).astype("uint8")
    for number, (image, label) in enumerate(zip(images, classes, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        tf.io.write_file(str(tmp_path / str(label) / f"{number:03}.png"), tf.io.encode_png(image))
    folder = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(8, 8), batch_size=16, shuffle=False, verbose=False
    )

    def model():
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.layers.Input((8, 8, 3)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.Dense(4),
            ]
        )
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    assert_agree(swept_range(model, folder), swept_range(model, images, classes, batch_size=16))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("trend", ["season", "straight"])
def test_a_time_series_in_its_order(optimizer, trend):
    time = np.arange(18_000)
    slow = 2 * np.sin(2 * np.pi * time / 9000) if trend == "season" else 4 * time / 18_000 - 2
    noise = 0.2 * np.random.default_rng(0).normal(size=len(time))
    series = (slow + 0.5 * np.sin(2 * np.pi * time / 50) + noise).astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(series, 20)[:-1, :, None]

    def model():
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.layers.Input((20, 1)), keras.layers.LSTM(16), keras.layers.Dense(1)])
        model.compile(optimizer, "mse")
        return model

    in_order = keras.utils.timeseries_dataset_from_array(series[:-20, None], series[20:], 20, batch_size=32)
    assert_agree(swept_range(model, in_order), swept_range(model, windows, series[20:], batch_size=32))


PIXELS = np.random.default_rng(0).integers(0, 256, (16, 3)).astype("uint8")
NET = [keras.layers.Dense(1)]


@pytest.mark.parametrize(
    ("x", "layers", "is_raw"),
    [
        (PIXELS, NET, True),
        (Batches([(PIXELS[:8], Y[:8]), (PIXELS[8:], Y[8:16])]), NET, True),
        ((batch for batch in [(PIXELS, Y[:16])]), NET, False),
        (PIXELS / 255, NET, False),
        (np.random.default_rng(0).normal(size=(500, 3)), NET, False),
        (np.where(np.eye(16, 3) > 0, np.nan, PIXELS), NET, True),
        ({"small": PIXELS / 255, "large": PIXELS}, NET, True),
        (PIXELS, [keras.layers.Embedding(256, 2)], False),
        (np.full((4, 3), np.nan), NET, False),
        (None, NET, False),
        (PIXELS, [keras.layers.BatchNormalization()], True),
        (np.array([["a word"]] * 4), NET, False),
        (np.zeros((0, 3)), NET, False),
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

class Data(keras.utils.PyDataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return np.full((8, 2), index / 20.0), np.zeros((8, 1))

def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("learning_rate", 1e-5, 1.0, sampling="log")), loss="mse")
    return model

tuner = lrtuner.RandomSearch(build, objective="loss", max_trials=1, steps=30, directory=PROJECT)
tuner.search(Data(), epochs=1, verbose=0)
del tuner
gc.collect()
print("done")
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's log")
def test_a_sweep_of_python_data_leaves_no_traceback_in_the_log(tmp_path):
    # The log level is read when TensorFlow is loaded.
    done = subprocess.run(
        [sys.executable, "-c", f"PROJECT = {str(tmp_path)!r}\n{PYTHON_DATA}"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("done\n")
    assert "Traceback" not in done.stderr
