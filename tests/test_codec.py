import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtuner.curve.curve import LRCurve, Training
from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.search.codec import decode, encode
from lrtuner.space.relation import IDENTITY, Relation


def through_json(thing):
    return decode(type(thing), json.loads(json.dumps(encode(thing), allow_nan=False)))


@dataclasses.dataclass
class Record:
    name: str
    bounds: tuple[float, float] | None = None
    curve: LRCurve | None = None
    relation: Relation = IDENTITY
    alike: tuple[tuple[dict[str, Any], ...], ...] = ()
    names: str | Sequence[str] | None = None
    steps: list[int] = dataclasses.field(default_factory=list)
    told: dict[str, bool] = dataclasses.field(default_factory=dict)
    space: Any = None


@pytest.mark.parametrize(
    "record",
    [
        Record("a"),
        Record("b", (1.0, math.inf), LRCurve([1, 2], [math.nan, 1.0], training=Training(optimizer="Adam"))),
        Record("c", None, None, Relation((1.0, 2.0), (1e-3, 1e-2)), (({"opt": "sgd", "n": 1},), ()), "lr"),
        Record("d", names=["a_lr", "b_lr"], steps=[1, 2], told={"x": True}, space={"y": [1]}),
        Training(),
        Training(optimizer="SGD", momentum=0.9, batch_size=32, batches_per_epoch=50, epochs=4),
        LRRange(1e-3, 1e-1),
        Evidence(batches=100, density=12.5, noise=0.1, descent=math.inf, descent_end=0.1, edge=None),
    ],
)
def test_a_record_comes_back_as_it_was(record):
    assert through_json(record) == record


def test_all_of_a_curve_comes_back():
    evidence = Evidence(batches=2, density=1.0, noise=0.0, descent=0.0, descent_end=None, edge=None)
    training = Training(optimizer="Adam", is_shuffled=True)
    curve = LRCurve([1, 2], [3.0, math.nan], training=training, updates=[math.nan, 0.1], fault="NaN in x")
    back = through_json(curve)
    assert (back.training, back.fault) == (curve.training, curve.fault)
    np.testing.assert_array_equal(back.updates, curve.updates)
    assert through_json(LRRange(1.0, 2.0, evidence)).evidence == evidence


@given(st.lists(st.floats(width=64), max_size=20))
def test_losses_of_any_kind_are_strict_json_and_exact(losses):
    curve = LRCurve(np.geomspace(1e-6, 1, len(losses)), losses)
    assert through_json(curve) == curve


def test_what_is_not_finite_is_spelled():
    assert encode({"a": np.array([math.nan, math.inf, -math.inf, 1]), "b": np.float32(0.5)}) == {
        "a": ["nan", "inf", "-inf", 1.0],
        "b": 0.5,
    }


def test_hyperparameters_become_their_config():
    space = keras_tuner.HyperParameters()
    space.Float("lr", 1e-6, 1.0)
    back = through_json(Record("a", space=space)).space
    assert keras_tuner.HyperParameters.from_config(back).get_config() == space.get_config()


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (Record, None, "The config must be of the kind Record, got None"),
        (Record, {}, "not one of Record: .* missing 1 required"),
        (Record, {"name": "a", "x": 1}, "not one of Record: .* unexpected .*'x'"),
        (Record, {"name": 1}, "name must be of the kind str, got 1"),
        (Record, {"name": "a", "bounds": [1]}, "bounds must be of the kind"),
        (Record, {"name": "a", "steps": [1.5]}, "steps must be of the kind int, got 1.5"),
        (Record, {"name": "a", "told": [True]}, "told must be"),
        (Record, {"name": "a", "alike": {}}, "alike must be"),
        (Training, {"epochs": True}, "epochs must be of the kind int, got True"),
        (LRRange, {"min_lr": 1, "max_lr": "2"}, "max_lr must be of the kind float, got '2'"),
        (LRRange, {"min_lr": 2, "max_lr": 1}, "swapped"),
        (LRCurve, {"learning_rates": 0.1, "losses": [1.0]}, "learning_rates must be"),
        (LRCurve, {"learning_rates": [0.1], "losses": [1.0], "training": "Adam"}, "training must be"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(kind, config, message):
    with pytest.raises(ValueError, match=message):
        decode(kind, config)
