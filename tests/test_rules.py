import contextlib
import dataclasses
import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtuner.curve.curve import LRCurve, Training, geometric_ramp
from lrtuner.curve.lr_range import LRRange, NoRangeError
from lrtuner.curve.rules import RULES, next_range, suggest_range

ALL_RULES = sorted(RULES)


def sweep(n=300, noise=0.05, seed=0, fall=-3.0, explode=0.0, low=1e-7, high=10.0):
    """A loss that falls from 2.3 to 0.5 around `10 ** fall` and diverges from `10 ** explode` on."""
    rates = geometric_ramp(low, high, n)
    x = np.log10(rates)
    losses = 2.3 - 0.9 * (1 + np.tanh(2 * (x - fall))) + np.expm1(np.maximum(0, 8 * (x - explode)))
    return LRCurve(rates, losses + np.random.default_rng(seed).normal(0, noise, n))


def suggest(curve, rule="curve_alone", **hints):
    """The range, or None without evidence."""
    try:
        return suggest_range(curve, rule=rule, **hints)
    except NoRangeError:
        return None


@pytest.mark.parametrize("n", [50, 100, 300, 1000])
@pytest.mark.parametrize("fall", [-4.0, -3.0, -2.0])
def test_range_lies_around_the_end_of_the_descent(n, fall):
    found = suggest_range(sweep(n, fall=fall))
    # 95% of the descent is over at fall + 0.74, and the divergence comes later.
    assert found.min_lr < 10**fall < found.max_lr < 10 ** (fall + 1.5)
    assert 1.3 < found.decades < 1.9


@pytest.mark.parametrize("n", [100, 300])
def test_descent_in_the_first_quarter_is_seen(n):
    curve = sweep(n, fall=-6.6, explode=-1.0, noise=0.02)
    curve = dataclasses.replace(curve, training=Training(optimizer="SGD", momentum=0.0, is_shuffled=True))
    found = suggest_range(curve)
    assert found.evidence.is_from_curve
    assert found.min_lr < 10**-5.5 < found.max_lr < 10**-3


def test_largest_floats_do_not_overflow():
    losses = np.zeros(45)
    losses[3], losses[4] = 1.7e308, -1e308
    suggest(LRCurve(geometric_ramp(1e-7, 10, 45), losses))


def test_long_sweeps_give_narrower_ranges():
    assert suggest_range(sweep(300)).decades < suggest_range(sweep(50)).decades


def test_divergence_alone_is_evidence():
    curve = sweep(fall=5.0, explode=-2.0)
    found = suggest_range(curve)
    assert 10**-4.5 < found.min_lr < found.max_lr < 10**-2


def test_a_jump_of_the_last_batches_is_evidence():
    losses = np.random.default_rng(0).normal(2.3, 0.05, 40)
    losses[-1] = 40.0
    found = suggest_range(LRCurve(geometric_ramp(1e-7, 10, 40), losses))
    assert 1e-3 < found.min_lr < found.max_lr < 10


def test_losses_that_jump_and_return_do_not_move_the_range():
    curve = sweep()
    losses = curve.losses.copy()
    x = np.log10(curve.learning_rates)
    bump = (x > -1.3) & (x < -1.1)
    losses[bump] += 1.0
    # The last dip lies a little below the descent before the jump.
    losses[(x > -0.9) & (x < -0.4)] -= 0.05
    found = suggest_range(LRCurve(curve.learning_rates, losses))
    assert found.max_lr < 10**-1.0


