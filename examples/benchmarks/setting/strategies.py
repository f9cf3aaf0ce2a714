"""Ways to a range for each setting, from one sweep for all to one for each."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from bench import store
from bench.records import MeasuredRates
from bench.truth import Truth

from setting import rule
from setting.measuring import MeasuredSetting
from setting.space import DEFAULT, MIDDLE, Setting

HALF = 0.75  # decades from a range's centre to its ends


class Known(NamedTuple):
    """A random setting: what its own sweeps read, and what its learning rates are worth."""

    data: str
    setting: Setting
    centres: dict[int, list[float]]  # of its sweeps, by length, one for each seed
    truth: Truth  # the better one of early and late: KerasTuner takes a trial's best epoch
    early: Truth
    late: Truth


# Centres of the sweeps that serve many settings, by data set and setting, then by length.
Shared = dict[tuple[str, Setting], dict[int, list[float]]]


def load(folder: pathlib.Path, names: list[str]) -> tuple[list[Known], Shared]:
    """Read what was measured on these data sets, and ask the rule for the centres."""
    known, shared = [], {}
    for measured in store.read(folder, MeasuredSetting.from_config):
        name, setting, early, late = measured.data, measured.setting, measured.early, measured.late
        if name not in names:
            continue
        if early is None or late is None:
            shared[name, setting] = rule.centres(measured)
        else:
            truths = _worth(early, late), _worth(early), _worth(late)
            known.append(Known(name, setting, rule.centres(measured), *truths))
    return known, shared


def _worth(*times: MeasuredRates) -> Truth:
    """Take the best of these times. Rates far from the good ones were trained from one seed only."""
    rows = zip(*(time.losses for time in times), strict=True)
    losses = [[[np.inf if loss is None else loss for loss in seeds] for seeds in row] for row in rows]
    means = [[float(np.mean(np.min(row, axis=0)))] for row in losses]
    return Truth(MeasuredRates(times[0].learning_rates, means, times[0].untrained, times[0].chance))


# Middles of a setting's range, log10, one for each seed of the sweep.
Centres = Callable[[Known, Shared], list[float]]


def swept(length: int, place: Callable[[Setting], Setting], power: float = 0.0) -> Centres:
    """Take a sweep at the place for a setting, shifted by a power of the ratio of the batch sizes."""

    def centres(known: Known, shared: Shared) -> list[float]:
        at = place(known.setting)
        shift = power * np.log10(known.setting.batch / at.batch)
        return [centre + shift for centre in shared[known.data, at][length]]

    return centres


def own(length: int) -> Centres:
    """Take the sweeps at the setting itself."""
    return lambda known, _: known.centres[length]


def usual(power: float) -> Centres:
    """Take the rate that is usual for the optimizer, shifted by a power of the batch size."""
    return lambda known, _: [rule.usual_rate(known.setting) + power * np.log10(known.setting.batch / 64)]


def per_optimizer(setting: Setting) -> Setting:
    """Return the place of the sweep for the setting's optimizer."""
    return MIDDLE._replace(optimizer=setting.optimizer)


def _per_batch(setting: Setting) -> Setting:
    return MIDDLE._replace(optimizer=setting.optimizer, batch=setting.batch)


def _at_defaults(setting: Setting) -> Setting:
    return DEFAULT._replace(optimizer=setting.optimizer)


class Strategy(NamedTuple):
    """A way to a range for each setting, and the batches that all of its sweeps cost."""

    name: str
    centres: Centres
    batches: int


ONE_SWEEP = Strategy("one sweep in the middle", swept(300, lambda _: MIDDLE._replace(optimizer="sgd")), 300)
EACH_SETTING = Strategy("each setting", own(300), 0)
STRATEGIES = [
    Strategy("no sweep: usual rate", usual(0.0), 0),
    Strategy("no sweep: usual rate, batch shift", usual(0.5), 0),
    Strategy("one sweep at the default values", swept(300, lambda _: DEFAULT), 300),
    ONE_SWEEP,
    Strategy("one sweep in the middle, of Adam", swept(300, lambda _: MIDDLE), 300),
    Strategy("each optimizer, at the default values", swept(300, _at_defaults), 1200),
    Strategy("each optimizer", swept(300, per_optimizer), 1200),
    Strategy("each optimizer, batch shift", swept(300, per_optimizer, 0.5), 1200),
    Strategy("each optimizer and batch size", swept(300, _per_batch), 3600),
    Strategy("each optimizer, budget split", swept(100, per_optimizer), 400),
    Strategy("each optimizer, budget split, batch shift", swept(100, per_optimizer, 0.5), 400),
    Strategy("each optimizer and batch size, 100 batches", swept(100, _per_batch), 1200),
    Strategy("each setting, 100 batches", own(100), 0),
    EACH_SETTING,
]
