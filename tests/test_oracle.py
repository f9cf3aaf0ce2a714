import copy
import os
import sys
import threading
import time

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
from lrtuner.search import presence
from lrtuner.search.protocol import REPORT_KEY, SweepAnswer, SweepTask, is_sweep
from lrtuner.search.ranges import moved_range
from lrtuner.search.settings import SettingSpace
from lrtuner.sweep.report import SweepReport

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
    SweepAnswer(report=SweepReport(curve=curve), settings=settings or SettingSpace()).write_to(
        trial.hyperparameters
    )


def typical_losses(scale=1.0):
    """A descent around 1e-3 to 1e-1 and a blow-up above 1, at rates that are scaled."""
    rates = np.geomspace(1e-7, 10.0, 100) / scale
    return 2.0 - 1.5 / (1.0 + (3e-3 / rates) ** 2) + np.minimum(rates / 0.5, 20.0) ** 4


def waiting(directory, oracle=None, **sweep):
    """An oracle whose tuner has been made and has not begun to search."""
    return lrtuner.Tuner(
        lrtuner.LRRangeOracle(oracle or random_search(), **sweep), build_model, directory=directory
    ).oracle


def finish(oracle, losses=None, tuner_id="tuner0", settings=None, **known):
    """Run the sweep's trial as a tuner would, with these losses."""
    trial = oracle.create_trial(tuner_id)
    assert is_sweep(trial.hyperparameters)
    losses = typical_losses() if losses is None else losses
    answer(trial, losses, settings, **known)
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

    def test_rows_with_losses_above_all_others_are_told_of(self, tmp_path, capsys):
        rng = np.random.default_rng(0)
        losses = typical_losses() + 0.02 * rng.normal(size=100)
        outlying = np.where(np.arange(100) == 20, 1e3, losses)
        for index, (curve, has_outliers) in enumerate(
            [(losses, False), (losses, True), (outlying, False), (outlying, True)]
        ):
            oracle = waiting(tmp_path / str(index))
            finish(oracle, curve, has_outliers=has_outliers)
            said = "check whether their values are right"
            outcome = oracle.sweeps[0].outcome or ""
            assert (said in outcome) == (said in capsys.readouterr().out) == (index == 3)

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

    def test_a_range_at_another_batch_size_has_its_evidence_there(self, tmp_path):
        oracle = waiting(tmp_path)
        finish(oracle)
        lr_range = oracle.lr_range
        moved = moved_range(lr_range, 3.0)
        assert (moved.min_lr, moved.max_lr) == (3 * lr_range.min_lr, 3 * lr_range.max_lr)
        for name in ("descent_end", "edge", "usual"):
            assert getattr(moved.evidence, name) == 3 * getattr(lr_range.evidence, name)
        assert moved.evidence.batches == lr_range.evidence.batches
        assert moved_range(lrtuner.LRRange(1e-3, 1e-2), 2.0) == lrtuner.LRRange(2e-3, 2e-2)

    def test_what_weakens_a_range_is_printed(self, tmp_path, capsys):
        oracle = waiting(tmp_path)
        noise = 0.1 * np.random.default_rng(0).normal(size=100)
        finish(oracle, 2.0 + noise + np.minimum(np.geomspace(1e-7, 10.0, 100) / 0.5, 20.0) ** 4)
        assert oracle.lr_range.evidence.caveat
        assert f"; {oracle.lr_range.evidence.caveat}. Picture: " in capsys.readouterr().out

    def test_a_range_that_lies_partly_outside_is_no_warning(self, tmp_path, capsys, recwarn):
        def build(hp):
            return compiled(hp.Float(RATE, 1e-4, 1e-2, sampling="log"))

        oracle = lrtuner.Tuner(lrtuner.LRRangeOracle(random_search()), build, directory=tmp_path).oracle
        finish(oracle)
        assert [warning for warning in recwarn if "range found" in str(warning.message)] == []
        assert "Part of the range found" in capsys.readouterr().out

    def test_sweep_is_run_in_the_middle_of_the_space(self, tmp_path):
        trial = waiting(tmp_path).create_trial("tuner0")
        assert trial.hyperparameters.values["units"] == 5
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
        [
            (np.ones(100), "every learning rate"),
            (np.full(100, np.nan), "nan"),
            (np.array([1.0, 2.0, 1.5]), "neither fell nor rose"),
        ],
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
        trial.hyperparameters.values[REPORT_KEY] = content
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
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
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


