import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import (
    RATE,
    Trains,
    X,
    Y,
    assert_narrowed,
    build_choice,
    build_model,
    compiled,
    declared_rate,
    is_swept,
    random_search,
    rates,
    search,
    tuner,
    warned,
)

import lrtuner

DROP_INS = {
    "RandomSearch": {"max_trials": 3, "seed": 7},
    "BayesianOptimization": {"max_trials": 4, "num_initial_points": 2, "seed": 7},
    "GridSearch": {},
    "Hyperband": {"max_epochs": 3, "seed": 7},
}


FILES = ["lr_range.json", "lr_sweeps.png", "oracle.json", "trial_0", "trial_1", "tuner0.json"]


def choices(hp):
    """Nine points, for a grid and for Bayesian search over a Choice."""
    return compiled(
        hp.Choice(RATE, [1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.2, 1.0, 10.0]), hp.Choice("units", [2, 4])
    )


def narrowed_declaration(tuner):
    """Return a hypermodel that declares by hand what the sweep left of the learning-rate space."""
    (left,) = [entry for entry in tuner.oracle.get_space().space if entry.name == RATE]
    hypermodel, declared = tuner.hypermodel.hypermodel, kt.HyperParameters()
    hypermodel.build(declared)

    def build(hp):
        for entry in declared.space:
            hp._retrieve(left if entry.name == RATE else entry)
        return hypermodel.build(hp)

    return Trains(build, hypermodel.train)


def scores(hp, model, *args, **kwargs):
    """Train in a sweep alone."""
    if is_swept(model):
        return model.fit(*args, **kwargs)
    return {"val_loss": abs(math.log10(hp.get(RATE)) + 1.5) + hp.get("units")}


