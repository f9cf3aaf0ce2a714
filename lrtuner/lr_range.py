"""Read the range of good learning rates off the curve of an LR range test.

The test and the idea of reading a range off it: Smith 2017, "Cyclical Learning Rates for Training Neural
Networks", https://arxiv.org/abs/1506.01186.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lrtuner.blow_up import blow_up
from lrtuner.curve import LRCurve
from lrtuner.records import check_bounds, check_keys, config_float
from lrtuner.smoothing import FloatArray, ema, local_linear_weights, smoothing_bandwidth

IndexArray = npt.NDArray[np.intp]


class NoRangeError(ValueError):
    """The curve holds no evidence of a good range; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a range was read from, in figures; `str()` puts it into words.

    Attributes:
        batches: Batches of the sweep up to the blow-up.
        density: Batches in a decade of learning rates.
        noise: Standard deviation of one batch's loss where the sweep starts, in the losses' units.
        descent: How far the smoothed loss fell, in the losses' units; 0 where that is within its noise.
        descent_end: Learning rate at which the smoothed loss had nearly finished its descent, or None.
        edge: Learning rate from which on the loss rose or blew up, or None.
        usual: Learning rate that is usual for the optimizer and the batch size, or None where they are
            unknown or were not used.
        width: Decades that the rule chose, before the sweep's ends cut any off.
        reach: Decades of them that were added since the usual rate disagrees with the curve.
    """

    batches: int
    density: float
    noise: float
    descent: float
    descent_end: float | None
    edge: float | None
    usual: float | None = None
    width: float = 0.0
    reach: float = 0.0

    @property
    def is_descent_significant(self) -> bool:
        """Whether the loss fell by more than its noise explains."""
        return self.descent_end is not None

    @property
    def is_from_curve(self) -> bool:
        """Whether the curve shows anything at all, rather than noise."""
        return self.descent_end is not None or self.edge is not None

    def __str__(self) -> str:
        """Say how sure the range is, and why."""
        if self.descent_end is not None:
            times = f"{self.descent / self.noise:.2g} times" if self.noise > 0 else "far beyond"
            words = (
                f"The loss fell by {self.descent:.3g}, {times} the noise of one batch, and had nearly done "
                f"so at {self.descent_end:.2g}"
            )
            words += f"; it rose from {self.edge:.2g} on." if self.edge is not None else "."
        elif self.edge is not None:
            words = f"The loss did not fall beyond its noise before it rose at {self.edge:.2g}."
        else:
            words = "The loss neither fell nor rose beyond its noise."
        if self.usual is not None:
            words += f" {self.usual:.2g} is usual for this optimizer and batch size."
        earned = self.width - self.reach
        words += f" {self.batches} usable batches, {self.density:.2g} in a decade, earn {earned:.3g} decades"
        if self.usual is not None:
            words += " with this optimizer"
        if self.reach > 0:
            words += f"; {self.reach:.2g} more since curve and usual rate disagree"
        return f"{words}."

    def to_config(self) -> dict[str, Any]:
        """Return the evidence as a dict of strict JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Evidence:
        """Rebuild the evidence that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {field.name for field in dataclasses.fields(cls)}, cls.__name__)
        numbers = {
            key: None
            if value is None and key in {"descent_end", "edge", "usual"}
            else config_float(value, key)
            for key, value in config.items()
        }
        return cls(**{**numbers, "batches": int(numbers["batches"] or 0)})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class LRRange:
    """A range of learning rates worth searching.

    Ranges are equal when their bounds are.

    Attributes:
        min_lr: Smallest learning rate.
        max_lr: Largest learning rate.
        evidence: What it was read from, or None where the rule doesn't say.

    Raises:
        ValueError: The bounds are not finite numbers with 0 < min_lr < max_lr.
    """

    min_lr: float
    max_lr: float
    evidence: Evidence | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        low, high = check_bounds(self.min_lr, self.max_lr)
        object.__setattr__(self, "min_lr", low)
        object.__setattr__(self, "max_lr", high)

    @property
    def decades(self) -> float:
        """Width of the range: `log10(max_lr / min_lr)`."""
        return math.log10(self.max_lr) - math.log10(self.min_lr)

    def to_config(self) -> dict[str, Any]:
        """Return the range as a dict of strict JSON."""
        evidence = None if self.evidence is None else self.evidence.to_config()
        return {"min_lr": self.min_lr, "max_lr": self.max_lr, "evidence": evidence}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LRRange:
        """Rebuild the range, exactly, that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {"min_lr", "max_lr", "evidence"}, cls.__name__)
        evidence = config["evidence"]
        return cls(
            config_float(config["min_lr"], "min_lr"),
            config_float(config["max_lr"], "max_lr"),
            None if evidence is None else Evidence.from_config(evidence),
        )


