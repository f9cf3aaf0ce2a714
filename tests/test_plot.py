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

from lrtuner.curve.curve import LRCurve, Training
from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.plot import plot_curve, plot_search, plot_sweeps, save_picture

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
    learning_rate: str = ""
    setting: dict = dataclasses.field(default_factory=dict)


@pytest.fixture(autouse=True)
def whole_pictures():
    """Matplotlib as it is, and not as conftest.py sets it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


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


def below(ax):
    (panel,) = [one for one in ax.figure.axes if one is not ax]
    return panel


def box(ax, artist):
    """Where an artist is drawn, in shares of the axes."""
    ax.figure.draw_without_rendering()
    return artist.get_window_extent().transformed(ax.transAxes.inverted())


def test_axes_are_labelled_and_logarithmic(ax):
    assert plot_curve(curve(), ax=ax, title="a sweep") is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert ax.get_xlabel() == "learning rate (log scale)"
    assert ax.get_ylabel() == "training loss"
    assert ax.get_title() == "a sweep"


def test_raw_and_smoothed_losses_are_drawn(ax):
    plot_curve(curve(), ax=ax)
    raw, smooth = line(ax, "_losses"), line(ax, "smoothed")
    np.testing.assert_array_equal(raw.get_xdata(), RATES)
    np.testing.assert_array_equal(raw.get_ydata(), DESCENT)
    np.testing.assert_allclose(smooth.get_ydata(), curve().smoothed())
    assert raw.get_alpha() < 1
    assert smooth.get_linewidth() > 1
    assert legend(ax) == ["loss of one batch", "smoothed"]


def test_range_is_shaded_and_labelled_on_its_axis(ax):
    plot_curve(curve(), RANGE, ax=ax)
    (shade,) = ax.patches
    low, high = shade.get_xy()[0], shade.get_xy()[0] + shade.get_width()
    assert (low, high) == pytest.approx((1e-3, 3e-2))
    assert shade.get_height() == 1
    assert legend(ax) == ["loss of one batch", "smoothed", "range to search"]
    labels = {text.get_text(): box(ax, text) for text in ax.texts}
    assert list(labels) == ["0.001", "0.03", "0.0055"]
    low, high, middle = labels.values()
    assert low.x1 < middle.x0 < middle.x1 < high.x0
    assert min(label.y0 for label in labels.values()) >= 1  # above the axes, where there is no curve
    assert low.y1 < box(ax, ax.get_legend()).y0


@pytest.mark.parametrize("ends", [(1e-6, 1e-3), (0.01, 10.0), (1e-6, 10.0), (1e-6, 1.1e-6)])
def test_a_range_at_an_end_of_the_axis_is_labelled(ax, ends):
    plot_curve(curve(), LRRange(*ends), ax=ax)
    labels = [box(ax, text) for text in ax.texts]
    assert labels
    assert min(label.x0 for label in labels) > -0.01
    assert max(label.x1 for label in labels) < 1.01


def test_declared_bounds_are_marked_inside_the_picture(ax):
    plot_curve(curve(), ax=ax, declared=(1e-8, 100))
    marks = [one.get_xdata()[0] for one in ax.lines if one.get_label() == "declared, 1e-08 to 1e+02"]
    assert marks == [1e-8, 100]
    assert ax.get_xlim()[0] < 1e-8
    assert ax.get_xlim()[1] > 100
    assert legend(ax) == ["loss of one batch", "smoothed", "declared, 1e-08 to 1e+02"]


def test_a_declared_minimum_of_zero_has_no_place_on_a_log_axis(ax):
    plot_curve(curve(), ax=ax, declared=(0.0, 1.0))
    assert [one.get_xdata()[0] for one in ax.lines if one.get_label() == "declared, 0 to 1"] == [1.0]


def test_trials_have_a_panel_of_their_own(ax):
    trials = [(1e-3, 0.5), (1e-2, 0.4), (3e-2, 0.6), (0.1, float("nan")), (1e-2, float("inf"))]
    assert plot_curve(curve(), ax=ax, trials=trials, objective="val_loss") is ax
    panel = below(ax)
    assert panel.get_ylabel() == "val_loss"
    points = line(panel, "trials")
    np.testing.assert_array_equal(points.get_xydata(), trials[:3])
    assert ax.get_ylim()[1] < 3  # the losses' axis is not theirs
    assert panel.get_position().y1 < ax.get_position().y0
    assert panel.get_xlim() == ax.get_xlim()
    assert panel.get_xlabel() == "learning rate (log scale)"
    assert ax.get_xlabel() == ""


@pytest.mark.parametrize(
    ("direction", "best", "words"),
    [("min", (1e-2, 0.4), "lower is better"), ("max", (3e-2, 0.6), "higher is better")],
)
def test_the_best_trial_is_marked(ax, direction, best, words):
    trials = [(1e-3, 0.5), (1e-2, 0.4), (3e-2, 0.6)]
    plot_curve(curve(), ax=ax, trials=trials, objective="score", direction=direction)
    panel = below(ax)
    assert panel.get_ylabel() == f"score\n{words}"
    np.testing.assert_array_equal(line(panel, "_best").get_xydata(), [best])
    (label,) = [text for text in panel.texts if text.get_text().startswith("best")]
    assert label.get_text() == f"best: {best[1]} at {best[0]}"
    # On the side where there is no other trial, and inside.
    place = box(panel, label)
    assert 0 <= place.y0 < place.y1 <= 1
    star = panel.transLimits.transform((np.log10(best[0]), best[1]))[1]
    assert place.y1 < star if direction == "min" else place.y0 > star


@pytest.mark.parametrize("draw", [plot_sweeps, plot_search])
def test_the_words_beside_a_best_score_near_0_are_above_the_axis(ax, draw):
    trials = [(rate, 0.01 + (np.log10(rate) + 2) ** 2) for rate in np.geomspace(1e-3, 3e-2, 9)]
    draw([Sweep("sweep", curve(), RANGE)], trials=[trials], objective="loss", direction="min", ax=ax)
    panel = below(ax) if draw is plot_sweeps else ax
    (label,) = [text for text in panel.texts if text.get_text().startswith("best")]
    assert box(panel, label).y0 >= 0
    shown = [tick.get_text() for tick in panel.get_yticklabels()]
    assert not [text for text in shown if text.startswith(("-", "\N{MINUS SIGN}"))]


def test_without_a_direction_no_trial_is_best(ax):
    plot_curve(curve(), ax=ax, trials=[(1e-3, 0.5), (1e-2, 0.4)], objective="score")
    assert not [one for one in below(ax).lines if one.get_label() == "_best"]
    assert not below(ax).texts


def test_a_diverged_trial_is_drawn_at_the_edge(ax):
    trials = [(1e-3 * (1 + i), 0.4 + 0.01 * i) for i in range(10)] + [(0.5, 1e6)]
    plot_curve(curve(), ax=ax, trials=trials)
    panel = below(ax)
    assert panel.get_ylim()[1] < 1
    assert len(line(panel, "trials").get_xdata()) == 10
    (outlier,) = [one for one in panel.lines if one.get_label() == "_outliers"]
    assert outlier.get_marker() == "^"
    assert outlier.get_xdata() == [0.5]
    assert outlier.get_ydata()[0] < panel.get_ylim()[1]
    assert "off the scale" in legend(ax)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_is_no_outlier(ax, direction):
    sign = 1 if direction == "min" else -1
    trials = [(1e-3 * (1 + i), sign * (0.4 + 0.001 * i)) for i in range(10)] + [(0.5, sign * 0.01)]
    plot_curve(curve(), ax=ax, trials=trials, direction=direction)
    panel = below(ax)
    assert panel.get_ylim()[0] < sign * 0.01 < panel.get_ylim()[1]
    assert len(line(panel, "trials").get_xdata()) == 11


def test_drawing_again_keeps_one_panel(ax):
    for _ in range(2):
        ax.clear()
        plot_curve(curve(), ax=ax, trials=[(1e-3, 0.5)])
    assert len(below(ax).lines) == 1


def test_axes_that_share_their_rates_get_a_panel_each():
    axes = Figure().subplots(1, 2, sharex=True)
    for ax in axes:
        plot_curve(curve(), ax=ax, trials=[(1e-3, 0.5)])
    panels = [one for one in axes[0].figure.axes if one not in axes]
    assert [len(panel.lines) for panel in panels] == [1, 1]


def test_axes_without_a_grid_are_split():
    ax = Figure().add_axes((0.1, 0.2, 0.8, 0.6))
    plot_curve(curve(), ax=ax, trials=[(1e-3, 0.5)])
    panel = below(ax)
    assert 0.2 <= panel.get_position().y0 < panel.get_position().y1 < ax.get_position().y0
    assert ax.get_position().y1 <= 0.8


def test_trials_have_the_look_of_their_sweep(ax):
    sweeps = [Sweep("adam", curve(), RANGE), Sweep("sgd", curve(), RANGE)]
    plot_sweeps(sweeps, trials=[[(1e-3, 0.5), (2e-3, 0.6)], [(1e-2, 0.4)]], ax=ax)
    handles = ax.get_legend().legend_handles
    assert legend(ax) == ["adam, 0.001 to 0.03", "sgd, 0.001 to 0.03"]
    drawn = [one for one in below(ax).lines if one.get_label() == "trials"]
    for points, sweep, handle, count in zip(drawn, sweeps, handles, (2, 1), strict=True):
        assert len(points.get_xdata()) == count
        curve_of = line(ax, f"{sweep.name}, 0.001 to 0.03")
        assert points.get_color() == curve_of.get_color() == handle.get_color()
        assert points.get_marker() == handle.get_marker()
        assert curve_of.get_linestyle() == handle.get_linestyle()
    # Colours alone tell nothing to some readers, and nothing in print.
    assert len({one.get_marker() for one in drawn}) == len({one.get_linestyle() for one in handles}) == 2


@pytest.mark.parametrize("trials", [None, [], [(1e-3, float("nan"))]])
def test_no_trials_no_panel(ax, trials):
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
    ax.figure.draw_without_rendering()


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


def test_words_stand_below_the_axes(ax):
    plot_curve(curve(), LRRange(0.1, 1.0, EVIDENCE), ax=ax)
    (words,) = [text for text in ax.texts if "noise" in text.get_text()]
    place = box(ax, words)
    assert place.y1 < box(ax, ax.xaxis.label).y0
    assert place.x1 < 1.02
    assert words.get_window_extent().y0 > 0  # nothing is cut off, though the figure has no layout engine


@pytest.mark.parametrize("losses", [DESCENT, DESCENT - 0.5, DESCENT * 1e-3])
def test_losses_above_zero_have_no_ticks_below(ax, losses):
    plot_curve(curve(losses), LRRange(0.1, 1.0, EVIDENCE), ax=ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    assert low > -0.03 * (high - low)
    assert min(tick for tick in ax.get_yticks() if low <= tick <= high) >= 0


def test_what_comes_after_a_blow_up_is_set_apart(ax):
    # A net that has died: its level loss would look best.
    losses = np.concatenate([DESCENT[:80], [5000.0], np.full(19, 0.3)])
    plot_curve(curve(losses), RANGE, ax=ax)
    assert line(ax, "_blow-up").get_xdata()[0] == RATES[80]
    np.testing.assert_array_equal(line(ax, "_losses").get_ydata(), losses[:80])
    after = line(ax, "_after")
    np.testing.assert_array_equal(after.get_ydata(), losses[80:])
    assert after.get_marker() == "x"
    assert np.isnan(line(ax, "smoothed").get_ydata()[80:]).all()
    assert ax.get_ylim()[0] < 0.3
    (hatched,) = [patch for patch in ax.patches if patch.get_hatch()]
    assert hatched.get_x() == RATES[80]
    assert "blown up from 0.45 on: not used" in legend(ax)


def test_a_blow_up_is_marked_in_each_of_several_curves(ax):
    losses = np.concatenate([DESCENT[:80], [np.nan] * 20])
    plot_sweeps([Sweep("adam", curve(losses), RANGE), Sweep("sgd", curve(), RANGE)], ax=ax)
    cross = line(ax, "_blow-up")
    assert cross.get_xdata() == pytest.approx([RATES[79]])
    assert "the loss blows up" in legend(ax)


def test_gaps_are_left_open(ax):
    losses = DESCENT.copy()
    losses[[30, 50, 51]] = np.nan
    plot_curve(curve(losses), ax=ax)
    assert not [one for one in ax.lines if one.get_label() == "_blow-up"]
    assert np.flatnonzero(np.isnan(line(ax, "smoothed").get_ydata())).tolist() == [30, 50, 51]


def test_a_long_reason_with_terminal_colours_fits(ax):
    reason = (
        "ValueError: \x1b[1mInput 0 of layer 'dense'\x1b[0m\x07 is incompatible. "
        + "Detected at node 5. " * 100
    )
    plot_sweeps([Sweep("adam", curve(), reason=reason)], ax=ax)
    assert "no range: ValueError: Input 0 of layer 'dense' is incompatible." in notes(ax)
    # A warning about a missing glyph would be an error here.
    ax.figure.draw_without_rendering()
    assert ax.texts[0].get_window_extent().height < 0.4 * ax.get_window_extent().height


@pytest.mark.parametrize("loss", [0.0, 2.3, -7.0, 1e6])
def test_a_flat_curve_has_room_around_it(ax, loss):
    plot_curve(curve(np.full(100, loss)), ax=ax)
    low, high = ax.get_ylim()
    assert low < loss < high


def test_large_losses_are_written_without_a_common_factor(ax):
    plot_curve(curve(DESCENT * 1e6), ax=ax)
    ax.figure.draw_without_rendering()
    assert ax.yaxis.get_offset_text().get_text() == ""


def test_sweeps_have_a_colour_and_a_name_each(ax):
    other = LRRange(1e-2, 0.1)
    sweeps = [
        Sweep("adam", curve(), RANGE, declared=(1e-6, 10.0)),
        Sweep("sgd", curve(DESCENT + 0.2), other, declared=(1e-6, 10.0)),
    ]
    plot_sweeps(sweeps, ax=ax)
    assert legend(ax) == ["adam, 0.001 to 0.03", "sgd, 0.01 to 0.1", "declared, 1e-06 to 10"]
    colours = [line(ax, label).get_color() for label in legend(ax)[:2]]
    assert colours[0] != colours[1]
    first, second = ax.patches
    assert (first.get_xy()[0], second.get_xy()[0]) == pytest.approx((1e-3, 1e-2))
    # Bars below one another, in their curves' colours, above all losses.
    assert first.get_xy()[1] > second.get_xy()[1] + second.get_height()
    assert matplotlib.colors.same_color(first.get_facecolor()[:3], colours[0])
    height = (2.2 - ax.get_ylim()[0]) / np.ptp(ax.get_ylim())
    assert second.get_xy()[1] > height


def test_bounds_declared_in_different_ways_are_all_marked(ax):
    plot_sweeps([Sweep("a", curve(), declared=(1e-4, 1.0)), Sweep("b", curve(), declared=(1e-3, 1.0))], ax=ax)
    marks = [one.get_xdata()[0] for one in ax.lines if one.get_label() == "declared bounds"]
    assert marks == [1e-4, 1e-3, 1.0]
    assert legend(ax)[-1] == "declared bounds"


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
    assert notes(ax).startswith("The bars along the top are the ranges to search")
    assert "sgd: no curve: the model costs $5 and failed" in notes(ax)
    assert "rmsprop: no range: the curve is flat" in notes(ax)
    assert "lion: no curve: the first loss is NaN" in notes(ax)
    assert "adam" not in notes(ax)
    assert legend(ax) == ["adam, 0.001 to 0.03", "rmsprop"]
    assert box(ax, ax.texts[0]).y1 < 0


def test_ranges_at_different_batch_sizes(ax):
    sweeps = [
        Sweep(f"{size}", dataclasses.replace(curve(), training=Training(batch_size=size)), RANGE)
        for size in (8, 64)
    ]
    plot_sweeps([*sweeps, Sweep("sgd", reason="none")], ax=ax)
    assert notes(ax).startswith("The bars along the top are the ranges to search, each at the batch size of")


@pytest.mark.parametrize(
    ("sweeps", "words"),
    [
        ([], "There are no sweeps"),
        ([Sweep("adam", reason="it failed", declared=(1e-4, 1.0))], "no curve: it failed"),
        ([Sweep("adam")], "no curve"),
        ([Sweep("adam", LRCurve(np.empty(0), np.empty(0)))], "no curve"),
        ([Sweep(f"model {i}", reason="it failed") for i in range(30)], "model 29: no curve: it failed"),
    ],
)
def test_nothing_to_draw_is_no_error(ax, sweeps, words):
    plot_sweeps(sweeps, ax=ax)
    assert words in notes(ax)
    ax.figure.draw_without_rendering()


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


def test_words_are_seen_on_a_dark_background():
    with plt.style.context("dark_background"):
        ax = Figure().add_subplot()
        plot_curve(curve(), RANGE, declared=(1e-6, 1.0), trials=[(1e-3, 0.5)], ax=ax, direction="min")
    drawn = [*ax.texts, *below(ax).texts, *ax.get_legend().get_texts(), line(below(ax), "trials")]
    assert len(drawn) > 6
    assert {matplotlib.colors.to_hex(one.get_color()) for one in drawn} == {"#ffffff"}


# Without a layout engine the margins of a smaller figure hold not even the labels of its axes.
@pytest.mark.parametrize(
    ("layout", "size"),
    [(None, (6.4, 4.8)), (None, (12, 9)), ("constrained", (4, 3)), ("constrained", (6.4, 4.8))],
)
def test_all_of_it_is_inside_the_figure(layout, size):
    figure = Figure(figsize=size, layout=layout)
    ax = figure.add_subplot()
    sweep = Sweep("learning-rate sweep", curve(), LRRange(1e-3, 3e-2, EVIDENCE), declared=(1e-6, 1.0))
    sweep = dataclasses.replace(sweep, learning_rate="learning_rate")
    plot_sweeps([sweep], trials=[[(1e-3, 0.5), (1e-2, 0.6)]], direction="max", project="digits", ax=ax)
    figure.draw_without_rendering()
    for one in (ax.title, ax.get_legend(), below(ax).xaxis.label, *ax.texts, *below(ax).texts):
        place = one.get_window_extent()
        assert place.y0 > -1
        assert place.y1 < figure.bbox.height + 1
    assert ax.get_window_extent().height > 0.12 * figure.bbox.height
    assert box(ax, ax.title).y0 > box(ax, ax.get_legend()).y1 - 0.02


def test_long_names_are_broken_and_not_cut_off():
    name = "a_rather_long_name_" * 3 + "end"
    figure = Figure(layout="constrained")
    ax = figure.add_subplot()
    plot_sweeps([Sweep(f"{name}={i}", curve(), RANGE) for i in range(2)], title=name, ax=ax)
    figure.draw_without_rendering()
    names = ["".join(text.split()) for text in legend(ax)]
    assert names == [f"{name}={i},0.001to0.03" for i in range(2)]
    assert ax.get_title().replace("\n", "") == name
    assert ax.get_legend().get_window_extent().x1 < figure.bbox.width + 1


def test_titles(ax):
    def title(sweeps, **options):
        ax.clear()
        return plot_sweeps(sweeps, ax=ax, **options).get_title()

    one = Sweep("learning-rate sweep", curve(), learning_rate="head_lr")
    assert title([one]) == "head_lr"
    assert title([one], project="digits") == "digits: head_lr"
    assert title([one], project="digits", title="mine") == "mine"
    sgd = dataclasses.replace(one, name="optimizer=sgd", setting={"optimizer": "sgd"})
    assert title([sgd], project="digits") == "digits: head_lr, optimizer=sgd"
    adam = dataclasses.replace(sgd, setting={"optimizer": "adam"}, learning_rate="lr")
    assert title([sgd, adam, sgd], project="digits") == "digits: head_lr, lr"
    assert title([Sweep("mine", curve())]) == "mine"


def test_title_of_a_curve_tells_the_training(ax):
    assert plot_curve(curve(), ax=ax).get_title() == "Learning-rate sweep"
    ax.clear()
    known = LRCurve(RATES, DESCENT, training=Training(optimizer="Adam", batch_size=32))
    assert plot_curve(known, ax=ax).get_title() == "Learning-rate sweep, Adam, batch size 32"


TRIALS = [(2e-3, 0.5), (1e-2, 0.3), (2e-2, 0.4)]


def test_plot_search_of_one_sweep(ax):
    sweep = Sweep("learning-rate sweep", curve(), RANGE, declared=(1e-4, 1.0), learning_rate="lr")
    drawn = plot_search([sweep], [TRIALS], objective="val_loss", direction="min", project="digits", ax=ax)
    assert drawn is ax
    assert ax.figure.axes == [ax]
    np.testing.assert_array_equal(line(ax, "trials").get_xydata(), TRIALS)
    np.testing.assert_array_equal(line(ax, "_best").get_xydata(), [(1e-2, 0.3)])
    assert legend(ax) == ["trial", "range to search", "declared, 0.0001 to 1"]
    assert ax.get_title() == "digits: lr"
    assert "The best of 3 trials: val_loss 0.3 at a learning rate of 0.01." in notes(ax)
    # The sweep went far beyond: its curve is in another picture.
    assert ax.get_xlim()[0] > 1e-5


def test_plot_search_of_several(ax):
    sweeps = [
        Sweep("adam", curve(), RANGE),
        Sweep("sgd", curve(), reason="the curve is flat"),
        Sweep("no sweep"),
        Sweep("unused"),
    ]
    plot_search(sweeps, [TRIALS, [(0.1, 0.9)], [(0.2, 0.8)], []], objective="acc", direction="max", ax=ax)
    drawn = [one for one in ax.lines if one.get_label() == "trials"]
    assert [len(one.get_xdata()) for one in drawn] == [3, 1, 1]
    assert len({one.get_marker() for one in drawn}) == 3
    assert legend(ax) == ["adam, 0.001 to 0.03", "sgd", "no sweep"]
    np.testing.assert_array_equal(line(ax, "_best").get_xydata(), [(0.1, 0.9)])
    assert "The best of 5 trials: acc 0.9 at a learning rate of 0.1." in notes(ax)
    assert "The bars along the top are the ranges to search" in notes(ax)
    assert "sgd: no range: the curve is flat" in notes(ax)


def test_plot_search_without_trials(ax):
    plot_search([Sweep("one", curve(), RANGE)], [[]], ax=ax)
    assert "No trial has finished." in notes(ax)
    ax.clear()
    plot_search([], [], ax=ax)
    assert "No trial has finished." in notes(ax)
    ax.figure.draw_without_rendering()


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
    words = notes(ax)
    assert (
        "The loss fell by 1.5, 30 times the noise of one batch, nearly all of it below a rate of 0.02."
        in words
    )
    assert "It rose from 0.9 on." in words
    assert "The range follows from this and the optimizer's usual rate, 0.01." in words
    assert "Note" not in notes(ax)


def test_a_range_that_the_curve_does_not_show_says_so(ax):
    usual = dataclasses.replace(EVIDENCE, descent_end=None, usual=1e-2)
    plot_sweeps([Sweep("one", curve(), LRRange(1e-3, 3e-2, usual))], ax=ax)
    words = " ".join(notes(ax).split())
    assert "Note: the curve shows where the loss rises but no descent" in words
    assert "mostly what is usual for the optimizer" in words
    ax.clear()
    plot_sweeps([Sweep("one", curve(), LRRange(1e-6, 1e-4, dataclasses.replace(usual, reach=1.2)))], ax=ax)
    words = " ".join(notes(ax).split())
    assert "no descent, and disagrees with what is usual for the optimizer, so the range is wider" in words
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
        ({"direction": "up"}, ValueError, r"direction must be 'min', 'max' or None, got 'up'"),
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


def test_wide_numbers_at_the_axis_leave_room_for_the_words():
    rates = np.geomspace(1e-7, 10.0, 100)
    exploding = LRCurve(rates, np.where(rates < 3e-4, 2e8 + 1e8 * np.sin(np.arange(100)), 1e13))
    evidence = dataclasses.replace(EVIDENCE, descent_end=None, edge=2.5e-4, usual=1e-2)
    figure = plt.figure(layout="constrained")
    ax = figure.add_subplot()
    plot_sweeps([Sweep("one", exploding, LRRange(1.7e-6, 2.5e-4, evidence), declared=(1e-6, 10.0))], ax=ax)
    figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x1 <= figure.bbox.x1
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in ax.texts)


def test_wide_numbers_beside_the_trials_leave_room_for_the_words():
    losses = np.concatenate([DESCENT[:60] * 0.01, [40.0] * 40])
    usual = dataclasses.replace(EVIDENCE, descent_end=None, reach=1.2)
    found = LRRange(1.06e-5, 7.9e-4, usual)
    ax = plot_curve(
        curve(losses),
        lr_range=found,
        trials=[(3.2e-4, 0.005158)],
        objective="val_prc",
        direction="max",
        declared=(1e-6, 10.0),
        ax=Figure(layout="constrained").add_subplot(),
    )
    figure = ax.figure
    figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x1 <= figure.bbox.x1
    texts = [text for axes in figure.axes for text in axes.texts]
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in texts)


def test_curves_at_heights_far_apart_have_a_logarithmic_scale(ax):
    low, high = Sweep("bn=True", curve(DESCENT)), Sweep("bn=False", curve(40 * DESCENT))
    plot_sweeps([low, high], ax=ax)
    assert ax.get_yscale() == "log"
    first, last = ax.get_ylim()
    assert 0.2 < first < 0.5
    assert 80 < last < 200
    assert "log scale" in ax.get_ylabel()
    # Each takes a good part of the height.
    on_screen = ax.transData.transform([(1, loss) for loss in (0.5, 2.0, 20.0, 80.0)])
    places = ax.transAxes.inverted().transform(on_screen)[:, 1]
    assert np.all(np.diff(places)[[0, 2]] > 0.15)
    ax.clear()
    plot_sweeps([low, Sweep("other", curve(2 * DESCENT))], ax=ax)
    assert ax.get_yscale() == "linear"
    ax.clear()
    # There is no logarithm of what lies below 0.
    plot_sweeps([low, Sweep("log-likelihood", curve(40 * DESCENT - 100))], ax=ax)
    assert ax.get_yscale() == "linear"