def proposals(tuner):
    return {
        trial_id: (trial.hyperparameters.values, trial.score, trial.status)
        for trial_id, trial in tuner.oracle.trials.items()
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# One of them shows on every backend that the random state is given back.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.backend][: name == "RandomSearch"]) for name in DROP_INS]
)
def test_drop_ins_search_as_plain_tuners_do_in_the_narrowed_space(name, tmp_path):
    trains = name in ("RandomSearch", "Hyperband")
    hypermodel = Trains() if trains else Trains(choices, scores)
    arguments = {"objective": "val_loss", "directory": tmp_path, **DROP_INS[name]}

    ours = getattr(lrtuner, name)(hypermodel, project_name="ours", steps=60, **arguments)
    search(ours)
    assert_narrowed(ours)

    plain = getattr(kt, name)(narrowed_declaration(ours), project_name="plain", **arguments)
    search(plain)

    assert list(ours.oracle.trials) == list(plain.oracle.trials)
    # Scores too: initial weights and shuffles are what they are without a sweep.
    assert proposals(ours) == proposals(plain)
    assert ours.oracle.get_best_trials()[0].trial_id == plain.oracle.get_best_trials()[0].trial_id
    assert not trains or len(ours.get_best_models(2)) == 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search that is over, and its directory, which nobody writes into any more."""
    directory = tmp_path_factory.mktemp("finished")
    return search(tuner(directory)), directory


@pytest.mark.backend
class TestDoors:
    def test_stock_tuner_with_bare_hypermodel(self, tmp_path):
        with pytest.raises(ValueError, match=r"lrtuner\.Tuner.*LRRangeHyperModel\(build_model\)"):
            kt.Tuner(lrtuner.LRRangeOracle(random_search()), build_model, directory=tmp_path)

    @pytest.mark.filterwarnings("ignore:The use case of calling `self.oracle.update_trial:DeprecationWarning")
    def test_own_run_trial_may_report_by_itself(self, tmp_path):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial, x, y, **arguments):
                model = self.hypermodel.build(trial.hyperparameters)
                history = self.hypermodel.fit(trial.hyperparameters, model, x, y, **arguments)
                self.oracle.update_trial(trial.trial_id, {"val_loss": min(history.history["val_loss"])})

        own = OwnTuner(random_search(), build_model, directory=tmp_path, steps=60)
        assert_narrowed(search(own))
        assert own.oracle.get_best_trials()[0].score is not None

    def test_own_run_trial_may_declare_the_rate(self, tmp_path):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial, x, y, **_):
                model = self.hypermodel.build(trial.hyperparameters)
                model.optimizer.learning_rate = declared_rate(trial.hyperparameters)
                return {"val_loss": model.train_on_batch(x, y, return_dict=True)["loss"]}

        own = OwnTuner(random_search(), lambda hp: compiled(1e-3, hp.Int("units", 2, 8)), directory=tmp_path)
        with warned("found no range.*without a call of model.fit"):
            search(own)
        assert rates(own)[1] != rates(own)[0]

    def test_without_hypermodel_there_is_no_sweep(self, tmp_path):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial):
                return (trial.hyperparameters.Float("x", -1.0, 1.0) - 0.5) ** 2

        with warned("No learning-rate sweep: the tuner has no hypermodel"):
            own = OwnTuner(lrtuner.LRRangeOracle(max_trials=3), directory=tmp_path)
        own.search()
        assert len(own.oracle.trials) == 3
        assert own.oracle.sweeps == []
        with pytest.raises(RuntimeError, match="No sweep has finished yet"):
            own.oracle.plot_sweeps()


class TestDeclarations:
    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["units"], r"No hyperparameter is named like a learning rate.*'units'"),
            (
                ["encoder_lr", "decoder_lr"],
                r"Several.*'encoder_lr', 'decoder_lr'.*learning_rate='encoder_lr'",
            ),
        ],
    )
    def test_none_or_several_are_listed_at_construction(self, tmp_path, names, message):
        def build(hp):
            return compiled(sum(hp.Float(name, 1e-3, 1.0) for name in names))

        with pytest.raises(ValueError, match=message):
            tuner(tmp_path, build)

    def test_a_name_that_the_first_build_does_not_declare_is_no_error_at_construction(self, tmp_path):
        named = tuner(tmp_path, sweep={"learning_rate": "rate"})
        assert named.oracle.create_trial("tuner0").trial_id == "lr_sweep_0"

    def test_fixed_in_advance(self, tmp_path):
        hyperparameters = kt.HyperParameters()
        hyperparameters.Fixed(RATE, 1e-3)
        fixed = tuner(tmp_path, oracle=random_search(hyperparameters=hyperparameters))
        with warned("No learning-rate sweep: 'learning_rate' is fixed at 0.001"):
            search(fixed)
        assert rates(fixed) == [1e-3, 1e-3]
        assert fixed.oracle.sweeps == []

    def test_conditional(self, tmp_path):
        def build(hp):
            kind, rate = hp.Choice("kind", ["fixed", "searched"]), 0.01
            with hp.conditional_scope("kind", ["searched"]):
                if kind == "searched":
                    rate = declared_rate(hp)
            return compiled(rate)

        narrowed = search(tuner(tmp_path, build, oracle=random_search(max_trials=5)))
        lr_range = narrowed.oracle.lr_range
        found = [trial.hyperparameters.values.get(RATE) for trial in narrowed.oracle.trials.values()]
        assert None in found
        assert any(found)
        assert all(rate is None or lr_range.min_lr <= rate <= lr_range.max_lr for rate in found)

    def test_search_space_summary_is_narrowed(self, finished, capsys):
        narrowed, _ = finished
        capsys.readouterr()
        narrowed.search_space_summary()
        assert repr(narrowed.oracle.get_space().space[1].min_value) in capsys.readouterr().out
        assert narrowed.oracle.get_space().space[1].min_value == narrowed.oracle.lr_range.min_lr


class TestOptions:
    @pytest.mark.parametrize("kind", [lrtuner.Tuner, kt.Tuner])
    def test_executions_per_trial_sweep_once(self, tmp_path, kind):
        trained = []

        def train(_, model, *args, **arguments):
            trained.append("sweep" if is_swept(model) else "trial")
            return model.fit(*args, **arguments)

        once, twice = {"oracle": random_search(1)}, {"executions_per_trial": 2}
        assert_narrowed(search(tuner(tmp_path, Trains(train=train), kind, **once, **twice)))
        # KerasTuner's own tuner runs the user's code as often as in a trial, and sweeps once.
        assert trained == ["sweep"] * (1 if kind is lrtuner.Tuner else 2) + ["trial"] * 2

    def test_multi_objective(self, tmp_path):
        objective = [kt.Objective("val_loss", "min"), kt.Objective("val_mae", "min")]
        assert_narrowed(
            search(tuner(tmp_path, oracle=kt.oracles.RandomSearchOracle(objective, max_trials=2, seed=1)))
        )

    @pytest.mark.parametrize(("kind", "in_fit"), [(lrtuner.Tuner, True), (kt.Tuner, False)])
    def test_unspecified_objective(self, tmp_path, kind, in_fit):
        """KerasTuner wants one number from the user's code, which may leave it out in a sweep."""

        def train(hp, model, *args, **arguments):
            history = model.fit(*args, **arguments)
            return min(history.history["val_loss"]) if in_fit and not lrtuner.is_sweep(hp) else history

        class OwnTuner(kind):
            def run_trial(self, trial, *args, **arguments):
                if in_fit:
                    return super().run_trial(trial, *args, **arguments)
                model = self.hypermodel.build(trial.hyperparameters)
                history = self.hypermodel.fit(trial.hyperparameters, model, *args, **arguments)
                return min(history.history["val_loss"])

        oracle = kt.oracles.RandomSearchOracle(max_trials=2)
        assert_narrowed(search(tuner(tmp_path, Trains(train=train), OwnTuner, oracle=oracle)))

    def test_overrides_of_compile_arguments(self, tmp_path):
        def build(hp):
            model = build_model(hp)
            # A loss that no model has: it has to be overridden.
            model.compile(model.optimizer, loss=lambda _, y_pred: y_pred.missing)
            return model

        assert_narrowed(search(tuner(tmp_path, build, loss="mse", metrics=["mae"])))

    def test_an_overriding_optimizer_does_not_train_at_the_declared_rate(self, tmp_path):
        with warned(r"built for a learning rate of .* but trains at 0.001"):
            overridden = search(tuner(tmp_path, optimizer="adam"))
        assert overridden.oracle.lr_range is None
        assert "leave the rate to build" in overridden.oracle.sweeps[0].reason
        assert len(overridden.oracle.trials) == 2

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a feature of TensorFlow alone")
    def test_distribution_strategy(self, tmp_path):
        # In a process of its own: TensorFlow's iterators over replicas may crash one that has run for long.
        program = (
            "import keras_tuner as kt, tensorflow as tf; from searches import *\n"
            "strategy = tf.distribute.MirroredStrategy(['/cpu:0'])\n"
            f"narrowed = tuner({str(tmp_path)!r}, kind=kt.Tuner, distribution_strategy=strategy)\n"
            "assert_narrowed(search(narrowed))"
        )
        subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)

    def test_overwrite_begins_afresh(self, finished, tmp_path):
        shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
        again = tuner(tmp_path, overwrite=True)
        assert again.oracle.lr_range is None
        assert again.oracle.trials == {}
        assert again.oracle.create_trial("tuner0").trial_id == "lr_sweep_0"

    @pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="KerasTuner serves TensorBoard there alone"
    )
    def test_callbacks_see_nothing_of_the_sweep(self, tmp_path):
        seen = []

        class Recorder(keras.callbacks.Callback):
            def __deepcopy__(self, memo):
                return type(self)()

            def on_train_begin(self, logs=None):  # noqa: ARG002
                seen.append("train")

        board = keras.callbacks.TensorBoard(tmp_path / "logs")
        search(tuner(tmp_path), callbacks=[Recorder(), board])
        assert seen == ["train", "train"]
        # The sweep is written by lrtuner, as a run of its own.
        assert sorted(os.listdir(tmp_path / "logs")) == ["0", "1", "lr_sweep"]

    def test_no_checkpoint_and_no_directory_of_the_sweep(self, finished):
        assert sorted(os.listdir(finished[1] / "project")) == FILES

    def test_best_hyperparameters_rebuild_with_stock_keras_tuner(self, finished):
        narrowed, _ = finished
        best = narrowed.get_best_hyperparameters()[0]
        assert set(best.values) == {"units", RATE}
        model = kt.HyperParameters.from_config(json.loads(json.dumps(best.get_config())))
        assert build_model(model).optimizer.learning_rate == np.float32(best[RATE])
        assert set(narrowed.oracle.sweeps[0].hyperparameters.values) == {"units", RATE}

    def test_verbose_0_prints_nothing_and_logs_the_sweep(self, tmp_path, capfd, caplog):
        with caplog.at_level("INFO", logger="lrtuner"):
            narrowed = search(tuner(tmp_path, oracle=random_search(1)))
        assert capfd.readouterr().out == ""
        (record,) = [one for one in caplog.records if one.name == "lrtuner"]
        assert record.levelname == "INFO"
        lr_range = narrowed.oracle.lr_range
        assert f"narrowed to {lr_range.min_lr:.3g} to {lr_range.max_lr:.3g}" in record.getMessage()


