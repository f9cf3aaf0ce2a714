import gc
import weakref

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import FIT, RATE, X, Y, build_choice, declared_rate, random_search, search, tuner

from lrtuner.search.probing import RateProbe


def test_each_model_is_freed_before_the_next_is_built():
    models = []

    class Counting(kt.HyperModel):
        def build(self, hp):
            assert not any(model() is not None for model in models)
            model = build_choice(hp)
            models.append(weakref.ref(model))
            return model

    hp = kt.HyperParameters()
    swept = build_choice(hp)
    found, _ = RateProbe(Counting(), hp, swept).settings(["learning_rate"], names=None, others_count=True)
    assert found.names == ("optimizer",)
    assert len(models) == 3


NORMALISERS = {
    "batch_norm": keras.layers.BatchNormalization,
    "kind": keras.layers.LayerNormalization,
    "to_1": lambda: keras.layers.Rescaling(1 / 255),
}


@pytest.mark.parametrize("first", [[], [keras.layers.Rescaling]])
@pytest.mark.parametrize("name", NORMALISERS)
def test_normalisation_is_found_wherever_it_is(name, first):
    def build(hp):
        sgd = keras.optimizers.SGD(declared_rate(hp))
        optimizer = sgd if hp.Choice("optimizer", ["sgd", "adam"]) == "sgd" else keras.optimizers.Adam(1e-3)
        hidden = [keras.layers.Dense(3, activation=hp.Choice("act", ["relu", "tanh"]))]
        if hp.Boolean(name):
            # Inside of a model that is a layer.
            hidden.append(keras.Sequential([keras.layers.Dense(3), NORMALISERS[name]()]))
        if hp.Boolean("dropout"):
            hidden.append(keras.layers.Dropout(0.5))
        scaled = [layer(1 / 255) for layer in first]
        model = keras.Sequential([keras.Input((6,)), *scaled, *hidden, keras.layers.Dense(1)])
        model.compile(optimizer, loss="mse")
        return model

    hypermodel, hp = kt.HyperModel(), kt.HyperParameters()
    hypermodel.build = build
    found, _ = RateProbe(hypermodel, hp, build(hp)).settings([RATE], names=None, others_count=True)
    # Where all models bring their inputs to scale, it moves the best rate by little.
    assert (found.names, found.normalising) == (("optimizer",), () if first else (name,))


def test_raw_inputs_give_each_normalisation_a_range(tmp_path):
    """With SGD, the net without it diverges where the other one learns best."""
    random = np.random.default_rng(5)
    x = random.integers(0, 256, (640, 12)).astype("float32")
    y = (x @ random.normal(size=12) > 0).astype("float32")

    def build(hp):
        layers = [keras.layers.BatchNormalization()] if hp.Boolean("batch_norm") else []
        model = keras.Sequential(
            [keras.Input((12,)), keras.layers.Dense(8), *layers, keras.layers.ReLU(), keras.layers.Dense(1)]
        )
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(declared_rate(hp)), loss)
        return model

    searched = tuner(tmp_path, build, oracle=random_search(6), sweep={"steps": 100})
    keras.utils.set_random_seed(11)
    searched.search(x, y, epochs=1, validation_data=(x, y), verbose=0)
    found = {sweep.setting["batch_norm"]: sweep.lr_range for sweep in searched.oracle.sweeps}
    assert set(found) == {False, True}
    assert found[False].max_lr < found[True].max_lr
    for trial in searched.oracle.trials.values():
        values = trial.hyperparameters.values
        own = found[values["batch_norm"]]
        assert own.min_lr / 1.001 <= values[RATE] <= own.max_lr * 1.001


def test_nothing_is_kept_of_the_swept_model_when_a_trial_is_built(tmp_path):
    models, alive = [], []

    def build(hp):
        gc.collect()
        alive.append(sum(model() is not None for model in models))
        model = build_choice(hp)
        models.append(weakref.ref(model))
        return model

    search(tuner(tmp_path, build))
    # The last two builds are those of the two trials.
    assert alive[-2:] == [0, 0]


def test_a_trial_without_the_hyperparameter_that_normalises_needs_one_sweep(tmp_path):
    """A search that takes no new hyperparameters proposes without it."""

    def build(hp):
        layers = [keras.layers.BatchNormalization()] if hp.Boolean("batch_norm") else []
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), *layers, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(declared_rate(hp)), loss="mse")
        return model

    hp = kt.HyperParameters()
    declared_rate(hp)
    oracle = random_search(3, hyperparameters=hp, tune_new_entries=False)
    searched = tuner(tmp_path, build, oracle=oracle)
    keras.utils.set_random_seed(11)
    searched.search(10 * X, Y, **FIT)
    assert [sweep.setting for sweep in searched.oracle.sweeps] == [{"batch_norm": False}, {}]
    assert len(searched.oracle.trials) == 3