def test_one_outlier_changes_nothing_much():
    curve = sweep()
    losses = curve.losses.copy()
    losses[200] = 1e9
    found, plain = suggest_range(LRCurve(curve.learning_rates, losses)), suggest_range(curve)
    assert abs(math.log10(found.min_lr / plain.min_lr)) < 0.5


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([], "has 0 batches, too few"),
        ([2.0, 1.0, 0.5, 0.2, 0.1], "has 5 batches, too few"),
        ([math.nan] * 100, "was nan at batch 1"),
        ([2.0] * 4 + [math.inf] * 96, "was inf at batch 5"),
        ([2.0 - 0.1 * i for i in range(10)] + [math.nan] * 90, "spans 0.73 decades"),
        ([2.0] * 100, "was 2 at every learning rate"),
        ([0.0] * 100, "was 0 at every learning rate"),
        (np.random.default_rng(0).normal(2.3, 0.1, 100), "neither fell nor blew up"),
        (np.random.default_rng(0).normal(-1e6, 1.0, 300), "neither fell nor blew up"),
    ],
)
def test_no_evidence_says_why(losses, reason):
    rates = geometric_ramp(1e-7, 10, max(len(losses), 10))[: len(losses)]
    with pytest.raises(NoRangeError, match=reason):
        suggest_range(LRCurve(rates, losses))


@pytest.mark.parametrize("n", [10, 30, 100, 300])
def test_pure_noise_rarely_gives_a_range(n):
    rates = geometric_ramp(1e-7, 10, n)
    found = [suggest(LRCurve(rates, np.random.default_rng(seed).normal(2.3, 0.1, n))) for seed in range(200)]
    assert sum(r is not None for r in found) <= 6


def test_steepest_to_minimum_on_a_known_curve():
    curve = sweep(n=1000, noise=0.0, fall=-3.0, explode=0.0)
    found = suggest_range(curve, rule="steepest_to_minimum")
    # The moving average lags by 9 of the 125 batches in a decade.
    assert math.log10(found.min_lr) == pytest.approx(-3 + 9 / 125, abs=0.05)
    assert math.log10(found.max_lr) == pytest.approx(-1 + 0.05, abs=0.1)
    assert suggest_range(curve, rule="steepest_to_minimum_4x") == found


def test_steepest_to_minimum_4x_ends_where_the_loss_exceeds_four_times_its_best():
    curve = sweep(n=1000, noise=0.0, fall=-3.0, explode=-1.0)
    losses = curve.losses.copy()
    losses[-1] = -1e9
    curve = LRCurve(curve.learning_rates, losses)
    assert suggest_range(curve, rule="steepest_to_minimum_4x").max_lr < 0.02
    with pytest.raises(NoRangeError, match="falls most steeply at 10, which is not below 1"):
        suggest_range(curve, rule="steepest_to_minimum")


def test_steepest_to_minimum_without_a_slope_says_so():
    with pytest.raises(NoRangeError, match="Only 1 batches"):
        suggest_range(LRCurve([0.1, 0.2], [1.0, math.nan]), rule="steepest_to_minimum")


def test_a_rule_may_be_a_callable():
    curve = sweep()
    assert suggest_range(curve, rule=lambda c: (c.learning_rates[0], 1)) == LRRange(1e-7, 1.0)
    assert suggest_range(curve, rule=lambda _: LRRange(1, 2)) == LRRange(1, 2)
    for answer in (None, 1.0, (1, 2, 3), "x"):
        with pytest.raises(ValueError, match="must return an LRRange or a pair"):
            suggest_range(curve, rule=lambda _, answer=answer: answer)
    with pytest.raises(ValueError, match="swapped"):
        suggest_range(curve, rule=lambda _: (2, 1))


def test_every_rule_reads_what_is_known_from_the_curve():
    known = Training(optimizer="SGD", momentum=0.9, batch_size=16, batches_per_epoch=100, epochs=5)
    curve = sweep()
    carrying = dataclasses.replace(curve, training=known)
    hints = {"optimizer": "SGD", "momentum": 0.9, "batch_size": 16, "train_steps": 500}
    for rule in ALL_RULES:
        found = suggest_range(carrying, rule=rule)
        assert found == RULES[rule](carrying) == suggest_range(curve, rule=rule, **hints)
        assert found.evidence == suggest_range(curve, rule=rule, **hints).evidence
    assert suggest_range(carrying) != suggest_range(curve)
    assert carrying.training == known


