"""A range of learning rates, and the evidence that it was read from."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Iterator

from lrtuner.curve.checks import check_bounds

# Decades that a caveat calls wider.
_MUCH_WIDER = 0.3
# A descent by a smaller share of the loss is hardly a move: a bias alone learns as much.
_HARDLY_MOVES = 1e-2
# With SGD, the losses of scaled targets and of classes begin far below this.
_RAW_LOSS = 1e3
# Of level losses with noise, a smoothed curve shows a descent of one to two noises now and then.
_CLEAR_NOISES = 2.0


class NoRangeError(ValueError):
    """The curve holds no evidence of a good range; the message says why, and what to do.

    >>> try:
    ...     lrtuner.suggest_range(lrtuner.LRCurve([1e-4, 1e-3, 1e-2], [2.3, 2.3, 2.3]))
    ... except lrtuner.NoRangeError as error:
    ...     print(error)
    The sweep has 3 batches, too few to show a curve. Sweep over at least 50.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a range was read from, in figures; `str()` puts it into words.

    Attributes:
        batches: Batches of the sweep up to the blow-up.
        density: Batches in a decade of learning rates.
        noise: Standard deviation of one batch's loss where the sweep starts, in the losses' units.
        start: Loss at which the sweep starts.
        chance: Loss of a constant prediction where the losses of SGD start far above it, otherwise None.
        descent: How far the smoothed loss fell, in the losses' units; 0 where that is within its noise.
        descent_end: Learning rate at which the smoothed loss had nearly finished its descent, or None.
        edge: Learning rate from which on the loss rose or blew up, or None.
        optimizer: Class name of the optimizer, or None.
        alone: Learning rate to which the losses point without anything else, or None.
        step: Learning rate at which one batch moves the weights by 2%, or None where that was not recorded or
            says nothing about this optimizer.
        usual: Learning rate that is usual for the optimizer and the batch size, or None where they are
            unknown, or the size of steps was used.
        width: Decades that the rule chose, before the sweep's ends cut any off.
        reach: Decades of them that were added since the loss and the rest disagree.
        is_pretrained: Whether the net is taken for one that was trained before, so that the range lies lower.
        is_head: Whether a single layer is trained, on top of frozen ones, so that the range lies higher.
    """

    batches: int
    density: float
    noise: float
    descent: float
    descent_end: float | None
    edge: float | None
    start: float = 0.0
    chance: float | None = None
    optimizer: str | None = None
    alone: float | None = None
    step: float | None = None
    usual: float | None = None
    width: float = 0.0
    reach: float = 0.0
    is_pretrained: bool = False
    is_head: bool = False

    @property
    def is_from_curve(self) -> bool:
        """Whether the curve shows anything at all, rather than noise."""
        return self.descent_end is not None or self.edge is not None

    @property
    def caveat(self) -> str:
        """What to know before trusting the range; empty where the curve shows it clearly."""
        parts = [self._doubt()]
        if self.chance is not None:
            begins = f"the loss begins at {self.start:.2g}, far above that of a constant prediction"
            parts.append(f"{begins} ({self.chance:.2g}): scale inputs and targets, or use Adam")
        elif self.optimizer == "SGD" and self.start > _RAW_LOSS:
            parts.append(f"losses of {self.start:.2g} look like raw targets: scale them, or use Adam")
        if self.is_pretrained:
            parts.append("the net is taken for pretrained, so the range lies lower")
        if self.is_head:
            parts.append("a single layer is trained on top of frozen ones, so the range lies higher")
        return "; ".join(filter(None, parts))

    def _doubt(self) -> str:
        """Say why the curve doesn't show its range clearly; empty where it does."""
        other, rate = f"the usual rate for {self.optimizer or 'the optimizer'}", self.usual
        if self.step is not None:
            other, rate = "the rate at which a batch moves the weights by 2%", self.step
        if self.descent_end is None:
            shows = "only where the loss rises" if self.is_from_curve else "nothing beyond its noise"
            if rate is None or (self.step is None and self.alone is not None and self.alone < rate):
                how = "lies below the rise"
            elif self.step is not None and self.alone is not None:
                how = f"weighs that against {other} ({rate:.2g})"
            else:
                how = f"lies mostly around {other} ({rate:.2g})"
            return f"the curve shows {shows}, so the range {how}: trust it less"
        if self.descent < _HARDLY_MOVES * abs(self.start):
            return f"the loss hardly moves: {self.start:.7g} to {self.start - self.descent:.7g}"
        if self.reach >= _MUCH_WIDER and self.alone is not None:
            return f"the range is wider because the curve says {self.alone:.2g} and {other} is {rate:.2g}"
        if self.descent < _CLEAR_NOISES * self.noise:
            noises = f"{self.descent / self.noise:.2g} times the noise of one batch"
            return f"the loss fell by only {noises}: more or larger batches tell more"
        return ""

    def loss_in_words(self) -> str:
        """Say in a sentence or two what the loss did."""
        rose = "" if self.edge is None else f" It rose from {self.edge:.2g} on."
        if self.descent_end is not None:
            below = f"below a rate of {self.descent_end:.2g}.{rose}"
            if self.chance is not None:
                end = self.start - self.descent
                part = "What it fell below that" if end < self.chance else "Nearly all of the fall"
                fell = f"from {self.start:.3g} to {end:.3g}; a constant prediction has {self.chance:.3g}"
                return f"The loss fell {fell}. {part} was done {below}"
            noises = self.descent / self.noise if self.noise > 0 else math.inf
            times = "more than 100 times" if noises > 100 else f"{noises:.2g} times"
            fell = f"{self.descent:.3g}, {times} the noise of one batch, nearly all of it"
            return f"The loss fell by {fell} {below}"
        if self.edge is not None:
            return f"The loss did not fall beyond its noise before it rose at {self.edge:.2g}."
        return "The loss neither fell nor rose beyond its noise."

    def __str__(self) -> str:
        """Say in full sentences what the range was read from."""
        words = self.loss_in_words()
        if self.step is not None:
            words += f" A batch moves the weights by 2% at {self.step:.2g}."
        if self.usual is not None:
            name = self.optimizer or "this optimizer"
            words += f" The usual rate for {name} at this batch size is {self.usual:.2g}."
        words += (
            f" The sweep has {self.batches} usable batches, {self.density:.2g} for each factor of ten. That "
            f"gives a range of {self.width - self.reach:.3g} decades"
        )
        return words + (f", and {self.reach:.2g} more because these disagree." if self.reach > 0 else ".")


