#!/usr/bin/env python3
"""Measure what a learning-rate sweep costs beside plain training.

    python examples/benchmarks/sweep_cost.py                 # all models
    python examples/benchmarks/sweep_cost.py cnn --pairs 9

Everything is measured in one process, sweep and plain `fit` in turn, as the median of the pairs' ratios:

step      A step of the sweep against a step of plain `fit` (loss and accuracy, as most people compile). The
          time of a step is the slope between a short and a long run: building and tracing cancel out.
whole     A fresh model, built and traced: a whole sweep against a plain epoch of as many batches.
search    A search of one trial, up to its first batch and as a whole, against KerasTuner's own, in processor
          seconds: in fresh processes, with the models below and two large ones (`--search`).
memory    Peak resident memory of a process that sweeps, against one that runs a plain epoch (`--memory`).
growth    Milliseconds a sweep step as the dense net widens, and seconds a sweep as its batches grow
          (`--growth`).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from bench import command, first_batch
from bench.late import Late, keras

training = Late("lrtuner.sweep.training")

BATCH = 64
# Batches in the short and in the long run, and in the whole sweep.
BATCHES = {
    "dense": (100, 600, 300),
    "cnn": (10, 70, 100),
    "gru": (50, 250, 300),
    "transformer": (50, 250, 300),
}


def build(name: str, width: int = 64) -> Any:
    """Build and compile one of the benchmark's models."""
    layers = keras.layers
    if name == "transformer":
        tokens = layers.Input((16,), dtype="int32")
        x = layers.Embedding(100, 32)(tokens)
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 16)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, activation="relu")(x)))
        model = keras.Model(tokens, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))
    else:
        stacks = {
            "dense": lambda: [layers.Input((64,)), layers.Dense(width, activation="relu")],
            "cnn": lambda: [
                layers.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation="relu"),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Dropout(0.25),
                layers.Flatten(),
                layers.Dense(128, activation="relu"),
                layers.Dropout(0.5),
            ],
            "gru": lambda: [layers.Input((16, 8)), layers.GRU(32)],
        }
        model = keras.Sequential([*stacks[name](), layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def data(name: str, batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs and labels for so many batches."""
    rng = np.random.default_rng(0)
    rows = batches * BATCH
    labels = rng.integers(0, 10, rows)
    if name == "transformer":
        return rng.integers(0, 100, (rows, 16)), labels
    shape = {"dense": (64,), "cnn": (28, 28, 1), "gru": (16, 8)}[name]
    return rng.normal(size=(rows, *shape)).astype("float32"), labels


def run_sweep(model: Any, x: np.ndarray, y: np.ndarray, batches: int) -> None:
    """Sweep as a search does, without restoring the model. The rates stay low, so that it runs through."""
    arguments = {"x": x, "y": y, "batch_size": BATCH, "verbose": 0}
    curve = training.sweep_fit(model, arguments, min_lr=1e-7, max_lr=1e-3, steps=batches)
    assert len(curve) == batches


def run_fit(model: Any, x: np.ndarray, y: np.ndarray, batches: int) -> None:
    """Train one plain epoch."""
    model.fit(x[: batches * BATCH], y[: batches * BATCH], batch_size=BATCH, verbose=0)


def seconds(function: Callable[..., None], *arguments: object) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def step_seconds(function: Callable[..., None], name: str) -> float:
    """Return the time of one step, from the slope between a short and a long run of fresh models."""
    short, long, _ = BATCHES[name]
    x, y = data(name, long)
    times = [seconds(function, build(name), x[: n * BATCH], y[: n * BATCH], n) for n in (short, long)]
    return (times[1] - times[0]) / (long - short)


def whole_seconds(function: Callable[..., None], name: str) -> float:
    """Return the time of building, tracing and running."""
    batches = BATCHES[name][2]
    x, y = data(name, batches)
    return seconds(lambda: function(build(name), x, y, batches))


def ratios(measure: Callable[..., float], name: str, pairs: int) -> tuple[float, float, float]:
    """Return the median ratio of sweep to plain fit over interleaved pairs, and both medians in seconds."""
    measured = [(measure(run_sweep, name), measure(run_fit, name)) for _ in range(pairs)]
    swept, plain = zip(*measured, strict=True)
    return (
        statistics.median(a / b for a, b in measured),
        statistics.median(swept),
        statistics.median(plain),
    )


def peak_megabytes(what: str, name: str) -> float:
    """Return the peak resident memory of a fresh process that sweeps or trains."""
    arguments = [sys.executable, __file__, name, "--alone", what]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_own_peak(what: str, name: str) -> None:
    """Sweep or train once, and print the peak resident memory of this process in megabytes."""
    whole_seconds(run_sweep if what == "sweep" else run_fit, name)
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def print_costs(name: str, pairs: int) -> None:
    """Compare steps and whole sweeps of one model with plain training."""
    whole_seconds(run_sweep, name)
    for what, measure in (("step", step_seconds), ("whole", whole_seconds)):
        ratio, swept, plain = ratios(measure, name, pairs)
        unit, factor = ("s", 1) if what == "whole" else ("ms", 1000)
        times = " ".join(f"{one * factor:9.2f} {unit:2s}" for one in (swept, plain))
        print(f"{name:12s} {what:9s} {ratio:9.2f} {times}", flush=True)


def print_memory(name: str) -> None:
    """Compare peak memory, as medians of three processes each."""
    swept, plain = (
        statistics.median(peak_megabytes(what, name) for _ in range(3)) for what in ("sweep", "fit")
    )
    print(f"{name:12s} {'memory':9s} {swept / plain:9.3f} {swept:9.0f} MB {plain:9.0f} MB", flush=True)


def print_search(name: str, seed: int) -> None:
    """Compare a search of one trial with KerasTuner's own, each in a process of its own."""
    measured = []
    for what in ("search", "stock"):
        arguments = [sys.executable, __file__, name, "--alone", what, "--seed", str(seed)]
        out = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        measured.append(json.loads(out.splitlines()[-1]))
    swept, stock = measured
    for what, key in (("first batch", "cpu"), ("whole search", "cpu_all"), ("peak memory", "peak")):
        unit = "MB" if key == "peak" else "s"
        print(
            f"{name:12s} {what:13s} x{swept[key] / stock[key]:.2f} {swept[key]:8.1f} {stock[key]:8.1f} {unit}"
        )
    rest = swept["cpu"] - stock["cpu"]
    build, compiling, steps = (swept[key] for key in ("build", "compile", "steps"))
    print(
        f"{name:12s} of {rest:.1f} s more: {swept['builds']:.0f} builds {build - stock['build']:.1f} s, "
        f"compiling {compiling:.1f} s, steps {steps:.1f} s",
        flush=True,
    )


def print_growth() -> None:
    """Print how the cost grows with the width of a net and with the length of a sweep."""
    for width in (64, 256, 1024, 4096):
        x, y = data("dense", 200)
        run_sweep(build("dense", width), x, y, 50)
        times = [seconds(run_sweep, build("dense", width), x, y, n) for n in (50, 200)]
        print(f"dense net of width {width}: {(times[1] - times[0]) / 150 * 1000:.2f} ms a sweep step")
    for batches in (100, 300, 1000, 3000):
        x, y = data("dense", batches)
        whole = seconds(run_sweep, build("dense"), x, y, batches)
        print(f"dense net, {batches} batches: {whole:.2f} s a sweep")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(BATCHES)}; default: all")
    parser.add_argument("--search", action="store_true", help="compare searches of one trial instead")
    parser.add_argument("--seed", type=int, default=3, help="seed of the searches, which chooses the trial")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of runs behind each median")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, too")
    parser.add_argument("--growth", action="store_true", help="measure how the cost grows, too")
    parser.add_argument("--alone", choices=["sweep", "fit", "search", "stock"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    known = ["dense", "cnn", "transformer", "resnet", "efficientnet"] if options.search else list(BATCHES)
    is_one_search = options.alone in ("search", "stock")
    names = options.models or known
    if unknown := [name for name in names if name not in known and not is_one_search]:
        parser.error(f"unknown models: {', '.join(unknown)}; known: {', '.join(known)}")
    command.import_from_checkout()
    if is_one_search:
        first_batch.print_measured(names[0], build, swept=options.alone == "search", seed=options.seed)
        return
    if options.search:
        for name in names:
            print_search(name, options.seed)
        return
    if options.alone:
        print_own_peak(options.alone, names[0])
        return
    print(f"{'model':12s} {'what':9s} {'sweep/fit':>9s} {'sweep':>12s} {'plain fit':>12s}")
    for name in names:
        print_costs(name, options.pairs)
        if options.memory:
            print_memory(name)
    if options.growth:
        print_growth()


if __name__ == "__main__":
    main()
