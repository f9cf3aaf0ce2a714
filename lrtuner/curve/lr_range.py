"""A range of learning rates, and the evidence that it was read from."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping
from typing import Any

from lrtuner.notebook import nothing_if_it_fails, plain_if_it_fails
from lrtuner.values import check_bounds, check_keys, config_float

# The figures of an `Evidence` that may be None.
_MAY_BE_UNKNOWN = {"descent_end", "edge", "usual"}
# Decades that a caveat calls wider.
_MUCH_WIDER = 0.3


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
    def is_from_curve(self) -> bool:
        """Whether the curve shows anything at all, rather than noise."""
        return self.descent_end is not None or self.edge is not None

    @property
    def caveat(self) -> str:
        """What to know before trusting the range, as one clause; empty where the curve shows it clearly."""
        if self.descent_end is None and self.usual is not None:
            shows = "nothing beyond its noise" if self.edge is None else "where the loss rises but no descent"
            if self.reach > _MUCH_WIDER:
                return (
                    f"the curve shows {shows}, and disagrees with what is usual for the optimizer, so the "
                    "range is wider"
                )
            return f"the curve shows {shows}, so the range is mostly what is usual for the optimizer"
        if self.descent_end is None:
            return "the curve shows where the loss rises but no descent, so the range lies below the rise"
        if self.reach > 0:
            return "the range is wider because the curve disagrees with what is usual for the optimizer"
        return ""

    def loss_in_words(self) -> str:
        """Say in a sentence or two what the loss did."""
        edge = "" if self.edge is None else f"{self.edge:.2g}"
        if self.descent_end is not None:
            noises = self.descent / self.noise if self.noise > 0 else math.inf
            times = "more than 100 times" if noises > 100 else f"{noises:.2g} times"
            words = (
                f"The loss fell by {self.descent:.3g}, {times} the noise of one batch, nearly all of it "
                f"below a rate of {self.descent_end:.2g}."
            )
            return f"{words} It rose from {edge} on." if edge else words
        if edge:
            return f"The loss did not fall beyond its noise before it rose at {edge}."
        return "The loss neither fell nor rose beyond its noise."

    def __str__(self) -> str:
        """Say in full sentences what the range was read from."""
        words = self.loss_in_words()
        if self.usual is not None:
            words += f" The usual rate for this optimizer and batch size is {self.usual:.2g}."
        words += (
            f" The sweep has {self.batches} usable batches, {self.density:.2g} for each factor of ten. That "
            f"gives a range of {self.width - self.reach:.3g} decades"
        )
        if self.reach > 0:
            return f"{words}, and {self.reach:.2g} more because the curve disagrees with the usual rate."
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
        values: dict[str, Any] = {
            key: None if value is None and key in _MAY_BE_UNKNOWN else config_float(value, key)
            for key, value in config.items()
        }
        return cls(**{**values, "batches": int(values["batches"])})


@dataclasses.dataclass(frozen=True)
class LRRange:
    """A range of learning rates worth searching.

    Ranges are equal when their bounds are.

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

    @plain_if_it_fails
    def __repr__(self) -> str:
        return f"LRRange(min_lr={self.min_lr:.3g}, max_lr={self.max_lr:.3g})"

    @nothing_if_it_fails
    def _repr_html_(self) -> str | None:
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