def choosing(directory, inner, build=build_choice, **sweep):
    return lrtuner.Tuner(lrtuner.LRRangeOracle(inner, **sweep), build, directory=directory).oracle


def run(oracle, settings=SETTINGS, tuner_id="tuner0", failing=()):
    """Do all that the oracle asks for, as a tuner would, until it says that the search is over.

    Returns:
        The optimizers swept and the trials begun, in order.
    """
    events = []
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
            rate = values[RATE] / SCALES[values["optimizer"]]
            oracle.update_trial(trial.trial_id, {"val_loss": abs(float(np.log10(rate)) + 1.5)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
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

    def test_promoted_trials_keep_their_rate(self, tmp_path):
        inner = kt.oracles.HyperbandOracle(objective="val_loss", seed=1, max_epochs=9)
        trials = [
            event for event in run(choosing(tmp_path, inner, rule="curve_alone")) if isinstance(event, dict)
        ]
        promoted = [values for values in trials if "tuner/trial_id" in values]
        assert promoted
        for values in promoted:
            assert values[RATE] == inner.trials[values["tuner/trial_id"]].hyperparameters.values[RATE]

    def test_a_sweep_is_run_when_a_trial_first_needs_it(self, tmp_path):
        events = run(choosing(tmp_path, random_search(12)))
        seen = {events[0]}
        for index, event in enumerate(events[1:], 1):
            if isinstance(event, str):
                assert event not in seen
                # The trial that needed it is the next.
                assert events[index + 1]["optimizer"] == event
                seen.add(event)
            else:
                assert event["optimizer"] in seen

    @pytest.mark.parametrize("name", ["RandomSearchOracle", "BayesianOptimizationOracle"])
    def test_no_sweep_that_no_trial_needs(self, name, tmp_path):
        swept = set()
        for seed in range(6):
            inner = getattr(kt.oracles, name)("val_loss", max_trials=1, seed=seed)
            first, trial = run(choosing(tmp_path / str(seed), inner))
            assert first == trial["optimizer"]
            swept.add(first)
        assert len(swept) > 1

    def test_the_optimizer_of_the_first_trial_may_have_no_rate(self, tmp_path):
        oracle = choosing(tmp_path, kt.oracles.RandomSearchOracle("val_loss", max_trials=6, seed=5))
        first = oracle.create_trial("tuner0")
        assert first.hyperparameters.values["optimizer"] != "sgd"
        SweepAnswer(error="the rate doesn't follow").write_to(first.hyperparameters)
        first.status = "COMPLETED"
        oracle.end_trial(first)
        events = run(oracle)
        # The default's, as ever.
        assert events[0] == "sgd"
        assert ranges(oracle)["sgd"] is not None
        assert_each_in_its_own(oracle, events)

    def test_to_look_at_the_first_trial_changes_nothing(self, tmp_path):
        inner = kt.oracles.HyperbandOracle("val_loss", max_epochs=4, seed=5)
        oracle = choosing(tmp_path, inner)
        before, space = copy.deepcopy(inner.get_state()), inner.hyperparameters
        first = oracle.create_trial("tuner0")
        assert first.hyperparameters.values["optimizer"] != space.get("optimizer")
        assert inner.get_state() == before
        assert inner.hyperparameters is space

    def test_the_first_trial_of_a_class_of_the_users_own_is_not_looked_at(self, tmp_path):
        inner = Recording("val_loss", max_trials=3, seed=1)
        choosing(tmp_path, inner).create_trial("tuner0")
        assert not hasattr(inner, "proposed")

    def test_the_search_is_numbered_and_seeded_as_without(self, tmp_path):
        wrapped, bare = random_search(12), random_search(12)
        trials = [event for event in run(choosing(tmp_path / "a", wrapped)) if isinstance(event, dict)]
        kt.Tuner(bare, build_choice, directory=tmp_path / "b")
        for values in trials:
            same = bare.create_trial("tuner0")
            assert {**same.hyperparameters.values, RATE: 0} == {**values, RATE: 0}
            bare.update_trial(same.trial_id, {"val_loss": 1.0})
            same.status = "COMPLETED"
            bare.end_trial(same)
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
            rate = hp.Choice(RATE, [10.0**power for power in range(-6, 2)])
            return compiled(rate if name else 0.1, hp.Int("units", 2, 3))

        own = {"BayesianOptimizationOracle": {"max_trials": 10, "num_initial_points": 8}}
        inner = getattr(kt.oracles, name)(objective="val_loss", seed=1, **own.get(name, {"max_trials": 60}))
        oracle = choosing(tmp_path, inner, build)
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
                for rate in [10.0**power for power in range(-6, 2)]
                if lr_range.min_lr <= rate <= lr_range.max_lr
            }
            assert {(values["optimizer"], values[RATE]) for values in trials} == inside
            assert len(trials) == 2 * len(inside)

    def test_a_grid_is_swept_before_it_is_laid_out(self, tmp_path):
        inner = kt.oracles.GridSearchOracle(objective="val_loss", max_trials=5)
        events = run(choosing(tmp_path, inner))
        assert [isinstance(event, str) for event in events] == [True] * 3 + [False] * 5

    def test_none_or_others_by_name(self, tmp_path):
        events = run(choosing(tmp_path / "none", random_search(3), sweep_per=[]), SettingSpace())
        assert len([event for event in events if isinstance(event, str)]) == 1
        oracle = choosing(tmp_path / "units", random_search(12), sweep_per=["units"])
        trial = oracle.create_trial("tuner0")
        assert SweepTask.of(trial.hyperparameters).settings.names == ("units",)
        run(oracle, SettingSpace(("units",)))
        assert {sweep.setting["units"] for sweep in oracle.sweeps} == {
            trial.hyperparameters.values["units"] for trial in oracle.trials.values()
        } | {5}

    def test_batch_size_moves_the_range(self, tmp_path):
        def build(hp):
            return compiled(declared_rate(hp), hp.Choice("batch", [8, 32, 128]))

        def batch_ranges(**options):
            oracle = choosing(tmp_path / str(len(options)), random_search(30), build, **options)
            finish(oracle, settings=SettingSpace(batch_size=None if options else "batch"))
            (sweep,) = oracle.sweeps
            assert ("the range at batch size 8; it moves" in sweep.outcome) == (not options)
            for _ in range(30):
                trial = oracle.create_trial("tuner0")
                values = trial.hyperparameters.values
                yield values["batch"], values[RATE] / sweep.lr_range.min_lr, sweep.lr_range.decades
                oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
                trial.status = "COMPLETED"
                oracle.end_trial(trial)

        for batch, factor, decades in batch_ranges():
            # The sweep's batch size is 8, by its report.
            shift = 0.5 * np.log10(batch / 8)
            assert shift - 1e-9 <= np.log10(factor) <= shift + decades + 1e-9
        for _, factor, decades in batch_ranges(batch_size_scaling=False):
            assert -1e-9 <= np.log10(factor) <= decades + 1e-9

    def test_several_learning_rates(self, tmp_path):
        def build(hp):
            name = hp.Choice("optimizer", ["sgd", "adam"])
            for one, most in (("sgd", 10.0), ("adam", 1.0)):
                with hp.conditional_scope("optimizer", [one]):
                    if name == one:
                        rate = hp.Float(f"{one}_lr", 1e-6, most, sampling="log")
            return compiled(rate)

        oracle = choosing(tmp_path, random_search(8), build, learning_rate=["sgd_lr", "adam_lr"])
        while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
            values = trial.hyperparameters.values
            if is_sweep(trial.hyperparameters):
                answer(trial, typical_losses(SCALES[values["optimizer"]]), SETTINGS)
            else:
                oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        names = {sweep.learning_rate: sweep.lr_range for sweep in oracle.sweeps}
        assert set(names) == {"sgd_lr", "adam_lr"}
        assert [sweep.name for sweep in oracle.sweeps] == [
            "sgd_lr, optimizer=sgd",
            "adam_lr, optimizer=adam",
        ]
        for trial in oracle.trials.values():
            values = trial.hyperparameters.values
            name = f"{values['optimizer']}_lr"
            assert names[name].min_lr <= values[name] <= names[name].max_lr
        for entry in oracle.get_space().space[1:]:
            assert entry.min_value == pytest.approx(names[entry.name].min_lr)

    def test_picture_names_each(self, tmp_path):
        oracle = choosing(tmp_path, random_search(12))
        run(oracle)
        axes = plt.figure().add_subplot()
        oracle.plot_sweeps(axes)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert sorted(label.partition(",")[0] for label in labels if "optimizer" in label) == [
            f"optimizer={name}" for name in sorted(SCALES)
        ]
        plt.close(axes.figure)

    def test_too_many_values_for_a_sweep_each(self, tmp_path):
        def build(hp):
            return compiled(declared_rate(hp), hp.Int("units", 2, 20))

        for name, message in (
            ("units", "at most 8 values"),
            (RATE, "the learning rate itself"),
            ("unit", r"no such hyperparameter\. There are: 'learning_rate', 'units'"),
        ):
            with pytest.raises(ValueError, match=rf"sweep_per names '{name}'.*{message}"):
                choosing(tmp_path, random_search(), build, sweep_per=[name])

    def test_advice_is_given_for_each(self, tmp_path):
        oracle = choosing(tmp_path, random_search(60))
        run(oracle)
        for sweep in oracle.sweeps:
            # Scored so that a rate of about 0.03 of the optimizer's own scale is best, which is inside.
            assert oracle.advise(sweep) is None


def test_advice_on_something_that_is_no_sweep(finished):
    with pytest.raises(TypeError, match=r"sweep must be one of this oracle's `sweeps`.*got 3"):
        finished.advise(3)


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

    def test_trials_are_shown_with_the_objective(self, finished):
        axes, alone = (plt.figure().add_subplot() for _ in range(2))
        finished.plot_sweeps(axes)
        finished.plot_search(alone)
        (panel,) = [one for one in axes.figure.axes if one is not axes]
        for drawn in (panel, alone):
            assert drawn.get_ylabel().startswith(finished.objective.name)
            (points,) = [one for one in drawn.lines if one.get_label() == "trials"]
            assert len(points.get_xdata()) == len(finished.trials)
        for drawn in (axes, alone):
            assert drawn.get_title() == f"project: {RATE}"
            plt.close(drawn.figure)

    def test_search_without_trials_and_without_a_sweep(self, tmp_path):
        oracle = choosing(tmp_path, random_search(4))
        with pytest.raises(RuntimeError, match=r"No trial with a learning rate has finished yet"):
            oracle.plot_search()
        with warned("No learning-rate sweep: nobody wants one"):
            oracle.skip_sweeps("nobody wants one")
        run(oracle)
        oracle.save_picture()
        assert not (tmp_path / "untitled_project" / "lr_sweeps.png").exists()
        axes = oracle.plot_search(plt.figure().add_subplot())
        (points,) = [one for one in axes.lines if one.get_label() == "trials"]
        assert len(points.get_xdata()) == len(oracle.trials) == 4
        plt.close(axes.figure)

    def test_search_of_several_settings(self, tmp_path):
        oracle = choosing(tmp_path, random_search(12))
        run(oracle)
        axes = oracle.plot_search(plt.figure().add_subplot())
        points = [one for one in axes.lines if one.get_label() == "trials"]
        assert sum(len(one.get_xdata()) for one in points) == 12
        assert len(axes.patches) == len(oracle.sweeps) == len(SCALES)
        plt.close(axes.figure)

    def test_the_saved_picture_is_drawn_again_with_the_trials(self, tmp_path):
        oracle = choosing(tmp_path, random_search(4))
        run(oracle)
        path = tmp_path / "untitled_project" / "lr_sweeps.png"
        before = path.read_bytes()  # from when the last sweep ended
        oracle.save_picture()
        assert path.read_bytes() != before

    def test_search_leaves_no_figure_open(self, tmp_path):
        before = plt.get_fignums()
        finish(waiting(tmp_path))
        assert plt.get_fignums() == before
        assert (tmp_path / "untitled_project" / "lr_sweeps.png").read_bytes()[:4] == b"\x89PNG"

    @pytest.mark.parametrize("lacking", ["the file", "matplotlib"])
    def test_picture_that_cannot_be_drawn(self, tmp_path, monkeypatch, lacking):
        oracle = waiting(tmp_path)
        if lacking == "the file":
            (tmp_path / "untitled_project" / "lr_sweeps.png").mkdir()
        else:
            # What Python has in place of a module that can't be imported.
            monkeypatch.setitem(sys.modules, "lrtuner.plot", None)
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

    @pytest.mark.parametrize("name", ["leese", "_presense", "lr_range"])
    def test_an_attribute_that_neither_has_is_refused(self, name):
        inner = random_search()
        oracle = lrtuner.LRRangeOracle(inner)
        with pytest.raises(AttributeError, match=rf"RandomSearchOracle .*'{name}' to set.*oracle\.oracle"):
            setattr(oracle, name, 3)
        assert not hasattr(inner, name)

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
            (
                {"oracle": 3},
                TypeError,
                r"Expected a keras_tuner\.Oracle.*got 3 of type int.*max_trials=\.\.\.",
            ),
            ({"oracle": "random"}, TypeError, "got 'random'"),
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
                r"name of a hyperparameter, or a list of names, got 0\.1.*min_lr and max_lr",
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
            ({"rule": "best"}, ValueError, r"rule must be one of \['curve_alone', .*got 'best'"),
            ({"rule": 3}, TypeError, "rule must be one of .* or a callable, got 3"),
            ({"learning_rate": []}, TypeError, r"or a list of names, got \[\]"),
            ({"learning_rate": ["a", 3]}, TypeError, r"or a list of names, got \['a', 3\]"),
            ({"sweep_per": "optimizer"}, TypeError, r"sweep_per must be a list.*'optimizer'.*\[\] for one"),
            ({"sweep_per": [3]}, TypeError, r"sweep_per must be a list of hyperparameters' names.*\[3\]"),
            ({"batch_size_scaling": 1}, TypeError, "batch_size_scaling must be True or False, got 1"),
            ({"lease": 0}, ValueError, "lease must be a number of seconds above 0, got 0"),
            ({"lease": float("nan")}, ValueError, "lease must be .* got nan"),
            ({"lease": "long"}, ValueError, "lease must be .* got 'long'"),
        ],
    )
    def test_bad_arguments(self, arguments, error, message):
        with pytest.raises(error, match=message):
            lrtuner.LRRangeOracle(**arguments)


