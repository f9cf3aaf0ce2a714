import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.curve import ASSUMED_EPOCHS, LRCurve, Training, geometric_ramp
from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.curve.smoothing import ema, local_linear

ANY_LOSSES = st.lists(st.floats(width=64), max_size=60)


def blow_up(losses):
    detector = BlowUpDetector()
    return next((index for index, loss in enumerate(losses) if detector.update(loss)), None)


def test_curve_holds_read_only_copies_and_is_equal_by_value():
    losses = np.array([3.0, 2.0])
    curve = LRCurve([0.1, 0.2], losses)
    losses[0] = 7.0
    assert curve.losses.tolist() == [3.0, 2.0]
    assert curve.losses.dtype == curve.learning_rates.dtype == np.float64
    assert len(curve) == 2
    for values in (curve.learning_rates, curve.losses):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0
    curve = LRCurve([0.1, 0.2], [1.0, math.nan])
    assert curve == LRCurve(np.array([0.1, 0.2]), [1, math.nan])
    assert curve != LRCurve([0.1, 0.2], [1.0, 2.0])
    assert curve != LRCurve([0.1, 0.3], [1.0, math.nan])
    assert curve != "curve"
    with pytest.raises(TypeError, match="unhashable"):
        hash(curve)


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        ([0.1, 0.2], [1.0], "same length, got 2 and 1"),
        ([0.1, [0.2]], [1.0, 2.0], "inhomogeneous"),
        (["0.1"], [1.0], "learning_rates must be a 1-D array of numbers"),
        ([0.1], [True], "losses must be a 1-D array of numbers"),
        (0.1, 1.0, r"got shape \(\)"),
        ([0.1, 0.1], [1.0, 2.0], "strictly increasing, got 0.1 after 0.1 at index 1"),
        ([0.0, 0.1], [1.0, 2.0], "finite and positive, got 0.0 at index 0"),
        ([0.1, math.inf], [1.0, 2.0], "finite and positive, got inf at index 1"),
    ],
)
def test_curve_refuses(rates, losses, message):
    with pytest.raises(ValueError, match=message):
        LRCurve(rates, losses)


COUNTS = ("batch_size", "batches_per_epoch", "epochs")
KNOWN = Training(optimizer="SGD", momentum=0.9, batch_size=32, batches_per_epoch=50, epochs=4)


def test_a_curve_carries_what_is_known_about_the_training():
    rates, losses = [0.1, 0.2], [1.0, 2.0]
    curve = LRCurve(rates, losses, training=KNOWN)
    assert curve.training == KNOWN
    # Curves are compared by their rates and losses.
    assert curve == LRCurve(rates, losses, updates=[0.1, 0.2], fault="x holds NaN") == LRCurve(rates, losses)
    assert LRCurve(rates, losses).training is None
    with pytest.raises(TypeError, match=r"training must be a Training or None, got \{'optimizer': 'Adam'\}"):
        LRCurve(rates, losses, training={"optimizer": "Adam"})
    with pytest.raises(TypeError, match="positional"):
        LRCurve(rates, losses, KNOWN)


def test_updates_are_one_number_a_batch():
    curve = LRCurve([0.1, 0.2], [1.0, 2.0], updates=[math.nan, 1])
    np.testing.assert_array_equal(curve.updates, [math.nan, 1.0])
    with pytest.raises(ValueError, match="read-only"):
        curve.updates[0] = 1.0
    with pytest.raises(ValueError, match="learning_rates and updates must have the same length, got 2 and 1"):
        LRCurve([0.1, 0.2], [1.0, 2.0], updates=[1.0])


def test_counts_and_steps_of_a_training():
    training = Training(batch_size=np.int64(8), epochs=np.int32(2))
    assert [type(value) for value in (training.batch_size, training.epochs)] == [int, int]
    assert KNOWN.train_steps == 200
    assert Training(batches_per_epoch=50).train_steps == 50 * ASSUMED_EPOCHS
    assert Training(epochs=4).train_steps is None


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        *((name, (0, 1.5, True, "1"), "must be an integer of at least 1 or None, got ") for name in COUNTS),
        ("momentum", (-0.1, 1.0, math.nan, True, "0.9"), r"must be a number of at least 0.*model\.optimizer"),
        ("optimizer", (1,), "must be a class name such as 'Adam', got 1"),
    ],
)
def test_training_refuses(name, values, message):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} {message}"):
            Training(**{name: value})