@pytest.mark.parametrize(
    ("hint", "known"),
    [
        ({"optimizer": "Adam"}, {"optimizer": "Adam"}),
        ({"momentum": 0.0}, {"momentum": 0.0}),
        ({"batch_size": 256}, {"batch_size": 256}),
        ({"train_steps": 9000}, {"batches_per_epoch": 9000, "epochs": 1}),
    ],
)
def test_a_hint_overrides_what_the_curve_carries(hint, known):
    training = Training(optimizer="SGD", momentum=0.9, batch_size=16, batches_per_epoch=100, epochs=5)
    curve = dataclasses.replace(sweep(), training=training)
    changed = dataclasses.replace(curve, training=dataclasses.replace(training, **known))
    assert suggest_range(curve, **hint) == suggest_range(changed) != suggest_range(curve)


def test_a_rule_of_ones_own_is_told_what_is_known():
    told = []

    def rule(curve):
        told.append(curve.training)
        return 1, 2

    suggest_range(sweep(), rule=rule)
    suggest_range(sweep(), rule=rule, optimizer="Adam", train_steps=300)
    assert told == [None, Training(optimizer="Adam", batches_per_epoch=300, epochs=1)]
    assert told[1].train_steps == 300


def test_unknown_epochs_are_assumed_to_be_ten():
    curve = dataclasses.replace(sweep(), training=Training(optimizer="Adam", batches_per_epoch=200))
    assert suggest_range(curve) == suggest_range(sweep(), optimizer="Adam", train_steps=2000)


def test_suggest_range_checks_its_arguments():
    curve = sweep()
    with pytest.raises(TypeError, match="curve must be an LRCurve, got tuple"):
        suggest_range(([0.1], [1.0]))
    with pytest.raises(TypeError, match="rule must be one of"):
        suggest_range(curve, rule=3)
    with pytest.raises(
        ValueError,
        match=r"one of \['curve_alone', 'curve_and_optimizer', 'steepest_to_minimum', "
        r"'steepest_to_minimum_4x'\] or a callable, got 'best'",
    ):
        suggest_range(curve, rule="best")
    for hint in ("train_steps", "batch_size"):
        for value in (0, -1, 1.5, True, "1"):
            with pytest.raises(ValueError, match=f"{hint} must be an integer of at least 1 or None"):
                suggest_range(curve, **{hint: value})
    with pytest.raises(ValueError, match="optimizer must be"):
        suggest_range(curve, optimizer=1)
    hinted = suggest_range(curve, train_steps=1000, optimizer="Adam", batch_size=np.int64(32))
    assert isinstance(hinted, LRRange)


@st.composite
def any_curves(draw):
    """Arbitrary losses, on arbitrary increasing rates, alone or on top of a sweep."""
    n = draw(st.integers(0, 80))
    special = st.sampled_from([0.0, 5e-324, 1e300, -1e300, 1.7e308, -1.7e308, math.nan, math.inf, -math.inf])
    finite = st.one_of(st.floats(-10, 10), st.floats(allow_nan=False, allow_infinity=False))
    kind = draw(st.sampled_from(["finite", "special", "sweep"]))
    if kind == "sweep":
        n = max(n, 10)
        curve = sweep(
            n, seed=draw(st.integers(0, 99)), fall=draw(st.floats(-7, 2)), explode=draw(st.floats(-7, 2))
        )
        with np.errstate(over="ignore"):
            losses = curve.losses * draw(st.sampled_from([1.0, 1e-320, 1e300])) + draw(st.floats(-1e3, 1e3))
    else:
        values = finite if kind == "finite" else st.one_of(finite, special)
        losses = np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype=np.float64)
    if draw(st.booleans()):
        exponents = draw(st.lists(st.floats(-300, 300), min_size=n, max_size=n, unique=True))
        rates = np.unique(10.0 ** np.array(exponents, dtype=np.float64))
    else:
        rates = np.geomspace(1e-7, 10, max(n, 2))[:n]
    return LRCurve(rates, losses[: len(rates)])


