"""What the curve of an LR range test shows: where the loss falls, where it rises, and how noisy it is."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lrtuner.curve.curve import LRCurve, Training
from lrtuner.curve.lr_range import NoRangeError
from lrtuner.curve.smoothing import (
    MEDIAN_DIFFERENCE,
    RESOLUTION,
    FloatArray,
    local_linear_weights,
    noise_with_outliers,
    running_medians,
    smoothing_bandwidth,
)

IndexArray = npt.NDArray[np.intp]

# Optimizers whose steps don't grow with the gradients: they can't learn at the first rates of a sweep.
ADAPTIVE = frozenset({"adam", "adamw", "adamax", "nadam", "rmsprop", "adafactor", "lion", "muon"})


@dataclasses.dataclass(frozen=True)
class ShortLong:
    """A figure's value for a short sweep and for a long one; `Reading.between` gives those in between."""

    short: float
    long: float


@dataclasses.dataclass(frozen=True)
class ReadingConstants:
    """The constants that a curve is read with.

    Unless another origin is given, they were chosen on measured sweeps of 17 tasks, where their neighbours
    do about as well.
    """

    # Below this many points neither a start nor a noise can be told from a descent.
    min_points: int = 6
    # The first decade of a sweep is too low to learn at. Its first quarter says where the loss starts.
    start_decades: float = 1.0
    start_share: int = 4
    # Raw data can be learned from the first batch on. Where the losses of that quarter fall by more than so
    # many standard deviations of a trend in noise, half of them say where the loss starts, and so on, down
    # to so many losses.
    start_trend: float = 3.0
    start_points: int = 6
    # While no batch has moved the weights by more than this share of their size, the loss moves by its noise.
    # Where batches differ much, as those of a series in its order, it moved the range decades too low in 16
    # of 300 simulated orders of one task's batches, and in 5 with this limit.
    harmless_update: float = 3e-4
    # In standard deviations of the smoothed loss. Simulated: 1 sweep of normal noise in 100 passes at 10 to
    # 300 batches, and 2 of Student's t with 3 degrees of freedom.
    significant: float = 4.0
    # Where half of the descent is done, where it counts as complete, and where all of it but noise is done.
    # For the second, 0.9, fit for the logarithm of the loss, reads a quarter decade too low. The other two
    # were chosen with the constants of the rule that reads them.
    half_share: float = 0.5
    complete_share: float = 0.95
    done_share: float = 0.99
    # How far up a divergence or an outlier got says nothing: losses further than this many descents from the
    # start look the same.
    cap_descents: float = 2.0
    # From this many points on, the median of three neighbours takes out single outliers. On fewer points it
    # costs detail.
    outlier_points: int = 40
    # Noise has heavy tails where its 95% quantile is so many times that of normal noise with the same median.
    # Of 10,000 simulated starts of normal losses 3 are taken for such with 25 losses, and 55 with 6.
    heavy_tails: float = 3.0
    # Where high losses are part of such a noise, and not just single outliers, more than this share of the
    # losses is still high after single ones were taken out.
    most_clusters: float = 0.02
    # The loss has left the start upwards: by a visible part of the descent, for some decades.
    leave_descents: float = 0.5
    leave_decades: float = 0.3
    # Or it has turned: half of the descent is lost again, and not by noise.
    turn_share: float = 0.5
    turn_noises: float = 3.0
    # Or, where there is no descent, the median of three neighbours, or every loss from here on, lies above
    # the start by this many standard deviations of one batch and by twice as much as the start's highest
    # loss.
    spike_noises: float = 5.0
    tail_noises: float = 8.0
    spike_heights: float = 2.0
    # Batches in a decade from which on a sweep counts as long, and below which as short. A long one reads
    # more precisely. A short one reads higher: the best rate falls by about 0.24 decades for 3-4 times the
    # training.
    density: ShortLong = ShortLong(short=6.25, long=25.0)
    # A sweep whose batches come in an order, as those of a time series do. Of 2,630 measured sweeps of
    # shuffled data 1 was taken for such a one. Of 111 sweeps of ordered data with 300 batches 68 were seen,
    # and 30 of as many with 100 batches.
    # At rates up to this nothing but the data moves the loss of most models.
    order_rate: float = 1e-5
    # So in the first decades, of at least so many batches, losses that follow one another by more than so
    # many standard deviations follow the data.
    order_decades: tuple[float, ...] = (1.0, 2.0)
    order_points: int = 12
    order_deviations: float = 3.0
    # A descent that grows with the sum of the rates is taken out before: it is what raw data show so early.
    # It has to leave this share of the variance.
    order_left: float = 0.2
    # Moves by less than this share of the descent mislead nobody. They are what a model shows whose batches
    # have no noise: all of the data in one batch, or a formula.
    order_share: float = 0.02
    # Where such a descent may be nearly done, in sums of the rates of the first decades.
    order_sums: tuple[float, ...] = (math.inf, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
    # The variance of a median of k normal variables is pi / 2 / k.
    median_variance: float = math.pi / 2
    # Distances between rates are compared with this slack, in decades, so that rounding does not decide.
    slack: float = 1e-9


READING = ReadingConstants()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a curve shows, in log10 rates.

    Attributes:
        batches: Batches up to the blow-up.
        density: Batches in a decade.
        noise: Standard deviation of one batch's loss, in the losses' units.
        start: Loss at which the sweep starts.
        descent: How far the smoothed loss fell, in the losses' units; 0 where that is within its noise.
        half: Where half of the descent is done; NaN without one.
        complete: Where the loss has nearly finished its descent, or None.
        done: Where all of the descent but noise is done; NaN without one.
        clarity: log10 of the descent in standard deviations of one batch's loss; NaN without one.
        edge: Where the loss leaves the good rates upwards, or None.
    """

    batches: int
    density: float
    noise: float
    start: float
    descent: float = 0.0
    half: float = math.nan
    complete: float | None = None
    done: float = math.nan
    clarity: float = math.nan
    edge: float | None = None

    def between(self, values: ShortLong) -> float:
        """Return a figure's value for a sweep of this density."""
        at = READING.density
        share = math.log(self.density / at.short) / math.log(at.long / at.short)
        return values.short + min(max(share, 0.0), 1.0) * (values.long - values.short)


def read_curve(curve: LRCurve, fewest: int = READING.min_points) -> Reading:
    """Read a curve up to where its loss has blown up.

    Losses are read on a linear scale whose zero is the start's loss and whose unit is the descent, so that
    shifting or scaling them changes nothing.

    Args:
        curve: The curve.
        fewest: Usable batches that it must have. Of fewer than 6 the blow-up alone is read.

    Returns:
        What it shows.

    Raises:
        NoRangeError: No rule could find a range on the curve.
    """
    x, losses = np.log10(curve.learning_rates[curve.usable]), curve.losses[curve.usable]
    _check_usable(curve, x, losses, fewest)
    # In units of the largest loss, nothing overflows.
    scale = float(np.abs(losses).max())
    losses = losses / scale
    training = curve.training or Training()
    if not training.is_shuffled and _follows_the_data(training, x, losses):
        raise NoRangeError(
            f"The loss rose or fell at learning rates below {READING.order_rate:g}. It does so when the "
            "batches come in an order: sorted by class, or one moment after another. It also does so when "
            "the losses were averaged over batches. Such a curve does not show the learning rate. Shuffle "
            "the data, for example with dataset.shuffle(...), and give the loss of each batch alone."
        )
    n = len(x)
    k = _start_length(losses)

    def reading(noise: float, edge: int | None, descent: float = 0.0, **found: float) -> Reading:
        # Heights in the losses' own units, as far as floating point has them.
        most = float(np.finfo(np.float64).max)
        return Reading(
            batches=n,
            density=float((n - 1) / (x[-1] - x[0])),
            noise=min(noise * scale, most),
            start=float(np.median(losses[:k])) * scale,
            descent=min(descent * scale, most),
            edge=None if edge is None else float(x[edge]),
            **found,
        )

    end = None if curve.blow_up is None else n - 1
    if n < READING.min_points:
        return reading(float(np.std(losses)), end)
    heights, noise, unit = _heights(losses, k, has_outliers=training.has_outliers)
    smooth, deviation = _smooth(x, heights, noise, k)
    settled = np.flatnonzero(x - x[0] >= READING.start_decades - READING.slack)
    if curve.updates is not None and (training.optimizer or "").lower() not in ADAPTIVE:
        largest = np.maximum.accumulate(np.nan_to_num(curve.updates, nan=math.inf))[curve.usable]
        moved = settled[largest[settled] > READING.harmless_update]
        settled = moved if len(moved) else settled
    edge, descended = _edge(x, smooth, deviation, settled)
    if not descended:
        edge = _spike(heights, noise, settled) if edge is None else edge
        return reading(noise * unit, end if edge is None else edge)
    # The first such rate, not the last: losses that jump up and return had their descent before.
    inside = settled if edge is None else settled[settled <= edge]
    lowest = float(smooth[inside].min())
    half, complete, done = (
        float(x[inside[np.argmax(smooth[inside] <= share * lowest)]])
        for share in (READING.half_share, READING.complete_share, READING.done_share)
    )
    clarity = math.log10(-lowest / noise)
    return reading(
        noise * unit, edge, -lowest * unit, half=half, complete=complete, done=done, clarity=clarity
    )


def _check_usable(curve: LRCurve, x: FloatArray, losses: FloatArray, fewest: int) -> None:
    """Raise NoRangeError where no rule could find a range."""
    n, end = len(losses), curve.blow_up
    if n < fewest:
        if end is None:
            raise NoRangeError(f"The sweep has {n} batches, too few to show a curve. Sweep over at least 50.")
        raise NoRangeError(
            f"The loss blew up at batch {end + 1}, where it was {float(curve.losses[end])!r}. The batches "
            "before it are too few to show a curve. Check the model and its data, or start from a lower "
            "learning rate."
        )
    if x[-1] - x[0] < READING.start_decades - READING.slack:
        raise NoRangeError(
            f"The usable batches span {x[-1] - x[0]:.2g} decades (factors of ten). That is too few, since "
            "the first decade only shows where the loss starts. Sweep over more decades, or start from a "
            "lower learning rate."
        )
    if losses.max() == losses.min():
        raise NoRangeError(
            f"The loss was {losses[0]:.6g} at every learning rate. Check that the model has trainable "
            "weights and that its loss depends on them."
        )


def _follows_the_data(training: Training, x: FloatArray, losses: FloatArray) -> bool:
    """Return whether the losses of the first decades follow one another at rates that can't have moved them.

    The measure is the ratio of von Neumann, on ranks: Bartels 1982, "The Rank Version of von Neumann's Ratio
    Test for Randomness".
    """
    sums = (math.nan,) if (training.optimizer or "").lower() in ADAPTIVE else READING.order_sums
    for decades in READING.order_decades:
        early = (x - x[0] <= decades + READING.slack) & (x <= math.log10(READING.order_rate) + READING.slack)
        n = int(early.sum())
        if n < READING.order_points:
            continue
        descent = float(np.median(losses[early])) - float(running_medians(losses)[2:-2].min())
        if float(np.ptp(losses[early])) < READING.order_share * descent:
            continue
        ranks = np.argsort(np.argsort(losses[early], kind="stable"), kind="stable").astype(np.float64)
        rest = min((_without_descent(ranks, x[early], at) for at in sums), key=np.var)
        squares = float(rest @ rest)
        if squares < READING.order_left * float(np.sum((ranks - ranks.mean()) ** 2)):
            continue
        ratio = float(np.sum(np.diff(rest) ** 2)) / squares / 2
        if (1 - ratio) * math.sqrt(n) > READING.order_deviations:
            return True
    return False


def _without_descent(values: FloatArray, x: FloatArray, done_at: float) -> FloatArray:
    """Return the values, centred, less the best fit of a descent that ends with the sum of the rates.

    Args:
        values: Shape `(n,)`.
        x: log10 rates, shape `(n,)`.
        done_at: Share of the sum of all rates at which the descent is nearly done; infinite where it grows
            evenly with the sum, and NaN where there can be none.
    """
    centred: FloatArray = values - values.mean()
    if math.isnan(done_at):
        return centred
    sums = np.cumsum(10.0 ** (x - x[-1]))
    sums /= sums[-1]
    shape = sums if math.isinf(done_at) else 1 - np.exp(-sums / done_at)
    shape = shape - shape.mean()
    slope = min(float(shape @ centred) / float(shape @ shape), 0.0)
    rest: FloatArray = centred - slope * shape
    return rest


def _start_length(losses: FloatArray) -> int:
    """Return how many of the losses say where the loss starts: fewer where it falls from the first on."""
    n = len(losses) // READING.start_share
    while n > READING.start_points and _trend(losses[:n]) < -READING.start_trend:
        n //= 2
    return max(4, n)


def _trend(values: FloatArray) -> float:
    """Return how far values fall (below 0) or rise, in standard deviations of what noise does.

    The test of Mann 1945, "Nonparametric Tests Against Trend". It counts the pairs that rise, less those that
    fall.
    """
    n = len(values)
    rises = float(np.triu(np.sign(values[None, :] - values[:, None])).sum())
    return rises / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def _heights(losses: FloatArray, k: int, *, has_outliers: bool) -> tuple[FloatArray, float, float]:
    """Return the losses' heights above the start in units of the descent, and how noisy they are.

    Args:
        losses: Shape `(n,)`.
        k: How many of them say where the loss starts.
        has_outliers: Whether some are known to lie far above all others, whatever the weights.

    Returns:
        The heights, shape `(n,)`; the standard deviation of one height; and the unit in units of the losses.
    """
    n = len(losses)
    start = float(np.median(losses[:k]))
    half = max(k, n // 2)
    differences = np.sort(np.abs(np.diff(losses[: half + 1])))
    jump = float(np.median(differences)) / MEDIAN_DIFFERENCE
    lowest = float(running_medians(losses)[2:-2].min())
    resolution = max(RESOLUTION * abs(start), float(np.finfo(np.float64).tiny))
    unit = max(start - lowest, jump, resolution)
    heights = (losses - start) / unit
    # Noise has heavy tails where positives are rare.
    first = np.sort(np.abs(np.diff(losses[: k + 1])))
    normal = float(np.median(first)) / MEDIAN_DIFFERENCE
    if has_outliers or noise_with_outliers(first) > READING.heavy_tails * normal:
        capped = _capped(heights)
        # The start itself may be one of the high losses.
        clusters = max(np.mean(capped[:half] > 1.0), np.mean(capped[:k] < -0.5))
        if clusters > READING.most_clusters:
            jump = max(jump, noise_with_outliers(differences))
            unit = max(start - lowest, jump, resolution)
            heights = (losses - start) / unit
            # The smoothed losses are means, which then lie above the median.
            heights -= float(np.mean(_capped(heights)[:k]))
    noise = max(float(np.std(_capped(heights)[:k])), jump / unit, resolution / unit)
    return heights, noise, unit


def _capped(heights: FloatArray) -> FloatArray:
    """Return the heights without single outliers, and as if none were very far from the start."""
    capped = np.clip(heights, -READING.cap_descents, READING.cap_descents)
    if len(capped) >= READING.outlier_points:
        capped[1:-1] = np.median([capped[:-2], capped[1:-1], capped[2:]], axis=0)
    return capped


def _smooth(x: FloatArray, heights: FloatArray, noise: float, k: int) -> tuple[FloatArray, FloatArray]:
    """Return the smoothed heights, and the standard deviation of each against the start's `k` heights."""
    capped = _capped(heights)
    weights = list(local_linear_weights(x, smoothing_bandwidth(x)))
    smooth = np.array([w @ capped[first : first + len(w)] for first, w in weights])
    variance_of_start = READING.median_variance / k
    return smooth, noise * np.sqrt(np.array([w @ w for _, w in weights]) + variance_of_start)


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
        descended = descended or bool(-smooth[i] > READING.significant * deviation[i])
        stays = smooth[i:][x[i:] - x[i] <= READING.leave_decades + READING.slack]
        left = smooth[i] > max(READING.significant * deviation[i], READING.leave_descents)
        turn = max(READING.turn_share * -lowest, READING.turn_noises * deviation[i])
        if (left and (stays > 0).all()) or (descended and smooth[i] - lowest > turn):
            return i, descended
    return None, descended


def _spike(heights: FloatArray, noise: float, settled: IndexArray) -> int | None:
    """Return the index at which losses too few to move the smoothed loss rise far above the start."""
    highest = READING.spike_heights * float(heights[: settled[0]].max())
    spike, tail = max(READING.spike_noises * noise, highest), max(READING.tail_noises * noise, highest)
    for i in settled.tolist():
        stands_out = np.median(heights[i - 1 : i + 2]) > spike and i + 1 < len(heights)
        if stands_out or heights[i:].min() > tail:
            return int(i)
    return None