def test_geometric_ramp_grows_by_one_factor_between_exact_ends():
    ramp = geometric_ramp(3e-7, 7, 100)
    assert ramp.shape == (100,)
    assert (ramp[0], ramp[-1]) == (3e-7, 7)
    np.testing.assert_array_equal(geometric_ramp(3e-7, 7, 100.0), ramp)
    np.testing.assert_allclose(ramp[1:] / ramp[:-1], (7 / 3e-7) ** (1 / 99))


@pytest.mark.parametrize(
    ("low", "high", "steps", "message"),
    [
        (1, 1e-6, 100, "swapped"),
        (0, 1, 100, "min_lr must be a finite number above 0, got 0"),
        (1e-6, math.inf, 100, "max_lr must be a finite number above 0, got inf"),
        (1e-6, 1, 9, "steps must be an integer of at least 10, got 9"),
        (1e-6, 1, 100.5, r"steps must be an integer of at least 10, got 100\.5\.$"),
        (1, 1 + 1e-15, 100, "too close"),
    ],
)
def test_geometric_ramp_refuses(low, high, steps, message):
    with pytest.raises(ValueError, match=message):
        geometric_ramp(low, high, steps)


def test_ema_is_corrected_for_its_start_and_local_linear_does_not_lag():
    np.testing.assert_allclose(ema(np.full(3, 5.0), 0.9), 5.0)
    np.testing.assert_allclose(ema(np.array([1.0, 2.0]), 0.5), [1.0, (0.5 * 1 + 2) / 1.5])
    x = np.linspace(-6, 1, 50)
    np.testing.assert_allclose(local_linear(x, 3 - 2 * x, 0.25), 3 - 2 * x)
    valley = (x - x[20]) ** 2
    assert np.argmin(local_linear(x, valley, 0.25)) == 20


def test_smoothed_reduces_noise_and_ends_at_the_blow_up():
    rates = geometric_ramp(1e-6, 10, 200)
    truth = 2 - np.tanh(np.log10(rates) + 3)
    losses = truth + np.random.default_rng(0).normal(0, 0.2, 200)
    losses[180:] = 1e6
    smooth = LRCurve(rates, losses).smoothed()
    end = blow_up(losses)
    assert 180 <= end <= 184
    assert np.isnan(smooth[180:]).all()
    assert np.abs(smooth[:150] - truth[:150]).max() < 0.2
    # The losses of the blow-up do not bend the curve before it.
    assert np.abs(smooth[150:180] - truth[150:180]).max() < 0.2


def descent(n=200, noise=0.05, seed=0):
    x = np.linspace(-7, 1, n)
    return 2.3 - 0.9 * (1 + np.tanh(2 * (x + 2.5))) + np.random.default_rng(seed).normal(0, noise, n)


def test_healthy_sweeps_do_not_blow_up():
    random = np.random.default_rng(0)
    assert blow_up([]) is None
    assert blow_up(np.full(100, 3.0)) is None
    assert blow_up(descent()) is None
    assert blow_up(random.normal(2, 1, 10_000)) is None
    assert blow_up(random.standard_t(2, 10_000)) is None
    outliers = descent()
    outliers[[30, 31, 90, 150]] += 1.2
    assert blow_up(outliers) is None


@pytest.mark.parametrize("first", [20, 60, 100, 190])
def test_a_single_loss_far_above_all_before_is_a_blow_up(first):
    losses = descent()
    losses[first] = 300.0
    assert blow_up(losses) == first
    detector = BlowUpDetector()
    assert [detector.update(loss) for loss in losses[: first + 1]][-1]
    assert detector.is_doubtful
    # Where the data are to blame, the loss is one of many.
    curve = LRCurve(geometric_ramp(1e-7, 10, 200), losses)
    assert curve.blow_up == first
    assert dataclasses.replace(curve, training=Training(has_outliers=True)).blow_up is None


def test_heavy_noise_seldom_looks_like_a_single_blow_up():
    sweeps = [np.random.default_rng(seed).standard_t(2, 300) for seed in range(200)]
    assert sum(blow_up(losses) is not None for losses in sweeps) <= 10
    sweeps = [np.random.default_rng(seed).standard_t(3, 300) for seed in range(200)]
    assert sum(blow_up(losses) is not None for losses in sweeps) <= 1


