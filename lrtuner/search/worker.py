"""What a worker of a distributed search sees of the oracle, which is the chief's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras_tuner as kt

from lrtuner.search.protocol import fatal_error, fatal_trial, is_sweep, news_id


class ChiefsOracle:
    """KerasTuner's gRPC client, with a clear error for what it does not forward.

    It also asks the chief every few seconds whether the search goes on.

    Args:
        client: KerasTuner's `OracleClient`.
        tuner_id: The worker's name.

    Attributes:
        run_sweep: Runs the trial of a sweep and ends it. The tuner sets it while it searches.
    """

    # Seconds between two questions to the chief whether the search goes on.
    PERIOD = 2.0

    _OWN = frozenset({"_client", "_tuner_id", "_fatal", "run_sweep"})

    def __init__(self, client: Any, tuner_id: str) -> None:
        self._client = client
        self._tuner_id = tuner_id
        # The error that has ended the search.
        self._fatal: str | None = None
        self.run_sweep: Callable[[Any], None] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in self._OWN:
            # The class's own names are not set yet while the object is being copied.
            raise AttributeError(name)
        try:
            value = getattr(self._client, name)
        except AttributeError:
            if name.startswith("_"):
                raise
            raise RuntimeError(
                f"`oracle.{name}` is known to the chief alone, and this process is the worker "
                f"{self._tuner_id!r}: use the chief's tuner, when its search is over, or load the project "
                "directory in a process of its own."
            ) from None
        if callable(value):
            # Nobody answers any more once the search has ended with an error.
            self.check()
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._client, name, value)

    def create_trial(self, tuner_id: str) -> Any:
        """Ask the chief for a trial, and run the sweeps that come before it.

        Raises:
            keras_tuner.errors.FatalRuntimeError: An error has ended the search.
        """
        trial = self._next_trial(tuner_id)
        while self.run_sweep is not None and is_sweep(trial.hyperparameters):
            self.run_sweep(trial)
            trial = self._next_trial(tuner_id)
        return trial

    def _next_trial(self, tuner_id: str) -> Any:
        self.check()
        trial = self._client.create_trial(tuner_id)
        self._take_news(trial)
        self.check()
        return trial

    def check(self) -> None:
        """Raise if an error has ended the search.

        Raises:
            keras_tuner.errors.FatalRuntimeError: An error has ended the search.
        """
        if self._fatal is not None:
            raise kt.errors.FatalRuntimeError(f"The search was ended by an error: {self._fatal}")

    def _take_news(self, trial: Any) -> None:
        # Two threads ask. What one of them was told stays.
        self._fatal = self._fatal or fatal_error(trial)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keep asking the chief whether the search goes on, and tell it if an error ends the search here."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(self.PERIOD):
                # A chief that is being started again answers later.
                with contextlib.suppress(Exception):
                    self._take_news(self._client.get_trial(news_id(self._tuner_id)))

        threading.Thread(target=watch, name="lrtuner-watch", daemon=True).start()
        try:
            yield
        except Exception as error:
            if self._fatal is None:
                self._report(f"{type(error).__name__} on the worker {self._tuner_id!r}: {error}")
            raise
        finally:
            over.set()

    def _report(self, reason: str) -> None:
        # Whatever goes wrong here, the error to raise is the one that ends the search.
        with contextlib.suppress(Exception):
            self._client.end_trial(fatal_trial(reason))
            # A chief ends once it has answered that there are no more trials.
            self._client.create_trial(self._tuner_id)
