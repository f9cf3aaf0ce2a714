import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtuner.curve.lr_range import Evidence, LRRange


def test_range_is_plain_floats():
    found = LRRange(np.float32(0.5), 2)
    assert (type(found.min_lr), type(found.max_lr)) == (float, float)
    assert found == LRRange(0.5, 2.0)
    assert LRRange(1e-3, 1e-1).decades == pytest.approx(2)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 1), (2, 1), (0, 1), (-1, 1), (1, math.inf), (math.nan, 1), (True, 2), ("1", 2), (None, 1)],
)
def test_range_refuses(low, high):
    with pytest.raises(ValueError, match=r"min_lr|max_lr"):
        LRRange(low, high)


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300))
def test_range_config_is_exact(low, high):
    found = LRRange(low, high) if low < high else LRRange(low, 2 * low)
    assert LRRange.from_config(json.loads(json.dumps(found.to_config(), allow_nan=False))) == found


@pytest.mark.parametrize(
    "config",
    [
        None,
        [1, 2],
        {"min_lr": 1},
        {"min_lr": 1, "max_lr": "2"},
        {"min_lr": True, "max_lr": 2},
        {"min_lr": 1, "max_lr": 2, "x": 3},
        {"min_lr": 1, "max_lr": [2]},
        {"min_lr": 2, "max_lr": 1},
        {"min_lr": 1, "max_lr": 10**400},
        {"min_lr": 1, "max_lr": math.inf},
    ],
)
def test_range_config_refuses(config):
    with pytest.raises(ValueError, match=r"must|too large|swapped"):
        LRRange.from_config(config)


def test_evidence_takes_keywords_alone():
    with pytest.raises(TypeError, match="positional"):
        Evidence(100, 12.5, 0.05, 1.8, 1e-2, None)


def test_the_suggested_rate_is_the_geometric_middle():
    assert LRRange(1e-300, 1e300).suggested == pytest.approx(1.0)
    assert LRRange(0.0091, 0.14).suggested == pytest.approx(0.0357, rel=1e-3)