@dataclasses.dataclass(frozen=True)
class LRRange:
    """A range of learning rates worth searching.

    Ranges are equal when their bounds are. `low, high = lr_range` takes the two bounds.

    >>> lr_range = lrtuner.LRRange(0.001, 0.1)
    >>> lr_range.decades
    2.0
    >>> round(lr_range.suggested, 6)
    0.01

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

    def __iter__(self) -> Iterator[float]:
        return iter((self.min_lr, self.max_lr))

    def __repr__(self) -> str:
        return f"LRRange(min_lr={self.min_lr:.3g}, max_lr={self.max_lr:.3g})"

    def _repr_html_(self) -> str:
        read_from = "" if self.evidence is None else f"<br>{html.escape(str(self.evidence))}"
        return f"<b>{self.min_lr:.3g} to {self.max_lr:.3g}</b> ({self.decades:.3g} decades){read_from}"

    @property
    def decades(self) -> float:
        """Width of the range: `log10(max_lr / min_lr)`."""
        return math.log10(self.max_lr) - math.log10(self.min_lr)

    @property
    def suggested(self) -> float:
        """The rate to train at where there is no search: the geometric middle of the range.

        On 119 calibration tasks of examples/benchmarks/range_quality.py, no other place in the default rule's
        ranges has less expected regret after sweeps of 100 batches (.125) and of 300 (.106). After sweeps of
        one epoch the middle has .174, and the best place .171.
        """
        return math.sqrt(self.min_lr) * math.sqrt(self.max_lr)
