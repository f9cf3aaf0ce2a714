import tempfile

import keras_tuner as kt
import pytest
from searches import FIT, RATE, X, Y, build_branches, build_choice, build_model, compiled, warned

import lrtuner

OPTIONS = {"steps": 60, **FIT}


def entry(space, name=RATE):
    (found,) = [one for one in space.space if one.name == name]
    return found


@pytest.fixture(scope="module")
def space():
    return lrtuner.narrowed_space(build_model, X, Y, **OPTIONS)


def test_a_stock_search_stays_in_the_range(space, tmp_path):
    rate = entry(space)
    assert isinstance(rate, type(entry(kt_space(build_model))))
    assert 1e-6 < rate.min_value < rate.max_value < 10.0
    assert rate.sampling == "log"
    stock = kt.RandomSearch(
        build_model, "val_loss", max_trials=4, seed=3, hyperparameters=space, directory=tmp_path
    )
    stock.search(X, Y, **FIT)
    trials = [trial.hyperparameters.values for trial in stock.oracle.trials.values()]
    assert len(trials) == 4
    # The build function declares 1e-6 to 10 again.
    assert all(rate.min_value <= values[RATE] <= rate.max_value for values in trials)
    assert len({values["units"] for values in trials}) > 1


def kt_space(build):
    declared = kt.HyperParameters()
    build(declared)
    return declared


def test_nothing_else_is_changed_and_nothing_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    space = lrtuner.narrowed_space(build_model, X, Y, **{**OPTIONS, "verbose": 2})
    assert entry(space, "units").get_config() == entry(kt_space(build_model), "units").get_config()
    assert [one.name for one in space.space] == ["units", RATE]
    assert set(space.values) == {"units", RATE}
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    assert "learning_rate declared as 1e-06 to 10, narrowed to" in printed
    assert "Picture" not in printed


@pytest.mark.slow
def test_several_settings_share_the_range_of_all_and_a_warning_says_so(tmp_path):
    directory = tmp_path / "kept"
    with warned(r"found different ranges: .* for optimizer=sgd, .* holds all of them.*tuners keep"):
        space = lrtuner.narrowed_space(build_choice, X, Y, directory=directory, **OPTIONS)
    kept = lrtuner.load(directory)
    assert {sweep.setting["optimizer"] for sweep in kept.sweeps} == {"sgd", "adam", "rmsprop"}
    rate = entry(space)
    assert rate.min_value == min(sweep.narrowed[0] for sweep in kept.sweeps)
    assert rate.max_value == max(sweep.narrowed[1] for sweep in kept.sweeps)
    # A second call repeats no sweep: it has no data to run one with.
    with warned("found different ranges"):
        again = lrtuner.narrowed_space(build_choice, directory=directory, steps=60, verbose=0)
    assert again.get_config() == space.get_config()


def test_rates_in_branches_each_get_their_range(recwarn):
    space = lrtuner.narrowed_space(build_branches, X, Y, **OPTIONS)
    for name in ("adam_lr", "sgd_lr"):
        assert entry(space, name).max_value / entry(space, name).min_value < 1e4
    assert [str(one.message) for one in recwarn if "found different ranges" in str(one.message)] == []


def fixed(hp):
    return compiled(hp.Fixed(RATE, 0.1))


@pytest.mark.parametrize(
    ("build", "y", "says"),
    [(build_model, Y * float("nan"), "found no range.*y holds NaN"), (fixed, Y, "nothing to narrow")],
)
def test_without_a_range_the_space_is_as_declared_and_a_warning_says_why(build, y, says):
    with warned(says):
        space = lrtuner.narrowed_space(build, X, y, **OPTIONS)
    assert entry(space).get_config() == entry(kt_space(build)).get_config()


def test_what_cannot_be_swept_is_an_error(monkeypatch):
    with pytest.raises(ValueError, match="hypermodel"):
        lrtuner.narrowed_space(None, X, Y)
    with pytest.raises(ValueError, match="min_lr must be below"):
        lrtuner.narrowed_space(build_model, X, Y, min_lr=3.0, max_lr=1.0)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(RuntimeError, match="part of a distributed search"):
        lrtuner.narrowed_space(build_model, X, Y)
