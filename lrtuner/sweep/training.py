"""The sweep inside of training code: the first call of `model.fit` becomes the sweep."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lrtuner.curve import BlowUpDetector, FloatArray
from lrtuner.sweep.errors import NoSweepError, UnusableModelError
from lrtuner.sweep.finder import LRFinder
from lrtuner.sweep.optimizers import own_optimizer
from lrtuner.sweep.recorders import CompiledRecorder, Recorder, recorder_for
from lrtuner.sweep.report import SweepOrder, SweepReport

# Steps in one call of the compiled function. It takes three high losses to tell a blow-up, and a sweep
# notices when the call is over: five steps after the first one at the latest.
_STEPS_PER_CALL = 4
# More epochs than any sweep needs: the sweep ends itself.
_ENDLESS = 1_000_000
# What a sweep leaves out of a call of `model.fit`.
_LEFT_OUT = ("validation_data", "validation_steps", "validation_batch_size", "initial_epoch")


class _SweepFinished(BaseException):
    """Leaves a user's own training code once the sweep inside of it is done.

    A `BaseException`, so that `except Exception` in that code lets it pass.
    """


def sweep_in_training(
    model: Any,
    train: Callable[[], Any],
    *,
    min_lr: float,
    max_lr: float,
    steps: int | None,
    restore: bool = False,
    on_start: Callable[[], SweepOrder] = SweepOrder,
    recorder: type[Recorder] | None = None,
) -> SweepReport:
    """Run a training function and turn the `model.fit` inside of it into a sweep.

    Whatever the training function passes to `model.fit` holds, data, batch size, weights and `verbose` among
    it. Callbacks and validation are left out, and the number of epochs is whatever the sweep takes.

    Args:
        model: A compiled Keras model.
        train: Called without arguments; is expected to call `model.fit`.
        min_lr: First learning rate.
        max_lr: Last learning rate.
        steps: Batches in the sweep, or `None` for the default budget.
        restore: Whether to give the model back as it was.
        on_start: Called when `model.fit` is about to begin; says what to sweep.
        recorder: What records the sweep, for comparisons; by default what serves the model best.

    Returns:
        A `SweepReport` with a curve of at most `steps` batches.

    Raises:
        UnusableModelError: Where the model is not compiled or there is no data.
        NoSweepError: Where the training function never calls `model.fit`.
    """

    def new_finder(arguments: dict[str, Any]) -> _FinderInTraining:
        order = on_start()
        return _FinderInTraining(
            min_lr,
            max_lr,
            steps,
            restore=restore,
            verbose=arguments.get("verbose", "auto"),
            order=dataclasses.replace(order, epochs=order.epochs or _epochs(arguments)),
            recorder=recorder or recorder_for(model),
        )

    fit = _SweptFit(model, new_finder)
    try:
        _run_until_fit(model, train, fit)
    finally:
        fit.close()
    return fit.report()


class _FinderInTraining(LRFinder):
    """The finder of a sweep whose order and data are known."""

    def __init__(self, *args: Any, order: SweepOrder, recorder: type[Recorder], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._order = order
        self._recorder = recorder
        self._generator_has_ended = False

    @property
    def optimizer(self) -> Any:
        """The optimizer whose rate is swept."""
        return self._order.optimizer or own_optimizer(self.model)

    @property
    def is_compiled(self) -> bool:
        """Whether several steps may run in one call."""
        return self._recorder is CompiledRecorder

    def until_its_end(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Pass a generator's batches on; Keras would start an exhausted one again with its first two."""
        # Not `yield from`, which would close the user's generator together with this one.
        for batch in batches:  # noqa: UP028
            yield batch
        self._generator_has_ended = True

    def _data_has_ended(self) -> bool:
        return self._generator_has_ended


