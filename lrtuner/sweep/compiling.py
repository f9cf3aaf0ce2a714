"""How a sweep's step is compiled: in little time, for few batches, and so that nothing of it stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from lrtuner.sweep.model import optimizers_of

# A model with more trainable weights (kernels, biases) than this takes longer to compile for several steps a
# call than the calls saved take. Measured: with 16 dense layers, 34 weights, one step a call is the quicker.
MOST_SMALL = 24
# Steps in one call of the compiled function of a small model. It takes three high losses to tell a blow-up,
# and a sweep notices when the call is over: five steps after the first one at the latest.
_STEPS_PER_CALL = 4
# To compile a ResNet of 174 to 418 weights takes as long as 20 to 36 of its steps take longer without it.
_MOST_UNCOMPILED = 24


def is_small(model: Any) -> bool:
    """Return whether a model's step is compiled in no time worth the name."""
    return len(model.trainable_variables) <= MOST_SMALL


def steps_per_call(model: Any) -> int:
    """Return how many steps to run in one call of TensorFlow's compiled function."""
    return _STEPS_PER_CALL if is_small(model) else 1


def is_worth_compiling(model: Any, steps: int | None) -> bool:
    """Return whether a sweep is over sooner with a compiled step than with one that is not compiled.

    Args:
        model: The model. Of other backends than TensorFlow nothing was measured, and nothing is changed.
        steps: Batches in the sweep, or None for the default, which is long enough.
    """
    if keras.backend.backend() != "tensorflow" or is_small(model):
        return True
    return steps is None or steps > _MOST_UNCOMPILED


@contextlib.contextmanager
def compiled_quickly(model: Any) -> Iterator[None]:
    """Compile a large model's functions without TensorFlow's optimization of graphs, in this thread.

    Of a ResNet on CPUs that takes up to half of the time before the first step, and makes a step 1% quicker.
    Nothing is changed with GPUs, where it was not measured, nor where the user has set TensorFlow's options.
    """
    if keras.backend.backend() != "tensorflow" or is_small(model):
        yield
        return
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU") or any(tf.config.optimizer.get_experimental_options().values()):
        yield
        return
    try:
        # TensorFlow's public switch is for all threads, some of which may be training.
        from tensorflow.python.eager import context

        current = context.context()
        before, config = current.function_call_options, current.config
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        quick = context.FunctionCallOptions(config_proto=config)
    except (ImportError, AttributeError, TypeError):
        # A TensorFlow that has moved it compiles as always.
        yield
        return
    current.function_call_options = quick
    try:
        yield
    finally:
        current.function_call_options = before


@contextlib.contextmanager
def freed_with_the_model(model: Any) -> Iterator[None]:
    """Compile a model's training step so that its graph goes when the model goes.

    Keras' optimizers add up their gradients over all devices through a custom gradient. TensorFlow keeps a
    list of these, and with each the graph that it is part of: for good. That of a ResNet takes 390 MB. On one
    device there is nothing to add up, so the sum is left out.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    name = "_all_reduce_sum_gradients"
    # A Keras that has moved it, or a class of the user's that has its own, compiles as always.
    alone = not tf.distribute.has_strategy() and model.distribute_strategy.num_replicas_in_sync == 1
    plain = getattr(keras.optimizers.Optimizer, name, None) if alone else None
    changed = [
        one for one in optimizers_of(model) if plain is not None and getattr(type(one), name, None) is plain
    ]
    for one in changed:
        setattr(one, name, list)
    try:
        yield
    finally:
        for one in changed:
            delattr(one, name)