Rule = Callable[[LRCurve], "LRRange | tuple[float, float]"]


def suggest_range(
    curve: LRCurve,
    *,
    rule: str | Rule = "posterior",
    train_steps: int | None = None,
    optimizer: str | None = None,
    batch_size: int | None = None,
    momentum: float | None = None,
) -> LRRange:
    """Suggest the range of learning rates that a search should draw from.

    Args:
        curve: The losses of an exponential sweep over a few decades of learning rates.
        rule: `"posterior"`, `"d90"` weighed against the usual rate of the optimizer, where that is known, or
            that rate alone where there are too few batches to show a curve;
            `"d90"`, about one and a half decades around the rate at which the loss has nearly finished its
            descent; `"notebook"` or `"notebook_4x"`, from the steepest descent to a tenth of the minimum's
            rate; or any callable that takes the curve and returns an `LRRange` or a pair of rates.
        train_steps: Batches in one full training, if known.
        optimizer: Keras class name of the optimizer, if known.
        batch_size: Samples in one batch, if known.
        momentum: Momentum of an `SGD` optimizer, if known: at least 0 and below 1. The class name does not
            tell it, and with 0.9 an update is ten times as long.

    Returns:
        The range.  The named rules stay inside of the swept rates, return the same range for losses
        `a * y + b` with `a > 0` (but for `"notebook_4x"`, which takes ratios), and move it with the rates
        (but for `"posterior"` with a known optimizer).

    Raises:
        NoRangeError: The curve holds no evidence of a good range; the message says why.
        TypeError: `curve` is not an `LRCurve`, or `rule` neither a name nor a callable.
        ValueError: The rule's name is unknown, its range is not a range, or a hint is not what it must be.
    """
    if not isinstance(curve, LRCurve):
        raise TypeError(
            f"curve must be an LRCurve, got {type(curve).__name__}. Use LRCurve(learning_rates, losses)."
        )
    for name, hint in (("train_steps", train_steps), ("batch_size", batch_size)):
        if hint is not None and (
            isinstance(hint, bool) or not isinstance(hint, numbers.Integral) or hint < 1
        ):
            raise ValueError(f"{name} must be an integer of at least 1 or None, got {hint!r}.")
    if momentum is not None and (
        isinstance(momentum, bool) or not isinstance(momentum, numbers.Real) or not 0 <= momentum < 1
    ):
        raise ValueError(
            f"momentum must be a number of at least 0 and below 1 or None, got {momentum!r}: pass "
            "model.optimizer.momentum."
        )
    if optimizer is not None and not isinstance(optimizer, str):
        raise ValueError(
            f"optimizer must be a Keras class name such as 'Adam' or None, got {optimizer!r}: pass "
            "type(model.optimizer).__name__."
        )
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"rule must be one of {sorted(RULES)} or a callable, got {rule!r}.")
        if rule == "posterior":
            return _posterior(curve, train_steps, optimizer, batch_size, momentum)
        return RULES[rule](curve)
    if not callable(rule):
        raise TypeError(f"rule must be one of {sorted(RULES)} or a callable, got {rule!r}.")
    suggestion = rule(curve)
    if isinstance(suggestion, LRRange):
        return suggestion
    try:
        low, high = suggestion
    except (TypeError, ValueError) as e:
        raise ValueError(
            f"rule must return an LRRange or a pair of learning rates, got {suggestion!r}."
        ) from e
    return LRRange(low, high)


