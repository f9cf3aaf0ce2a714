import types

import keras
import keras_tuner as kt
import numpy as np
import pytest
from searches import RATE, declared_rate

from lrtuner.errors import LearningRateError
from lrtuner.search.codec import decode, encode
from lrtuner.search.look import MOST_BUILDS, Models
from lrtuner.search.protocol import Order, is_sweep
from lrtuner.search.settings import SettingSpace, setting_combinations, setting_values, sweep_label
from lrtuner.space.relation import IDENTITY

OPTIMIZERS = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
RAW, SCALED = np.full((8, 2), 100.0), np.ones((8, 2))


def model(kind="sgd", rate=0.1, layers=(), **arguments):
    """Return what a look sees of a Keras model."""
    layers = [types.new_class(name, ())() for name in layers]
    optimizer = OPTIMIZERS[kind](rate, **arguments)
    return types.SimpleNamespace(optimizer=optimizer, compiled=True, _flatten_layers=lambda: layers)


def looking(build, *, at=None, **order):
    """Return the models near that which a function builds, and the values that they were built at."""
    built = []

    def noted(hp):
        assert is_sweep(hp)
        built.append(dict(hp.values))
        return build(hp)

    hp = kt.HyperParameters()
    hp.values = dict(at or {})
    swept = build(hp)
    order = Order(min_lr=1e-7, max_lr=10.0, **order)
    models = Models(noted, hp, swept, order)
    return models, built, hp


def settings(build, x=SCALED, name=RATE, *, at=None, **order):
    models, built, hp = looking(build, at=at, learning_rate=name, **order)
    found = models.settings(name, x)
    assert len(built) < MOST_BUILDS
    return found, len(built), hp


@pytest.fixture
def space():
    hp = kt.HyperParameters()
    kind = hp.Choice("kind", ["sgd", "adam", "rmsprop"])
    with hp.conditional_scope("kind", ["sgd"]):
        if kind == "sgd":
            hp.Boolean("heavy")
    hp.Float("learning_rate", 1e-6, 10.0, sampling="log")
    hp.Int("units", 2, 8, default=4)
    return hp


class TestSettingSpace:
    def test_combinations_leave_out_what_is_inactive(self, space):
        found = setting_combinations(space, ["heavy", "kind"])
        assert found[0] == {"kind": "sgd", "heavy": False}
        assert len(found) == 4

    def test_without_any_there_is_one(self, space):
        assert SettingSpace().active_settings(space, "learning_rate") == [{}]
        assert SettingSpace().setting_of({"kind": "adam"}) == {}

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

    def test_alike_ones_count_as_one(self):
        adam = [{"kind": "adam", "heavy": heavy} for heavy in (False, True)]
        settings = SettingSpace(
            ("kind", "heavy"), (tuple(adam),), "batch_size", {"adam_lr": adam}, ("adam_lr",)
        )
        assert settings.setting_of({**adam[1], "units": 2}) == adam[0]
        assert settings.declares("adam_lr", adam[1])
        assert not settings.declares("adam_lr", {"kind": "sgd", "heavy": False})
        assert settings.declares("units", {"kind": "sgd", "heavy": False})
        assert decode(SettingSpace, encode(settings)) == settings


