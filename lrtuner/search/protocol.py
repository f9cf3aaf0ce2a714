"""What the oracle and those who run its sweeps say to each other: an order to sweep, and the answer.

Both are kept beside the hyperparameters of the sweep's trial, where the user's code does not meet them.
KerasTuner carries nothing but values between a chief and its workers, so there, and only there, they travel
among the values, as JSON under reserved names.

Trials whose id begins with `lr_sweep` are lrtuner's own. KerasTuner numbers its trials, so none of them does.
"""

from __future__ import annotations

import dataclasses
import json
import re
import weakref
from typing import Any

import keras_tuner as kt

from lrtuner.curve.curve import LRCurve
from lrtuner.search.codec import decode, encode
from lrtuner.search.settings import SettingSpace
from lrtuner.space.relation import IDENTITY, Relation

ORDER_KEY = "lrtuner/order"
ANSWER_KEY = "lrtuner/answer"

# The trial of a sweep is called lr_sweep_0, lr_sweep_1 and so on.
SWEEP_PREFIX = "lr_sweep"

NO_FIT = (
    "the trial ended without a call of model.fit, and a sweep needs one on a model that build has returned: "
    "call it if lrtuner.is_sweep(hp) is true, or declare a narrower range of learning rates yourself"
)
# Lines of an error that are shown; some libraries print their data in it.
_MOST_LINES = 6
# Of TensorFlow's errors: where in a graph they occurred, and the values of a whole batch.
_PLACES = re.compile(r"\{\{.*?\}\} ?|\[\[.*?\]\]|\[Op:.*?\]| *Label values: .*")
_FRAMES = re.compile(
    r"\s|Traceback |\(most recent|<stack traces|Detected at node|Stack trace |(\w+: )?Graph execution error"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """The order to run a sweep, from the oracle to whoever trains.

    Attributes:
        min_lr: First learning rate of the ramp.
        max_lr: Last learning rate of the ramp.
        steps: Batches in the sweep, or None for the default.
        shuffle: Whether the batches may come in random order.
        learning_rate: Name of the hyperparameter to sweep, or None where the training code will declare it.
        learning_rates: Names of all learning rates where the user named several, otherwise empty. The search
            space may lack some, which only a branch of the build function declares.
        others_count: Whether the learning rates that other branches declare are to be swept, too; not where
            the user named one.
        settings: The hyperparameters that move the range, or None where this sweep is to find them.
        is_first: Whether this is the search's first sweep, which looks at what each setting declares.
        scales: Whether to look for the hyperparameter that is the batch size.
        number: Which sweep of the search this is, counted from 1.
        epochs: Epochs in one full training where the oracle sets them, as Hyperband does.
        objectives: Names of the metrics that the search looks at.
    """

    min_lr: float
    max_lr: float
    steps: int | None = None
    shuffle: bool = True
    learning_rate: str | None = None
    learning_rates: tuple[str, ...] = ()
    others_count: bool = True
    settings: SettingSpace | None = None
    is_first: bool = True
    scales: bool = True
    number: int = 1
    epochs: int | None = None
    objectives: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a sweep, from whoever has trained to the oracle.

    Attributes:
        curve: The sweep's curve, with what is known of the training, or None where there is none.
        relation: How the hyperparameter's values turn into learning rates.
        settings: The hyperparameters that move the range, or None where the sweep failed.
        learning_rate: Name of the hyperparameter that was swept, or None where the sweep failed.
        error: Why there is no curve, in words, or None where there is one.
        may_be_retried: Whether training raised the error, so that another sweep may do better.
    """

    curve: LRCurve | None = None
    relation: Relation = IDENTITY
    settings: SettingSpace | None = None
    learning_rate: str | None = None
    error: str | None = None
    may_be_retried: bool = False

    @property
    def learning_rates(self) -> tuple[str, ...]:
        """The learning rates that the sweep has found, the one that was swept first."""
        branches = () if self.settings is None else self.settings.learning_rates
        swept = () if self.learning_rate is None else (self.learning_rate,)
        return tuple(dict.fromkeys((*swept, *branches)))


_orders: weakref.WeakKeyDictionary[kt.HyperParameters, Order] = weakref.WeakKeyDictionary()
_answers: weakref.WeakKeyDictionary[kt.HyperParameters, Answer] = weakref.WeakKeyDictionary()
# Hyperparameters of a tuner of KerasTuner's on a worker, which sends back nothing but their values.
_sent: weakref.WeakSet[kt.HyperParameters] = weakref.WeakSet()


def put(hyperparameters: kt.HyperParameters, message: Order | Answer) -> None:
    """Keep an order or an answer beside the hyperparameters of a trial."""
    if isinstance(message, Order):
        _orders[hyperparameters] = message
        return
    _answers[hyperparameters] = message
    if hyperparameters in _sent:
        hyperparameters.values[ANSWER_KEY] = json.dumps(encode(message))


def order_of(hyperparameters: kt.HyperParameters) -> Order | None:
    """Return the order to sweep that came with hyperparameters, or None where their trial is no sweep."""
    if ORDER_KEY in hyperparameters.values:
        _take_out(hyperparameters)
        _sent.add(hyperparameters)
    return _orders.get(hyperparameters)


def answer_of(hyperparameters: kt.HyperParameters) -> Answer | None:
    """Return what came of the sweep with these hyperparameters; None where there is nothing yet."""
    return _answers.get(hyperparameters)


def is_sweep(hp: kt.HyperParameters) -> bool:
    """Return whether a call of `build`, `fit` or `run_trial` serves a learning-rate sweep and no trial.

    In a sweep the first `model.fit` is the sweep. It returns a made-up history, as every later one does at
    once. So experiment trackers may want to leave a sweep out:

    >>> hp = kt.HyperParameters()
    >>> if not lrtuner.is_sweep(hp):
    ...     print("a trial")
    a trial

    Args:
        hp: The `keras_tuner.HyperParameters` of the call, `trial.hyperparameters` in `run_trial`.
    """
    return order_of(hp) is not None


def to_wire(trial: Any) -> None:
    """Move what is kept beside a trial's hyperparameters into their values, to be sent elsewhere."""
    order, answer = _orders.get(trial.hyperparameters), answer_of(trial.hyperparameters)
    if order is not None or answer is not None:
        key = ANSWER_KEY if answer else ORDER_KEY
        trial.hyperparameters.values[key] = json.dumps(encode(answer or order))


def from_wire(trial: Any) -> None:
    """Take what was sent among a trial's values out of them, and keep it beside its hyperparameters."""
    _take_out(trial.hyperparameters)


def _take_out(hyperparameters: kt.HyperParameters) -> None:
    order = hyperparameters.values.pop(ORDER_KEY, None)
    answer = hyperparameters.values.pop(ANSWER_KEY, None)
    if order is not None:
        _orders[hyperparameters] = decode(Order, json.loads(order))
    if answer is not None:
        try:
            _answers[hyperparameters] = decode(Answer, json.loads(answer))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            said = f"the sweep's answer can't be read: {type(error).__name__}: {error}"
            _answers[hyperparameters] = Answer(error=said)


def answer_in(trial: Any) -> Answer:
    """Return the answer of a sweep's trial that has ended; where there is none, the reason."""
    kept = answer_of(trial.hyperparameters)
    return kept or Answer(error=_useful_lines((trial.message or "").rpartition("Traceback ")[2]) or NO_FIT)


def error_text(error: BaseException) -> str:
    """Return an error in words: its class, and what of its message is about the user's data or code."""
    return _useful_lines(f"{type(error).__name__}: {error}") or type(error).__name__


def _useful_lines(text: str) -> str:
    """Return the lines of an error or a traceback, without frames and nodes of a graph, and not too many."""
    lines = [_PLACES.sub("", line).strip() for line in text.splitlines() if not _FRAMES.match(line)]
    lines = [line for line in lines if line]
    return "\n".join(lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], "..."])


def is_own_trial(trial_id: str | None) -> bool:
    """Return whether a trial of that id is lrtuner's own."""
    return trial_id is not None and trial_id.startswith(SWEEP_PREFIX)


def waiting_trial() -> Any:
    """Return the trial for a tuner that has to ask again, since a sweep is under way elsewhere."""
    return kt.engine.trial.Trial(kt.HyperParameters(), trial_id=SWEEP_PREFIX + "_wait", status="IDLE")


# --- Who runs sweeps ----------------------------------------------------------------------------------------

_announced: weakref.WeakSet[kt.HyperParameters] = weakref.WeakSet()


def announce_runner(hyperparameters: kt.HyperParameters) -> None:
    """Say, beside the hyperparameters that a tuner collects, that its sweeps will be run."""
    _announced.add(hyperparameters)


def announces_runner(hyperparameters: kt.HyperParameters) -> bool:
    """Return whether the tuner that has collected these hyperparameters runs sweeps."""
    return hyperparameters in _announced