class TestChief:
    """A chief's server threads may not see the environment that tells who is the chief."""

    @pytest.fixture
    def chief(self, tmp_path, monkeypatch):
        with monkeypatch.context() as environment:
            environment.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
            environment.setenv("KERASTUNER_ORACLE_PORT", "1")
            environment.setenv("KERASTUNER_TUNER_ID", "chief")
            return choosing(tmp_path, random_search())

    def test_an_error_ends_the_search_for_all(self, chief, monkeypatch, capfd):
        monkeypatch.setattr(presence, "_FAREWELL", 0.0)
        chief.end_trial(kt.engine.trial.Trial(kt.HyperParameters(), trial_id="7", status="COMPLETED"))
        assert "The search ends with an error: KeyError: '7'" in capfd.readouterr().err
        assert chief.create_trial("worker0").status == "STOPPED"
        assert chief.ongoing_trials == {}
        with pytest.raises(RuntimeError, match="The search was ended by an error: KeyError: '7'"):
            chief.tuner_ids  # noqa: B018

    def test_all_sweeps_come_before_the_first_trial(self, chief):
        finish(chief, settings=SETTINGS)
        asked = [chief.create_trial(f"worker{number}") for number in range(3)]
        assert [is_sweep(trial.hyperparameters) for trial in asked] == [True, True, False]
        assert asked[2].status == "IDLE"


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
