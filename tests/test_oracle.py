import copy
import json
import os
import threading

import keras_tuner as kt
import matplotlib.pyplot as plt
import numpy as np
import pytest
from searches import RATE, build_model, compiled, declared_rate, random_search, search, tuner, warned

import lrtuner
from lrtuner.oracle import SETTINGS_KEY
from lrtuner.sweep import SweepReport

ORACLES = {
    "RandomSearchOracle": {"max_trials": 3},
    "BayesianOptimizationOracle": {"max_trials": 3},
    "GridSearchOracle": {"max_trials": 3},
    "HyperbandOracle": {"max_epochs": 3},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return search(tuner(tmp_path_factory.mktemp("finished"))).oracle


def report(losses):
    curve = lrtuner.LRCurve(np.geomspace(1e-7, 10.0, len(losses)), np.asarray(losses, dtype=float))
    config = SweepReport(
        curve=curve, optimizer="SGD", batch_size=8, batches_per_epoch=50, epochs=2
    ).to_config()
    return json.dumps({**config, "relation": None})


def typical_losses():
    """A descent around 1e-3 to 1e-1 and a blow-up above 1."""
    rates = np.geomspace(1e-7, 10.0, 100)
    return 2.0 - 1.5 / (1.0 + (3e-3 / rates) ** 2) + np.minimum(rates / 0.5, 20.0) ** 4


def waiting(directory, oracle=None, **sweep):
    """An oracle whose tuner has been made and has not begun to search."""
    return lrtuner.Tuner(
        lrtuner.LRRangeOracle(oracle or random_search(), **sweep), build_model, directory=directory
    ).oracle


def finish(oracle, losses=None, tuner_id="tuner0"):
    """Run the sweep's trial as a tuner would, with these losses."""
    trial = oracle.create_trial(tuner_id)
    assert SETTINGS_KEY in trial.hyperparameters.values
    trial.hyperparameters.values["lrtuner/report"] = report(typical_losses() if losses is None else losses)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    return trial


class TestHandOff:
    @pytest.mark.parametrize("name", ORACLES)
    def test_wrapped_oracle_hears_nothing_of_the_sweep(self, name, tmp_path):
        inner = getattr(kt.oracles, name)(objective="val_loss", seed=3, **ORACLES[name])
        oracle = waiting(tmp_path, inner)
        seed_state = inner._seed_state
        finish(oracle)
        assert inner.trials == {}
        assert inner.start_order == inner.end_order == []
        assert inner.ongoing_trials == {}
        assert inner.tuner_ids == set()
        assert inner._seed_state == seed_state
        trial = oracle.create_trial("tuner0")
        assert int(trial.trial_id) == 0
        assert oracle.trials is inner.trials
        assert oracle.lr_range.min_lr <= trial.hyperparameters.values[RATE] <= oracle.lr_range.max_lr
        assert not any(key.startswith("lrtuner") for key in trial.hyperparameters.values)

    def test_sweeps_hold_everything(self, finished):
        (sweep,) = finished.sweeps
        assert set(sweep.hyperparameters.values) == {"units", RATE}
        assert len(sweep.curve) >= 10
        assert sweep.lr_range == finished.lr_range
        assert sweep.reason is None
        assert sweep.declared == (1e-6, 10.0)
        assert "narrowed" in sweep.outcome

    def test_sweep_is_run_at_the_defaults(self, tmp_path):
        trial = waiting(tmp_path).create_trial("tuner0")
        assert trial.hyperparameters.values["units"] == 2
        # Any value but the default, which a model may have without being told.
        assert 1e-6 < trial.hyperparameters.values[RATE] < 10.0

    def test_sweep_is_run_where_the_learning_rate_is_used(self, tmp_path):
        def build(hp):
            kind, rate = hp.Choice("kind", ["fixed", "searched"]), 0.1
            with hp.conditional_scope("kind", ["searched"]):
                if kind == "searched":
                    rate = declared_rate(hp)
            return compiled(rate)

        oracle = lrtuner.Tuner(lrtuner.LRRangeOracle(random_search()), build, directory=tmp_path).oracle
        assert oracle.create_trial("tuner0").hyperparameters.values["kind"] == "searched"

    def test_range_beyond_the_declared_bounds(self, tmp_path):
        def build(hp):
            return compiled(hp.Float(RATE, 1e-6, 1e-4, sampling="log"))

        oracle = lrtuner.Tuner(lrtuner.LRRangeOracle(random_search()), build, directory=tmp_path).oracle
        with warned("."):
            finish(oracle)
        (entry,) = oracle.get_space().space
        assert 1e-6 <= entry.min_value < entry.max_value == 1e-4

    @pytest.mark.parametrize(
        ("losses", "reason"),
        [(np.ones(100), "every learning rate"), (np.full(100, np.nan), "nan"), (np.ones(3), "too few")],
    )
    def test_no_evidence_no_narrowing(self, tmp_path, losses, reason):
        oracle = waiting(tmp_path)
        with warned("found no range, so the search goes on in the declared space"):
            finish(oracle, losses)
        assert reason in oracle.sweeps[0].reason
        assert oracle.get_space().space[1].min_value == 1e-6
        assert oracle.create_trial("tuner0").trial_id == "0"

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"curve": 3}', "nonsense"])
    def test_nonsense_from_a_worker(self, tmp_path, content):
        oracle = waiting(tmp_path)
        trial = oracle.create_trial("tuner0")
        trial.hyperparameters.values["lrtuner/report"] = content
        with warned("found no range"):
            oracle.end_trial(trial)
        assert oracle.lr_range is None
        assert oracle.sweeps[0].reason

    def test_rule_of_the_users_own(self, tmp_path):
        oracle = waiting(tmp_path, rule=lambda _: (1e-4, 1e-3))
        finish(oracle)
        assert oracle.lr_range == lrtuner.LRRange(1e-4, 1e-3)

    def test_rule_that_raises(self, tmp_path):
        oracle = waiting(tmp_path, rule=lambda curve: curve.missing)
        with warned("AttributeError.*missing"):
            finish(oracle)
        assert oracle.sweeps[0].curve is not None
        assert oracle.lr_range is None

    def test_threads(self, tmp_path):
        oracle = waiting(tmp_path)
        trials = []
        threads = [
            threading.Thread(target=lambda name=f"tuner{i}": trials.append(oracle.create_trial(name)))
            for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(trial.status for trial in trials) == ["IDLE"] * 7 + ["RUNNING"]


class TestPlot:
    def test_before_any_sweep(self, tmp_path):
        with pytest.raises(
            RuntimeError, match=r"No sweep has finished yet: call plot_sweeps after tuner\.search"
        ):
            waiting(tmp_path).plot_sweeps()

    @pytest.mark.parametrize("ax", [3, "axes", [None]])
    def test_something_that_is_no_axes(self, finished, ax):
        with pytest.raises(TypeError, match=r"ax must be a matplotlib Axes or None, got .*plt\.subplots"):
            finished.plot_sweeps(ax)

    def test_after_the_sweep_and_after_the_search(self, tmp_path, finished):
        fresh = waiting(tmp_path)
        finish(fresh)
        for oracle in (fresh, finished):
            axes = plt.figure().add_subplot()
            assert oracle.plot_sweeps(axes) is axes
            assert axes.get_xscale() == "log"
            plt.close(axes.figure)

    def test_search_leaves_no_figure_open(self, tmp_path):
        before = plt.get_fignums()
        finish(waiting(tmp_path))
        assert plt.get_fignums() == before
        assert (tmp_path / "untitled_project" / "lr_sweeps.png").read_bytes()[:4] == b"\x89PNG"

    def test_picture_that_cannot_be_drawn(self, tmp_path):
        oracle = waiting(tmp_path)
        (tmp_path / "untitled_project" / "lr_sweeps.png").mkdir()
        with warned("picture could not be drawn"):
            finish(oracle)
        assert oracle.lr_range is not None


class TestProxy:
    def test_reads_and_writes_the_wrapped_oracle(self):
        inner = random_search()
        oracle = lrtuner.LRRangeOracle(inner)
        assert oracle.objective is inner.objective
        assert oracle.seed == 7
        oracle.max_trials = 9
        oracle.verbose = 0
        assert inner.max_trials == 9
        assert inner.verbose == 0
        assert oracle.remaining_trials() == 9
        assert oracle.get_state() == inner.get_state()
        with pytest.raises(AttributeError, match="nothing"):
            oracle.nothing  # noqa: B018

    def test_without_an_oracle_it_makes_a_random_search(self):
        oracle = lrtuner.LRRangeOracle(objective="val_accuracy", max_trials=20, seed=4)
        assert isinstance(oracle.oracle, kt.oracles.RandomSearchOracle)
        assert oracle.objective == kt.Objective("val_accuracy", "max")
        assert (oracle.max_trials, oracle.seed) == (20, 4)

    def test_can_be_copied(self):
        assert copy.copy(lrtuner.LRRangeOracle(max_trials=3)).max_trials == 3

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                {"oracle": 3},
                TypeError,
                r"Expected a keras_tuner\.Oracle.*received 3 of type int.*max_trials=\.\.\.",
            ),
            ({"oracle": "random"}, TypeError, "received 'random'"),
            ({"oracle": kt.oracles.RandomSearchOracle}, TypeError, "of type type"),
            (
                {"oracle": random_search(), "max_trials": 3},
                TypeError,
                r"\['max_trials'\] belong to the wrapped",
            ),
            ({"oracle": lrtuner.LRRangeOracle(max_trials=1)}, TypeError, "LRRangeOracle already"),
            ({"depth": 3}, TypeError, "depth"),
            (
                {"learning_rate": 0.1},
                TypeError,
                r"name of a hyperparameter, received 0\.1.*min_lr and max_lr",
            ),
            ({"min_lr": 1.0, "max_lr": 0.1}, ValueError, "min_lr must be below max_lr.*swapped"),
            ({"min_lr": 0.0}, ValueError, r"min_lr must be a finite number above 0, got 0\.0"),
            ({"min_lr": "1"}, ValueError, "min_lr must be a finite number above 0, got '1'"),
            ({"max_lr": float("inf")}, ValueError, "max_lr must be a finite number above 0, got inf"),
            ({"max_lr": float("nan")}, ValueError, "max_lr must be a finite number above 0, got nan"),
            ({"max_lr": None}, ValueError, "max_lr must be a finite number above 0, got None"),
            ({"steps": 9}, ValueError, "steps must be an integer of at least 10, got 9"),
            ({"steps": 50.5}, ValueError, r"steps must be an integer of at least 10, got 50\.5"),
            ({"steps": True}, ValueError, "steps must be an integer of at least 10, got True"),
            ({"rule": "best"}, ValueError, r"rule must be one of \['d90', .*received 'best'"),
            ({"rule": 3}, TypeError, "rule must be the name of a rule or a callable, received 3"),
            ({"lease": 0}, ValueError, "lease must be a number of seconds above 0, received 0"),
            ({"lease": float("nan")}, ValueError, "lease must be .* received nan"),
            ({"lease": "long"}, ValueError, "lease must be .* received 'long'"),
        ],
    )
    def test_bad_arguments(self, arguments, error, message):
        with pytest.raises(error, match=message):
            lrtuner.LRRangeOracle(**arguments)


class TestState:
    def test_own_state_is_written_only_when_it_changes(self, tmp_path):
        oracle = waiting(tmp_path)
        finish(oracle)
        path = tmp_path / "untitled_project" / "lr_range.json"
        written = os.stat(path).st_mtime_ns
        for number in range(2):
            trial = oracle.create_trial("tuner0")
            oracle.update_trial(trial.trial_id, {"val_loss": float(number)})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        assert os.stat(path).st_mtime_ns == written
        path.unlink()
        oracle.save()
        assert path.exists()

    def test_a_trial_that_is_over_is_not_begun_again(self, tmp_path):
        """Killed between the writes at a trial's end, KerasTuner would repeat a trial that it has scored."""
        oracle = waiting(tmp_path)
        finish(oracle)
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
        running = (tmp_path / "untitled_project" / "oracle.json").read_text()
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        (tmp_path / "untitled_project" / "oracle.json").write_text(running)
        (tmp_path / "untitled_project" / "tuner0.json").write_text("{}")
        again = waiting(tmp_path)
        assert again.end_order == ["0"]
        assert again.create_trial("tuner0").trial_id == "1"
