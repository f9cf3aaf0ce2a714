"""What TensorBoard shows of a search that the user logs to it."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import build_branches, random_search, search, tuner, warned

import lrtuner
from lrtuner.curve.curve import LRCurve
from lrtuner.tensorboard import write_sweeps

pytest.importorskip("tensorflow")
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

BACKEND = keras.backend.backend()
CURVE = LRCurve(np.geomspace(1e-6, 10, 20), np.linspace(2.0, 1.0, 20))


def run(path):
    every = {event_accumulator.TENSORS: 0}
    return event_accumulator.EventAccumulator(str(path), size_guidance=every).Reload()


def scalars(events, tag):
    read = events.Tensors(tag)
    assert [event.step for event in read] == list(range(len(read)))
    return np.array([tensor_util.make_ndarray(event.tensor_proto) for event in read])


def test_a_sweep_is_a_run_beside_the_trials(tmp_path):
    logs = tmp_path / "logs"
    logged = tuner(tmp_path / "runs", oracle=random_search(1))
    search(logged, callbacks=[keras.callbacks.TensorBoard(logs), keras.callbacks.History()])
    trials = set(logged.oracle.trials) if BACKEND == "tensorflow" else {"train", "validation"}
    assert {path.name for path in logs.iterdir()} == {"lr_sweep", *trials}
    events, curve = run(logs / "lr_sweep"), logged.oracle.sweeps[0].curve
    np.testing.assert_allclose(scalars(events, "loss"), curve.losses, rtol=1e-6)
    np.testing.assert_allclose(scalars(events, "learning_rate"), curve.learning_rates, rtol=1e-6)
    assert events.SummaryMetadata("picture").plugin_data.plugin_name == "images"
    # A search that goes on writes it no second time.
    logged.oracle.max_trials += 1
    search(logged, callbacks=[keras.callbacks.TensorBoard(logs)])
    assert len(scalars(run(logs / "lr_sweep"), "loss")) == len(curve)


def test_each_of_several_sweeps_has_a_run(tmp_path):
    logs = tmp_path / "logs"
    oracle = kt.oracles.GridSearchOracle("val_loss", max_trials=1)
    callbacks = [keras.callbacks.TensorBoard(logs)]
    several = search(tuner(tmp_path, build_branches, oracle=oracle), callbacks=callbacks)
    assert len(several.oracle.sweeps) == 2
    for sweep in several.oracle.sweeps:
        name = f"{sweep.learning_rate}_optimizer={sweep.setting['optimizer']}"
        assert len(scalars(run(logs / "lr_sweep" / name), "loss")) == len(sweep.curve)


def test_a_run_s_name_is_a_path_below_the_logs(tmp_path):
    sweep = lrtuner.Sweep(name="lr, layers=../../é x", hyperparameters=kt.HyperParameters(), curve=CURVE)
    write_sweeps([keras.callbacks.TensorBoard(tmp_path)], [sweep])
    assert [path.name for path in (tmp_path / "lr_sweep").iterdir()] == ["lr_layers=.._.._é_x"]


def test_a_log_that_can_t_be_written_ends_no_search(tmp_path):
    (tmp_path / "lr_sweep").write_text("no directory")
    sweep = lrtuner.Sweep(name="lr", hyperparameters=kt.HyperParameters(), curve=CURVE)
    with warned("could not be written for TensorBoard"):
        write_sweeps([keras.callbacks.TensorBoard(tmp_path)], [sweep])
