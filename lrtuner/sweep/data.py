"""The data that a sweep reads: those of a call of `model.fit`, its batches in random order if that is cheap.

The losses of a sweep are to follow the learning rate alone. Data that come in an order, such as a time series
or a folder that is read class by class, move the losses as much. A sweep's model is thrown away or restored,
so its batches may come in any order. What is in a batch is the user's: a loss may need these rows together.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from lrtuner.sweep.model import current_seed

# What a `tf.data.Dataset` is read ahead for the sake of the order: so many batches, or bytes.
_MOST_BATCHES = 3000
_MOST_BYTES = 2**29
# Where nobody knows how many there are: as many as a sweep has by default.
_UNKNOWN_BATCHES = 300
# Inputs whose root mean square is above this are not scaled: it is 1 of standardised ones, and less of those
# between 0 and 1 or -1 and 1.
_RAW = 3.0
# As many numbers of an array are looked at for that.
_MOST_NUMBERS = 1_000_000
# Where these are Keras' own, the loss is the compiled one. Of so many targets a mean is a good one.
_LOSS_METHODS, _MEAN_ROWS = ("train_step", "compute_loss"), 32


@dataclasses.dataclass
class SweepData:
    """What a sweep calls `model.fit` with.

    Attributes:
        arguments: The arguments, by name.
        is_shuffled: Whether the batches come in random order from all over, or None where nobody knows.
        has_ended: Whether a generator has no batch left.
    """

    arguments: dict[str, Any]
    is_shuffled: bool | None = None
    has_ended: bool = False


def sweep_data(arguments: dict[str, Any], *, shuffle: bool) -> SweepData:
    """Return the data of a call of `model.fit` as a sweep reads them.

    | source | order |
    |---|---|
    | arrays, tensors, data frames | shuffled as `fit` does; with `shuffle=False`, batches in random order |
    | `tf.data.Dataset` | batches in random order, as many as the memory holds |
    | `keras.utils.PyDataset` with a length, torch `DataLoader` in order | batches in random order |
    | anything else, as a generator; a single batch of all rows | its own |

    Args:
        arguments: What `model.fit` was called with, by name.
        shuffle: Whether to change the order of batches that come in an order.
    """
    x, data = arguments["x"], SweepData(dict(arguments))
    if is_array_like(x):
        _take_arrays(data, shuffle=shuffle)
    elif inspect.isgenerator(x):
        data.arguments.update(x=_noting_its_end(x, data), shuffle=False)
    elif isinstance(x, keras.utils.PyDataset) and x.num_batches is not None:
        # Keras draws their order.
        data.arguments["x"] = _Borrowed(x)
        data.arguments["shuffle"] = data.is_shuffled = shuffle or arguments.get("shuffle", True) is True
    else:
        # Keras ignores it for these, and warns that it does.
        data.arguments["shuffle"] = False
        if shuffle and _is_of("tensorflow", "data.Dataset", x):
            _shuffle_dataset(data)
        elif shuffle and _is_of("torch", "utils.data.DataLoader", x):
            data.arguments["x"] = _shuffled_loader(x)
    return data


def _take_arrays(data: SweepData, *, shuffle: bool) -> None:
    arguments = data.arguments
    rows, steps = int(keras.tree.flatten(arguments["x"])[0].shape[0]), arguments.get("steps_per_epoch")
    size = arguments.get("batch_size") or (-(-rows // steps) if steps else 32)
    data.is_shuffled = arguments.get("shuffle", True) is True
    if rows <= size:
        # Also a graph of all its nodes, whose columns can't follow.
        arguments["shuffle"] = False
    elif shuffle and not data.is_shuffled:
        kept = math.floor(rows * (1 - (arguments.get("validation_split") or 0)))
        parts = [arguments.get(name) for name in ("x", "y", "sample_weight")]
        while parts[-1] is None:
            parts.pop()
        batches = _Slices(tuple(parts), kept, size)
        try:
            _ = batches[0]
        except Exception:
            # Sparse and other tensors that can't be cut stay in their order.
            return
        left_out = ("y", "sample_weight", "batch_size", "validation_split")
        data.arguments = {name: value for name, value in arguments.items() if name not in left_out}
        data.arguments.update(x=batches, shuffle=True)
        data.is_shuffled = True


class _Borrowed(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """The batches of a dataset of the user's, whose epochs a sweep doesn't end."""

    def __init__(self, own: Any) -> None:
        super().__init__(own.workers, own.use_multiprocessing, own.max_queue_size)
        self._own = own

    @property
    def num_batches(self) -> Any:
        return self._own.num_batches

    def __getitem__(self, index: int) -> Any:
        return self._own[index]


class _Slices(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Arrays, cut into batches of consecutive rows."""

    def __init__(self, arrays: tuple[Any, ...], rows: int, size: int) -> None:
        super().__init__()
        self._arrays, self._rows, self._size = arrays, rows, size

    def __len__(self) -> int:
        return -(-self._rows // self._size)

    def __getitem__(self, index: int) -> Any:
        start = index * self._size
        stop = min(start + self._size, self._rows)

        def rows(array: Any) -> Any:
            cut = keras.ops.convert_to_numpy(_rows(array, start, stop))
            return cut.astype(keras.config.floatx()) if cut.dtype.kind == "f" else cut

        return keras.tree.map_structure(rows, self._arrays)


def _shuffle_dataset(data: SweepData) -> None:
    x = data.arguments["x"]
    batches = int(x.cardinality())
    import tensorflow as tf

    size = sum(
        leaf.numpy().nbytes for one in x.take(1) for leaf in tf.nest.flatten(one, expand_composites=True)
    )
    held = min(batches if batches > 0 else _UNKNOWN_BATCHES, _MOST_BATCHES, _MOST_BYTES // max(size, 1))
    if held > 1:
        data.arguments["x"] = x.shuffle(held, seed=current_seed()).prefetch(tf.data.AUTOTUNE)
        data.is_shuffled = held == batches or None


def _shuffled_loader(loader: Any) -> Any:
    import torch

    # A sampler of the user's own may have no end.
    in_order = isinstance(loader.sampler, torch.utils.data.SequentialSampler)
    if not in_order or type(loader.batch_sampler) is not torch.utils.data.BatchSampler:
        return loader
    batches = list(loader.batch_sampler)
    random.Random(current_seed()).shuffle(batches)
    kept = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "prefetch_factor")
    return torch.utils.data.DataLoader(
        loader.dataset, batch_sampler=batches, **{name: getattr(loader, name) for name in kept}
    )


def _noting_its_end(batches: Iterator[Any], data: SweepData) -> Iterator[Any]:
    """Pass a generator's batches on; Keras would start an exhausted one again with its first two."""
    # Not `yield from`, which would close the user's generator together with this one.
    for batch in batches:  # noqa: UP028
        yield batch
    data.has_ended = True


def is_stateful(model: Any) -> bool:
    """Return whether a model carries a state from batch to batch, for which their order counts."""
    return any(getattr(layer, "stateful", False) for layer in model._flatten_layers())


def is_array_like(x: Any) -> bool:
    """Whether data are arrays, tensors or data frames, which Keras cuts into batches."""
    return all(hasattr(leaf, "shape") or hasattr(leaf, "__array__") for leaf in keras.tree.flatten(x))


def single_class(y: Any) -> float | None:
    """Return the class of all rows of a batch, or None where there are several, few rows or no classes."""
    leaves = keras.tree.flatten(y)
    try:
        array = keras.ops.convert_to_numpy(leaves[0]) if len(leaves) == 1 else np.zeros(0)
        # Batches of two or three rows are often of one class by chance.
        if len(array) < 4 or array.dtype.kind not in "biuf":
            return None
        array = array.reshape(len(array), -1)
        if array.shape[1] > 1:
            is_one_hot = ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()
            array = array.argmax(axis=1)[:, None] if is_one_hot else array
    except (TypeError, ValueError):
        return None
    is_class = array.shape[1] == 1 and (array == array[0]).all() and array[0, 0] == np.round(array[0, 0])
    return float(array[0, 0]) if is_class else None


def chance_loss(model: Any, targets: Sequence[Any]) -> float | None:
    """Return the loss of one prediction for all rows: all classes alike, or the mean of the targets.

    Args:
        model: A compiled model, fit without weights of rows.
        targets: Those of its first batches.

    Returns:
        That loss and what regularizers add. It is known of crossentropies, and of squared and absolute errors
        where there are 32 rows or more that are not all between 0 and 1. None of other losses.
    """
    try:
        loss, classes = keras.losses.get(model.loss), model.output_shape[-1]
        is_own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in _LOSS_METHODS)
        is_sum = getattr(loss, "reduction", "mean") in ("sum", "none", None)
        if is_own or is_sum or model.get_compile_config()["loss_weights"]:
            return None
        name = getattr(loss, "name", None) or loss.__name__
        if name.endswith("crossentropy"):
            found = math.log(2 if name.startswith("binary") else classes)
        else:
            y = np.concatenate([keras.ops.convert_to_numpy(one) for one in targets]).astype(float)
            if y.ndim > 2 or len(y) < _MEAN_ROWS or (y.min() >= 0 and y.max() <= 1):
                return None
            squared, absolute = y.var(axis=0), np.abs(y - np.median(y, axis=0))
            found = float(np.mean({"mean_squared_error": squared, "mean_absolute_error": absolute}[name]))
        return found + sum(float(keras.ops.convert_to_numpy(one)) for one in model.losses)
    except Exception:
        # Several outputs, or a loss of another kind.
        return None


