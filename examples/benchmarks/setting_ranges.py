#!/usr/bin/env python3
"""Measure which settings of a search need a learning-rate range of their own.

    python examples/benchmarks/setting_ranges.py             # measure and score: 25 minutes on one core
    python examples/benchmarks/setting_ranges.py --quick     # 4 settings, coarse rates: half a minute
    python examples/benchmarks/setting_ranges.py score       # score again what was measured
    python examples/benchmarks/setting_ranges.py --real      # real searches, with and without lrtuner

108 random settings, 36 on each of three data sets (a convolutional net on digits, classification with a
fifth of the labels drawn at random, regression): optimizer, batch size 16, 64 or 256, width, depth, batch
normalisation, dropout, L2.  Each is trained for 300 batches at the learning rates of a grid, three in a
decade and from two seeds where the loss is good, and validated after 75 and 300 batches; the better one
counts, since KerasTuner takes a trial's best epoch.  A rate is good within 5% of the gap between the best
and chance, and a setting's own centre is the middle of the good rates around the best.  Sweeps of 100 and
300 batches run at each setting, at the middle of the space for each optimizer and batch size, and at
KerasTuner's default values, the smallest ones.  Every range is made 1.5 decades wide, around the middle of
what `suggest_range` says.

"As many epochs" compares trainings at four times the batch size and a quarter of the batches (300 and 75),
as `fit(epochs=...)` has them; "as many batches" is 300 for all.  The searches are computed from the
measured settings, exactly: a trial is one of them at a rate drawn from its range.  All sweeps are charged
to a search.

What was found, with the rule that is told the optimizer's class name and its momentum (95% intervals are
about +-6% on the centres inside, +-0.05 on the share):

                                              own centre inside   P(good) against a sweep for each setting
    one sweep at the default values / middle        48% / 39%     0.50 / 0.45
    each optimizer, 300 batches                           91%     0.97
    the same, shifted by the root of the batch            89%     0.94
    each optimizer, all at 400 batches                    91%     0.98
    the same, shifted                                     90%     0.95
    each optimizer and batch size, 300 batches            92%     0.98
    each setting, 300 / 100 batches                 94% / 97%     1 / 1.01
    as many epochs: each optimizer, 100 batches           90%     0.91
    the same, shifted                                     92%     0.97
    the same, 300 batches, without / with shift     89% / 91%     0.90 / 0.96

- The batch shift helps after as many epochs, where larger batches mean fewer of them, and does harm after
  as many batches.  There the own centre moves by at most 0.1 decades for ten times the batch size
  (momentum: 0.38, each +-0.14), though sweeps read 0.1 to 0.2 more.  Powers of 0.25 to 0.75 do alike; one
  for each optimizer would be fitted to noise.
- Told the class name alone, the rule before this one put the ranges of SGD with momentum 0.5 decades too
  high (77% inside), since its usual rate was taken to be that of plain SGD: 88% of all centres inside in
  place of 91% (100 batches, as many batches, no shift), and 0.93 in place of 0.97 (as many epochs,
  shifted). That it should be told was seen on these settings; by how much it moves the usual rate was not
  fitted to them.
- The rest is width (-0.21 decades for each doubling; a sweep reads -0.14), depth, dropout, and the length
  of training: the own centre falls by 0.26 (SGD) to 0.59 decades (RMSprop) for ten times the batches.
- Where the sweep stands, in the middle or at the smallest values, makes no difference here.
- Random search with a sweep for each optimizer, 400 batches for all of them, is as good as the whole
  space's 30 trials after 25%, 26% and 27% of its batches on the three data sets, with the batch shift after
  25%, 28% and 27%; with 300 batches for each sweep after 34 to 37%: splitting the budget is worth more than
  what it costs.  A single sweep, of SGD, needs 46 to 165%.  The best of 30 trials is better than with the
  single sweep on every data set, by 0.5 to 3.4% of the gap to chance.

What did not work: shifting ranges by a power of the width (0.1 for each doubling gains 1 to 2%, 0.2
nothing).  Validating at the end alone makes a benchmark of how fast settings learn the training data by
heart.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import range_quality as quality  # noqa: E402

DATA = HERE.parents[1] / "runs" / "setting_ranges"
# Batches of one training, and an earlier one after which the model is validated as well: at batch 256 that is
# as many epochs as a whole training at batch 64.
TRIAL, EARLY = 300, 75
SWEEP_LENGTHS = (100, 300)
# Trials of a random search that is computed, and the epochs of one that is run.
WIDE_TRIALS, EPOCHS = 30, 8
# Where the learning rates of a real search come from.
REAL = ("no range", "one sweep", "each optimizer")
# Random settings at each optimizer and batch size, in each data set.
REPEATS = 3


# --- The space ------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """One point of the search space, but for its learning rate."""

    optimizer: str
    batch: int
    width: int
    depth: int
    batch_norm: bool
    dropout: float
    l2: float


OPTIMIZERS = {
    "sgd": quality.SGD,
    "momentum": quality.MOMENTUM,
    "adam": quality.ADAM,
    "rmsprop": quality.RMSPROP,
}
BATCHES = (16, 64, 256)
WIDTHS = (32, 64, 128, 256)
DEPTHS = (1, 2, 3)
DROPOUT = (0.0, 0.5)
L2 = (1e-6, 1e-2)
# KerasTuner's default values are the first and smallest ones.
DEFAULT = Setting("sgd", 16, 32, 1, False, DROPOUT[0], L2[0])
MIDDLE = Setting("adam", 64, 128, 2, False, 0.25, 1e-4)


def random_settings(seed: int, repeats: int) -> list[Setting]:
    """Random settings: each optimizer at each batch size equally often, the rest drawn freely."""
    rng = np.random.default_rng(seed)
    return [
        Setting(
            optimizer,
            batch,
            int(rng.choice(WIDTHS)),
            int(rng.choice(DEPTHS)),
            bool(rng.integers(2)),
            float(rng.uniform(*DROPOUT)),
            float(10 ** rng.uniform(*np.log10(L2))),
        )
        for _ in range(repeats)
        for optimizer, batch in itertools.product(OPTIMIZERS, BATCHES)
    ]


def mlp(setting: Setting, outputs: int) -> Any:
    import keras

    return quality.mlp(
        (setting.width,) * setting.depth,
        outputs,
        bn=setting.batch_norm,
        dropout=setting.dropout,
        kernel_regularizer=keras.regularizers.L2(setting.l2),
    )


def cnn(setting: Setting, outputs: int) -> Any:
    """Convolutions of an eighth of the width; from the second on they halve the image's sides."""
    import keras

    stack: list[Any] = []
    for i in range(setting.depth):
        stack.append(
            keras.layers.Conv2D(
                setting.width // 8,
                3,
                strides=1 + (i > 0),
                padding="same",
                kernel_regularizer=keras.regularizers.L2(setting.l2),
            )
        )
        if setting.batch_norm:
            stack.append(keras.layers.BatchNormalization())
        stack.append(keras.layers.ReLU())
    return keras.Sequential(
        [*stack, keras.layers.Flatten(), keras.layers.Dropout(setting.dropout), keras.layers.Dense(outputs)]
    )


