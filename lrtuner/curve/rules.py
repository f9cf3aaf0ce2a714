"""The rules that read the range of good learning rates off the curve of an LR range test.

The test and the idea of reading a range off it: Smith 2017, "Cyclical Learning Rates for Training Neural
Networks", https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lrtuner.curve.checks import check_count
from lrtuner.curve.curve import LRCurve, Training
from lrtuner.curve.lr_range import Evidence, LRRange, NoRangeError
from lrtuner.curve.reading import READING, Reading, ShortLong, read_curve
from lrtuner.curve.smoothing import ema, running_medians

Rule = Callable[[LRCurve], "LRRange | tuple[float, float]"]


def suggest_range(
    curve: LRCurve,
    *,
    rule: str | Rule = "curve_and_optimizer",
    train_steps: int | None = None,
    optimizer: str | None = None,
    batch_size: int | None = None,
    momentum: float | None = None,
    pretrained: bool | None = None,
) -> LRRange:
    """Suggest the range of learning rates that a search should draw from.

    What is known about the training is taken from `curve.training`. A hint that is given here overrides it.

    >>> rates = np.geomspace(1e-7, 10, 100)
    >>> losses = 0.5 + 1 / (1 + 300 * rates) + rates**2
    >>> found = lrtuner.suggest_range(lrtuner.LRCurve(rates, losses), optimizer="Adam", batch_size=32)
    >>> 1e-3 < found.min_lr < found.max_lr < 1
    True

    Args:
        curve: The losses of an exponential sweep over a few decades of learning rates.
        rule: One of these, or a callable of your own that takes the curve, with all that is known in its
            `training`, and returns an `LRRange` or a pair of rates.

            - `"curve_and_optimizer"` weighs the curve against the usual rate of the optimizer. Of too few
              batches to show a curve, it returns the range around the usual rate alone. Without an optimizer
              that has a usual rate it is `"curve_alone"`.
            - `"curve_alone"`: 1.4 to 1.8 decades, whose middle lies somewhat below the rate at which the loss
              has nearly finished its descent.
            - `"steepest_to_minimum"`: from the steepest descent to a tenth of the rate at the minimum.
        train_steps: Batches in one full training, if known.
        optimizer: Class name of the optimizer, if it is one of Keras. That of another one may stand in
            `curve.training`.
        batch_size: Samples in one batch, if known.
        momentum: Momentum of an `SGD` optimizer, if known: at least 0 and below 1. The class name does not
            tell it, and with 0.9 an update is ten times as long.
        pretrained: Whether the net was trained before and is now trained whole, if known. A sweep of lrtuner
            tells it by itself, from biases and gains that are not as they are made.

    Returns:
        The range. The named rules stay inside of the swept rates, return the same range for losses
        `a * y + b` with `a > 0`, and move it with the rates (but for `"curve_and_optimizer"` with a known
        optimizer).

    Raises:
        NoRangeError: The curve has a fault, or holds no evidence of a good range; the message says why.
        TypeError: `curve` is not an `LRCurve`, or `rule` neither a name nor a callable.
        ValueError: The rule's name is unknown, its range is not a range, or a hint is not what it must be.
    """
    if not isinstance(curve, LRCurve):
        raise TypeError(
            f"curve must be an LRCurve, got {type(curve).__name__}. Use LRCurve(learning_rates, losses)."
        )
    if curve.fault is not None:
        raise NoRangeError(f"{curve.fault}.")
    if isinstance(optimizer, str) and optimizer.lower() not in _KNOWN:
        raise ValueError(
            f"optimizer must be one of {sorted(_KNOWN.values())}, got {optimizer!r}. Leave out one of your "
            "own: the curve of a sweep knows it."
        )
    hints = {"optimizer": optimizer, "momentum": momentum, "batch_size": batch_size}
    hints["is_pretrained"] = pretrained
    if check_count(train_steps, "train_steps") is not None:
        hints |= {"batches_per_epoch": train_steps, "epochs": 1}
    known = {name: hint for name, hint in hints.items() if hint is not None}
    if known:
        training = dataclasses.replace(curve.training or Training(), **known)  # type: ignore[arg-type]
        curve = dataclasses.replace(curve, training=training)
    suggestion = rule_named(rule)(curve)
    if isinstance(suggestion, LRRange):
        return suggestion
    try:
        low, high = suggestion
    except (TypeError, ValueError) as e:
        raise ValueError(
            f"rule must return an LRRange or a pair of learning rates, got {suggestion!r}."
        ) from e
    return LRRange(low, high)


def rule_named(rule: str | Rule) -> Rule:
    """Return the rule of this name, or the callable itself.

    Raises:
        TypeError: It is neither a name nor a callable.
        ValueError: There is no rule of this name.
    """
    if callable(rule):
        return rule
    if isinstance(rule, str) and rule in RULES:
        return RULES[rule]
    error = ValueError if isinstance(rule, str) else TypeError
    raise error(f"rule must be one of {sorted(RULES)} or a callable, got {rule!r}.")


# The rule "curve_alone", in decades: the width of its range, how far the middle lies below the rate at which
# the descent is complete, and how far that lies below a divergence. They were chosen on measured sweeps of 17
# tasks, where their neighbours do about as well.
ALONE_WIDTH, ALONE_BELOW = ShortLong(short=1.8, long=1.4), ShortLong(short=0.5, long=0.3)
ALONE_BELOW_EDGE = 1.0


# What is known before the sweep, log10: ten times Keras' default, except for Lion (its paper advises a third
# to a tenth of AdamW's rate), and Adagrad and Muon, whose best rates were measured there.
USUAL_LOG10_RATES: Mapping[str, float] = {
    "SGD": -1.0,
    "Adagrad": -0.3,
    "Adam": -2.0,
    "AdamW": -2.0,
    "Adamax": -2.0,
    "Nadam": -2.0,
    "RMSprop": -2.0,
    "Adafactor": -2.0,
    "Lion": -3.0,
    "Muon": -2.2,
}
# Keras' optimizers, of which the last ones have no usual rate.
_KNOWN = {name.lower(): name for name in (*USUAL_LOG10_RATES, "Adadelta", "Ftrl", "MultiOptimizer")}


@dataclasses.dataclass(frozen=True)
class CurveAndOptimizerConstants:
    """The constants of the rule "curve_and_optimizer".

    They were chosen on the 17 tasks of "curve_alone" and the 531 calibration tasks of
    examples/benchmarks/range_quality.py that can be learned, every fifth left out in turn. All lie on
    plateaus.
    """

    # With a usual rate to fall back on, this many finite losses are enough: they only have to show that the
    # model trains.
    min_points: int = 2
    # The usual rate of SGD without momentum, log10.
    plain_sgd: float = -0.45
    # The batch size to which the usual rates refer.
    batch_size: int = 64
    # The curve is read where half of the descent is done, with this weight, and where all of it but noise is
    # done, with the rest.
    half_weight: float = 0.35
    # The best rate lies above that reading by this power of the batches in a decade over so many. A descent
    # takes a certain sum of rates, which on a ramp is the rate times the batches in a decade: hence a power
    # near 1.
    density_power: float = 0.8
    density: float = 46.0
    # The law was not measured beyond these batches in a decade.
    density_limits: tuple[float, float] = (3.0, 80.0)
    # A short sweep shows the first part of a descent alone: decades that the best rate lies higher.
    above: ShortLong = ShortLong(short=0.15, long=0.0)
    # Decades that the best rate falls where the descent is ten times as clear. Clearness is the log10 of the
    # descent in standard deviations of one batch's loss; the reading refers to a clearness of 1. It was not
    # measured beyond the limits.
    fall: ShortLong = ShortLong(short=0.3, long=0.1)
    clarity_limits: tuple[float, float] = (-0.5, 2.5)
    # Divergence alone bounds the good rates from above, by these decades below it in a short sweep. It says
    # little about where they lie, so only this share of the distance from the usual rate up to the bound is
    # counted.
    below_edge: float = 1.2
    above_weight: float = 0.3
    # With fewer batches in a decade than a default sweep has, the descent of a good task may not show at all:
    # of measured sweeps with 8 in a decade, some showed nothing.
    hiding_density: float = 11.0
    # Weight of the usual rate against the curve, and of the steps, which say as much in a long sweep.
    usual_weight: ShortLong = ShortLong(short=0.6, long=0.3)
    step_weight: float = 0.6
    # In decades. What lies further than this from the curve is wrong, and pulls no harder.
    disagreement: float = 1.25
    # Beyond so many decades between curve and usual rate the range grows. For each decade more it grows by
    # this share of itself, for as many decades as the third number says.
    agreement: float = 1.0
    growth: float = 0.6
    growth_decades: float = 1.5
    # Batches of training to which all this refers, and decades that the best rate falls for ten times as
    # many. The fall was not measured beyond the limits.
    train_steps: int = 250
    fall_by_steps: float = 0.4
    train_steps_limits: tuple[int, int] = (25, 25_000)
    # Decades that a sweep earns.
    width: ShortLong = ShortLong(short=1.45, long=1.2)
    # Without momentum the best rate of SGD lies so many decades above the one at which a batch moves the
    # weights by this share of their size. With it the steps add up, as those of the usual rate do.
    step: float = 0.02
    above_step: float = 0.35
    # Where the weights were trained before, a new head learns at rates that destroy them. Then the usual rate
    # of other optimizers than SGD lies so many decades lower, half of the descent counts by this weight, and
    # fewer rates are good. Chosen on 16 tasks of range_quality.py, where neighbours do about as well.
    pretrained_lower: float = 0.5
    half_weight_of_pretrained: float = 0.5
    width_of_pretrained: ShortLong = ShortLong(short=1.2, long=1.0)
    # A single layer on top of frozen ones can use rates that are higher by so many decades, with other
    # optimizers than SGD. Chosen on 8 tasks of range_quality.py; .3 to .5 do alike.
    head_above: float = 0.4
    # A batch that moves the weights by their whole size leaves another net.
    burst: float = 1.0
    # Where the losses of SGD begin at so many times chance, the loss of a constant prediction, the descent to
    # it is no learning: what unscaled inputs, or targets far from 0, have made wrong is put right at rates
    # which teach nothing else. It is left out where the losses fall below this share of chance.
    above_chance: float = 3.0
    below_chance: float = 0.9


CURVE_AND_OPTIMIZER = CurveAndOptimizerConstants()


# Below the first of these rates few models learn anything, and above the second hardly any.
HARMLESS_RATE, HIGHEST_RATE = 1e-5, 1.0


def _curve_alone(curve: LRCurve) -> LRRange:
    """Return a range whose middle lies somewhat below the rate at which the descent is nearly finished."""
    reading = read_curve(curve)
    end = reading.complete
    if end is None and reading.edge is not None:
        # Divergence is evidence too: the good rates end before it.
        end = reading.edge - ALONE_BELOW_EDGE
    if end is None:
        raise _no_evidence(curve, reading)
    return _swept(curve, reading, end - reading.between(ALONE_BELOW), reading.between(ALONE_WIDTH))


def _curve_and_optimizer(curve: LRCurve) -> LRRange:
    """Return the range of the curve weighed against the size of steps and the optimizer's usual rate.

    Where data and loss have usual scales, that rate is as good as a sweep; elsewhere it is decades off.
    Without an optimizer that has a usual rate, this is `_curve_alone`.
    """
    own = CURVE_AND_OPTIMIZER
    training = curve.training or Training()
    usual = usual_log10_rate(training)
    if usual is None:
        return _curve_alone(curve)
    step, curve = _step_rate(curve, training)
    prior: float = usual
    if step is not None:
        # What this sweep shows of the model says more than what is usual. But the gradients of a deep net are
        # small at the start, which makes its steps look small.
        stepped = step + own.above_step + math.log10(1.0 - (training.momentum or 0.0))
        usual, prior = None, min(stepped, (stepped + prior) / 2)
    reading, chance = read_curve(curve, own.min_points), _far_chance(curve, training)
    if chance and running_medians(curve.losses[curve.usable]).min() < own.below_chance * chance:
        below = dataclasses.replace(curve, losses=np.minimum(curve.losses, chance))
        whole, reading = reading, read_curve(below, own.min_points)
        descent = whole.start - chance + reading.descent
        reading = dataclasses.replace(reading, start=whole.start, noise=whole.noise, descent=descent)
    density = _clipped(reading.density, own.density_limits)
    # Nothing is known of SGD but what its steps tell.
    is_sgd = _known_name(training) == "SGD"
    is_pretrained, is_head = (bool(one) and not is_sgd for one in (training.is_pretrained, training.is_head))
    if reading.complete is not None:
        half = own.half_weight_of_pretrained if is_pretrained else own.half_weight
        centre = half * reading.half + (1 - half) * reading.done
        centre += own.density_power * math.log10(density / own.density) + reading.between(own.above)
        clarity = _clipped(reading.clarity, own.clarity_limits)
        centre -= reading.between(own.fall) * (clarity - 1.0)
    elif reading.edge is not None and reading.batches >= READING.min_points:
        centre = reading.edge - own.below_edge
        centre += own.density_power * math.log10(density / READING.density.short)
    elif reading.density < own.hiding_density:
        # So few batches can hide a descent, and place no divergence: they are no evidence against the rate.
        centre = prior
    else:
        raise _no_evidence(curve, reading)
    gap = prior - centre
    alone = centre if gap else None
    if reading.complete is None and step is None:
        centre += min(gap + own.above_weight * min(-gap, own.agreement), 0.0)
    else:
        pull = reading.between(own.usual_weight) if step is None else own.step_weight
        centre += pull * _clipped(gap, (-own.disagreement, own.disagreement))
    if is_head:
        centre += own.head_above
    steps = _clipped(training.train_steps or own.train_steps, own.train_steps_limits)
    centre -= own.fall_by_steps * math.log10(steps / own.train_steps)
    width = reading.between(own.width_of_pretrained if is_pretrained else own.width)
    reach = width * own.growth * _clipped(abs(gap) - own.agreement, (0.0, own.growth_decades))
    rates = {"alone": alone, "step": step, "usual": usual}
    said = {"is_pretrained": is_pretrained, "is_head": is_head, "chance": chance, "reach": reach}
    return _swept(curve, reading, centre, width + reach, rates, **said)


def _far_chance(curve: LRCurve, training: Training) -> float | None:
    """Return the loss of a constant prediction where the losses of SGD begin far above it, otherwise None."""
    chance, first = training.chance or 0.0, curve.losses[curve.usable][:8]
    is_sgd = _known_name(training) == "SGD" and len(first) > 0
    return chance if is_sgd and np.median(first) > CURVE_AND_OPTIMIZER.above_chance * chance > 0 else None


def _step_rate(curve: LRCurve, training: Training) -> tuple[float | None, LRCurve]:
    """Return the log10 rate at which a batch moves the weights by 2%, and the curve up to where one bursts.

    The rate is None, and the curve whole, where steps say nothing: those of other optimizers than SGD, and
    where the weights begin at zero.
    """
    own = CURVE_AND_OPTIMIZER
    if curve.updates is None or _known_name(training) != "SGD":
        return None, curve
    known = np.isfinite(curve.updates) & (curve.updates > 0)
    rates = curve.learning_rates[known]
    # Medians of the updates at a rate of 1: in a short sweep the rate grows much from batch to batch.
    beyond = np.log10(running_medians(curve.updates[known] / rates) * rates / own.step)
    if not len(beyond) or beyond[0] >= 0:
        return None, curve
    at = np.argmax(beyond >= 0) or -1
    burst = np.maximum.accumulate(np.nan_to_num(curve.updates)) > own.burst
    read = dataclasses.replace(curve, losses=np.where(burst, math.nan, curve.losses))
    # Steps grow with the rate, also beyond the last one.
    return float(np.log10(rates[at]) - beyond[at]), read


def usual_log10_rate(training: Training) -> float | None:
    """Return the log10 rate that is usual for the optimizer and batch size, or None without such a rate.

    Args:
        training: What is known; without a batch size the rate is that of batches of 64.
    """
    name = _known_name(training)
    usual = USUAL_LOG10_RATES.get(name)
    if usual is None:
        return None
    if name == "SGD" and training.momentum is not None:
        # With momentum the updates add up to 1 / (1 - momentum) times as much.
        usual = CURVE_AND_OPTIMIZER.plain_sgd + math.log10(1.0 - training.momentum)
    elif training.is_pretrained and name != "SGD":
        usual -= CURVE_AND_OPTIMIZER.pretrained_lower
    reference = CURVE_AND_OPTIMIZER.batch_size
    return usual + batch_size_shift(training.batch_size or reference, reference)


def _known_name(training: Training) -> str:
    """Return Keras' name for the optimizer, or an empty one for another."""
    return _KNOWN.get((training.optimizer or "").lower(), "")


