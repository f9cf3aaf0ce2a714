"""What a search tells a sweep, and what the sweep tells back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lrtuner.curve import LRCurve


@dataclasses.dataclass(frozen=True)
class SweepOrder:
    """What a search adds to a plain sweep.

    Attributes:
        optimizer: The optimizer whose rate is swept; by default the model's.
        epochs: Epochs in one full training; by default those of the fit that is swept.
        sweeps: Sweeps that share the budget of one full training.
        title: What the progress calls the sweep.
        check: Called now and then while it runs; an exception that it raises ends the sweep.
    """

    optimizer: Any = None
    epochs: int | None = None
    sweeps: int = 1
    title: str = "Learning-rate sweep"
    check: Callable[[], None] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepReport:
    """What a sweep found, and what is known about the training that it was part of.

    Attributes:
        curve: The recorded `LRCurve`.
        optimizer: Class name of the optimizer.
        momentum: Its momentum, or `None` where it has none to set.
        batch_size: Rows in a batch, or `None` where the data brings its own batches.
        batches_per_epoch: Batches in an epoch, or `None` where nobody knows.
        epochs: Epochs that the training was to have, or `None`.
        fault: What in the data has spoilt the curve, in words, or `None`.
    """

    curve: LRCurve
    optimizer: str
    momentum: float | None = None
    batch_size: int | None = None
    batches_per_epoch: int | None = None
    epochs: int | None = None
    fault: str | None = None

    def to_config(self) -> dict[str, Any]:
        """Return the report as a dict for JSON."""
        return {**dataclasses.asdict(self), "curve": self.curve.to_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SweepReport:
        """Build the report that `to_config` described."""
        return cls(**{**config, "curve": LRCurve.from_config(config["curve"])})
