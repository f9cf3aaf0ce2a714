import math
import re

import keras_tuner
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.errors import LearningRateError, LearningRateNotFoundError, NothingToNarrowError
from lrtuner.space.entries import entry_bounds, entry_named, replace_entry
from lrtuner.space.learning_rate import (
    find_branch_learning_rates,
    find_learning_rate,
    find_learning_rates,
    is_named_like_learning_rate,
)
from lrtuner.space.narrowing import allows, explain_narrowing, narrow_entry, spread_into, union_of_parts
from lrtuner.space.relation import IDENTITY, Relation

RATE = "learning_rate"
NO_RATES = """units colr lrelu dlearning_rate encoder/learning_rate_decay lr_decay LR_Factor lr_patience
lr_gamma lr_schedule lr_scheduler lr_warmup_steps lr_step_size lr_drop_every lr_min_delta lr_cooldown"""


def space_with(*names):
    hyperparameters = keras_tuner.HyperParameters()
    for name in names:
        hyperparameters.Float(name, 1e-6, 10.0, sampling="log")
    return hyperparameters


def narrow(hyperparameters, name, lr_range, relation=IDENTITY):
    """Narrow a hyperparameter in place, as a search does, and return what was done."""
    entry = entry_named(hyperparameters, name)
    replacement = narrow_entry(entry, lr_range, relation)
    replace_entry(hyperparameters, name, replacement)
    return explain_narrowing(entry, replacement, lr_range, relation)


def narrowed_by(declare, low, high):
    """Return the entry, the hyperparameters and the report after narrowing what `declare(hp)` declares."""
    hyperparameters = keras_tuner.HyperParameters()
    declare(hyperparameters)
    report = narrow(hyperparameters, RATE, LRRange(low, high))
    (entry,) = hyperparameters.space
    return entry, hyperparameters, report


class TestFindLearningRate:
    @pytest.mark.parametrize(
        "name",
        ["lr", "LR", "Learning_Rate", "adam_lr", "opt-lr", "encoder/learning_rate", "sgd_learning_rate"],
    )
    def test_finds_by_last_word(self, name):
        assert find_learning_rate(space_with("units", name)) == name

    @pytest.mark.parametrize("name", ["lr_adam", "LR-head", "learning_rate_head", "encoder/lr_1"])
    def test_finds_by_first_word(self, name):
        assert find_learning_rate(space_with("units", name)) == name
        # The last word tells more, and a script that worked stays as clear as it was.
        assert find_learning_rate(space_with("units", name, "sgd_lr")) == "sgd_lr"

    def test_what_is_no_rate_is_no_competitor(self):
        space = space_with("lr_adam")
        space.Boolean("reduce_lr")
        space.Choice("lr_schedule_name", ["cosine", "linear"])
        space.Fixed("encoder_lr", 1e-4)
        assert find_learning_rates(space) == ["lr_adam"]
        space.Float("lr", 1e-6, 10.0, sampling="log")
        assert find_learning_rates(space) == ["lr"]

    def test_several_are_listed(self):
        several = space_with("adam_lr", "units", "sgd_lr", "lr_head")
        assert find_learning_rates(several) == ["adam_lr", "sgd_lr"]
        with pytest.raises(LearningRateError, match=r"'lr', 'adam_lr'.*learning_rate='lr'") as caught:
            find_learning_rate(space_with("lr", "adam_lr"))
        assert type(caught.value) is LearningRateError

    def test_several_that_begin_with_the_word_do_not_stop_a_search_at_a_fixed_rate(self):
        space = space_with("lr_low", "lr_high")
        with pytest.raises(LearningRateError, match="Several") as caught:
            find_learning_rate(space)
        assert type(caught.value) is LearningRateError
        space.Fixed("lr", 1e-3)
        with pytest.raises(NothingToNarrowError, match=r"is fixed at 0\.001, so there is nothing to narrow"):
            find_learning_rate(space)

    @pytest.mark.parametrize("name", NO_RATES.split())
    def test_other_names_are_not_found(self, name):
        (entry,) = space_with(name).space
        assert not is_named_like_learning_rate(entry)
        with pytest.raises(LearningRateNotFoundError, match=rf"'{name}'.*learning_rate=\"\.\.\.\""):
            find_learning_rate(space_with(name))

    def test_empty_space_and_explicit_name(self):
        with pytest.raises(LearningRateNotFoundError, match="No hyperparameters are registered"):
            find_learning_rate(keras_tuner.HyperParameters())
        assert find_learning_rate(space_with("lr", "speed"), "speed") == "speed"
        with pytest.raises(LearningRateNotFoundError, match=r"'speeed'.*'lr', 'speed'"):
            find_learning_rate(space_with("lr", "speed"), "speeed")

    def test_rates_of_branches(self):
        space = keras_tuner.HyperParameters()
        space.Choice("optimizer", ["adam", "sgd"])
        for optimizer in ("adam", "sgd"):
            with space.conditional_scope("optimizer", [optimizer]):
                space.Float(f"{optimizer}_lr", 1e-6, 10.0, sampling="log")
        assert find_branch_learning_rates(space) == ["adam_lr", "sgd_lr"]
        assert find_branch_learning_rates(space_with("lr")) == ["lr"]
        with pytest.raises(LearningRateError, match="Several"):
            find_branch_learning_rates(space_with("adam_lr", "sgd_lr"))
        for optimizer in ("adam", "sgd"):
            with space.conditional_scope("optimizer", [optimizer]):
                space.Float("lr", 1e-6, 10.0, sampling="log")
        with pytest.raises(LearningRateError, match="registered 2 times"):
            find_learning_rate(space, "lr")

    @pytest.mark.parametrize(
        ("declare", "lack"),
        [
            (lambda hp: hp.Choice(RATE, ["slow", "fast"]), "no numbers to choose from"),
            (lambda hp: hp.Float(RATE, 1e-3, 0.1, sampling="reverse_log"), "values that bounds can't cut"),
        ],
    )
    def test_what_cannot_be_narrowed(self, declare, lack):
        space = keras_tuner.HyperParameters()
        declare(space)
        for call in (find_learning_rate, lambda hp: narrow(hp, RATE, LRRange(1e-3, 1e-2))):
            with pytest.raises(
                NothingToNarrowError, match=rf"can't be narrowed.* has {lack}\. Declare it with hp\.Float"
            ):
                call(space)

    @pytest.mark.parametrize("bounds", [(-1.0, 0.0), (-1.0, 0.05, 0.2)])
    def test_values_that_are_no_rates(self, bounds):
        space = keras_tuner.HyperParameters()
        space.Float(RATE, *bounds)
        # They may be logarithms of rates.
        assert find_learning_rate(space) == RATE
        with pytest.raises(LearningRateError, match=r"no positive numbers.*hp\.Float"):
            narrow(space, RATE, LRRange(1e-3, 1e-2))


