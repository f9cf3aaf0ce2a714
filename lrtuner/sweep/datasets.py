"""The rows of a `tf.data.Dataset` in random order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from lrtuner.sweep.mixing import HELD_BYTES

# So many batches at the beginning tell whether the rows come in an order.
_SAMPLED = 16
# Sixteen batches of rows in random order vary 2.6 times as much as their rows suggest in one case of a
# thousand.
_MOST_BY_CHANCE = 3.0
# Most datasets can't pass over a batch without making it. To draw its batches from all over an ordered
# dataset, a sweep reads at most this many times as many.
_READ_FOR_EACH = 10
# Fewer rows than this would be learned by heart in a sweep that repeats them.
_FEWEST_ROWS = 256


def shuffled_dataset(dataset: Any, steps: int, epoch: int | None, random: np.random.Generator) -> Any:
    """Return a dataset of the same rows in random order, in batches of the same size, without end.

    The rows of the sweep's batches are mixed, as far as the memory goes. Where the rows come in an order and
    the dataset is longer than the sweep, the batches are drawn from all over it. Where rows can't be moved
    from one batch to another, since their shapes differ or their tensors are ragged, whole batches are
    shuffled.

    Args:
        dataset: A batched `tf.data.Dataset`.
        steps: Batches in the sweep.
        epoch: Batches in the dataset, or in an epoch of an endless one, or None.
        random: Draws the order.

    Returns:
        The dataset, or the given one where there is nothing to shuffle or its rows are too large.
    """
    import tensorflow as tf

    sample = _first_batches(dataset)
    if len(sample) < 2:
        return dataset
    rows = _rows_to_mix(sample)
    held = min(steps, HELD_BYTES // max(_bytes_of(sample[0]), 1))
    stride = 1
    if epoch is not None and epoch > held and _is_ordered(sample):
        stride = min(epoch, _READ_FOR_EACH * steps) // held
    # Where the memory holds fewer batches than the sweep has, an ordered dataset's are used again.
    again = stride > 1 and held < steps
    if held < 2 or (again and held * (rows or 1) < _FEWEST_ROWS):
        return dataset
    if stride > 1:
        batches = dataset.take(stride * held).shard(stride, int(random.integers(stride)))
    else:
        batches = dataset.take(min(steps, epoch or steps))
    unit = batches if rows is None else batches.unbatch()
    unit = (unit.cache() if again else unit).shuffle(held * (rows or 1), seed=int(random.integers(2**31)))
    shuffled = unit if rows is None else _batched(unit, rows, dataset.element_spec)
    return shuffled.repeat().prefetch(tf.data.AUTOTUNE)


def _first_batches(dataset: Any) -> list[Any]:
    batches: list[Any] = []
    for batch in dataset.take(_SAMPLED):
        batches.append(batch)
        if len(batches) * _bytes_of(batch) > HELD_BYTES / 4:
            break
    return batches


def _rows_to_mix(batches: list[Any]) -> int | None:
    """Return the rows in a batch, or None where they can't move from one batch to another."""
    import tensorflow as tf

    leaves = [tf.nest.flatten(batch) for batch in batches]
    if not all(isinstance(leaf, tf.Tensor) and leaf.shape.rank for batch in leaves for leaf in batch):
        return None
    if len({tuple(tuple(leaf.shape[1:]) for leaf in batch) for batch in leaves}) > 1:
        return None
    lengths = [{int(leaf.shape[0]) for leaf in batch} for batch in leaves]
    return lengths[0].pop() if all(len(one) == 1 for one in lengths) else None


def _is_ordered(batches: list[Any]) -> bool:
    """Whether the targets, or inputs without targets, come in an order."""
    import tensorflow as tf

    def leaves(batch: Any) -> list[Any]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        return [leaf for leaf in tf.nest.flatten(x if y is None else y) if isinstance(leaf, tf.Tensor)]

    return any(_varies_between(column) for column in zip(*map(leaves, batches), strict=True))


def _varies_between(batches: Sequence[Any]) -> bool:
    """Whether batches differ by more than rows in random order would, or not at all.

    The F-test of the analysis of variance, on one number a row: its elements summed with random weights, so
    that one-hot rows of different classes differ.
    """
    arrays = [np.asarray(batch) for batch in batches]
    if arrays[0].dtype.kind not in "biuf":
        return False
    flat = [array.reshape(len(array), -1).astype("float64") for array in arrays]
    weights = np.random.default_rng(0).normal(size=flat[0].shape[1])
    numbers = [array @ weights for array in flat]
    sizes = np.array([len(one) for one in numbers])
    means = np.array([one.mean() for one in numbers])
    between = sizes @ (means - np.concatenate(numbers).mean()) ** 2 / (len(sizes) - 1)
    within = sum(((one - one.mean()) ** 2).sum() for one in numbers) / max(sizes.sum() - len(sizes), 1)
    return not (within > 0 and between <= _MOST_BY_CHANCE * within)


def _batched(dataset: Any, rows: int, element_spec: Any) -> Any:
    """Return single rows in batches; where their shapes aren't known, those of the same shape."""
    import tensorflow as tf

    drop_remainder = all(spec.shape[:1].is_fully_defined() for spec in tf.nest.flatten(element_spec))
    if all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(dataset.element_spec)):
        return dataset.batch(rows, drop_remainder=drop_remainder)

    def shape_of(*row: Any) -> Any:
        lengths = tf.concat([tf.shape(leaf, tf.int64) for leaf in tf.nest.flatten(row)], 0)
        text = tf.strings.reduce_join(tf.as_string(lengths), separator=" ")
        return tf.strings.to_hash_bucket_fast(text, 2**62)

    def batched(_shape: Any, same: Any) -> Any:
        return same.batch(rows, drop_remainder=drop_remainder)

    return dataset.group_by_window(shape_of, batched, window_size=rows)


def _bytes_of(batch: Any) -> int:
    import tensorflow as tf

    total = 0
    for leaf in tf.nest.flatten(batch, expand_composites=True):
        if leaf is None:
            continue
        if leaf.dtype == tf.string:
            total += int(tf.reduce_sum(tf.strings.length(leaf)))
        else:
            total += leaf.dtype.size * int(tf.size(leaf))
    return total
