import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtuner.curve.curve import LRCurve, Training, geometric_ramp
from lrtuner.curve.lr_range import LRRange, NoRangeError
from lrtuner.curve.rules import RULES, next_range, suggest_range
from lrtuner.search.codec import decode, encode

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


def evidence_of(curve, optimizer):
    return suggest_range(curve, optimizer=optimizer).evidence


def centre(curve, **hints):
    """The middle of the range, log10."""
    return math.log10(suggest_range(curve, **hints).suggested)


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


def test_divergence_alone_is_evidence():
    found = suggest_range(sweep(fall=5.0, explode=-2.0))
    assert 10**-4.5 < found.min_lr < found.max_lr < 10**-2
    # So is a jump of the last batch.
    losses = np.random.default_rng(0).normal(2.3, 0.05, 40)
    losses[-1] = 40.0
    found = suggest_range(LRCurve(geometric_ramp(1e-7, 10, 40), losses))
    assert 1e-3 < found.min_lr < found.max_lr < 10


def test_losses_that_jump_and_return_do_not_move_the_range():
    curve = sweep()
    losses, x = curve.losses.copy(), np.log10(curve.learning_rates)
    losses[(x > -1.3) & (x < -1.1)] += 1.0
    # The last dip lies a little below the descent before the jump.
    losses[(x > -0.9) & (x < -0.4)] -= 0.05
    assert suggest_range(LRCurve(curve.learning_rates, losses)).max_lr < 10**-1.0


@pytest.mark.parametrize(("n", "at", "value", "moved"), [(300, 200, 1e9, 0.5), (100, 61, math.nan, 0.1)])
def test_an_outlier_or_a_gap_changes_nothing_much(n, at, value, moved):
    curve = sweep(n)
    losses = curve.losses.copy()
    losses[at] = value
    found, plain = suggest_range(LRCurve(curve.learning_rates, losses)), suggest_range(curve)
    assert abs(math.log10(found.min_lr / plain.min_lr)) < moved
    assert abs(math.log10(found.max_lr / plain.max_lr)) < moved


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([], "has 0 batches, too few"),
        ([2.0, 1.0, 0.5, 0.2, 0.1], "has 5 batches, too few"),
        ([math.nan] * 100, "blew up at batch 1, where it was nan"),
        ([2.0] * 4 + [math.inf] * 96, "blew up at batch 5, where it was inf"),
        ([2.0 - 0.1 * i for i in range(10)] + [math.nan] * 90, "span 0.73 decades"),
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


@pytest.mark.parametrize("n", [10, 100, 300])
def test_pure_noise_rarely_gives_a_range(n):
    rates = geometric_ramp(1e-7, 10, n)
    found = [suggest(LRCurve(rates, np.random.default_rng(seed).normal(2.3, 0.1, n))) for seed in range(100)]
    assert sum(r is not None for r in found) <= 3


def test_steepest_to_minimum_on_a_known_curve():
    curve = sweep(n=1000, noise=0.0, fall=-3.0, explode=0.0)
    found = suggest_range(curve, rule="steepest_to_minimum")
    # The moving average lags by 9 of the 125 batches in a decade.
    assert math.log10(found.min_lr) == pytest.approx(-3 + 9 / 125, abs=0.05)
    assert math.log10(found.max_lr) == pytest.approx(-1 + 0.05, abs=0.1)
    with pytest.raises(NoRangeError, match="Only 1 batches"):
        suggest_range(LRCurve([0.1, 0.2], [1.0, math.nan]), rule="steepest_to_minimum")
    losses = sweep().losses.copy()
    losses[-1] = -1e9
    with pytest.raises(NoRangeError, match="falls most steeply at 10, which is not below 1"):
        suggest_range(LRCurve(sweep().learning_rates, losses), rule="steepest_to_minimum")