@pytest.mark.parametrize("rule", ALL_RULES)
@given(curve=any_curves())
def test_any_losses_give_a_range_inside_the_sweep_or_a_reason(rule, curve):
    found = suggest(curve, rule)
    assert found is None or curve.learning_rates[0] <= found.min_lr < found.max_lr <= curve.learning_rates[-1]


@given(any_curves(), st.sampled_from(["Adam", "SGD", "Lion"]), st.integers(1, 10**6), st.integers(1, 10**6))
def test_any_losses_and_hints_give_a_range_inside_the_sweep_or_a_reason(curve, optimizer, steps, batch):
    found = suggest(curve, "curve_and_optimizer", optimizer=optimizer, train_steps=steps, batch_size=batch)
    assert found is None or curve.learning_rates[0] <= found.min_lr < found.max_lr <= curve.learning_rates[-1]


def close(found, expected):
    if found is None or expected is None:
        return found is expected
    return math.isclose(found.min_lr, expected.min_lr, rel_tol=1e-6) and math.isclose(
        found.max_lr, expected.max_lr, rel_tol=1e-6
    )


CURVES = st.builds(
    sweep,
    n=st.sampled_from([20, 50, 100, 300]),
    noise=st.sampled_from([0.01, 0.05, 0.5]),
    seed=st.integers(0, 999),
    fall=st.floats(-6, 1),
    explode=st.floats(-3, 2),
)


@pytest.mark.parametrize("rule", ["curve_alone", "steepest_to_minimum"])
@given(curve=CURVES, power=st.integers(-40, 40), shift=st.integers(-100, 100))
def test_scaled_and_shifted_losses_give_the_same_range(rule, curve, power, shift):
    # Quantised, so that scaling and shifting are exact.
    losses = np.round(curve.losses * 2**24) / 2**24
    moved = LRCurve(curve.learning_rates, (losses + shift) * 2.0**power)
    assert close(suggest(moved, rule), suggest(LRCurve(curve.learning_rates, losses), rule))


@pytest.mark.parametrize("rule", ALL_RULES)
@given(curve=CURVES, factor=st.floats(1e-3, 1e3))
def test_scaled_rates_scale_the_range(rule, curve, factor):
    # Only where nobody knows whether the batches were shuffled do the rates themselves play a part.
    shuffled = Training(is_shuffled=True)
    found = suggest(LRCurve(curve.learning_rates * factor, curve.losses, training=shuffled), rule)
    plain = suggest(LRCurve(curve.learning_rates, curve.losses, training=shuffled), rule)
    assert close(found, plain and LRRange(plain.min_lr * factor, plain.max_lr * factor))


@pytest.mark.parametrize("n", [100, 200, 400])
def test_refining_the_ramp_refines_the_answer(n):
    coarse, fine = suggest_range(sweep(n, noise=0.01)), suggest_range(sweep(2 * n, noise=0.01))
    centres = [math.log10(r.min_lr * r.max_lr) / 2 for r in (coarse, fine)]
    assert centres[0] == pytest.approx(centres[1], abs=0.2)


