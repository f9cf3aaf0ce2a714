"""Batches whose rows come in random order, from sources that are read in Python."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

# So many bytes of batches are held at once to mix their rows: as many as of a generator are kept for the
# training after the sweep.
HELD_BYTES = 2**29


class MixedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Batches without an end, each made of rows of many, and those that are still in use.

    Args:
        batches: The mixed batches.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        super().__init__()
        self._source = batches
        self._held: dict[int, Any] = {}
        self._next = 0
        # Keras looks at the first batches, and then reads from a thread of its own.
        self._lock = threading.Lock()

    @property
    def num_batches(self) -> None:
        """None: there is no end."""
        return

    def __getitem__(self, index: int) -> Any:
        """Return the batch of that index, which must not have been forgotten."""
        with self._lock:
            while self._next <= index:
                self._held[self._next] = next(self._source)
                self._next += 1
            return self._held[index]

    def rest(self) -> MixedBatches:
        """Return the batches that were not forgotten, counted anew, and all that follow."""
        with self._lock:
            return MixedBatches(itertools.chain(dict(sorted(self._held.items())).values(), self._source))

    def forget(self, before: int) -> None:
        """Let go of the batches before an index."""
        with self._lock:
            for index in [index for index in self._held if index < before]:
                del self._held[index]


def mixed_by_index(source: Any, most: int, random: np.random.Generator) -> Iterator[Any]:
    """Yield mixed batches of a `PyDataset` that has a length, epoch after epoch, without end.

    Args:
        source: The `keras.utils.PyDataset`.
        most: Batches whose rows are mixed, or fewer where they need too much memory. They are taken from all
            over the epoch.
        random: Draws the order.
    """
    # A dataset that is read in several threads allows for it; processes of its own would each get a copy.
    threads = 1 if source.use_multiprocessing else max(source.workers, 1)
    count = source.num_batches
    most = min(most, max(HELD_BYTES // max(_bytes_of(source[0]), 1), 1))
    with ThreadPoolExecutor(threads) as pool:
        # Without threads of its own, a dataset may be bound to the one that reads it.
        read: Any = pool.map if threads > 1 else map
        while True:
            for indices in _spread(count, most, random):
                yield from mixed(list(read(source.__getitem__, indices)), random)


def _spread(count: int, most: int, random: np.random.Generator) -> list[list[int]]:
    """Return all indices below a count in groups of at most so many, each with its share from everywhere."""
    groups: list[list[int]] = [[] for _ in range(-(-count // most))]
    for start in range(0, count, len(groups)):
        indices = range(start, min(start + len(groups), count))
        for index, group in zip(indices, random.permutation(len(groups)).tolist(), strict=False):
            groups[group].append(index)
    return groups


def mixed_in_sequence(batches: Iterator[Any], most: int, random: np.random.Generator) -> Iterator[Any]:
    """Yield mixed batches of a source that can only be read from its beginning on.

    Where the source ends, the batches that were read last are mixed again and again.

    Args:
        batches: The source.
        most: Batches to read before the first one is given out, or fewer where they need too much memory.
        random: Draws the order.
    """
    held: list[Any] = []
    while True:
        size, read = 0, []
        for batch in itertools.islice(batches, most):
            read.append(batch)
            size += _bytes_of(batch)
            if size >= HELD_BYTES:
                break
        held = read or held
        if not held:
            return
        yield from mixed(held, random)


def mixed(batches: Sequence[Any], random: np.random.Generator) -> list[Any]:
    """Return the same rows in random order, in as many batches of the same sizes.

    Args:
        batches: Structures of arrays whose first axis is that of the rows.
        random: Draws the order.

    Returns:
        The batches, in NumPy arrays. Where rows can't be moved from one batch to another, since their shapes
        differ or they aren't arrays, the batches themselves in random order.
    """
    try:
        return _rows_mixed(batches, random)
    except (_NotMixableError, TypeError, ValueError):
        return [batches[index] for index in random.permutation(len(batches))]


class _NotMixableError(Exception):
    """The rows of some batches belong where they are."""


def _rows_mixed(batches: Sequence[Any], random: np.random.Generator) -> list[Any]:
    columns = list(zip(*(keras.tree.flatten(batch) for batch in batches), strict=True))
    for batch in batches[1:]:
        keras.tree.assert_same_structure(batches[0], batch)
    arrays = [[_array(leaf) for leaf in column] for column in columns]
    sizes = [len(array) for array in arrays[0]]
    for column in arrays:
        if len({(array.shape[1:], array.dtype) for array in column}) > 1:
            raise _NotMixableError
        if [len(array) for array in column] != sizes:
            raise _NotMixableError
    order = random.permutation(sum(sizes))
    rows = np.split(order, np.cumsum(sizes)[:-1])
    leaves = []
    for column in arrays:
        together = np.concatenate(column)
        leaves.append([together[one] for one in rows])
    return [keras.tree.pack_sequence_as(batches[0], one) for one in zip(*leaves, strict=True)]


def _array(leaf: Any) -> np.ndarray[Any, Any]:
    if not isinstance(leaf, np.ndarray) and not keras.ops.is_tensor(leaf):
        raise _NotMixableError
    array = np.asarray(leaf)
    # Ragged and sparse tensors have no such array.
    if array.ndim == 0 or array.shape != tuple(leaf.shape):
        raise _NotMixableError
    return array


def _bytes_of(batch: Any) -> int:
    return sum(int(getattr(leaf, "nbytes", 0)) for leaf in keras.tree.flatten(batch))