class TestFailures:
    def test_bayesian_search_does_not_die_of_one_rate_that_fails(self, tmp_path):
        """KerasTuner's process would propose that rate again, and three failures in a row end a search."""

        def fails_at_the_top(hp, model, *arguments, **keywords):
            if is_swept(model):
                return model.fit(*arguments, **keywords)
            if hp.get(RATE) > 0.5:
                raise kt.errors.FailedTrialError("the loss is NaN")
            return -math.log(hp.get(RATE))

        bayesian = lrtuner.BayesianOptimization(
            Trains(lambda hp: compiled(declared_rate(hp)), fails_at_the_top),
            max_trials=9,
            num_initial_points=4,
            seed=3,
            steps=60,
            rule=lambda _: (1e-3, 1.0),
            directory=tmp_path,
        )
        search(bayesian)
        trials = list(bayesian.oracle.trials.values())
        assert len(trials) == 9
        assert sum(trial.status == "FAILED" for trial in trials) >= 1

    def failing(self, first_runs):
        """Return a hypermodel whose first runs of `fit` raise."""
        runs = []

        def train(hp, model, *args, **kwargs):
            runs.append(hp.values)
            if len(runs) <= first_runs:
                raise OSError("the disk is gone")
            return model.fit(*args, **kwargs)

        return Trains(train=train)

    def test_a_sweep_that_raises(self, tmp_path):
        oracle = random_search(max_consecutive_failed_trials=1)
        with warned("stays as it is: OSError: the disk is gone"):
            wide = search(tuner(tmp_path, self.failing(2), oracle=oracle))
        assert wide.oracle.sweeps[0].reason == "OSError: the disk is gone"
        assert wide.oracle.sweeps[0].curve is None
        assert wide.oracle.get_space().space[1].min_value == 1e-6
        assert [trial.status for trial in wide.oracle.trials.values()] == ["COMPLETED"] * 2

    def test_a_sweep_that_raises_once_is_run_once_more(self, tmp_path, capsys):
        assert_narrowed(search(tuner(tmp_path, self.failing(1), oracle=random_search(1)), verbose=1))
        out = capsys.readouterr().out
        assert "failed and is run again: OSError: the disk is gone" in out
        assert "lr_sweeps.png" in out

    def test_no_range(self, tmp_path, caplog):
        wide = tuner(tmp_path, oracle=kt.oracles.RandomSearchOracle("loss", max_trials=1, seed=1))
        caplog.set_level("INFO", logger="lrtuner")
        with warned("found no range, so the declared space stays as it is"):
            wide.search(X, np.full_like(Y, np.nan), verbose=0)
        (sweep,) = wide.oracle.sweeps
        (record,) = [one for one in caplog.records if one.name == "lrtuner"]
        assert sweep.reason.rstrip(".") in record.getMessage()
        assert record.getMessage().endswith(". Picture: " + str(tmp_path / "project" / "lr_sweeps.png"))
        assert "y holds NaN or infinite values in 128" in sweep.reason
        assert sweep.curve is not None
        assert wide.oracle.lr_range is None
        assert wide.oracle.get_space().space[1].max_value == 10.0
        assert wide.oracle.plot_sweeps() is not None