class TestNarrow:
    def test_log_float(self):
        entry, hyperparameters, report = narrowed_by(
            lambda hp: hp.Float(RATE, 1e-6, 10, sampling="log"), 1e-3, 1e-1
        )
        assert (entry.min_value, entry.max_value, entry.sampling) == (1e-3, 1e-1, "log")
        assert entry.default == pytest.approx(1e-2)
        assert hyperparameters.values == {RATE: entry.default}
        assert (report.name, report.declared, report.narrowed) == (RATE, (1e-6, 10.0), (1e-3, 1e-1))
        assert (report.note, report.remark) == ("", "")
        assert str(report) == "learning_rate: declared as 1e-06 to 10, narrowed to 0.001 to 0.1."

    def test_default_and_sampling_stay(self):
        entry, *_ = narrowed_by(lambda hp: hp.Float(RATE, 0, 1, default=2e-3), 1e-3, 1e-1)
        bounds = entry.min_value, entry.max_value
        assert (*bounds, entry.default, entry.sampling) == (1e-3, 1e-1, 2e-3, "linear")

    @pytest.mark.parametrize(
        ("low", "high", "expected", "words"),
        [
            (1e-9, 1e-7, (1e-5, 1e-4), "The range found.* lies below the declared minimum, 1e-05"),
            (1e-4, 2e-2, (1e-4, 1e-2), "Part of the range found.* lies above"),
            (1e-7, 1e-1, (1e-5, 1e-2), "Part of .* above .* 0.01 and below .* 1e-05; declare"),
            (1.1e-2, 1.2e-2, (1e-2 * (11 / 12) ** 0.5, 1e-2), "The range found.* above the declared maximum"),
            (1e-4, 1.2e-2, (1e-4, 1e-2), "^$"),
            (0.9e-5, 1e-3, (1e-5, 1e-3), "^$"),
        ],
    )
    def test_beyond_the_declared_bounds(self, low, high, expected, words):
        entry, _, report = narrowed_by(lambda hp: hp.Float(RATE, 1e-5, 1e-2, sampling="log"), low, high)
        assert (entry.min_value, entry.max_value) == pytest.approx(expected)
        # Only where nothing of it was declared there is something to do.
        assert re.search(words, report.note if words.startswith("The") else report.remark)
        assert not (report.note and report.remark)

    def test_rounding_does_not_cost_the_last_value_of_a_grid(self):
        maximum, step = 0.5623413251903491, 0.024449622834363003
        entry, *_ = narrowed_by(lambda hp: hp.Float(RATE, 0.0, maximum, step=step), 0.1, 1.0)
        assert list(entry.values) == pytest.approx([step * index for index in range(5, 24)])
        # Nor does it give one twice.
        entry = hp_types.Float(RATE, 1e-6, 10.0, step=10, sampling="log", default=0.09999999999999999)
        narrowed = narrow_entry(entry, LRRange(0.005, 0.2))
        assert list(narrowed.values) == [0.01, 0.1]
        assert narrowed.default == narrowed.max_value == 0.1

    def test_int(self):
        entry, *_ = narrowed_by(lambda hp: hp.Int(RATE, 1, 100, sampling="log"), 2.5, 30.5)
        assert (entry.min_value, entry.max_value) == (3, 30)
        assert type(entry.default) is int
        # Between 7 and 8: the nearest one, and the other beside it, which lies as near.
        entry, *_ = narrowed_by(lambda hp: hp.Int(RATE, 1, 100, sampling="log"), 7.2, 7.8)
        assert (entry.min_value, entry.max_value) == (7, 8)

    @pytest.mark.parametrize(
        ("low", "high", "edge", "kept", "words"),
        [
            # The rate below lies a tenth of a decade outside.
            (1.3e-3, 2.8e-2, None, (1e-2, 1e-3), "One .* so the nearest two are kept: 0.01 and 0.001"),
            (5e-3, 6e-2, 0.3, (1e-1, 1e-2), "One .* so the nearest two are kept: 0.1 and 0.01"),
            # The one above lies beyond the rise of the loss.
            (5e-3, 6e-2, 8e-2, (1e-2,), "One .* so it alone is kept: 0.01"),
            (5e-3, 2e-2, None, (1e-2,), "it alone is kept"),
            # None inside.
            (2.5e-3, 8e-3, None, (1e-2,), "No .* so the nearest one is kept: 0.01"),
            (1.2e-3, 8e-3, None, (1e-2, 1e-3), "No .* so the nearest two are kept: 0.01 and 0.001"),
            (1e-9, 1e-8, None, (1e-4,), "below the declared minimum"),
            # Two inside.
            (5e-4, 2e-2, None, (1e-2, 1e-3), "^$"),
        ],
    )
    @pytest.mark.parametrize("kind", ["choice", "grid", "falling"])
    def test_one_value_is_no_search(self, low, high, edge, kept, words, kind):
        evidence = Evidence(batches=100, density=12.5, noise=0.1, descent=1.0, descent_end=low, edge=edge)
        lr_range, relation = LRRange(low, high, evidence=evidence), IDENTITY
        hyperparameters = keras_tuner.HyperParameters()
        if kind == "choice":
            hyperparameters.Choice(RATE, [1e-1, 1e-2, 1e-3, 1e-4])
        elif kind == "grid":
            hyperparameters.Float(RATE, 1e-4, 1e-1, step=10, sampling="log")
        else:
            hyperparameters.Int(RATE, 1, 8, sampling="log", step=2)
            relation = Relation((1, 2, 4, 8), (1e-1, 1e-2, 1e-3, 1e-4))
        report = narrow(hyperparameters, RATE, lr_range, relation)
        (entry,) = hyperparameters.space
        rates = [relation.rate(value) for value in entry.values]
        assert sorted(rates) == pytest.approx(sorted(kept))
        assert relation.rate(entry.default) in rates
        if kind == "choice":
            assert tuple(rates) == kept
            assert re.search(words, report.note or report.remark)
        # A neighbour beside the one inside asks nothing of the user.
        is_remark = words.startswith("One .* so the nearest")
        assert (bool(report.remark), bool(report.note)) == (is_remark, words != "^$" and not is_remark)

    def test_a_declared_pair_that_stays_needs_no_note(self):
        entry, _, report = narrowed_by(lambda hp: hp.Choice(RATE, [1e-2, 1e-3]), 1.2e-3, 9e-3)
        assert (entry.values, report.note) == ([1e-2, 1e-3], "")

    def test_conditions_are_kept_and_an_inactive_one_gets_no_value(self):
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.Choice("optimizer", ["adam", "sgd"])
        with hyperparameters.conditional_scope("optimizer", ["sgd"]):
            hyperparameters.Float(RATE, 1e-6, 10.0, sampling="log")
        before = hyperparameters.space[1].conditions
        narrow(hyperparameters, RATE, LRRange(1e-3, 1e-1))
        assert hyperparameters.space[1].conditions == before
        assert len(before) == 1
        assert hyperparameters.values == {"optimizer": "adam"}

    def test_dependents_follow_the_new_value(self):
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.Choice(RATE, [1e-1, 1e-3])
        for name, rate in (("high", 1e-1), ("low", 1e-3)):
            with hyperparameters.conditional_scope(RATE, [rate]):
                hyperparameters.Int(name, 1, 5)
        assert hyperparameters.values == {RATE: 1e-1, "high": 1}
        narrow(hyperparameters, RATE, LRRange(5e-4, 5e-3))
        assert hyperparameters.values == {RATE: 1e-3, "low": 1}

    def test_other_entries_and_values_are_left_alone(self):
        hyperparameters = space_with("before", RATE, "after")
        hyperparameters.values["reserved/key"] = "x"
        neighbours = hyperparameters.space[0], hyperparameters.space[2]
        narrow(hyperparameters, RATE, LRRange(1e-3, 1e-1))
        assert (hyperparameters.space[0], hyperparameters.space[2]) == neighbours
        assert hyperparameters.values["reserved/key"] == "x"
        assert hyperparameters.values["before"] == 1e-6


