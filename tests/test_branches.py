"""Learning rates that are declared in branches of the build function, as most scripts do."""

import shutil

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import FIT, X, Y, build_branches, compiled, search_rates, warned

import lrtuner
from lrtuner.search.protocol import is_own_trial


class Quick:
    """Sweeps for real, and builds the model of a trial without training it."""

    def _build_and_fit_model(self, trial, *args, **kwargs):
        if is_own_trial(trial.trial_id):
            return super()._build_and_fit_model(trial, *args, **kwargs)
        optimizer = self.hypermodel.build(trial.hyperparameters).optimizer
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        self.trained = [*getattr(self, "trained", []), (dict(trial.hyperparameters.values), rate)]
        return {"val_loss": abs(np.log10(rate) + 1.0) + trial.hyperparameters.values.get("units", 0)}


TUNERS = {
    name: type(name, (Quick, getattr(lrtuner, name)), {})
    for name in ("RandomSearch", "BayesianOptimization", "Hyperband", "GridSearch")
}
# A Gaussian process takes seconds a trial.
ARGUMENTS = {
    "RandomSearch": {"max_trials": 12},
    "BayesianOptimization": {"max_trials": 6, "num_initial_points": 5},
    "Hyperband": {"max_epochs": 4},
    "GridSearch": {},
}


def rate_of(hp, name):
    return hp.Float(name, 1e-6, 10.0, sampling="log")


def model_with(optimizer, hp):
    model = compiled(0.1, hp.Int("units", 2, 3))
    model.compile(optimizer, loss="mse")
    return model


def boolean(hp):
    if hp.Boolean("adaptive"):
        return model_with(keras.optimizers.Adam(rate_of(hp, "adam_lr")), hp)
    return model_with(keras.optimizers.SGD(rate_of(hp, "sgd_lr")), hp)


def elif_(hp):
    name = hp.Choice("optimizer", ["sgd", "adam", "rmsprop"], default="adam")
    if name == "adam":
        optimizer = keras.optimizers.Adam(rate_of(hp, "adam_lr"))
    elif name == "sgd":
        optimizer = keras.optimizers.SGD(rate_of(hp, "sgd_lr"))
    else:
        optimizer = keras.optimizers.RMSprop(rate_of(hp, "rmsprop_lr"))
    return model_with(optimizer, hp)


def word_first(hp):
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        return model_with(keras.optimizers.Adam(rate_of(hp, "lr_adam")), hp)
    return model_with(keras.optimizers.SGD(rate_of(hp, "lr_sgd")), hp)


def choices(hp):
    values = [float(rate) for rate in np.geomspace(1e-6, 1.0, 13)]
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        return model_with(keras.optimizers.Adam(hp.Choice("adam_lr", values)), hp)
    return model_with(keras.optimizers.SGD(hp.Choice("sgd_lr", values)), hp)


def common_momentum(hp):
    momentum = hp.Choice("momentum", [0.0, 0.9])
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        return model_with(keras.optimizers.Adam(rate_of(hp, "adam_lr")), hp)
    return model_with(keras.optimizers.SGD(rate_of(hp, "sgd_lr"), momentum=momentum), hp)


def momentum_of_a_branch(hp):
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        return model_with(keras.optimizers.Adam(rate_of(hp, "adam_lr")), hp)
    momentum = hp.Choice("momentum", [0.0, 0.9])
    return model_with(keras.optimizers.SGD(rate_of(hp, "sgd_lr"), momentum=momentum), hp)


def same_optimizer(hp):
    """Two sizes of a model, each with the same optimizer and a rate of its own."""
    if hp.Choice("size", ["small", "large"]) == "small":
        model = compiled(rate_of(hp, "small_lr"), 2)
    else:
        model = compiled(rate_of(hp, "large_lr"), 16)
    return model


def scoped(hp):
    name = hp.Choice("optimizer", ["adam", "sgd"])
    with hp.conditional_scope("optimizer", ["adam"]):
        adam_lr = rate_of(hp, "adam_lr")
    with hp.conditional_scope("optimizer", ["sgd"]):
        sgd_lr = rate_of(hp, "sgd_lr")
    optimizer = keras.optimizers.Adam(adam_lr) if name == "adam" else keras.optimizers.SGD(sgd_lr)
    return model_with(optimizer, hp)


def scoped_and_plain(hp):
    """An if in the scope of each branch, as KerasTuner's own guide has it."""
    name = hp.Choice("optimizer", ["adam", "sgd"])
    with hp.conditional_scope("optimizer", ["adam"]):
        if name == "adam":
            optimizer = keras.optimizers.Adam(rate_of(hp, "adam_lr"))
    with hp.conditional_scope("optimizer", ["sgd"]):
        if name == "sgd":
            optimizer = keras.optimizers.SGD(rate_of(hp, "sgd_lr"))
    return model_with(optimizer, hp)


