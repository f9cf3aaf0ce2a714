"""What a search with a sweep takes until the first trial's first batch, beside KerasTuner's own.

`measure` runs one search of one trial in this process; run it in a fresh one.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.late import Late, keras

keras_tuner = Late("keras_tuner")
lrtuner = Late("lrtuner")
step = Late("lrtuner.sweep.step")

# Batches in the sweep: the first ten tell building and compiling from the rest.
STEPS = 10


def hypermodel(name: str, small: Callable[[str], Any]) -> tuple[Any, tuple[int, ...]]:
    """Return a hypermodel that chooses among three optimizers, and the shape of its inputs.

    Args:
        name: A model: "resnet" is KerasTuner's own, "efficientnet" has no weights to download.
        small: Builds and compiles one of the other models.
    """
    if name == "resnet":
        return keras_tuner.applications.HyperResNet(input_shape=(32, 32, 3), classes=10), (32, 32, 3)

    def build(hp: Any) -> Any:
        if name == "efficientnet":
            model = keras.applications.EfficientNetB0(input_shape=(32, 32, 3), classes=10, weights=None)
        else:
            model = small(name)
        optimizer = hp.Choice("optimizer", ["adam", "rmsprop", "sgd"])
        rate = hp.Float("learning_rate", 1e-6, 10.0, sampling="log")
        one = keras.optimizers.get({"class_name": optimizer, "config": {"learning_rate": rate}})
        loss = keras.losses.CategoricalCrossentropy(from_logits=name != "efficientnet")
        model.compile(one, loss, metrics=["accuracy"])
        return model

    return build, {"dense": (64,), "cnn": (28, 28, 1), "transformer": (16,)}.get(name, (32, 32, 3))


def measure(name: str, small: Callable[[str], Any], *, swept: bool, seed: int) -> dict[str, float]:
    """Run a search of one trial of one epoch over 64 random rows.

    Returns:
        Processor seconds ("cpu") and seconds ("wall") to the first trial's first batch, those of the whole
        search ("cpu_all", "wall_all"), the number of builds, processor seconds in builds ("build"), in the
        steps of sweeps after the first call ("steps") and in their first calls, which compile ("compile"),
        and the peak of the resident memory in megabytes ("peak").
    """
    plain, shape = hypermodel(name, small)
    build = plain if callable(plain) else plain.build
    seen = {"builds": 0.0, "build": 0.0, "steps": 0.0, "compile": 0.0}
    clock = {"last": 0.0}

    def timed(hp: Any) -> Any:
        start = time.process_time()
        model = build(hp)
        seen["builds"] += 1
        seen["build"] += time.process_time() - start
        return model

    set_rate, plain_update = step.SweptStep.set_rate, step.SweptStep.update

    def timed_rate(self: Any, rate: float) -> None:
        self.is_first = not hasattr(self, "is_first")
        clock["last"] = time.process_time()
        set_rate(self, rate)

    def timed_update(self: Any) -> Any:
        seen["compile" if self.is_first else "steps"] += time.process_time() - clock["last"]
        return plain_update.fget(self)

    step.SweptStep.set_rate, step.SweptStep.update = timed_rate, property(timed_update)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (64, *shape)) if name == "transformer" else rng.random((64, *shape), "float32")
    y = np.eye(10, dtype="float32")[rng.integers(0, 10, 64)]
    start, cpu = time.perf_counter(), time.process_time()
    first: dict[str, float] = {}

    class First(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            del batch, logs
            first.setdefault("wall", time.perf_counter() - start)
            first.setdefault("cpu", time.process_time() - cpu)

    with tempfile.TemporaryDirectory() as directory:
        tuners, options = (lrtuner, {"steps": STEPS}) if swept else (keras_tuner, {})
        tuner = tuners.RandomSearch(
            timed, objective="val_accuracy", max_trials=1, seed=seed, directory=directory, **options
        )
        tuner.search(x, y, epochs=1, validation_data=(x, y), verbose=0, callbacks=[First()])
    whole = {"wall_all": time.perf_counter() - start, "cpu_all": time.process_time() - cpu}
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return {**first, **whole, **seen, "peak": peak}


def print_measured(*arguments: Any, **options: Any) -> None:
    """Print what `measure` returns as a line of JSON."""
    print(json.dumps(measure(*arguments, **options)))