class TestCurveAndOptimizer:
    def test_without_a_known_optimizer_it_is_the_curve_alone(self):
        for curve in (sweep(), sweep(60, fall=-5), sweep(fall=5.0, explode=-2.0)):
            for hints in ({}, {"optimizer": "Homemade"}, {"train_steps": 10_000, "batch_size": 8}):
                assert suggest_range(curve, **hints) == suggest_range(curve, rule="curve_alone")

    def test_prior_pulls_the_range_but_a_clear_curve_wins(self):
        # The descent ends at about 10 ** -5.3, far from what is usual for SGD.
        curve = sweep(fall=-6, explode=-3)
        alone, pulled = suggest_range(curve), suggest_range(curve, optimizer="SGD")
        assert (
            pulled.min_lr < math.sqrt(alone.min_lr * alone.max_lr) < alone.max_lr < pulled.max_lr < 10**-2.5
        )

    def test_prior_weighs_more_in_a_short_sweep(self):
        def centre(n, optimizer):
            found = suggest_range(sweep(n, fall=-2.5, seed=1), optimizer=optimizer)
            return math.log10(found.min_lr * found.max_lr) / 2

        pulls = [centre(n, "SGD") - centre(n, "Adam") for n in (60, 300)]
        assert pulls[0] > pulls[1] > 0.3

    @pytest.mark.parametrize("n", [60, 300])
    def test_a_vague_usual_rate_earns_a_wider_range(self, n):
        vague, known = (suggest_range(sweep(n), optimizer=name) for name in ("SGD", "Adam"))
        assert 1.2 < known.decades < vague.decades - 0.1

    def test_longer_training_and_smaller_batches_lower_the_range(self):
        curve = sweep()
        usual = suggest_range(curve, optimizer="Adam", train_steps=250, batch_size=64)
        long = suggest_range(curve, optimizer="Adam", train_steps=2500, batch_size=64)
        small = suggest_range(curve, optimizer="Adam", train_steps=250, batch_size=16)
        assert math.log10(usual.max_lr / long.max_lr) == pytest.approx(0.4)
        assert 0 < math.log10(usual.max_lr / small.max_lr) < 0.3

    def test_momentum_lowers_the_usual_rate_of_sgd_alone(self):
        curve = sweep()
        usual = {m: suggest_range(curve, optimizer="SGD", momentum=m).evidence.usual for m in (0.0, 0.9)}
        assert usual[0.9] == pytest.approx(usual[0.0] / 10)
        assert usual[0.9] < suggest_range(curve, optimizer="SGD").evidence.usual < usual[0.0]
        adam = suggest_range(curve, optimizer="Adam")
        assert suggest_range(curve, optimizer="Adam", momentum=0.9) == adam

    @pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan"), True, "0.9"])
    def test_bad_momentum(self, momentum):
        with pytest.raises(ValueError, match=r"momentum must be a number of at least 0.*model\.optimizer"):
            suggest_range(sweep(), optimizer="SGD", momentum=momentum)

    @given(
        st.integers(2, 300),
        st.floats(-6, 2),
        st.floats(-5, 3),
        st.integers(0, 99),
        st.sampled_from(["Adam", "SGD"]),
    )
    def test_hints_keep_the_range_inside_the_sweep(self, n, fall, explode, seed, optimizer):
        rates = np.geomspace(1e-7, 10, n)
        x = np.log10(rates)
        losses = np.tanh(fall - x) + np.expm1(np.maximum(0, 8 * (x - explode)))
        losses += np.random.default_rng(seed).normal(0, 0.3, n)
        found = []
        for a, b in ((1.0, 0.0), (100.0, -7.0)):
            try:
                found.append(
                    suggest_range(
                        LRCurve(rates, a * losses + b),
                        optimizer=optimizer,
                        train_steps=100_000,
                        batch_size=4096,
                    )
                )
            except NoRangeError:
                found.append(None)
        first, second = found
        if first is not None and second is not None:
            assert rates[0] <= first.min_lr < first.max_lr <= rates[-1]
            assert first.min_lr == pytest.approx(second.min_lr, rel=1e-6)


