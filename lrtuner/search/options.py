"""The options of a search's sweeps, checked once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from lrtuner.curve.rules import Rule, rule_named
from lrtuner.sweep.finder import check_ramp


@dataclasses.dataclass(kw_only=True)
class SweepOptions:
    """The options of `LRRangeOracle`, whose docstring says what each is for.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: The bounds, the number of steps, the rule's name or the lease make no sense.
    """

    learning_rate: str | Sequence[str] | None
    min_lr: float
    max_lr: float
    steps: int | None
    rule: str | Rule
    sweep_per: Sequence[str] | None
    batch_size_scaling: bool
    shuffle: bool
    require_range: bool
    lease: float

    def __post_init__(self) -> None:
        check_ramp(self.min_lr, self.max_lr, self.steps)
        self.min_lr, self.max_lr = float(self.min_lr), float(self.max_lr)
        if not (self.learning_rate is None or isinstance(self.learning_rate, str)):
            if not _are_names(self.learning_rate) or not self.learning_rate:
                raise TypeError(
                    "learning_rate must be the name of a hyperparameter, or a list of names, got "
                    f"{self.learning_rate!r}. The rates to sweep are min_lr and max_lr."
                )
            self.learning_rate = list(self.learning_rate)
        if self.sweep_per is not None:
            if not _are_names(self.sweep_per):
                raise TypeError(
                    f"sweep_per must be a list of hyperparameters' names, got {self.sweep_per!r}. Leave it "
                    "out to sweep for each optimizer, or pass [] for one sweep."
                )
            self.sweep_per = list(self.sweep_per)
        for name in ("batch_size_scaling", "shuffle", "require_range"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}.")
        rule_named(self.rule)
        is_number = isinstance(self.lease, (int, float)) and not isinstance(self.lease, bool)
        if not is_number or not 0 < self.lease < math.inf:
            raise ValueError(f"lease must be a number of seconds above 0, got {self.lease!r}.")
        self.lease = float(self.lease)

    def change(self, name: str, value: Any) -> None:
        """Set an option, checked together with the others.

        Raises:
            TypeError: It is of the wrong type.
            ValueError: It makes no sense beside the others.
        """
        setattr(self, name, getattr(dataclasses.replace(self, **{name: value}), name))

    @property
    def names(self) -> tuple[str, ...]:
        """The learning rates that the user has named."""
        named = self.learning_rate
        return () if named is None else (named,) if isinstance(named, str) else tuple(named)

    @property
    def several_names(self) -> tuple[str, ...]:
        """The learning rates' names if the user gave a list, otherwise empty."""
        return () if isinstance(self.learning_rate, str) else self.names


OPTION_NAMES = tuple(field.name for field in dataclasses.fields(SweepOptions))


def _are_names(names: Any) -> bool:
    """Return whether these are names in a list or the like."""
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    return is_list and all(isinstance(name, str) for name in names)
