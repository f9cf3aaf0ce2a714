"""Learning rates in branches of the build function, as in most scripts, and several of one model."""

import shutil

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import FIT, Trains, X, Y, build_branches, compiled, search_rates, warned

import lrtuner
from lrtuner.search.protocol import is_own_trial
from lrtuner.search.settings import sweep_label


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


def rate_of(hp, name, **arguments):
    return hp.Float(name, 1e-6, 10.0, sampling="log", **arguments)


def model_with(optimizer, hp):
    model = compiled(0.1, hp.Int("units", 2, 3))
    model.compile(optimizer, loss="mse")
    return model


def elif_(hp):
    name = hp.Choice("optimizer", ["sgd", "adam", "rmsprop"], default="adam")
    if name == "adam":
        optimizer = keras.optimizers.Adam(rate_of(hp, "adam_lr"))
    elif name == "sgd":
        optimizer = keras.optimizers.SGD(rate_of(hp, "sgd_lr"))
    else:
        optimizer = keras.optimizers.RMSprop(rate_of(hp, "rmsprop_lr"))
    return model_with(optimizer, hp)


def choices(hp):
    values = [float(rate) for rate in np.geomspace(1e-6, 1.0, 13)]
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        return model_with(keras.optimizers.Adam(hp.Choice("adam_lr", values)), hp)
    return model_with(keras.optimizers.SGD(hp.Choice("sgd_lr", values)), hp)


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