exponents = st.floats(-7, 2)


@st.composite
def ranges(draw):
    low = draw(st.floats(-9, 3))
    return LRRange(10**low, 10 ** (low + draw(st.floats(0.01, 3))))


@st.composite
def floats(draw):
    low = 10 ** draw(exponents)
    high = low * 10 ** draw(st.floats(0, 6))
    sampling = draw(st.sampled_from(["linear", "log"]))
    if sampling == "linear" and draw(st.booleans()):
        low = 0.0
    step = None
    if draw(st.booleans()):
        step = (high - low) / draw(st.floats(1, 50)) if sampling == "linear" else draw(st.floats(1.1, 20))
    default = draw(st.one_of(st.none(), st.floats(low, high)))
    return hp_types.Float(RATE, low, high, step=step or None, sampling=sampling, default=default)


@st.composite
def integers(draw):
    low = draw(st.integers(1, 50))
    sampling = draw(st.sampled_from(["linear", "log"]))
    step = draw(st.one_of(st.none(), st.integers(2, 9)))
    return hp_types.Int(RATE, low, low + draw(st.integers(0, 500)), step=step, sampling=sampling)


@st.composite
def choices(draw):
    values = draw(st.lists(exponents.map(lambda x: 10**x), min_size=1, max_size=8, unique=True))
    default = draw(st.one_of(st.none(), st.sampled_from(values)))
    return hp_types.Choice(RATE, values, ordered=draw(st.booleans()), default=default)