def test_a_rule_may_be_a_callable():
    curve = sweep()
    assert suggest_range(curve, rule=lambda c: (c.learning_rates[0], 1)) == LRRange(1e-7, 1.0)
    assert suggest_range(curve, rule=lambda _: LRRange(1, 2)) == LRRange(1, 2)
    told = []
    for hints in ({}, {"train_steps": 300}):
        suggest_range(curve, rule=lambda curve: told.append(curve.training) or (1, 2), **hints)
    assert told == [None, Training(batches_per_epoch=300, epochs=1)]
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
        found, hinted = suggest_range(carrying, rule=rule), suggest_range(curve, rule=rule, **hints)
        assert (found, found.evidence) == (hinted, hinted.evidence)
    assert suggest_range(carrying) != suggest_range(curve)
    # A hint overrides what the curve carries.
    for hint, field in [
        ({"optimizer": "Adam"}, {"optimizer": "Adam"}),
        ({"momentum": 0.0}, {"momentum": 0.0}),
        ({"batch_size": np.int64(256)}, {"batch_size": 256}),
        ({"train_steps": 9000}, {"batches_per_epoch": 9000, "epochs": 1}),
    ]:
        changed = dataclasses.replace(carrying, training=dataclasses.replace(known, **field))
        assert suggest_range(carrying, **hint) == suggest_range(changed) != suggest_range(carrying)
    assert carrying.training == known


def test_suggest_range_checks_its_arguments():
    curve = sweep()
    with pytest.raises(TypeError, match="curve must be an LRCurve, got tuple"):
        suggest_range(([0.1], [1.0]))
    with pytest.raises(TypeError, match="rule must be one of"):
        suggest_range(curve, rule=3)
    with pytest.raises(
        ValueError, match=r"one of \['curve_alone', .* 'steepest_to_minimum'\] or a callable, got 'best'"
    ):
        suggest_range(curve, rule="best")
    for hint in ("train_steps", "batch_size"):
        for value in (0, -1, 1.5, True, "1"):
            with pytest.raises(ValueError, match=f"{hint} must be an integer of at least 1 or None"):
                suggest_range(curve, **{hint: value})
    with pytest.raises(ValueError, match="optimizer must be"):
        suggest_range(curve, optimizer=1)
    with pytest.raises(ValueError, match=r"one of \['Adadelta', .* 'SGD'\], got 'sgdd'\. Leave out"):
        suggest_range(curve, optimizer="sgdd")
    with pytest.raises(NoRangeError, match=r"^Row 7 holds NaN\.$"):
        suggest_range(dataclasses.replace(curve, fault="Row 7 holds NaN"))


@st.composite
def any_curves(draw):
    """Arbitrary losses, on arbitrary increasing rates, alone or on top of a sweep."""
    n = draw(st.integers(0, 80))
    special = st.sampled_from([0.0, 5e-324, 1e300, -1e300, 1.7e308, -1.7e308, math.nan, math.inf, -math.inf])
    finite = st.floats(-10, 10) | st.floats(allow_nan=False, allow_infinity=False)
    losses = np.array(
        draw(st.lists(draw(st.sampled_from([finite, finite | special])), min_size=n, max_size=n))
    )
    if draw(st.booleans()):
        exponents = draw(st.lists(st.floats(-300, 300), min_size=n, max_size=n, unique=True))
        rates = np.unique(10.0 ** np.array(exponents, dtype=np.float64))
    else:
        rates = np.geomspace(1e-7, 10, max(n, 2))[:n]
    if draw(st.booleans()):
        fall, explode = draw(st.floats(-7, 2)), draw(st.floats(-7, 2))
        curve = sweep(max(n, 10), seed=draw(st.integers(0, 99)), fall=fall, explode=explode)
        rates = curve.learning_rates
        with np.errstate(over="ignore"):
            losses = curve.losses * draw(st.sampled_from([1.0, 1e-320, 1e300])) + draw(st.floats(-1e3, 1e3))
    return LRCurve(rates, losses[: len(rates)].astype(np.float64))


@pytest.mark.parametrize("rule", ALL_RULES)
@given(
    curve=any_curves(),
    optimizer=st.sampled_from(["Adam", "SGD", "Lion", None]),
    counts=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    step=st.floats(0, 1e5) | st.just(math.nan),
)
def test_any_losses_give_a_range_inside_the_sweep_or_a_reason(rule, curve, optimizer, counts, step):
    with np.errstate(over="ignore"):
        curve = dataclasses.replace(curve, updates=step * curve.learning_rates)
    found = suggest(curve, rule, optimizer=optimizer, train_steps=counts[0], batch_size=counts[1])
    assert found is None or curve.learning_rates[0] <= found.min_lr < found.max_lr <= curve.learning_rates[-1]


