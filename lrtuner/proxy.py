"""An oracle that stands in front of another one."""

from __future__ import annotations

from typing import Any

import keras_tuner as kt


class OracleProxy(kt.Oracle):  # type: ignore[misc]  # KerasTuner is untyped
    """Another oracle's methods and attributes, but for those that a subclass has of its own.

    Attributes are read from and written to the other oracle. An attribute that neither has can't be set: a
    misspelt name would otherwise end up there unnoticed.

    Attributes:
        oracle: The other oracle.
    """

    # The attributes that are kept here and not in the other oracle. A subclass adds its own.
    _OWN = frozenset({"oracle"})

    def __getattr__(self, name: str) -> Any:
        if name in self._OWN:
            # Not set yet, as while being copied: looking it up in the other oracle would never end.
            raise AttributeError(name)
        return getattr(self.oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        elif hasattr(self.oracle, name):
            setattr(self.oracle, name, value)
        else:
            raise AttributeError(
                f"Neither {type(self).__name__} nor the {type(self.oracle).__name__} that it wraps has an "
                f"attribute {name!r} to set. To add one to the wrapped oracle, set it on `oracle.oracle`."
            )

    # What the base class defines would not come to `__getattr__`.

    def get_space(self) -> kt.HyperParameters:
        """Return the search space, see `keras_tuner.Oracle`."""
        return self.oracle.get_space()

    def populate_space(self, trial_id: str) -> Any:
        """Propose values, see `keras_tuner.Oracle`."""
        return self.oracle.populate_space(trial_id)

    def score_trial(self, trial: Any) -> None:
        """Score a trial, see `keras_tuner.Oracle`."""
        self.oracle.score_trial(trial)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials, see `keras_tuner.Oracle`."""
        return self.oracle.get_best_trials(num_trials)  # type: ignore[no-any-return]

    def remaining_trials(self) -> int | None:
        """Return how many trials are left, see `keras_tuner.Oracle`."""
        return self.oracle.remaining_trials()  # type: ignore[no-any-return]

    def get_state(self) -> dict[str, Any]:
        """Return the other oracle's state."""
        return self.oracle.get_state()  # type: ignore[no-any-return]

    def set_state(self, state: dict[str, Any]) -> None:
        """Set the other oracle's state."""
        self.oracle.set_state(state)

    def save(self) -> None:
        """Save the other oracle in the project directory."""
        self.oracle.save()


def oracle_to_wrap(oracle: Any, arguments: dict[str, Any]) -> kt.Oracle:
    """Return the user's oracle, or a random search if there is none.

    Args:
        oracle: What the user gave as oracle, or None.
        arguments: Arguments for the random search.

    Raises:
        TypeError: It is no oracle, or is an `LRRangeOracle`, or there are arguments beside it.
    """
    if oracle is None:
        return kt.oracles.RandomSearchOracle(**arguments)
    if not isinstance(oracle, kt.Oracle):
        raise TypeError(
            f"Expected a keras_tuner.Oracle to hand off to, got {oracle!r} of type {type(oracle).__name__}. "
            "For a random search write LRRangeOracle(objective=..., max_trials=...)."
        )
    if arguments:
        raise TypeError(
            f"The arguments {sorted(arguments)} belong to the wrapped oracle: give them to "
            f"{type(oracle).__name__}(...)."
        )
    if isinstance(oracle, OracleProxy):
        raise TypeError("The oracle is an LRRangeOracle already: wrap the search's own oracle once.")
    return oracle