def drawn(entry):
    """Return every value that a choice or grid can yield, and many of an interval's."""
    if isinstance(entry, hp_types.Choice) or entry.step is not None:
        return list(entry.values)
    # The ends are left out: KerasTuner's own rounding may leave the bounds there.
    return [entry.prob_to_value(index / 50) for index in range(1, 50)]


def is_one_of(value, values):
    return any(math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-9 * max(values)) for other in values)


@given(st.one_of(floats(), integers(), choices()), ranges())
def test_narrowing_is_sound(entry, lr_range):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.merge([entry])
    narrow(hyperparameters, RATE, lr_range)
    (narrowed,) = hyperparameters.space
    assert hyperparameters._hps == {RATE: [narrowed]}
    assert hyperparameters.values == {RATE: narrowed.default}

    low, high = entry_bounds(entry)
    declared, values = drawn(entry), drawn(narrowed)
    assert values
    assert all(low * (1 - 1e-9) <= value <= high * (1 + 1e-9) for value in values)
    # Nothing inside the range is lost, clear of its ends, where rounding decides.
    inside = [x for x in declared if lr_range.min_lr * (1 + 1e-6) <= x <= lr_range.max_lr * (1 - 1e-6)]
    if isinstance(entry, hp_types.Choice) or entry.step is not None:
        assert all(is_one_of(value, declared) for value in values)
        assert all(is_one_of(value, values) for value in inside)
    else:
        assert all(narrowed.min_value <= value <= narrowed.max_value for value in inside)
    if isinstance(entry, hp_types.Choice):
        assert [value for value in entry.values if value in values] == values
        assert narrowed.ordered == entry.ordered
        assert narrowed.default in values
    else:
        assert low <= narrowed.min_value <= narrowed.default <= narrowed.max_value <= high
        assert (narrowed.sampling, narrowed.step) == (entry.sampling, entry.step)

    # Both ways in which KerasTuner sends and stores a space.
    proto = keras_tuner.HyperParameters.from_proto(hyperparameters.to_proto())
    for copy in (hyperparameters.copy(), proto):
        assert [type(other) for other in copy.space] == [type(narrowed)]
        assert copy.space[0].default == narrowed.default
        assert sorted(drawn(copy.space[0])) == sorted(values)
        assert copy.values == hyperparameters.values


