"""Real searches of the same space, with KerasTuner alone and with lrtuner."""

from __future__ import annotations

import functools
import itertools
import pathlib
from dataclasses import dataclass
from typing import Any

import keras_tuner as kt
import numpy as np
from bench import store
from bench.lab import Lab
from bench.late import keras
from bench.records import Loss, finite
from bench.table import print_head, print_row

import lrtuner
from setting.space import (
    BATCHES,
    DEPTHS,
    DROPOUT,
    L2,
    MIDDLE,
    OPTIMIZERS,
    SETS,
    WIDTHS,
    DataSet,
    Setting,
    optimizer_of,
    task_of,
)

EPOCHS = 8
# How the learning rates come about: options of lrtuner's tuner, or `None` for KerasTuner's own.
NO_RANGE = "no range"
WAYS: dict[str, dict[str, Any] | None] = {
    NO_RANGE: None,
    "one sweep": {"sweep_per": []},
    "each optimizer": {},
}


@dataclass(frozen=True)
class MeasuredSearch:
    """One search as it is kept in a file.

    Attributes:
        data: Name of the data set.
        way: How the learning rates come about, a key of `WAYS`.
        seed: Seed of the search.
        chance: Validation loss of the best constant prediction.
        sweeps: Batches of each sweep.
        batches: Batches of each trial, in their order.
        scores: Best validation loss of each trial; `None` where it failed.
        values: Values of the hyperparameters of each trial.
    """

    data: str
    way: str
    seed: int
    chance: float
    sweeps: list[int]
    batches: list[int]
    scores: list[Loss]
    values: list[dict[str, Any]]

    def best_so_far(self) -> np.ndarray:
        """Return the best score up to each trial. Those that failed are no better than chance."""
        scores = [self.chance if s is None else min(s, self.chance) for s in self.scores]
        return np.minimum.accumulate(scores)

    def spent(self) -> np.ndarray:
        """Return the batches up to the end of each trial, sweeps included."""
        return sum(self.sweeps) + np.cumsum(self.batches)


class Space(kt.HyperModel):
    """The space as a user of KerasTuner would declare it."""

    def __init__(self, data_set: DataSet) -> None:
        super().__init__()
        self.data_set = data_set

    def build(self, hp: Any) -> Any:
        """Build and compile the model of a trial."""
        setting = Setting(
            hp.Choice("optimizer", list(OPTIMIZERS)),
            0,
            hp.Int("width", WIDTHS[0], WIDTHS[-1], step=2, sampling="log"),
            hp.Int("depth", DEPTHS[0], DEPTHS[-1]),
            hp.Boolean("batch_norm"),
            hp.Float("dropout", *DROPOUT),
            hp.Float("l2", *L2, sampling="log"),
        )
        learning_rate = hp.Float("learning_rate", 1e-6, 10.0, sampling="log")
        optimizer = optimizer_of(setting)
        model = self.data_set.model(setting)
        loss = self.data_set.loss
        model.compile(
            getattr(keras.optimizers, optimizer.name)(learning_rate, **optimizer.arguments),
            loss=loss,
            metrics=[keras.metrics.MeanMetricWrapper(loss, name="error")],
        )
        return model

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train with the batch size of the trial."""
        return model.fit(*args, batch_size=hp.Choice("batch_size", list(BATCHES)), **kwargs)


def run_search(folder: pathlib.Path, name: str, way: str, seed: int, trials: int) -> MeasuredSearch:
    """Search a data set."""
    data_set = SETS[name]
    data = data_set.data()
    options = {
        "objective": kt.Objective("val_error", "min"),
        "max_trials": trials,
        # KerasTuner counts a seed up by one for each draw.
        "seed": 1000 * (seed + 1),
        # A diverged trial counts as failed, and KerasTuner ends a search with a few in a row.
        "max_consecutive_failed_trials": trials + 1,
        "directory": str(folder),
        "project_name": f"{name}-{way.replace(' ', '_')}-{seed}",
        "overwrite": True,
    }
    extra = WAYS[way]
    tuner_class = kt.RandomSearch if extra is None else lrtuner.RandomSearch
    tuner = tuner_class(Space(data_set), **options, **(extra or {}))
    tuner.search(data.x, data.y, epochs=EPOCHS, validation_data=(data.x_val, data.y_val), verbose=0)
    finished = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.trial_id)
    return MeasuredSearch(
        name,
        way,
        seed,
        Lab(task_of(name, MIDDLE)).chance(),
        [len(sweep.curve) for sweep in getattr(tuner.oracle, "sweeps", [])],
        [EPOCHS * -(-len(data.x) // t.hyperparameters.get("batch_size")) for t in finished],
        finite([np.nan if t.score is None else t.score for t in finished]),
        [t.hyperparameters.values for t in finished],
    )


def jobs(folder: pathlib.Path, names: list[str], trials: int, seeds: int) -> list[store.Job]:
    """Return the searches to run."""
    return [
        (
            f"{name}-{way.replace(' ', '_')}-{seed}-{trials}",
            functools.partial(run_search, folder / "searches", name, way, seed, trials),
        )
        for seed, name, way in itertools.product(range(seeds), names, WAYS)
    ]


def score(folder: pathlib.Path, names: list[str], trials: int) -> None:
    """Print how soon each search is as good as the wide one's end, and how good it ends."""
    found = [
        search
        for search in store.read(folder, lambda config: MeasuredSearch(**config))
        if len(search.scores) == trials and search.data in names
    ]
    print(f"\n## Real searches, {trials} trials of {EPOCHS} epochs, all sweeps charged\n")
    columns = ("data", "a sweep for", "searches", "sweeps' batches", "as good as without a range after")
    print_head(*columns, "best of all")
    for name in names:
        mine = [search for search in found if search.data == name]
        wide = {search.seed: search for search in mine if search.way == NO_RANGE}
        for way in WAYS:
            some = [search for search in mine if search.way == way and search.seed in wide]
            if some:
                print_row(name, way, len(some), *_compare(some, wide, min(s.best_so_far()[-1] for s in mine)))


def _compare(some: list[MeasuredSearch], wide: dict[int, MeasuredSearch], best: float) -> list[str]:
    """Compare searches with those of the same seed that had no range."""
    shares, ends = [], []
    for search in some:
        so_far, other = search.best_so_far(), wide[search.seed]
        reached = np.flatnonzero(so_far <= other.best_so_far()[-1])
        shares.append(search.spent()[reached[0]] / other.spent()[-1] if len(reached) else np.inf)
        ends.append((so_far[-1] - best) / (other.chance - best))
    after = np.median(shares)
    return [
        f"{np.mean([sum(search.sweeps) for search in some]):.0f}",
        f"{after:.0%}" if np.isfinite(after) else "never",
        f"{np.mean(ends):.3f}",
    ]
