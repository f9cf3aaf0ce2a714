import keras
import keras_tuner as kt
import pytest
from searches import declared_rate

from lrtuner.search.builds import UNKNOWN, Built
from lrtuner.search.setting_finder import MOST_BUILDS, SettingFinder
from lrtuner.search.settings import (
    SettingSpace,
    setting_combinations,
    setting_values,
    sweep_label,
    values_in_the_middle,
)
from lrtuner.sweep.model import compiled_with

OPTIMIZERS = {
    "sgd": lambda rate, momentum: keras.optimizers.SGD(rate, momentum=momentum),
    "adam": lambda rate, _: keras.optimizers.Adam(rate),
    "rmsprop": lambda rate, _: keras.optimizers.RMSprop(rate),
}


def build(hp):
    """A model whose optimizer is chosen by three hyperparameters, none of which is called so."""
    momentum, kind = 0.0, hp.Choice("kind", ["sgd", "adam", "rmsprop"])
    with hp.conditional_scope("kind", ["sgd"]):
        if kind == "sgd":
            momentum = 0.9 if hp.Boolean("heavy") else 0.0
    rate = declared_rate(hp)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, hp.Choice("act", ["relu", "tanh"]))])
    clip = 1.0 if hp.Boolean("clip") else None
    optimizer = OPTIMIZERS[kind](rate, momentum)
    optimizer.clipnorm = clip
    model.compile(optimizer, loss="mse")
    return model


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=1)
    kt.Tuner(oracle, build, directory=tmp_path_factory.mktemp("space"))
    return oracle.get_space()


def counted(builds):
    def look(values):
        builds.append(dict(values.values))
        return Built(compiled_with(build(values)))

    return look


