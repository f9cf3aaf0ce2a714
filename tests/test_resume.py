import itertools
import json
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import start
from searches import (
    RATE,
    X,
    Y,
    assert_narrowed,
    build_model,
    compiled,
    declared_rate,
    random_search,
    rates,
    search,
    tuner,
    warned,
)

import lrtuner
from lrtuner.search import protocol
from lrtuner.search.record import STATE_VERSION, SearchRecord, encode

PROGRAM = Path(__file__).with_name("interrupted_process.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a search that is over, and the oracle as it was then."""
    directory = tmp_path_factory.mktemp("finished")
    return directory, search(tuner(directory)).oracle


@pytest.fixture
def directory(finished, tmp_path):
    """A copy of that directory."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def project(directory):
    return directory / "project"


def count_sweeps(monkeypatch):
    swept = []
    whole = lrtuner.LRRangeHyperModel._sweep
    monkeypatch.setattr(
        lrtuner.LRRangeHyperModel, "_sweep", lambda *a, **k: swept.append(1) or whole(*a, **k)
    )
    return swept


class TestSecondRun:
    def test_neither_repeats_nor_forgets_the_sweep(self, directory, finished, monkeypatch):
        before = finished[1]
        picture = (project(directory) / "lr_sweeps.png").read_bytes()
        swept = count_sweeps(monkeypatch)
        again = tuner(directory, oracle=random_search(3))
        assert again.oracle.lr_range == before.lr_range
        assert again.oracle.sweeps[0].curve == before.sweeps[0].curve
        assert again.oracle.sweeps[0].declared == (1e-6, 10.0)
        assert again.oracle.get_space().get_config() == before.get_space().get_config()
        search(again)
        assert swept == []
        assert_narrowed(again)
        for trial_id, trial in before.trials.items():
            assert again.oracle.trials[trial_id].hyperparameters.values == trial.hyperparameters.values
        assert len(again.oracle.trials) == 3
        assert again.oracle.plot_sweeps().get_xscale() == "log"
        # Drawn again, with the new trial.
        assert (project(directory) / "lr_sweeps.png").read_bytes() != picture

    def test_another_optimizer_than_that_of_the_sweep(self, directory, finished, recwarn):
        def with_adam(hp):
            model = build_model(hp)
            model.compile(keras.optimizers.Adam(hp.get(RATE)), loss="mse", metrics=["mae"])
            return model

        class CompilingInFit(kt.HyperModel):
            def build(self, hp):
                return with_adam(hp)

            def fit(self, hp, model, *args, **kwargs):
                model.compile(keras.optimizers.SGD(hp.get(RATE)), loss="mse", metrics=["mae"])
                return model.fit(*args, **kwargs)

        recwarn.clear()
        tuner(directory, oracle=random_search(3))
        tuner(directory, CompilingInFit(), oracle=random_search(3))
        assert not [one for one in recwarn if "compiled with" in str(one.message)]
        with warned(r"was run with SGD, and the model is now compiled with Adam\..*overwrite=True"):
            again = tuner(directory, with_adam, oracle=random_search(3))
        assert again.oracle.lr_range == finished[1].lr_range

    def test_stock_tuner_with_bare_hypermodel_may_look_at_a_finished_search(self, directory):
        stock = kt.Tuner(
            lrtuner.LRRangeOracle(random_search(), steps=60),
            build_model,
            directory=directory,
            project_name="project",
        )
        assert len(stock.oracle.trials) == 2
        assert stock.oracle.lr_range is not None

    def test_stock_tuner_with_bare_hypermodel_where_the_sweep_is_due(self, directory):
        # As a chief leaves it that is killed before its sweep has ended.
        for path in project(directory).iterdir():
            if path.name not in ("oracle.json", "tuner0.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        state = random_search().get_state()
        (project(directory) / "oracle.json").write_text(json.dumps(state))
        protocol._hypermodels.clear()
        with pytest.raises(ValueError, match=r"lrtuner\.Tuner.*LRRangeHyperModel\(build_model\)"):
            kt.Tuner(
                lrtuner.LRRangeOracle(random_search()),
                build_model,
                directory=directory,
                project_name="project",
            )

    @pytest.mark.parametrize("where", ["beside", "in_a_branch", "in_fit"])
    def test_conditional_and_late_declarations(self, tmp_path, recwarn, where):
        class Declaring(kt.HyperModel):
            def build(self, hp):
                kind = hp.Choice("kind", ["one", "two"])
                rate = declared_rate(hp) if where == "beside" else None
                with hp.conditional_scope("kind", ["two"]):
                    if kind == "two":
                        hp.Int("units", 2, 8)
                        rate = declared_rate(hp) if where == "in_a_branch" else rate
                return compiled(rate or 0.01)

            def fit(self, hp, model, *arguments, **keywords):
                if where == "in_fit":
                    model.optimizer.learning_rate = declared_rate(hp)
                return model.fit(*arguments, **keywords)

        first = search(tuner(tmp_path, Declaring()))
        recwarn.clear()
        again = tuner(tmp_path, Declaring(), oracle=random_search(3))
        assert not [one for one in recwarn if "learning rate" in str(one.message)]
        assert again.oracle.lr_range == first.oracle.lr_range
        assert len(search(again).oracle.trials) == 3

    @pytest.mark.parametrize("stock", [False, True])
    def test_before_the_first_trial(self, directory, finished, monkeypatch, stock):
        """Killed after the sweep, before KerasTuner notes that it has begun."""
        for path in project(directory).iterdir():
            if path.name not in ("oracle.json", "lr_range.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        swept = count_sweeps(monkeypatch)
        if stock:
            oracle = lrtuner.LRRangeOracle(random_search(), steps=60)
            hypermodel = lrtuner.LRRangeHyperModel(build_model)
            again = kt.Tuner(oracle, hypermodel, directory=directory, project_name="project")
        else:
            again = tuner(directory)
            # Known before the search already.
            assert again.oracle.lr_range == finished[1].lr_range
            assert again.oracle.get_space().get_config() == finished[1].get_space().get_config()
        search(again)
        assert again.oracle.lr_range == finished[1].lr_range
        assert swept == []
        assert rates(again) == [trial.hyperparameters.values[RATE] for trial in finished[1].trials.values()]

    def test_a_directory_begun_with_a_stock_tuner_is_not_narrowed(self, tmp_path):
        begun = kt.Tuner(random_search(), build_model, directory=tmp_path, project_name="project")
        search(begun)
        goes_on = tuner(tmp_path, oracle=random_search(3))
        with warned("No learning-rate sweep: this search was begun without lrtuner"):
            search(goes_on)
        assert goes_on.oracle.sweeps == []
        assert goes_on.oracle.get_space().space[1].max_value == 10.0
        for trial_id, trial in begun.oracle.trials.items():
            assert goes_on.oracle.trials[trial_id].hyperparameters.values == trial.hyperparameters.values
        assert len(goes_on.oracle.trials) == 3

    def test_begun_by_ours_goes_on_with_a_stock_tuner(self, directory, finished):
        stock = kt.Tuner(random_search(3), build_model, directory=directory, project_name="project")
        search(stock)
        lr_range = finished[1].lr_range
        assert all(lr_range.min_lr <= rate <= lr_range.max_lr for rate in rates(stock))


class TestChanges:
    def test_bounds(self, directory):
        def build(hp):
            return compiled(hp.Float(RATE, 1e-5, 1.0, sampling="log"), hp.Int("units", 2, 8))

        with warned(
            r"declared as Float\('learning_rate', .*min_value=1e-06.*"
            r"now as .*1e-05.*old declaration, narrowed, holds"
        ):
            tuner(directory, build)

    def test_name(self, directory):
        def build(hp):
            return compiled(hp.Float("lr", 1e-6, 10.0, sampling="log"), hp.Int("units", 2, 8))

        with warned("now as Float\\('lr'.*applies to the old name"):
            tuner(directory, build)

    def test_settings(self, directory):
        with warned(r"run with steps=60, rule='[a-z_]+', other than now. It holds"):
            tuner(directory, sweep={"steps": 80, "rule": "steepest_to_minimum"})

    def test_bounds_before_the_first_trial(self, directory, finished):
        def build(hp):
            return compiled(hp.Float(RATE, 1e-6, 0.02, sampling="log"), hp.Int("units", 2, 8))

        (project(directory) / "tuner0.json").unlink()
        with warned("new declaration is narrowed to its range"):
            again = tuner(directory, build)
        (entry,) = [entry for entry in again.oracle.get_space().space if entry.name == RATE]
        assert entry.max_value == 0.02
        assert finished[1].lr_range.min_lr / 10 < entry.min_value < 0.02

    def test_nothing_changed(self, directory, recwarn):
        # It loads what is there by itself. To do so once more changes nothing.
        tuner(directory).reload()
        assert [warning for warning in recwarn if "declared" in str(warning.message)] == []


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}', b"[]", b"\xff\xfe"])
    def test_state_file(self, directory, content):
        (project(directory) / "lr_range.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"lr_range\.json' is damaged.*overwrite=True"):
            tuner(directory)
        tuner(directory, overwrite=True)

    def test_another_version(self, directory):
        path = project(directory) / "lr_range.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "version": STATE_VERSION + 1}))
        with pytest.raises(ValueError, match=r"lr_range\.json' was written by another version"):
            tuner(directory)

    def test_file_of_the_oracle(self, directory, finished):
        path = project(directory) / "oracle.json"
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(
            ValueError, match=r"oracle\.json.*damaged.*leave lr_range\.json and delete everything else"
        ):
            tuner(directory)
        # What the message says works.
        for other in project(directory).iterdir():
            if other.name != "lr_range.json":
                shutil.rmtree(other) if other.is_dir() else other.unlink()
        assert tuner(directory).oracle.lr_range == finished[1].lr_range

    @pytest.mark.parametrize("lost", ["0", "1"])
    def test_file_of_a_trial(self, directory, finished, lost):
        path = project(directory) / f"trial_{lost}" / "trial.json"
        path.write_bytes(half := path.read_bytes()[:40])
        with warned(rf"trial_{lost}/trial\.json' is damaged.*counts as failed"):
            again = tuner(directory, oracle=random_search(3))
        assert path.with_name("trial.json.damaged").read_bytes() == half
        (kept,) = {"0", "1"} - {lost}
        assert again.oracle.trials[kept].score == finished[1].trials[kept].score
        search(again)
        scored = [trial for trial in again.oracle.trials.values() if trial.score is not None]
        assert sorted(again.oracle.trials) == ["0", "1", "2"]
        assert len(scored) == 2
        assert again.oracle.lr_range == finished[1].lr_range
        assert again.oracle.plot_sweeps() is not None

    def test_file_of_the_tuner_holds_nothing(self, directory):
        (project(directory) / "tuner0.json").write_text("")
        with warned(r"tuner0\.json' is damaged.*the search goes on"):
            again = tuner(directory)
        assert len(again.oracle.trials) == 2

    def test_file_of_a_stock_tuner(self, directory):
        (project(directory) / "tuner0.json").write_text("")
        with pytest.raises(ValueError, match=r"tuner0\.json' is damaged.*write \{\} into it"):
            kt.Tuner(
                lrtuner.LRRangeOracle(random_search()),
                lrtuner.LRRangeHyperModel(build_model),
                directory=directory,
                project_name="project",
            )

    def test_trial_that_the_oracle_does_not_know(self, directory):
        """Killed between the two files that KerasTuner writes for a new trial."""
        orphan = project(directory) / "trial_2"
        shutil.copytree(project(directory) / "trial_1", orphan)
        content = json.loads((orphan / "trial.json").read_text())
        (orphan / "trial.json").write_text(json.dumps({**content, "trial_id": "2", "status": "RUNNING"}))
        again = search(tuner(directory, oracle=random_search(4)))
        assert [trial.status for trial in again.oracle.trials.values()] == ["COMPLETED"] * 4

    @pytest.mark.parametrize("trial_id", ["../../outside", "/tmp/outside", "0/../../x"])
    def test_hostile_trial_leads_nowhere(self, directory, trial_id):
        path = project(directory) / "trial_1" / "trial.json"
        whole = json.loads(path.read_text())
        for change in (
            {"trial_id": trial_id},
            {"hyperparameters": {"space": [], "values": {"tuner/trial_id": trial_id}}},
        ):
            path.write_text(json.dumps({**whole, **change}))
            before = sorted(directory.parent.rglob("*"))
            with pytest.raises((ValueError, RuntimeError), match="is no id of KerasTuner's"):
                search(tuner(directory))
            assert sorted(directory.parent.rglob("*")) == before

    def test_interrupted_write_leaves_the_old_file(self, directory, monkeypatch):
        path = project(directory) / "oracle.json"
        before = path.read_text()
        again = tuner(directory)

        def fail(source, target):
            raise OSError(f"no room for {target}, {source}")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no room"):
            again.save()
        assert path.read_text() == before


def a_state():
    losses = [1.0, math.nan, math.inf, -2.5]
    sweep = lrtuner.Sweep(
        "learning-rate sweep",
        kt.HyperParameters(),
        curve=lrtuner.LRCurve(np.geomspace(1e-6, 1.0, 4), np.array(losses)),
        lr_range=lrtuner.LRRange(1e-3, 1e-1),
        declared=(1e-6, 10.0),
        outcome="narrowed",
    )
    return {
        "search_may_begin": True,
        "options": {},
        "declarations": {},
        "narrowed_to": {},
        "setting_space": None,
        "sweeps": [sweep.to_config()],
        "objective": "val_loss",
        "direction": "min",
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("state") / "lr_range.json"


class TestStateFile:
    def test_round_trip(self, path):
        path.write_text(encode(a_state()))
        record = SearchRecord.read(str(path))
        assert record.to_config() == a_state()
        (sweep,) = record.sweeps
        assert sweep.to_config() == a_state()["sweeps"][0]
        assert sweep.lr_range == lrtuner.LRRange(1e-3, 1e-1)

    @pytest.mark.parametrize("class_name", ["system", "os.system", "builtins>exec", "Lambda"])
    def test_hostile_contents_run_nothing(self, path, class_name):
        state = a_state()
        entry = {"class_name": class_name, "config": {"name": "touch hostile", "module": "os"}}
        state["sweeps"][0]["hyperparameters"]["space"] = [entry]
        path.write_text(encode(state))
        with pytest.raises(ValueError, match=r"lr_range\.json' is damaged"):
            SearchRecord.read(str(path))

    @pytest.mark.parametrize("config", [None, 3, [], {}, {"name": "one"}])
    def test_config_that_is_no_sweep(self, config):
        with pytest.raises(
            ValueError, match=r"config of Sweep must be a dict with the keys \['batch_size', 'curve', "
        ):
            lrtuner.Sweep.from_config(config)

    @given(st.data())
    def test_truncated(self, path, data):
        content = encode(a_state()).encode()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(ValueError, match=r"lr_range\.json' is damaged"):
            SearchRecord.read(str(path))

    @given(st.data())
    def test_flipped(self, path, data):
        content = bytearray(encode(a_state()).encode())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            state = SearchRecord.read(str(path)).to_config()
        except ValueError as error:
            state = str(error)
        assert state == a_state() or f"{str(path)!r} " in state

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["version", "checksum", "state", "sweeps"]), inner)
            ),
        )
    )
    def test_any_json(self, path, content):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"lr_range\.json' is damaged"):
            SearchRecord.read(str(path))


def interrupted(directory, moments, limit, *, settings=False):
    """Run searches that are killed at these moments and begun again; check each."""
    options = json.dumps({"directory": str(directory), "moments": moments, "settings": settings})
    output = directory / "output.txt"
    environment = {"CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg"}
    process = start(PROGRAM, options, output=output, environment=environment)
    process.join(limit)
    process.kill()
    process.join()
    printed = output.read_text()
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith('{"')]
    assert len(lines) == len(moments) + 1, printed
    reference, *runs = lines
    sweeps = 2 if settings else 1
    assert reference["events"].count("sweep") == sweeps
    # A sweep that is run after trials draws other batches when these were trained in another process.
    same = ("statuses",) if settings else ("lr_range", "batches", "rates", "statuses")
    for run in runs:
        killed, again = run["killed"], run["again"]
        assert again["code"] == 0, (run, printed)
        for key in same:
            assert again[key] == reference[key], (key, run)
        for name, lr_range in run["kept"].items():
            assert again["ranges"][name] == [lr_range["min_lr"], lr_range["max_lr"]], (name, run)
        for name, rate in zip(again["names"], again["rates"], strict=True):
            low, high = again["ranges"][name]
            assert low <= rate <= high, run
        # What was being written when the search was killed; the next write takes its place.
        left = {name for name in again["files"] if not name.endswith(".tmp")}
        assert left == set(reference["files"]), run
        # One thing at most was under way.
        assert len(again["events"]) <= len(reference["events"]) + 1, run
        assert again["events"].count("sweep") <= sweeps + (len(run["kept"]) < sweeps), run
        yield killed["code"]


def test_killed_at_chosen_writes(tmp_path):
    """Before any state, while the sweep's is written, and in the beginning and the end of a trial."""
    assert list(interrupted(tmp_path, [1, 8, 14, 20], 300)) == [-signal.SIGKILL] * 4


@pytest.mark.slow
def test_killed_around_the_second_sweep(tmp_path):
    """A Hyperband notes in its state which trial it has proposed while that waits for a sweep."""
    moments = [14, 20, 26, 32, 38]
    assert list(interrupted(tmp_path, moments, 400, settings=True)) == [-signal.SIGKILL] * len(moments)


@pytest.mark.slow
@pytest.mark.skipif(
    "HYPOTHESIS_PROFILE" not in os.environ, reason="takes 10 minutes: HYPOTHESIS_PROFILE=benchmark"
)
@pytest.mark.parametrize("settings", [False, True])
def test_killed_at_fifty_random_moments(tmp_path, settings):
    generator = random.Random(time.time_ns())
    moments = [generator.random() for _ in range(30)] + generator.sample(range(1, 42), 20)
    codes = list(interrupted(tmp_path, moments, 3600, settings=settings))
    assert codes.count(-signal.SIGKILL) >= 30


def test_ctrl_c_in_a_sweep(tmp_path):
    calls = []

    def loss(y_true, y_pred):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return keras.losses.mean_squared_error(y_true, y_pred)

    def build(hp):
        model = build_model(hp)
        model.compile(model.optimizer, loss=loss, run_eagerly=True)
        return model

    with pytest.raises(KeyboardInterrupt):
        search(tuner(tmp_path, build))
    assert not (project(tmp_path) / "lr_range.json").exists()
    assert_narrowed(search(tuner(tmp_path, build)))


def test_an_interrupt_from_outside_ends_a_compiled_sweep(tmp_path):
    def interrupting():
        for number in itertools.count():
            if number == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield X[:8], Y[:8]

    stopped = tuner(tmp_path)
    # A shell starts what it runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            stopped.search(
                interrupting(), steps_per_epoch=8, shuffle=False, validation_data=(X, Y), verbose=0
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.oracle.sweeps == []
    again = search(tuner(tmp_path))
    assert_narrowed(again)
    assert [trial.status for trial in again.oracle.trials.values()] == ["COMPLETED"] * 2


def test_grid_search_says_that_it_cannot_go_on(tmp_path):
    def grid():
        return lrtuner.GridSearch(
            lambda hp: compiled(hp.Choice(RATE, [1e-4, 1e-2, 3e-2, 0.1, 1.0, 10.0])),
            objective="val_loss",
            max_trials=2,
            directory=tmp_path,
            project_name="project",
            steps=60,
        )

    before = search(grid()).oracle
    with warned("GridSearch keeps no note of where it was"):
        again = grid()
    assert again.oracle.lr_range == before.lr_range
    assert len(again.get_best_models(2)) == 2
