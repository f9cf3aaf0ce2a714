import json
import math
import os
import warnings

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import (
    FIT,
    RATE,
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
from lrtuner.callbacks import check_rate_is_kept
from lrtuner.search.protocol import FATAL_KEY
from lrtuner.search.worker import ChiefsOracle

DROP_INS = {
    "RandomSearch": {"max_trials": 3, "seed": 7},
    "BayesianOptimization": {"max_trials": 4, "num_initial_points": 2, "seed": 7},
    "GridSearch": {},
    "Hyperband": {"max_epochs": 3, "seed": 7},
}


def choices(hp):
    """Nine points, for a grid and for Bayesian search over a Choice."""
    return compiled(
        hp.Choice(RATE, [1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.2, 1.0, 10.0]), hp.Choice("units", [2, 4])
    )


def narrowed_declaration(tuner):
    """Return a hypermodel that declares by hand what the sweep left of the learning-rate space."""
    (left,) = [entry for entry in tuner.oracle.get_space().space if entry.name == RATE]
    hypermodel = tuner.hypermodel.hypermodel
    declared = kt.HyperParameters()
    hypermodel.build(declared)

    class Narrowed(kt.HyperModel):
        def build(self, hp):
            for entry in declared.space:
                hp._retrieve(left if entry.name == RATE else entry)
            return hypermodel.build(hp)

    return Narrowed()


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
    hypermodel = build_model if name in ("RandomSearch", "Hyperband") else choices
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
    assert len(ours.get_best_models(2)) == 2
    if name == "GridSearch":
        left = next(entry for entry in ours.oracle.get_space().space if entry.name == RATE)
        grid = {(rate, units) for rate in left.values for units in (2, 4)}
        tried = [
            tuple(t.hyperparameters.values[k] for k in (RATE, "units")) for t in ours.oracle.trials.values()
        ]
        assert sorted(tried) == sorted(grid)
    if name == "Hyperband":
        promoted = [t for t in ours.oracle.trials.values() if "tuner/trial_id" in t.hyperparameters.values]
        assert promoted
        for trial in promoted:
            origin = ours.oracle.trials[trial.hyperparameters.values["tuner/trial_id"]]
            assert trial.hyperparameters.values[RATE] == origin.hyperparameters.values[RATE]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search that is over, and its directory, which nobody writes into any more."""
    directory = tmp_path_factory.mktemp("finished")
    return search(tuner(directory)), directory


@pytest.mark.backend
class TestDoors:
    def test_oracle_in_our_tuner(self, finished):
        assert_narrowed(finished[0])

    def test_stock_oracle_in_our_tuner_is_wrapped(self, tmp_path):
        ours = lrtuner.Tuner(random_search(), build_model, directory=tmp_path, steps=60)
        assert_narrowed(search(ours))

    def test_stock_tuner_with_wrapped_hypermodel(self, tmp_path):
        oracle = lrtuner.LRRangeOracle(objective="val_loss", max_trials=2, seed=0, steps=60)
        stock = kt.Tuner(oracle, lrtuner.LRRangeHyperModel(build_model), directory=tmp_path)
        assert_narrowed(search(stock))
        assert sorted(os.listdir(tmp_path / "untitled_project")) == sorted(
            ["lr_range.json", "lr_sweeps.png", "oracle.json", "trial_0", "trial_1", "tuner0.json"]
        )

    def test_stock_tuner_with_bare_hypermodel(self, tmp_path):
        with pytest.raises(ValueError, match=r"lrtuner\.Tuner.*LRRangeHyperModel\(build_model\)"):
            kt.Tuner(lrtuner.LRRangeOracle(random_search()), build_model, directory=tmp_path)

    def test_any_tuner_that_calls_fit(self, tmp_path):
        class OwnTuner(kt.Tuner):
            def run_trial(self, trial, x, y, **arguments):
                model = self.hypermodel.build(trial.hyperparameters)
                history = self.hypermodel.fit(trial.hyperparameters, model, x, y, **arguments)
                return min(history.history["val_loss"])

        oracle = lrtuner.LRRangeOracle(random_search(), steps=60)
        own = OwnTuner(oracle, lrtuner.LRRangeHyperModel(build_model), directory=tmp_path)
        assert_narrowed(search(own))

    @pytest.mark.parametrize("through_super", [False, True])
    def test_own_subclass(self, tmp_path, through_super):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial, x, y, **arguments):
                if through_super:
                    return super().run_trial(trial, x, y, **arguments)
                model = self.hypermodel.build(trial.hyperparameters)
                return self.hypermodel.fit(trial.hyperparameters, model, x, y, **arguments)

        own = OwnTuner(lrtuner.LRRangeOracle(random_search(), steps=60), build_model, directory=tmp_path)
        assert_narrowed(search(own))

    @pytest.mark.filterwarnings("ignore:The use case of calling `self.oracle.update_trial:DeprecationWarning")
    def test_own_run_trial_may_report_by_itself(self, tmp_path):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial, x, y, **arguments):
                model = self.hypermodel.build(trial.hyperparameters)
                history = self.hypermodel.fit(trial.hyperparameters, model, x, y, **arguments)
                self.oracle.update_trial(trial.trial_id, {"val_loss": min(history.history["val_loss"])})

        own = OwnTuner(lrtuner.LRRangeOracle(random_search(), steps=60), build_model, directory=tmp_path)
        assert_narrowed(search(own))
        assert own.oracle.get_best_trials()[0].score is not None

    def test_own_run_trial_may_declare_the_rate(self, tmp_path):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial, x, y, **_):
                model = self.hypermodel.build(trial.hyperparameters)
                model.optimizer.learning_rate = declared_rate(trial.hyperparameters)
                return {"val_loss": model.train_on_batch(x, y, return_dict=True)["loss"]}

        own = OwnTuner(random_search(), lambda hp: compiled(1e-3, hp.Int("units", 2, 8)), directory=tmp_path)
        with warned("found no range.*without training through HyperModel.fit"):
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

    def test_named_by_the_user(self, tmp_path):
        def build(hp):
            hp.Float("decoder_lr", 1e-6, 1.0, sampling="log")
            return compiled(hp.Float("encoder_lr", 1e-6, 10.0, sampling="log"))

        named = search(tuner(tmp_path, build, sweep={"learning_rate": "encoder_lr", "steps": 60}))
        lr_range = named.oracle.lr_range
        for trial in named.oracle.trials.values():
            assert lr_range.min_lr <= trial.hyperparameters.values["encoder_lr"] <= lr_range.max_lr

    def test_unknown_name(self, tmp_path):
        with pytest.raises(ValueError, match=r"no hyperparameter named 'rate'.*'units', 'learning_rate'"):
            tuner(tmp_path, sweep={"learning_rate": "rate"})
        # A stock tuner's hypermodel says so before it trains anything.
        oracle = lrtuner.LRRangeOracle(random_search(), learning_rate="rate")
        stock = kt.Tuner(oracle, lrtuner.LRRangeHyperModel(build_model), directory=tmp_path)
        with pytest.raises(kt.errors.FatalValueError, match=r"named 'rate'.*'units', 'learning_rate'"):
            search(stock)

    def test_fixed_in_advance(self, tmp_path):
        hyperparameters = kt.HyperParameters()
        hyperparameters.Fixed(RATE, 1e-3)
        fixed = tuner(tmp_path, oracle=random_search(hyperparameters=hyperparameters))
        with warned("No learning-rate sweep: 'learning_rate' is fixed at 0.001"):
            search(fixed)
        assert rates(fixed) == [1e-3, 1e-3]
        assert fixed.oracle.sweeps == []

    @pytest.mark.parametrize("switch", [{}, {"tune_new_entries": False}, {"allow_new_entries": False}])
    def test_given_in_advance(self, tmp_path, switch):
        given = kt.HyperParameters()
        declared_rate(given)
        given.Int("units", 2, 8)
        oracle = random_search(1, hyperparameters=given, **switch)
        assert_narrowed(search(tuner(tmp_path, oracle=oracle)))

    @pytest.mark.parametrize("conditional_first", [False, True])
    def test_conditional(self, tmp_path, conditional_first):
        def build(hp):
            kind = hp.Choice("kind", ["searched", "fixed"] if conditional_first else ["fixed", "searched"])
            rate = 0.01
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

    def test_declared_in_fit_beside_batch_size_and_epochs(self, tmp_path):
        class InFit(kt.HyperModel):
            def build(self, hp):
                return compiled(0.01, hp.Int("units", 2, 8))

            def fit(self, hp, model, x, y, **arguments):
                model.optimizer.learning_rate = declared_rate(hp)
                arguments.update(batch_size=hp.Choice("batch_size", [8, 16]), epochs=hp.Int("epochs", 1, 2))
                return model.fit(x, y, **arguments)

        assert_narrowed(search(tuner(tmp_path, InFit())))

    def test_search_space_summary_is_narrowed(self, finished, capsys):
        narrowed, _ = finished
        capsys.readouterr()
        narrowed.search_space_summary()
        assert repr(narrowed.oracle.get_space().space[1].min_value) in capsys.readouterr().out
        assert narrowed.oracle.get_space().space[1].min_value == narrowed.oracle.lr_range.min_lr


class TestOptions:
    def test_executions_per_trial_sweep_once(self, tmp_path):
        trained = []

        class Noted(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, _, model, *args, **arguments):
                trained.append("sweep" if is_swept(model) else "trial")
                return model.fit(*args, **arguments)

        assert_narrowed(search(tuner(tmp_path, Noted(), oracle=random_search(1), executions_per_trial=2)))
        assert trained == ["sweep", "trial", "trial"]

    def test_multi_objective(self, tmp_path):
        objective = [kt.Objective("val_loss", "min"), kt.Objective("val_mae", "min")]
        assert_narrowed(
            search(tuner(tmp_path, oracle=kt.oracles.RandomSearchOracle(objective, max_trials=2, seed=1)))
        )

    @pytest.mark.parametrize("in_fit", [False, True])
    def test_unspecified_objective(self, tmp_path, in_fit):
        class Own(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, _, model, *args, **arguments):
                history = model.fit(*args, **arguments)
                return min(history.history["val_loss"]) if in_fit else history

        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial, *args, **arguments):
                model = self.hypermodel.build(trial.hyperparameters)
                history = self.hypermodel.fit(trial.hyperparameters, model, *args, **arguments)
                return min(history.history["val_loss"])

        kind = lrtuner.Tuner if in_fit else OwnTuner
        own = kind(lrtuner.LRRangeOracle(max_trials=2, steps=60), Own(), directory=tmp_path)
        assert_narrowed(search(own))

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

    def test_an_overriding_optimizer_s_default_among_the_values_is_no_coincidence(self, tmp_path):
        given = kt.HyperParameters()
        given.Choice(RATE, [1e-2, 1e-3, 1e-4])
        oracle = random_search(hyperparameters=given)
        with warned("built for a learning rate of 0.0001 but trains at 0.001"):
            search(tuner(tmp_path, oracle=oracle, optimizer="adam"))

    def test_distribution_strategy(self, tmp_path):
        import tensorflow

        strategy = tensorflow.distribute.MirroredStrategy(["/cpu:0"])
        assert_narrowed(search(tuner(tmp_path, distribution_strategy=strategy)))

    def test_overwrite_begins_afresh(self, tmp_path, capsys):
        search(tuner(tmp_path), verbose=1)
        again = tuner(tmp_path, overwrite=True)
        assert again.oracle.lr_range is None
        assert again.oracle.trials == {}
        capsys.readouterr()
        assert_narrowed(search(again, verbose=1))
        assert "Learning-rate sweep of" in capsys.readouterr().out

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
        assert sorted(os.listdir(finished[1] / "project")) == sorted(
            ["lr_range.json", "lr_sweeps.png", "oracle.json", "trial_0", "trial_1", "tuner0.json"]
        )

    def test_best_hyperparameters_rebuild_with_stock_keras_tuner(self, finished):
        narrowed, _ = finished
        best = narrowed.get_best_hyperparameters()[0]
        assert set(best.values) == {"units", RATE}
        model = kt.HyperParameters.from_config(json.loads(json.dumps(best.get_config())))
        assert build_model(model).optimizer.learning_rate == np.float32(best[RATE])
        assert set(narrowed.oracle.sweeps[0].hyperparameters.values) == {"units", RATE}

    def test_lines_before_a_large_model_is_swept(self, tmp_path, capsys):
        def build_large(hp):
            layers = [keras.layers.Dense(2) for _ in range(14)]
            model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(declared_rate(hp)), "mse")
            return model

        search(tuner(tmp_path, build_large, oracle=random_search(1)), verbose=1)
        out = capsys.readouterr().out
        built, compiled_once = out.find("models are built to see"), out.find("once the model is compiled")
        assert 0 <= built < compiled_once < out.find("narrowed to")

    def test_one_line_when_the_sweep_ends(self, tmp_path, capsys):
        narrowed = search(tuner(tmp_path, oracle=random_search(1)), verbose=1)
        out = capsys.readouterr().out
        assert "models are built" not in out
        (line,) = [line for line in out.splitlines() if "narrowed" in line]
        lr_range = narrowed.oracle.lr_range
        for part in (RATE, "1e-06 to 10", f"{lr_range.min_lr:.3g} to {lr_range.max_lr:.3g}", "lr_sweeps.png"):
            assert part in line
        assert f"{len(narrowed.oracle.sweeps[0].curve)} batches" in line

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

        class FailsAtTheTop(kt.HyperModel):
            def build(self, hp):
                return compiled(declared_rate(hp))

            def fit(self, hp, model, *arguments, **keywords):
                if is_swept(model):
                    return model.fit(*arguments, **keywords)
                if hp.get(RATE) > 0.5:
                    raise kt.errors.FailedTrialError("the loss is NaN")
                return -math.log(hp.get(RATE))

        bayesian = lrtuner.BayesianOptimization(
            FailsAtTheTop(),
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

        class Failing(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, hp, model, *args, **kwargs):
                runs.append(hp.values)
                if len(runs) <= first_runs:
                    raise OSError("the disk is gone")
                return model.fit(*args, **kwargs)

        return Failing()

    def test_a_sweep_that_raises(self, tmp_path):
        oracle = random_search(max_consecutive_failed_trials=1)
        with warned("declared space: OSError: the disk is gone"):
            wide = search(tuner(tmp_path, self.failing(2), oracle=oracle))
        assert wide.oracle.sweeps[0].reason == "OSError: the disk is gone"
        assert wide.oracle.sweeps[0].curve is None
        assert wide.oracle.get_space().space[1].min_value == 1e-6
        assert [trial.status for trial in wide.oracle.trials.values()] == ["COMPLETED"] * 2

    def test_a_build_that_refuses_the_middle_of_the_space(self, tmp_path):
        def build(hp):
            units = hp.Int("units", 2, 8)
            kind = hp.Choice("optimizer", ["adam", "sgd"])
            if units > 3:
                raise ValueError(f"{units} units are too many")
            model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(units)])
            model.compile(
                {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[kind](declared_rate(hp)), "mse"
            )
            return model

        oracle = random_search(8, max_consecutive_failed_trials=9)
        with warned("ValueError: 5 units are too many.*other hyperparameters .* at their defaults"):
            done = search(tuner(tmp_path, build, oracle=oracle))
        assert {sweep.hyperparameters.values["optimizer"] for sweep in done.oracle.sweeps} == {"sgd", "adam"}
        for sweep in done.oracle.sweeps:
            assert sweep.hyperparameters.values["units"] == 2
            assert sweep.curve is not None

    def test_a_worker_hears_in_its_sweep_that_the_search_has_ended(self, tmp_path):
        worker = tuner(tmp_path)
        trial = worker.oracle.create_trial(worker.tuner_id)
        worker.oracle = ChiefsOracle(worker.oracle, worker.tuner_id)
        news = kt.engine.trial.Trial(kt.HyperParameters())
        news.hyperparameters.values[FATAL_KEY] = "the disk is full"
        worker.oracle._take_news(news)
        with pytest.raises(kt.errors.FatalRuntimeError, match="the disk is full") as caught:
            worker.run_trial(trial, X, Y, verbose=0)
        # Not before it began.
        assert "on_train_batch_end" in [entry.name for entry in caught.traceback]

    def test_generators_serve_the_sweep_of_each_setting(self, tmp_path):
        def endless():
            while True:
                yield X[:8], Y[:8]

        done = tuner(tmp_path, build_choice, oracle=random_search(4), sweep={"steps": 30})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done.search(
                endless(), steps_per_epoch=4, epochs=1, validation_data=(X, Y), callbacks=[], verbose=0
            )
        assert len(done.oracle.sweeps) > 1
        assert all(sweep.curve is not None for sweep in done.oracle.sweeps), done.oracle.sweeps

    def test_retries(self, tmp_path, capsys):
        oracle = random_search(1, max_retries_per_trial=1)
        assert_narrowed(search(tuner(tmp_path, self.failing(1), oracle=oracle), verbose=1))
        assert "failed and is run again: OSError: the disk is gone" in capsys.readouterr().out

    def test_retries_run_out(self, tmp_path):
        oracle = random_search(max_retries_per_trial=1)
        with warned("the disk is gone"):
            wide = search(tuner(tmp_path, self.failing(3), oracle=oracle))
        assert len(wide.oracle.sweeps) == 1
        assert [trial.status for trial in wide.oracle.trials.values()] == ["COMPLETED"] * 2

    @pytest.mark.parametrize(
        ("targets", "reason"),
        [(np.full_like(Y, np.nan), "y holds NaN or infinite values in 128"), (np.zeros_like(Y), "every")],
    )
    def test_no_range(self, tmp_path, caplog, targets, reason):
        def build(hp):
            model = keras.Sequential(
                [keras.layers.Input((6,)), keras.layers.Dense(1, kernel_initializer="zeros")]
            )
            model.compile(keras.optimizers.SGD(declared_rate(hp)), loss="mse")
            return model

        oracle = kt.oracles.RandomSearchOracle("loss", max_trials=1, seed=1)
        wide = tuner(tmp_path, build, oracle=oracle)
        caplog.set_level("INFO", logger="lrtuner")
        with warned("found no range, so the search goes on in the declared space"):
            wide.search(X, targets, verbose=0)
        (sweep,) = wide.oracle.sweeps
        (record,) = [one for one in caplog.records if one.name == "lrtuner"]
        assert sweep.reason.rstrip(".") in record.getMessage()
        assert record.getMessage().endswith(". Picture: " + str(tmp_path / "project" / "lr_sweeps.png"))
        assert reason in sweep.reason
        assert sweep.curve is not None
        assert wide.oracle.lr_range is None
        assert wide.oracle.get_space().space[0].max_value == 10.0
        assert wide.oracle.plot_sweeps() is not None

    @pytest.mark.skipif(keras.backend.backend() == "jax", reason="a training step of another form")
    def test_a_training_step_that_reports_no_loss(self, tmp_path, capfd):
        class Silent(keras.Sequential):
            def train_step(self, *arguments):
                return {"error": super().train_step(*arguments)["loss"]}

        def build(hp):
            model = Silent([keras.layers.Input((6,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(declared_rate(hp)), loss="mse")
            return model

        with warned(r"declared space: The model's train_step reports no 'loss'.*\['error'\]"):
            wide = search(tuner(tmp_path, build, oracle=random_search(1)))
        assert [trial.status for trial in wide.oracle.trials.values()] == ["COMPLETED"]
        assert "Traceback" not in "".join(capfd.readouterr())

    def test_model_that_is_not_compiled(self, tmp_path):
        def build(hp):
            declared_rate(hp)
            return keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])

        with pytest.raises(kt.errors.FatalError, match=r"not compiled.*model\.compile"):
            search(tuner(tmp_path, build))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, r"No training data: pass x \(and y\), as to model\.fit"),
            ({"x": X[:0], "y": Y[:0]}, "training data is empty: x has length 0"),
            (
                {"x": X, "y": Y, "epoch": 3},
                r"argument 'epoch'\. Pass .*model\.fit takes: x, y",
            ),
        ],
    )
    def test_search_that_no_trial_could_do(self, tmp_path, arguments, message):
        with pytest.raises(kt.errors.FatalError, match=message):
            tuner(tmp_path).search(**arguments, verbose=0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"x": "data"}, "Unrecognized data type: x=data"),
            ({"y": Y[:5]}, "cardinality is ambiguous"),
            ({"batch_size": "8"}, "'8'|str"),
        ],
    )
    def test_search_that_keras_refuses(self, tmp_path, arguments, message):
        """KerasTuner takes the error of a training for that of a trial; so does the sweep."""
        refused = tuner(tmp_path, oracle=random_search(max_consecutive_failed_trials=1))
        with (
            warned(f"found no range, so the search goes on in the declared space: .*({message})"),
            pytest.raises(RuntimeError, match="Number of consecutive failures exceeded the limit of 1"),
        ):
            refused.search(**{"x": X, "y": Y, **FIT, **arguments})

    def test_run_trial_that_bypasses_fit(self, tmp_path):
        class OwnTuner(lrtuner.Tuner):
            def run_trial(self, trial):
                return self.hypermodel.build(trial.hyperparameters).evaluate(X, Y, verbose=0)[0]

        own = OwnTuner(lrtuner.LRRangeOracle(max_trials=1), build_model, directory=tmp_path)
        with warned(r"without training through HyperModel\.fit and model\.fit"):
            own.search()
        assert len(own.oracle.trials) == 1


class TestArguments:
    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (
                lambda: lrtuner.LRRangeHyperModel(3),
                ValueError,
                "function that takes hyperparameters.*got 3",
            ),
            (lambda: lrtuner.LRRangeHyperModel(None), ValueError, "got None"),
            (
                lambda: lrtuner.LRRangeHyperModel(lrtuner.LRRangeHyperModel(build_model)),
                TypeError,
                "wrap it once",
            ),
            (
                lambda: lrtuner.Tuner(None, build_model),
                ValueError,
                "Expected `oracle` argument .*None",
            ),
            (
                lambda: lrtuner.Tuner(lrtuner.LRRangeOracle(max_trials=1), build_model, steps=50),
                TypeError,
                r"Give \['steps'\] to the LRRangeOracle",
            ),
            (lambda: lrtuner.Tuner(random_search()), ValueError, "hypermodel=None"),
            (
                lambda: lrtuner.RandomSearch(build_model, min_lr=1, max_lr=0.1),
                ValueError,
                "min_lr must be below",
            ),
            (
                lambda: lrtuner.GridSearch(build_model, steps=9),
                ValueError,
                "steps must be an integer of at least 10",
            ),
            (lambda: lrtuner.Hyperband(build_model, rule="best"), ValueError, "rule must be one of"),
            (lambda: lrtuner.RandomSearch(build_model, depth=3), (TypeError, ValueError), "depth"),
            (
                lambda: lrtuner.BayesianOptimization(build_model, lease="long"),
                ValueError,
                "lease must be a number of seconds above 0, got 'long'",
            ),
            (lambda: lrtuner.Hyperband(build_model, learning_rate=0.1), TypeError, r"got 0\.1.*min_lr"),
            (lambda: lrtuner.RandomSearch(build_model, objective=3), TypeError, "objective.*3"),
            (
                lambda: lrtuner.RandomSearch(3),
                ValueError,
                "`hypermodel` argument should be either.*got 3 of type int",
            ),
            (lambda: lrtuner.Tuner("random", build_model), ValueError, "Expected `oracle` argument .*random"),
            (
                lambda: lrtuner.Tuner(kt.oracles.RandomSearchOracle, build_model),
                ValueError,
                "Expected `oracle` argument .*<class",
            ),
            (
                lambda: lrtuner.Tuner(random_search(), lambda _: None),
                ValueError,
                r"No hyperparameters are registered at all.*hp\.Float",
            ),
            (lambda: lrtuner.Tuner(random_search(), build_model, depth=3), ValueError, "depth"),
        ],
    )
    def test_bad_arguments(self, make, error, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=message):
            make()

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


def test_warnings_are_not_needed_for_a_search_that_works(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, module="lrtuner")
        assert rates(search(tuner(tmp_path, oracle=random_search(1))))
    assert FIT["epochs"] == 1


@pytest.mark.backend
class TestRelations:
    """Hyperparameters that are not the optimizer's rate themselves."""

    @pytest.mark.parametrize(
        ("declare", "rate"),
        [
            (lambda hp: 10 ** hp.Float("log_lr", -6, 1), lambda value: 10**value),
            (lambda hp: hp.Float("lr", 1e-6, 10, sampling="log") * 64 / 256, lambda value: value / 4),
            (
                lambda hp: (
                    10.0 ** -hp.Choice("minus_log_lr", [6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0, -1.0])
                ),
                lambda value: 10**-value,
            ),
        ],
    )
    def test_narrowed_through_the_rate(self, tmp_path, declare, rate):
        done = search(tuner(tmp_path, lambda hp: compiled(declare(hp)), oracle=random_search(1)))
        lr_range, sweep = done.oracle.lr_range, done.oracle.sweeps[0]
        assert sweep.declared == pytest.approx(tuple(sorted(map(rate, _bounds(done)))))
        for trial in done.oracle.trials.values():
            (value,) = trial.hyperparameters.values.values()
            assert lr_range.min_lr * 0.99 <= rate(value) <= lr_range.max_lr * 1.01
        assert done.oracle.plot_sweeps() is not None
        again = tuner(tmp_path, lambda hp: compiled(declare(hp)))
        assert again.oracle.sweeps[0].relation == sweep.relation

    @pytest.mark.parametrize(
        "schedule",
        [
            lambda rate: keras.optimizers.schedules.CosineDecay(rate, 20),
            lambda rate: keras.optimizers.schedules.CosineDecay(
                0.0, 100, warmup_target=rate, warmup_steps=10
            ),
            lambda rate: keras.optimizers.schedules.ExponentialDecay(rate, 10, 0.9),
        ],
    )
    def test_schedules_are_swept_at_plain_rates(self, tmp_path, schedule):
        scheduled = tuner(tmp_path, lambda hp: compiled(schedule(declared_rate(hp))), oracle=random_search(1))
        assert_narrowed(search(scheduled))

    def test_a_rate_that_does_not_depend_on_it(self, tmp_path):
        def ignoring(hp):
            declared_rate(hp)
            return compiled(0.01)

        with warned(r"does not depend on the hyperparameter \(1e-06 -> 0.01"):
            done = search(tuner(tmp_path, ignoring))
        assert done.oracle.lr_range is None
        assert done.oracle.get_space().space[0].min_value == 1e-6

    @pytest.mark.parametrize("loop", ["train_on_batch", "own"])
    def test_a_training_loop_of_the_user_s_own(self, tmp_path, loop, capfd):
        class Loop(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, hp, model, x, y, **arguments):
                del hp, arguments
                loss = 0.0
                for _ in range(3):
                    loss = model.train_on_batch(x, y)[0] if loop == "train_on_batch" else 0.5
                return {"val_loss": float(loss)}

        with warned("without a call of model.fit"):
            done = search(tuner(tmp_path, Loop()))
        assert len(done.oracle.trials) == 2
        assert "Traceback" not in capfd.readouterr().err

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="GradientTape is TensorFlow's")
    def test_a_gradient_tape_of_the_user_s_own(self, tmp_path):
        import tensorflow as tf

        class Tape(kt.HyperModel):
            def build(self, hp):
                del hp
                return keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])

            def fit(self, hp, model, x, y, **arguments):
                del arguments
                optimizer = keras.optimizers.SGD(declared_rate(hp))
                for _ in range(3):
                    with tf.GradientTape() as tape:
                        loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
                    gradients = tape.gradient(loss, model.trainable_variables)
                    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
                return {"val_loss": float(loss)}

        with warned("without a call of model.fit"):
            done = search(tuner(tmp_path, Tape(), oracle=random_search(max_consecutive_failed_trials=9)))
        assert done.oracle.get_space().space[0].max_value == 10.0

    @pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a feature of TensorFlow alone")
    def test_endless_tf_data(self, tmp_path):
        import tensorflow as tf

        endless = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(128).repeat().batch(8)
        done = tuner(tmp_path)
        done.search(endless, steps_per_epoch=8, epochs=1, validation_data=(X, Y), verbose=0)
        assert_narrowed(done)

    @pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
    @pytest.mark.skipif(keras.backend.backend() != "torch", reason="a feature of torch alone")
    def test_torch_data_loader(self, tmp_path):
        import torch

        pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        done = tuner(tmp_path)
        done.search(
            torch.utils.data.DataLoader(pairs, batch_size=8), epochs=1, validation_data=(X, Y), verbose=0
        )
        assert_narrowed(done)

    # Keras says so of its own default.
    @pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
    def test_a_generator_is_whole_for_the_first_trial(self, tmp_path):
        seen = []

        class Count(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                del logs
                seen.append(batch)

        def batches():
            for _ in range(6):
                for start in range(0, 128, 8):
                    yield X[start : start + 8], Y[start : start + 8]

        done = tuner(tmp_path, oracle=random_search(max_trials=1))
        done.search(
            batches(), validation_data=(X, Y), epochs=2, steps_per_epoch=48, verbose=0, callbacks=[Count()]
        )
        assert_narrowed(done)
        assert len(done.oracle.sweeps[0].curve) > 20
        assert len(seen) == 96


def _bounds(tuner):
    values = tuner.oracle.sweeps[0].relation.values
    return values[0], values[-1]


class TestAdvice:
    """A search whose best trials lie at an edge of the range says so."""

    @pytest.mark.parametrize("toward", [1, -1])
    def test_best_trials_at_an_edge(self, tmp_path, capsys, toward):
        class Scored(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, hp, model, *arguments, **keywords):
                if is_swept(model):
                    model.fit(*arguments, **keywords)
                return {"val_loss": -toward * float(np.log(hp.get(RATE)))}

        done = search(tuner(tmp_path, Scored(), oracle=random_search(max_trials=20)), verbose=1)
        out = capsys.readouterr().out
        edge = "upper" if toward > 0 else "lower"
        assert f"The best trials lie at the {edge} edge of the learning rates searched" in out
        better = done.oracle.advise()
        assert (better.max_lr > done.oracle.lr_range.max_lr) == (toward > 0)


class ChoosesBatchSize(kt.HyperModel):
    def build(self, hp):
        return build_choice(hp, ["sgd", "adam"])

    def fit(self, hp, model, *args, **kwargs):
        size = hp.Choice("batch_size", [8, 16])
        return model.fit(*args, **{**kwargs, "batch_size": size})


class TestSettings:
    """What the tests of the oracle play, for real."""

    def test_an_optimizer_to_choose_and_a_batch_size(self, tmp_path, capsys):
        search_of = tuner(
            tmp_path, ChoosesBatchSize(), oracle=random_search(5), sweep={"rule": "curve_alone"}
        )
        search(search_of, verbose=2, epochs=2)
        oracle = search_of.oracle
        assert {sweep.setting["optimizer"] for sweep in oracle.sweeps} == {"sgd", "adam"}
        out = capsys.readouterr().out
        for number, sweep in enumerate(oracle.sweeps, 1):
            name = sweep.setting["optimizer"]
            # No less than 100 batches each, and here no more: a trial has 24 or 32.
            assert f"Learning-rate sweep {number} of 2 (optimizer={name}) of at most 100 batches" in out
            assert f"batches for optimizer={name}: learning_rate declared as 1e-06 to 10, narrowed to" in out
            assert sweep.hyperparameters.values["units"] == 5
        for trial in oracle.trials.values():
            values = trial.hyperparameters.values
            (sweep,) = [one for one in oracle.sweeps if one.setting["optimizer"] == values["optimizer"]]
            factor = (values["batch_size"] / sweep.batch_size) ** 0.5
            assert sweep.lr_range.min_lr * factor <= values[RATE] * (1 + 1e-9)
            assert values[RATE] <= sweep.lr_range.max_lr * factor * (1 + 1e-9)
        # Stock KerasTuner builds the same model from the best values.
        best = oracle.get_best_trials(1)[0].hyperparameters
        (values,) = search_of.get_best_hyperparameters()
        assert values.values == best.values
        model = ChoosesBatchSize().build(values)
        assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(values[RATE])
        assert type(model.optimizer).__name__.lower() == values["optimizer"]

    def test_a_rate_that_the_user_scales_with_the_batch_size(self, tmp_path):
        class Scales(ChoosesBatchSize):
            def build(self, hp):
                return compiled(declared_rate(hp) * hp.Choice("batch_size", [8, 16]) / 16)

        search_of = search(tuner(tmp_path, Scales(), oracle=random_search(1)))
        assert search_of.oracle.lr_range is not None
        assert search_of.oracle._sweeping.ranges.found_settings.batch_size is None

    def test_as_many_batches_whatever_their_size(self, tmp_path):
        search_of = tuner(tmp_path, ChoosesBatchSize(), oracle=random_search(1), sweep={"sweep_per": []})
        search(search_of, steps_per_epoch=4)
        assert search_of.oracle._sweeping.ranges.found_settings.batch_size is None

    def test_rates_of_several_optimizers(self, tmp_path, capsys):
        def build(hp):
            encoder, head = (
                hp.Float(name, 1e-6, 10.0, sampling="log", default=1e-2) for name in ("encoder_lr", "head_lr")
            )
            optimizers = keras.optimizers.OptimizerMap(
                keras.optimizers.Adam(head), {"encoder/.*": keras.optimizers.SGD(encoder)}
            )
            model = keras.Sequential(
                [
                    keras.layers.Input((6,)),
                    keras.layers.Dense(8, name="encoder"),
                    keras.layers.Dense(1, name="head"),
                ]
            )
            model.compile(keras.optimizers.MultiOptimizer(optimizers), loss="mse")
            return model

        names = ["encoder_lr", "head_lr"]
        search_of = tuner(tmp_path, build, sweep={"steps": 100, "learning_rate": names})
        oracle = search(search_of, verbose=2).oracle
        assert [sweep.name for sweep in oracle.sweeps] == names
        assert "encoder_lr was held at 0.01" in capsys.readouterr().out
        for sweep in oracle.sweeps:
            assert sweep.lr_range is not None, sweep.reason
            for trial in oracle.trials.values():
                rate = trial.hyperparameters.values[sweep.learning_rate]
                assert sweep.lr_range.min_lr <= rate <= sweep.lr_range.max_lr


class UsesResults(kt.HyperModel):
    """Looks at the values and at the history, as a tracker of experiments does."""

    def build(self, hp):
        model = compiled(declared_rate(hp), hp.Int("units", 2, 8))
        self.seen = [dict(hp.values)]
        return model

    def fit(self, hp, model, *args, **kwargs):
        hp.Boolean("late")
        self.seen.append(dict(hp.values))
        history = model.fit(*args, **kwargs)
        try:
            return {"val_loss": math.log(history.history["loss"][-1]) + len(history.epoch)}
        finally:
            self.check()

    def check(self):
        assert all(not name.startswith("lrtuner/") for values in self.seen for name in values)


class TestHooks:
    """What a tuner's own methods and hypermodel see of a sweep."""

    def test_hooks_see_the_search_s_own_trials_alone(self, tmp_path, capfd):
        seen, values = [], []

        class Own(lrtuner.RandomSearch):
            def on_trial_begin(self, trial):
                seen.append(trial.trial_id)
                super().on_trial_begin(trial)

            def run_trial(self, trial, *args, **kwargs):
                values.append(sorted(trial.hyperparameters.values))
                results = super().run_trial(trial, *args, **kwargs)
                assert trial.trial_id.isdigit()
                return results

            def on_trial_end(self, trial):
                super().on_trial_end(trial)
                seen.append(f"{trial.score:.4f}")

        own = Own(UsesResults(), "val_loss", max_trials=2, seed=7, directory=tmp_path, steps=60)
        assert_narrowed(search(own))
        assert seen[::2] == ["0", "1"]
        assert values[0] == [RATE, "units"]
        assert values[1:] == [sorted([RATE, "units", "late"])] * 2
        assert "late" in own.oracle.sweeps[0].hyperparameters.values
        assert "Traceback" not in capfd.readouterr().err

    def test_results_in_a_tuner_of_keras_tuner_s_look_like_a_training_s(self, tmp_path, capfd):
        class Stock(kt.RandomSearch):
            def run_trial(self, trial, *args, **kwargs):
                model = self.hypermodel.build(trial.hyperparameters)
                history = self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)
                assert history.model is model
                assert len(history.epoch) == history.params["epochs"] == 1
                assert 0 < math.exp(math.log(history.history["loss"][-1])) < 1e3
                assert history.history["never_heard_of"] == [min(history.history["val_mae"])]
                return history

        oracle = lrtuner.LRRangeOracle(
            kt.oracles.RandomSearchOracle(kt.Objective("made_up", "min"), max_trials=1), steps=60
        )

        class WithObjective(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, _, model, *args, **kwargs):
                history = model.fit(*args, **kwargs)
                history.history["made_up"] = [1.0]
                history.history["never_heard_of"] = history.history["val_mae"]
                return history

        stock = kt.Tuner.__new__(Stock)
        kt.Tuner.__init__(stock, oracle, lrtuner.LRRangeHyperModel(WithObjective()), directory=tmp_path)
        assert_narrowed(search(stock))
        assert "Traceback" not in capfd.readouterr().err

    @pytest.mark.parametrize(("where", "stock"), [("run_trial", False), ("run_trial", True), ("fit", False)])
    def test_cross_validation(self, tmp_path, capfd, where, stock):
        fits = []

        class Folds(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, hp, model, x, y, **arguments):
                if where == "run_trial":
                    return model.fit(x, y, **arguments)
                return cross_validated(self, hp, x, y, arguments)

        def cross_validated(hypermodel, hp, x, y, arguments):
            losses = []
            for _ in range(2):
                fold = hypermodel.build(hp)
                fits.append(is_swept(fold))
                history = fold.fit(x, y, **{**arguments, "callbacks": []})
                losses.append(min(history.history["val_loss"]))
            return sum(losses) / 2

        base = kt.Tuner if stock else lrtuner.Tuner

        class Own(base):
            def run_trial(self, trial, x, y, **arguments):
                if where == "fit":
                    return super().run_trial(trial, x, y, **arguments)
                return cross_validated(self.hypermodel, trial.hyperparameters, x, y, arguments)

        hypermodel = lrtuner.LRRangeHyperModel(Folds()) if stock else Folds()
        own = Own(lrtuner.LRRangeOracle(random_search(1), steps=60), hypermodel, directory=tmp_path)
        assert_narrowed(search(own))
        # A tuner of KerasTuner's can't be left, so its folds go on. Only the first one is swept.
        assert fits == [True] * (1 + stock) + [False] * 2
        assert "Traceback" not in capfd.readouterr().err

    def test_code_that_fails_for_lack_of_results(self, tmp_path, capfd):
        class Fails(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, _, model, *args, **kwargs):
                history = None
                try:
                    history = model.fit(*args, **kwargs)
                finally:
                    assert history.history
                return history

        assert_narrowed(search(tuner(tmp_path, Fails(), oracle=random_search(1))))
        assert "Traceback" not in capfd.readouterr().err
        assert not keras.Model.fit.__dict__.get("is_sweep")

    @pytest.mark.parametrize("failure", ["size", "memory"])
    def test_a_middle_that_can_be_built_but_not_trained(self, tmp_path, capfd, failure):
        class Large(kt.HyperModel):
            def build(self, hp):
                return build_model(hp)

            def fit(self, _, model, *args, **kwargs):
                if failure == "memory" and model.layers[0].units > 3:
                    raise MemoryError("no room")
                return model.fit(*args, **kwargs)

        limit = {"max_model_size": 30} if failure == "size" else {}
        oracle = random_search(1, max_consecutive_failed_trials=9)
        with warned("middle of the search space .*(Oversized model|no room).*held at their defaults"):
            done = search(tuner(tmp_path, Large(), oracle=oracle, **limit))
        (sweep,) = done.oracle.sweeps
        assert sweep.lr_range is not None, sweep.reason
        assert sweep.hyperparameters.values["units"] == 2
        assert "run_sweep" not in capfd.readouterr().err


