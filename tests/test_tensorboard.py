"""What TensorBoard shows of a search that the user logs to it."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import build_branches, random_search, search, tuner, warned

import lrtuner
from lrtuner.callbacks import remove_tensorboard_directories
from lrtuner.tensorboard import run_of

pytest.importorskip("tensorflow")
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

BACKEND = keras.backend.backend()


def run(path):
    every = {event_accumulator.TENSORS: 0}
    return event_accumulator.EventAccumulator(str(path), size_guidance=every).Reload()


def scalars(events, tag):
    read = events.Tensors(tag)
    assert [event.step for event in read] == list(range(len(read)))
    return np.array([tensor_util.make_ndarray(event.tensor_proto) for event in read])


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A search that was logged, and the directory of the logs."""
    logs = tmp_path_factory.mktemp("logs")
    logged = tuner(tmp_path_factory.mktemp("runs"))
    return search(logged, callbacks=[keras.callbacks.TensorBoard(logs), keras.callbacks.History()]), logs


def test_a_sweep_is_a_run_of_its_own(logged):
    search, logs = logged
    trials = set(search.oracle.trials) if BACKEND == "tensorflow" else {"train", "validation"}
    assert {path.name for path in logs.iterdir()} == {"lr_sweep", *trials}
    events, curve = run(logs / "lr_sweep"), search.oracle.sweeps[0].curve
    np.testing.assert_allclose(scalars(events, "loss"), curve.losses, rtol=1e-6)
    np.testing.assert_allclose(scalars(events, "learning_rate"), curve.learning_rates, rtol=1e-6)
    assert events.SummaryMetadata("picture").plugin_data.plugin_name == "images"


def test_hparams_shows_the_narrowed_domain(logged):
    search, logs = logged
    content = run(logs / "lr_sweep").SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(content)
    domains = {one.name: one.domain_interval for one in experiment.hparam_infos}
    assert set(domains) == {"units", "learning_rate"}
    lr_range = search.oracle.lr_range
    assert (domains["learning_rate"].min_value, domains["learning_rate"].max_value) == (
        lr_range.min_lr,
        lr_range.max_lr,
    )
    shown = {(one.name.group, one.name.tag) for one in experiment.metric_infos}
    assert shown == {
        (group, f"epoch_{name}") for group in ("train", "validation") for name in ("loss", "mae")
    }
    if BACKEND == "tensorflow":
        for group, tag in shown:
            assert (
                tag in run(logs / next(iter(search.oracle.trials)) / "execution0" / group).Tags()["tensors"]
            )


def test_a_search_that_goes_on_writes_no_sweep_again(logged):
    tuner, logs = logged
    tuner.oracle.max_trials += 1
    search(tuner, callbacks=[keras.callbacks.TensorBoard(logs)])
    assert len(scalars(run(logs / "lr_sweep"), "loss")) == len(tuner.oracle.sweeps[0].curve)


def test_each_of_several_sweeps_has_a_run(tmp_path):
    logs = tmp_path / "logs"
    oracle = kt.oracles.GridSearchOracle("val_loss", max_trials=1)
    callbacks = [keras.callbacks.TensorBoard(logs)]
    several = search(tuner(tmp_path, build_branches, oracle=oracle), callbacks=callbacks)
    assert len(several.oracle.sweeps) == 2
    for sweep in several.oracle.sweeps:
        name = f"{sweep.learning_rate}_optimizer={sweep.setting['optimizer']}"
        assert run_of(sweep) == f"lr_sweep/{name}"
        assert len(scalars(run(logs / "lr_sweep" / name), "loss")) == len(sweep.curve)


def test_a_run_s_name_is_a_path_below_the_logs():
    sweep = lrtuner.Sweep(name="lr, layers=../../é x", hyperparameters=kt.HyperParameters())
    assert run_of(sweep) == "lr_sweep/lr_layers=.._.._é_x"


def test_a_log_that_can_t_be_written_ends_no_search(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "lr_sweep").write_text("no directory")
    narrowed = tuner(tmp_path, oracle=random_search(1))
    with warned("could not be written for TensorBoard"):
        search(narrowed, callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")])
    assert len(narrowed.oracle.trials) == 1


@pytest.mark.parametrize(
    ("log_dir", "removed"),
    [
        ("logs/lr_sweep_0/execution0", "logs/lr_sweep_0"),
        ("lr_sweep_study/run1", None),
        ("lr_sweep_0/run1", None),
        ("lr_sweep_final/execution0", None),
    ],
)
def test_only_what_was_made_for_a_sweep_is_removed(tmp_path, log_dir, removed):
    (tmp_path / log_dir).mkdir(parents=True)
    remove_tensorboard_directories([keras.callbacks.TensorBoard(tmp_path / log_dir)])
    assert (tmp_path / log_dir).exists() == (removed is None)
    assert removed is None or (not (tmp_path / removed).exists() and (tmp_path / "logs").exists())