def batch_size_shift(batch_size: int, reference: int) -> float:
    """Return the decades that the best rate lies above that of the reference batch size.

    The gradients of a larger batch are less noisy: the best rate grows with the square root.
    """
    return 0.5 * math.log10(batch_size / reference)


def _clipped(value: float, limits: tuple[float, float]) -> float:
    """Return the nearest value within the limits."""
    return min(max(value, limits[0]), limits[1])


def _no_evidence(curve: LRCurve, reading: Reading) -> NoRangeError:
    first, last = curve.learning_rates[[0, -1]]
    usual = usual_log10_rate(curve.training or Training())
    # The first loss is that of untrained weights. Of level losses, one in as many sweeps as there are batches
    # begins with its lowest.
    rises = first > HARMLESS_RATE and curve.losses[curve.usable].argmin() == 0
    if rises or (usual is not None and first > 10.0**usual):
        return _begins_too_high(first)
    steps = f"steps={100 * math.ceil((reading.batches + 200) / 100)}"
    advice = "over larger batches" + (", or up to a higher learning rate" if last < HIGHEST_RATE else "")
    return NoRangeError(
        f"The loss neither fell nor blew up by more than its noise over {reading.batches} batches from "
        f"learning rate {first:.3g} to {last:.3g}. Sweep over more batches ({steps}), or {advice}."
    )