def close(found, expected):
    if found is None or expected is None:
        return found is expected
    return (found.min_lr, found.max_lr) == pytest.approx((expected.min_lr, expected.max_lr), rel=1e-6, abs=0)


CURVES = st.builds(
    sweep,
    n=st.sampled_from([20, 50, 100, 300]),
    noise=st.sampled_from([0.01, 0.05, 0.5]),
    seed=st.integers(0, 999),
    fall=st.floats(-6, 1),
    explode=st.floats(-3, 2),
)


@pytest.mark.parametrize("hints", [{"rule": rule} for rule in ALL_RULES] + [{"optimizer": "SGD"}])
@given(curve=CURVES, power=st.integers(-40, 40), shift=st.integers(-100, 100))
def test_scaled_and_shifted_losses_give_the_same_range(hints, curve, power, shift):
    # Quantised, so that scaling and shifting are exact.
    losses = np.round(curve.losses * 2**24) / 2**24
    moved = LRCurve(curve.learning_rates, (losses + shift) * 2.0**power)
    assert close(suggest(moved, **hints), suggest(LRCurve(curve.learning_rates, losses), **hints))


@pytest.mark.parametrize("rule", ALL_RULES)
@given(curve=CURVES, factor=st.floats(1e-3, 1e3))
def test_scaled_rates_scale_the_range(rule, curve, factor):
    # Only where nobody knows whether the batches were shuffled do the rates themselves play a part.
    shuffled = Training(is_shuffled=True)
    found = suggest(LRCurve(curve.learning_rates * factor, curve.losses, training=shuffled), rule)
    plain = suggest(LRCurve(curve.learning_rates, curve.losses, training=shuffled), rule)
    assert close(found, plain and LRRange(plain.min_lr * factor, plain.max_lr * factor))


