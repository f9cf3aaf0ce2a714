"""What is measured of a setting: sweeps, and trainings at rates that lie closer where the loss is good."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench.lab import Lab
from bench.records import Loss, MeasuredRates, MeasuredSweep, sweeps_from
from bench.store import Job

from setting.space import (
    BATCHES,
    DEFAULT,
    OPTIMIZERS,
    REPEATS,
    SETS,
    Setting,
    random_settings,
    shared_settings,
    task_of,
)

# Batches of one training, and an earlier one after which the model is validated as well: at batch 256 that is
# as many epochs as a whole training at batch 64.
TRIAL, EARLY = 300, 75
SWEEP_LENGTHS = (100, 300)
# log10 of the learning rates: thirds of a decade, from 10 down to 1e-6, where nothing is learnt in a training
# as short as this.
PLACES = [k / 3 for k in range(3, -19, -1)]


@dataclass(frozen=True)
class MeasuredSetting:
    """One setting as it is kept in a file.

    Attributes:
        data: Name of the data set.
        setting: The setting.
        sweeps: Sweeps of each length from several seeds.
        early: Validation losses after `EARLY` batches; `None` where it was only swept.
        late: The same after `TRIAL` batches.
    """

    data: str
    setting: Setting
    sweeps: list[MeasuredSweep]
    early: MeasuredRates | None = None
    late: MeasuredRates | None = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MeasuredSetting:
        """Build the record that a file describes."""
        early, late = (config[when] and MeasuredRates(**config[when]) for when in ("early", "late"))
        # JSON has no named tuples.
        return cls(config["data"], Setting(*config["setting"]), sweeps_from(config["sweeps"]), early, late)


def jobs(names: list[str], quick: bool) -> list[Job]:
    """Return what is to be measured on these data sets."""
    shared = [(name, f"sweep{i:02d}", s) for name in names for i, s in enumerate(shared_settings())]
    random = [
        (name, f"setting{i:02d}", s)
        for name in names
        for i, s in enumerate(random_settings(100 + sorted(SETS).index(name)))
    ]
    # Data sets and optimizers take turns, so that what was measured until an interruption is of use: 5 and
    # the number of combinations of optimizer and batch size have no common factor.
    combinations = len(OPTIMIZERS) * len(BATCHES)
    turn = [(i // combinations, i * 5 % combinations) for i in range(combinations * REPEATS)]
    plan = shared + sorted(random, key=lambda item: turn[int(item[1][-2:])])
    if quick:
        plan = [
            (name, label, s)
            for name, label, s in shared + random[:combinations]
            if name == names[0] and (s.batch == 64 or s._replace(optimizer=DEFAULT.optimizer) == DEFAULT)
        ]
    return [
        (f"{name}-{label}", functools.partial(measure, name, s, label.startswith("sweep"), quick))
        for name, label, s in plan
    ]


def measure(name: str, setting: Setting, shared: bool, quick: bool) -> MeasuredSetting:
    """Sweep a setting, and train it at all rates unless its sweep serves other settings."""
    lab = Lab(task_of(name, setting))
    starts = [lab.start(seed) for seed in range(1 if quick else 4 if shared else 2)]
    sweeps = [
        lab.sweep(start, seed, length, length)
        for length in SWEEP_LENGTHS
        for seed, start in enumerate(starts)
    ]
    if shared:
        return MeasuredSetting(name, setting, sweeps)
    return MeasuredSetting(name, setting, sweeps, *_measure_rates(lab, quick))


class _Trainings:
    """Trainings of one setting at any places, log10 of their learning rates, and what they end with."""

    def __init__(self, lab: Lab, seeds: int) -> None:
        self.lab = lab
        self.starts = [lab.start(seed) for seed in range(seeds)]
        self.untrained = []
        for seed, start in enumerate(self.starts):
            lab.train(start, seed, np.zeros(1))
            self.untrained.append(lab.validate())
        self.best_constant = lab.chance()
        self.chance = min(self.best_constant, float(np.mean(self.untrained)))
        # The lowest rate stands for no training at all.
        self.early: dict[float, list[Loss]] = {PLACES[-1]: [*self.untrained]}
        self.late: dict[float, list[Loss]] = {PLACES[-1]: [*self.untrained]}

    def train(self, place: float, seed: int) -> None:
        """Train at this place, and validate twice."""
        rates = np.full(TRIAL, 10.0**place)
        losses = self.lab.train(self.starts[seed], seed, rates[:EARLY])
        loss = self.lab.validate() if np.isfinite(losses).all() else None
        self.early.setdefault(place, []).append(loss)
        # What is still at chance by then, or diverges, will not be good at the end.
        if loss is not None and loss < 0.98 * self.chance:
            losses = self.lab.train(self.starts[seed], seed, rates[EARLY:], after=EARLY)
            loss = self.lab.validate() if np.isfinite(losses).all() else None
        self.late.setdefault(place, []).append(loss)

    def score(self, place: float) -> float:
        """Return 0 for the best first seed and 1 for chance: the better one of early and late."""
        return min(self._score(place, self.early), self.late_score(place))

    def late_score(self, place: float) -> float:
        """Return the score after the whole training."""
        return self._score(place, self.late)

    def _score(self, place: float, losses: dict[float, list[Loss]]) -> float:
        first = {p: self.chance if row[0] is None else min(row[0], self.chance) for p, row in losses.items()}
        best = min(first.values())
        return (first[place] - best) / (self.chance - best) if best < self.chance else 1.0

    def measured(self, losses: dict[float, list[Loss]]) -> MeasuredRates:
        """Return the record of early or late losses."""
        places = sorted(losses)
        rates = [10.0**place for place in places]
        return MeasuredRates(rates, [losses[p] for p in places], self.untrained, self.best_constant)


def _measure_rates(lab: Lab, quick: bool) -> tuple[MeasuredRates, MeasuredRates]:
    """Return early and late losses at rates that lie closer where the loss is good."""
    done = _Trainings(lab, 1 if quick else 2)
    # One rate in a decade, until the loss is back at chance on the way down.
    for place in PLACES[:-1:3]:
        done.train(place, 0)
        found = min(map(done.score, done.late)) == 0 and place < min(done.late, key=done.score)
        if found and done.score(place) > 0.9:
            break
    if not quick:
        for low in sorted(done.late)[:-1]:
            high = min(place for place in done.late if place > low)
            if min(done.score(low), done.score(high)) < 0.25:
                for place in [place for place in PLACES if low < place < high]:
                    done.train(place, 0)
        for place in [place for place in done.late if done.late_score(place) < 0.1]:
            done.train(place, 1)
    return done.measured(done.early), done.measured(done.late)