def _begins_too_high(first: float) -> NoRangeError:
    return NoRangeError(
        f"The good learning rates seem to lie below {first:.3g}, where the sweep begins. Begin it at a lower "
        f"learning rate, such as min_lr={min(first / 100, 1e-7):.0e}."
    )


def _swept(
    curve: LRCurve,
    reading: Reading,
    centre: float,
    width: float,
    rates: Mapping[str, float | None] | None = None,
    **said: Any,
) -> LRRange:
    """Return the range around a log10 rate, as far as it was swept without blowing up.

    Args:
        curve: The curve, up to where it was read.
        reading: What it shows.
        centre: The middle, log10.
        width: Decades of the range.
        rates: More rates of the evidence, log10.
        **said: More of the evidence, as it is.
    """
    low, high = centre - width / 2, centre + width / 2
    first, last = float(curve.learning_rates[0]), float(curve.learning_rates[curve.usable[-1]])
    left, right = math.log10(first), math.log10(last)
    # What was not swept is not suggested.
    if left - low > width / 2:
        raise _begins_too_high(first)
    if low >= right:
        # A range above all that was swept moves to the nearest part.
        low, high = right - width, right
    for name, at in {**(rates or {}), "descent_end": reading.complete, "edge": reading.edge}.items():
        # What lies beyond all floating-point numbers is told as unknown.
        said[name] = None if at is None or at > 308 else float(10.0**at)
    evidence = Evidence(
        batches=reading.batches,
        density=reading.density,
        noise=reading.noise,
        start=reading.start,
        descent=reading.descent,
        optimizer=None if curve.training is None else curve.training.optimizer,
        width=width,
        **said,
    )
    first = max(first, float(10.0**low)) if low > left else first
    return LRRange(first, min(last, float(10.0**high)) if high < right else last, evidence)


