"""A sweep in place of a training: what `model.fit` would be called with, and the sweep with it."""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
from typing import Any

import keras

from lrtuner.curve.curve import LRCurve
from lrtuner.errors import UnusableModelError
from lrtuner.sweep.data import is_stateful, some_inputs, sweep_data
from lrtuner.sweep.finder import Known, LRFinder
from lrtuner.sweep.model import build_optimizer, optimizers_of

# More epochs than any sweep needs: the sweep ends itself.
_ENDLESS = 1_000_000
# What it leaves out of a call of `model.fit`. A validation_split still decides which rows are trained on.
_LEFT_OUT = ("validation_data", "validation_steps", "validation_batch_size", "initial_epoch")
# What it changes in a model.
_CHANGED = ("steps_per_execution", "train_function", "history", "stop_training")


def fit_arguments(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Name the arguments of a call of `model.fit`.

    Args:
        model: A Keras model.
        args: The positional arguments.
        kwargs: Those by keyword.

    Raises:
        UnusableModelError: Where `fit` takes no such arguments.
    """
    signature = inspect.signature(_fit_of(model))
    if any(one.kind is one.VAR_POSITIONAL for one in signature.parameters.values()):
        # A fit of the user's own that only passes on what it is given.
        signature = inspect.signature(functools.partial(keras.Model.fit, model))
    try:
        arguments = dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise UnusableModelError(
            f"The training can't begin: {error}. Pass to it what model.fit takes: "
            f"{', '.join(signature.parameters)}."
        ) from error
    arguments.update(arguments.pop("kwargs", {}))
    return arguments


def sweep_fit(
    model: Any,
    arguments: dict[str, Any],
    *,
    min_lr: float,
    max_lr: float,
    steps: int | None,
    restore: bool = False,
    shuffle: bool = True,
    optimizer: Any = None,
    epochs: int | None = None,
    sweeps: int = 1,
    title: str = "Learning-rate sweep",
) -> LRCurve:
    """Sweep the learning rate in place of a call of `model.fit`.

    What that was called with holds, data, batch size, weights and `verbose` among it. Callbacks and
    validation are left out, and the number of epochs is whatever the sweep takes.

    Args:
        model: A compiled Keras model. Its class's `fit` is called, even where the model has another for a
            while.
        arguments: What `model.fit` was called with, by name; see `fit_arguments`.
        min_lr: First learning rate.
        max_lr: Last learning rate.
        steps: Batches in the sweep, or `None` for the default budget.
        restore: Whether to give the model back as it was.
        shuffle: Whether to draw batches that come in an order in random order, see `sweep_data`.
        optimizer: The optimizer whose rate is swept; by default the model's.
        epochs: Epochs in one full training; by default those of the call.
        sweeps: Sweeps that share the budget of one full training.
        title: What the progress calls the sweep.

    Returns:
        A curve of at most `steps` batches.

    Raises:
        UnusableModelError: Where the model is not compiled or has nothing to train, or there is no data.
        NoLossError: Where the model's training step reports no loss.
    """
    check_trainable(model, arguments.get("x"))
    data = sweep_data(arguments, shuffle=shuffle and not is_stateful(model))
    if _is_half_built(model):
        _build(model, data.arguments, must_succeed=restore)
        check_trainable(model, arguments["x"])
    if model.built:
        # Keras traces a step twice in which the optimizer makes its variables.
        build_optimizer(model)
    declared = arguments.get("epochs", 1) - arguments.get("initial_epoch", 0)
    finder = LRFinder(min_lr, max_lr, steps, restore=restore, verbose=arguments.get("verbose", "auto"))
    finder.known = Known(data, optimizer, epochs or (declared if declared > 0 else None), sweeps, title)
    called = {name: value for name, value in data.arguments.items() if name not in _LEFT_OUT}
    called.update(epochs=_ENDLESS, verbose=0, callbacks=[finder], validation_freq=_ENDLESS + 1)
    fit = _fit_of(model)
    parameters = inspect.signature(fit).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        called = {name: value for name, value in called.items() if name in parameters}
    before = {name: getattr(model, name, None) for name in _CHANGED}
    try:
        model.steps_per_execution = 1
        with warnings.catch_warnings():
            # Data of unknown length is cycled on purpose.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            # A fit of the model's own may make a dataset of what it is given.
            warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
            fit(**called)
    finally:
        finder.close()
        for name, value in before.items():
            setattr(model, name, value)
    assert finder.curve is not None
    return finder.curve


def _fit_of(model: Any) -> Any:
    return functools.partial(type(model).fit, model)


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
    if not model.compiled or not optimizers_of(model):
        raise UnusableModelError(
            f"The model {model.name!r} is not compiled, so it has no learning rate to sweep: "
            "call model.compile(optimizer=..., loss=...) before it is returned or swept."
        )
    if not model.trainable_variables and not _is_half_built(model):
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


def _is_half_built(model: Any) -> bool:
    """Whether a model, or any layer of it, may still get weights when it is called."""
    return not all(layer.built for layer in model._flatten_layers())


def _build(model: Any, arguments: dict[str, Any], *, must_succeed: bool) -> None:
    """Call a model on a few rows, so that all of its layers have their weights."""
    x = arguments["x"]
    try:
        if inspect.isgenerator(x):
            first = next(x)
            # Keras takes nothing but generators for one.
            arguments["x"] = (batch for batch in itertools.chain([first], x))
            model(first[0] if isinstance(first, (tuple, list)) else first)
        else:
            # A model of the user's may warn of calls with what `fit` takes.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model(some_inputs(x))
    except Exception:
        # Plain training may manage without.
        if must_succeed and not model.built:
            raise
