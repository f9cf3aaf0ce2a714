import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtuner.curve.blow_up import BlowUpDetector
from lrtuner.curve.curve import ASSUMED_EPOCHS, LRCurve, Training, geometric_ramp
from lrtuner.curve.smoothing import ema, local_linear

ANY_LOSSES = st.lists(st.floats(width=64), max_size=60)


def blow_up(losses):
    detector = BlowUpDetector()
    return next((index for index, loss in enumerate(losses) if detector.update(loss)), None)


def test_curve_holds_read_only_copies():
    losses = np.array([3.0, 2.0])
    curve = LRCurve([0.1, 0.2], losses)
    losses[0] = 7.0
    assert curve.losses.tolist() == [3.0, 2.0]
    assert curve.losses.dtype == curve.learning_rates.dtype == np.float64
    assert len(curve) == 2
    for values in (curve.learning_rates, curve.losses):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


def test_curve_may_be_empty():
    curve = LRCurve([], [])
    assert len(curve) == 0
    assert curve.smoothed().shape == (0,)
    assert LRCurve.from_config(curve.to_config()) == curve


def test_curves_are_equal_by_value():
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
        ([[0.1, 0.2]], [[1.0, 2.0]], r"learning_rates must be a 1-D array of numbers, got shape \(1, 2\)"),
        ([0.1, [0.2]], [1.0, 2.0], "learning_rates must be a 1-D array of numbers"),
        (["0.1"], [1.0], "learning_rates must be a 1-D array of numbers"),
        ([0.1], [True], "losses must be a 1-D array of numbers"),
        ([0.1], [None], "losses must be a 1-D array of numbers"),
        (0.1, 1.0, r"got shape \(\)"),
        ([0.1, 0.1], [1.0, 2.0], "strictly increasing, got 0.1 after 0.1 at index 1"),
        ([0.2, 0.1], [1.0, 2.0], "strictly increasing"),
        ([0.0, 0.1], [1.0, 2.0], "finite and positive, got 0.0 at index 0"),
        ([0.1, math.inf], [1.0, 2.0], "finite and positive, got inf at index 1"),
        ([0.1, math.nan], [1.0, 2.0], "finite and positive, got nan at index 1"),
    ],
)
def test_curve_refuses(rates, losses, message):
    with pytest.raises(ValueError, match=message):
        LRCurve(rates, losses)


@given(ANY_LOSSES)
def test_config_is_strict_json_and_exact(losses):
    curve = LRCurve(np.geomspace(1e-6, 1, max(len(losses), 1))[: len(losses)], losses)
    assert LRCurve.from_config(json.loads(json.dumps(curve.to_config(), allow_nan=False))) == curve


def test_config_spells_non_finite_losses():
    config = LRCurve([1, 2, 3], [math.nan, math.inf, -math.inf]).to_config()
    assert config == {"learning_rates": [1.0, 2.0, 3.0], "losses": ["nan", "inf", "-inf"], "training": None}


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {"losses": []},
        {"learning_rates": []},
        {"learning_rates": [], "losses": [], "version": 1},
        {"learning_rates": 0.1, "losses": [1.0]},
        {"learning_rates": "1", "losses": [1.0]},
        {"learning_rates": ["0.1"], "losses": [1.0]},
        {"learning_rates": ["inf"], "losses": [1.0]},
        {"learning_rates": [True], "losses": [1.0]},
        {"learning_rates": [[0.1]], "losses": [1.0]},
        {"learning_rates": [10**400], "losses": [1.0]},
        {"learning_rates": [0.1], "losses": [False]},
        {"learning_rates": [0.1], "losses": ["1.0"]},
        {"learning_rates": [0.1], "losses": ["Infinity"]},
        {"learning_rates": [0.1], "losses": [None]},
        {"learning_rates": [0.1], "losses": [[1.0]]},
        {"learning_rates": [0.1], "losses": []},
        {"learning_rates": [0.2, 0.1], "losses": [1.0, 1.0]},
        {"learning_rates": [0.1], "losses": [1.0], "training": "Adam"},
        {"learning_rates": [0.1], "losses": [1.0], "training": {"optimizer": "Adam"}},
        {"learning_rates": [0.1], "losses": [1.0], "training": {**Training().to_config(), "epochs": 1.5}},
    ],
)
def test_config_refuses(config):
    with pytest.raises(ValueError, match=r"must|too large"):
        LRCurve.from_config(config)