ADAM, SGD = {"optimizer": "adam"}, {"optimizer": "sgd"}
# The settings that each learning rate is swept in.
SWEPT = {
    build_branches: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
    boolean: {"adam_lr": [{"adaptive": True}], "sgd_lr": [{"adaptive": False}]},
    elif_: {"adam_lr": [ADAM], "sgd_lr": [SGD], "rmsprop_lr": [{"optimizer": "rmsprop"}]},
    word_first: {"lr_adam": [ADAM], "lr_sgd": [SGD]},
    choices: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
    common_momentum: {
        "adam_lr": [{"momentum": 0.0, **ADAM}],
        "sgd_lr": [{"momentum": 0.0, **SGD}, {"momentum": 0.9, **SGD}],
    },
    momentum_of_a_branch: {
        "adam_lr": [{"momentum": 0.0, **ADAM}],
        "sgd_lr": [{"momentum": 0.0, **SGD}, {"momentum": 0.9, **SGD}],
    },
    same_optimizer: {"small_lr": [{"size": "small"}], "large_lr": [{"size": "large"}]},
    scoped: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
    scoped_and_plain: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
}


def made(directory, build, name="RandomSearch", **options):
    arguments = {"objective": "val_loss", "seed": 3, "steps": 60, **ARGUMENTS[name], **options}
    return TUNERS[name](build, directory=directory, project_name="project", **arguments)


def searched(directory, build, name="RandomSearch", *, verbose=0, **options):
    tuner = made(directory, build, name, **options)
    keras.utils.set_random_seed(11)
    tuner.search(X, Y, **{**FIT, "verbose": verbose})
    return tuner


def declared_bounds(tuner, name):
    (entry,) = [entry for entry in tuner.oracle.get_space().space if entry.name == name]
    return entry.min_value, entry.max_value


def sweep_settings(oracle):
    found = {}
    for sweep in oracle.sweeps:
        assert sweep.lr_range is not None, sweep.reason
        found.setdefault(sweep.learning_rate, []).append(sweep.setting)
    return found


def assert_each_in_its_own(tuner, build):
    """Check that each trial was built with a rate in the range of its own setting."""
    oracle = tuner.oracle
    space = oracle._sweeping.ranges.setting_space
    for values, rate in tuner.trained:
        (sweep,) = [
            sweep
            for sweep in oracle.sweeps
            if sweep.setting == space.setting_of(values) and sweep.learning_rate in SWEPT[build]
        ]
        assert rate == pytest.approx(values[sweep.learning_rate])
        inside = sweep.lr_range.min_lr / 1.001 <= rate <= sweep.lr_range.max_lr * 1.001
        # Of a list, the nearest neighbour may be kept.
        assert inside or build is choices


@pytest.mark.parametrize(
    ("build", "is_listed"),
    [
        *((build, False) for build in SWEPT),
        *((build, True) for build in (build_branches, elif_, momentum_of_a_branch, scoped)),
    ],
)
def test_each_branch_has_a_sweep_and_a_range(tmp_path, build, is_listed, recwarn):
    # The list begins with what the first build doesn't declare.
    names = sorted(SWEPT[build], reverse=True)
    tuner = searched(tmp_path, build, **({"learning_rate": names} if is_listed else {}))
    oracle = tuner.oracle
    settings = sweep_settings(oracle)
    assert {name: sorted(held, key=str) for name, held in settings.items()} == SWEPT[build]
    assert_each_in_its_own(tuner, build)
    assert len(oracle.trials) == 12
    # The picture shows no trials beside those of the sweeps.
    assert oracle._sweeping.results().settings_not_swept() == []
    assert sum(len(oracle._sweeping.results().scored_rates(sweep)) for sweep in oracle.sweeps) == 12
    # The search is one: its space holds every learning rate, narrowed.
    for entry in oracle.get_space().space:
        if entry.name in SWEPT[build]:
            low, high = min(entry.values), max(entry.values)
            ranges = [sweep.lr_range for sweep in oracle.sweeps if sweep.learning_rate == entry.name]
            assert low >= min(one.min_lr for one in ranges) / 10
            assert high <= max(one.max_lr for one in ranges) * 10
            assert high / low < 1e5
    assert not [warning for warning in recwarn if "learning" in str(warning.message)]


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("BayesianOptimization", choices),
        ("BayesianOptimization", momentum_of_a_branch),
        ("Hyperband", momentum_of_a_branch),
        ("GridSearch", choices),
        ("GridSearch", momentum_of_a_branch),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_whatever_searches(tmp_path, name, build):
    tuner = searched(tmp_path, build, name)
    assert {key: sorted(held, key=str) for key, held in sweep_settings(tuner.oracle).items()} == SWEPT[build]
    assert_each_in_its_own(tuner, build)
    assert {values["optimizer"] for values, _ in tuner.trained} == {"adam", "sgd"}
    assert all(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())
    if name == "GridSearch":
        # No two trials train the same model: the rate of the other branch is no dimension of the grid.
        same = [
            (values["optimizer"], rate, values["units"], values.get("momentum"))
            for values, rate in tuner.trained
        ]
        assert len(set(same)) == len(same)
        rates = [entry for entry in tuner.oracle.get_space().space if entry.name in SWEPT[build]]
        if build is not momentum_of_a_branch:
            assert len(same) == 2 * sum(len({*entry.values, entry.default}) for entry in rates)


