"""Modules that are imported when they are first used.

Keras and TensorFlow take seconds to load. `--help` and the names of tasks need neither.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Late:
    """Stands for a module, and imports it when one of its names is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


keras = Late("keras")
tensorflow = Late("tensorflow")
keras_tuner = Late("keras_tuner")
datasets = Late("sklearn.datasets")
lrtuner = Late("lrtuner")