# Unless another origin is given, the constants below were chosen on measured sweeps of 17 tasks, where their
# neighbours do about as well.

# Below this many points neither a start nor a noise can be told from a descent.
MIN_POINTS = 6
# Of a usual rate, that many finite losses need only show that the model can be trained at all.
MIN_POINTS_KNOWN = 2
# The first decade of a sweep is too low to learn at.  Its first quarter says where the loss starts.
START_DECADES = 1.0
START_SHARE = 4
# In standard deviations of the smoothed loss.  Simulated: 1 sweep of normal noise in 100 passes at 10 to 300
# batches, and 2 of Student's t with 3 degrees of freedom.
SIGNIFICANT = 4.0
# Where a descent counts as complete.  0.9, fit for the logarithm of the loss, reads a quarter decade too low.
DESCENT_SHARE = 0.95
# How far up a divergence or an outlier got says nothing: losses further than this many descents from the
# start look the same.
CAP_DESCENTS = 2.0
# From this many points on the median of three neighbours takes out single outliers; on fewer it costs detail.
OUTLIER_POINTS = 40
# The loss has left the start upwards by a visible part of the descent, for some decades.
LEAVE_DESCENTS = 0.5
LEAVE_DECADES = 0.3
# Or it has turned: half of the descent is lost again, and not by noise.
TURN_SHARE = 0.5
TURN_NOISES = 3.0
# Or, where there is no descent, the median of three neighbours, or all losses from here on, lie above
# the start by this many standard deviations of one batch and by twice as much as the start's highest loss.
SPIKE_NOISES = 5.0
TAIL_NOISES = 8.0
SPIKE_HEIGHTS = 2.0
# Divergence alone: the good rates lie more than a decade below it.
CENTRE_BELOW_EDGE = 1.0
# Batches in a decade from which on a sweep counts as long, and below which as short.  A long one reads more
# precisely.  A short one reads higher: the best rate falls by about 0.24 decades for 3-4 times the training.
LONG_DENSITY, SHORT_DENSITY = 25.0, 6.25
WIDTH_LONG, WIDTH_SHORT = 1.4, 1.8
CENTRE_BELOW_LONG, CENTRE_BELOW_SHORT = 0.3, 0.5
# The constants from here on were chosen on those 17 tasks and the 531 calibration tasks of
# examples/benchmarks/range_quality.py that can be learned, every fifth left out in turn. All lie on plateaus.
# What is known before the sweep, log10: ten times Keras' default, except for Lion (its paper advises a third
# to a tenth of AdamW's rate) and Adagrad, whose best rates were measured this high.
PRIOR_CENTRES = {
    "SGD": -1.0,
    "Adagrad": -0.3,
    "Adam": -2.0,
    "AdamW": -2.0,
    "Adamax": -2.0,
    "Nadam": -2.0,
    "RMSprop": -2.0,
    "Adafactor": -2.0,
    "Lion": -3.0,
}
# The batch size to which these refer.
PRIOR_BATCH = 64
# The curve is read where half of the descent is done and where all but noise is, with these weights.
HALF_SHARE, DONE_SHARE = 0.5, 0.99
HALF_WEIGHT = 0.35
# The best rate lies above that reading by this power of the batches in a decade over so many.
# A descent takes a certain sum of rates, on a ramp the rate times the batches in a decade: a power near 1.
DENSITY_POWER, DESCENT_DENSITY = 0.8, 46.0
# A short sweep shows the first part of a descent alone.
ABOVE_SHORT = 0.15
# The law was not measured beyond these batches in a decade.
DENSITY_LIMITS = (3.0, 80.0)
# Decades that the best rate lies lower where the descent is ten times as clear, in standard deviations of one
# batch's loss, as a descent of ten of them.
FALL_SHORT, FALL_LONG, CLARITY_LIMITS = 0.3, 0.1, (-0.5, 2.5)
# Divergence alone bounds the good rates from above, these decades below it in a short sweep.  Where they lie
# it hardly says: so much of what the bound lies above the usual rate counts.
BELOW_DIVERGENCE, ABOVE_WEIGHT = 1.2, 0.3
# Below so many batches in a decade, fewer than a default sweep has, the descent of a good task may not show
# at all: of measured sweeps with 8 in a decade, some showed nothing.
HIDING_DENSITY = 11.0
# Weight of the prior against the curve.
PRIOR_SHORT, PRIOR_LONG = 0.6, 0.3
# In decades.  A prior further than this from the curve is wrong, and pulls no harder.
DISAGREEMENT = 1.25
# Beyond so many decades the range grows by this share of itself a decade, for as many decades more.
AGREEMENT, GROWTH, GROWTH_DECADES = 1.0, 0.6, 1.5
# Batches of training to which all this refers, and decades that the best rate falls for ten times as many.
TRAIN_STEPS, FALL_BY_STEPS = 250, 0.4
# The fall was not measured beyond this.
TRAIN_STEPS_LIMITS = (25, 25_000)
# Decades that a short and a long sweep earn.
POSTERIOR_SHORT, POSTERIOR_LONG = 1.45, 1.2
# Where SGD's momentum is known: the usual rate without any.
PLAIN_SGD_CENTRE = -0.45
# Else its usual rate says less, with momentum updates being ten times as long: decades that such sweeps earn.
VAGUE_SHORT, VAGUE_LONG = 2.0, 1.4
# Median of the absolute difference of two independent normal variables of standard deviation 1.
MEDIAN_DIFFERENCE = 0.954
# The variance of a median of k normal variables is pi / 2 / k.
MEDIAN_VARIANCE = math.pi / 2
# Distances between rates are compared with this slack, in decades, so that rounding does not decide.
SLACK = 1e-9