def _steepest_to_minimum(curve: LRCurve) -> LRRange:
    """Return the range from the averaged loss's steepest descent to a tenth of the rate at its minimum."""
    # 0.9 and the tenth are the original LRFinder notebook's.
    average = ema(curve.losses, 0.9)
    average = average[: np.argmin(np.append(np.isfinite(average), False))]
    if len(average) < 2:
        raise NoRangeError(
            f"Only {len(average)} batches have a usable loss, too few for a slope. Sweep over at least 50 "
            "batches, or start from a lower learning rate."
        )
    rates = curve.learning_rates[: len(average)]
    # In units of the largest loss, nothing overflows.
    average = average / (np.abs(average).max() or 1.0)
    # Rates can be so close that their logarithms are equal.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = np.gradient(average, np.log(rates))
    low = float(rates[np.argmin(np.where(np.isfinite(slope), slope, math.inf))])
    high = float(rates[np.argmin(average)]) / 10
    if low >= high:
        raise NoRangeError(
            f"The loss falls most steeply at {low:.3g}, which is not below {high:.3g}, a tenth of the rate "
            "at its minimum. Use the default rule, or sweep over more batches."
        )
    return LRRange(low, high)


RULES: dict[str, Callable[[LRCurve], LRRange]] = {
    "curve_and_optimizer": _curve_and_optimizer,
    "curve_alone": _curve_alone,
    "steepest_to_minimum": _steepest_to_minimum,
}