class _SweptFit:
    """Stands in for a model's `fit`: its first call is the sweep, a second one ends the training code."""

    _CHANGED = ("steps_per_execution", "train_function", "history", "stop_training")

    def __init__(self, model: Any, new_finder: Callable[[dict[str, Any]], _FinderInTraining]) -> None:
        self._model = model
        self._plain_fit = model.fit
        self._bind = _binding(model)
        self._new_finder = new_finder
        self._finder: _FinderInTraining | None = None
        self._arguments: dict[str, Any] = {}
        self._before = {name: getattr(model, name, None) for name in self._CHANGED}

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Sweep in place of training."""
        if self._finder is not None:
            # The sweep is over, and the training code has caught what was to tell it.
            raise _SweepFinished
        self._arguments = self._bind(args, kwargs)
        check_trainable(self._model, self._arguments.get("x"))
        self._finder = self._new_finder(self._arguments)
        arguments = self._swept_arguments(self._finder)
        self._model.steps_per_execution = _STEPS_PER_CALL if self._finder.is_compiled else 1
        with warnings.catch_warnings():
            # Data of unknown length is cycled on purpose.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            self._plain_fit(**arguments)
        raise _SweepFinished

    def _swept_arguments(self, finder: _FinderInTraining) -> dict[str, Any]:
        """Return what to call the model's own `fit` with."""
        arguments = {name: value for name, value in self._arguments.items() if name not in _LEFT_OUT}
        if inspect.isgenerator(arguments["x"]):
            arguments["x"] = finder.until_its_end(arguments["x"])
        elif finder.restore and not self._model.built:
            self._model(_some_inputs(arguments["x"]))
        # A validation_split still decides which rows are trained on; its validation never runs.
        arguments.update(epochs=_ENDLESS, verbose=0, callbacks=[finder], validation_freq=_ENDLESS + 1)
        return {name: value for name, value in arguments.items() if _takes(self._plain_fit, name)}

    def close(self) -> None:
        """Give the model back, also after an exception."""
        if self._finder is not None:
            self._finder.close()
            for name, value in self._before.items():
                setattr(self._model, name, value)

    def report(self) -> SweepReport:
        """Return what the sweep has found.

        Raises:
            NoSweepError: Where there was no sweep.
        """
        finder = self._finder
        if finder is None or finder.curve is None:
            raise NoSweepError(
                "The training function ended without a call of model.fit, so no learning-rate curve could be "
                "recorded: train with model.fit, or declare a narrower learning-rate space by hand."
            )
        momentum = getattr(finder.optimizer, "momentum", None)
        return SweepReport(
            curve=finder.curve,
            optimizer=type(finder.optimizer).__name__,
            momentum=None if momentum is None else float(momentum),
            batch_size=_batch_size(self._arguments),
            batches_per_epoch=finder.params.get("steps"),
            epochs=_epochs(self._arguments),
            fault=_fault_in_data(finder.curve.losses, self._arguments),
        )


def batch_size_of(model: Any, train: Callable[[], Any]) -> int | None:
    """Return the batch size that a training function passes to `model.fit`, without training anything.

    Args:
        model: A compiled Keras model.
        train: Called without arguments; is expected to call `model.fit`.

    Returns:
        Rows in a batch, or `None` where the data brings its own batches, `model.fit` is not called, or trains
        on as many batches whatever their size (`steps_per_epoch`).
    """
    bind = _binding(model)
    training: dict[str, Any] = {}

    def fit(*args: Any, **kwargs: Any) -> None:
        training.update(bind(args, kwargs))
        raise _SweepFinished

    _run_until_fit(model, train, fit)
    if training.get("x") is None or training.get("steps_per_epoch") is not None:
        return None
    return _batch_size(training)


