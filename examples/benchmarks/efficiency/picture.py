"""The picture of best regrets so far."""

from __future__ import annotations

import pathlib

import numpy as np
from bench.late import Late

from efficiency.arms import ARMS
from efficiency.curves import END, SHARES, Found
from efficiency.searches import ORACLES

matplotlib = Late("matplotlib")
plt = Late("matplotlib.pyplot")

# Colour, width and dashes.
STYLES = {
    "wide": ("#0072B2", 1.5, "-"),
    "lrtuner": ("#D55E00", 2.5, "-"),
    "ideal": ("black", 1.5, ":"),
    "usual": ("#009E73", 1.5, "-"),
    "gradients": ("#E69F00", 1.5, "-"),
    "guide": ("#CC79A7", 1.5, "--"),
    "decades3": ("0.55", 1.5, "--"),
    "tpe": ("#56B4E9", 1.5, "-."),
}


def save(file: pathlib.Path, found: Found) -> None:
    """Draw regret against the share of the budget, the mean over tasks and seeds, a panel an oracle."""
    matplotlib.use("Agg")
    figure, axes = plt.subplots(1, len(ORACLES), figsize=(11, 4), sharey=True, layout="constrained")
    handles = {}
    for ax, oracle in zip(axes, ORACLES, strict=True):
        for arm, (colour, width, dashes) in STYLES.items():
            seeds = {task: found.seeds(task, oracle, arm) for task in found.tasks}
            rows = [
                found.regrets(task, oracle, arm, some).mean(axis=0) for task, some in seeds.items() if some
            ]
            if rows:
                mean = np.mean(rows, axis=0)[: END + 1]
                (handles[arm],) = ax.plot(SHARES[: END + 1], mean, dashes, color=colour, lw=width)
        ax.set(title=oracle.capitalize(), xlabel="batches spent, sweeps included", xlim=(0, 1))
        ax.set_yscale("log")
        ax.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        ax.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("best so far: 0 best known, 1 chance")
    axes[0].set_ylim(top=1)
    figure.legend(handles.values(), [ARMS[arm].title for arm in handles], loc="outside lower center", ncols=4)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    plt.close(figure)