class TestArguments:
    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda wrap: wrap(3), ValueError, "function that takes hyperparameters.*got 3"),
            (lambda wrap: wrap(wrap(build_model)), TypeError, "wrap it once"),
            (lambda _: lrtuner.Tuner(None, build_model), ValueError, "Expected `oracle` argument .*None"),
            (lambda _: lrtuner.Tuner("random", build_model), ValueError, "`oracle` argument .*random"),
            (
                lambda _: lrtuner.Tuner(lrtuner.LRRangeOracle(max_trials=1), build_model, steps=50),
                TypeError,
                r"Give \['steps'\] to the LRRangeOracle",
            ),
            (lambda _: lrtuner.Tuner(random_search()), ValueError, "hypermodel=None"),
            (
                lambda _: lrtuner.RandomSearch(build_model, min_lr=1, max_lr=0.1),
                ValueError,
                "min_lr must be below .*swapped",
            ),
            (
                lambda _: lrtuner.RandomSearch(build_model, depth=3),
                ValueError,
                "depth.*options are: learning_",
            ),
            (lambda _: lrtuner.RandomSearch(build_model, objective=3), TypeError, "objective.*3"),
            (
                lambda _: lrtuner.RandomSearch(3),
                ValueError,
                "`hypermodel` argument should.*got 3 of type int",
            ),
            (
                lambda _: lrtuner.Tuner(random_search(), lambda _: None),
                ValueError,
                r"No hyperparameters are registered at all.*hp\.Float",
            ),
        ],
    )
    def test_bad_arguments(self, make, error, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=message):
            make(lrtuner.LRRangeHyperModel)

    def test_directory_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=r"can't be written.*pass another `directory`"):
            tuner(tmp_path / "file")


