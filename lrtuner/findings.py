"""What the sweeps of a search have found, for the user to look at."""

from __future__ import annotations

import threading
from typing import Any

from lrtuner.curve.lr_range import LRRange
from lrtuner.proxy import OracleProxy
from lrtuner.search import messages
from lrtuner.search.record import Sweep
from lrtuner.search.sweeping import Sweeping
from lrtuner.search_results import SearchResults


class Findings(OracleProxy):
    """The part of an `LRRangeOracle` that the user looks at."""

    _OWN = OracleProxy._OWN | {"_sweeping", "_lock"}

    _sweeping: Sweeping
    # Held in every call of `_sweeping`.
    _lock: threading.RLock

    def _results(self) -> SearchResults:
        with self._lock:
            return self._sweeping.results()

    @property
    def sweeps(self) -> list[Sweep]:
        """The finished sweeps."""
        with self._lock:
            return list(self._sweeping.ranges.sweeps)

    @property
    def lr_range(self) -> LRRange | None:
        """The learning-rate range that the sweep found, or `None` where there is none (yet).

        Of several sweeps the smallest range that holds all of theirs.
        """
        return self._results().lr_range

    def plot_sweeps(self, ax: Any = None) -> Any:
        """Draw the sweeps' curves with their ranges, and the finished trials in a panel below.

        Args:
            ax: Matplotlib `Axes` to draw on; by default those of a new figure.

        Returns:
            The matplotlib `Axes` of the curves.

        Raises:
            RuntimeError: No sweep has finished yet.
            TypeError: `ax` is no matplotlib `Axes`.
        """
        return self._results().plot_sweeps(ax)

    def plot_search(self, ax: Any = None) -> Any:
        """Draw the objective of each finished trial over its learning rate, with the sweeps' ranges.

        Args:
            ax: Matplotlib `Axes` to draw on; by default those of a new figure.

        Returns:
            The matplotlib `Axes`.

        Raises:
            RuntimeError: No trial with a learning rate has finished yet.
            TypeError: `ax` is no matplotlib `Axes`.
        """
        return self._results().plot_search(ax)

    def save_picture(self) -> None:
        """Draw `lr_sweeps.png` in the project directory again, with the trials that have finished since.

        A tuner does so when its search ends. Without any sweep there is no picture.
        """
        with self._lock:
            if self._sweeping.ranges.sweeps:
                self._sweeping.save_picture()

    def advise(self, sweep: Sweep | None = None) -> LRRange | None:
        """Say where the next search should look, if the best trials lie at an edge of a sweep's range.

        Args:
            sweep: One of `sweeps`, where there are several; the first by default.

        Returns:
            The range that the next search should have, or `None` where this one's was right or too few trials
            have finished to tell. Unless `verbose` is 0, a line that says so is printed, too.

        Raises:
            TypeError: `sweep` is neither a `Sweep` nor `None`.
        """
        if sweep is not None and not isinstance(sweep, Sweep):
            raise TypeError(f"sweep must be one of this oracle's `sweeps`, or None, got {sweep!r}.")
        results = self._results()
        if sweep is None and not results.sweeps:
            return None
        sweep = sweep or results.sweeps[0]
        advice = results.advice(sweep)
        if advice is None:
            return None
        with self._lock:
            label = self._sweeping.ranges.label(sweep)
        messages.advice(label, advice.searched, advice.better, verbose=self.verbose)
        return advice.better
