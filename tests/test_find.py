import json
import re
import sys

import pytest
from searches import warned

import lrtuner
from lrtuner.command import main

MODULE = """
import keras
import numpy as np
import searches

def compiled():
    return searches.compiled(0.1)

def with_hp(hp):
    print("building")
    return searches.compiled(hp.Float("lr", 1e-4, 1e-2))

def uncompiled():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])

def no_model():
    return 3

def two(a, b):
    pass

def pair():
    return searches.X, searches.Y

def as_dict():
    return {"x": searches.X, "y": searches.Y, "batch_size": 16, "epochs": 3, "validation_data": pair()}

def broken():
    raise RuntimeError("no such GPU")

def strange_dict():
    return {"images": searches.X}

def flat():
    return searches.X, np.zeros_like(searches.Y) * np.nan

class Holder:
    build = staticmethod(compiled)

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # As of `python -m`, which puts the current directory on the path.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "models_to_find", raising=False)
    (tmp_path / "models_to_find.py").write_text(MODULE)


def find(model, data, *options):
    return main(["find", f"models_to_find:{model}", "--data", f"models_to_find:{data}", *options])


def test_the_range_is_printed_and_drawn(tmp_path, capsys):
    assert find("with_hp", "as_dict", "--steps", "60", "--picture", "curve.png") == 0
    printed = capsys.readouterr().out
    assert re.search(r"Range: .*suggested rate without a search: 0\.", printed)
    assert "Picture: curve.png" in printed
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_all_that_is_printed(capsys):
    options = ("--steps", "40", "--min-lr", "1e-6", "--max-lr", "5", "--batch-size", "8", "--json")
    assert find("with_hp", "pair", *options) == 0
    document = json.loads(capsys.readouterr().out)
    curve = lrtuner.LRCurve.from_config(document["curve"])
    assert document["lr_range"]["min_lr"] == lrtuner.suggest_range(curve).min_lr
    assert document["steps"] == len(curve) <= 40
    assert curve.learning_rates[0] == 1e-6
    assert curve.training.batch_size == 8


def test_no_range_has_its_reason_and_status(capsys):
    with warned("y holds NaN"):
        assert find("Holder.build", "flat", "--steps", "40") == 1
    assert "No range: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("nowhere:build", "models_to_find:pair", "no module 'nowhere' in "),
        ("models_to_find.py:compiled", "models_to_find:pair", "for a file write models_to_find:compiled"),
        ("models_to_find", "models_to_find:pair", "must be a module and a name in it"),
        ("models_to_find:nothing", "models_to_find:pair", "has no 'nothing'. It has compiled, with_hp"),
        ("models_to_find:number", "models_to_find:pair", "is no function but a int"),
        ("models_to_find:compiled", "models_to_find:number", "is no function but a int"),
        ("models_to_find:two", "models_to_find:pair", r"takes \['a', 'b'\]"),
        ("models_to_find:no_model", "models_to_find:pair", "has returned a int, and no compiled Keras model"),
        ("models_to_find:uncompiled", "models_to_find:pair", "is not compiled"),
        ("models_to_find:compiled", "models_to_find:strange_dict", r"a dict with \['images'\]"),
    ],
)
def test_what_cannot_be_used_is_said(capsys, model, data, says):
    assert main(["find", model, "--data", data]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lrtuner find: ")
    assert re.search(says, error), error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--steps", "3"], "steps must be an integer of at least 10"),
        (["--min-lr", "1", "--max-lr", "0.1"], "min_lr must be below max_lr"),
        (["--batch-size", "0"], "--batch-size must be 1 or more"),
        (["--picture", "nowhere/curve.png"], "no directory 'nowhere'"),
    ],
)
def test_options_are_checked_first(capsys, options, says):
    assert find("nothing_is_imported", "before", *options) == 2
    assert says in capsys.readouterr().err


def test_an_error_of_the_users_is_told_from_no_range(capsys):
    assert find("broken", "pair") == 2
    assert "RuntimeError: no such GPU" in capsys.readouterr().err