def test_hypermodel_is_transparent():
    class Own(kt.HyperModel):
        depth = 3

        def build(self, hp):
            return build_model(hp)

        def __init__(self, **arguments):
            # As many do, without a call of the base where there is nothing to tell it.
            if arguments:
                super().__init__(**arguments)

    assert lrtuner.LRRangeHyperModel(Own()).name is None
    wrapped = lrtuner.LRRangeHyperModel(Own(name="mine"))
    assert wrapped.depth == 3
    assert wrapped.name == "mine"
    assert isinstance(wrapped.hypermodel, Own)


@pytest.mark.backend
class TestRelations:
    """Hyperparameters that are not the optimizer's rate themselves."""

    def test_narrowed_through_the_rate(self, tmp_path):
        def build(hp):
            exponents = [6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0, -1.0]
            return compiled(rate(hp.Choice("minus_log_lr", exponents)))

        def rate(value):
            return 10**-value

        done = search(tuner(tmp_path, build, oracle=random_search(1)))
        lr_range, sweep = done.oracle.lr_range, done.oracle.sweeps[0]
        assert sweep.declared == pytest.approx((1e-6, 10.0))
        for trial in done.oracle.trials.values():
            (value,) = trial.hyperparameters.values.values()
            assert lr_range.min_lr * 0.99 <= rate(value) <= lr_range.max_lr * 1.01
        assert done.oracle.plot_sweeps() is not None
        again = tuner(tmp_path, build)
        assert again.oracle.sweeps[0].relation == sweep.relation

    def test_schedules_are_swept_at_plain_rates(self, tmp_path):
        def build(hp):
            rate = declared_rate(hp)
            return compiled(
                keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=rate, warmup_steps=10)
            )

        assert_narrowed(search(tuner(tmp_path, build, oracle=random_search(1))))


class TestAdvice:
    """A search whose best trials lie at an edge of the range says so."""

    def test_best_trials_at_an_edge(self, tmp_path, capsys):
        def train(hp, model, *arguments, **keywords):
            if is_swept(model):
                model.fit(*arguments, **keywords)
            return {"val_loss": -float(np.log(hp.get(RATE)))}

        done = search(tuner(tmp_path, Trains(train=train), oracle=random_search(max_trials=20)), verbose=1)
        out = capsys.readouterr().out
        assert "The best trials lie at the upper edge of the learning rates searched" in out
        better = done.oracle.results().advice(done.oracle.sweeps[0]).better
        assert capsys.readouterr().out == ""
        assert better.max_lr > done.oracle.lr_range.max_lr


