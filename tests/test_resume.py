import itertools
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from processes import start
from searches import (
    RATE,
    Trains,
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
from lrtuner import hypermodel as hypermodel_module
from lrtuner.results import read_file

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


@pytest.fixture
def swept(monkeypatch):
    """A list with an item for each sweep."""
    swept, whole = [], hypermodel_module.sweep_fit
    monkeypatch.setattr(hypermodel_module, "sweep_fit", lambda *a, **k: swept.append(1) or whole(*a, **k))
    return swept


class TestSecondRun:
    def test_neither_repeats_nor_forgets_the_sweep(self, directory, finished, swept):
        before = finished[1]
        picture = (project(directory) / "lr_sweeps.png").read_bytes()
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

    def test_stock_tuner_with_bare_hypermodel_may_look_at_a_finished_search(self, directory):
        oracle = lrtuner.LRRangeOracle(random_search(), steps=60)
        stock = kt.Tuner(oracle, build_model, directory=directory, project_name="project")
        assert len(stock.oracle.trials) == 2
        assert stock.oracle.lr_range is not None

    def test_late_declarations(self, tmp_path, recwarn):
        def train(hp, model, x, y, **arguments):
            model.optimizer.learning_rate = declared_rate(hp)
            arguments.update(batch_size=hp.Choice("batch_size", [8, 16]), epochs=hp.Int("epochs", 1, 2))
            return model.fit(x, y, **arguments)

        declaring = Trains(lambda hp: compiled(0.01, hp.Int("units", 2, 8)), train)
        first = search(tuner(tmp_path, declaring))
        assert_narrowed(first)
        recwarn.clear()
        again = tuner(tmp_path, declaring, oracle=random_search(3))
        assert not [one for one in recwarn if "learning rate" in str(one.message)]
        assert again.oracle.lr_range == first.oracle.lr_range
        assert len(search(again).oracle.trials) == 3

    @pytest.mark.parametrize("stock", [False, True])
    def test_before_the_first_trial(self, directory, finished, swept, stock):
        """Killed after the sweep, before KerasTuner notes that it has begun."""
        for path in project(directory).iterdir():
            if path.name not in ("oracle.json", "lr_range.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        again = tuner(directory, kind=kt.Tuner if stock else lrtuner.Tuner)
        if not stock:
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


class TestFiles:
    @pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'{"version": 3}'])
    def test_a_state_that_cannot_be_read(self, directory, content):
        (project(directory) / "lr_range.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"lr_range\.json' can't be read .*overwrite=True"):
            tuner(directory)
        tuner(directory, overwrite=True)

    @pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json", "tuner0.json", "lr_range.json"])
    def test_each_file_is_replaced_in_one_step(self, directory, monkeypatch, name):
        """Whatever a kill leaves beside it, a file is the old one or the new one."""
        again, replaced = tuner(directory), []
        monkeypatch.setattr(os, "replace", lambda source, target: replaced.append((source, target)))
        before = {path: path.read_bytes() for path in project(directory).rglob("*.json")}
        again.oracle._is_saved = False
        again.save()
        again.oracle.oracle._save_trial(again.oracle.trials["0"])
        path = str(project(directory) / name)
        (source,) = [source for source, target in replaced if target == path]
        json.loads(Path(source).read_text())
        assert all(path.read_bytes() == content for path, content in before.items())

    def test_a_trial_that_the_oracle_does_not_know(self, directory):
        """Killed between the two files that KerasTuner writes for a new trial."""
        orphan = project(directory) / "trial_2"
        shutil.copytree(project(directory) / "trial_1", orphan)
        content = json.loads((orphan / "trial.json").read_text())
        (orphan / "trial.json").write_text(json.dumps({**content, "trial_id": "2", "status": "RUNNING"}))
        again = search(tuner(directory, oracle=random_search(4)))
        assert [trial.status for trial in again.oracle.trials.values()] == ["COMPLETED"] * 4

    def test_a_missing_file_is_called_missing(self, directory):
        again = tuner(directory)
        (project(directory) / "oracle.json").unlink()
        with pytest.raises(Exception, match=r"oracle\.json.*(No such file|not found)"):
            again.reload()

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="KerasTuner reads URLs there alone")
    def test_a_directory_that_is_a_url(self, capsys):
        directory = f"ram://lrtuner/{time.time_ns()}"

        class Unsaved(lrtuner.Tuner):
            """A search whose trials leave no checkpoint: Keras writes none to such a URL."""

            def run_trial(self, trial, *args, **kwargs):
                model = self.hypermodel.build(trial.hyperparameters)
                return self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)

        lr_range = search(tuner(directory, kind=Unsaved, oracle=random_search(1))).oracle.lr_range
        results = lrtuner.load(f"{directory}/project")
        assert results.lr_range == lr_range
        assert len(results.trials) == 1
        capsys.readouterr()
        again = tuner(directory)
        assert again.oracle.lr_range == lr_range
        assert "sweep of an earlier run holds: learning_rate" in capsys.readouterr().out
        assert read_file(f"{directory}/project/lr_sweeps.png")[:4] == b"\x89PNG"


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


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "moments"), [(False, [8, 20]), (True, [20, 32])])
def test_killed_and_begun_again(tmp_path, settings, moments):
    """While the sweep's state is written, in a trial's end, and around a Hyperband's second sweep."""
    killed = len(moments)
    if "HYPOTHESIS_PROFILE" in os.environ:
        killed, moments = 10, random.sample(range(1, 42), 25)
    codes = list(interrupted(tmp_path, moments, 3600, settings=settings))
    assert codes.count(-signal.SIGKILL) >= killed


def test_an_interrupt_ends_a_compiled_sweep(tmp_path):
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
    assert not (project(tmp_path) / "lr_range.json").exists()
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
    with warned("GridSearch does not save its place"):
        again = grid()
    assert again.oracle.lr_range == before.lr_range
    assert len(again.get_best_models(2)) == 2
