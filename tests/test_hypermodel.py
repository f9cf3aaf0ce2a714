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
    build_model,
    declared_rate,
    fits,
    is_swept,
    random_search,
    search,
    tuner,
    warned,
)

import lrtuner
from lrtuner.search.protocol import Order, answer_of, put


class Tracker:
    """As most trackers of experiments are: one run at a time."""

    def __init__(self):
        self.is_active = False
        self.runs = []

    def start_run(self, hp):
        if self.is_active:
            raise RuntimeError("a run is already active")
        self.is_active = True
        self.runs.append("sweep" if lrtuner.is_sweep(hp) else dict(hp.values))

    def end_run(self, history):
        assert history.history["val_loss"][-1] > 0
        self.is_active = False


@pytest.mark.parametrize(("base", "where"), [(lrtuner.Tuner, "fit"), (kt.Tuner, "run_trial")])
def test_a_tracker_s_run_is_ended_before_the_next_one_is_begun(tmp_path, base, where):
    tracker = Tracker()

    def tracked(hp, model, *args, **kwargs):
        if where == "run_trial":
            return model.fit(*args, **kwargs)
        tracker.start_run(hp)
        history = model.fit(*args, **kwargs)
        tracker.end_run(history)
        return history

    class Own(base):
        def run_trial(self, trial, *args, **kwargs):
            if where == "fit":
                return super().run_trial(trial, *args, **kwargs)
            tracker.start_run(trial.hyperparameters)
            model = self.hypermodel.build(trial.hyperparameters)
            history = self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)
            tracker.end_run(history)
            return history

    done = search(tuner(tmp_path, Trains(train=tracked), Own))
    assert_narrowed(done)
    assert [trial.status for trial in done.oracle.trials.values()] == ["COMPLETED"] * 2
    assert not tracker.is_active
    assert tracker.runs[0] == "sweep"
    assert [sorted(run) for run in tracker.runs[1:]] == [[RATE, "units"]] * 2


def test_a_tracker_s_run_is_ended_where_the_sweep_fails(tmp_path):
    """What a sweep stumbles over may be no trouble for a training."""
    tracker = Tracker()

    class Own(lrtuner.Tuner):
        def run_trial(self, trial, x, y, **kwargs):
            tracker.start_run(trial.hyperparameters)
            model = self.hypermodel.build(trial.hyperparameters)
            labels = np.full_like(y, np.nan) if lrtuner.is_sweep(trial.hyperparameters) else y
            history = model.fit(x, labels[: len(x) - lrtuner.is_sweep(trial.hyperparameters)], **kwargs)
            tracker.end_run(history)
            return history

    with warned("found no range.*cardinality is ambiguous(.|\n)*will fail in the same way"):
        done = search(tuner(tmp_path, build_model, Own))
    assert [trial.status for trial in done.oracle.trials.values()] == ["COMPLETED"] * 2
    assert tracker.runs[0] == "sweep"


@pytest.mark.parametrize(("where", "stock"), [("run_trial", True), ("fit", False)])
def test_cross_validation(tmp_path, where, stock):
    fits = []

    def cross_validated(hypermodel, hp, x, y, arguments):
        losses = []
        for _ in range(2):
            fold = hypermodel.build(hp)
            history = fold.fit(x, y, **{**arguments, "callbacks": []})
            fits.append((lrtuner.is_sweep(hp), int(fold.optimizer.iterations) > 0))
            losses.append(min(history.history["val_loss"]))
        return sum(losses) / 2

    class Folds(kt.HyperModel):
        def build(self, hp):
            return build_model(hp)

        def fit(self, hp, model, x, y, **arguments):
            if where == "run_trial":
                return model.fit(x, y, **arguments)
            return cross_validated(self, hp, x, y, arguments)

    class Own(kt.Tuner if stock else lrtuner.Tuner):
        def run_trial(self, trial, x, y, **arguments):
            if where == "fit":
                return super().run_trial(trial, x, y, **arguments)
            return cross_validated(self.hypermodel, trial.hyperparameters, x, y, arguments)

    assert_narrowed(search(tuner(tmp_path, Folds(), Own, oracle=random_search(1))))
    # The first fold is swept, and the second one has nothing to do.
    assert fits == [(True, True), (True, False), (False, True), (False, True)]


