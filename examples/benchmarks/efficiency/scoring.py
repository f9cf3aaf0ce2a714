"""Tables of how soon searches are good, how good they end, and which lose."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from bench.late import Late
from bench.table import print_head, print_row

from efficiency.arms import ARMS
from efficiency.curves import END, Found, load, reached
from efficiency.measuring import SLOW_ORACLE
from efficiency.searches import ORACLES
from efficiency.tasks import TASKS

stats = Late("scipy.stats")

__all__ = ["load", "score"]

RESAMPLED = 2000
LOST = 0.05  # a difference counts as more than chance where it comes about by chance less often
SWEPT = [arm for arm, way in ARMS.items() if way.is_swept]
UNSWEPT = [arm for arm, way in ARMS.items() if not way.is_swept and arm != "ideal"]


def _weights(seeds: int, task: str) -> np.ndarray:
    """Return how often each seed counts, [1 + resampled, seeds]; at first each once."""
    rng = np.random.default_rng([seeds, list(TASKS).index(task)])
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLED)
    return np.concatenate([np.ones((1, seeds)), drawn]) / seeds


def _over_tasks(rows: list[np.ndarray]) -> tuple[float, float, float]:
    """Return the mean over tasks, and its 90% interval when tasks and seeds are drawn again."""
    table = np.array(rows)
    drawn = np.random.default_rng(1).integers(0, len(table), (RESAMPLED, len(table)))
    means = table[drawn, np.arange(1, RESAMPLED + 1)[:, None]].mean(axis=1)
    return float(table[:, 0].mean()), *map(float, np.quantile(means, (0.05, 0.95)))


def speed_ups(found: Found, task: str, oracle: str, arm: str) -> np.ndarray | None:
    """Return log of the speed-up of all seeds, then of seeds drawn again; `None` if not measured."""
    seeds = found.seeds(task, oracle, arm, "wide")
    if not seeds:
        return None
    weights = _weights(len(seeds), task)
    goal = (weights @ found.regrets(task, oracle, "wide", seeds))[:, END]
    return -np.log(reached(weights @ found.regrets(task, oracle, arm, seeds), goal))


def final(found: Found, task: str, oracle: str, arm: str, seeds: list[int]) -> np.ndarray:
    """Return the regret of each seed when the budget is spent, which sweeps are part of."""
    return found.regrets(task, oracle, arm, seeds)[:, END]


def score(found: Found) -> None:
    """Print all tables."""
    groups = {
        "all tasks": found.tasks,
        "normalised": [task for task in found.tasks if TASKS[task].is_normalised],
        "not normalised": [task for task in found.tasks if not TASKS[task].is_normalised],
    }
    _print_summary(found)
    for title, tasks in groups.items():
        if tasks:
            _print_speed_ups(found, title, tasks)
    _print_what_if(found)
    _print_final(found)
    _print_tasks(found)
    _print_losses(found)
    _print_deaths(found)
    _print_seconds(found)


def _print_summary(found: Found) -> None:
    """Print how much sooner and how good, on scaled and on raw tasks, over the oracles that all arms have."""
    print("\n## Random search and Hyperband: how much sooner, regret at the end, searches that died\n")
    print_head("learning rate", "scaled data", "raw data", "died")
    for arm in found.arms():
        cells = []
        for is_normalised in (True, False):
            sooner, regret = [], []
            for task in found.tasks:
                known = [one for one in ORACLES if one != SLOW_ORACLE and found.seeds(task, one, arm, "wide")]
                if TASKS[task].is_normalised is is_normalised and known:
                    sooner.append(np.mean([speed_ups(found, task, one, arm) for one in known], axis=0))
                    seeds = {one: found.seeds(task, one, arm) for one in known}
                    ends = [_weights(len(s), task) @ final(found, task, o, arm, s) for o, s in seeds.items()]
                    regret.append(np.mean(ends, axis=0))
            if sooner:
                mean, low, high = np.exp(_over_tasks(sooner))
                cells.append(f"x{mean:.1f} ({low:.1f}-{high:.1f}) / " + f"{_over_tasks(regret)[0]:.3f}"[1:])
            else:
                cells.append("")
        mine = [s.died for key, s in found.searches.items() if key[2] == arm and key[1] != SLOW_ORACLE]
        print_row(ARMS[arm].title, *cells, f"{sum(mine)} of {len(mine)}")


def _print_speed_ups(found: Found, title: str, tasks: list[str]) -> None:
    print(f"\n## How much sooner as good as the declared range at its end: {title}\n")
    print_head("learning rate", *ORACLES)
    for arm in found.arms():
        cells = []
        for oracle in ORACLES:
            rows = [speed_ups(found, task, oracle, arm) for task in tasks]
            measured = [row for row in rows if row is not None]
            if measured:
                mean, low, high = np.exp(_over_tasks(measured))
                cells.append(f"x{mean:.1f} ({low:.1f} to {high:.1f})")
            else:
                cells.append("")
        print_row(ARMS[arm].title, *cells)


def _print_what_if(found: Found) -> None:
    """Print how lrtuner would do without the price of its sweeps, and the ideal range with it."""
    print("\n## If sweeps cost nothing, and if the ideal range cost as much; regret less the ideal's\n")
    print_head("learning rate", *ORACLES)
    for arm, sign, title in (
        ("lrtuner", -1, "lrtuner, sweeps free of charge"),
        ("ideal", 1, "ideal range, lrtuner's sweeps charged"),
    ):
        moved = _with_price(found, arm, sign)
        cells = []
        for oracle in ORACLES:
            tasks = [task for task in found.tasks if found.seeds(task, oracle, "lrtuner", "ideal", "wide")]
            if tasks:
                mean, low, high = np.exp(_over_tasks([speed_ups(moved, task, oracle, arm) for task in tasks]))
                less = [
                    final(moved, task, oracle, arm, seeds) - final(found, task, oracle, "ideal", seeds)
                    for task in tasks
                    for seeds in [found.seeds(task, oracle, "lrtuner", "ideal")]
                ]
                regret = np.mean([one.mean() for one in less])
                cells.append(f"x{mean:.1f} ({low:.1f} to {high:.1f}) / {regret:+.3f}")
        print_row(title, *cells)


def _with_price(found: Found, arm: str, sign: int) -> Found:
    """Return the searches with those of an arm sooner or later by lrtuner's sweeps before each trial."""
    moved = {}
    for (task, oracle, which, seed), search in found.searches.items():
        pair = [found.searches.get((task, oracle, one, seed)) for one in ("lrtuner", "ideal")]
        if which == arm and None not in pair:
            swept, plain = (np.diff([0, *one.spent]) for one in pair)
            trials = min(len(swept), len(plain))
            # Trials are paired, so what is more between two of them are sweeps.
            price = np.cumsum(np.maximum(swept[:trials] - plain[:trials], 0))
            price = np.pad(price, (0, len(search.spent) - trials), "edge")
            spent = (np.array(search.spent) + sign * price).tolist()
            moved[task, oracle, which, seed] = dataclasses.replace(search, spent=spent)
    return found._replace(searches={**found.searches, **moved})


