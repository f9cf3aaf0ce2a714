"""What a search tells a sweep, and what the sweep tells back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lrtuner.curve.curve import LRCurve


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
    """What a sweep found.

    Attributes:
        curve: The recorded `LRCurve`, with what is known about the training that it was part of.
        fault: What in the data or in the model has made the loss NaN, in words, or `None`.
    """

    curve: LRCurve
    fault: str | None = None

    def to_config(self) -> dict[str, Any]:
        """Return the report as a dict for JSON."""
        return {"curve": self.curve.to_config(), "fault": self.fault}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SweepReport:
        """Build the report that `to_config` described."""
        return cls(**{**config, "curve": LRCurve.from_config(config["curve"])})