@given(st.one_of(floats(), integers(), choices()), ranges(), ranges())
def test_a_union_holds_both_parts_and_values_move_into_each(entry, one, other):
    parts = [narrow_entry(entry, lr_range) for lr_range in (one, other)]
    whole = union_of_parts(entry, parts, parts[0].default)
    assert whole.default == parts[0].default
    assert all(allows(whole, value) for part in parts for value in drawn(part))
    for part in parts:
        for value in drawn(entry):
            moved = spread_into(value, entry, part)
            assert allows(part, moved)
            if allows(part, value):
                assert moved == value
            if isinstance(part, hp_types.Choice) or part.step is not None:
                assert is_one_of(moved, drawn(part))


class TestRelation:
    def test_a_default_below_zero_stays(self):
        entry = hp_types.Int(RATE, -6, 0, default=-4)
        points = (-6, -3, 0)
        relation = Relation(points, tuple(10.0**value for value in points))
        narrowed = narrow_entry(entry, LRRange(1e-4, 1e-2), relation)
        assert (narrowed.min_value, narrowed.default, narrowed.max_value) == (-4, -4, -2)

    def test_choice(self):
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.Choice(RATE, [-5, -4, -3, -2])
        relation = Relation((-5, -4, -3, -2), (1e-5, 1e-4, 1e-3, 1e-2))
        for lr_range, left in ((LRRange(5e-5, 5e-3), [-4, -3]), (LRRange(1.5e-3, 5e-3), [-3])):
            space = hyperparameters.copy()
            report = narrow(space, RATE, lr_range, relation)
            assert space.space[0].values == left
        assert "the nearest one is kept: -3 (a rate of 0.001)." in report.note

    @pytest.mark.parametrize(
        ("rates", "message"),
        [
            ((1e-3, 1e-3, 1e-3), "does not depend on the hyperparameter"),
            ((1e-3, 1e-1, 1e-2), "neither rises nor falls"),
            ((0.0, 1e-3, 1e-2), "neither rises nor falls"),
        ],
    )
    def test_no_relation_to_invert(self, rates, message):
        with pytest.raises(LearningRateError, match=message):
            Relation((1.0, 2.0, 3.0), rates)

    @given(
        st.floats(-7, 0),
        st.floats(0.1, 3),
        st.floats(-5, 5),
        st.floats(-3, 3).filter(lambda b: abs(b) > 0.05),
    )
    def test_narrowed_values_have_rates_inside(self, low, width, a, b):
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.Float(RATE, -2.0, 3.0)
        points = (-2.0, 0.0, 3.0)
        relation = Relation(points, tuple(10 ** (a + b * value) for value in points))
        lr_range = LRRange(10**low, 10 ** (low + width))
        narrowed = narrow(hyperparameters, RATE, lr_range, relation)
        default = entry_named(hyperparameters, RATE).default
        assert -2.0 <= narrowed.narrowed[0] <= default <= narrowed.narrowed[1] <= 3.0
        first, last = relation.rate_bounds((-2.0, 3.0))
        if first <= lr_range.min_lr and lr_range.max_lr <= last:
            for value, rate in zip(
                sorted(narrowed.narrowed, key=relation.rate), (low, low + width), strict=True
            ):
                assert a + b * value == pytest.approx(rate, abs=1e-6)