@dataclasses.dataclass(frozen=True)
class _Reading:
    """What a curve shows, in log10 rates.

    Attributes:
        complete: Where the loss has nearly finished its descent, or None.
        edge: Where the loss leaves the good rates upwards, or None.
        density: Batches in a decade.
        batches: Batches up to the blow-up.
        descent: How far the smoothed loss fell, 0 where not beyond its noise.
        noise: Standard deviation of one batch's loss.
        half: Where half of the descent is done, if there is one.
        done: Where all of it but noise is done, if there is one.
        clarity: log10 of the descent in standard deviations of one batch's loss, if there is one.
    """

    complete: float | None
    edge: float | None
    density: float
    batches: int
    descent: float
    noise: float
    half: float = math.nan
    done: float = math.nan
    clarity: float = math.nan

    def evidence(self, width: float, usual: float | None = None, reach: float = 0.0) -> Evidence:
        """Return the reading for the user: rates, not logarithms."""
        complete, edge, usual = (
            None if at is None else float(10.0**at) for at in (self.complete, self.edge, usual)
        )
        return Evidence(
            self.batches, self.density, self.noise, self.descent, complete, edge, usual, width, reach
        )

    def between(self, short: float, long: float) -> float:
        """Return a value between that for a short sweep and that for a long one."""
        share = math.log(self.density / SHORT_DENSITY) / math.log(LONG_DENSITY / SHORT_DENSITY)
        return short + min(max(share, 0.0), 1.0) * (long - short)


def _d90(curve: LRCurve) -> LRRange:
    """About one and a half decades around the rate at which the loss has nearly finished its descent."""
    reading = _read(curve)
    half = reading.between(WIDTH_SHORT, WIDTH_LONG) / 2
    centre = _d90_centre(curve, reading)
    return _swept(curve, reading, centre - half, centre + half, reading.evidence(2 * half))