# The best three of at least six rates in the outer quarter on one side say that the best rates lie beyond
# it: they do so by chance in 2 * 0.25**3 = 3%.
BEST_TRIALS, EDGE_SHARE = 3, 0.25


def next_range(
    learning_rates: npt.ArrayLike, scores: npt.ArrayLike, searched: LRRange, *, maximize: bool
) -> LRRange | None:
    """Return the range that the next search should have, where this one's best trials lie at its edge.

    Args:
        learning_rates: Rates of the finished trials: shape `(n,)`, positive.
        scores: Their scores, in the same order: shape `(n,)`. Those that are not finite count as worst.
        searched: The range that they were drawn from.
        maximize: Whether higher scores are better.

    Returns:
        A range as wide as the searched one, with the edge in its middle. None where the best three
        rates don't all lie in the outer quarter (of the decades) on one side, or there are fewer than six.
    """
    rates, values = np.asarray(learning_rates, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    values = np.where(np.isfinite(values), -values if maximize else values, np.inf)
    # Trials at the same rate, as Hyperband promotes them and a Choice repeats them, tell it once.
    order = np.argsort(values, kind="stable")
    distinct = np.sort(np.unique(rates[order], return_index=True)[1])
    if len(distinct) < 2 * BEST_TRIALS:
        return None
    best = rates[order][distinct[:BEST_TRIALS]]
    places = (np.log10(best) - math.log10(searched.min_lr)) / searched.decades
    half = 10.0 ** (searched.decades / 2)
    if (places >= 1 - EDGE_SHARE).all():
        return LRRange(searched.max_lr / half, searched.max_lr * half)
    if (places <= EDGE_SHARE).all():
        return LRRange(searched.min_lr / half, searched.min_lr * half)
    return None