class TestWhatIsNotSwept:
    """It is not narrowed, and the user is told."""

    def test_a_second_rate_beside_a_shared_one(self, tmp_path, capsys):
        def build(hp):
            rate = rate_of(hp, "lr")
            if hp.Boolean("fine_tune"):
                rate_of(hp, "fine_tune_lr")
            return model_with(keras.optimizers.Adam(rate), hp)

        tuner = searched(tmp_path, build, verbose=2, max_trials=4)
        assert sweep_settings(tuner.oracle) == {"lr": [{}]}
        assert declared_bounds(tuner, "lr") != (1e-6, 10.0)
        assert declared_bounds(tuner, "fine_tune_lr") == (1e-6, 10.0)
        out = capsys.readouterr().out
        assert out.count("fine_tune_lr is searched as declared, without a sweep") == 1
        assert "learning_rate=['lr', 'fine_tune_lr']" in out

    def test_two_rates_in_one_branch(self, tmp_path, capsys):
        def build(hp):
            if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
                return model_with(keras.optimizers.Adam(rate_of(hp, "adam_lr")), hp)
            rate_of(hp, "encoder_lr")
            return model_with(keras.optimizers.SGD(rate_of(hp, "head_lr")), hp)

        tuner = searched(tmp_path, build, verbose=2, max_trials=6)
        assert sweep_settings(tuner.oracle) == {"adam_lr": [ADAM]}
        for name in ("encoder_lr", "head_lr"):
            assert declared_bounds(tuner, name) == (1e-6, 10.0)
        assert "encoder_lr, head_lr are searched as declared" in capsys.readouterr().out

    def test_the_user_names_one(self, tmp_path):
        tuner = searched(tmp_path, build_branches, learning_rate="adam_lr", max_trials=6)
        assert sweep_settings(tuner.oracle) == {"adam_lr": [ADAM]}
        assert declared_bounds(tuner, "sgd_lr") == (1e-6, 10.0)

    def test_one_sweep_is_to_serve_all(self, tmp_path):
        tuner = searched(tmp_path, build_branches, sweep_per=[], max_trials=6)
        assert sweep_settings(tuner.oracle) == {"adam_lr": [{}]}
        assert declared_bounds(tuner, "sgd_lr") == (1e-6, 10.0)

    def test_a_name_that_nothing_declares(self, tmp_path, capsys):
        names = ["adam_lr", "sgd_lr", "adagrad_lr"]
        with warned(r"names \['adagrad_lr'\], which no model of this search has declared.*'sgd_lr'"):
            tuner = searched(tmp_path, build_branches, learning_rate=names, max_trials=6, verbose=2)
        assert "names ['adagrad_lr'], which no model built so far has declared" in capsys.readouterr().out
        assert sweep_settings(tuner.oracle) == SWEPT[build_branches]

    def test_none_of_the_list_is_declared(self, tmp_path):
        with pytest.raises(ValueError, match=r"no hyperparameter named 'adagrad_lr'.*'adam_lr'"):
            made(tmp_path, build_branches, learning_rate=["adagrad_lr", "rmsprop_lr"])


def test_sweeps_for_settings_that_the_user_names(tmp_path):
    tuner = searched(tmp_path, build_branches, sweep_per=["optimizer"], max_trials=6)
    assert sweep_settings(tuner.oracle) == SWEPT[build_branches]
    assert_each_in_its_own(tuner, build_branches)


def test_the_middle_of_the_space_lies_in_another_branch(tmp_path):
    """No hyperparameter that settings are told apart by chooses the rate: only what was swept is narrowed."""

    def build(hp):
        rate = rate_of(hp, "deep_lr") if hp.Int("layers", 1, 3) > 1 else rate_of(hp, "flat_lr")
        return model_with(keras.optimizers.Adam(rate), hp)

    tuner = searched(tmp_path, build, max_trials=6)
    assert sweep_settings(tuner.oracle) == {"deep_lr": [{}]}
    assert declared_bounds(tuner, "deep_lr") != (1e-6, 10.0)
    assert declared_bounds(tuner, "flat_lr") == (1e-6, 10.0)