def _d90_centre(curve: LRCurve, reading: _Reading) -> float:
    below = reading.between(CENTRE_BELOW_SHORT, CENTRE_BELOW_LONG)
    if reading.complete is not None:
        return reading.complete - below
    if reading.edge is not None:
        # Divergence is evidence too: the good rates end before it.
        return reading.edge - CENTRE_BELOW_EDGE - below
    raise _no_evidence(curve, reading)


def _no_evidence(curve: LRCurve, reading: _Reading) -> NoRangeError:
    return NoRangeError(
        f"The loss neither fell nor blew up by more than its noise over {reading.batches} batches from "
        f"learning rate {curve.learning_rates[0]:.3g} to {curve.learning_rates[-1]:.3g}. Sweep over more "
        "batches, over larger batches, or up to a higher learning rate."
    )


def _posterior(
    curve: LRCurve,
    train_steps: int | None = None,
    optimizer: str | None = None,
    batch_size: int | None = None,
    momentum: float | None = None,
) -> LRRange:
    """The curve weighed against the optimizer's usual rate.

    Where data and loss have usual scales, that rate is as good as a sweep; elsewhere it is decades off.
    Without an optimizer that has a usual rate, this is d90.
    """
    name = (optimizer or "").lower()
    prior = {known.lower(): centre for known, centre in PRIOR_CENTRES.items()}.get(name)
    if prior is None:
        return _d90(curve)
    if name == "sgd" and momentum is not None:
        # With momentum the updates add up to 1 / (1 - momentum) times as much.
        prior = PLAIN_SGD_CENTRE + math.log10(1.0 - momentum)
    # The gradients of a larger batch are less noisy: the square-root rule.
    prior += 0.5 * math.log10((batch_size or PRIOR_BATCH) / PRIOR_BATCH)
    reading = _read(curve, MIN_POINTS_KNOWN)
    density = min(max(reading.density, DENSITY_LIMITS[0]), DENSITY_LIMITS[1])
    if reading.complete is not None:
        centre = HALF_WEIGHT * reading.half + (1 - HALF_WEIGHT) * reading.done
        centre += DENSITY_POWER * math.log10(density / DESCENT_DENSITY) + reading.between(ABOVE_SHORT, 0.0)
        clarity = min(max(reading.clarity, CLARITY_LIMITS[0]), CLARITY_LIMITS[1])
        centre -= reading.between(FALL_SHORT, FALL_LONG) * (clarity - 1.0)
        gap = prior - centre
        pull = reading.between(PRIOR_SHORT, PRIOR_LONG) * min(max(gap, -DISAGREEMENT), DISAGREEMENT)
    elif reading.edge is not None and reading.batches >= MIN_POINTS:
        centre = reading.edge - BELOW_DIVERGENCE + DENSITY_POWER * math.log10(density / SHORT_DENSITY)
        gap = prior - centre
        pull = min(gap + ABOVE_WEIGHT * min(-gap, AGREEMENT), 0.0)
    elif reading.density < HIDING_DENSITY:
        # So few batches can hide a descent, and place no divergence: they are no evidence against the prior.
        centre, gap, pull = prior, 0.0, 0.0
    else:
        raise _no_evidence(curve, reading)
    steps = min(max(train_steps or TRAIN_STEPS, TRAIN_STEPS_LIMITS[0]), TRAIN_STEPS_LIMITS[1])
    centre += pull - FALL_BY_STEPS * math.log10(steps / TRAIN_STEPS)
    is_vague = name == "sgd" and momentum is None
    widths = (VAGUE_SHORT, VAGUE_LONG) if is_vague else (POSTERIOR_SHORT, POSTERIOR_LONG)
    width = reading.between(*widths)
    reach = width * GROWTH * min(max(abs(gap) - AGREEMENT, 0.0), GROWTH_DECADES)
    width += reach
    evidence = reading.evidence(width, prior, reach)
    return _swept(curve, reading, centre - width / 2, centre + width / 2, evidence)


