"""The global random generators, which a sweep gives back as it found them."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator

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
    if "tensorflow" in sys.modules:
        from tensorflow.python.eager import context

        generator = getattr(context.context(), "_rng", None)
        if generator is not None:
            tensorflow_state = generator.getstate()
            return lambda: generator.setstate(tensorflow_state)
    return lambda: None