class TestSettings:
    """What the tests of the oracle play, for real."""

    def test_an_optimizer_to_choose_and_a_batch_size(self, tmp_path, capsys):
        def build(hp):
            return build_choice(hp, ["sgd", "adam"])

        def train(hp, model, *args, **kwargs):
            size = hp.Choice("batch_size", [8, 16])
            return model.fit(*args, **{**kwargs, "batch_size": size})

        sweep, oracle = {"rule": "curve_alone"}, random_search(5)
        search_of = tuner(tmp_path, Trains(build, train), oracle=oracle, sweep=sweep)
        search(search_of, verbose=2, epochs=2)
        oracle = search_of.oracle
        assert {sweep.setting["optimizer"] for sweep in oracle.sweeps} == {"sgd", "adam"}
        out = capsys.readouterr().out
        for number, sweep in enumerate(oracle.sweeps, 1):
            name = sweep.setting["optimizer"]
            # No less than 100 batches each, and here no more: a trial has 24 or 32.
            assert f"Learning-rate sweep {number} of 2 (optimizer={name}) of at most 100 batches" in out
            low, high = sweep.narrowed
            line = f"{len(sweep.curve)} batches for optimizer={name}: learning_rate declared as 1e-06 to 10, "
            assert f"{line}narrowed to {low:.3g} to {high:.3g}" in out
            assert sweep.hyperparameters.values["units"] == 2
        for trial in oracle.trials.values():
            values = trial.hyperparameters.values
            (sweep,) = [one for one in oracle.sweeps if one.setting["optimizer"] == values["optimizer"]]
            factor = (values["batch_size"] / sweep.batch_size) ** 0.5
            assert sweep.lr_range.min_lr * factor <= values[RATE] * (1 + 1e-9)
            assert values[RATE] <= sweep.lr_range.max_lr * factor * (1 + 1e-9)


class TestHooks:
    def test_hooks_see_the_search_s_own_trials_alone(self, tmp_path, capfd):
        seen, values = [], []

        class Own(lrtuner.RandomSearch):
            def on_trial_begin(self, trial):
                seen.append(trial.trial_id)
                super().on_trial_begin(trial)

            def run_trial(self, trial, *args, **kwargs):
                values.append(sorted(trial.hyperparameters.values))
                return super().run_trial(trial, *args, **kwargs)

            def on_trial_end(self, trial):
                super().on_trial_end(trial)
                seen.append(f"{trial.score:.4f}")

        def train(hp, model, *args, **kwargs):
            hp.Boolean("late")
            return model.fit(*args, **kwargs)

        own = Own(Trains(train=train), "val_loss", max_trials=2, seed=7, directory=tmp_path, steps=60)
        assert_narrowed(search(own))
        assert seen[::2] == ["0", "1"]
        assert values[0] == [RATE, "units"]
        assert values[1:] == [sorted([RATE, "units", "late"])] * 2
        assert "late" in own.oracle.sweeps[0].hyperparameters.values
        assert "Traceback" not in capfd.readouterr().err


class TestFewValues:
    @pytest.mark.parametrize("kind", ["RandomSearch", "Hyperband"])
    def test_what_narrowing_leaves_is_too_little_for_the_search(self, tmp_path, capsys, kind):
        def build(hp):
            return compiled(hp.Choice(RATE, [1e-6, 1e-5, 1e-4, 3.0]))

        arguments = {"RandomSearch": {"max_trials": 3}, "Hyperband": {"max_epochs": 4}}[kind]
        few = getattr(lrtuner, kind)(build, "val_loss", directory=tmp_path, steps=60, **arguments)
        hyperband = warned("holds 1 combination of values, and Hyperband begins with 5: the search will stop")
        with hyperband if kind == "Hyperband" else warned("nearest one is kept"):
            search(few, verbose=2)
        assert len(few.oracle.trials) == 1
        out = capsys.readouterr().out
        words = "holds 1 combination of values, so the search ends after 1 of 3 trials"
        assert (words in out) == (kind == "RandomSearch")
        assert "Picture" in out
