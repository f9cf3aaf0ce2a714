"""Calls of `model.fit` in training code of the user's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from lrtuner.errors import UnusableModelError
from lrtuner.sweep.model import optimizers_of


class LeaveFit(BaseException):
    """Leaves the function that calls `model.fit` once the sweep in place of that is done.

    A `BaseException`, so that `except Exception` in that code lets it pass.
    """


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


def run_until_fit(model: Any, train: Callable[[], Any], fit: Callable[..., None]) -> None:
    """Run a training function with another `model.fit`, which ends it."""

    def train_on_batch(*_args: Any, **_kwargs: Any) -> None:
        raise LeaveFit

    model.fit, model.train_on_batch = functools.wraps(model.fit)(fit), train_on_batch
    try:
        train()
    except LeaveFit:
        pass
    finally:
        del model.fit, model.train_on_batch


def binding(model: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
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


def takes(fit: Callable[..., Any], name: str) -> bool:
    """Whether a `fit` takes an argument of that name."""
    parameters = inspect.signature(fit).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def epochs_of(training: dict[str, Any]) -> int | None:
    """Return the epochs of what `model.fit` was called with."""
    epochs = training.get("epochs", 1) - training.get("initial_epoch", 0)
    return epochs if epochs > 0 else None