def test_a_rate_of_one_of_several_optimizers(tmp_path):
    def build(hp):
        head = keras.optimizers.Adam(rate_of(hp, "head_lr"))
        model = compiled(0.1, hp.Int("units", 2, 3))
        if hp.Choice("encoder", ["shared", "own"]) == "own":
            encoder = keras.optimizers.SGD(rate_of(hp, "encoder_lr"))
            names = keras.optimizers.OptimizerMap(head, {f"{model.layers[0].name}/.*": encoder})
            head = keras.optimizers.MultiOptimizer(names)
        model.compile(head, loss="mse")
        return model

    tuner = search_rates(tmp_path, build, ["head_lr", "encoder_lr"])
    assert sweep_settings(tuner.oracle) == {
        "head_lr": [{"encoder": "shared"}, {"encoder": "own"}],
        "encoder_lr": [{"encoder": "own"}],
    }


def test_a_rate_that_fit_declares_in_a_branch(tmp_path):
    class InFit(kt.HyperModel):
        def build(self, hp):
            kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
            return model_with(kinds[hp.Choice("optimizer", list(kinds))](0.01), hp)

        def fit(self, hp, model, *args, **kwargs):
            model.optimizer.learning_rate = rate_of(hp, f"{hp.get('optimizer')}_lr")
            return model.fit(*args, **kwargs)

    tuner = lrtuner.RandomSearch(
        InFit(),
        objective="val_loss",
        max_trials=6,
        seed=3,
        steps=60,
        learning_rate=["sgd_lr", "adam_lr"],
        directory=tmp_path,
    )
    keras.utils.set_random_seed(11)
    # No model that is built shows that only one of the two is declared in each.
    with warned("adam_lr, optimizer=sgd found no range"):
        tuner.search(X, Y, **FIT)
    ranges = {
        (sweep.learning_rate, sweep.setting["optimizer"]): sweep.lr_range
        for sweep in tuner.oracle.sweeps
        if sweep.lr_range is not None
    }
    assert set(ranges) == {("adam_lr", "adam"), ("sgd_lr", "sgd")}
    for trial in tuner.oracle.trials.values():
        values = trial.hyperparameters.values
        name = f"{values['optimizer']}_lr"
        lr_range = ranges[name, values["optimizer"]]
        assert lr_range.min_lr <= values[name] <= lr_range.max_lr


class TestNextRun:
    def test_goes_on(self, tmp_path, recwarn, capsys):
        first = searched(tmp_path, build_branches, max_trials=6)
        space = first.oracle.get_space().get_config()
        capsys.readouterr()
        again = searched(tmp_path, build_branches, max_trials=9)
        assert "earlier run hold. adam_lr, optimizer=adam" in capsys.readouterr().out
        assert not [one for one in recwarn if "learning" in str(one.message)]
        assert len(again.trained) == 3
        assert len(again.oracle.sweeps) == 2
        assert again.oracle.get_space().get_config() == space
        assert_each_in_its_own(again, build_branches)

    def test_begins_again_before_the_first_trial(self, tmp_path, recwarn):
        first = searched(tmp_path, build_branches, "GridSearch", max_trials=3)
        for path in (tmp_path / "project").iterdir():
            if path.name != "lr_range.json":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        again = made(tmp_path, build_branches, "GridSearch", max_trials=3)
        assert not [one for one in recwarn if "learning" in str(one.message)]
        assert {entry.name for entry in again.oracle.get_space().space} == {
            entry.name for entry in first.oracle.get_space().space
        }
        for name in SWEPT[build_branches]:
            assert declared_bounds(again, name) == declared_bounds(first, name)


@pytest.mark.parametrize("switch", ["allow_new_entries", "tune_new_entries"])
def test_a_space_given_in_advance(tmp_path, switch):
    given = kt.HyperParameters()
    given.Choice("optimizer", ["adam"])
    rate_of(given, "adam_lr")
    given.Int("units", 2, 3)
    tuner = searched(tmp_path, build_branches, hyperparameters=given, max_trials=3, **{switch: False})
    assert [sweep.learning_rate for sweep in tuner.oracle.sweeps] == ["adam_lr"]
    assert declared_bounds(tuner, "adam_lr") != (1e-6, 10.0)
    assert [entry.name for entry in tuner.oracle.get_space().space] == ["optimizer", "adam_lr", "units"]
