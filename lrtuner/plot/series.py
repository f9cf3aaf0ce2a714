"""What a picture shows of each sweep, gathered and checked before anything is drawn, and the axes' limits.

Nothing here needs matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange
from lrtuner.curve.smoothing import FloatArray, running_medians

Bounds = tuple[float, float]
Trials = Sequence[tuple[float, float]]

# Okabe and Ito's colours, which colour-blind readers can tell apart too (https://jfly.uni-koeln.de/color/),
# the strongest first. Black is left out, so that a colour is seen on any background.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Lines and markers tell the sweeps apart where there is no colour. Triangles are for what is off the scale.
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
_MARKERS = ("o", "s", "D", "P", "p", "h")
# The scale is logarithmic where the highest loss is more than so many times the lowest, and all losses
# together span more than so many times what those of one sweep do.
_FAR_APART = 10.0


@runtime_checkable
class DrawnSweep(Protocol):
    """What `plot_sweeps` reads of a sweep."""

    @property
    def name(self) -> str:
        """What the legend calls it."""

    @property
    def learning_rate(self) -> str:
        """Name of the hyperparameter that was swept; empty if unknown."""

    @property
    def setting(self) -> Mapping[str, Any]:
        """The values of other hyperparameters that set the sweep apart, by name; empty if nothing does."""

    @property
    def curve(self) -> LRCurve | None:
        """The losses; None where the sweep failed."""

    @property
    def lr_range(self) -> LRRange | None:
        """The range read off the curve, if any."""

    @property
    def reason(self) -> str | None:
        """Why there is no range, if there is none."""

    @property
    def declared(self) -> Bounds | None:
        """Smallest and largest learning rate that the user declared, if known."""


class Look(NamedTuple):
    """What tells a sweep from the others, in colour and without."""

    colour: str
    line: Any
    marker: str

    @classmethod
    def number(cls, index: int) -> Look:
        """Return the look of the sweep with this index."""
        return cls(
            *(looks[index % len(looks)] for looks in (_COLOURS, _LINES, _MARKERS)),
        )


class Objective(NamedTuple):
    """What a trial's score is, and which end of it is better."""

    name: str
    direction: str | None  # "min", "max", or None where nobody knows

    @classmethod
    def checked(cls, name: str | None, direction: str | None) -> Objective:
        """Return the objective of that name.

        Raises:
            ValueError: There is no such direction.
        """
        if direction not in ("min", "max", None):
            raise ValueError(f"direction must be 'min', 'max' or None, got {direction!r}.")
        return cls(name or "score", direction)

    def best(self, scores: FloatArray) -> int | None:
        """Return the index of the best score, or None where there is none or nobody knows."""
        if self.direction is None or not len(scores):
            return None
        return int(np.argmax(scores) if self.direction == "max" else np.argmin(scores))


class Series(NamedTuple):
    """One sweep, ready to draw."""

    name: str
    look: Look
    learning_rates: FloatArray
    losses: FloatArray  # NaN where not finite
    smoothed: FloatArray
    blow_up: int | None  # index of the first batch at which the loss has blown up
    lr_range: LRRange | None
    reason: str | None
    declared: Bounds | None
    trials: FloatArray  # shape (n, 2): learning rate and score
    batch_size: int | None  # rows in a batch of the sweep, where they are known

    @classmethod
    def of_sweep(cls, sweep: DrawnSweep, index: int, trials: FloatArray) -> Series:
        """Gather what is drawn of the sweep with this index."""
        return cls.of_curve(sweep.curve, sweep.lr_range, sweep.declared, trials)._replace(
            name=sweep.name, look=Look.number(index), reason=sweep.reason
        )

    @classmethod
    def of_curve(
        cls, curve: LRCurve | None, lr_range: LRRange | None, declared: Bounds | None, trials: FloatArray
    ) -> Series:
        """Gather what is drawn of a curve, which has no name."""
        if curve is None:
            curve = LRCurve(np.empty(0), np.empty(0))
        return cls(
            name="",
            look=Look.number(0),
            learning_rates=curve.learning_rates,
            losses=np.where(np.isfinite(curve.losses), curve.losses, np.nan),
            smoothed=curve.smoothed(),
            blow_up=curve.blow_up,
            lr_range=lr_range,
            reason=None,
            declared=declared,
            trials=trials,
            batch_size=None if curve.training is None else curve.training.batch_size,
        )

    def without_curve(self) -> Series:
        """Return the same without the losses."""
        none = np.empty(0)
        return self._replace(learning_rates=none, losses=none, smoothed=none, blow_up=None)

    @property
    def has_curve(self) -> bool:
        """Whether there is any loss to draw."""
        return bool(np.isfinite(self.losses).any())

    @property
    def calm(self) -> FloatArray:
        """The losses before the blow-up; all of them where none comes before it."""
        calm = self.losses[: self.blow_up]
        return calm if np.isfinite(calm).any() else self.losses


# --- What the caller passes ---------------------------------------------------------------------------------

_PAIRS = {
    "declared": "Pass the lowest and the highest declared learning rate.",
    "trials": "Pass (learning rate, score) for each trial.",
}


