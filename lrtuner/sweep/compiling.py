"""How a sweep's step is compiled: what makes it quicker pays little within a few hundred batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

# A model with more trainable weights (kernels, biases) than this takes longer to compile for several steps a
# call than the calls saved take. Measured: with 16 dense layers, 34 weights, one step a call is the quicker.
MOST_SMALL = 24
# Steps in one call of the compiled function of a small model. It takes three high losses to tell a blow-up,
# and a sweep notices when the call is over: five steps after the first one at the latest.
_STEPS_PER_CALL = 4
# To compile a ResNet of 174 to 418 weights takes as long as 20 to 36 of its steps take longer without it, and
# leaves 500 MB to 1.1 GB more behind.
_MOST_UNCOMPILED = 24


def is_small(model: Any) -> bool:
    """Return whether a model's step is compiled in no time worth the name."""
    return len(model.trainable_variables) <= MOST_SMALL


def steps_per_call(model: Any) -> int:
    """Return how many steps to run in one call of TensorFlow's compiled function."""
    return _STEPS_PER_CALL if is_small(model) else 1


def is_worth_compiling(model: Any, steps: int | None) -> bool:
    """Return whether a sweep is over sooner with a compiled step.

    Args:
        model: The model; only TensorFlow runs others as fast or faster without.
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
