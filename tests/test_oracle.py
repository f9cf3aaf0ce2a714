import copy
import dataclasses
import functools
import os
import re
import sys
import threading
import time
from pathlib import Path

import keras_tuner as kt
import matplotlib.pyplot as plt
import numpy as np
import pytest
from searches import (
    RATE,
    build_choice,
    build_model,
    compiled,
    declared_rate,
    random_search,
    search,
    tuner,
    warned,
)
from sklearn.linear_model import LogisticRegression

import lrtuner
from lrtuner import oracle as oracle_module
from lrtuner.curve.rules import next_range
from lrtuner.search.protocol import Answer, is_sweep, order_of, put
from lrtuner.search.ranges import moved_range
from lrtuner.search.settings import SettingSpace

ORACLES = {
    "RandomSearchOracle": {"max_trials": 3},
    "BayesianOptimizationOracle": {"max_trials": 3},
    "GridSearchOracle": {"max_trials": 3},
    "HyperbandOracle": {"max_epochs": 3},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return search(tuner(tmp_path_factory.mktemp("finished"))).oracle


def answer(trial, losses, settings=None, **known):
    """Put the report of a sweep with these losses in its trial, as a tuner would."""
    rates = np.geomspace(1e-7, 10.0, len(losses))
    training = lrtuner.Training(optimizer="SGD", batch_size=8, batches_per_epoch=50, epochs=2, **known)
    curve = lrtuner.LRCurve(rates, np.asarray(losses, dtype=float), training=training)
    put(trial.hyperparameters, Answer(curve=curve, settings=settings or SettingSpace()))


def typical_losses(scale=1.0):
    """A descent around 1e-3 to 1e-1 and a blow-up above 1, at rates that are scaled."""
    rates = np.geomspace(1e-7, 10.0, 100) / scale
    return 2.0 - 1.5 / (1.0 + (3e-3 / rates) ** 2) + np.minimum(rates / 0.5, 20.0) ** 4


def waiting(directory, inner=None, build=build_model, pictures=False, **sweep):
    """An oracle whose tuner has been made and has not begun to search."""
    oracle = lrtuner.LRRangeOracle(inner or random_search(), **sweep)
    # They take longer than all the rest.
    oracle._keeps_pictures = pictures
    return lrtuner.Tuner(oracle, build, directory=directory).oracle


def finish(oracle, losses=None, tuner_id="tuner0", settings=None, **known):
    """Run the sweep's trial as a tuner would, with these losses."""
    trial = oracle.create_trial(tuner_id)
    assert is_sweep(trial.hyperparameters)
    losses = typical_losses() if losses is None else losses
    answer(trial, losses, settings, **known)
    end(oracle, trial)
    return trial


def end(oracle, trial, score=None):
    if score is not None and not is_sweep(trial.hyperparameters):
        oracle.update_trial(trial.trial_id, {"val_loss": score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_the_way_of_a_sweep_leads_somewhere():
    """Each name in the docstring of oracle.py is defined, and the stops are few."""
    stops = re.findall(r"^\d+\. .*", oracle_module.__doc__, re.MULTILINE)
    assert 8 <= len(stops) <= 15
    sources = [path.read_text() for path in Path(lrtuner.__file__).parent.rglob("*.py")]
    for name in re.findall(r"`([\w.]+)`", "\n".join(stops)):
        *owner, last = name.split(".")
        if name != "model.fit":
            homes = [text for text in sources if re.search(rf"^\s*(def|class) {last}\b", text, re.MULTILINE)]
            assert any(f"class {owner[0]}" in text for text in homes) if owner else homes, name


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

    def test_a_tuner_of_models_that_are_not_keras_s(self, tmp_path):
        def build(hp):
            return LogisticRegression(C=declared_rate(hp))

        with pytest.raises(ValueError, match=r"A sweep needs a Keras model: .*SklearnTuner"):
            kt.tuners.SklearnTuner(lrtuner.LRRangeOracle(random_search()), build, directory=tmp_path)
        hypermodel = lrtuner.LRRangeHyperModel(build)
        inner = kt.oracles.RandomSearchOracle(kt.Objective("score", "max"), max_trials=1)
        stock = kt.tuners.SklearnTuner(lrtuner.LRRangeOracle(inner), hypermodel, directory=tmp_path)
        with warned("found no range.*: a sweep needs a Keras model, .* built a LogisticRegression"):
            stock.search(np.arange(40.0).reshape(20, 2), np.arange(20) % 2)

    def test_a_range_at_another_batch_size_has_its_rise_there(self, finished):
        for edge, there in ((0.01, 0.03), (None, None)):
            evidence = dataclasses.replace(finished.lr_range.evidence, edge=edge)
            moved = moved_range(lrtuner.LRRange(1e-3, 1e-1, evidence=evidence), 3.0)
            assert (moved.min_lr, moved.max_lr) == (3e-3, pytest.approx(3e-1))
            assert moved.evidence == dataclasses.replace(evidence, edge=there)
        assert moved_range(lrtuner.LRRange(1e-3, 1e-2), 2.0) == lrtuner.LRRange(2e-3, 2e-2)

    def test_what_weakens_a_range_is_printed(self, tmp_path, capsys):
        oracle = waiting(tmp_path, pictures=True)
        noise = 0.1 * np.random.default_rng(0).normal(size=100)
        finish(oracle, 2.0 + noise + np.minimum(np.geomspace(1e-7, 10.0, 100) / 0.5, 20.0) ** 4)
        assert oracle.lr_range.evidence.caveat
        assert f"; {oracle.lr_range.evidence.caveat}. Picture: " in capsys.readouterr().out

    @pytest.mark.parametrize("bounds", [(1e-4, 1e-2), (1e-6, 1e-4)])
    def test_a_range_outside_of_the_declared_bounds_is_a_warning_if_all_of_it_is(
        self, tmp_path, capsys, recwarn, bounds
    ):
        oracle = waiting(tmp_path, build=lambda hp: compiled(hp.Float(RATE, *bounds, sampling="log")))
        finish(oracle)
        (entry,) = oracle.get_space().space
        assert bounds[0] <= entry.min_value < entry.max_value == bounds[1]
        part = bounds[1] == 1e-2
        assert any("range found" in str(one.message) for one in recwarn) == (not part)
        assert ("Part of the range found" in capsys.readouterr().out) == part

    @pytest.mark.parametrize(
        ("losses", "reason"),
        [
            (np.ones(100), "every learning rate"),
            (np.full(100, np.nan), "nan"),
            (np.array([1.0, 2.0, 1.5]), "neither fell nor rose"),
        ],
    )
    def test_no_evidence_no_narrowing(self, tmp_path, losses, reason):
        oracle = waiting(tmp_path)
        with warned("found no range, so the declared space stays as it is"):
            finish(oracle, losses)
        assert reason in oracle.sweeps[0].reason
        assert oracle.get_space().space[1].min_value == 1e-6
        assert oracle.create_trial("tuner0").trial_id == "0"

    def test_a_range_may_be_required(self, tmp_path):
        oracle = waiting(tmp_path, require_range=True)
        with warned("found no range"), pytest.raises(lrtuner.NoRangeError, match="every learning rate"):
            finish(oracle, np.ones(100))
        with pytest.raises(lrtuner.NoRangeError, match="of an earlier run found no range"):
            waiting(tmp_path, require_range=True)
        finish(waiting(tmp_path / "other", require_range=True))
        with pytest.raises(lrtuner.NoRangeError, match="No learning-rate sweep: nobody wants one"):
            waiting(tmp_path / "third", require_range=True).skip_sweeps("nobody wants one")

    def test_rule_that_raises(self, tmp_path):
        oracle = waiting(tmp_path, rule=lambda curve: curve.missing)
        with warned("AttributeError.*missing"):
            finish(oracle)
        assert oracle.sweeps[0].curve is not None
        assert oracle.lr_range is None

    @pytest.mark.parametrize("slow_one_ends_first", [True, False])
    def test_two_results_of_one_sweep(self, tmp_path, slow_one_ends_first):
        oracle = waiting(tmp_path, lease=0.3)
        slow = oracle.create_trial("worker0")
        time.sleep(0.4)
        again = oracle.create_trial("worker1")
        assert again.trial_id != slow.trial_id
        ends = [slow, again] if slow_one_ends_first else [again, slow]
        ranges = []
        for trial, scale in zip(ends, (1.0, 0.01), strict=True):
            answer(trial, typical_losses(scale))
            end(oracle, trial)
            ranges.append(oracle.lr_range)
        assert len(oracle.sweeps) == 1
        assert (
            ranges[0]
            == ranges[1]
            == lrtuner.suggest_range(oracle.sweeps[0].curve, optimizer="SGD", batch_size=8, train_steps=100)
        )
        assert oracle.create_trial("worker0").trial_id == "0"
        assert oracle.remaining_trials() == 1

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


# The good rates of each optimizer, against those of SGD.
SCALES = {"sgd": 1.0, "adam": 0.03, "rmsprop": 0.003}
SETTINGS = SettingSpace(("optimizer",))


choosing = functools.partial(waiting, build=build_choice)


def run(oracle, settings=SETTINGS, tuner_id="tuner0", failing=()):
    """Do all that the oracle asks for, as a tuner would, until it says that the search is over.

    Returns:
        The optimizers swept and the trials begun, in order.
    """
    events, score = [], None
    while (trial := oracle.create_trial(tuner_id)).status != "STOPPED":
        values = trial.hyperparameters.values
        assert trial.status == "RUNNING"
        if is_sweep(trial.hyperparameters):
            events.append(values["optimizer"])
            losses = np.ones(100) if values["optimizer"] in failing else None
            losses = typical_losses(SCALES[values["optimizer"]]) if losses is None else losses
            answer(trial, losses, settings)
        else:
            events.append(dict(values))
            score = abs(float(np.log10(values[RATE] / SCALES[values["optimizer"]])) + 1.8)
        end(oracle, trial, score)
    return events


def ranges(oracle):
    return {sweep.setting["optimizer"]: sweep.lr_range for sweep in oracle.sweeps}


def assert_each_in_its_own(oracle, events):
    trials = [event for event in events if isinstance(event, dict)]
    assert trials
    for values in trials:
        lr_range = ranges(oracle)[values["optimizer"]]
        slack = 1 + 1e-9
        assert lr_range.min_lr / slack <= values[RATE] <= lr_range.max_lr * slack


class Recording(kt.Oracle):
    """An oracle with a record of its own, as one that asks another library for its proposals."""

    def populate_space(self, trial_id):
        values = self._random_values()
        self.__dict__.setdefault("proposed", {})[trial_id] = values
        return {"status": "RUNNING", "values": values}


class TestSettings:
    def test_an_oracle_s_own_record_holds_what_was_run(self, tmp_path):
        inner = Recording("val_loss", max_trials=8, seed=1)
        oracle = choosing(tmp_path, inner, rule="curve_alone")
        events = run(oracle)
        assert_each_in_its_own(oracle, events)
        assert list(inner.proposed.values())[:8] == [event for event in events if isinstance(event, dict)]

    @pytest.mark.parametrize("name", ORACLES)
    def test_each_trial_has_the_range_of_its_own_setting(self, name, tmp_path):
        # A Gaussian process takes seconds a trial.
        own = {"BayesianOptimizationOracle": {"max_trials": 10, "num_initial_points": 8}}
        own["HyperbandOracle"] = {"max_epochs": 9}
        arguments = own.get(name, {"max_trials": 25})
        inner = getattr(kt.oracles, name)(objective="val_loss", seed=1, **arguments)
        oracle = choosing(tmp_path, inner, rule="curve_alone")
        events = run(oracle)
        assert_each_in_its_own(oracle, events)
        trials = [event for event in events if isinstance(event, dict)]
        assert [trial.hyperparameters.values for trial in inner.trials.values()] == trials
        assert len(trials) == arguments.get("max_trials", len(trials))
        assert sorted(event for event in events if isinstance(event, str)) == sorted(SCALES)
        # The space that KerasTuner shows, and searches, is the union.
        (entry,) = [entry for entry in oracle.get_space().space if entry.name == RATE]
        assert entry.min_value == pytest.approx(oracle.lr_range.min_lr)
        assert entry.max_value == pytest.approx(oracle.lr_range.max_lr)
        assert ranges(oracle)["adam"].min_lr == pytest.approx(0.03 * ranges(oracle)["sgd"].min_lr, rel=0.2)
        promoted = [values for values in trials if "tuner/trial_id" in values]
        assert bool(promoted) == (name == "HyperbandOracle")
        for values in promoted:
            assert values[RATE] == inner.trials[values["tuner/trial_id"]].hyperparameters.values[RATE]

    def test_a_sweep_is_run_when_a_trial_first_needs_it_and_moves_no_other_value(self, tmp_path):
        wrapped, bare = random_search(12), random_search(12)
        events = run(choosing(tmp_path / "a", wrapped))
        seen = {events[0]}
        for index, event in enumerate(events[1:], 1):
            if isinstance(event, str):
                assert event not in seen
                # The trial that needed it is the next.
                assert events[index + 1]["optimizer"] == event
                seen.add(event)
            else:
                assert event["optimizer"] in seen
        # The search is numbered and seeded as without.
        kt.Tuner(bare, build_choice, directory=tmp_path / "b")
        for values in (event for event in events if isinstance(event, dict)):
            same = bare.create_trial("tuner0")
            assert {**same.hyperparameters.values, RATE: 0} == {**values, RATE: 0}
            end(bare, same, 1.0)
        assert list(wrapped.trials) == list(bare.trials)

    def test_random_rates_fill_their_range_evenly(self, tmp_path):
        oracle = choosing(tmp_path, kt.oracles.RandomSearchOracle("val_loss", max_trials=400, seed=5))
        trials = [event for event in run(oracle) if isinstance(event, dict)]
        for name, lr_range in ranges(oracle).items():
            places = [
                np.log10(values[RATE] / lr_range.min_lr) / lr_range.decades
                for values in trials
                if values["optimizer"] == name
            ]
            counts, _ = np.histogram(places, bins=4, range=(-1e-9, 1 + 1e-9))
            # Four standard deviations of a binomial count.
            expected = len(places) / 4
            assert counts.sum() == len(places)
            assert (abs(counts - expected) < 4 * np.sqrt(expected * 0.75)).all()
        for sweep in oracle.sweeps:
            # Scored so that a rate of about 0.016 of the optimizer's own scale is best, which is inside.
            assert oracle.results().advice(sweep) is None

    def test_one_setting_without_a_range_keeps_the_declared_space(self, tmp_path):
        oracle = choosing(tmp_path, random_search(20))
        with warned("sweep for optimizer=adam found no range"):
            events = run(oracle, failing=("adam",))
        assert ranges(oracle)["adam"] is None
        trials = [event for event in events if isinstance(event, dict)]
        adam = [values[RATE] for values in trials if values["optimizer"] == "adam"]
        assert max(adam) / min(adam) > 1e3
        others = [values for values in trials if values["optimizer"] != "adam"]
        assert_each_in_its_own(oracle, others)

    @pytest.mark.parametrize("name", ["RandomSearchOracle", "BayesianOptimizationOracle", "GridSearchOracle"])
    def test_a_choice_of_rates(self, name, tmp_path):
        def build(hp):
            name = hp.Choice("optimizer", list(SCALES))
            rate = hp.Choice(RATE, list(np.geomspace(1e-6, 10, 15)))
            return compiled(rate if name else 0.1, hp.Int("units", 2, 3))

        own = {"BayesianOptimizationOracle": {"max_trials": 10, "num_initial_points": 8}}
        inner = getattr(kt.oracles, name)(objective="val_loss", seed=1, **own.get(name, {"max_trials": 80}))
        oracle = waiting(tmp_path, inner, build)
        events = run(oracle)
        trials = [event for event in events if isinstance(event, dict)]
        assert_each_in_its_own(oracle, events)
        if name != "BayesianOptimizationOracle":
            # Nothing is tried twice, though many values that are proposed stand for the same.
            assert len({tuple(sorted(values.items())) for values in trials}) == len(trials)
        if name == "GridSearchOracle":
            inside = {
                (optimizer, rate)
                for optimizer, lr_range in ranges(oracle).items()
                for rate in list(np.geomspace(1e-6, 10, 15))
                if lr_range.min_lr <= rate <= lr_range.max_lr
            }
            assert {(values["optimizer"], values[RATE]) for values in trials} == inside
            assert len(trials) == 2 * len(inside)

    def test_none_or_others_by_name(self, tmp_path):
        events = run(choosing(tmp_path / "none", random_search(3), sweep_per=[]), SettingSpace())
        assert len([event for event in events if isinstance(event, str)]) == 1
        oracle = choosing(tmp_path / "units", random_search(12), sweep_per=["units"])
        trial = oracle.create_trial("tuner0")
        assert order_of(trial.hyperparameters).settings.names == ("units",)
        run(oracle, SettingSpace(("units",)))
        assert {sweep.setting["units"] for sweep in oracle.sweeps} == {
            trial.hyperparameters.values["units"] for trial in oracle.trials.values()
        } | {2}

    def test_batch_size_moves_the_range(self, tmp_path):
        def build(hp):
            return compiled(declared_rate(hp), hp.Choice("batch", [8, 32, 128]))

        def batch_ranges(**options):
            oracle = waiting(tmp_path / str(len(options)), random_search(30), build, **options)
            finish(oracle, settings=SettingSpace(batch_size=None if options else "batch"))
            (sweep,) = oracle.sweeps
            assert ("the range at batch size 8; it moves" in sweep.outcome) == (not options)
            for _ in range(30):
                trial = oracle.create_trial("tuner0")
                values = trial.hyperparameters.values
                yield values["batch"], values[RATE] / sweep.lr_range.min_lr, sweep.lr_range.decades
                end(oracle, trial, 1.0)

        for batch, factor, decades in batch_ranges():
            # The sweep's batch size is 8, by its report.
            shift = 0.5 * np.log10(batch / 8)
            assert shift - 1e-9 <= np.log10(factor) <= shift + decades + 1e-9
        for _, factor, decades in batch_ranges(batch_size_scaling=False):
            assert -1e-9 <= np.log10(factor) <= decades + 1e-9

    def test_too_many_values_for_a_sweep_each(self, tmp_path):
        def build(hp):
            return compiled(declared_rate(hp), hp.Int("units", 2, 20))

        for name, message in (
            ("units", "at most 8 values"),
            (RATE, "the learning rate itself"),
            ("unit", r"no such hyperparameter\. There are: 'learning_rate', 'units'"),
        ):
            with pytest.raises(ValueError, match=rf"sweep_per names '{name}'.*{message}"):
                waiting(tmp_path, build=build, sweep_per=[name])


def test_advice_looks_at_the_range_of_each_batch_size(tmp_path):
    """Trials with large batches have high rates. Scores that favour large batches say nothing of the rate."""

    def build(hp):
        return compiled(declared_rate(hp), hp.Choice("batch", [8, 64, 512]))

    oracle = waiting(tmp_path, random_search(24), build)
    finish(oracle, settings=SettingSpace(batch_size="batch"))
    while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
        end(oracle, trial, -float(trial.hyperparameters.get("batch")))
    results = oracle.results()
    rates, scores = zip(*results.scored_rates(results.sweeps[0]), strict=True)
    searched = lrtuner.LRRange(*results.sweeps[0].narrowed)
    assert next_range(rates, scores, searched, maximize=False) is not None
    assert results.advice(results.sweeps[0]) is None


class TestPlot:
    def test_trials_are_shown_with_the_objective(self, finished):
        axes, alone = (plt.figure().add_subplot() for _ in range(2))
        finished.plot_sweeps(axes)
        finished.plot_search(alone)
        for drawn in (*axes.child_axes, alone):
            assert drawn.get_ylabel().startswith(finished.objective.name)
            (points,) = [one for one in drawn.lines if one.get_label() in ("trials", "_trials")]
            assert len(points.get_xdata()) == len(finished.trials)
        for drawn in (axes, alone):
            assert drawn.get_title().startswith(f"project: {RATE}")
            plt.close(drawn.figure)

    def test_search_without_trials_and_without_a_sweep(self, tmp_path):
        oracle = choosing(tmp_path, random_search(4), pictures=True)
        with pytest.raises(RuntimeError, match=r"No trial with a sweep has finished yet"):
            oracle.plot_search()
        with warned("No learning-rate sweep: nobody wants one"):
            oracle.skip_sweeps("nobody wants one")
        run(oracle)
        oracle.save_picture()
        assert not (tmp_path / "untitled_project" / "lr_sweeps.png").exists()

    def test_no_lock_is_held_while_it_is_drawn(self, tmp_path, monkeypatch):
        oracle, looked = waiting(tmp_path), []

        def save_picture(_):
            other = threading.Thread(target=lambda: looked.append(oracle.ongoing_trials))
            other.start()
            other.join(5)
            return ""

        monkeypatch.setattr(lrtuner.LRRangeOracle, "save_picture", save_picture)
        finish(oracle)
        assert looked == [{}]

    @pytest.mark.parametrize("lacking", ["the file", "matplotlib"])
    def test_picture_that_cannot_be_drawn(self, tmp_path, monkeypatch, capsys, lacking):
        oracle = waiting(tmp_path, pictures=True)
        if lacking == "the file":
            (tmp_path / "untitled_project" / "lr_sweeps.png").mkdir()
        else:
            # What Python has in place of a module that can't be imported.
            monkeypatch.setitem(sys.modules, "lrtuner.plot", None)
        with warned("picture could not be drawn"):
            finish(oracle)
        assert "Picture" not in capsys.readouterr().out
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

    def test_an_attribute_is_set_where_it_is(self):
        class Counting(lrtuner.LRRangeOracle):
            def __init__(self, *args, **kwargs):
                self.before = 1
                super().__init__(*args, **kwargs)
                self.after = self.before + 1

        inner = random_search()
        inner._lock = "the wrapped oracle's"
        oracle = Counting(inner)
        oracle.max_trials = 9
        assert (oracle.before, oracle.after, inner.max_trials) == (1, 2, 9)
        assert not hasattr(inner, "after")
        assert inner._lock == "the wrapped oracle's"
        with pytest.raises(AttributeError):
            oracle.lr_range = 3

    def test_options_are_kept_apart_and_checked(self):
        inner = random_search()
        oracle = lrtuner.LRRangeOracle(inner, sweep_per=["optimizer"])
        assert (oracle.lease, oracle.sweep_per, oracle.min_lr) == (600.0, ["optimizer"], 1e-7)
        oracle.lease = 60
        oracle.max_lr = 1.0
        with pytest.raises(ValueError, match="lease must be a number of seconds above 0, got 0"):
            oracle.lease = 0
        with pytest.raises(ValueError, match="min_lr must be below max_lr"):
            oracle.min_lr = 2.0
        assert (oracle.lease, oracle.min_lr, oracle.max_lr) == (60.0, 1e-7, 1.0)
        assert not hasattr(inner, "lease")

    @pytest.mark.parametrize("name", ORACLES)
    def test_an_oracle_is_wrapped_once(self, name):
        inner = getattr(kt.oracles, name)(objective="val_loss", **ORACLES[name])
        lrtuner.LRRangeOracle(inner)
        with pytest.raises(
            TypeError, match=rf"This {name} is wrapped in an LRRangeOracle already.*make a new"
        ):
            lrtuner.LRRangeOracle(inner)

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
            ({"oracle": 3}, TypeError, r"Expected a keras_tuner\.Oracle.*got 3 of type int.*max_trials="),
            ({"oracle": kt.oracles.RandomSearchOracle}, TypeError, "of type type"),
            ({"oracle": random_search(), "max_trials": 3}, TypeError, r"\['max_trials'\] belong to the"),
            ({"oracle": lrtuner.LRRangeOracle(max_trials=1)}, TypeError, "LRRangeOracle already"),
            ({"depth": 3}, TypeError, r"depth.*options of the sweeps are: learning_rate, min_lr, .*lease"),
            (
                {"objective": kt.Objective("val_accuracy", "maximum")},
                ValueError,
                r"direction of the objective 'val_accuracy' must be 'min' or 'max', got 'maximum'",
            ),
            ({"learning_rate": 0.1}, TypeError, r"name of a .*list of names, got 0\.1.*min_lr and max_lr"),
            ({"min_lr": 0.0}, ValueError, r"min_lr must be a finite number above 0, got 0\.0"),
            ({"max_lr": float("inf")}, ValueError, "max_lr must be a finite number above 0, got inf"),
            ({"steps": 9}, ValueError, "steps must be an integer of at least 10, got 9"),
            ({"steps": 50.5}, ValueError, r"steps must be an integer of at least 10, got 50\.5"),
            ({"rule": "best"}, ValueError, r"rule must be one of \['curve_alone', .*got 'best'"),
            ({"rule": 3}, TypeError, "rule must be one of .* or a callable, got 3"),
            ({"learning_rate": ["a", 3]}, TypeError, r"or a list of names, got \['a', 3\]"),
            ({"sweep_per": "optimizer"}, TypeError, r"sweep_per must be a list.*'optimizer'.*\[\] for one"),
            ({"sweep_per": [3]}, TypeError, r"sweep_per must be a list of hyperparameters' names.*\[3\]"),
            ({"batch_size_scaling": 1}, TypeError, "batch_size_scaling must be True or False, got 1"),
            ({"shuffle": "no"}, TypeError, "shuffle must be True or False, got 'no'"),
            ({"require_range": None}, TypeError, "require_range must be True or False, got None"),
            ({"lease": "long"}, ValueError, "lease must be .* got 'long'"),
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
            end(oracle, oracle.create_trial("tuner0"), float(number))
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