KNOWN = Training(optimizer="SGD", momentum=0.9, batch_size=32, batches_per_epoch=50, epochs=4)


def test_a_curve_carries_what_is_known_about_the_training():
    rates, losses = [0.1, 0.2], [1.0, 2.0]
    curve = LRCurve(rates, losses, training=KNOWN)
    restored = LRCurve.from_config(json.loads(json.dumps(curve.to_config(), allow_nan=False)))
    assert restored.training == KNOWN
    # Curves are compared by their rates and losses.
    assert restored == curve == LRCurve(rates, losses)
    assert LRCurve(rates, losses).training is None
    with pytest.raises(TypeError, match=r"training must be a Training or None, got \{'optimizer': 'Adam'\}"):
        LRCurve(rates, losses, training={"optimizer": "Adam"})
    with pytest.raises(TypeError, match="positional"):
        LRCurve(rates, losses, KNOWN)


def test_a_config_without_a_training_is_a_curve():
    curve = LRCurve.from_config({"learning_rates": [0.1, 0.2], "losses": [1.0, 2.0]})
    assert curve == LRCurve([0.1, 0.2], [1.0, 2.0])
    assert curve.training is None


@pytest.mark.parametrize("training", [Training(), KNOWN, Training(optimizer="Adam", epochs=3)])
def test_training_config_is_exact(training):
    assert Training.from_config(json.loads(json.dumps(training.to_config()))) == training


def test_training_is_plain_numbers():
    training = Training(momentum=np.float64(0.5), batch_size=np.int64(8), epochs=np.int32(2))
    assert [type(value) for value in (training.momentum, training.batch_size, training.epochs)] == [
        float,
        int,
        int,
    ]


def test_steps_of_a_training_are_those_of_its_epochs():
    assert KNOWN.train_steps == 200
    assert Training(batches_per_epoch=50).train_steps == 50 * ASSUMED_EPOCHS
    assert Training(epochs=4).train_steps is None