class TestFindSettings:
    def test_what_chooses_the_optimizer(self, space):
        builds = []
        found = SettingFinder(values_in_the_middle(space, {}), ["learning_rate"], counted(builds)).find()
        assert found.names == ("kind", "heavy")
        settings = found.active_settings(space, "learning_rate")
        assert settings == [
            {"kind": "sgd", "heavy": False},
            {"kind": "sgd", "heavy": True},
            {"kind": "adam"},
            {"kind": "rmsprop"},
        ]
        assert len(builds) <= MOST_BUILDS

    @pytest.mark.parametrize(
        ("name", "values", "most"),
        [("choice_6", ["adam", "sgd", "rmsprop"], 6), ("choice_6", ["fast", "sgd", "other"], MOST_BUILDS)],
    )
    def test_one_of_nine_choices_takes_few_models(self, name, values, most):
        hp = kt.HyperParameters()
        for index in range(9):
            one = f"choice_{index}"
            hp.Choice(one, values if one == name else [f"{index}_{value}" for value in "abc"])
        builds = []

        def look(given):
            builds.append(dict(given.values))
            return Built((("SGD", 0.0) if given.get(name) == "sgd" else (given.get(name), None),))

        found = SettingFinder(values_in_the_middle(hp, {}), [], look).find()
        assert found.names == (name,)
        assert len(found.active_settings(hp, "learning_rate")) == 3
        assert len(builds) <= most

    def test_settings_for_which_there_were_too_many_models_have_a_sweep_each(self):
        hp = kt.HyperParameters()
        hp.Choice("optimizer", [f"optimizer_{index}" for index in range(12)])
        builds = []

        def look(given):
            builds.append(dict(given.values))
            name = given.get("optimizer")
            given.Float("first_lr" if name == "optimizer_0" else "other_lr", 1e-6, 10.0, sampling="log")
            return Built(((name, None),))

        finder = SettingFinder(values_in_the_middle(hp, {}), [], look)
        found = finder.find()
        assert len(builds) == MOST_BUILDS
        hp.merge(finder.late.values())
        settings = [found.active_settings(hp, name) for name in ("first_lr", "other_lr")]
        assert settings[0][0] == {"optimizer": "optimizer_0"}
        assert len({str(setting) for several in settings for setting in several}) == 12

    def test_a_list_of_rates_is_moved_along_so_that_no_model_is_built_for_it(self):
        hp = kt.HyperParameters()
        hp.Choice("optimizer", ["adam", "sgd"])
        hp.Choice("learning_rate", [1e-3, 1e-2])
        rates = []

        def look(given):
            rates.append(given.Choice("learning_rate", [1e-3, 1e-2]))
            return Built(((given.get("optimizer"), None),))

        start = values_in_the_middle(hp, {})
        SettingFinder(start, ["learning_rate"], look).find()
        assert rates == [start.get("learning_rate"), 1e-3 if start.get("learning_rate") == 1e-2 else 1e-2]

    def test_a_model_for_each_value_of_the_longest_list_where_nothing_does(self, space):
        def look(values):
            builds.append(dict(values.values))
            return Built(("SGD", 0.0))

        builds = []
        assert (
            SettingFinder(values_in_the_middle(space, {}), ["learning_rate"], look).find() == SettingSpace()
        )
        # The start, a kind alone, two kinds with all the others, and the other value of the one in a branch.
        assert len(builds) == 5

    def test_settings_that_are_compiled_alike_share_a_sweep(self):
        hp = kt.HyperParameters()
        hp.Choice("optimizer", ["adam", "sgd", "sgd_nesterov"])
        hp.Boolean("momentum")

        def look(values):
            name, momentum = values.get("optimizer"), values.get("momentum")
            return Built(("Adam",) if name == "adam" else ("SGD", momentum))

        found = SettingFinder(values_in_the_middle(hp, {}), [], look).find()
        settings = found.active_settings(hp, "learning_rate")
        assert len(settings) == 3
        assert found.setting_of({"optimizer": "adam", "momentum": True}) == settings[0]
        assert found.setting_of({"optimizer": "sgd_nesterov", "momentum": True}) in settings
        assert SettingSpace.from_config(found.to_config()) == found

    @pytest.mark.parametrize("is_scoped", [False, True])
    def test_a_learning_rate_in_each_branch(self, is_scoped):
        def declare(hp):
            name = hp.Choice("optimizer", ["adam", "sgd", "heavy"])
            hp.Float("end_lr_share", 0.0, 1.0)
            branches = ("adam", ["adam"]), ("sgd", ["sgd", "heavy"])
            for branch, names in branches:
                if is_scoped:
                    with hp.conditional_scope("optimizer", names):
                        hp.Float(f"{branch}_lr", 1e-6, 10.0, sampling="log")
                elif name in names:
                    hp.Float(f"{branch}_lr", 1e-6, 10.0, sampling="log")
            return name

        hp = kt.HyperParameters()
        declare(hp)
        # All three are compiled alike, as far as the builds show.
        finder = SettingFinder(
            values_in_the_middle(hp, {}), ["adam_lr"], lambda values: declare(values) and Built(1)
        )
        found = finder.find()
        assert list(finder.late) == ([] if is_scoped else ["sgd_lr"])
        if not is_scoped:
            assert found.declared_in == {
                "adam_lr": [{"optimizer": "adam"}],
                "sgd_lr": [{"optimizer": "sgd"}, {"optimizer": "heavy"}],
            }
            assert SettingSpace.from_config(found.to_config()) == found
            hp.merge(finder.late.values())
            assert found.active_settings(hp, "adam_lr") == [{"optimizer": "adam"}]
            assert found.active_settings(hp, "sgd_lr") == [{"optimizer": "sgd"}]

    def test_another_learning_rate_for_a_second_phase_moves_nothing(self):
        def declare(hp):
            hp.Float("learning_rate", 1e-6, 10.0, sampling="log")
            if hp.Boolean("fine_tune"):
                hp.Float("fine_tune_lr", 1e-6, 10.0, sampling="log")
            return Built(("Adam",))

        hp = kt.HyperParameters()
        declare(hp)
        finder = SettingFinder(values_in_the_middle(hp, {}), ["learning_rate"], declare)
        assert finder.find() == SettingSpace()
        assert list(finder.late) == ["fine_tune_lr"]

    def test_values_that_no_model_can_be_built_with(self):
        hp = kt.HyperParameters()
        hp.Choice("optimizer", ["adam", "sgd"])
        hp.Choice("size", ["small", "broken"])

        def look(values):
            return Built(UNKNOWN if values.get("size") == "broken" else (values.get("optimizer"),))

        assert SettingFinder(values_in_the_middle(hp, {}), [], look).find().names == ("optimizer",)

    @pytest.mark.parametrize(
        ("kinds", "found", "most"),
        [
            ({}, (), 4),
            ({"pool": [1]}, ("pool",), 5),
            # Its name is likely, so that it is looked at alone.
            ({"norm": [2], "pool": [1]}, ("norm",), MOST_BUILDS),
            ({"norm": []}, (), MOST_BUILDS),
            # As one for each layer: their combinations are too many.
            ({"norm": [1, 2], "bn_2": [1, 2]}, (), MOST_BUILDS),
            ({"norm": [1, 2], "bn_2": [], "bn_3": [], "bn_4": []}, (), MOST_BUILDS),
            ({"long": [1, 2, 3, 4]}, (), 7),
            ({"branch": [1]}, (), 6),
        ],
    )
    def test_what_adds_normalisation(self, kinds, found, most):
        sizes = {"act": 2, "pool": 2, **{name: 2 + (name == "norm") for name in kinds}, "long": 5}

        def declare(hp):
            name = hp.Choice("optimizer", ["adam", "sgd"])
            for one in ("act", "pool", "norm", "bn_2", "bn_3", "bn_4", "long"):
                if one in ("act", "pool") or one in kinds:
                    hp.Choice(one, [f"{one}_{index}" for index in range(sizes[one])])
            with hp.conditional_scope("optimizer", ["sgd"]):
                if name == "sgd" and "branch" in kinds:
                    hp.Choice("branch", ["branch_0", "branch_1"])
            return name

        def look(given):
            builds.append(dict(given.values))
            layers = {
                name
                for name, places in kinds.items()
                if any(given.values.get(name) == f"{name}_{place}" for place in places)
            }
            return Built((declare(given),), frozenset(layers))

        builds, hp = [], kt.HyperParameters()
        declare(hp)
        seen = SettingFinder(values_in_the_middle(hp, {}), [], look).find()
        assert (seen.names, seen.normalising) == (("optimizer",), found)
        assert len(builds) <= most
        # The user's own list is all that counts.
        assert SettingFinder(values_in_the_middle(hp, {}), [], look).find(["act"]).normalising == ()

    @pytest.mark.parametrize("start", ["adam", "sgd"])
    @pytest.mark.parametrize("scaling", [set(), {"Rescaling"}])
    def test_normalisation_of_one_optimizer_s_models(self, start, scaling):
        def look(hp):
            layers = set(scaling)
            if hp.Choice("optimizer", ["adam", "sgd"]) == "sgd" and hp.Boolean("batch_norm"):
                layers.add("BatchNormalization")
            return Built((hp.get("optimizer"),), frozenset(layers))

        hp = kt.HyperParameters()
        hp.Choice("optimizer", ["adam", "sgd"])
        hp.Boolean("batch_norm")
        finder = SettingFinder(values_in_the_middle(hp, {"optimizer": start}), [], look)
        assert finder.find().normalising == (() if scaling else ("batch_norm",))