def pair(values: Any, what: str) -> Bounds:
    """Return two numbers.

    Raises:
        ValueError: It is no pair of numbers.
    """
    try:
        first, second = values
        return float(first), float(second)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{what} must hold pairs of numbers, got {values!r}. {_PAIRS[what]}") from e


def finite_pairs(trials: Trials | None) -> FloatArray:
    """Return the pairs that can be drawn: shape `(n, 2)`, the learning rates positive.

    Raises:
        ValueError: `trials` holds no pairs of numbers.
    """
    trials = () if trials is None else trials
    if not isinstance(trials, Iterable):
        raise ValueError(f"trials must be a list of pairs, got {trials!r}. {_PAIRS['trials']}")
    pairs = np.array([pair(one, "trials") for one in trials], dtype=np.float64).reshape(-1, 2)
    return pairs[np.isfinite(pairs).all(axis=1) & (pairs[:, 0] > 0)]


def gather(
    sweeps: Sequence[DrawnSweep], trials: Sequence[Trials] | None
) -> tuple[list[DrawnSweep], list[Series]]:
    """Return the sweeps as a list, and each with its trials ready to draw.

    Raises:
        TypeError: `sweeps` holds something that is no sweep.
        ValueError: `trials` holds no pairs of numbers for each sweep.
    """
    sweeps = list(sweeps) if isinstance(sweeps, Iterable) else [sweeps]
    for sweep in sweeps:
        if not isinstance(sweep, DrawnSweep):
            raise TypeError(
                f"sweeps must be a list of lrtuner.Sweep, got {sweep!r} of type {type(sweep).__name__} in "
                "it. Use tuner.oracle.sweeps; for a curve use plot_curve."
            )
    if trials is None:
        trials = [()] * len(sweeps)
    groups = [finite_pairs(one) for one in (trials if isinstance(trials, Iterable) else [trials])]
    if len(groups) != len(sweeps):
        raise ValueError(
            f"trials must hold a list for each of the {len(sweeps)} sweeps, got {len(groups)}. "
            "Pass an empty list for a sweep without any."
        )
    return sweeps, [Series.of_sweep(sweep, index, groups[index]) for index, sweep in enumerate(sweeps)]


# --- What fits on the axes ----------------------------------------------------------------------------------


def rate_limits(series: Sequence[Series]) -> Bounds | None:
    """Return the ends of the learning-rate axis, with a little room; None where there is nothing to show."""
    rates: list[float] = []
    for one in series:
        rates += [*one.trials[:, 0]]
        rates += [*one.learning_rates[:1], *one.learning_rates[-1:]]
        if one.lr_range is not None:
            rates += [one.lr_range.min_lr, one.lr_range.max_lr]
        rates += [rate for rate in one.declared or () if rate > 0]
    if not rates:
        return None
    low, high = math.log10(min(rates)), math.log10(max(rates))
    room = 0.03 * (high - low) or 0.5
    return 10.0 ** (low - room), 10.0 ** (high + room)


def loss_limits(one: Series) -> Bounds | None:
    """Return the lowest and highest loss to show, so that a blow-up does not flatten the rest.

    That is what the losses span up to their minimum, and half as much again where they rise beyond it
    afterwards. The level that a dead net's loss has after a blow-up is shown, if it is near.
    """
    finite = one.calm[np.isfinite(one.calm)]
    if len(finite) == 0:
        return None
    # A loss that only ever rises has its minimum at the start: the first quarter shows its level.
    until = max(int(np.argmin(running_medians(finite))) + 1, len(finite) // 4, 5)
    # The lowest median is that of two batches more.
    low = float(finite[: until + 2].min())
    # Spikes may be one loss in ten before the level is lost.
    high = float(np.percentile(finite[:until], 90))
    span = high - low
    if np.nanmax(one.losses) > high:
        high += 0.5 * span
    if one.blow_up is not None:
        after = one.losses[one.blow_up :]
        low = float(np.min(after, initial=low, where=after > low - 0.5 * span))
    return not_flat(low, high)


def not_flat(low: float, high: float) -> Bounds:
    """Return the bounds, or others around them where they are the same."""
    half = 0.1 * abs(low) or 0.5
    return (low, high) if high > low else (low - half, high + half)


def are_far_apart(spans: Sequence[Bounds]) -> bool:
    """Return whether one of the curves would be flat beside the others, but for a logarithmic scale."""
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    smallest = min(span[1] - span[0] for span in spans)
    return low > 0 and high > _FAR_APART * low and high - low > _FAR_APART * smallest


def score_limits(scores: FloatArray, direction: str | None) -> Bounds:
    """Return the lowest and highest score to show: without outliers, which one diverged trial would be.

    On the better side nothing is an outlier.
    """
    quarter, half, most = np.percentile(scores, [25, 50, 75])
    # Three times the distance between the quartiles is Tukey's fence for what is "far out".
    reach = 3 * (most - quarter)
    if not reach > 0:
        return float(scores.min()), float(scores.max())
    kept = scores[
        ((scores >= quarter - reach) | (direction == "min"))
        & ((scores <= most + reach) | (direction == "max"))
    ]
    return float(kept.min(initial=half)), float(kept.max(initial=half))


def is_beyond(scores: FloatArray, limits: Bounds) -> npt.NDArray[np.bool_]:
    """Return which scores lie outside of what is shown."""
    return (scores < limits[0]) | (scores > limits[1])
