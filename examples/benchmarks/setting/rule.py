"""What lrtuner's rule says of a measured sweep, and those two of its constants that ranges are compared with.

This is the one place of the benchmark that knows where lrtuner keeps them.
"""

from __future__ import annotations

import numpy as np
from bench.late import Late, lrtuner

from setting.measuring import TRIAL, MeasuredSetting
from setting.space import Setting, optimizer_of

rules = Late("lrtuner.curve.rules")


def centres(measured: MeasuredSetting) -> dict[int, list[float]]:
    """Return the middle of the range that each sweep gives, log10, by length; NaN where it gives none."""
    optimizer = optimizer_of(measured.setting)
    found: dict[int, list[float]] = {}
    for sweep in measured.sweeps:
        rates, losses, updates = sweep.curve()
        try:
            suggested = lrtuner.suggest_range(
                lrtuner.LRCurve(rates, losses, updates=updates),
                train_steps=TRIAL,
                optimizer=optimizer.name,
                momentum=optimizer.momentum,
                batch_size=measured.setting.batch,
            )
            centre = float(np.log10([suggested.min_lr, suggested.max_lr]).mean())
        except lrtuner.NoRangeError:
            centre = np.nan
        found.setdefault(sweep.steps, []).append(centre)
    return found


def usual_rate(setting: Setting) -> float:
    """Return log10 of the rate that is usual for a setting's optimizer, ten times Keras' default for most."""
    return float(rules.USUAL_LOG10_RATES[optimizer_of(setting).name])


def fall_by_steps() -> float:
    """Return the decades that the best rate falls for ten times the batches of training."""
    return float(rules.CURVE_AND_OPTIMIZER.fall_by_steps)
