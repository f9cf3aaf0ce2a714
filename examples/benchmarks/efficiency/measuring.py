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
# What takes most of the time comes last: Bayesian search, at first in these arms, and a variant.
SLOW_ORACLE, FIRST_ARMS = "bayesian", ("wide", "lrtuner", "ideal", "usual")
LAST_ARM = "lrtuner5"


def grid_jobs(names: list[str], quick: bool) -> list[Job]:
    """Return the grids to measure."""
    return [
        (f"{name}-{optimizer}", functools.partial(grids.measure, name, optimizer, quick))
        for name in names
        for optimizer in TASKS[name].optimizers
    ]


def search_jobs(folder: pathlib.Path, names: list[str], seeds: int, quick: bool) -> list[Job]:
    """Return the searches to run, seed by seed; `folder` has the grids."""
    arms = QUICK_ARMS if quick else [arm for arm in ARMS if arm != LAST_ARM]
    quick_oracles = [oracle for oracle in searches.ORACLES if oracle != SLOW_ORACLE]
    rounds = [
        (quick_oracles, arms),
        ([SLOW_ORACLE], [arm for arm in arms if arm in FIRST_ARMS]),
        ([SLOW_ORACLE], [arm for arm in arms if arm not in FIRST_ARMS and not ARMS[arm].is_tpe]),
        (list(searches.ORACLES), [] if quick else [LAST_ARM]),
    ]
    jobs = []
    for oracles, some in rounds:
        for seed, name, arm in itertools.product(range(seeds), names, some):
            for oracle in ["tpe"] if ARMS[arm].is_tpe else oracles:
                job = functools.partial(searches.measure, folder, name, oracle, arm, seed)
                jobs.append((f"{name}-{oracle}-{arm}-{seed}", job))
    return jobs
