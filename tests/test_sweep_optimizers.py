"""The optimizers that a model holds."""

import keras
import numpy as np
import pytest

import lrtuner
from lrtuner.errors import UnusableModelError
from lrtuner.sweep.model import compiled_with, optimizers_of, own_optimizer

BACKEND = keras.backend.backend()
X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")


class Autoencoder(keras.Model):
    """Trains its two halves with optimizers of their own."""

    def __init__(self, encoder_optimizer=None, decoder_optimizer=None):
        super().__init__()
        self.encoder = keras.layers.Dense(4)
        self.decoder = keras.layers.Dense(6)
        self.encoder_optimizer = encoder_optimizer
        self.decoders = {"decoder": [decoder_optimizer]}

    def call(self, x):
        return self.decoder(self.encoder(x))

    def train_step(self, data):
        import tensorflow as tf

        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean((self(x) - x) ** 2)
        halves = (self.encoder, self.encoder_optimizer), (self.decoder, self.decoders["decoder"][0])
        for half, optimizer in halves:
            weights = half.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


def dense(optimizer="adam"):
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def test_the_compiled_one_comes_first_and_stands_for_what_it_wraps():
    model = dense()
    assert optimizers_of(model) == [model.optimizer] == [own_optimizer(model)]
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.compile(scaled, "mse")
    # The one from before is not held any more.
    assert optimizers_of(model) == [scaled.inner_optimizer] == [own_optimizer(model)]
    assert compiled_with(model) == (("SGD", 0.0),)


def test_optimizers_among_attributes_in_lists_and_dicts_and_of_sub_models():
    adam, sgd, lion = keras.optimizers.Adam(), keras.optimizers.SGD(), keras.optimizers.Lion()
    model = Autoencoder(adam, sgd)
    model.compile()
    assert optimizers_of(model) == [model.optimizer, adam, sgd]
    model.critic = dense(lion)
    model.again = sgd
    assert set(map(id, optimizers_of(model))) == set(map(id, [model.optimizer, adam, sgd, lion]))
    assert next(name for name, _ in compiled_with(model)) == type(model.optimizer).__name__


def test_several_optimizers_in_one():
    several = getattr(keras.optimizers, "MultiOptimizer", None)
    if several is None:
        pytest.skip("this Keras has no MultiOptimizer")
    sgd, adam = keras.optimizers.SGD(), keras.optimizers.Adam()
    model = dense(several(keras.optimizers.OptimizerMap(sgd, {"dense.*": adam})))
    assert set(map(id, optimizers_of(model))) == {id(sgd), id(adam)}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a training step of TensorFlow")
def test_optimizers_of_its_own_are_swept_and_restored():
    adagrad, sgd = keras.optimizers.Adagrad(0.01), keras.optimizers.SGD(0.1, momentum=0.9)
    model = Autoencoder(adagrad, sgd)
    model.compile(optimizer=None)
    model(X[:1])
    weights = model.get_weights()
    assert own_optimizer(model) is adagrad
    curve = lrtuner.find_lr(model, X, batch_size=32, steps=30, min_lr=1e-4, max_lr=1.0, verbose=0)
    assert curve.losses[-5:].mean() < curve.losses[:5].mean()
    assert curve.training.optimizer == "Adagrad"
    for weight, first in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, first)
    # Neither had any state before: both have the one that they begin with.
    fresh = [keras.optimizers.Adagrad(0.01), keras.optimizers.SGD(0.1, momentum=0.9)]
    for optimizer, other, half in zip((adagrad, sgd), fresh, (model.encoder, model.decoder), strict=True):
        other.build(half.trainable_variables)
        for variable, expected in zip(optimizer.variables, other.variables, strict=True):
            np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (variable, expected)))


def test_no_optimizer_at_all():
    model = dense()
    model.compile(optimizer=None, loss="mse")
    assert optimizers_of(model) == []
    assert compiled_with(model) is None
    with pytest.raises(UnusableModelError, match="no learning rate to sweep"):
        lrtuner.find_lr(model, X, X[:, :1], verbose=0)