def _swept(curve: LRCurve, reading: _Reading, low: float, high: float, evidence: Evidence) -> LRRange:
    """Return the range between two log10 rates, as far as it was swept without blowing up."""
    first, last = float(curve.learning_rates[0]), float(curve.learning_rates[reading.batches - 1])
    left, right = math.log10(first), math.log10(last)
    # What was not swept is not suggested.  A range beyond all that was swept moves to the nearest part.
    if high <= left:
        low, high = left, left + high - low
    elif low >= right:
        low, high = right - (high - low), right
    if low > left:
        first = max(first, float(10.0**low))
    if high < right:
        last = min(last, float(10.0**high))
    return LRRange(first, last, evidence)


def _read(curve: LRCurve, fewest: int = MIN_POINTS) -> _Reading:
    """Read a curve of at least so many usable batches; of fewer than `MIN_POINTS`, the blow-up alone.

    Losses are read on a linear scale whose zero is the start's loss and whose unit is the descent, so that
    shifting or scaling them changes nothing.
    """
    end = blow_up(curve.losses)
    x, losses = np.log10(curve.learning_rates[:end]), curve.losses[:end]
    _check_usable(curve, x, losses, fewest)
    n = len(x)
    # In units of the largest loss, nothing overflows.
    scale = float(np.abs(losses).max())
    losses = losses / scale
    if n < MIN_POINTS:
        edge_of_few = None if end is None else float(x[-1])
        spread = min(float(np.std(losses)) * scale, float(np.finfo(np.float64).max))
        return _Reading(None, edge_of_few, float((n - 1) / (x[-1] - x[0])), n, 0.0, spread)
    k = max(4, n // START_SHARE)
    start = float(np.median(losses[:k]))
    jump = float(np.median(np.abs(np.diff(losses[: max(k, n // 2) + 1])))) / MEDIAN_DIFFERENCE
    # A median of 5 ignores two outliers.
    lowest = min(float(np.median(losses[i : i + 5])) for i in range(n - 4))
    # Keras computes in float32: smaller steps of a loss are its rounding.
    resolution = max(float(np.finfo(np.float32).eps) * abs(start), float(np.finfo(np.float64).tiny))
    unit = max(start - lowest, jump, resolution)
    heights = (losses - start) / unit
    capped = np.clip(heights, -CAP_DESCENTS, CAP_DESCENTS)
    if n >= OUTLIER_POINTS:
        capped[1:-1] = np.median([capped[:-2], capped[1:-1], capped[2:]], axis=0)
    noise = max(float(np.std(capped[:k])), jump / unit, resolution / unit)

    weights = list(local_linear_weights(x, smoothing_bandwidth(x)))
    smooth = np.array([w @ capped[first : first + len(w)] for first, w in weights])
    deviation = noise * np.sqrt(np.array([w @ w for _, w in weights]) + MEDIAN_VARIANCE / k)
    settled = np.flatnonzero(x - x[0] >= START_DECADES - SLACK)

    edge, descended = _edge(x, smooth, deviation, settled)
    inside = settled if edge is None else settled[settled <= edge]
    density = float((n - 1) / (x[-1] - x[0]))
    # Heights in the losses' own units, as far as floating point has them.
    most = float(np.finfo(np.float64).max)
    noise_of_losses = min(noise * unit * scale, most)
    if descended:
        # The first such rate, not the last: losses that jump up and return had their descent before.
        lowest = float(smooth[inside].min())
        half, complete, done = (
            float(x[inside[np.argmax(smooth[inside] <= share * lowest)]])
            for share in (HALF_SHARE, DESCENT_SHARE, DONE_SHARE)
        )
        descent = min(-lowest * unit * scale, most)
        at_edge = None if edge is None else float(x[edge])
        clarity = math.log10(-lowest / noise)
        return _Reading(complete, at_edge, density, n, descent, noise_of_losses, half, done, clarity)
    if edge is None:
        edge = _spike(heights, noise, settled)
    if edge is None and end is not None:
        edge = n - 1
    return _Reading(None, None if edge is None else float(x[edge]), density, n, 0.0, noise_of_losses)


def _check_usable(curve: LRCurve, x: FloatArray, losses: FloatArray, fewest: int) -> None:
    """Raise NoRangeError where no rule could find a range."""
    n = len(losses)
    if n == len(curve) < fewest:
        raise NoRangeError(f"The sweep has {n} batches, too few to show a curve. Sweep over at least 50.")
    if n < fewest:
        raise NoRangeError(
            f"The loss was {float(curve.losses[n])!r} at batch {n + 1}, which leaves too few batches to "
            "show a curve. Check the model and its data, or start from a lower learning rate."
        )
    if x[-1] - x[0] < START_DECADES - SLACK:
        raise NoRangeError(
            f"The usable part of the sweep spans {x[-1] - x[0]:.2g} decades, and the first {START_DECADES:g} "
            "only shows where the loss starts. Sweep over more decades, or start from a lower learning rate."
        )
    if losses.max() == losses.min():
        raise NoRangeError(
            f"The loss was {losses[0]:.6g} at every learning rate. Check that the model has trainable "
            "weights and that its loss depends on them."
        )


def _edge(
    x: FloatArray, smooth: FloatArray, deviation: FloatArray, settled: IndexArray
) -> tuple[int | None, bool]:
    """Find where the smoothed loss leaves the good rates upwards.

    Returns:
        The index, or None; and whether the loss has descended before.
    """
    lowest, descended = math.inf, False
    for i in settled.tolist():
        lowest = min(lowest, float(smooth[i]))
        descended = descended or bool(-smooth[i] > SIGNIFICANT * deviation[i])
        stays = smooth[i:][x[i:] - x[i] <= LEAVE_DECADES + SLACK]
        if smooth[i] > max(SIGNIFICANT * deviation[i], LEAVE_DESCENTS) and (stays > 0).all():
            return i, descended
        if descended and smooth[i] - lowest > max(TURN_SHARE * -lowest, TURN_NOISES * deviation[i]):
            return i, descended
    return None, descended


def _spike(heights: FloatArray, noise: float, settled: IndexArray) -> int | None:
    """Return the index at which losses too few to move the smoothed loss rise far above the start."""
    highest = SPIKE_HEIGHTS * float(heights[: settled[0]].max())
    for i in settled.tolist():
        if np.median(heights[i - 1 : i + 2]) > max(SPIKE_NOISES * noise, highest) and i + 1 < len(heights):
            return int(i)
        if heights[i:].min() > max(TAIL_NOISES * noise, highest):
            return int(i)
    return None


def _notebook(curve: LRCurve) -> LRRange:
    """From the steepest descent of the averaged loss to a tenth of the rate at its minimum."""
    return _steepest_to_minimum(curve, ratio=math.inf)


def _notebook_4x(curve: LRCurve) -> LRRange:
    """The same, up to where the averaged loss exceeds four times its best, where the notebook stopped."""
    return _steepest_to_minimum(curve, ratio=4.0)


def _steepest_to_minimum(curve: LRCurve, ratio: float) -> LRRange:
    # 0.9 and the tenth are the original LRFinder notebook's.
    average = ema(curve.losses, 0.9)
    finite = np.isfinite(average)
    average = average if finite.all() else average[: np.argmin(finite)]
    if ratio < math.inf:
        blown = average / ratio > np.minimum.accumulate(average)
        average = average[: np.argmax(blown)] if blown.any() else average
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
    "posterior": _posterior,
    "d90": _d90,
    "notebook": _notebook,
    "notebook_4x": _notebook_4x,
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