def noisy_classes() -> quality.Split:
    """Four classes; a fifth of the labels is drawn at random."""
    return quality.made(
        "classification", 2000, n_features=20, n_informative=8, n_classes=4, flip_y=0.2, class_sep=1.5
    )


# Data, model and loss.
SETS: dict[str, tuple[Any, Any, Any]] = {
    "digits_cnn": (lambda: quality.digits((8, 8, 1)), lambda s: cnn(s, 10), quality.crossentropy),
    "noisy_mlp": (noisy_classes, lambda s: mlp(s, 4), quality.crossentropy),
    "regression_mlp": (
        lambda: quality.made("friedman1", 2000, noise=1.0),
        lambda s: mlp(s, 1),
        quality.squared,
    ),
}


def sweep_settings() -> list[Setting]:
    """Where the sweeps that serve many settings stand."""
    return [
        *(MIDDLE._replace(optimizer=o, batch=b) for o in OPTIMIZERS for b in BATCHES),
        *(DEFAULT._replace(optimizer=o) for o in OPTIMIZERS),
    ]


def plan(names: list[str], quick: bool) -> list[tuple[str, str, Setting]]:
    """Data set, label and setting of all that is measured."""
    sweeps = [(name, f"sweep{i:02d}", s) for name in names for i, s in enumerate(sweep_settings())]
    settings = [
        (name, f"setting{i:02d}", s)
        for name in names
        for i, s in enumerate(random_settings(100 + sorted(SETS).index(name), REPEATS))
    ]
    if quick:
        return [
            (name, label, s)
            for name, label, s in sweeps + settings[:12]
            if name == names[0] and (s.batch == 64 or s._replace(optimizer=DEFAULT.optimizer) == DEFAULT)
        ]
    # Data sets and optimizers take turns, so that what was measured until an interruption is of use: 5 and
    # the 12 combinations of optimizer and batch size have no common factor.
    turn = [(i // 12, i * 5 % 12) for i in range(12 * REPEATS)]
    return sweeps + sorted(settings, key=lambda item: turn[int(item[1][-2:])])


# --- Measuring ------------------------------------------------------------------------------------


def open_lab(name: str, setting: Setting) -> quality.Lab:
    data, model, loss = SETS[name]
    return quality.Lab(
        quality.Task(
            name, data, lambda: model(setting), loss, OPTIMIZERS[setting.optimizer], setting.batch, 1
        )
    )


def finite(losses: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in losses]


def measure_sweeps(lab: quality.Lab, seeds: int) -> dict[str, list[list[float | None]]]:
    """Losses of sweeps of each length, from as many seeds."""
    starts = [lab.start(seed) for seed in range(seeds)]
    return {
        str(length): [
            finite(lab.train(start, 100 + seed, np.geomspace(*quality.SWEEP, length)))
            for seed, start in enumerate(starts)
        ]
        for length in SWEEP_LENGTHS
    }


def measure_truth(lab: quality.Lab, quick: bool) -> dict[str, Any]:
    """Validation losses early and at the end of training, at rates that lie closer where the loss is good."""
    starts = [lab.start(seed) for seed in range(1 if quick else 2)]
    untrained = []
    for seed, start in enumerate(starts):
        lab.train(start, seed, np.zeros(1))
        untrained.append(lab.validate())
    chance = min(lab.chance(), float(np.mean(untrained)))
    # Thirds of a decade, from 10 down to 1e-6, where nothing is learnt in a training as short as this.
    places = [k / 3 for k in range(3, -19, -1)]
    early: dict[float, list[float | None]] = {places[-1]: untrained}
    final: dict[float, list[float | None]] = {places[-1]: untrained}

    def train(place: float, seed: int) -> None:
        rates = np.full(TRIAL, 10.0**place)
        losses = lab.train(starts[seed], seed, rates[:EARLY])
        loss = lab.validate() if np.isfinite(losses).all() else None
        early.setdefault(place, []).append(loss)
        # What is still at chance by then, or diverges, will not be good at the end.
        if loss is not None and loss < 0.98 * chance:
            losses = lab.train(starts[seed], seed, rates[EARLY:], after=EARLY)
            loss = lab.validate() if np.isfinite(losses).all() else None
        final.setdefault(place, []).append(loss)

    def score(place: float, *when: dict[float, list[float | None]]) -> float:
        """0 for the best first seed, 1 for chance; the better one of early and final."""
        scores = []
        for losses in when or (early, final):
            first = {p: chance if row[0] is None else min(row[0], chance) for p, row in losses.items()}
            best = min(first.values())
            if best < chance:
                scores.append((first[place] - best) / (chance - best))
        return min(scores, default=1.0)

    # One rate in a decade, until the loss is back at chance on the way down.
    for place in places[:-1:3]:
        train(place, 0)
        if score(place) > 0.9 and min(map(score, final)) == 0 and place < min(final, key=score):
            break
    if not quick:
        for low in sorted(final)[:-1]:
            high = min(p for p in final if p > low)
            for place in [p for p in places if low < p < high] if min(score(low), score(high)) < 0.25 else []:
                train(place, 0)
        for place in [p for p in final if score(p, final) < 0.1]:
            train(place, 1)
    rows = sorted(final)
    return {
        "chance": chance,
        "untrained": untrained,
        "lrs": [10.0**p for p in rows],
        "early": [early[p] for p in rows],
        "final": [final[p] for p in rows],
    }


def measure(folder: pathlib.Path, names: list[str], quick: bool) -> None:
    """Measure what has no file yet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    todo = plan(names, quick)
    begun, cpu = time.perf_counter(), time.process_time()
    for k, (name, label, setting) in enumerate(todo, 1):
        file = folder / f"{name}-{label}.json"
        if file.exists():
            continue
        lab = open_lab(name, setting)
        shared = label.startswith("sweep")
        seeds = 1 if quick else 4 if shared else 2
        result: dict[str, Any] = {"setting": setting._asdict(), "sweeps": measure_sweeps(lab, seeds)}
        if not shared:
            result["truth"] = measure_truth(lab, quick)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.replace(file)
        keras.backend.clear_session()
        print(
            f"{k:3d}/{len(todo)} {name:14s} {label} {tuple(setting)}  "
            f"{time.perf_counter() - begun:6.0f} s, {time.process_time() - cpu:6.0f} s of processor",
            flush=True,
        )


# --- Ranges ---------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """A random setting: what its sweeps read, and what its learning rates are worth."""

    data: str
    setting: Setting
    sweeps: dict[int, list[float]]  # centres by length, one for each seed
    truth: quality.Truth  # the better one of early and late: KerasTuner takes a trial's best epoch
    early: quality.Truth
    late: quality.Truth


HALF = 0.75  # decades from a range's centre to its ends
Sweeps = dict[tuple[str, Setting], dict[int, list[float]]]


def class_of(setting: Setting) -> str:
    return OPTIMIZERS[setting.optimizer][0]


def read(result: dict[str, Any], setting: Setting) -> dict[int, list[float]]:
    """Middle of the range that each sweep gives, log10; NaN where it gives none."""
    import lrtuner

    told = {"train_steps": TRIAL, "optimizer": class_of(setting), "batch_size": setting.batch}
    if "momentum" in inspect.signature(lrtuner.suggest_range).parameters:
        told["momentum"] = OPTIMIZERS[setting.optimizer][1].get("momentum", 0.0)
    centres: dict[int, list[float]] = {}
    for length, curves in result["sweeps"].items():
        for losses in curves:
            rates = np.geomspace(*quality.SWEEP, int(length))[: len(losses)]
            curve = lrtuner.LRCurve(rates, np.array([np.nan if v is None else v for v in losses], float))
            try:
                found = lrtuner.suggest_range(curve, **told)
                centre = float(np.log10([found.min_lr, found.max_lr]).mean())
            except lrtuner.NoRangeError:
                centre = np.nan
            centres.setdefault(int(length), []).append(centre)
    return centres


def worth(truth: dict[str, Any], *when: str) -> quality.Truth:
    """The truth at these times; rates far from the good ones were trained from one seed only."""
    rows = zip(*(truth[w] for w in when), strict=True)
    losses = [[[np.inf if v is None else v for v in seeds] for seeds in row] for row in rows]
    return quality.Truth({**truth, "val_loss": [[np.mean(np.min(row, axis=0))] for row in losses]})


def own_centre(truth: quality.Truth) -> float:
    """Middle of the interval of good rates around the best one."""
    x = np.linspace(*quality.FULL, 7001)
    good = np.interp(x, truth.x, truth.score) <= 0.05
    best = int(np.argmin(np.abs(x - truth.best)))
    left, right = best, best
    while left > 0 and good[left - 1]:
        left -= 1
    while right < len(x) - 1 and good[right + 1]:
        right += 1
    return float(x[left] + x[right]) / 2


def load(folder: pathlib.Path, names: list[str]) -> tuple[list[Measured], Sweeps]:
    measured, sweeps = [], {}
    for file in sorted(folder.glob("*.json")):
        name, label = file.stem.split("-")
        if name not in names:
            continue
        result = json.loads(file.read_text())
        setting = Setting(**result["setting"])
        if label.startswith("sweep"):
            sweeps[name, setting] = read(result, setting)
        else:
            truths = [worth(result["truth"], *when) for when in (("early", "final"), ("early",), ("final",))]
            measured.append(Measured(name, setting, read(result, setting), *truths))
    return measured, sweeps


# Middles of a setting's range, log10, one for each seed of its sweep.
Reader = Callable[[Measured, Sweeps], list[float]]


class Strategy(NamedTuple):
    """A way to a range for each setting, and the batches that all of its sweeps cost."""

    name: str
    centres: Reader | None
    batches: int


def swept(length: int, place: Callable[[Setting], Setting], powers: dict[str, float] | float = 0.0) -> Reader:
    """From a sweep at the place for this setting, shifted by a power of the ratio of the batch sizes."""

    def centres(m: Measured, sweeps: Sweeps) -> list[float]:
        at = place(m.setting)
        power = powers[m.setting.optimizer] if isinstance(powers, dict) else powers
        shift = power * np.log10(m.setting.batch / at.batch)
        return [c + shift for c in sweeps[m.data, at][length]]

    return centres


def usual(m: Measured, _: Sweeps) -> list[float]:
    """Ten times Keras' default, as lrtuner has it."""
    from lrtuner.rules import USUAL_RATES

    return [USUAL_RATES[class_of(m.setting)]]


def usual_shifted(m: Measured, sweeps: Sweeps) -> list[float]:
    return [c + 0.5 * np.log10(m.setting.batch / 64) for c in usual(m, sweeps)]


def per_optimizer(s: Setting) -> Setting:
    return MIDDLE._replace(optimizer=s.optimizer)


STRATEGIES = [
    Strategy("no sweep: usual rate", usual, 0),
    Strategy("no sweep: usual rate, batch shift", usual_shifted, 0),
    Strategy("one sweep at the default values", swept(300, lambda _: DEFAULT), 300),
    Strategy("one sweep in the middle", swept(300, lambda _: MIDDLE._replace(optimizer="sgd")), 300),
    Strategy("one sweep in the middle, of Adam", swept(300, lambda _: MIDDLE), 300),
    Strategy(
        "each optimizer, at the default values",
        swept(300, lambda s: DEFAULT._replace(optimizer=s.optimizer)),
        1200,
    ),
    Strategy("each optimizer", swept(300, per_optimizer), 1200),
    Strategy("each optimizer, batch shift", swept(300, per_optimizer, 0.5), 1200),
    Strategy(
        "each optimizer and batch size", swept(300, lambda s: per_optimizer(s)._replace(batch=s.batch)), 3600
    ),
    Strategy("each optimizer, budget split", swept(100, per_optimizer), 400),
    Strategy("each optimizer, budget split, batch shift", swept(100, per_optimizer, 0.5), 400),
    Strategy(
        "each optimizer and batch size, 100 batches",
        swept(100, lambda s: per_optimizer(s)._replace(batch=s.batch)),
        1200,
    ),
    Strategy("each setting, 100 batches", lambda m, _: m.sweeps[100], 0),
    Strategy("each setting", lambda m, _: m.sweeps[300], 0),
]


# --- Scoring --------------------------------------------------------------------------------------


def rate(centres: Reader, measured: list[Measured], sweeps: Sweeps) -> np.ndarray:
    """For each setting: own centre inside, P(a draw is good), offset; averaged over the sweep's seeds."""
    rows = []
    for m in measured:
        seeds = []
        own = own_centre(m.truth)
        for centre in centres(m, sweeps):
            if np.isnan(centre):
                seeds.append((0.0, m.truth.draws(*quality.FULL)[0], 0.0))
            else:
                low, high = max(centre - HALF, quality.FULL[0]), min(centre + HALF, quality.FULL[1])
                seeds.append((float(abs(centre - own) <= HALF), m.truth.draws(low, high)[0], centre - own))
        rows.append(np.mean(seeds, axis=0))
    return np.array(rows)


def score_ranges(measured: list[Measured], sweeps: Sweeps) -> None:
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(measured), (2000, len(measured)))
    full = np.mean([m.truth.draws(*quality.FULL)[0] for m in measured])
    rated = {s.name: rate(s.centres, measured, sweeps) for s in STRATEGIES}
    best = rated["each setting"][:, 1]
    print(f"## Ranges: {len(measured)} settings, {2 * HALF:g} decades wide, 95% intervals\n")
    head = (
        "a sweep for",
        "batches",
        "own centre inside",
        "P(a draw is good)",
        "of a sweep for each",
        "offset",
    )
    print_row(*head, "rms offset")
    print_row(*["---"] * 7)
    print_row("no range: 1e-6..10", 0, "-", f"{full:.3f}", f"{full / best.mean():.2f}", "-", "-")
    for s in STRATEGIES:
        inside, good, offset = rated[s.name].T
        low, high = np.percentile(inside[draws].mean(1), (2.5, 97.5))
        shares = np.percentile(good[draws].mean(1) / best[draws].mean(1), (2.5, 97.5))
        print_row(
            s.name,
            s.batches,
            f"{inside.mean():.0%} ({low:.0%}..{high:.0%})",
            f"{good.mean():.3f}",
            f"{good.mean() / best.mean():.2f} ({shares[0]:.2f}..{shares[1]:.2f})",
            f"{offset.mean():+.2f}",
            f"{np.sqrt((offset**2).mean()):.2f}",
        )


def print_row(*cells: Any) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


# --- What moves a centre --------------------------------------------------------------------------


def effects(measured: list[Measured], values: np.ndarray) -> list[tuple[float, float]]:
    """What each optimizer's tenfold batch and the other hyperparameters do to a value: least squares.

    Returns the effects with their standard errors.
    """
    rows = []
    for m in measured:
        s = m.setting
        mine = [float(s.optimizer == o) for o in OPTIMIZERS]
        constant = [x * (m.data == name) for name in SETS for x in mine]
        batch = [np.log10(s.batch / 64) * x for x in mine]
        others = [np.log2(s.width), s.depth, s.batch_norm, 2 * s.dropout, np.log10(s.l2)]
        rows.append([*batch, *others, *constant])
    table = np.array(rows, float)
    inverse = np.linalg.pinv(table.T @ table)
    slopes = inverse @ table.T @ values
    spread = np.sum((values - table @ slopes) ** 2) / max(1, len(table) - np.linalg.matrix_rank(table))
    errors = np.sqrt(np.diag(inverse) * spread)
    return list(zip(slopes, errors, strict=True))[: len(OPTIMIZERS) + 5]


def score_effects(measured: list[Measured]) -> None:
    best, early, late = (
        np.array([own_centre(getattr(m, when)) for m in measured]) for when in ("truth", "early", "late")
    )
    values = {"own centre": best, f"own centre after {EARLY}": early, f"own centre after {TRIAL}": late}
    for length in SWEEP_LENGTHS:
        values[f"its own sweep of {length}"] = np.array([np.nanmean(m.sweeps[length]) for m in measured])
    print("\n## Decades that a centre moves, and their standard error\n")
    tenfold = [f"{o}, batch x 10" for o in OPTIMIZERS]
    print_row("", *tenfold, "width x 2", "depth + 1", "norm", "dropout 0.5", "L2 x 10")
    print_row(*["---"] * 10)
    for what, value in values.items():
        print_row(what, *(f"{effect:+.2f} ({error:.2f})" for effect, error in effects(measured, value)))
    print(f"\n## Decades that the own centre falls for ten times the batches, from {EARLY} to {TRIAL}\n")
    print_row(*OPTIMIZERS)
    print_row(*["---"] * 4)
    fall = (early - best) / np.log10(TRIAL / EARLY)
    mine = [fall[[m.setting.optimizer == o for m in measured]] for o in OPTIMIZERS]
    print_row(*(f"{np.mean(f):.2f} ({np.std(f) / np.sqrt(len(f)):.2f})" for f in mine))


def shifted(centres: Reader, by: float) -> Reader:
    return lambda m, sweeps: [c + by for c in centres(m, sweeps)]


def score_powers(measured: list[Measured], sweeps: Sweeps) -> None:
    """What each power of the batch size is worth: after as many batches, and after as many epochs."""
    from lrtuner.rules import CURVE_AND_OPTIMIZER

    # Four times the batches at a quarter of the batch size: in both halves the sweeps know the length of a
    # training at batch 64, and a setting's own sweep that of its own.
    shorter = CURVE_AND_OPTIMIZER.fall_by_steps * np.log10(TRIAL / EARLY)
    late = [(m, m.truth if m.setting.batch == 64 else m.early, 0.0) for m in measured if m.setting.batch > 16]
    soon = [
        (m, m.truth if m.setting.batch == 16 else m.early, shorter) for m in measured if m.setting.batch < 256
    ]
    regimes = {"as many batches": [(m, m.truth, 0.0) for m in measured], "as many epochs": late + soon}
    print("\n## A sweep for each optimizer at batch 64, shifted by a power of the batch size\n")
    print_row("trained for", "sweeps", "power", "own centre inside", "P(a draw is good)", *OPTIMIZERS)
    print_row(*["---"] * 9)
    for (regime, some), length in itertools.product(regimes.items(), SWEEP_LENGTHS):
        for power in (0.0, 0.25, 0.5, 0.75, 1.0, None):
            rated = []
            for m, truth, by in some:
                if power is None:
                    own = shorter if truth is m.early else 0.0
                    centres = shifted(lambda m, _, n=length: m.sweeps[n], own)
                else:
                    centres = shifted(swept(length, per_optimizer, power), by)
                rated.append(rate(centres, [m._replace(truth=truth)], sweeps)[0])
            inside, good, _ = np.mean(rated, axis=0)
            mine = [
                np.mean([r[1] for r, (m, _, _) in zip(rated, some, strict=True) if m.setting.optimizer == o])
                for o in OPTIMIZERS
            ]
            label = "each setting" if power is None else power
            print_row(regime, length, label, f"{inside:.0%}", f"{good:.3f}", *(f"{p:.3f}" for p in mine))


# --- Searches, computed from the measured settings ----------------------------------------------------


def best_of(losses: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Expected lowest of so many independent draws from these losses."""
    losses = np.sort(losses)
    above = 1 - np.arange(len(losses) + 1) / len(losses)
    return np.array([(above[:-1] ** n - above[1:] ** n) @ losses for n in trials])


def search(
    centres: Reader | None, measured: list[Measured], sweeps: Sweeps, trials: np.ndarray
) -> np.ndarray:
    """Expected best loss after so many trials of random search: 0 is the best of the data set, 1 is chance.

    A trial is a random one of the measured settings, at a rate drawn from the setting's range, or from the
    whole space; its loss is interpolated between the measured rates.
    """
    means = [np.array(m.truth.measured["val_loss"])[:, 0] for m in measured]
    chance = max(m.truth.measured["chance"] for m in measured)
    best = min(mean.min() for mean in means)
    scores = [(np.minimum(mean, chance) - best) / (chance - best) for mean in means]
    told = [centres(m, sweeps) if centres else [np.nan] for m in measured]
    curves = []
    for seed in range(max(map(len, told))):
        losses = []
        for m, score, centre in zip(measured, scores, (c[seed % len(c)] for c in told), strict=True):
            low, high = quality.FULL if np.isnan(centre) else (centre - HALF, centre + HALF)
            rates = np.linspace(max(low, quality.FULL[0]), min(high, quality.FULL[1]), 201)
            losses.append(np.interp(rates, m.truth.x, score))
        curves.append(best_of(np.concatenate(losses), trials))
    return np.mean(curves, axis=0)


def score_searches(measured: list[Measured], sweeps: Sweeps) -> None:
    trials = np.linspace(1, 90, 891)
    print(f"\n## Random search, {WIDE_TRIALS} trials of {TRIAL} batches, all sweeps charged\n")
    print_row("data", "a sweep for", "as good as without a range after", "best of all", "against one sweep")
    print_row(*["---"] * 5)
    for name in sorted({m.data for m in measured}):
        mine = [m for m in measured if m.data == name]
        ways = [Strategy("no range: 1e-6..10", None, 0), *STRATEGIES]
        curves = {s.name: search(s.centres, mine, sweeps, trials) for s in ways}
        ends = {way: float(np.interp(WIDE_TRIALS, trials, curve)) for way, curve in curves.items()}
        for s in ways:
            needed = np.interp(-ends[ways[0].name], -curves[s.name], trials, right=np.nan)
            share = (needed * TRIAL + s.batches) / (WIDE_TRIALS * TRIAL)
            worse = ends[s.name] - ends["one sweep in the middle"]
            print_row(name, s.name, f"{share:.0%}", f"{ends[s.name]:.3f}", f"{worse:+.3f}")


# --- Real searches --------------------------------------------------------------------------------


def hypermodel(name: str) -> Any:
    """The same space, declared as a user of KerasTuner would."""
    import keras
    import keras_tuner as kt

    _, model_of, loss = SETS[name]

    class Space(kt.HyperModel):
        def build(self, hp: Any) -> Any:
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
            kind, arguments = OPTIMIZERS[setting.optimizer]
            model = model_of(setting)
            model.compile(
                getattr(keras.optimizers, kind)(learning_rate, **arguments),
                loss=loss,
                metrics=[keras.metrics.MeanMetricWrapper(loss, name="error")],
            )
            return model

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            return model.fit(*args, batch_size=hp.Choice("batch_size", list(BATCHES)), **kwargs)

    return Space()


def run_search(name: str, kind: str, seed: int, trials: int, folder: pathlib.Path) -> dict[str, Any]:
    """Batches of the sweeps and of each trial, and the trials' objectives, in their order."""
    import keras_tuner as kt

    import lrtuner

    data = SETS[name][0]()
    # A diverged trial counts as failed, and KerasTuner ends a search with a few in a row.
    common: dict[str, Any] = {
        "objective": kt.Objective("val_error", "min"),
        "max_trials": trials,
        # KerasTuner counts a seed up by one for each draw.
        "seed": 1000 * (seed + 1),
        "max_consecutive_failed_trials": trials + 1,
        "directory": str(folder),
        "project_name": f"{name}-{kind.replace(' ', '_')}-{seed}",
        "overwrite": True,
    }
    model = hypermodel(name)
    if kind == "no range":
        tuner = kt.RandomSearch(model, **common)
    elif kind == "one sweep":
        tuner = lrtuner.RandomSearch(model, sweep_per=[], **common)
    else:
        tuner = lrtuner.RandomSearch(model, **common)
    tuner.search(data.x, data.y, epochs=EPOCHS, validation_data=(data.x_val, data.y_val), verbose=0)
    finished = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.trial_id)
    return {
        "chance": open_lab(name, MIDDLE).chance(),
        "sweeps": [len(sweep.curve) for sweep in getattr(tuner.oracle, "sweeps", [])],
        "batches": [EPOCHS * -(-len(data.x) // t.hyperparameters.get("batch_size")) for t in finished],
        "scores": [t.score for t in finished],
        "values": [t.hyperparameters.values for t in finished],
    }


def search_for_real(folder: pathlib.Path, names: list[str], trials: int, seeds: int) -> None:
    """Run what has no file yet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name, kind in itertools.product(range(seeds), names, REAL):
        file = folder / f"{name}-{kind.replace(' ', '_')}-{seed}-{trials}.json"
        if not file.exists():
            before = time.perf_counter()
            file.write_text(json.dumps(run_search(name, kind, seed, trials, folder / "searches")))
            print(f"{file.stem:40s} {time.perf_counter() - before:6.0f} s", flush=True)


def score_real(folder: pathlib.Path, trials: int) -> None:
    """Print how soon each search is as good as the wide one's end, and how good it ends."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for file in sorted(folder.glob(f"*-{trials}.json")):
        name, kind, _, _ = file.stem.split("-")
        runs.setdefault(name, {}).setdefault(kind.replace("_", " "), []).append(json.loads(file.read_text()))
    print(f"\n## Real searches, {trials} trials of {EPOCHS} epochs, all sweeps charged\n")
    head = ("data", "a sweep for", "searches", "sweeps' batches", "as good as without a range after")
    print_row(*head, "best of all")
    print_row(*["---"] * 6)
    for name, kinds in runs.items():
        best = min(score for found in kinds.values() for run in found for score in scores_of(run))
        chance = kinds["no range"][0]["chance"]
        for kind in REAL:
            shares, ends = [], []
            for run, wide in zip(kinds.get(kind, []), kinds["no range"], strict=False):
                so_far = np.minimum.accumulate(scores_of(run))
                reached = np.flatnonzero(so_far <= min(scores_of(wide)))
                spent = sum(run["sweeps"]) + np.cumsum(run["batches"])
                shares.append(spent[reached[0]] / sum(wide["batches"]) if len(reached) else np.inf)
                ends.append((so_far[-1] - best) / (chance - best))
            sweeps = [sum(run["sweeps"]) for run in kinds.get(kind, [])]
            print_row(
                name,
                kind,
                len(ends),
                f"{np.mean(sweeps):.0f}",
                f"{np.median(shares):.0%}" if np.isfinite(np.median(shares)) else "never",
                f"{np.mean(ends):.3f}",
            )


def scores_of(run: dict[str, Any]) -> list[float]:
    """The trials' objectives; those that failed are no better than chance."""
    chance = run["chance"]
    return [chance if s is None or not np.isfinite(s) else min(s, chance) for s in run["scores"]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("measure", "score", "all"), default="all")
    parser.add_argument("--data", type=pathlib.Path, help=f"where the measurements are kept; default: {DATA}")
    parser.add_argument("--sets", help="comma-separated names of data sets; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="a few settings, one rate a decade, one seed: half a minute"
    )
    parser.add_argument("--real", action="store_true", help="run real searches instead")
    parser.add_argument("--trials", type=int, default=20, help="of a real search")
    parser.add_argument("--seeds", type=int, default=1, help="real searches of each kind on each data set")
    a = parser.parse_args()
    names = a.sets.split(",") if a.sets else list(SETS)
    unknown = sorted(set(names) - set(SETS))
    if unknown:
        parser.error(f"unknown data sets {unknown}; known: {list(SETS)}")
    data = a.data or (DATA.with_name("setting_ranges_quick") if a.quick else DATA)
    if a.real:
        if a.command != "score":
            search_for_real(data / "real", names, a.trials, a.seeds)
        if a.command != "measure":
            score_real(data / "real", a.trials)
        return
    if a.command != "score":
        measure(data, names, a.quick)
    if a.command != "measure":
        measured, sweeps = load(data, names)
        score_ranges(measured, sweeps)
        if not a.quick:
            score_effects(measured)
            score_powers(measured, sweeps)
        score_searches(measured, sweeps)


if __name__ == "__main__":
    main()
