"""The global random generators, which a sweep gives back as it found them."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give the global random generators back as they were, so that what follows draws what it would have.

    Covers Python's, NumPy's and the backend's. Keras draws its default seeds from Python's.
    """
    restore = keep_random_state()
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def repeatable_shuffles() -> Iterator[None]:
    """Let TensorFlow shuffle in an order that comes again where `keep_random_state` has put its state back.

    It does so by itself where the user has given it a seed. Without one, no state brings an order back: for a
    while it gets one.
    """
    context = _tensorflow_context()
    if getattr(context, "_seed", 0) is not None:
        yield
        return
    generator = getattr(context, "_rng", None)
    # `tf.random.set_seed` would also begin again what operations with seeds of their own draw.
    context._seed = current_seed()
    context._rng = random.Random(context._seed)
    try:
        yield
    finally:
        context._seed, context._rng = None, generator


def keep_random_state() -> Callable[[], None]:
    """Return a function that sets the global random generators to what they are now."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    restore_backend = _keep_backend_random_state()

    def restore() -> None:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        restore_backend()

    return restore


def current_seed() -> int:
    """Return a seed that follows from Python's generator, and draw nothing from it.

    After `keras.utils.set_random_seed` it is always the same.
    """
    state = random.getstate()
    seed = random.getrandbits(31)
    random.setstate(state)
    return seed


def _keep_backend_random_state() -> Callable[[], None]:
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        state = torch.get_rng_state()
        return lambda: torch.set_rng_state(state)
    # tf.data shuffles with TensorFlow's generator on every backend.
    generator = getattr(_tensorflow_context(), "_rng", None)
    if generator is None:
        return lambda: None
    tensorflow_state = generator.getstate()
    return lambda: generator.setstate(tensorflow_state)


def _tensorflow_context() -> Any:
    """Return what holds TensorFlow's global seed, or None where TensorFlow is not loaded."""
    if "tensorflow" not in sys.modules:
        return None
    from tensorflow.python.eager import context

    return context.context()
