import dataclasses
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from lrtuner.curve import LRCurve
from lrtuner.lr_range import Evidence, LRRange
from lrtuner.plot import plot_curve, plot_sweeps, save_picture

RATES = np.geomspace(1e-6, 10, 100)
DESCENT = np.concatenate([np.full(40, 2.0), np.linspace(2.0, 0.5, 40), np.linspace(0.5, 0.6, 20)])
RANGE = LRRange(1e-3, 3e-2)
EVIDENCE = Evidence(
    batches=100, density=14.0, noise=0.05, descent=1.5, descent_end=0.02, edge=0.9, usual=0.01
)


@dataclasses.dataclass(frozen=True)
class Sweep:
    name: str
    curve: LRCurve | None = None
    lr_range: LRRange | None = None
    reason: str | None = None
    declared: tuple[float, float] | None = None


@pytest.fixture
def ax():
    return Figure().add_subplot()


def curve(losses=DESCENT):
    return LRCurve(RATES, np.asarray(losses, dtype=float))


def line(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def notes(ax):
    return " ".join(text.get_text() for text in ax.texts).replace("\n", " ")


def right_of(ax):
    (right,) = [one for one in ax.figure.axes if one is not ax]
    return right


def test_axes_are_labelled_and_logarithmic(ax):
    assert plot_curve(curve(), ax=ax, title="a sweep") is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert ax.get_xlabel() == "learning rate (log scale)"
    assert ax.get_ylabel() == "loss (one batch)"
    assert ax.get_title() == "a sweep"


def test_raw_and_smoothed_losses_are_drawn(ax):
    plot_curve(curve(), ax=ax)
    raw, smooth = line(ax, "_losses"), line(ax, "loss")
    np.testing.assert_array_equal(raw.get_xdata(), RATES)
    np.testing.assert_array_equal(raw.get_ydata(), DESCENT)
    np.testing.assert_allclose(smooth.get_ydata(), curve().smoothed())
    assert raw.get_alpha() < 1
    assert smooth.get_linewidth() > 1
    assert legend(ax) == ["loss"]


def test_range_is_shaded_and_named(ax):
    plot_curve(curve(), RANGE, ax=ax)
    (shade,) = ax.patches
    low, high = shade.get_xy()[0], shade.get_xy()[0] + shade.get_width()
    assert (low, high) == pytest.approx((1e-3, 3e-2))
    assert shade.get_height() == 1
    assert legend(ax) == ["loss", "range 0.001 to 0.03"]


def test_declared_bounds_are_marked_inside_the_picture(ax):
    plot_curve(curve(), ax=ax, declared=(1e-8, 100))
    marks = [one.get_xdata()[0] for one in ax.lines if one.get_label() == "declared bounds"]
    assert marks == [1e-8, 100]
    assert ax.get_xlim()[0] < 1e-8
    assert ax.get_xlim()[1] > 100
    assert legend(ax) == ["loss", "declared bounds"]


def test_a_declared_minimum_of_zero_has_no_place_on_a_log_axis(ax):
    plot_curve(curve(), ax=ax, declared=(0.0, 1.0))
    assert [one.get_xdata()[0] for one in ax.lines if one.get_label() == "declared bounds"] == [1.0]


def test_trials_have_their_own_axis(ax):
    trials = [(1e-3, 0.5), (1e-2, 0.4), (3e-2, 0.6), (0.1, float("nan")), (1e-2, float("inf"))]
    plot_curve(curve(), ax=ax, trials=trials, objective="val_loss")
    right = right_of(ax)
    assert right.get_ylabel() == "val_loss"
    points = line(right, "trials")
    np.testing.assert_array_equal(points.get_xydata(), trials[:3])
    assert "trials" in legend(ax)
    assert ax.get_ylim()[1] < 3  # the losses' axis is not theirs


def test_a_diverged_trial_is_drawn_at_the_edge(ax):
    trials = [(1e-3 * (1 + i), 0.4 + 0.01 * i) for i in range(10)] + [(0.5, 1e6)]
    plot_curve(curve(), ax=ax, trials=trials)
    right = right_of(ax)
    assert right.get_ylim()[1] < 1
    assert len(line(right, "trials").get_xdata()) == 10
    (outlier,) = [one for one in right.lines if one.get_label() == "_outliers"]
    assert outlier.get_marker() == "^"
    assert outlier.get_xdata() == [0.5]
    assert outlier.get_ydata()[0] < right.get_ylim()[1]


def test_trials_have_the_colour_of_their_sweep(ax):
    sweeps = [Sweep("adam", curve(), RANGE), Sweep("sgd", curve(), RANGE)]
    plot_sweeps(sweeps, trials=[[(1e-3, 0.5), (2e-3, 0.6)], [(1e-2, 0.4)]], ax=ax)
    (right,) = [axes for axes in ax.figure.axes if axes is not ax]
    for points, sweep, count in zip(right.get_lines(), sweeps, (2, 1), strict=True):
        assert len(points.get_xdata()) == count
        assert points.get_color() == line(ax, f"{sweep.name}, 0.001 to 0.03").get_color()
    assert [text for text in legend(ax) if text == "trials"] == ["trials"]


@pytest.mark.parametrize("trials", [None, [], [(1e-3, float("nan"))]])
def test_no_trials_no_second_axis(ax, trials):
    plot_curve(curve(), ax=ax, trials=trials)
    assert ax.figure.axes == [ax]


@pytest.mark.parametrize("end", [[1e6, 1e30], [1e300, np.inf], [np.nan, np.nan], [-np.inf, 5]])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_a_blow_up_does_not_flatten_the_curve(ax, end, shift):
    losses = DESCENT + shift
    losses[-2:] = end
    plot_curve(curve(losses), ax=ax)
    low, high = ax.get_ylim()
    assert low < losses[:-2].min() < losses[:-2].max() < high
    assert high - low < 3 * np.ptp(losses[:-2])
    ax.figure.canvas.draw()


def test_one_outlier_does_not_flatten_the_curve(ax):
    losses = DESCENT.copy()
    losses[10] = 500.0
    plot_curve(curve(losses), ax=ax)
    assert ax.get_ylim()[1] < 5


def test_a_rise_is_shown_above_the_start(ax):
    plot_curve(curve(np.concatenate([DESCENT[:80], np.linspace(0.5, 50, 20)])), ax=ax)
    assert 2.5 < ax.get_ylim()[1] < 5


def test_spikes_do_not_flatten_the_curve(ax):
    # Large inputs: the net dies at the highest rates, after spikes, with the lowest losses of all.
    losses = np.concatenate([np.full(40, 170.0), np.linspace(170.0, 5.0, 40), np.full(20, 2.3)])
    losses[[70, 76, 81, 85]] = [600.0, 1700.0, 400.0, 3000.0]
    plot_curve(curve(losses), ax=ax)
    assert 170 < ax.get_ylim()[1] < 300


def test_the_lowest_loss_is_above_the_notes(ax):
    losses = np.concatenate([np.full(70, 2.4), np.linspace(2.4, 1.6, 25), [1.27, 0.9, 2.2, 50, 80]])
    plot_curve(curve(losses), LRRange(0.1, 1.0, EVIDENCE), ax=ax)
    ax.figure.canvas.draw()
    assert ax.texts[0].get_window_extent().transformed(ax.transData.inverted()).y1 < 0.9


def test_ticks_stand_where_losses_are(ax):
    plot_curve(curve(DESCENT * 100), LRRange(0.1, 1.0, EVIDENCE), ax=ax)
    ax.figure.canvas.draw()
    assert ax.get_ylim()[0] < 30
    assert min(ax.get_yticks()) > 45
    # Zoomed in, there are as many as ever.
    ax.set_ylim(100, 110)
    assert len(ax.get_yticks()) > 3


def test_a_long_reason_with_terminal_colours_fits(ax):
    reason = (
        "ValueError: \x1b[1mInput 0 of layer 'dense'\x1b[0m\x07 is incompatible. "
        + "Detected at node 5. " * 100
    )
    plot_sweeps([Sweep("adam", curve(), reason=reason)], ax=ax)
    assert "ValueError: Input 0 of layer 'dense' is incompatible." in notes(ax)
    # A warning about a missing glyph would be an error here.
    ax.figure.canvas.draw()
    assert ax.texts[0].get_window_extent().height < 0.4 * ax.get_window_extent().height


@pytest.mark.parametrize("loss", [0.0, 2.3, -7.0, 1e6])
def test_a_flat_curve_has_room_around_it(ax, loss):
    plot_curve(curve(np.full(100, loss)), ax=ax)
    low, high = ax.get_ylim()
    assert low < loss < high


def test_large_losses_are_written_without_a_common_factor(ax):
    plot_curve(curve(DESCENT * 1e6), ax=ax)
    ax.figure.canvas.draw()
    assert ax.yaxis.get_offset_text().get_text() == ""


def test_sweeps_have_a_colour_and_a_name_each(ax):
    other = LRRange(1e-2, 0.1)
    sweeps = [
        Sweep("adam", curve(), RANGE, declared=(1e-6, 10.0)),
        Sweep("sgd", curve(DESCENT + 0.2), other, declared=(1e-6, 10.0)),
    ]
    plot_sweeps(sweeps, ax=ax)
    assert legend(ax) == ["adam, 0.001 to 0.03", "sgd, 0.01 to 0.1", "declared bounds"]
    colours = [line(ax, label).get_color() for label in legend(ax)[:2]]
    assert colours[0] != colours[1]
    first, second = ax.patches
    assert (first.get_xy()[0], second.get_xy()[0]) == pytest.approx((1e-3, 1e-2))
    # Bars below one another, in their curves' colours, above all losses.
    assert first.get_xy()[1] > second.get_xy()[1] + second.get_height()
    assert matplotlib.colors.same_color(first.get_facecolor()[:3], colours[0])
    height = (2.2 - ax.get_ylim()[0]) / np.ptp(ax.get_ylim())
    assert second.get_xy()[1] > height


def test_one_sweep_is_drawn_as_a_curve(ax):
    plot_sweeps([Sweep("adam", curve(), RANGE, declared=(1e-6, 10.0))], ax=ax)
    alone = Figure().add_subplot()
    plot_curve(curve(), RANGE, declared=(1e-6, 10.0), ax=alone)
    assert legend(ax) == legend(alone)
    assert ax.get_ylim() == alone.get_ylim()
    assert ax.get_xlim() == alone.get_xlim()
    for drawn, expected in zip(ax.lines, alone.lines, strict=True):
        np.testing.assert_array_equal(drawn.get_xydata(), expected.get_xydata())


def test_what_a_sweep_lacks_is_said(ax):
    sweeps = [
        Sweep("adam", curve(), RANGE),
        Sweep("sgd", reason="the model costs $5 and failed"),
        Sweep("rmsprop", curve(), reason="the curve is flat"),
        Sweep("lion", curve(np.full(100, np.nan)), reason="the first loss is NaN"),
    ]
    plot_sweeps(sweeps, ax=ax)
    assert "sgd: no curve: the model costs $5 and failed" in notes(ax)
    assert "rmsprop: no range: the curve is flat" in notes(ax)
    assert "lion: no curve: the first loss is NaN" in notes(ax)
    assert "adam" not in notes(ax)
    assert legend(ax) == ["adam, 0.001 to 0.03", "rmsprop"]
    # The notes have the bottom to themselves.
    ax.figure.canvas.draw()
    top = ax.texts[0].get_window_extent().transformed(ax.transData.inverted()).y1
    assert top < DESCENT.min()


@pytest.mark.parametrize(
    ("sweeps", "words"),
    [
        ([], "no sweeps"),
        ([Sweep("adam", reason="it failed", declared=(1e-4, 1.0))], "no curve: it failed"),
        ([Sweep("adam")], "no curve"),
        ([Sweep("adam", LRCurve(np.empty(0), np.empty(0)))], "no curve"),
        ([Sweep(f"model {i}", reason="it failed") for i in range(30)], "model 29: no curve: it failed"),
    ],
)
def test_nothing_to_draw_is_no_error(ax, sweeps, words):
    plot_sweeps(sweeps, ax=ax)
    assert words in notes(ax)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_short_curves_are_drawn(ax, count):
    plot_curve(LRCurve(RATES[:count], DESCENT[:count]), ax=ax)
    assert len(line(ax, "_losses").get_xdata()) == count


def test_many_sweeps_are_drawn(ax):
    plot_sweeps([Sweep(f"model {i}", curve(), RANGE) for i in range(20)], ax=ax)
    low, high = ax.get_ylim()
    assert low < DESCENT.min() < DESCENT.max() < high


def test_without_axes_a_new_figure_is_shown():
    plt.close("all")
    try:
        drawn = plot_curve(curve())
        assert plt.gcf() is drawn.figure
        drawn = plot_sweeps([Sweep("adam", curve())])
        assert plt.gcf() is drawn.figure
        assert len(plt.get_fignums()) == 2
    finally:
        plt.close("all")


def test_style_is_left_alone(ax):
    before = dict(matplotlib.rcParams)
    plot_curve(curve(), RANGE, trials=[(1e-3, 0.5)], ax=ax)
    assert dict(matplotlib.rcParams) == before


def test_save_picture(tmp_path):
    before = plt.get_fignums()
    path = tmp_path / "curve.png"
    path.write_bytes(b"an older picture")
    save_picture(path, lambda ax: plot_curve(curve(), RANGE, ax=ax))
    assert matplotlib.image.imread(path).shape[2] == 4
    assert list(tmp_path.iterdir()) == [path]
    assert plt.get_fignums() == before


@pytest.mark.parametrize("when", ["drawing", "saving"])
def test_a_failed_picture_leaves_the_old_one(tmp_path, monkeypatch, when):
    path = tmp_path / "curve.png"
    path.write_bytes(b"an older picture")

    def fail(_):
        raise RuntimeError("no space left")

    def save_half(_, name, format):
        assert format == "png"
        name.write_bytes(b"half a pic")
        fail(name)

    if when == "saving":
        monkeypatch.setattr(Figure, "savefig", save_half)
    with pytest.raises(RuntimeError, match="no space left"):
        save_picture(path, fail if when == "drawing" else str)
    assert path.read_bytes() == b"an older picture"
    assert list(tmp_path.iterdir()) == [path]


def test_import_and_saving_are_light(tmp_path):
    program = (
        "import sys, lrtuner.plot\n"
        "loaded = {'matplotlib', 'tensorflow', 'keras', 'keras_tuner'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "draw = lambda ax: lrtuner.plot.plot_sweeps([], ax=ax)\n"
        f"lrtuner.plot.save_picture({str(tmp_path / 'a.png')!r}, draw)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").exists()


def test_evidence_is_marked_and_put_into_words(ax):
    plot_sweeps([Sweep("one", curve(), LRRange(1e-3, 3e-2, EVIDENCE))], ax=ax)
    assert line(ax, "descent nearly done, 0.02").get_xdata()[0] == 0.02
    assert line(ax, "loss rises, 0.9").get_xdata()[0] == 0.9
    assert "30 times the noise" in notes(ax)
    assert "Note" not in notes(ax)


def test_a_range_that_the_curve_does_not_show_says_so(ax):
    usual = dataclasses.replace(EVIDENCE, descent_end=None, usual=1e-2)
    plot_sweeps([Sweep("one", curve(), LRRange(1e-3, 3e-2, usual))], ax=ax)
    words = " ".join(notes(ax).split())
    assert "Note: the curve shows where the loss rises but no descent" in words
    assert "mostly what is usual for the optimizer" in words
    ax.clear()
    plot_sweeps([Sweep(name, curve(), LRRange(1e-3, 3e-2, usual)) for name in ("one", "two")], ax=ax)
    assert "two: the curve shows where" in " ".join(notes(ax).split())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"curve": ([1e-3], [1.0])},
            TypeError,
            r"curve must be an LRCurve, got .* of type tuple\. Use",
        ),
        ({"curve": None}, TypeError, "curve must be an LRCurve, got None"),
        ({"lr_range": (1e-3, 1e-1)}, TypeError, r"lr_range must be an LRRange or None, got \(0\.001, 0\.1\)"),
        (
            {"declared": 1e-3},
            ValueError,
            r"declared must hold pairs of numbers, got 0\.001\. Pass",
        ),
        ({"declared": ("low", "high")}, ValueError, r"declared must hold pairs .*'low'"),
        ({"declared": (1, 2, 3)}, ValueError, r"declared must hold pairs .*\(1, 2, 3\)"),
        ({"trials": 3}, ValueError, r"trials must be a list of pairs, got 3\. Pass \(learning rate, score\)"),
        ({"trials": [1e-3, 0.5]}, ValueError, r"trials must hold pairs of numbers, got 0\.001\. Pass"),
        ({"trials": [(1e-3, None)]}, ValueError, r"trials must hold pairs .*\(0\.001, None\)"),
        ({"ax": 3}, TypeError, "ax must be a matplotlib Axes or None, got 3 of type int"),
        ({"ax": Figure()}, TypeError, "ax must be a matplotlib Axes or None, got .* of type Figure"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_bad_arguments_of_plot_curve(arguments, error, message):
    before = plt.get_fignums()
    arguments = {"curve": curve(), **arguments}
    with pytest.raises(error, match=message):
        plot_curve(**arguments)
    if isinstance(of_a_curve := arguments.pop("curve"), LRCurve):
        with pytest.raises(error, match=message):
            of_a_curve.plot(**arguments)
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sweeps": None}, TypeError, "sweeps must be a list of lrtuner.Sweep, got None"),
        ({"sweeps": [curve()]}, TypeError, "of type LRCurve in it.*for a curve use plot_curve"),
        ({"sweeps": 3}, TypeError, "got 3 of type int in it"),
        ({"trials": [[(1, 2, 3)]]}, ValueError, r"trials must hold pairs of numbers, got \(1, 2, 3\)"),
        ({"trials": [(1e-3, 0.5)]}, ValueError, r"trials must hold pairs of numbers, got 0\.001"),
        ({"trials": 3}, ValueError, "trials must be a list of pairs, got 3"),
        ({"trials": []}, ValueError, r"a list for each of the 1 sweeps, got 0\. Pass an empty list"),
        ({"ax": "axes"}, TypeError, "ax must be a matplotlib Axes or None, got 'axes' of type str"),
    ],
)
def test_bad_arguments_of_plot_sweeps(arguments, error, message):
    with pytest.raises(error, match=message):
        plot_sweeps(**{"sweeps": [Sweep("one", curve())], **arguments})


@pytest.mark.parametrize(
    ("path", "draw", "error", "message"),
    [
        ("missing/curve.png", str, OSError, "missing"),
        ("curve.png", 3, TypeError, "not callable"),
        (3, str, TypeError, "int"),
    ],
)
def test_bad_arguments_of_save_picture(tmp_path, path, draw, error, message):
    with pytest.raises(error, match=message):
        save_picture(tmp_path / path if isinstance(path, str) else path, draw)
    assert list(tmp_path.iterdir()) == []
