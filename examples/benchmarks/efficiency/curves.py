"""Best results so far against batches spent, as regret: 0 is the best known of a task, 1 is chance."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
from bench import store

from efficiency import grids, searches
from efficiency.arms import ARMS, TOTAL_EPOCHS
from efficiency.grids import MeasuredGrid
from efficiency.searches import ORACLES, MeasuredSearch
from efficiency.tasks import batches_per_epoch

# Where searches are looked at, as shares of the batches of a search without sweeps. A search with two sweeps
# of 300 batches ends within the last one.
SHARES = np.arange(0, 973) / 720
END = 720  # index of the whole budget
NEVER = 2.0  # share at which a search counts as equal that never was


class Found(NamedTuple):
    """What was measured.

    Attributes:
        tasks: Names of the tasks.
        grids: Grids by task and optimizer.
        searches: Searches by task, oracle, arm and seed. An arm of Optuna's is compared with random searches.
        best: Best validation loss known of each task.
    """

    tasks: list[str]
    grids: dict[tuple[str, str], MeasuredGrid]
    searches: dict[tuple[str, str, str, int], MeasuredSearch]
    best: dict[str, float]

    def arms(self) -> list[str]:
        """Return the arms that were measured, in their order."""
        measured = {arm for _, _, arm, _ in self.searches}
        return [arm for arm in ARMS if arm in measured]

    def seeds(self, task: str, oracle: str, *arms: str) -> list[int]:
        """Return the seeds from which all of these arms were measured."""
        sets = [{s for t, o, a, s in self.searches if (t, o, a) == (task, oracle, arm)} for arm in arms]
        return sorted(set.intersection(*sets))

    def regrets(self, task: str, oracle: str, arm: str, seeds: list[int]) -> np.ndarray:
        """Return the best regret so far of each seed at each of `SHARES`."""
        return np.array([self._regret(self.searches[task, oracle, arm, seed]) for seed in seeds])

    def _regret(self, search: MeasuredSearch) -> np.ndarray:
        chance = self.chance(search.task)
        scores = [chance if score is None else min(score, chance) for score in search.scores]
        so_far = (np.minimum.accumulate([chance, *scores]) - self.best[search.task]) / (
            chance - self.best[search.task]
        )
        total = TOTAL_EPOCHS * batches_per_epoch(search.task)
        return so_far[np.searchsorted(search.spent, SHARES * total + 1e-6, side="right")]

    def chance(self, task: str) -> float:
        """Return the validation loss of the best constant prediction."""
        return next(grid.chance for (name, _), grid in self.grids.items() if name == task)


def load(folder: pathlib.Path, names: list[str], seeds: int) -> Found | None:
    """Read what was measured of these tasks and seeds.

    Returns:
        `None` where no task has a search in the whole space.
    """
    found = {}
    for search in store.read(folder / "searches", lambda config: searches.MeasuredSearch(**config)):
        oracle = "random" if ARMS[search.arm].is_tpe else search.oracle
        if search.seed < seeds:
            found[search.task, oracle, search.arm, search.seed] = search
    measured = grids.load(folder / "grids")
    best: dict[str, float] = {}
    for (name, _), grid in measured.items():
        low = min(loss for row in grid.losses for loss in row if loss is not None)
        best[name] = min(low, best.get(name, np.inf))
    for (name, *_), search in found.items():
        best[name] = min([best[name], *(score for score in search.scores if score is not None)])
    tasks = [name for name in names if any((name, oracle, "wide", 0) in found for oracle in ORACLES)]
    return Found(tasks, measured, found, best) if tasks else None


def reached(regrets: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the share of the budget at which a mean regret is as low as the goal.

    Args:
        regrets: [..., shares] of mean regrets.
        goal: [...] of regrets.
    """
    good = regrets <= goal[..., None] + 1e-9
    return np.where(good.any(-1), SHARES[good.argmax(-1)], NEVER)
