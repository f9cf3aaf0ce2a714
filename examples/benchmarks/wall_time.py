#!/usr/bin/env python3
"""Measure on the clock what a sweep costs a search whose trials take about a minute.

    python examples/benchmarks/wall_time.py            # 25 minutes on two cores
    python examples/benchmarks/wall_time.py --quick    # half a minute

The same random search runs with KerasTuner's tuner and with lrtuner's: a CNN on 60,000 rendered digits,
batches of 64, two epochs a trial, the learning rate declared from 1e-6 to 10.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
from bench import command, glyphs
from bench.late import keras, keras_tuner, lrtuner

TRIALS = 6


def build(hp: Any) -> Any:
    """Build and compile the CNN."""
    layers = [keras.Input((28, 28, 1))]
    for filters in (16, 32):
        layers += [keras.layers.Conv2D(filters, 3, activation="relu"), keras.layers.MaxPooling2D()]
    layers += [keras.layers.Flatten(), keras.layers.Dropout(hp.Choice("dropout", [0.0, 0.3]))]
    layers += [keras.layers.Dense(hp.Choice("units", [32, 128]), activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    rate = hp.Float("learning_rate", 1e-6, 10.0, sampling="log")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def search(module: Any, data: Any, trials: int, seed: int) -> None:
    """Search, and print the seconds and the best accuracy at the end of the sweep and of each trial."""
    ends: list[float] = []

    class Timed(module.RandomSearch):  # type: ignore[misc, name-defined]
        def run_trial(self, *args: Any, **kwargs: Any) -> Any:
            result = super().run_trial(*args, **kwargs)
            ends.append(time.perf_counter() - start)
            return result

    with tempfile.TemporaryDirectory() as directory:
        tuner = Timed(build, objective="val_accuracy", max_trials=trials, seed=seed, directory=directory)
        start = time.perf_counter()
        validation = data.x_val, data.y_val
        tuner.search(data.x, data.y, batch_size=64, epochs=2, validation_data=validation, verbose=0)
        scores = [trial.score for trial in tuner.oracle.trials.values()]
    took = np.diff([0.0, *ends])
    sweep, took = (took[0], took[1:]) if len(took) > trials else (0.0, took)
    so_far = np.maximum.accumulate(scores)
    reached = zip(so_far, sweep + np.cumsum(took), strict=True)
    line = ", ".join(f"{best:.4f} after {end:.0f} s" for best, end in reached)
    each = f"sweep {sweep:.1f} s, a trial {np.median(took):.1f} s"
    print(f"{module.__name__}, seed {seed}: {each}; best {line}", flush=True)


def main() -> None:
    options = command.parser(__doc__).parse_args()
    command.import_from_checkout()
    data = glyphs.rendered_digits(*((2000, 500) if options.quick else (60_000, 10_000)))
    for seed in range(1 if options.quick else 2):
        for module in (keras_tuner, lrtuner):
            search(module, data, 2 if options.quick else TRIALS, seed)


if __name__ == "__main__":
    main()
