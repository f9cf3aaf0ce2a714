#!/usr/bin/env python3
"""Run many sweeps in one process, and measure what stays behind.

    python examples/benchmarks/soak.py                # 1,000 sweeps
    python examples/benchmarks/soak.py --sweeps 100

Every sweep builds a model, sweeps it, reads the range, and saves a picture, as a search does. Printed every
tenth of the way: resident memory, open files, matplotlib figures. The last line gives what a sweep adds, from
the second tenth on, since the first one loads what is loaded once. The command fails if that is more than
1 MB, if more files are open than after the second tenth, or if a figure is left.
"""

from __future__ import annotations

import argparse
import gc
import os
import pathlib
import tempfile
from typing import Any, NamedTuple

os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
from bench import command
from bench.late import Late, keras, lrtuner

plt = Late("matplotlib.pyplot")
lrtuner_plot = Late("lrtuner.plot")

# Most of what stays behind is TensorFlow's own: a search of a few hundred sweeps can do with it.
MEGABYTES_A_SWEEP = 1.0


class Left(NamedTuple):
    """What is in the process at one time."""

    megabytes: float
    files: int
    figures: int

    @classmethod
    def now(cls) -> Left:
        """Look at the process, after collecting garbage."""
        gc.collect()
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        return cls(megabytes, len(os.listdir("/proc/self/fd")), len(plt.get_fignums()))


def build() -> Any:
    """Build and compile a small model."""
    layers = keras.layers
    model = keras.Sequential([layers.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def sweep(x: np.ndarray, y: np.ndarray, picture: pathlib.Path) -> None:
    """Do what a search does before its first trial."""
    # As KerasTuner does before each trial.
    keras.backend.clear_session()
    curve = lrtuner.find_lr(build(), x, y, steps=100, verbose=0)
    found = lrtuner.suggest_range(curve)
    picture.write_bytes(lrtuner_plot.png(lambda ax: lrtuner_plot.plot_curve(curve, ax, lr_range=found)))


def run(sweeps: int, tenth: int) -> list[Left]:
    """Sweep so many times, and look at the process after each tenth."""
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    y = x.sum(1, keepdims=True)
    seen = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(1, sweeps + 1):
            sweep(x, y, pathlib.Path(directory, "sweep.png"))
            if number % tenth == 0:
                seen.append(left := Left.now())
                print(
                    f"{number:5d} sweeps: {left.megabytes:7.1f} MB, {left.files} open files, "
                    f"{left.figures} figures",
                    flush=True,
                )
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweeps", type=int, default=1000, help="at least 30; default: 1000")
    sweeps = parser.parse_args().sweeps
    # A sweep adds less than what a single one may vary by.
    if sweeps < 30:
        parser.error(f"--sweeps: fewer than 30 say nothing about growth, got {sweeps}")
    command.import_from_checkout()
    tenth = sweeps // 10
    seen = run(sweeps, tenth)
    before, after = seen[1], seen[-1]
    added = (after.megabytes - before.megabytes) / (tenth * (len(seen) - 2))
    print(f"{added:.3f} MB a sweep")
    if added > MEGABYTES_A_SWEEP or after.files > before.files or after.figures:
        raise SystemExit(
            f"Too much stays behind: {added:.3f} MB a sweep (at most {MEGABYTES_A_SWEEP:g}), "
            f"{after.files - before.files} more open files (none), {after.figures} figures (none)."
        )


if __name__ == "__main__":
    main()
