"""Several learning rates of one model, named in a list."""

import keras
import keras_tuner as kt
import pytest
from searches import search_rates, warned

import lrtuner


def rate_of(hp, name, **arguments):
    return hp.Float(name, 1e-6, 10.0, sampling="log", **arguments)


class FineTunes(kt.HyperModel):
    """Trains the head, unfreezes the base, and trains both at a second rate."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def build(self, hp):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)])
        model.layers[0].trainable = False
        if self.where == "build":
            rate_of(hp, "fine_lr")
        model.compile(keras.optimizers.Adam(rate_of(hp, "head_lr")), "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        model.layers[0].trainable = True
        model.compile(keras.optimizers.Adam(rate_of(hp, "fine_lr")), "mse")
        return model.fit(*args, **kwargs)


@pytest.mark.parametrize("where", ["build", "fit"])
@pytest.mark.parametrize("names", [["head_lr", "fine_lr"], ["fine_lr", "head_lr"]], ids="-".join)
def test_a_rate_of_a_later_fit_is_searched_as_declared(tmp_path, where, names):
    with warned("trains at 'head_lr' and not at 'fine_lr', and a sweep sees the first fit alone"):
        tuner = search_rates(tmp_path, FineTunes(where), names, max_trials=2)
    ranges = {sweep.learning_rate: sweep.lr_range for sweep in tuner.oracle.sweeps}
    assert ranges == {"head_lr": lrtuner.LRRange(1e-3, 1e-2), "fine_lr": None}
    entries = {entry.name: entry for entry in tuner.oracle.get_space().space}
    assert (entries["head_lr"].min_value, entries["head_lr"].max_value) == (1e-3, 1e-2)
    assert (entries["fine_lr"].min_value, entries["fine_lr"].max_value) == (1e-6, 10.0)
    for trial in tuner.oracle.trials.values():
        assert 1e-3 <= trial.hyperparameters.values["head_lr"] <= 1e-2


def test_a_rate_that_nothing_trains_at_is_to_be_passed_to_the_first_fit(tmp_path):
    def build(hp):
        rate_of(hp, "learning_rate")
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.1), "mse")
        return model

    with warned("pass it to the optimizer that the first model.fit trains with"):
        search_rates(tmp_path, build, None, max_trials=2)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
@pytest.mark.parametrize(
    ("given", "bounds", "held"),
    [
        ({}, (1e-6, 10.0), 0.01),
        ({}, (1e-6, 1e-3), 1e-3),
        ({"default": 0.03}, (1e-6, 10.0), 0.03),
    ],
    ids=["usual", "within what is declared", "given"],
)
def test_the_rate_at_which_the_other_optimizer_trains_during_a_sweep(tmp_path, capsys, given, bounds, held):
    heads = []

    def build(hp):
        head = keras.optimizers.Adam(hp.Float("head_lr", *bounds, sampling="log", **given))
        heads.append(head)
        encoder = keras.optimizers.SGD(rate_of(hp, "encoder_lr"))
        optimizers = keras.optimizers.OptimizerMap(head, {"encoder/.*": encoder})
        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(8, name="encoder"), keras.layers.Dense(1)]
        )
        model.compile(keras.optimizers.MultiOptimizer(optimizers), loss="mse")
        return model

    tuner = search_rates(tmp_path, build, ["encoder_lr", "head_lr"], max_trials=2, verbose=2)
    first = tuner.oracle.sweeps[0]
    assert first.learning_rate == "encoder_lr"
    assert first.hyperparameters.values["head_lr"] == pytest.approx(held, rel=1e-5)
    assert f"head_lr was held at {held:.3g}." in capsys.readouterr().out
    trained = [head for head in heads if int(head.iterations) > 0]
    assert float(trained[0].learning_rate) == pytest.approx(held, rel=1e-5)
