"""The data that a sweep reads: those of a call of `model.fit`, in random order where the source allows it.

The losses of a sweep are to follow the learning rate alone. Data that come in an order, such as a time series
or a folder that is read class by class, move the losses as much. A sweep's model is thrown away or restored,
so its batches may come in any order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lrtuner.sweep.datasets import shuffled_dataset
from lrtuner.sweep.mixing import MixedBatches, mixed_by_index, mixed_in_sequence
from lrtuner.sweep.model import current_seed

# Inputs whose root mean square is above this are not scaled: it is 1 of standardised ones, and less of those
# between 0 and 1 or -1 and 1.
_RAW = 3.0
# As many numbers of an array are looked at for that.
_MOST_NUMBERS = 1_000_000


@dataclasses.dataclass
class SweepData:
    """What a sweep calls `model.fit` with.

    Attributes:
        arguments: The arguments, by name.
        batches_per_epoch: Batches in an epoch of the training where the sweep's data have no end, or None
            where nobody knows. Otherwise Keras knows.
        is_endless: Whether they have no end.
        is_shuffled: Whether the rows come in random order from all over, or None where nobody knows.
        has_ended: Whether a generator has no batch left.
        held: Of a generator, the batches that it has given and that are still in use, by index.
    """

    arguments: dict[str, Any]
    batches_per_epoch: int | None = None
    is_endless: bool = False
    is_shuffled: bool | None = None
    has_ended: bool = False
    held: dict[int, Any] = dataclasses.field(default_factory=dict)

    def forget(self, before: int) -> None:
        """Let go of the batches before an index."""
        if isinstance(self.arguments["x"], MixedBatches):
            self.arguments["x"].forget(before)
        for index in [index for index in self.held if index < before]:
            self.held.pop(index, None)

    def rest(self) -> SweepData:
        """Return the data for another sweep, without the batches that were forgotten."""
        x = self.arguments["x"]
        if isinstance(x, MixedBatches):
            return dataclasses.replace(self, arguments={**self.arguments, "x": x.rest()})
        if inspect.isgenerator(x):
            batches = itertools.chain(dict(sorted(self.held.items())).values(), x)
            return in_given_order({**self.arguments, "x": (batch for batch in batches)})
        return self

    def only(self, index: int) -> dict[str, Any] | None:
        """Return the arguments with the batch of an index alone, or None where the data can be read again.

        Args:
            index: That of a batch that was not forgotten.
        """
        x = self.arguments["x"]
        if isinstance(x, MixedBatches):
            return {**self.arguments, "x": MixedBatches(itertools.repeat(x[index]))}
        if inspect.isgenerator(x):
            return {**self.arguments, "x": (batch for batch in [self.held[index]])}
        return None


def in_random_order(arguments: dict[str, Any], steps_for: Callable[[int | None], int]) -> SweepData:
    """Return the data of a call of `model.fit`, shuffled as well as the source can be.

    | source | order |
    |---|---|
    | arrays, tensors, data frames | shuffled, also with `shuffle=False` |
    | `tf.data.Dataset` | see `shuffled_dataset` |
    | `keras.utils.PyDataset` with a length | the rows of as many batches from all over are mixed |
    | generator, endless `PyDataset` | the rows of the sweep's batches are mixed, as far as the memory goes |
    | torch `DataLoader` | shuffled, unless its sampler is one of the user's own |
    | anything else | its own |

    Args:
        arguments: What `model.fit` was called with, by name.
        steps_for: Returns the number of batches in the sweep, given those in an epoch, or None.

    Returns:
        The data; in the given order where shuffling it fails.
    """
    x = arguments["x"]
    random = np.random.default_rng(current_seed())
    if inspect.isgenerator(x):
        return _generator_in_random_order(arguments, steps_for(arguments.get("steps_per_epoch")), random)
    if is_array_like(x):
        return SweepData({**arguments, "shuffle": True}, is_shuffled=True)
    try:
        known = arguments.get("steps_per_epoch")
        if isinstance(x, keras.utils.PyDataset):
            return _py_dataset_in_random_order(arguments, known or x.num_batches, steps_for, random)
        if _is_of("tensorflow", "data.Dataset", x):
            length = int(x.cardinality())
            known = known or (length if length > 0 else None)
            epoch = length if length > 0 else known
            shuffled, is_from_all_over = shuffled_dataset(x, steps_for(known), epoch, random)
            if shuffled is not x:
                return _endless(arguments, shuffled, known, is_shuffled=is_from_all_over or None)
        if _is_of("torch", "utils.data.DataLoader", x):
            return in_given_order({**arguments, "x": _shuffled_loader(x, random)})
    except Exception:
        # Whatever is unusual about the data: plain training may manage.
        pass
    return in_given_order(arguments)


def in_given_order(arguments: dict[str, Any]) -> SweepData:
    """Return the data of a call of `model.fit` as they come.

    Args:
        arguments: What `model.fit` was called with, by name.
    """
    x = arguments["x"]
    data = SweepData(dict(arguments))
    if is_array_like(x):
        data.is_shuffled = arguments.get("shuffle", True) is True
    if inspect.isgenerator(x):
        data.arguments["x"] = _noting_its_end(x, data)
    is_indexed = isinstance(x, keras.utils.PyDataset) and x.num_batches is not None
    if not is_array_like(x) and not is_indexed:
        # Keras ignores it for these, and warns that it does.
        data.arguments["shuffle"] = False
    return data


def is_stateful(model: Any) -> bool:
    """Return whether a model carries a state from batch to batch, for which their order counts."""
    return any(getattr(layer, "stateful", False) for layer in model._flatten_layers())


def is_array_like(x: Any) -> bool:
    """Whether data are arrays, tensors or data frames, which Keras cuts into batches."""
    return all(hasattr(leaf, "shape") or hasattr(leaf, "__array__") for leaf in keras.tree.flatten(x))


def rows_declared(arguments: dict[str, Any]) -> int | None:
    """Return the rows in a batch, as far as the arguments of `model.fit` tell without a look at the data.

    Args:
        arguments: What `model.fit` was called with, by name.
    """
    if arguments.get("batch_size") is not None:
        return int(arguments["batch_size"])
    spec = getattr(arguments["x"], "element_spec", None)
    if spec is None:
        # Keras batches arrays by 32 where nothing is said; everything else brings batches of its own.
        return 32 if is_array_like(arguments["x"]) else None
    rows = keras.tree.flatten(spec)[0].shape[0]
    return None if rows is None else int(rows)


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
        inputs = keras.tree.map_structure(_many_rows, x) if is_array_like(x) else some_inputs(x)
        leaves = [keras.ops.convert_to_numpy(leaf).astype(float) for leaf in keras.tree.flatten(inputs)]
    except Exception:
        # Words, or nothing that can be read twice.
        return False
    finite = [leaf[np.isfinite(leaf)] for leaf in leaves]
    return any(np.sqrt(np.mean(leaf**2)) > _RAW for leaf in finite if leaf.size)


def some_inputs(x: Any) -> Any:
    """Return a few inputs for a model that has no weights until it sees some."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0][0]
    if hasattr(x, "element_spec") or hasattr(x, "collate_fn"):
        batch = next(iter(x))
        return batch[0] if isinstance(batch, (tuple, list)) else batch
    return keras.tree.map_structure(lambda array: _first_rows(array, 1), x)


