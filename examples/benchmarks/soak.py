"""Many sweeps in one process: what stays behind.

    python examples/benchmarks/soak.py                # 1,000 sweeps
    python examples/benchmarks/soak.py --sweeps 100

Every sweep builds a model, sweeps it, reads the range, and saves a picture, as a search does. Printed every
tenth of the way: resident memory, open files, matplotlib figures. The last line gives what a sweep adds, from
the second tenth on, since the first one loads what is loaded once.
"""

import argparse
import gc
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import keras
import matplotlib.pyplot as plt
import numpy as np

import lrtuner
from lrtuner.plot import plot_curve, save_picture


def build():
    model = keras.Sequential(
        [keras.layers.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    return model


def megabytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files():
    return len(os.listdir("/proc/self/fd"))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweeps", type=int, default=1000)
    sweeps = parser.parse_args().sweeps
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype("float32")
    y = x.sum(1, keepdims=True)
    tenth = max(sweeps // 10, 1)
    seen = []
    with tempfile.TemporaryDirectory() as directory:
        picture = pathlib.Path(directory, "sweep.png")
        for number in range(1, sweeps + 1):
            # As KerasTuner does before each trial.
            keras.backend.clear_session()
            curve = lrtuner.find_lr(build(), x, y, steps=100, verbose=0)
            lr_range = lrtuner.suggest_range(curve)
            save_picture(picture, lambda ax, curve=curve, found=lr_range: plot_curve(curve, found, ax=ax))
            if number % tenth == 0:
                gc.collect()
                seen.append(megabytes())
                print(
                    f"{number:5d} sweeps: {seen[-1]:7.1f} MB, {open_files()} open files, "
                    f"{len(plt.get_fignums())} figures",
                    flush=True,
                )
    if len(seen) > 2:
        print(f"{(seen[-1] - seen[1]) / (tenth * (len(seen) - 2)):.3f} MB a sweep")


if __name__ == "__main__":
    main()
