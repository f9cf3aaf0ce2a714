"""Random searches, computed exactly from the measured settings."""

from __future__ import annotations

import numpy as np
from bench.table import print_head, print_row
from bench.truth import FULL

from setting.measuring import TRIAL
from setting.strategies import HALF, ONE_SWEEP, STRATEGIES, Centres, Known, Shared

TRIALS = 30  # of a search without a range
COUNTS = np.linspace(1, 90, 891)  # of trials after which searches are looked at


def _best_of(losses: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Return the expected lowest of so many independent draws from these losses."""
    losses = np.sort(losses)
    above = 1 - np.arange(len(losses) + 1) / len(losses)
    return np.array([(above[:-1] ** n - above[1:] ** n) @ losses for n in trials])


def search(centres: Centres | None, known: list[Known], shared: Shared) -> np.ndarray:
    """Return the expected best loss after each of `COUNTS` trials: 0 is the best of the data, 1 is chance.

    A trial is a random one of the measured settings, at a rate drawn from the setting's range, or from the
    whole space; its loss is interpolated between the measured rates.
    """
    chance = max(k.truth.chance for k in known)
    best = min(k.truth.loss.min() for k in known)
    scores = [(np.minimum(k.truth.loss, chance) - best) / (chance - best) for k in known]
    told = [centres(k, shared) if centres else [np.nan] for k in known]
    curves = []
    for seed in range(max(map(len, told))):
        losses = []
        for k, score, centre in zip(known, scores, (c[seed % len(c)] for c in told), strict=True):
            low, high = FULL if np.isnan(centre) else (centre - HALF, centre + HALF)
            rates = np.linspace(max(low, FULL[0]), min(high, FULL[1]), 201)
            losses.append(np.interp(rates, k.truth.x, score))
        curves.append(_best_of(np.concatenate(losses), COUNTS))
    return np.mean(curves, axis=0)


def _at_end(curve: np.ndarray) -> float:
    return float(np.interp(TRIALS, COUNTS, curve))


def score_searches(known: list[Known], shared: Shared) -> None:
    """Print when each strategy is as good as a search without a range at its end, and how good it ends."""
    print(f"\n## Random search, {TRIALS} trials of {TRIAL} batches, all sweeps charged\n")
    columns = ("data", "a sweep for", "as good as without a range after", "best of all", "against one sweep")
    print_head(*columns)
    for name in sorted({k.data for k in known}):
        mine = [k for k in known if k.data == name]

        wide_end = _at_end(search(None, mine, shared))
        one_end = _at_end(search(ONE_SWEEP.centres, mine, shared))
        print_row(name, "no range: 1e-6..10", "100%", f"{wide_end:.3f}", f"{wide_end - one_end:+.3f}")
        for strategy in STRATEGIES:
            curve = search(strategy.centres, mine, shared)
            needed = np.interp(-wide_end, -curve, COUNTS, right=np.nan)
            share = (needed * TRIAL + strategy.batches) / (TRIALS * TRIAL)
            end = _at_end(curve)
            print_row(name, strategy.name, f"{share:.0%}", f"{end:.3f}", f"{end - one_end:+.3f}")