class TestCurveAndOptimizer:
    def test_without_a_known_optimizer_it_is_the_curve_alone(self):
        for curve in (sweep(), sweep(60, fall=-5), sweep(fall=5.0, explode=-2.0)):
            own = dataclasses.replace(curve, training=Training(optimizer="Homemade", batch_size=8))
            alone = suggest_range(curve, rule="curve_alone")
            assert suggest_range(own) == suggest_range(curve, optimizer="Ftrl", train_steps=9) == alone

    def test_prior_pulls_the_range_but_a_clear_curve_wins(self):
        # The descent ends at about 10 ** -5.3, far from what is usual for SGD.
        curve = sweep(fall=-6, explode=-3)
        alone, pulled = suggest_range(curve), suggest_range(curve, optimizer="SGD")
        assert (
            pulled.min_lr < math.sqrt(alone.min_lr * alone.max_lr) < alone.max_lr < pulled.max_lr < 10**-2.5
        )

    def test_prior_weighs_more_in_a_short_sweep(self):
        pulls = []
        for n in (60, 300):
            curve = sweep(n, fall=-2.5, seed=1)
            pulls.append(centre(curve, optimizer="SGD") - centre(curve, optimizer="Adam"))
        assert pulls[0] > pulls[1] > 0.3

    def test_longer_training_and_smaller_batches_lower_the_range(self):
        usual, longer, small = (
            suggest_range(sweep(), optimizer="Adam", train_steps=steps, batch_size=rows)
            for steps, rows in ((250, 64), (2500, 64), (250, 16))
        )
        assert math.log10(usual.max_lr / longer.max_lr) == pytest.approx(0.4)
        assert 0 < math.log10(usual.max_lr / small.max_lr) < 0.3

    def test_momentum_lowers_the_usual_rate_of_sgd_alone(self):
        curve = sweep()
        usual = {m: suggest_range(curve, optimizer="SGD", momentum=m).evidence.usual for m in (0.0, 0.9)}
        assert usual[0.9] == pytest.approx(usual[0.0] / 10)
        assert usual[0.9] < suggest_range(curve, optimizer="SGD").evidence.usual < usual[0.0]
        adam = suggest_range(curve, optimizer="Adam")
        assert suggest_range(curve, optimizer="Adam", momentum=0.9) == adam


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
        parts = r"fell by 1\..* times the noise .* rose from .* for Adam at this batch size is 0\.02\."
        assert re.search(parts + r".* range of 1\.2 decades\.$", words)

    def test_disagreement_widens_and_is_said(self):
        curve = sweep(fall=-6, explode=-3)
        evidence = suggest_range(curve, optimizer="SGD", momentum=0.0).evidence
        # A descent that ends five decades below what is usual earns the most: 1.2 and 9 tenths of it.
        assert (evidence.width, evidence.reach) == (pytest.approx(1.2 + 1.08), pytest.approx(1.08))
        assert "a range of 1.2 decades, and 1.1 more because these disagree" in str(evidence)
        signs = r"because the curve says [45][.\d]*e-06 and the usual rate for SGD is 0\.35$"
        assert re.search(signs, evidence.caveat)
        # With less disagreement it earns less, and says nothing of what nobody would see.
        some, little, none = (evidence_of(sweep(fall=at), "SGD") for at in (-3.5, -2.9, -2))
        assert 1.0 > some.reach > 0.3 > little.reach > none.reach == 0
        assert some.caveat
        assert little.caveat == none.caveat == ""

    def test_divergence_alone_is_a_bound(self):
        # No descent, and a blow-up: below the usual rate it moves the range, far above it hardly.
        for explode, at in ((-4.0, -4.9), (-3.0, -3.9), (0.0, -1.8)):
            found = suggest_range(sweep(80, fall=9.0, explode=explode), optimizer="Adam")
            assert math.log10(found.suggested) == pytest.approx(at, abs=0.4)
            assert found.evidence.descent_end is None
            how = (
                "lies mostly around the usual rate for Adam (0.01)"
                if explode == 0.0
                else "lies below the rise"
            )
            shows = "the curve shows only where the loss rises"
            assert found.evidence.caveat == f"{shows}, so the range {how}: trust it less"

    def test_a_descent_that_is_next_to_nothing_is_no_clear_evidence(self):
        curve = sweep(explode=5.0)
        level = LRCurve(curve.learning_rates, 1.386 + 1e-5 * curve.losses)
        assert re.match(r"the loss hardly moves: 1\.386023 to 1\.386005", evidence_of(level, "Adam").caveat)
        # A bias that learns how frequent the classes are.
        level = LRCurve(curve.learning_rates, 1.386 + 0.006 * (curve.losses - 1.8))
        assert re.match(r"the loss hardly moves: 1\.389031 to 1\.378092", evidence_of(level, "Adam").caveat)
        noisy = evidence_of(sweep(noise=1.3, seed=3), "Adam")
        assert noisy.descent_end is not None
        assert re.match(r"the loss fell by only 1\.\d times the noise", noisy.caveat)

    @pytest.mark.parametrize(
        "losses", [[2.3, 2.2, 2.4, 9.0], [2.3, 2.2, 2.4, math.nan], [2.3, 2.2, 2.1, 2.2, 2.3], None]
    )
    def test_a_few_batches_leave_only_what_is_usual(self, losses):
        losses = np.random.default_rng(0).normal(2.3, 0.05, 12) if losses is None else losses
        curve = LRCurve(np.geomspace(1e-7, 10, len(losses)), losses)
        with pytest.raises(NoRangeError, match=r"too few|neither fell nor blew up"):
            suggest_range(curve)
        found = suggest_range(curve, optimizer="RMSprop", batch_size=64)
        assert found.min_lr < 1e-2 < found.max_lr
        assert found.evidence.descent_end is None
        assert f"{int(np.isfinite(losses).sum())} usable batches" in str(found.evidence)

    def test_noise_and_a_few_batches_of_a_broken_model_leave_nothing(self):
        noise = np.random.default_rng(0).normal(2.3, 0.05, 100)
        for losses, reason in (
            (noise, "neither fell nor blew up"),
            ([2.3], "has 1 batches, too few"),
            ([2.3, math.nan, math.nan, math.nan], "blew up at batch 2, where it was nan"),
            ([2.3, 2.3, 2.3, 2.3], "was 2.3 at every learning rate"),
        ):
            with pytest.raises(NoRangeError, match=reason):
                suggest_range(LRCurve(np.geomspace(1e-7, 10, len(losses)), losses), optimizer="Adam")
        fewer = suggest_range(LRCurve(geometric_ramp(1e-7, 10, 80), noise[:80]), optimizer="Adam").evidence
        assert not fewer.is_from_curve
        assert "neither fell nor rose" in str(fewer)