def _print_final(found: Found) -> None:
    print("\n## Regret when the budget is spent, and less that of the ideal range\n")
    print_head("learning rate", *ORACLES, *(f"{oracle}, less the ideal's" for oracle in ORACLES))
    for arm in found.arms():
        regrets, differences = [], []
        for oracle in ORACLES:
            rows, less = [], []
            for task in found.tasks:
                seeds = found.seeds(task, oracle, arm, "ideal")
                if seeds:
                    weights = _weights(len(seeds), task)
                    rows.append(weights @ final(found, task, oracle, arm, seeds))
                    less.append(rows[-1] - weights @ final(found, task, oracle, "ideal", seeds))
            regrets.append("{:.3f} ({:.3f} to {:.3f})".format(*_over_tasks(rows)) if rows else "")
            differences.append("{:+.3f} ({:+.3f} to {:+.3f})".format(*_over_tasks(less)) if less else "")
        print_row(ARMS[arm].title, *regrets, *differences)


def _print_tasks(found: Found) -> None:
    print("\n## Each combination: how much sooner, and regret when the budget is spent\n")
    print_head("task", "oracle", *(ARMS[arm].title for arm in found.arms()))
    for task, oracle in itertools.product(found.tasks, ORACLES):
        cells = []
        for arm in found.arms():
            logs = speed_ups(found, task, oracle, arm)
            if logs is None:
                cells.append("")
                continue
            regret = final(found, task, oracle, arm, found.seeds(task, oracle, arm)).mean()
            cells.append(f"x{math.exp(logs[0]):.1f} / {regret:.3f}")
        print_row(task, oracle, *cells)


