import json
import traceback

import keras_tuner as kt
import numpy as np
import pytest

import lrtuner
from lrtuner.search.protocol import (
    ERROR_KEY,
    REPORT_KEY,
    TASK_KEY,
    SweepAnswer,
    SweepTask,
    asks_for_news,
    error_text,
    fatal_error,
    fatal_trial,
    is_own_trial,
    is_sweep,
    news_id,
    news_trial,
    without_reserved,
)
from lrtuner.search.settings import SettingSpace
from lrtuner.search.worker import ChiefsOracle
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.sweep.report import SweepReport

TRAINING = lrtuner.Training(optimizer="SGD", batch_size=8, batches_per_epoch=50, epochs=2, momentum=0.9)
CURVE = lrtuner.LRCurve(np.geomspace(1e-7, 10.0, 20), np.linspace(2.0, 1.0, 20), training=TRAINING)
REPORT = SweepReport(curve=CURVE)
SETTINGS = SettingSpace(("optimizer",), (({"optimizer": "sgd"}, {"optimizer": "adam"}),), "batch_size")


def task(**changes):
    arguments = {
        "min_lr": 1e-7,
        "max_lr": 10.0,
        "steps": None,
        "learning_rate": "learning_rate",
        "learning_rates": (),
        "others_count": True,
        "settings": None,
        "is_first": True,
        "scales": True,
        "number": 1,
        "epochs": None,
        "objective_is_named": True,
    }
    return SweepTask(**{**arguments, **changes})


def sent(hyperparameters):
    """Return hyperparameters as they arrive at the other end of gRPC."""
    return kt.HyperParameters.from_proto(hyperparameters.to_proto())


def trial(**values):
    ended = kt.engine.trial.Trial(kt.HyperParameters())
    ended.hyperparameters.values.update(values)
    return ended


class TestTask:
    @pytest.mark.parametrize(
        "order", [task(), task(steps=60, learning_rates=("a", "b"), settings=SETTINGS, epochs=3, number=2)]
    )
    def test_arrives_as_it_was_sent(self, order):
        hyperparameters = kt.HyperParameters()
        order.write_to(hyperparameters)
        assert is_sweep(sent(hyperparameters))
        assert SweepTask.of(sent(hyperparameters)) == order

    def test_of_an_ordinary_trial(self):
        assert SweepTask.of(kt.HyperParameters()) is None


class TestAnswer:
    @pytest.mark.parametrize("relation", [IDENTITY, Relation((-3.0, -1.0), (1e-3, 0.1))])
    def test_arrives_as_it_was_sent(self, relation):
        answer = SweepAnswer(report=REPORT, relation=relation, settings=SETTINGS)
        ended = trial()
        answer.write_to(ended.hyperparameters)
        ended.hyperparameters = sent(ended.hyperparameters)
        assert SweepAnswer.of(ended) == answer

    def test_a_failure(self):
        ended = trial()
        SweepAnswer(error="the disk is gone").write_to(ended.hyperparameters)
        assert SweepAnswer.of(ended) == SweepAnswer(error="the disk is gone")

    def test_a_traceback(self):
        ended = trial(**{TASK_KEY: "{}"})
        ended.message = "Traceback:\n  in a file\nOSError: the disk is gone\n"
        assert SweepAnswer.of(ended).error == "OSError: the disk is gone"

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            (
                "A series:\n  0  1\nLength: 200, dtype: int64.",
                "ValueError: A series:\n  0  1\nLength: 200, dtype: int64.",
            ),
            ("\n".join("abcdefgh"), "ValueError: a\nb\nc\nd\ne\n..."),
        ],
    )
    def test_an_error_of_several_lines(self, message, error):
        ended = trial()
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            raise ValueError(message)
        assert error_text(caught.value) == error
        ended.message = "".join(traceback.format_exception(caught.value))
        assert SweepAnswer.of(ended).error == error

    def test_none_at_all(self):
        assert "without training" in SweepAnswer.of(trial()).error

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"curve": 3}', "nonsense", "null"])
    def test_nonsense(self, content):
        answer = SweepAnswer.of(trial(**{REPORT_KEY: content}))
        assert answer.report is None
        assert "can't be read" in answer.error

    def test_a_report_with_a_key_that_it_should_not_have(self):
        ended = trial()
        SweepAnswer(report=REPORT, settings=SETTINGS).write_to(ended.hyperparameters)
        config = json.loads(ended.hyperparameters.values[REPORT_KEY])
        ended.hyperparameters.values[REPORT_KEY] = json.dumps({**config, "depth": 3})
        assert "depth" in SweepAnswer.of(ended).error


def test_only_the_user_s_values_are_left():
    ended = trial(units=3, **{ERROR_KEY: "gone"})
    task().write_to(ended.hyperparameters)
    assert without_reserved(ended.hyperparameters).values == {"units": 3}
    assert len(ended.hyperparameters.values) == 3


def test_news():
    asked = news_id("worker0")
    assert is_own_trial(asked)
    assert asks_for_news(asked) == "worker0"
    assert asks_for_news("lr_sweep_0") is None
    assert not is_own_trial("0007")
    assert fatal_error(news_trial(asked, None)) is None
    ended = news_trial(asked, "the disk is gone")
    assert ended.status == "STOPPED"
    assert fatal_error(ended) == fatal_error(fatal_trial("the disk is gone")) == "the disk is gone"


def test_a_late_answer_does_not_take_an_error_back():
    worker = ChiefsOracle(None, "tuner0")
    for error in (None, "the disk is full", None):
        worker._take_news(news_trial(news_id(), error))
    with pytest.raises(kt.errors.FatalRuntimeError, match="the disk is full"):
        worker.check()