class TestSteps:
    """How far a batch moves the weights, with optimizers whose steps grow with the gradients."""

    def curve(self, at, n=100, momentum=0.0, optimizer="SGD", **options):
        """A sweep in which a batch moves the weights by 2% at this rate."""
        known = Training(optimizer=optimizer, momentum=momentum if optimizer == "SGD" else None)
        curve = sweep(n, **options)
        return dataclasses.replace(curve, training=known, updates=0.02 * curve.learning_rates / at)

    def test_they_pull_the_range_of_sgd_alone(self):
        plain = centre(dataclasses.replace(self.curve(1e-4), updates=None))
        assert centre(self.curve(1e-5)) < centre(self.curve(1e-4)) < centre(self.curve(1e-3)) < plain
        assert centre(self.curve(0.01)) - centre(self.curve(0.01, momentum=0.9)) == pytest.approx(0.6)
        assert len({centre(self.curve(at, optimizer="Adam")) for at in (1e-5, 1.0)}) == 1
        # Beyond the sweep, and with gaps, they go on.
        assert suggest_range(self.curve(100.0)).evidence.step == pytest.approx(100.0, rel=0.3)
        curve = self.curve(1e-4)
        gaps = np.where(np.arange(100) % 3 == 1, np.nan, curve.updates)
        assert suggest_range(dataclasses.replace(curve, updates=gaps)).evidence.step == pytest.approx(1e-4)

    def test_they_count_half_above_the_usual_rate(self):
        below, lower, above, higher = (centre(self.curve(at, fall=-0.5)) for at in (0.05, 0.1, 0.2, 0.4))
        assert higher - above == pytest.approx((lower - below) / 2, rel=0.1)

    def test_few_batches_tell_them_too(self):
        rates = np.geomspace(1e-7, 10, 4)
        known = Training(optimizer="SGD", momentum=0.0)
        curve = LRCurve(rates, [2.3, 2.31, 2.29, 2.2], training=known, updates=0.02 * rates / 1e-3)
        assert suggest_range(curve).evidence.step == pytest.approx(1e-3)

    def test_they_are_said(self):
        evidence = suggest_range(self.curve(0.004)).evidence
        assert evidence.step == pytest.approx(0.004)
        assert "A batch moves the weights by 2% at 0.004." in str(evidence)
        rises = suggest_range(self.curve(1e-3, fall=9.0, explode=-1.0)).evidence
        other = "the rate at which a batch moves the weights by 2% (0.001)"
        assert rises.caveat.endswith(f"so the range weighs that against {other}: trust it less")
        raw = self.curve(1e-5)
        raw = suggest_range(dataclasses.replace(raw, losses=1e4 * raw.losses)).evidence
        assert raw.caveat.endswith("losses of 2.3e+04 look like raw targets: scale them, or use Adam")

    def test_a_burst_ends_the_reading(self):
        # The loss bursts once, is level, and falls to the loss of a dead net.
        curve = self.curve(1e-4, fall=-2.0, explode=5.0)
        burst = np.where(curve.learning_rates > 1e-3, 3.0, curve.updates)
        found = suggest_range(dataclasses.replace(curve, updates=burst))
        assert math.log10(found.max_lr) < -3 < centre(dataclasses.replace(curve, updates=None))

    def test_noise_is_no_rise_while_the_weights_stand(self):
        curve = self.curve(0.1, n=300, noise=0.6)
        losses = curve.losses + np.where(np.abs(np.log10(curve.learning_rates) + 4.5) < 0.3, 2.6, 0.0)
        noisy = dataclasses.replace(curve, losses=losses)
        assert centre(noisy) == pytest.approx(centre(curve), abs=0.1)
        assert centre(dataclasses.replace(noisy, updates=None)) < centre(curve) - 1

    def test_weights_that_begin_at_zero_tell_nothing(self):
        curve = self.curve(1e-4)
        for updates in (np.full(100, 0.2), np.full(100, np.nan), np.zeros(100), np.full(100, np.inf)):
            found = suggest_range(dataclasses.replace(curve, updates=updates))
            assert found == suggest_range(dataclasses.replace(curve, updates=None))
            assert found.evidence.step is None