def _by_chance(differences: np.ndarray) -> float:
    """Return how often a mean as high as this is chance: Student's t over the seeds, one-sided."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return 1.0
    return float(stats.ttest_1samp(differences, 0, alternative="greater").pvalue)


def _print_losses(found: Found) -> None:
    print("\n## Where a sweep ends worse than no sweep, by more than chance explains\n")
    print_head("sweep", "task", "oracle", "no sweep", "regret with", "regret without", "by chance", "range")
    compared = 0
    for arm, task, oracle, other in itertools.product(SWEPT, found.tasks, ORACLES, UNSWEPT):
        seeds = found.seeds(task, oracle, arm, other)
        if not seeds:
            continue
        compared += 1
        mine, without = (final(found, task, oracle, one, seeds) for one in (arm, other))
        chance = _by_chance(mine - without)
        if mine.mean() > without.mean() and chance <= LOST:
            cells = f"{mine.mean():.3f}", f"{without.mean():.3f}", f"{chance:.0%}"
            ranges = _ranges(found, task, oracle, arm)
            print_row(ARMS[arm].title, task, oracle, ARMS[other].title, *cells, ranges)
    print(f"\nOf {compared} comparisons, {LOST * compared:.0f} would be here by chance.")


def _ranges(found: Found, task: str, oracle: str, arm: str) -> str:
    """Return the ranges of all sweeps, by their settings, in the middle of their seeds."""
    ends: dict[tuple[str, str], list[list[float]]] = {}
    for seed in found.seeds(task, oracle, arm):
        for sweep in found.searches[task, oracle, arm, seed].sweeps:
            optimizer = sweep["setting"].get("optimizer", TASKS[task].optimizers[0])
            norm = " with batch_norm" if sweep["setting"].get("batch_norm") else ""
            ends.setdefault((optimizer, norm), []).append(sweep["range"] or [np.nan, np.nan])
    texts = []
    for (optimizer, norm), pairs in ends.items():
        low, high = np.nanmedian(np.array(pairs), axis=0)
        ideal = found.grids[task, optimizer].best_range()
        texts.append(f"{optimizer}{norm} {low:.2g} to {high:.2g} (ideal {ideal[0]:.2g} to {ideal[1]:.2g})")
    return ", ".join(texts)


def _print_deaths(found: Found) -> None:
    print("\n## Searches that died of three failed trials in a row\n")
    print_head("learning rate", *ORACLES, "of", "where the ideal range's did not")
    for arm in found.arms():
        mine = {key: s for key, s in found.searches.items() if key[2] == arm and key[0] in found.tasks}
        died = [sum(search.died for key, search in mine.items() if key[1] == oracle) for oracle in ORACLES]
        ideal = [found.searches.get((task, oracle, "ideal", seed)) for task, oracle, _, seed in mine]
        alone = [
            search.died and other is not None and not other.died
            for search, other in zip(mine.values(), ideal, strict=True)
        ]
        print_row(ARMS[arm].title, *died, len(mine), sum(alone))


def _print_seconds(found: Found) -> None:
    print("\n## What sweeps take of a processor\n")
    print_head("sweep", "task", "batches of all sweeps", "seconds", "of a trial")
    for arm, task in itertools.product(SWEPT, found.tasks):
        searches = [s for (t, _, a, _), s in found.searches.items() if (t, a) == (task, arm)]
        if not searches:
            continue
        batches = np.median([sum(len(sweep["losses"]) for sweep in s.sweeps) for s in searches])
        seconds = np.median([s.sweep_seconds for s in searches])
        trial = np.mean([grid.trial_seconds for (name, _), grid in found.grids.items() if name == task])
        cells = f"{batches:.0f}", f"{seconds:.1f}", f"{seconds / trial:.1f}"
        print_row(ARMS[arm].title, task, *cells)
