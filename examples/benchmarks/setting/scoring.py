"""What each strategy's ranges are worth, and what moves the good rates, as tables."""

from __future__ import annotations

import itertools

import numpy as np
from bench.table import print_head, print_row
from bench.truth import FULL, Truth

from setting import rule
from setting.measuring import EARLY, SWEEP_LENGTHS, TRIAL
from setting.space import OPTIMIZERS, SETS
from setting.strategies import (
    EACH_SETTING,
    HALF,
    STRATEGIES,
    Centres,
    Known,
    Shared,
    own,
    per_optimizer,
    swept,
)


def rate(centres: Centres, known: list[Known], shared: Shared) -> np.ndarray:
    """Return for each setting: own centre inside, P(a draw is good), offset; means over the sweep's seeds."""
    rows = []
    for k in known:
        seeds = []
        own_centre = k.truth.centre()
        for centre in centres(k, shared):
            if np.isnan(centre):
                seeds.append((0.0, k.truth.draws(*FULL)[0], 0.0))
            else:
                low, high = max(centre - HALF, FULL[0]), min(centre + HALF, FULL[1])
                offset = centre - own_centre
                seeds.append((float(abs(offset) <= HALF), k.truth.draws(low, high)[0], offset))
        rows.append(np.mean(seeds, axis=0))
    return np.array(rows)


def score_ranges(known: list[Known], shared: Shared) -> None:
    """Print what the ranges of each strategy are worth."""
    resampled = np.random.default_rng(0).integers(0, len(known), (2000, len(known)))
    rated = [(strategy, rate(strategy.centres, known, shared)) for strategy in STRATEGIES]
    best = next(rows for strategy, rows in rated if strategy is EACH_SETTING)[:, 1]
    in_full = np.mean([k.truth.draws(*FULL)[0] for k in known])
    print(f"## Ranges: {len(known)} settings, {2 * HALF:g} decades wide, 95% intervals\n")
    columns = ("a sweep for", "batches", "own centre inside", "P(a draw is good)", "of a sweep for each")
    print_head(*columns, "offset", "rms offset")
    print_row("no range: 1e-6..10", 0, "-", f"{in_full:.3f}", f"{in_full / best.mean():.2f}", "-", "-")
    for strategy, rows in rated:
        inside, good, offset = rows.T
        low, high = np.percentile(inside[resampled].mean(1), (2.5, 97.5))
        shares = np.percentile(good[resampled].mean(1) / best[resampled].mean(1), (2.5, 97.5))
        print_row(
            strategy.name,
            strategy.batches,
            f"{inside.mean():.0%} ({low:.0%}..{high:.0%})",
            f"{good.mean():.3f}",
            f"{good.mean() / best.mean():.2f} ({shares[0]:.2f}..{shares[1]:.2f})",
            f"{offset.mean():+.2f}",
            f"{np.sqrt((offset**2).mean()):.2f}",
        )


def score_effects(known: list[Known]) -> None:
    """Print what moves the centre of a setting's good rates, and what its sweep reads of that."""
    best, early, late = (
        np.array([truth.centre() for truth in truths])
        for truths in ([k.truth for k in known], [k.early for k in known], [k.late for k in known])
    )
    values = {"own centre": best, f"own centre after {EARLY}": early, f"own centre after {TRIAL}": late}
    for length in SWEEP_LENGTHS:
        values[f"its own sweep of {length}"] = np.array([np.nanmean(k.centres[length]) for k in known])
    print("\n## Decades that a centre moves, and their standard error\n")
    tenfold = [f"{o}, batch x 10" for o in OPTIMIZERS]
    print_head("", *tenfold, "width x 2", "depth + 1", "norm", "dropout 0.5", "L2 x 10")
    for what, value in values.items():
        print_row(what, *(f"{effect:+.2f} ({error:.2f})" for effect, error in _effects(known, value)))
    print(f"\n## Decades that the own centre falls for ten times the batches, from {EARLY} to {TRIAL}\n")
    print_head(*OPTIMIZERS)
    fall = (early - best) / np.log10(TRIAL / EARLY)
    mine = [fall[[k.setting.optimizer == o for k in known]] for o in OPTIMIZERS]
    print_row(*(f"{np.mean(f):.2f} ({np.std(f) / np.sqrt(len(f)):.2f})" for f in mine))


def _effects(known: list[Known], values: np.ndarray) -> list[tuple[float, float]]:
    """Fit what the batch size of each optimizer and the other hyperparameters do to a value.

    Returns:
        The effects by least squares, each with its standard error.
    """
    rows = []
    for k in known:
        s = k.setting
        mine = [float(s.optimizer == o) for o in OPTIMIZERS]
        constant = [x * (k.data == name) for name in SETS for x in mine]
        batch = [np.log10(s.batch / 64) * x for x in mine]
        others = [np.log2(s.width), s.depth, s.batch_norm, 2 * s.dropout, np.log10(s.l2)]
        rows.append([*batch, *others, *constant])
    table = np.array(rows, float)
    inverse = np.linalg.pinv(table.T @ table)
    slopes = inverse @ table.T @ values
    spread = np.sum((values - table @ slopes) ** 2) / max(1, len(table) - np.linalg.matrix_rank(table))
    errors = np.sqrt(np.diag(inverse) * spread)
    return list(zip(slopes, errors, strict=True))[: len(OPTIMIZERS) + 5]


def score_powers(known: list[Known], shared: Shared) -> None:
    """Print what each power of the batch size is worth: after as many batches, and after as many epochs."""
    # Four times the batches at a quarter of the batch size: in both halves the sweeps know the length of a
    # training at batch 64, and a setting's own sweep that of its own.
    shorter = rule.fall_by_steps() * np.log10(TRIAL / EARLY)
    late = [(k, k.truth if k.setting.batch == 64 else k.early, 0.0) for k in known if k.setting.batch > 16]
    soon = [
        (k, k.truth if k.setting.batch == 16 else k.early, shorter) for k in known if k.setting.batch < 256
    ]
    regimes = {"as many batches": [(k, k.truth, 0.0) for k in known], "as many epochs": late + soon}
    print("\n## A sweep for each optimizer at batch 64, shifted by a power of the batch size\n")
    print_head("trained for", "sweeps", "power", "own centre inside", "P(a draw is good)", *OPTIMIZERS)
    for (regime, some), length in itertools.product(regimes.items(), SWEEP_LENGTHS):
        for power in (0.0, 0.25, 0.5, 0.75, 1.0):
            centres = swept(length, per_optimizer, power)
            cells = _rate_power([(k, truth, centres, by) for k, truth, by in some], shared)
            print_row(regime, length, power, *cells)
        told = [(k, truth, own(length), shorter if truth is k.early else 0.0) for k, truth, _ in some]
        print_row(regime, length, EACH_SETTING.name, *_rate_power(told, shared))


def _rate_power(some: list[tuple[Known, Truth, Centres, float]], shared: Shared) -> list[str]:
    """Rate the centres, each moved by so much, against this truth; the last cells are the optimizers'."""
    rated = np.array(
        [rate(_moved(centres, by), [k._replace(truth=truth)], shared)[0] for k, truth, centres, by in some]
    )
    inside, good, _ = rated.mean(axis=0)
    used = np.array([k.setting.optimizer for k, *_ in some])
    return [f"{inside:.0%}", f"{good:.3f}", *(f"{rated[used == o, 1].mean():.3f}" for o in OPTIMIZERS)]


def _moved(centres: Centres, by: float) -> Centres:
    return lambda known, shared: [centre + by for centre in centres(known, shared)]