class TestRatesThatDontFollow:
    """A learning rate that is declared and has no effect is not narrowed."""

    def test_the_optimizer_s_default_among_few_values(self, tmp_path):
        def build(hp):
            hp.Choice(RATE, [1e-2, 1e-3])
            model = compiled(0.1)
            model.compile("adam", "mse")
            return model

        with warned(r"does not depend on the hyperparameter \(0.001 -> 0.001, 0.01 -> 0.001"):
            done = search(tuner(tmp_path, build))
        assert sorted(rates(done)) == [1e-3, 1e-2]

    def test_a_scheduler_with_rates_of_its_own(self, tmp_path):
        own = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 * 0.5**epoch)
        with warned("LearningRateScheduler begins at 0.001 .* has no effect"):
            done = search(tuner(tmp_path, oracle=random_search(1)), callbacks=[own])
        assert done.oracle.sweeps[0].curve is None
        check_rate_is_kept([keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5**epoch)])

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="GradientTape is TensorFlow's")
    @pytest.mark.parametrize("follows", [True, False])
    def test_optimizers_that_the_model_holds(self, tmp_path, follows):
        import tensorflow as tf

        class TwoOptimizers(keras.Model):
            def __init__(self, rate):
                super().__init__()
                self.encoder, self.head = keras.layers.Dense(8), keras.layers.Dense(1)
                self.encoder.build((None, 6))
                self.head.build((None, 8))
                self.built = True
                self.own = {"encoder": keras.optimizers.Adam(rate), "head": keras.optimizers.Adam(rate)}

            def call(self, inputs):
                return self.head(self.encoder(inputs))

            def train_step(self, data):
                x, y = data
                with tf.GradientTape(persistent=True) as tape:
                    loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
                for name in ("encoder", "head"):
                    weights = getattr(self, name).trainable_variables
                    self.own[name].apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
                return {"loss": loss}

        def build(hp):
            rate = declared_rate(hp)
            model = TwoOptimizers(rate if follows else 0.003)
            for name, optimizer in model.own.items():
                optimizer.build(getattr(model, name).trainable_variables)
            model.compile("sgd", "mse")
            return model

        oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=1, seed=7)
        done = tuner(tmp_path, build, oracle=oracle)
        if not follows:
            with warned("none of the model's 3 optimizers has a rate that follows 'learning_rate'"):
                search(done)
            return
        assert_narrowed(search(done))
        assert done.oracle.sweeps[0].curve.training.optimizer == "Adam"


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
        words = "holds 1 combination of values, so the search ends after as many trials, and not 3"
        assert (words in out) == (kind == "RandomSearch")
        assert "Picture" in out