@pytest.mark.parametrize(("first", "loss"), [(20, 3.3), (100, 4.5), (190, 10.0)])
def test_divergence_is_seen_within_three_batches(first, loss):
    losses = descent()
    losses[first:] = loss
    assert blow_up(losses) == first + 2


@pytest.mark.parametrize(("descents", "is_blown_up"), [(2.5, False), (3.5, True)])
def test_a_rise_of_three_descents_above_the_start_is_a_blow_up(descents, is_blown_up):
    losses = np.concatenate([np.full(20, 2.0), np.linspace(2.0, 1.0, 60), np.full(20, 2.0 + descents)])
    assert (blow_up(losses) is not None) is is_blown_up


@pytest.mark.parametrize(("noises", "is_blown_up"), [(5, False), (16, True)])
def test_without_a_descent_a_rise_of_ten_times_the_noise_is_a_blow_up(noises, is_blown_up):
    losses = np.random.default_rng(0).normal(0, 1, 100)
    losses[60:] += noises
    assert (blow_up(losses) is not None) is is_blown_up


@given(
    st.integers(-20, 20).map(lambda power: 2.0**power),
    st.integers(-1000, 1000),
    st.integers(0, 1000),
    st.integers(20, 200),
)
def test_blow_up_scales_and_shifts_with_the_loss(scale, shift, seed, first):
    losses = descent(seed=seed)
    losses[first:] += np.linspace(0, 30, 200)[: len(losses[first:])]
    # Quantised, so that scaling and shifting are exact.
    losses = np.round(losses * 2**20) / 2**20
    assert blow_up(scale * losses + scale * shift) == blow_up(losses)


def test_a_nan_before_finite_losses_is_a_gap():
    losses = descent()
    whole = LRCurve(geometric_ramp(1e-7, 10, 200), losses)
    losses = losses.copy()
    losses[[10, 50, 150]] = math.nan
    curve = LRCurve(whole.learning_rates, losses)
    assert curve.blow_up is None
    assert np.flatnonzero(np.isnan(curve.smoothed())).tolist() == [10, 50, 150]
    assert np.nanmax(np.abs(curve.smoothed() - whole.smoothed())) < 0.05
    # A loss that stays NaN has blown up, and so has one that was infinite.
    losses[180:] = math.nan
    assert LRCurve(whole.learning_rates, losses).blow_up == 180
    losses[170] = math.inf
    assert LRCurve(whole.learning_rates, losses).blow_up == 170


@given(ANY_LOSSES)
def test_detector_and_blow_up_agree_on_any_losses(losses):
    detector = BlowUpDetector()
    answers = [detector.update(loss) for loss in losses]
    index = blow_up(losses)
    assert answers == [index is not None and i >= index for i in range(len(losses))]
    bad = [i for i, loss in enumerate(losses) if not math.isfinite(loss)]
    # Never later than the first loss that is not finite.
    assert not bad or index <= bad[0]


def test_import_loads_numpy_alone():
    modules = ", ".join(f"lrtuner.{name}" for name in ("errors", "messages", "search.codec", "curve.rules"))
    code = f"import sys, {modules}; print({{'tensorflow', 'keras', 'matplotlib'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_range_is_plain_floats():
    found = LRRange(np.float32(0.5), 2)
    assert (type(found.min_lr), type(found.max_lr)) == (float, float)
    assert found == LRRange(0.5, 2.0)
    assert found.decades == pytest.approx(math.log10(4))
    assert tuple(found) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 1), (2, 1), (0, 1), (-1, 1), (1, math.inf), (math.nan, 1), (True, 2), ("1", 2), (None, 1)],
)
def test_range_refuses(low, high):
    with pytest.raises(ValueError, match=r"min_lr|max_lr"):
        LRRange(low, high)


def test_the_suggested_rate_is_the_geometric_middle():
    with pytest.raises(TypeError, match="positional"):
        Evidence(100, 12.5, 0.05, 1.8, 1e-2, None)
    assert LRRange(1e-300, 1e300).suggested == pytest.approx(1.0)
    assert LRRange(0.0091, 0.14).suggested == pytest.approx(0.0357, rel=1e-3)