class TestSettings:
    def test_an_optimizer_to_choose_among_others(self):
        def build(hp):
            for index in range(9):
                hp.Boolean(f"switch_{index}")
            kind = hp.Choice("algorithm", list(OPTIMIZERS))
            return model(kind, declared_rate(hp))

        found, builds, hp = settings(build)
        assert found == SettingSpace(("algorithm",))
        assert len(found.active_settings(hp, RATE)) == 3
        # The start, all others at once, the optimizer alone, another one, the switches beside two of them.
        assert builds == 6

    def test_two_models_where_nothing_chooses(self):
        def build(hp):
            hp.Choice("activation", ["relu", "tanh"])
            hp.Boolean("bias")
            return model("sgd", declared_rate(hp))

        assert settings(build)[:2] == (SettingSpace(), 2)

    def test_one_where_there_is_nothing_to_choose(self):
        found, builds, _ = settings(lambda hp: model("sgd", declared_rate(hp) * hp.Int("width", 1, 3)))
        assert (found, builds) == (SettingSpace(), 1)

    @pytest.mark.parametrize("scoped", [False, True])
    @pytest.mark.parametrize("kinds", [["sgd", "adam"], ["adam", "sgd"]])
    def test_a_momentum_in_the_branch_of_an_optimizer(self, kinds, scoped):
        def build(hp):
            kind, momentum = hp.Choice("kind", kinds), {}
            if scoped:
                with hp.conditional_scope("kind", ["sgd"]):
                    heavy = hp.Boolean("heavy")
            elif kind == "sgd":
                heavy = hp.Boolean("heavy")
            if kind == "sgd":
                momentum = {"momentum": 0.9 if heavy else 0.0}
            return model(kind, declared_rate(hp), **momentum)

        found, _, hp = settings(build)
        assert set(found.names) == {"kind", "heavy"}
        swept = found.active_settings(hp, RATE)
        assert len(swept) == 3
        adam = [found.setting_of({"kind": "adam"} | more) for more in ({}, {"heavy": True}, {"heavy": False})]
        assert sum(setting in swept for setting in adam) in (1, 2)

    def test_settings_that_are_compiled_alike_share_a_sweep(self):
        def build(hp):
            kind, momentum = hp.Choice("optimizer", ["adam", "sgd"]), hp.Choice("momentum", [0.0, 0.9])
            return model(kind, declared_rate(hp), **({"momentum": momentum} if kind == "sgd" else {}))

        found, builds, hp = settings(build)
        assert len(found.active_settings(hp, RATE)) == 3
        adam = [found.setting_of({"optimizer": "adam", "momentum": momentum}) for momentum in (0.0, 0.9)]
        assert adam[0] == adam[1]
        assert builds == 4

    def test_settings_whose_models_were_too_many_to_build_have_a_sweep_each(self):
        def build(hp):
            index = hp.Choice("optimizer", list(range(12)))
            rate = hp.Float("first_lr" if index == 0 else "other_lr", 1e-6, 10.0, sampling="log")
            return model("sgd", rate, momentum=index / 12)

        found, builds, hp = settings(build, name="first_lr")
        assert builds == MOST_BUILDS - 1
        assert found.learning_rates == ("first_lr", "other_lr")
        swept = [found.active_settings(hp, name) for name in found.learning_rates]
        assert list(map(len, swept)) == [1, 11]

    def test_values_that_no_model_can_be_built_with(self):
        def build(hp):
            kind = hp.Choice("optimizer", ["adam", "sgd"])
            if hp.Choice("size", ["small", "broken"]) == "broken":
                raise ValueError("too small")
            return model(kind, declared_rate(hp))

        assert settings(build)[0].names == ("optimizer",)

    @pytest.mark.parametrize("is_scoped", [False, True])
    def test_a_learning_rate_in_each_branch(self, is_scoped):
        def build(hp):
            kind = hp.Choice("optimizer", ["adam", "sgd", "heavy"])
            hp.Float("end_lr_share", 0.0, 1.0)
            rates = {}
            for branch, kinds in (("adam", ["adam"]), ("sgd", ["sgd", "heavy"])):
                if is_scoped:
                    with hp.conditional_scope("optimizer", kinds):
                        rates[branch] = hp.Float(f"{branch}_lr", 1e-6, 10.0, sampling="log")
                elif kind in kinds:
                    rates[branch] = hp.Float(f"{branch}_lr", 1e-6, 10.0, sampling="log")
            return model("adam" if kind == "adam" else "sgd", rates["adam" if kind == "adam" else "sgd"])

        found, _, hp = settings(build, name="adam_lr")
        assert found.learning_rates == ("adam_lr", "sgd_lr")
        assert found.active_settings(hp, "adam_lr") == [{"optimizer": "adam"}]
        assert found.active_settings(hp, "sgd_lr") == [{"optimizer": "sgd"}]
        # What another branch declares is part of the space before the first trial.
        assert "sgd_lr" in {entry.name for entry in hp.space}
        assert settings(build, name="adam_lr", others_count=False)[0].learning_rates == ()

    def test_a_rate_for_a_second_phase_moves_nothing(self):
        def build(hp):
            rate = declared_rate(hp)
            if hp.Boolean("fine_tune"):
                hp.Float("fine_tune_lr", 1e-6, 10.0, sampling="log")
            return model("adam", rate)

        assert settings(build)[0] == SettingSpace()

    def test_those_that_the_user_names(self):
        def build(hp):
            hp.Choice("activation", ["relu", "tanh"])
            return model(hp.Choice("optimizer", ["adam", "sgd"]), declared_rate(hp))

        given = SettingSpace(("activation",))
        assert settings(build, settings=given)[0] == given

    @pytest.mark.parametrize(
        ("kinds", "x", "names"),
        [
            ({"norm": "BatchNormalization"}, RAW, ("optimizer", "norm")),
            ({"pool": "LayerNormalization"}, RAW, ("optimizer", "pool")),
            ({"to_1": "Rescaling"}, RAW, ("optimizer", "to_1")),
            ({"norm": "Dropout"}, RAW, ("optimizer",)),
            # The inputs are scaled already, by hand or by a layer.
            ({"norm": "BatchNormalization"}, SCALED, ("optimizer",)),
            ({"norm": "BatchNormalization", None: "Rescaling"}, RAW, ("optimizer",)),
            # As one for each layer: their combinations are too many.
            ({"bn_1": "BatchNormalization", "bn_2": "BatchNormalization"}, RAW, ("optimizer",)),
        ],
    )
    def test_what_adds_normalisation(self, kinds, x, names):
        def build(hp):
            kind = hp.Choice("optimizer", ["adam", "sgd"])
            layers = [layer for name, layer in kinds.items() if name is None or hp.Boolean(name)]
            return model(kind, declared_rate(hp), layers)

        assert settings(build, x)[0].names == names

    def test_normalisation_of_a_real_model(self):
        def build(hp):
            layers = [keras.layers.BatchNormalization()] if hp.Boolean("norm") else []
            net = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
            net.compile(keras.optimizers.SGD(declared_rate(hp)), "mse")
            return net

        assert settings(build, RAW)[0].names == ("norm",)


