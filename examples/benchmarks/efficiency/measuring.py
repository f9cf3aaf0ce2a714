"""What is measured: grids first, then searches, seed by seed."""

from __future__ import annotations

import functools
import itertools
import pathlib

from bench.late import Late
from bench.store import Job

from efficiency.arms import ARMS
from efficiency.tasks import TASKS

# They are built on KerasTuner, which takes seconds to load.
grids = Late("efficiency.grids")
searches = Late("efficiency.searches")

QUICK_ARMS = ("wide", "lrtuner", "ideal")
# Bayesian search takes most of the time: with it, only these arms are measured seed by seed, others later.
SLOW_ORACLE, FIRST_ARMS = "bayesian", ("wide", "lrtuner", "ideal", "usual")


def grid_jobs(names: list[str], quick: bool) -> list[Job]:
    """Return the grids to measure."""
    return [
        (f"{name}-{optimizer}", functools.partial(grids.measure, name, optimizer, quick))
        for name in names
        for optimizer in TASKS[name].optimizers
    ]


def search_jobs(folder: pathlib.Path, names: list[str], seeds: int, quick: bool) -> list[Job]:
    """Return the searches to run, seed by seed; `folder` has the grids."""
    arms = QUICK_ARMS if quick else tuple(ARMS)
    pairs = [(oracle, arm) for arm in arms for oracle in (["tpe"] if ARMS[arm].is_tpe else searches.ORACLES)]
    later = [(oracle, arm) for oracle, arm in pairs if oracle == SLOW_ORACLE and arm not in FIRST_ARMS]
    rounds = [[pair for pair in pairs if pair not in later], later]
    return [
        (
            f"{name}-{oracle}-{arm}-{seed}",
            functools.partial(searches.measure, folder, name, oracle, arm, seed),
        )
        for some in rounds
        for seed, name, (oracle, arm) in itertools.product(range(seeds), names, some)
    ]
