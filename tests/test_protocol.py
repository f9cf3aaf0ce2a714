import gc
import json
import traceback

import keras_tuner as kt
import numpy as np
import pytest

import lrtuner
from lrtuner.search.protocol import (
    ANSWER_KEY,
    Answer,
    Order,
    answer_in,
    answer_of,
    error_text,
    from_wire,
    is_own_trial,
    is_sweep,
    order_of,
    put,
    to_wire,
    waiting_trial,
)
from lrtuner.search.settings import SettingSpace
from lrtuner.space.relation import IDENTITY, Relation

TRAINING = lrtuner.Training(optimizer="SGD", batch_size=8, batches_per_epoch=50, epochs=2, momentum=0.9)
CURVE = lrtuner.LRCurve(
    np.geomspace(1e-7, 10.0, 3), [2.0, 1.0, np.nan], training=TRAINING, fault="x is empty"
)
SETTINGS = SettingSpace(("optimizer",), (({"optimizer": "sgd"}, {"optimizer": "adam"}),), "batch_size")
ORDERS = [
    Order(min_lr=1e-7, max_lr=10.0),
    Order(min_lr=1e-7, max_lr=10.0, steps=60, learning_rates=("a", "b"), settings=SETTINGS, number=2),
]
ANSWERS = [
    Answer(error="the disk is gone", may_be_retried=True),
    Answer(curve=CURVE, settings=SETTINGS, learning_rate="lr", relation=IDENTITY),
    Answer(curve=CURVE, settings=SETTINGS, learning_rate="lr", relation=Relation((-3.0, -1.0), (1e-3, 0.1))),
]


def made(**values):
    trial = kt.engine.trial.Trial(kt.HyperParameters())
    trial.hyperparameters.values.update(values)
    return trial


def sent(trial):
    """Return a trial as it arrives at the other end of gRPC."""
    return kt.engine.trial.Trial.from_proto(trial.to_proto())


def test_messages_lie_beside_the_values_of_a_trial():
    hp = made(units=3).hyperparameters
    assert (order_of(hp), answer_of(hp), is_sweep(hp)) == (None, None, False)
    put(hp, ORDERS[0])
    put(hp, ANSWERS[0])
    assert (order_of(hp), answer_of(hp), is_sweep(hp)) == (ORDERS[0], ANSWERS[0], True)
    assert hp.values == {"units": 3}
    # They go with it.
    number = id(hp)
    del hp
    gc.collect()
    assert not any(id(one) == number and is_sweep(one) for one in [made().hyperparameters])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("is_stock", [False, True])
def test_there_and_back_between_processes(order, answer, is_stock):
    trial = made(units=3)
    put(trial.hyperparameters, order)
    to_wire(trial)
    # A chief may send the same trial again.
    to_wire(trial)
    there = sent(trial)
    if not is_stock:
        from_wire(there)
    assert order_of(there.hyperparameters) == order
    assert there.hyperparameters.values == {"units": 3}
    put(there.hyperparameters, answer)
    if not is_stock:
        to_wire(there)
    back = sent(there)
    from_wire(back)
    assert answer_in(back) == answer
    assert back.hyperparameters.values == {"units": 3}


@pytest.mark.parametrize("content", ["", "{}x", "[1]", '{"curve": 3}', "nonsense", '{"depth": 3}'])
def test_nonsense_is_an_answer_without_a_curve(content):
    trial = made(**{ANSWER_KEY: content})
    from_wire(trial)
    assert answer_in(trial).curve is None
    assert "can't be read" in answer_in(trial).error


def test_no_answer_at_all():
    assert "without a call of model.fit" in answer_in(made()).error


GRAPH = """Graph execution error:

Detected at node compile_loss/loss defined at (most recent call last):
<stack traces unavailable>
  File "<string>", line 1, in <module>

Received a label value of 2 which is outside the valid range of [0, 2).  Label values: 0 1 2 1 0
\t [[{{node compile_loss/loss/SparseSoftmax}}]] [Op:__inference_multi_step_on_iterator_805]"""


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("the disk is gone", "ValueError: the disk is gone"),
        (GRAPH, "Received a label value of 2 which is outside the valid range of [0, 2)."),
        ("{{function_node __wrapped}} no room [Op:Mul]", "ValueError: no room"),
        ("A series:\n  0  1\nLength: 200.", "ValueError: A series:\nLength: 200."),
        ("\n".join("abcdefgh"), "ValueError: a\nb\nc\nd\ne\n..."),
    ],
)
def test_what_of_an_error_is_of_use(message, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        raise ValueError(message)
    assert error_text(caught.value) == text
    # KerasTuner keeps a traceback.
    trial = made()
    trial.message = "".join(traceback.format_exception(caught.value))
    assert answer_in(trial).error == text


def test_trials_of_lrtuner_s_own():
    assert is_own_trial("lr_sweep_0")
    assert is_own_trial(waiting_trial().trial_id)
    assert not is_own_trial("0007")
    assert not is_own_trial(None)
    assert json.dumps(waiting_trial().hyperparameters.values) == "{}"
