"""Learning rates that are declared in branches of the build function, as most scripts do."""

import keras
import numpy as np
import pytest
from searches import FIT, X, Y, compiled

import lrtuner
from lrtuner.protocol import is_sweep


class Quick:
    """Sweeps for real, and builds the model of a trial without training it."""

    def _build_and_fit_model(self, trial, *args, **kwargs):
        if is_sweep(trial.hyperparameters):
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
    "RandomSearch": {"max_trials": 14},
    "BayesianOptimization": {"max_trials": 10, "num_initial_points": 8},
    "Hyperband": {"max_epochs": 4},
    "GridSearch": {},
}


def rate_of(hp, name):
    return hp.Float(name, 1e-6, 10.0, sampling="log")


def model_with(optimizer, hp):
    model = compiled(0.1, hp.Int("units", 2, 3))
    model.compile(optimizer, loss="mse")
    return model


def if_else(hp):
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        optimizer = keras.optimizers.Adam(rate_of(hp, "adam_lr"))
    else:
        optimizer = keras.optimizers.SGD(rate_of(hp, "sgd_lr"))
    return model_with(optimizer, hp)


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
    if_else: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
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


def searched(directory, build, name="RandomSearch", **options):
    arguments = {"objective": "val_loss", "seed": 3, "steps": 60, **ARGUMENTS[name], **options}
    tuner = TUNERS[name](build, directory=directory, project_name="project", **arguments)
    keras.utils.set_random_seed(11)
    tuner.search(X, Y, **FIT)
    return tuner


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


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("build", SWEPT)
def test_each_branch_has_a_sweep_and_a_range(tmp_path, build, is_listed, recwarn):
    # The list begins with what the first build doesn't declare.
    names = sorted(SWEPT[build], reverse=True)
    tuner = searched(tmp_path, build, **({"learning_rate": names} if is_listed else {}))
    oracle = tuner.oracle
    settings = sweep_settings(oracle)
    assert {name: sorted(held, key=str) for name, held in settings.items()} == SWEPT[build]
    assert_each_in_its_own(tuner, build)
    assert len(oracle.trials) == 14
    # The search is one: its space holds every learning rate, narrowed.
    for entry in oracle.get_space().space:
        if entry.name in SWEPT[build]:
            low, high = min(entry.values), max(entry.values)
            ranges = [sweep.lr_range for sweep in oracle.sweeps if sweep.learning_rate == entry.name]
            assert low >= min(one.min_lr for one in ranges) / 10
            assert high <= max(one.max_lr for one in ranges) * 10
            assert high / low < 1e5
    assert not [warning for warning in recwarn if "lrtuner" in warning.filename]


@pytest.mark.parametrize("build", [if_else, choices, momentum_of_a_branch])
@pytest.mark.parametrize("name", ["BayesianOptimization", "Hyperband", "GridSearch"])
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