@pytest.mark.parametrize("name", ["batch_size", "batches_per_epoch", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1"])
def test_training_refuses_counts(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1 or None, got {value!r}"):
        Training(**{name: value})


@pytest.mark.parametrize("momentum", [-0.1, 1.0, math.nan, True, "0.9"])
def test_training_refuses_momentum(momentum):
    with pytest.raises(ValueError, match=r"momentum must be a number of at least 0.*model\.optimizer"):
        Training(momentum=momentum)


def test_training_refuses_an_optimizer_that_is_no_name():
    with pytest.raises(
        ValueError, match="optimizer must be a Keras class name such as 'Adam' or None, got 1"
    ):
        Training(optimizer=1)


def test_geometric_ramp_grows_by_one_factor_between_exact_ends():
    ramp = geometric_ramp(3e-7, 7, 100)
    assert ramp.shape == (100,)
    assert (ramp[0], ramp[-1]) == (3e-7, 7)
    np.testing.assert_allclose(ramp[1:] / ramp[:-1], (7 / 3e-7) ** (1 / 99))


@pytest.mark.parametrize(
    ("low", "high", "steps", "message"),
    [
        (1, 1e-6, 100, "swapped"),
        (1, 1, 100, "swapped"),
        (0, 1, 100, "min_lr must be a finite number above 0, got 0"),
        (-1, 1, 100, "min_lr"),
        (1e-6, math.inf, 100, "max_lr must be a finite number above 0, got inf"),
        (1e-6, math.nan, 100, "max_lr"),
        ("1e-6", 1, 100, "min_lr"),
        (True, 2, 100, "min_lr"),
        (1e-6, 1, 9, "steps must be an integer of at least 10, got 9"),
        (1e-6, 1, 10.0, "steps"),
        (1e-6, 1, True, "steps"),
        (1, 1 + 1e-15, 100, "too close"),
    ],
)
def test_geometric_ramp_refuses(low, high, steps, message):
    with pytest.raises(ValueError, match=message):
        geometric_ramp(low, high, steps)


def test_ema_is_corrected_for_its_start():
    np.testing.assert_allclose(ema([5.0, 5.0, 5.0], 0.9), 5.0)
    np.testing.assert_allclose(ema([1.0, 2.0], 0.5), [1.0, (0.5 * 1 + 2) / 1.5])
    for decay in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="decay"):
            ema([1.0], decay)


def test_local_linear_keeps_straight_lines_and_does_not_lag():
    x = np.linspace(-6, 1, 50)
    np.testing.assert_allclose(local_linear(x, 3 - 2 * x, 0.25), 3 - 2 * x)
    valley = (x - x[20]) ** 2
    assert np.argmin(local_linear(x, valley, 0.25)) == 20
    with pytest.raises(ValueError, match="bandwidth"):
        local_linear(x, x, 0)


def test_smoothed_reduces_noise_and_ends_at_the_blow_up():
    rates = geometric_ramp(1e-6, 10, 200)
    truth = 2 - np.tanh(np.log10(rates) + 3)
    losses = truth + np.random.default_rng(0).normal(0, 0.2, 200)
    losses[180:] = 1e6
    smooth = LRCurve(rates, losses).smoothed()
    end = blow_up(losses)
    assert 180 <= end <= 184
    assert np.isnan(smooth[end:]).all()
    assert np.abs(smooth[:150] - truth[:150]).max() < 0.2
    # The losses of the blow-up do not bend the curve before it, and lead it out of the picture.
    assert np.abs(smooth[150:180] - truth[150:180]).max() < 0.2
    assert (smooth[180:end] == 1e6).all()


def test_smoothed_passes_over_single_outliers():
    rates = geometric_ramp(1e-6, 10, 200)
    losses = descent(noise=0.02)
    spiked = losses.copy()
    spiked[20:180:20] += 0.5
    assert blow_up(spiked) is None
    assert np.abs(LRCurve(rates, spiked).smoothed() - LRCurve(rates, losses).smoothed()).max() < 0.1


def descent(n=200, noise=0.05, seed=0):
    x = np.linspace(-7, 1, n)
    return 2.3 - 0.9 * (1 + np.tanh(2 * (x + 2.5))) + np.random.default_rng(seed).normal(0, noise, n)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_blown_up(value):
    assert blow_up([2.0, value, 2.0]) == 1
    assert blow_up([value]) == 0


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
    assert detector.doubtful == 1
    # Where the data are to blame, the loss is one of many.
    curve = LRCurve(geometric_ramp(1e-7, 10, 200), losses)
    assert curve.blow_up == first
    assert dataclasses.replace(curve, training=Training(has_outliers=True)).blow_up is None


def test_heavy_noise_seldom_looks_like_a_single_blow_up():
    sweeps = [np.random.default_rng(seed).standard_t(2, 300) for seed in range(200)]
    assert sum(blow_up(losses) is not None for losses in sweeps) <= 10
    sweeps = [np.random.default_rng(seed).standard_t(3, 300) for seed in range(200)]
    assert sum(blow_up(losses) is not None for losses in sweeps) <= 1


def test_a_relu_net_that_dies_in_one_batch_has_blown_up_there():
    # As SGD on raw targets: level, one loss hundreds of times as high, level, and the bias learns the mean.
    random = np.random.default_rng(0)
    losses = random.normal(220, 40, 100)
    losses[70:] -= 180 / (1 + np.exp(-(np.arange(30) - 12)))
    losses[50] = 4e4
    assert blow_up(losses) == 50
    assert LRCurve(geometric_ramp(1e-7, 10, 100), losses).blow_up == 50


@pytest.mark.parametrize(("first", "loss"), [(20, 3.3), (100, 4.5), (190, 10.0)])
def test_divergence_is_seen_within_three_batches(first, loss):
    losses = descent()
    losses[first:] = loss
    assert blow_up(losses) == first + 2


def test_divergence_from_a_loss_that_never_fell_is_seen():
    losses = np.random.default_rng(0).normal(0, 1e-3, 100)
    losses[60:] += np.geomspace(0.01, 100, 40)
    assert 60 < blow_up(losses) < 70


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


@pytest.mark.parametrize(
    "module", ["values", "smoothing", "blow_up", "curve", "lr_range", "reading", "rules"]
)
def test_import_loads_numpy_alone(module):
    heavy = ("tensorflow", "keras", "matplotlib")
    code = f"import sys, lrtuner.{module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plot_hands_over_to_plot_curve(monkeypatch):
    import types

    calls = []
    module = types.ModuleType("lrtuner.plot")
    module.plot_curve = lambda *args, **kwargs: calls.append((args, kwargs)) or "axes"
    monkeypatch.setitem(sys.modules, "lrtuner.plot", module)
    curve = LRCurve([0.1], [1.0])
    assert curve.plot(ax="ax", title="t") == "axes"
    assert calls == [((curve,), {"ax": "ax", "title": "t"})]