class TestRates:
    def test_the_value_itself(self):
        models, built, _ = looking(lambda hp: model("sgd", declared_rate(hp)))
        (optimizer,), relation = models.followers(RATE)
        assert (type(optimizer), relation, built) == (keras.optimizers.SGD, IDENTITY, [])

    @pytest.mark.parametrize(
        ("declare", "rate"),
        [
            (lambda hp: 10 ** hp.Float(RATE, -6, 1), lambda value: 10**value),
            (lambda hp: hp.Float(RATE, 1e-6, 10, sampling="log") / 4, lambda value: value / 4),
            (lambda hp: 10.0 ** -hp.Choice(RATE, [6.0, 5.0, 3.0, 1.0, -1.0]), lambda value: 10**-value),
        ],
    )
    def test_what_it_is_made_of(self, declare, rate):
        models, built, _ = looking(lambda hp: model("sgd", declare(hp)))
        _, relation = models.followers(RATE)
        assert len(built) == 3
        low, high = min(relation.values), max(relation.values)
        for share in (0.0, 0.3, 0.7, 1.0):
            value = low + share * (high - low)
            assert relation.rate(value) == pytest.approx(rate(value), rel=1e-4)

    def test_a_rate_that_build_ignores(self):
        def build(hp):
            declared_rate(hp)
            return model("adam", 1e-3)

        models, built, _ = looking(build)
        with pytest.raises(
            LearningRateError, match=r"rate of 0.001 whatever .* compile\('adam'\) takes none"
        ):
            models.followers(RATE)
        assert len(built) == 2

    def test_a_rate_that_rises_and_falls(self):
        models, _, _ = looking(lambda hp: model("sgd", 1.0 + (hp.Float(RATE, -1.0, 1.1)) ** 2))
        with pytest.raises(LearningRateError, match="neither rises nor falls"):
            models.followers(RATE)

    def test_another_rate_than_that_it_was_built_with(self):
        models, _, _ = looking(lambda hp: model("sgd", declared_rate(hp)))
        models._optimizers[0].learning_rate = 0.5
        with pytest.raises(LearningRateError, match=r"built for a learning rate of 1e-06 but trains at 0\.5"):
            models.followers(RATE)

    def test_two_that_have_the_same_value(self):
        def build(hp):
            made = model("sgd", hp.Float("head_lr", 1e-6, 10.0, sampling="log"))
            made.optimizer = [
                made.optimizer,
                OPTIMIZERS["adam"](hp.Float("body_lr", 1e-6, 10.0, sampling="log")),
            ]
            return made

        models, _, _ = looking(build)
        found = [models.followers(name)[0] for name in ("head_lr", "body_lr")]
        assert [[type(one).__name__ for one in several] for several in found] == [["SGD"], ["Adam"]]

    def test_several_of_which_none_follows(self):
        def build(hp):
            declared_rate(hp)
            made = model("sgd")
            made.optimizer = [made.optimizer, OPTIMIZERS["adam"](0.003)]
            return made

        with pytest.raises(
            LearningRateError, match="none of the model's 2 optimizers has a rate that follows"
        ):
            looking(build)[0].followers(RATE)

    def test_one_that_has_the_value_of_the_rate_that_is_trained_at(self):
        def build(hp):
            hp.Float("fine_lr", 1e-6, 10.0, sampling="log")
            return model("sgd", hp.Float("head_lr", 1e-6, 10.0, sampling="log"))

        models, _, _ = looking(build)
        assert models.followers("head_lr")[1] == IDENTITY
        with pytest.raises(LearningRateError, match="a rate of 1e-06 whatever 'fine_lr' is"):
            models.followers("fine_lr")


class TestBatchSize:
    @pytest.mark.parametrize("name", ["batch_size", "log/Batch"])
    def test_by_its_name_and_value(self, name):
        def build(hp):
            hp.Choice("batch_norm", [32, 64])
            hp.Int("width", 32, 64)
            hp.Choice(name, [32, 64])
            return model("sgd", declared_rate(hp))

        assert looking(build)[0].batch_size_name(32) == name
        assert looking(build)[0].batch_size_name(16) is None
        assert looking(build)[0].batch_size_name(None) is None

    def test_not_where_it_moves_the_rate(self):
        models, _, _ = looking(lambda hp: model("sgd", declared_rate(hp) * hp.Choice("batch_size", [32, 64])))
        assert models.batch_size_name(32) is None

    def test_one_that_only_fit_declares(self):
        models, _, hp = looking(lambda hp: model("sgd", declared_rate(hp)))
        hp.Choice("batch_size", [32, 64])
        assert models.batch_size_name(32) == "batch_size"