class TestEvidence:
    def test_figures_of_a_known_curve(self):
        evidence = suggest_range(sweep(), optimizer="Adam", batch_size=256).evidence
        assert evidence.is_from_curve
        assert evidence.noise == pytest.approx(0.05, rel=0.4)
        assert evidence.descent == pytest.approx(1.8, rel=0.1)
        assert evidence.descent_end == pytest.approx(10**-2.26, rel=0.5)
        assert evidence.edge == pytest.approx(1.0, rel=0.5)
        assert evidence.usual == pytest.approx(0.02)
        assert evidence.density == pytest.approx(299 / 8, rel=0.1)
        assert (evidence.width, evidence.reach) == (pytest.approx(1.2), 0.0)
        words = str(evidence)
        for part in (
            "fell by 1.",
            "times the noise",
            "rose from",
            "batch size is 0.02",
            "range of 1.2 decades",
        ):
            assert part in words

    def test_disagreement_widens_and_is_said(self):
        evidence = suggest_range(sweep(fall=-6, explode=-3), optimizer="SGD").evidence
        # A descent that ends five decades below what is usual earns the most: 1.4 and 9 tenths of it.
        assert evidence.reach == pytest.approx(1.26)
        assert evidence.width == pytest.approx(1.4 + 1.26)
        assert "a range of 1.4 decades, and 1.3 more because the curve disagrees" in str(evidence)
        # With less disagreement it earns less, and without any nothing.
        some, none = (suggest_range(sweep(fall=at), optimizer="SGD").evidence.reach for at in (-3.5, -2))
        assert 0.1 < some < 1.2
        assert none == 0.0

    def test_divergence_alone_is_a_bound(self):
        # No descent, and a blow-up: below the usual rate it moves the range, far above it hardly.
        def centre(explode):
            found = suggest_range(sweep(80, fall=9.0, explode=explode), optimizer="Adam")
            assert found.evidence.descent_end is None
            assert found.evidence.edge is not None
            return math.log10(found.min_lr * found.max_lr) / 2

        assert centre(-3.0) - centre(-4.0) == pytest.approx(1.0, abs=0.2)
        assert -2.2 < centre(0.0) < -1.4

    def test_a_known_momentum_earns_a_narrower_range(self):
        vague, plain, heavy = (
            suggest_range(sweep(), optimizer="SGD", momentum=momentum) for momentum in (None, 0.0, 0.9)
        )
        earned = [found.evidence.width - found.evidence.reach for found in (vague, plain, heavy)]
        assert earned == pytest.approx([1.4, 1.2, 1.2])
        assert plain.max_lr > heavy.max_lr

    @pytest.mark.parametrize("seed", [0, 1])
    def test_a_clear_descent_reads_lower_than_a_noisy_one(self, seed):
        # With these seeds both curves have their landmarks at the same rates.
        clear, noisy = (
            suggest_range(sweep(60, noise=noise, seed=seed), optimizer="Adam") for noise in (0.003, 0.03)
        )
        assert clear.evidence.descent_end == noisy.evidence.descent_end
        assert math.log10(noisy.max_lr / clear.max_lr) > 0.02

    def test_short_noise_leaves_only_what_is_usual(self):
        losses = np.random.default_rng(0).normal(2.3, 0.05, 12)
        curve = LRCurve(np.geomspace(1e-7, 10, 12), losses)
        with pytest.raises(NoRangeError, match="neither fell nor blew up"):
            suggest_range(curve)
        evidence = suggest_range(curve, optimizer="Adam").evidence
        assert not evidence.is_from_curve
        assert "neither fell nor rose" in str(evidence)

    @pytest.mark.parametrize(
        "losses", [[2.3, 2.2, 2.4, 9.0], [2.3, 2.2, 2.4, math.nan], [2.3, 2.2, 2.1, 2.2, 2.3]]
    )
    def test_a_few_batches_leave_only_what_is_usual(self, losses):
        curve = LRCurve(np.geomspace(1e-7, 10, len(losses)), losses)
        with pytest.raises(NoRangeError, match="too few"):
            suggest_range(curve)
        found = suggest_range(curve, optimizer="RMSprop", batch_size=64)
        assert found.min_lr < 1e-2 < found.max_lr
        assert found.evidence.descent_end is None
        assert f"{int(np.isfinite(losses).sum())} usable batches" in str(found.evidence)

    @pytest.mark.parametrize(
        ("losses", "reason"),
        [
            ([2.3], "has 1 batches, too few"),
            ([2.3, math.nan, math.nan, math.nan], "was nan at batch 2"),
            ([2.3, 2.3, 2.3, 2.3], "was 2.3 at every learning rate"),
        ],
    )
    def test_a_few_batches_of_a_broken_model_leave_nothing(self, losses, reason):
        curve = LRCurve(np.geomspace(1e-7, 10, 4)[: len(losses)], losses)
        with pytest.raises(NoRangeError, match=reason):
            suggest_range(curve, optimizer="Adam")

    def test_noise_of_a_default_sweep_leaves_nothing(self):
        losses = np.random.default_rng(0).normal(2.3, 0.05, 100)
        with pytest.raises(NoRangeError, match="neither fell nor blew up"):
            suggest_range(LRCurve(geometric_ramp(1e-7, 10, 100), losses), optimizer="Adam")
        fewer = LRCurve(geometric_ramp(1e-7, 10, 80), losses[:80])
        assert not suggest_range(fewer, optimizer="Adam").evidence.is_from_curve

    def test_survives_json(self):
        found = suggest_range(sweep(), optimizer="Adam")
        restored = LRRange.from_config(json.loads(json.dumps(found.to_config(), allow_nan=False)))
        assert restored == found
        assert restored.evidence == found.evidence
        with pytest.raises(ValueError, match="edge"):
            LRRange.from_config(
                {**found.to_config(), "evidence": {**found.evidence.to_config(), "edge": "high"}}
            )