class TestChance:
    """Losses of SGD that begin far above those of a constant prediction."""

    def curve(self, chance, learned=1.0, optimizer="SGD"):
        """A sweep that brings the loss from 100 to 1 below a rate of 1e-5, and learns below 1e-2."""
        rates = np.geomspace(1e-7, 10, 300)
        losses = 100 / (1 + (rates / 1e-6) ** 2) + learned / (1 + (rates / 1e-3) ** 2) + 1.05 - learned
        losses = losses * np.random.default_rng(0).normal(1, 0.03, 300)
        momentum = 0.0 if optimizer == "SGD" else None
        known = Training(optimizer=optimizer, momentum=momentum, is_shuffled=True, chance=chance)
        return LRCurve(rates, losses, training=known, updates=rates)

    def test_what_lies_above_it_is_no_learning_with_sgd(self):
        assert centre(self.curve(1.0)) > centre(self.curve(None)) + 0.7
        assert centre(self.curve(1.0)) == pytest.approx(centre(self.curve(0.8)), abs=0.1)
        # Not where the losses begin near it, stay above it, or are those of steps that don't grow with them.
        assert centre(self.curve(40.0)) == centre(self.curve(math.nan)) == centre(self.curve(None))
        assert centre(self.curve(1.0, learned=0.0)) == centre(self.curve(None, learned=0.0))
        assert centre(self.curve(1.0, optimizer="Adam")) == centre(self.curve(None, optimizer="Adam"))

    def test_it_is_said(self):
        evidence = suggest_range(self.curve(1.0)).evidence
        assert suggest_range(self.curve(40.0)).evidence.chance is None
        fell = r"fell from 1\d\d to 0\.0\d*; a constant prediction has 1\. What it fell below that was done"
        assert re.search(fell, str(evidence))
        begins = "the loss begins at 1e+02, far above that of a constant prediction (1)"
        assert evidence.caveat == f"{begins}: scale inputs and targets, or use Adam"
        above = suggest_range(self.curve(1.0, learned=0.0)).evidence
        assert "a constant prediction has 1. Nearly all of the fall was done below" in str(above)


class TestNextRange:
    searched = LRRange(1e-3, 1e-1)
    rates = np.geomspace(1e-3, 1e-1, 12)

    def next(self, which, scores, maximize=False):
        return next_range(self.rates[which], scores, self.searched, maximize=maximize)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_best_trials_at_an_edge_move_the_range(self, sign):
        # The best three of nine lie above 10 ** -1.4.
        higher = self.next(slice(-9, None), sign * self.rates[-9:], maximize=sign > 0)
        assert (higher.min_lr, higher.max_lr) == pytest.approx((1e-2, 1))
        lower = self.next(slice(9), -sign * self.rates[:9], maximize=sign > 0)
        assert (lower.min_lr, lower.max_lr) == pytest.approx((1e-4, 1e-2))

    def test_best_trials_inside_or_too_few_leave_it(self):
        assert self.next(slice(12), np.abs(np.log10(self.rates) + 2)) is None
        # One of the best three lies in the middle.
        assert self.next(slice(9), [0.0, 0.1, 5, 5, 0.2, 5, 5, 5, 5]) is None
        assert self.next(slice(5), self.rates[:5]) is None
        # Repeated rates count once.
        assert self.next(np.repeat([0, 9, 11], 4), -np.repeat(self.rates[[0, 9, 11]], 4)) is None

    def test_failed_trials_are_worst(self):
        found = self.next([0, 1, 2, 9, 10, 11], [3, np.nan, 3, 1, 1, 1])
        assert found.max_lr == pytest.approx(1.0)