def _many_rows(array: Any) -> Any:
    return _first_rows(array, max(_MOST_NUMBERS // max(math.prod(array.shape[1:]), 1), 1))


def _first_rows(array: Any, rows: int) -> Any:
    if hasattr(array, "iloc"):
        # A column of a data frame has rows of one number, for Keras.
        array = array.to_numpy() if len(array.shape) > 1 else array.to_numpy()[:, None]
    return array[:rows]


def _endless(
    arguments: dict[str, Any], x: Any, batches_per_epoch: int | None, is_shuffled: bool | None = None
) -> SweepData:
    arguments = {**arguments, "x": x, "shuffle": False, "steps_per_epoch": None}
    return SweepData(arguments, batches_per_epoch, is_endless=True, is_shuffled=is_shuffled)


def _generator_in_random_order(
    arguments: dict[str, Any], steps: int, random: np.random.Generator
) -> SweepData:
    generator = arguments["x"]
    first = next(generator, None)
    batches = generator if first is None else itertools.chain([first], generator)
    if isinstance(first, tuple) and arguments.get("class_weight") is None:
        mixed = MixedBatches(mixed_in_sequence(batches, steps, random))
        return _endless(arguments, mixed, arguments.get("steps_per_epoch"))
    # Keras takes none of these, and says why.
    return in_given_order({**arguments, "x": (batch for batch in batches)})


def _py_dataset_in_random_order(
    arguments: dict[str, Any],
    batches_per_epoch: int | None,
    steps_for: Callable[[int | None], int],
    random: np.random.Generator,
) -> SweepData:
    x, steps = arguments["x"], steps_for(batches_per_epoch)
    if x.num_batches is None:
        batches = mixed_in_sequence((x[index] for index in itertools.count()), steps, random)
        return _endless(arguments, MixedBatches(batches), batches_per_epoch)
    if x.num_batches == 1:
        return in_given_order(arguments)
    mixed = MixedBatches(mixed_by_index(x, steps, random))
    return _endless(arguments, mixed, batches_per_epoch, is_shuffled=True)


def _shuffled_loader(loader: Any, random: np.random.Generator) -> Any:
    import torch

    # Batches of a sampler of the user's own may be drawn with a purpose.
    if loader.batch_size is None or not isinstance(loader.sampler, torch.utils.data.SequentialSampler):
        return loader
    kept = (
        "batch_size",
        "num_workers",
        "collate_fn",
        "pin_memory",
        "drop_last",
        "timeout",
        "worker_init_fn",
        "multiprocessing_context",
        "prefetch_factor",
        "persistent_workers",
    )
    return torch.utils.data.DataLoader(
        loader.dataset,
        shuffle=True,
        generator=torch.Generator().manual_seed(int(random.integers(2**31))),
        **{name: getattr(loader, name) for name in kept},
    )


def _is_of(package: str, name: str, x: Any) -> bool:
    """Whether something is of a package's class, where that package is in use."""
    owner: Any = sys.modules.get(package)
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner is not None and isinstance(x, owner)


def _noting_its_end(batches: Iterator[Any], data: SweepData) -> Iterator[Any]:
    """Pass a generator's batches on; Keras would start an exhausted one again with its first two."""
    # Not `yield from`, which would close the user's generator together with this one.
    for index, batch in enumerate(batches):
        data.held[index] = batch
        yield batch
    data.has_ended = True


@contextlib.contextmanager
def iterator_goes_first(model: Any, x: Any) -> Iterator[None]:
    """Free TensorFlow's iterator over Python data before the dataset that Keras has made of them.

    Where a fit ends within an epoch, a cycle of references holds both. TensorFlow logs tracebacks if they are
    freed together, since the iterator calls functions of the dataset as it goes.

    Args:
        model: The model whose `fit` is called.
        x: Its data.
    """
    if keras.backend.backend() != "tensorflow" or not (
        inspect.isgenerator(x) or isinstance(x, keras.utils.PyDataset)
    ):
        yield
        return
    make, own = model.make_train_function, vars(model).get("make_train_function")
    held: list[Any] = []

    def making(force: bool = False) -> None:
        make(force)
        step = model.train_function

        def holding(iterator: Any) -> Any:
            held[:] = [iterator]
            return step(iterator)

        model.train_function = holding

    model.make_train_function = making
    try:
        yield
    finally:
        if own is None:
            del model.make_train_function
        else:
            model.make_train_function = own
        # While `held` has the iterator, and through it the dataset, the rest of the cycle is freed.
        gc.collect()
        held.clear()