class TestMiddle:
    def test_numbers_stand_in_the_middle_and_the_rest_at_the_default(self):
        hp = kt.HyperParameters()
        hp.Int("units", 32, 512, step=32)
        hp.Float("decay", 1e-6, 1e-2, sampling="log")
        hp.Choice("batch_size", [16, 32, 64])
        hp.Choice("act", ["relu", "tanh", "gelu"], default="tanh")
        hp.Boolean("bn", default=True)
        hp.Fixed("depth", 3)
        values = values_in_the_middle(hp, {}).values
        assert values == {
            "units": 288,
            "decay": pytest.approx(1e-4),
            "batch_size": 32,
            "act": "tanh",
            "bn": True,
            "depth": 3,
        }
        assert hp.values["units"] == 32
        assert values_in_the_middle(hp, {"units": 64}).values["units"] == 64

    def test_branches(self, space):
        assert "heavy" in values_in_the_middle(space, {}).values
        assert "heavy" not in values_in_the_middle(space, {"kind": "adam"}).values
        assert values_in_the_middle(space, {}, ["heavy"]).values["kind"] == "sgd"


class TestSettings:
    def test_combinations_leave_out_what_is_inactive(self, space):
        found = setting_combinations(space, ["heavy", "kind"])
        assert found[0] == {"kind": "sgd", "heavy": False}
        assert len(found) == 4

    def test_only_those_in_which_the_learning_rate_is_active(self):
        hp = kt.HyperParameters()
        hp.Choice("optimizer", ["sgd", "adam"])
        for name in ("sgd", "adam"):
            with hp.conditional_scope("optimizer", [name]):
                hp.Float(f"{name}_lr", 1e-6, 1.0)
        settings = SettingSpace(("optimizer",))
        assert settings.active_settings(hp, "adam_lr") == [{"optimizer": "adam"}]

    def test_without_any_there_is_one(self, space):
        assert SettingSpace().active_settings(space, "learning_rate") == [{}]
        assert SettingSpace().setting_of({"kind": "adam"}) == {}

    def test_normalisation_counts_beside_each_optimizer(self, space):
        settings = SettingSpace(("kind",), normalising=("act",))
        assert settings.setting_of({"kind": "adam", "act": "tanh", "clip": True}) == {
            "kind": "adam",
            "act": "tanh",
        }
        found = settings.active_settings(space, "learning_rate")
        kinds = [(setting["kind"], setting["act"]) for setting in found]
        assert sorted(kinds) == [(kind, act) for kind in sorted(OPTIMIZERS) for act in ("relu", "tanh")]
        assert SettingSpace.from_config(settings.to_config()) == settings

    def test_values(self):
        hp = kt.HyperParameters()
        hp.Int("few", 1, 8)
        hp.Int("many", 1, 9)
        hp.Float("real", 0.0, 1.0, step=0.5)
        few, many, real = hp.space
        assert setting_values(few) == list(range(1, 9))
        for entry in (many, real):
            with pytest.raises(ValueError, match=rf"sweep_per names '{entry.name}'.*at most 8 values"):
                setting_values(entry)

    def test_in_words(self):
        assert sweep_label(None, {}) == ""
        assert sweep_label(None, {"optimizer": "adam", "batch_size": 32}) == "optimizer=adam, batch_size=32"
        assert sweep_label("head_lr", {"optimizer": "adam"}) == "head_lr, optimizer=adam"

    @pytest.mark.parametrize("config", [None, [], {}, {"names": []}, {"names": [], "alike": [], "more": 1}])
    def test_bad_config(self, config):
        with pytest.raises(ValueError, match="config of SettingSpace"):
            SettingSpace.from_config(config)