class TestCurvesThatMislead:
    """Curves that show something else than the learning rate."""

    @pytest.mark.parametrize(("low", "optimizer"), [(1.0, "Adam"), (0.3, "Adam"), (3.0, "SGD")])
    def test_a_sweep_that_begins_too_high_says_so(self, low, optimizer):
        # Diverging from the second batch on, and then level; or level from the first on.
        random = np.random.default_rng(0)
        for first in ([2.3, 37, 64], [71, 37, 64]):
            losses = np.concatenate([first, random.normal(60, 15, 97)])
            curve = LRCurve(geometric_ramp(low, 50, 100), losses, training=Training(optimizer=optimizer))
            with pytest.raises(NoRangeError, match=f"seem to lie below {low:g}, where the sweep begins"):
                suggest_range(curve)

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
        found = LRCurve(curve.learning_rates, losses)
        assert centre(found, optimizer="Adam") == pytest.approx(centre(curve, optimizer="Adam"), abs=0.4)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD", None])
def test_losses_without_noise_show_their_descent(optimizer):
    """All of the data in one batch, say: the first losses fall too, but by next to nothing."""
    rates = geometric_ramp(1e-7, 10, 100)
    curve = LRCurve(rates, 0.5 + 1 / (1 + 300 * rates) + rates**2)
    found = suggest_range(curve, optimizer=optimizer)
    assert found.min_lr < 0.03 < found.max_lr


@pytest.mark.parametrize("share", [0.05, 0.2, 0.45])
def test_losses_of_two_heights_do_not_look_like_a_rise(share):
    """Batches with one of a few rare positives, and those without."""
    rates = np.geomspace(1e-7, 10, 300)
    low = 0
    for seed in range(50):
        random = np.random.default_rng(seed)
        losses = 0.004 + 0.0003 * random.random(300)
        losses += 0.1 * (random.random(300) < share) * (1 + 0.3 * random.random(300))
        losses[270:] *= np.geomspace(1, 100, 30)
        known = Training(optimizer="Adam", batch_size=32, has_outliers=True)
        low += suggest_range(LRCurve(rates, losses, training=known)).max_lr < 1e-3
    assert low <= 2


def test_the_range_of_a_single_layer_on_frozen_ones_lies_higher_but_with_sgd():
    def found(optimizer, **known):
        return suggest_range(dataclasses.replace(sweep(), training=Training(optimizer=optimizer, **known)))

    fresh, head = found("Adam"), found("Adam", is_head=True)
    assert math.log10(head.suggested / fresh.suggested) == pytest.approx(0.4)
    assert head.evidence.caveat.endswith("on top of frozen ones, so the range lies higher")
    assert "frozen" not in fresh.evidence.caveat
    plain, head = (found("SGD", momentum=0.0, is_head=value) for value in (False, True))
    assert (plain, plain.evidence) == (head, head.evidence)


@pytest.mark.parametrize("n", [100, 300])
def test_ranges_of_pretrained_nets_lie_lower_with_adam_and_say_so(n):
    curve = sweep(n)
    fresh, before = (suggest_range(curve, optimizer="Adam", pretrained=known) for known in (False, True))
    assert 0.1 < math.log10(fresh.suggested / before.suggested) < 0.6
    assert before.evidence.caveat.endswith("the net is taken for pretrained, so the range lies lower")
    assert "pretrained" not in fresh.evidence.caveat
    assert decode(LRRange, encode(before)).evidence == before.evidence
    known = dataclasses.replace(curve, training=Training(optimizer="Adam", is_pretrained=True))
    assert suggest_range(known) == before
    assert suggest_range(known, pretrained=False) == fresh
    # Nothing is known of SGD but what its steps tell.
    for known in (curve, dataclasses.replace(curve, updates=curve.learning_rates)):
        fresh, before = (suggest_range(known, optimizer="SGD", pretrained=value) for value in (False, True))
        assert (fresh, fresh.evidence) == (before, before.evidence)
