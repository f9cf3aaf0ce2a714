"""Who takes part in a distributed search, and how an error ends it for all of them."""

from __future__ import annotations

import math
import time

from lrtuner.search import messages

# Seconds between two questions of a worker that waits for the sweep of another.
_IDLE_PAUSE = 0.5
# Seconds after which a worker that has not been heard of counts as gone.
_SILENCE = 30.0
# Seconds that the chief's server stays up after a fatal error, for the workers to hear of it.
_FAREWELL = 6.0


class Presence:
    """The tuners at work, and the error that has ended their search.

    Not synchronized: the oracle holds its lock in every call but `farewell`.

    Attributes:
        error: The error that has ended the search, or None. It is set once and never taken back, so it can be
            read without a lock.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self._error_since = math.inf
        # When each tuner was heard of last.
        self._last_heard: dict[str, float] = {}
        # Those who were told that there is nothing more to do.
        self._dismissed: set[str] = set()

    def hear(self, tuner_id: str | None) -> None:
        """Note a sign of life, unless the tuner was dismissed.

        Args:
            tuner_id: The tuner's name; empty or None is nobody.
        """
        if tuner_id and tuner_id not in self._dismissed:
            self._last_heard[tuner_id] = time.monotonic()

    def call_back(self, tuner_id: str) -> None:
        """Note that a tuner asks for work while there is some, whether or not it was dismissed."""
        self._dismissed.discard(tuner_id)
        self.hear(tuner_id)

    def dismiss(self, tuner_id: str) -> None:
        """Note that a tuner was told that there is nothing more to do."""
        self._last_heard.pop(tuner_id, None)
        self._dismissed.add(tuner_id)

    def at_work(self) -> set[str]:
        """Return the tuners that were heard of lately."""
        since = time.monotonic() - _SILENCE
        return {tuner_id for tuner_id, heard in self._last_heard.items() if heard > since}

    def pause(self) -> float:
        """Return for how many seconds to let a tuner wait before it is told to ask again.

        It will ask at once, and a chief serves one tuner at a time. So the answer is slow, but all who wait
        together keep nobody else from being served for longer than one pause.
        """
        return _IDLE_PAUSE / max(len(self._last_heard), 1)

    def end_search(self, error: str) -> None:
        """Note the error that ends the search; only the first one counts."""
        if self.error is None:
            self._error_since = time.monotonic()
            self.error = error
            messages.search_has_ended(error)

    def farewell(self) -> float:
        """Return for how many seconds more the workers need somebody to tell them of the error."""
        return max(self._error_since + _FAREWELL - time.monotonic(), 0.0)