def holes_in(part: Any) -> tuple[int, int, int]:
    """Return in how many rows data hold NaN or infinite values, the first such row, and all rows."""
    bad = np.zeros(0, bool)
    for leaf in keras.tree.flatten(part):
        try:
            array = keras.ops.convert_to_numpy(_rows(leaf, 0, None))
            finite = np.isfinite(array.astype(float)).reshape(len(array), -1).all(axis=1)
        except Exception:
            # Texts, nothing, or tensors whose rows can't be told.
            continue
        bad = ~finite if not len(bad) else bad | ~finite
    return int(bad.sum()), int(bad.argmax()) if len(bad) else 0, len(bad)


def has_raw_inputs(model: Any, x: Any) -> bool:
    """Return whether a model is fed numbers that are far from the order of 1, such as pixels of 0 to 255.

    Args:
        model: The model. One that looks its inputs up in an `Embedding` has none.
        x: What `model.fit` was given. Of arrays, the first million numbers are looked at; of data that can be
            read again, the first batch. Data that can be read only once, as a generator, are not looked at.
    """
    if x is None or any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers()):
        return False
    is_read_once = _is_of("tensorflow", "data.Dataset", x) and int(x.cardinality()) <= 0
    try:
        if inspect.isgenerator(x) or is_read_once:
            return False
        inputs = some_inputs(x, _MOST_NUMBERS)
        leaves = [keras.ops.convert_to_numpy(leaf).astype(float) for leaf in keras.tree.flatten(inputs)]
    except Exception:
        # Words, or nothing that can be read twice.
        return False
    finite = [leaf[np.isfinite(leaf)] for leaf in leaves]
    return any(np.sqrt(np.mean(leaf**2)) > _RAW for leaf in finite if leaf.size)


def some_inputs(x: Any, numbers: int = 1) -> Any:
    """Return a few inputs: of arrays so many numbers, but a row at least; otherwise a batch."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0][0]
    if not is_array_like(x):
        batch = next(iter(x))
        return batch[0] if isinstance(batch, (tuple, list)) else batch
    return keras.tree.map_structure(
        lambda array: _rows(array, 0, max(numbers // max(math.prod(array.shape[1:]), 1), 1)), x
    )


def _rows(array: Any, start: int, stop: int | None) -> Any:
    if hasattr(array, "iloc"):
        # A column of a data frame has rows of one number, for Keras.
        array = array.to_numpy() if len(array.shape) > 1 else array.to_numpy()[:, None]
    return array[start:stop]


def _is_of(package: str, name: str, x: Any) -> bool:
    """Whether something is of a package's class, where that package is in use."""
    owner: Any = sys.modules.get(package)
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner is not None and isinstance(x, owner)