class TestNextRange:
    searched = LRRange(1e-3, 1e-1)
    rates = np.geomspace(1e-3, 1e-1, 12)

    @pytest.mark.parametrize("maximize", [False, True])
    def test_best_trials_at_an_edge_move_the_range(self, maximize):
        sign = 1 if maximize else -1
        higher = next_range(self.rates[-9:], sign * self.rates[-9:], self.searched, maximize=maximize)
        # The best three of nine lie above 10 ** -1.4.
        assert (higher.min_lr, higher.max_lr) == pytest.approx((1e-2, 1))
        lower = next_range(self.rates[:9], -sign * self.rates[:9], self.searched, maximize=maximize)
        assert (lower.min_lr, lower.max_lr) == pytest.approx((1e-4, 1e-2))

    def test_best_trials_inside_leave_it(self):
        scores = np.abs(np.log10(self.rates) + 2)
        assert next_range(self.rates, scores, self.searched, maximize=False) is None
        # One of the best three lies in the middle.
        scores = np.array([0.0, 0.1, 5, 5, 0.2, 5, 5, 5, 5])
        assert next_range(self.rates[:9], scores, self.searched, maximize=False) is None

    def test_repeated_rates_count_once(self):
        rates = np.repeat([1e-3, 3e-2, 1e-1], 4)
        assert next_range(rates, -rates, self.searched, maximize=False) is None

    def test_few_trials_say_nothing_and_failed_ones_are_worst(self):
        assert next_range(self.rates[:5], self.rates[:5], self.searched, maximize=False) is None
        found = next_range(
            self.rates[[0, 1, 2, 9, 10, 11]], [3, np.nan, 3, 1, 1, 1], self.searched, maximize=False
        )
        assert found.max_lr == pytest.approx(1.0)


@given(st.integers(0, 2000), st.integers(0, 2**32 - 1), st.floats(-300, 300), st.floats(0, 0.2))
def test_long_curves_of_any_scale_in_bounded_time(n, seed, scale, broken):
    random = np.random.default_rng(seed)
    losses = (random.normal(size=n).cumsum() * 10.0 ** min(scale, 290)).astype(float)
    losses[random.uniform(size=n) < broken * random.uniform()] = random.choice([np.nan, np.inf, -np.inf])
    rates = np.geomspace(1e-7, 10, n) if n else np.empty(0)
    start = time.process_time()
    with contextlib.suppress(NoRangeError):
        found = suggest_range(LRCurve(rates, losses), optimizer="Adam")
        assert rates[0] <= found.min_lr < found.max_lr <= rates[-1]
    # Some 0.1 s at most; a second is far from any noise of the machine.
    assert time.process_time() - start < 1