# --- One sweep, without a search ----------------------------------------------------------------------------


def swept(build=build_model, train=fits, fit=None, **order):
    """Return what comes of a sweep, the hyperparameters, and what the user's `fit` returns."""
    hypermodel, hp = lrtuner.LRRangeHyperModel(Trains(build, train)), kt.HyperParameters()
    put(hp, Order(**{"min_lr": 1e-7, "max_lr": 10.0, "steps": 30, "learning_rate": RATE, **order}))
    keras.utils.set_random_seed(11)
    fit = {"x": X, "y": Y, "batch_size": 8, "verbose": 0, **(fit or {})}
    result = hypermodel.fit(hp, hypermodel.build(hp), **fit)
    return answer_of(hp), hp, result


def test_what_a_sweep_answers_and_what_the_user_s_code_sees_of_it():
    seen = []

    def train(hp, model, *args, **kwargs):
        histories = [model.fit(*args, **kwargs) for _ in range(2)]
        seen.append((dict(hp.values), is_swept(model), lrtuner.is_sweep(hp)))
        return histories

    answer, hp, histories = swept(train=train, objectives=("val_made_up",))
    assert len(answer.curve) > 20
    assert (answer.learning_rate, answer.error, answer.curve.training.batch_size) == (RATE, None, 8)
    assert seen == [({"units": 2, RATE: 1e-6}, True, True)]
    assert hp.values == seen[0][0]
    for history in histories:
        assert len(history.epoch) == history.params["epochs"] == 1
        assert history.history["val_loss"] == [np.inf]
        assert np.isnan([history.history[name][0] for name in ("val_made_up", "never_heard_of")]).all()
    assert not lrtuner.is_sweep(kt.HyperParameters())


def run(hypermodel, **fit):
    """Run the trial of a sweep; return its status and what came of it."""
    hypermodel, hp = lrtuner.LRRangeHyperModel(hypermodel), kt.HyperParameters()
    put(hp, Order(min_lr=1e-7, max_lr=10.0, steps=30, learning_rate=RATE))
    trial = kt.engine.trial.Trial(hp, trial_id="lr_sweep_0")
    fit = {"x": X, "y": Y, "verbose": 0, **fit}
    hypermodel.run_sweep(trial, lambda: hypermodel.fit(hp, hypermodel.build(hp), **fit))
    return trial.status, answer_of(hp)


@pytest.mark.parametrize("error", [FileNotFoundError, kt.errors.FatalTypeError])
def test_code_that_fails_for_lack_of_results_has_swept(error):
    def train(_, model, **kwargs):
        model.fit(**kwargs)
        raise error("the checkpoint")

    status, answer = run(Trains(train=train))
    assert status == "COMPLETED"
    assert len(answer.curve) > 20


@pytest.mark.parametrize(
    ("error", "status"), [(OSError, "INVALID"), (kt.errors.FailedTrialError, "COMPLETED")]
)
def test_code_that_fails_before_it_trains_is_the_reason(error, status):
    def train(_, __, **kwargs):
        del kwargs
        raise error("the disk is gone")

    ended, answer = run(Trains(train=train))
    assert (ended, answer.error) == (status, f"{error.__name__}: the disk is gone")


