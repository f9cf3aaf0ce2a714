"""Python generators that a sweep and the training after it both read from."""

from __future__ import annotations

import collections
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import keras

from lrtuner.warn import warn

# Beyond so many bytes, what the sweep has read is not kept for the training: endless sources of large batches
# would fill the memory.
KEPT_BYTES = 2**29


class SharedGenerators:
    """Gives the batches that a sweep takes from generators to the training that reads them next.

    A generator can be read once, so the first trial would miss the batches that the sweep took. All else
    among the arguments is passed on as it is.
    """

    def __init__(self) -> None:
        self._shared: dict[int, _Shared] = {}

    def for_sweep(self, arguments: dict[str, Any] | tuple[Any, ...]) -> Any:
        """Return the arguments with generators that keep what is read from them.

        Args:
            arguments: Positional or keyword arguments of a training function.
        """
        return _mapped(arguments, self._recording)

    def for_training(self, arguments: dict[str, Any] | tuple[Any, ...]) -> Any:
        """Return the arguments with generators that begin with what a sweep has read from them.

        Args:
            arguments: Positional or keyword arguments of a training function.
        """
        return _mapped(arguments, self._replaying) if self._shared else arguments

    def _recording(self, generator: Iterator[Any]) -> Iterator[Any]:
        return self._shared.setdefault(id(generator), _Shared(generator)).record()

    def _replaying(self, generator: Iterator[Any]) -> Iterator[Any]:
        shared = self._shared.get(id(generator))
        return generator if shared is None else shared.replay()


def _mapped(arguments: dict[str, Any] | tuple[Any, ...], function: Any) -> Any:
    def one(argument: Any) -> Any:
        return function(argument) if inspect.isgenerator(argument) else argument

    if isinstance(arguments, dict):
        return {name: one(argument) for name, argument in arguments.items()}
    return tuple(one(argument) for argument in arguments)


class _Shared:
    def __init__(self, source: Iterator[Any]) -> None:
        # The reference also keeps the generator's id from being given to another object.
        self._source = source
        self._kept: collections.deque[Any] = collections.deque()
        self._bytes = 0
        # Keras reads ahead in a thread of its own, which may outlive a sweep for a moment: only the reader
        # whose turn it is gets batches.
        self._turn = 0
        self._lock = threading.Lock()

    def record(self) -> Iterator[Any]:
        turn, position = self._next_turn(), 0
        while True:
            with self._lock:
                if turn != self._turn:
                    return
                if position < len(self._kept):
                    # Of a sweep before, which no training has read yet.
                    batch = self._kept[position]
                else:
                    try:
                        batch = next(self._source)
                    except StopIteration:
                        return
                    self._keep(batch)
                position += 1
            yield batch

    def _next_turn(self) -> int:
        with self._lock:
            self._turn += 1
            return self._turn

    def _keep(self, batch: Any) -> None:
        if self._bytes > KEPT_BYTES:
            return
        self._kept.append(batch)
        self._bytes += sum(getattr(leaf, "nbytes", 0) for leaf in keras.tree.flatten(batch))
        if self._bytes > KEPT_BYTES:
            warn(
                f"The learning-rate sweep has read {len(self._kept)} batches from a generator, too many "
                "to keep: the first trial begins with the batches after the sweep. Pass a "
                "keras.utils.PyDataset or a tf.data.Dataset, which can be read again."
            )
            self._kept.clear()

    def replay(self) -> Iterator[Any]:
        self._next_turn()
        while self._kept:
            yield self._kept.popleft()
        self._bytes = 0
        # Not `yield from`, which would close the user's generator together with this one.
        for batch in self._source:  # noqa: UP028
            yield batch