ADAM, SGD = {"optimizer": "adam"}, {"optimizer": "sgd"}
# The settings that each learning rate is swept in.
SWEPT = {
    build_branches: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
    elif_: {"adam_lr": [ADAM], "sgd_lr": [SGD], "rmsprop_lr": [{"optimizer": "rmsprop"}]},
    choices: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
    momentum_of_a_branch: {
        "adam_lr": [{"momentum": 0.0, **ADAM}],
        "sgd_lr": [{"momentum": 0.0, **SGD}, {"momentum": 0.9, **SGD}],
    },
    same_optimizer: {"small_lr": [{"size": "small"}], "large_lr": [{"size": "large"}]},
    scoped: {"adam_lr": [ADAM], "sgd_lr": [SGD]},
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
    space = oracle._ranges.settings
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


@pytest.mark.parametrize("build", [build_branches, elif_, same_optimizer, scoped])
def test_each_branch_has_a_sweep_and_a_range(tmp_path, build, recwarn):
    # The list begins with what the first build doesn't declare.
    names = sorted(SWEPT[build], reverse=True)
    tuner = searched(tmp_path, build, **({"learning_rate": names} if build is elif_ else {}))
    oracle = tuner.oracle
    settings = sweep_settings(oracle)
    assert {name: sorted(held, key=str) for name, held in settings.items()} == SWEPT[build]
    assert_each_in_its_own(tuner, build)
    labels = [f"{sweep.learning_rate}, {sweep_label(None, sweep.setting)}" for sweep in oracle.sweeps]
    assert [sweep.name for sweep in oracle.sweeps] == labels
    # One range of several hyperparameters would be a range of nothing.
    assert oracle.lr_range is None
    assert len(oracle.trials) == 12
    # The picture shows no trials beside those of the sweeps.
    assert sum(len(oracle.results().scored_rates(sweep)) for sweep in oracle.sweeps) == 12
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
        ("Hyperband", momentum_of_a_branch),
        ("GridSearch", choices),
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
        assert len(same) == 2 * sum(len({*entry.values, entry.default}) for entry in rates)


def two_in_one_branch(hp):
    if hp.Choice("optimizer", ["adam", "sgd"]) == "adam":
        return model_with(keras.optimizers.Adam(rate_of(hp, "adam_lr")), hp)
    rate_of(hp, "encoder_lr")
    return model_with(keras.optimizers.SGD(rate_of(hp, "head_lr")), hp)


def chosen_by_a_number(hp):
    rate = rate_of(hp, "deep_lr") if hp.Int("layers", 1, 3) > 1 else rate_of(hp, "flat_lr")
    return model_with(keras.optimizers.Adam(rate), hp)


@pytest.mark.parametrize(
    ("build", "options", "swept", "others"),
    [
        # No setting chooses the rate, and no model that is looked at declares the other one.
        (chosen_by_a_number, {}, {"flat_lr": [{}]}, ["deep_lr"]),
        (two_in_one_branch, {}, {"adam_lr": [ADAM]}, ["encoder_lr", "head_lr"]),
        (build_branches, {"sweep_per": []}, {"adam_lr": [{}]}, ["sgd_lr"]),
        # The user has left it out.
        (build_branches, {"learning_rate": "sgd_lr"}, {"sgd_lr": [SGD]}, []),
        (
            build_branches,
            {"learning_rate": ["adam_lr", "sgd_lr", "sdg_lr"]},
            SWEPT[build_branches],
            ["sdg_lr"],
        ),
    ],
)
def test_what_is_not_swept_is_not_narrowed_and_is_named(tmp_path, capsys, build, options, swept, others):
    tuner = searched(tmp_path, build, verbose=2, max_trials=6, **options)
    assert sweep_settings(tuner.oracle) == swept
    rates = [entry.name for entry in tuner.oracle.get_space().space if entry.name.endswith("lr")]
    assert len(rates) > 1
    for name in rates:
        assert (declared_bounds(tuner, name) == (1e-6, 10.0)) == (name not in swept)
    out = capsys.readouterr().out
    assert out.count(f"Not swept: {', '.join(others)}.") == out.count("Not swept") == bool(others)


def test_none_of_the_list_is_declared(tmp_path):
    with warned(r"found no range.*no hyperparameter named 'adagrad_lr'.*'adam_lr'"):
        tuner = searched(tmp_path, build_branches, learning_rate=["adagrad_lr", "rmsprop_lr"], max_trials=2)
    assert [sweep.learning_rate for sweep in tuner.oracle.sweeps] == ["adagrad_lr"]
    assert len(tuner.trained) == 2


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

    tuner = search_rates(tmp_path, build, ["head_lr", "encoder_lr"], max_trials=2)
    assert sweep_settings(tuner.oracle) == {
        "head_lr": [{"encoder": "shared"}, {"encoder": "own"}],
        "encoder_lr": [{"encoder": "own"}],
    }


def test_a_rate_that_fit_declares_in_a_branch(tmp_path):
    def build(hp):
        kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
        return model_with(kinds[hp.Choice("optimizer", list(kinds))](0.01), hp)

    def train(hp, model, *args, **kwargs):
        model.optimizer.learning_rate = rate_of(hp, f"{hp.get('optimizer')}_lr")
        return model.fit(*args, **kwargs)

    # No model that is built shows that only one of the two is declared in each.
    with warned("(adam_lr, optimizer=sgd|sgd_lr, optimizer=adam) found no range"):
        tuner = search_rates(tmp_path, Trains(build, train), ["sgd_lr", "adam_lr"])
    swept = [sweep.name for sweep in tuner.oracle.sweeps if sweep.lr_range is not None]
    assert {"adam_lr, optimizer=adam", "sgd_lr, optimizer=sgd"} <= set(swept)
    for trial in tuner.oracle.trials.values():
        values = trial.hyperparameters.values
        assert 1e-3 <= values[f"{values['optimizer']}_lr"] <= 1e-2


class TestNextRun:
    def test_goes_on(self, tmp_path, recwarn, capsys):
        first = searched(tmp_path, build_branches, max_trials=6)
        space = first.oracle.get_space().get_config()
        capsys.readouterr()
        again = searched(tmp_path, build_branches, max_trials=9)
        assert "earlier run hold: adam_lr, optimizer=adam" in capsys.readouterr().out
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


# --- Several learning rates of one model, named in a list ---------------------------------------------------


class FineTunes(kt.HyperModel):
    """Trains the head, unfreezes the base, and trains both at a second rate."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def build(self, hp):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)])
        model.layers[0].trainable = False
        if self.where == "build":
            rate_of(hp, "fine_lr")
        model.compile(keras.optimizers.Adam(rate_of(hp, "head_lr")), "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        model.layers[0].trainable = True
        model.compile(keras.optimizers.Adam(rate_of(hp, "fine_lr")), "mse")
        return model.fit(*args, **kwargs)


@pytest.mark.parametrize(
    ("where", "names"), [("build", ["head_lr", "fine_lr"]), ("fit", ["fine_lr", "head_lr"])]
)
def test_a_rate_of_a_later_fit_is_searched_as_declared(tmp_path, where, names):
    with warned("trains at 'head_lr' and not at 'fine_lr', and a sweep sees the first fit alone"):
        tuner = search_rates(tmp_path, FineTunes(where), names, max_trials=1)
    ranges = {sweep.learning_rate: sweep.lr_range for sweep in tuner.oracle.sweeps}
    assert ranges == {"head_lr": lrtuner.LRRange(1e-3, 1e-2), "fine_lr": None}
    entries = {entry.name: entry for entry in tuner.oracle.get_space().space}
    assert (entries["head_lr"].min_value, entries["head_lr"].max_value) == (1e-3, 1e-2)
    assert (entries["fine_lr"].min_value, entries["fine_lr"].max_value) == (1e-6, 10.0)
    for trial in tuner.oracle.trials.values():
        assert 1e-3 <= trial.hyperparameters.values["head_lr"] <= 1e-2


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
@pytest.mark.parametrize(("given", "held"), [({}, 10**-2.5), ({"default": 0.03}, 0.03)])
def test_the_rate_at_which_the_other_optimizer_trains_during_a_sweep(tmp_path, capsys, given, held):
    heads = []

    def build(hp):
        head = keras.optimizers.Adam(rate_of(hp, "head_lr", **given))
        heads.append(head)
        encoder = keras.optimizers.SGD(rate_of(hp, "encoder_lr"))
        optimizers = keras.optimizers.OptimizerMap(head, {"encoder/.*": encoder})
        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(8, name="encoder"), keras.layers.Dense(1)]
        )
        model.compile(keras.optimizers.MultiOptimizer(optimizers), loss="mse")
        return model

    tuner = search_rates(tmp_path, build, ["encoder_lr", "head_lr"], max_trials=1, verbose=2)
    first = tuner.oracle.sweeps[0]
    assert [sweep.name for sweep in tuner.oracle.sweeps] == ["encoder_lr", "head_lr"]
    for trial in tuner.oracle.trials.values():
        assert all(1e-3 <= trial.hyperparameters.values[sweep.name] <= 1e-2 for sweep in tuner.oracle.sweeps)
    assert first.hyperparameters.values["head_lr"] == pytest.approx(held, rel=1e-5)
    assert f"head_lr was held at {held:.3g}." in capsys.readouterr().out
    trained = [head for head in heads if int(head.iterations) > 0]
    assert float(trained[0].learning_rate) == pytest.approx(held, rel=1e-5)


@pytest.mark.parametrize(("seed", "name"), [(1, "adam_lr"), (2, "sgd_lr")])
def test_a_search_of_one_trial_sweeps_in_its_branch_alone(tmp_path, seed, name):
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=1, seed=seed)
    once = lrtuner.Tuner(oracle, build_branches, steps=60, directory=tmp_path, project_name="project")
    keras.utils.set_random_seed(0)
    once.search(X, Y, **FIT)
    (sweep,) = once.oracle.sweeps
    assert sweep.learning_rate == name
    assert sweep.lr_range is not None