@pytest.mark.parametrize("metrics", [False, True])
def test_a_loop_over_batches_trains_nothing_and_is_told_what_a_sweep_needs(metrics):
    seen = []

    def build(hp):
        net = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        net.compile(keras.optimizers.SGD(declared_rate(hp)), "mse", metrics=["mae"] if metrics else None)
        return net

    def train(_, model, x, y, **kwargs):
        del kwargs
        before = [np.array(weight) for weight in model.get_weights()]
        for _ in range(3):
            loss = model.train_on_batch(x, y)
            seen.append(loss[0] if metrics else loss)
        seen.append(model.train_on_batch(x, y, return_dict=True)["loss"])
        assert all((one == two).all() for one, two in zip(before, model.get_weights(), strict=True))
        return {"val_loss": seen[-1]}

    answer, _, result = swept(build, train)
    assert answer.curve is None
    assert "a sweep needs one on a model that build has returned" in answer.error
    assert result["val_loss"] == min(seen) > 0


def test_a_loop_of_the_user_s_own_is_swept_where_it_asks_for_that(tmp_path):
    trained = []

    def train(hp, model, x, y, validation_data, **kwargs):
        if lrtuner.is_sweep(hp):
            return model.fit(x, y, **kwargs)
        for _ in range(4):
            trained.append(model.train_on_batch(x[:32], y[:32]))
        return {"val_loss": float(np.ravel(model.evaluate(*validation_data, verbose=0))[0])}

    assert_narrowed(search(tuner(tmp_path, Trains(train=train))))
    assert len(trained) == 8


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        (
            {"y": np.tile([0, 1, 2, 1], 32)},
            "Received a label value of 2 which is outside the valid range of [0",
        ),
        ({"y": Y[:5]}, "ValueError: Data cardinality is ambiguous."),
        ({"y": np.array(["a", "b"] * 64)}, ""),
        ({"epochs": "3"}, "TypeError: "),
    ],
)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="each backend has words of its own")
def test_errors_of_the_user_s_data_in_one_useful_line(fit, reason):
    def build(hp):
        net = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, activation="softmax")])
        net.compile(keras.optimizers.SGD(declared_rate(hp)), "sparse_categorical_crossentropy")
        return net

    answer, _, _ = swept(build, fit=fit)
    *lines, last = answer.error.splitlines()
    assert lines[0].startswith(reason)
    assert not any(word in answer.error for word in ("File ", "node", "Label values"))
    assert last == "If data or model are at fault, the trials will fail in the same way"


@pytest.mark.parametrize(
    ("build", "fit", "message"),
    [
        (build_model, {"x": None}, "No training data"),
        (build_model, {"epoch": 3}, "argument 'epoch'. Pass .* takes: x, y"),
        (lambda hp: keras.Sequential([keras.layers.Dense(declared_rate(hp) and 1)]), {}, "not compiled"),
    ],
)
def test_what_no_trial_could_train_ends_the_search(build, fit, message):
    with pytest.raises(kt.errors.FatalValueError, match=message):
        run(build, **fit)


def test_no_made_up_result_beats_a_real_one(tmp_path):
    seen = []

    def train(hp, model, *args, **kwargs):
        history = model.fit(*args, **kwargs).history
        seen.append(
            (lrtuner.is_sweep(hp), history["val_loss"][-1], history["val_mae"][-1], len(history["loss"]))
        )
        return history["val_loss"][-1]

    search(
        tuner(tmp_path, Trains(build_model, train), oracle=random_search(1)), epochs=3, validation_data=(X, Y)
    )
    (_, loss, mae, epochs), (_, real, *_) = seen
    assert [is_sweep for is_sweep, *_ in seen] == [True, False]
    assert loss > real
    assert not mae < 1e9
    assert not mae > -1e9
    assert epochs == 3


def test_a_directory_that_keras_tuner_has_deleted_is_made_again(tmp_path):
    class Own(lrtuner.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            model = self.hypermodel.build(trial.hyperparameters)
            return model.fit(*args, **kwargs).history["loss"][-1]

    own = Own(build_model, max_trials=1, directory=tmp_path, project_name="project", overwrite=True)
    search(own)
    assert (tmp_path / "project" / "lr_range.json").exists()