class TestCurvesThatMislead:
    """Curves that show something else than the learning rate."""

    @pytest.mark.parametrize(("low", "optimizer"), [(1.0, "Adam"), (0.3, "Adam"), (3.0, "SGD")])
    def test_a_sweep_that_begins_too_high_says_so(self, low, optimizer):
        # Diverging from the second batch on, and then level.
        random = np.random.default_rng(0)
        losses = np.concatenate([[2.3, 37, 64], random.normal(60, 15, 97)])
        curve = LRCurve(geometric_ramp(low, 50, 100), losses, training=Training(optimizer=optimizer))
        with pytest.raises(NoRangeError) as caught:
            suggest_range(curve)
        assert "higher learning rate" not in str(caught.value)

    def test_a_gap_moves_nothing(self):
        curve = sweep(100)
        losses = curve.losses.copy()
        losses[61] = math.nan
        found, whole = suggest_range(LRCurve(curve.learning_rates, losses)), suggest_range(curve)
        assert abs(math.log10(found.min_lr / whole.min_lr)) < 0.1
        assert abs(math.log10(found.max_lr / whole.max_lr)) < 0.1

    @pytest.mark.parametrize("n", [100, 300])
    @pytest.mark.parametrize("seed", range(5))
    def test_losses_that_follow_the_data_give_no_range(self, n, seed):
        """A slow season in the data, of which a sweep sees about one."""
        place = np.arange(n) / n
        losses = 1 + np.sin(2 * np.pi * (1.1 * place + seed / 5)) ** 2
        losses += np.random.default_rng(seed).normal(0, 0.1, n)
        curve = LRCurve(geometric_ramp(1e-7, 10, n), losses)
        with pytest.raises(NoRangeError, match="come in an order"):
            suggest_range(curve, optimizer="Adam")

    def test_a_sweep_of_shuffled_data_is_not_suspected(self):
        # Raw inputs: the descent begins at 1e-6.
        curve = sweep(300, fall=-5.5, noise=0.3)
        assert suggest_range(curve) == suggest_range(
            dataclasses.replace(curve, training=Training(is_shuffled=True))
        )

    def test_a_dip_of_a_noisy_sweep_is_not_half_of_the_descent(self):
        """The descent of 2.4 noises lies at 1e-2; a dip by chance at 1e-4 reads as half of it."""
        curve = sweep(300, noise=0.75, fall=-2.0, seed=3)
        losses = curve.losses.copy()
        dip = np.abs(np.log10(curve.learning_rates) + 4) < 0.15
        losses[dip] -= 1.1
        plain = suggest_range(curve, optimizer="Adam")
        found = suggest_range(LRCurve(curve.learning_rates, losses), optimizer="Adam")
        assert abs(math.log10(found.min_lr / plain.min_lr)) < 0.4


@pytest.mark.parametrize("optimizer", ["Adam", "SGD", None])
def test_losses_without_noise_show_their_descent(optimizer):
    """All of the data in one batch, say: the first losses fall too, but by next to nothing."""
    rates = geometric_ramp(1e-7, 10, 100)
    curve = LRCurve(rates, 0.5 + 1 / (1 + 300 * rates) + rates**2)
    found = suggest_range(curve, optimizer=optimizer)
    assert found.min_lr < 0.03 < found.max_lr


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3, 0.45])
def test_losses_of_two_heights_do_not_look_like_a_rise(share):
    """Batches with one of a few rare positives, and those without."""
    rates = np.geomspace(1e-7, 10, 300)
    low = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        losses = 0.004 + 0.0003 * random.random(300)
        losses += 0.1 * (random.random(300) < share) * (1 + 0.3 * random.random(300))
        losses[270:] *= np.geomspace(1, 100, 30)
        known = Training(optimizer="Adam", batch_size=32, has_outliers=True)
        low += suggest_range(LRCurve(rates, losses, training=known)).max_lr < 1e-3
    assert low <= 3
