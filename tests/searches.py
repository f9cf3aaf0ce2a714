"""A search that trains for real and takes a second: what the tests of the hand-off share."""

import contextlib
import re
import warnings

import keras
import keras_tuner as kt
import numpy as np

import lrtuner

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(128, 6)).astype("float32")
Y = (X @ RANDOM.normal(size=(6, 1)) + 0.01 * RANDOM.normal(size=(128, 1))).astype("float32")
FIT = {"validation_data": (X[:32], Y[:32]), "epochs": 1, "batch_size": 8, "verbose": 0}
RATE = "learning_rate"


class Batches(keras.utils.PyDataset):
    """Arrays in batches, in their order."""

    def __init__(self, *arrays, size, **options):
        super().__init__(**options)
        self.arrays, self.size = arrays, size

    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, index):
        return tuple(array[self.size * index : self.size * (index + 1)] for array in self.arrays)


def compiled(rate, units=2):
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(units, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(rate), loss="mse", metrics=["mae"])
    return model


def declared_rate(hp):
    return hp.Float(RATE, 1e-6, 10.0, sampling="log")


def build_model(hp):
    units = hp.Int("units", 2, 8)
    return compiled(declared_rate(hp), units)


def fits(_, model, *args, **kwargs):
    return model.fit(*args, **kwargs)


class Trains(kt.HyperModel):
    """Builds with one function and trains with another."""

    def __init__(self, build=build_model, train=fits):
        super().__init__()
        self.build, self.train = build, train

    def fit(self, hp, model, *args, **kwargs):
        return self.train(hp, model, *args, **kwargs)


OPTIMIZERS = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}


def build_choice(hp, names=tuple(OPTIMIZERS)):
    """A model with an optimizer to choose."""
    name, rate = hp.Choice("optimizer", list(names)), declared_rate(hp)
    model = compiled(rate, hp.Int("units", 2, 8))
    model.compile(OPTIMIZERS[name](rate), loss="mse", metrics=["mae"])
    return model


def is_swept(model):
    """Return whether the model's `fit` is a sweep."""
    return "fit" in vars(model)


def build_branches(hp, names=("adam", "sgd")):
    """A model with an optimizer to choose, each with a learning rate of its own in a plain if."""
    if hp.Choice("optimizer", list(names)) == "adam":
        optimizer = keras.optimizers.Adam(hp.Float("adam_lr", 1e-6, 10.0, sampling="log"))
    else:
        optimizer = keras.optimizers.SGD(hp.Float("sgd_lr", 1e-6, 10.0, sampling="log"))
    model = compiled(0.1, hp.Int("units", 2, 3))
    model.compile(optimizer, loss="mse")
    return model


def random_search(max_trials=2, **arguments):
    return kt.oracles.RandomSearchOracle(objective="val_loss", max_trials=max_trials, seed=7, **arguments)


def tuner(directory, hypermodel=build_model, kind=lrtuner.Tuner, *, oracle=None, sweep=None, **arguments):
    if not issubclass(kind, lrtuner.Tuner):
        hypermodel = lrtuner.LRRangeHyperModel(hypermodel)
    oracle = lrtuner.LRRangeOracle(oracle or random_search(), **(sweep or {"steps": 60}))
    return kind(oracle, hypermodel, directory=directory, project_name="project", **arguments)


def search(tuner, **arguments):
    # The same weights and shuffles each time, so that what a sweep shows is no matter of luck.
    keras.utils.set_random_seed(11)
    tuner.search(X, Y, **{**FIT, **arguments})
    return tuner


def search_rates(directory, hypermodel, names, *, max_trials=4, **arguments):
    """Search several learning rates of one model, each between 1e-3 and 1e-2 after its sweep."""
    several = lrtuner.RandomSearch(
        hypermodel,
        objective="val_loss",
        max_trials=max_trials,
        seed=3,
        steps=60,
        learning_rate=names,
        rule=lambda _: (1e-3, 1e-2),
        directory=directory,
    )
    return search(several, **arguments)


def rates(tuner):
    return [trial.hyperparameters.values[RATE] for _, trial in sorted(tuner.oracle.trials.items())]


def assert_narrowed(tuner):
    lr_range = tuner.oracle.lr_range
    assert lr_range is not None, tuner.oracle.sweeps[-1].reason
    assert rates(tuner)
    for rate in rates(tuner):
        assert lr_range.min_lr <= rate <= lr_range.max_lr


@contextlib.contextmanager
def warned(pattern):
    """Check that a warning is given; unlike `pytest.warns` it gives none of the others again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(warning.message) for warning in caught]
    assert any(re.search(pattern, message) for message in messages), messages