def check_trainable(model: Any, x: Any) -> None:
    """Raise where nothing could be trained.

    Args:
        model: What should be a compiled Keras model.
        x: Its training inputs.

    Raises:
        TypeError: Where the model is none.
        UnusableModelError: Where it is not compiled or has no trainable weights, or there is no data.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Expected a Keras model, got {model!r} of type {type(model).__name__}: pass a keras.Model "
            "that is compiled."
        )
    if not model.compiled or model.optimizer is None:
        raise UnusableModelError(
            f"The model {model.name!r} is not compiled, so it has no learning rate to sweep: "
            "call model.compile(optimizer=..., loss=...) before it is returned or swept."
        )
    if model.built and not model.trainable_variables:
        raise UnusableModelError(
            f"The model {model.name!r} has no trainable weights, so no learning rate changes anything: "
            "unfreeze or add a layer."
        )
    if x is None:
        raise UnusableModelError("No training data: pass x (and y), as to model.fit.")
    for data in keras.tree.flatten(x):
        try:
            batches_or_rows = len(data)
        except TypeError:
            continue
        if batches_or_rows == 0:
            raise UnusableModelError("The training data is empty: x has length 0.")


def _run_until_fit(model: Any, train: Callable[[], Any], fit: Callable[..., None]) -> None:
    """Run a training function with another `model.fit`, which ends it."""

    def train_on_batch(*_args: Any, **_kwargs: Any) -> None:
        raise _SweepFinished

    model.fit, model.train_on_batch = functools.wraps(model.fit)(fit), train_on_batch
    try:
        train()
    except _SweepFinished:
        pass
    finally:
        del model.fit, model.train_on_batch


def _binding(model: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """Return a function that names the arguments of a call of `model.fit`."""
    parameters = inspect.signature(model.fit).parameters.values()
    # Where a fit of the user's own only passes on what it is given, that is named as for Keras' fit.
    passes_on = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    signature = inspect.signature(functools.partial(keras.Model.fit, model) if passes_on else model.fit)

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            arguments = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise UnusableModelError(
                f"The training can't begin: {error}. Pass to it what model.fit takes: "
                f"{', '.join(signature.parameters)}."
            ) from error
        arguments.update(arguments.pop("kwargs", {}))
        return arguments

    return bind


def _takes(fit: Callable[..., Any], name: str) -> bool:
    """Whether a `fit` takes an argument of that name."""
    parameters = inspect.signature(fit).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _epochs(training: dict[str, Any]) -> int | None:
    """Return the epochs of what `model.fit` was called with."""
    epochs = training.get("epochs", 1) - training.get("initial_epoch", 0)
    return epochs if epochs > 0 else None


def _fault_in_data(losses: FloatArray, training: dict[str, Any]) -> str | None:
    """Return in words where the data has made the loss NaN, which reads like a blow-up."""
    if len(losses) == 0 or np.isfinite(losses[-1]):
        return None
    detector = BlowUpDetector()
    for loss in losses[:-1]:
        detector.update(loss)
    if len(losses) > 1 and losses[-2] > detector.limit:
        # It was diverging already: the data may be masked by the user's own loss.
        return None
    for name in ("x", "y", "sample_weight"):
        for array in keras.tree.flatten(training.get(name)):
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                continue
            bad: Any = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            if bad.any():
                return (
                    f"The loss was {losses[-1]} at batch {len(losses)}, and {name} holds NaN or infinite "
                    f"values in {bad.sum()} of its {len(bad)} rows, first in row {bad.argmax()}: remove or "
                    "fill them, since they make NaN of any model"
                )
    return None


def _some_inputs(x: Any) -> Any:
    """Return a few inputs for a model that has no weights until it sees some."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0][0]
    if hasattr(x, "element_spec") or hasattr(x, "collate_fn"):
        batch = next(iter(x))
        return batch[0] if isinstance(batch, (tuple, list)) else batch
    return keras.tree.map_structure(lambda array: array[:1], x)


def _batch_size(training: dict[str, Any]) -> int | None:
    """Return the rows in a batch of what `model.fit` was called with."""
    if training.get("batch_size") is not None:
        return int(training["batch_size"])
    data = training["x"]
    spec = getattr(data, "element_spec", None)
    if spec is None:
        # Keras batches arrays by 32 where nothing is said; everything else brings batches of its own.
        return 32 if all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(data)) else None
    rows = keras.tree.flatten(spec)[0].shape[0]
    return None if rows is None else int(rows)
