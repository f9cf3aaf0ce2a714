import dataclasses
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from lrtuner.curve.curve import LRCurve, Training
from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.plot import plot_curve, plot_search, plot_sweeps

RATES = np.geomspace(1e-6, 10, 100)
DESCENT = np.concatenate([np.full(40, 2.0), np.linspace(2.0, 0.5, 40), np.linspace(0.5, 0.6, 20)])
EVIDENCE = Evidence(
    batches=100, density=14.0, noise=0.05, descent=1.5, descent_end=0.02, edge=0.9, usual=0.01
)
RANGE = LRRange(1e-3, 3e-2)
TRIALS = [(2e-3, 0.5), (1e-2, 0.3), (2e-2, 0.4)]


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
    plt.close("all")


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def curve(losses=DESCENT, **known):
    training = Training(**known) if known else None
    return LRCurve(RATES, np.asarray(losses, dtype=float), training=training)


def lines(ax, label):
    return [one for one in ax.lines if one.get_label() == label]


def line(ax, label):
    (found,) = lines(ax, label)
    return found


def legend(ax):
    return [text.get_text().replace("\n", " ") for text in ax.get_legend().get_texts()]


def notes(ax):
    return " ".join(text.get_text() for one in (ax, *ax.child_axes) for text in one.texts).replace("\n", " ")


def panel(ax):
    (found,) = ax.child_axes
    return found


def inside(ax):
    """Assert that all of a picture lies in its figure, and that its axes are left some room."""
    figure = ax.figure
    figure.draw_without_rendering()
    for one in (ax, *ax.child_axes):
        for artist in (one.title, one.xaxis.label, ax.get_legend(), *one.texts):
            place = artist.get_window_extent() if artist is not None else figure.bbox
            if place.width > 0:
                assert place.y0 > figure.bbox.y0 - 1, artist
                assert place.y1 < figure.bbox.y1 + 1, artist
        assert one.get_window_extent().height > 0.05 * figure.bbox.height
    assert ax.get_window_extent().height > 0.12 * figure.bbox.height


class TestCurve:
    def test_axes_points_and_line(self, ax):
        assert plot_curve(curve(), ax, title="a sweep", trials=[(1e-3, float("nan"))]) is ax
        assert ax.child_axes == []
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate (log scale)", "training loss")
        assert ax.get_title() == "a sweep"
        np.testing.assert_array_equal(line(ax, "loss of one batch").get_xydata(), np.c_[RATES, DESCENT])
        np.testing.assert_allclose(line(ax, "smoothed").get_ydata(), curve().smoothed())
        assert legend(ax) == ["loss of one batch", "smoothed"]

    def test_range_and_suggested_rate_are_in_the_legend(self, ax):
        plot_curve(curve(), ax, lr_range=RANGE)
        (shade,) = ax.patches
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((1e-3, 3e-2))
        assert legend(ax)[:2] == ["range to search, 0.001 to 0.03", "suggested rate, 0.0055"]
        assert line(ax, "suggested rate, 0.0055").get_xdata()[0] == RANGE.suggested
        # A range in the place of the axes.
        drawn = curve().plot(RANGE)
        assert len(drawn.patches) == 1
        assert plt.gcf() is drawn.figure

    def test_declared_bounds(self, ax):
        plot_curve(curve(), ax, declared=(1e-8, 100))
        marks = [one.get_xdata()[0] for one in lines(ax, "declared, 1e-08 to 1e+02")]
        assert marks == [1e-8, 100]
        assert ax.get_xlim()[0] < 1e-8
        assert ax.get_xlim()[1] > 100
        assert legend(ax)[-1] == "declared, 1e-08 to 1e+02"
        # Zero has no place on a log axis.
        ax.clear()
        plot_curve(curve(), ax, declared=(0.0, 1.0))
        assert line(ax, "declared, 0 to 1").get_xdata()[0] == 1.0

    def test_evidence_is_marked_and_put_into_words(self, ax):
        plot_curve(curve(), ax, lr_range=LRRange(1e-3, 3e-2, EVIDENCE))
        marks = {
            "descent nearly done, 0.02": 0.02,
            "loss rises, 0.9": 0.9,
            "usual for the optimizer, 0.01": 0.01,
        }
        for label, rate in marks.items():
            assert line(ax, label).get_xdata()[0] == rate
            assert label in legend(ax)
        assert "The loss fell by 1.5, 30 times the noise of one batch" in notes(ax)
        assert "Note" not in notes(ax)
        usual = dataclasses.replace(EVIDENCE, descent_end=None)
        ax.clear()
        plot_curve(curve(), ax, lr_range=LRRange(1e-3, 3e-2, usual))
        assert f"Note: {usual.caveat}." in notes(ax)

    def test_what_comes_after_a_blow_up_is_set_apart(self, ax):
        # A net that has died: its level loss would look best.
        losses = np.concatenate([DESCENT[:80], [5000.0], np.full(19, 0.3)])
        plot_curve(curve(losses), ax, lr_range=RANGE)
        assert line(ax, "_blow-up").get_xdata()[0] == RATES[80]
        np.testing.assert_array_equal(line(ax, "loss of one batch").get_ydata(), losses[:80])
        np.testing.assert_array_equal(line(ax, "_after").get_ydata(), losses[80:])
        assert np.isnan(line(ax, "smoothed").get_ydata()[80:]).all()
        assert ax.get_ylim()[0] < 0.3
        (hatched,) = [patch for patch in ax.patches if patch.get_hatch()]
        assert hatched.get_x() == RATES[80]
        assert hatched.get_label() == "blown up from 0.45 on: not used"

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_short_curves(self, ax, size):
        plot_curve(LRCurve(RATES[:size], DESCENT[:size]), ax)
        assert len(line(ax, "loss of one batch").get_xdata()) == size

    def test_updates_are_a_line_on_a_scale_of_their_own(self, ax):
        with_updates = dataclasses.replace(curve(), updates=RATES / 3)
        plot_curve(with_updates, ax)
        assert ax.child_axes == []
        ax.clear()
        plot_curve(with_updates, ax, updates=True)
        scale = panel(ax)
        np.testing.assert_array_equal(scale.lines[0].get_ydata(), RATES / 3)
        assert scale.get_yscale() == "log"
        assert scale.get_ylabel() == "step of a batch, in % of the weights' size"
        assert scale.yaxis.get_major_formatter()(0.02, 0) == "2%"
        assert "step of a batch (right)" in legend(ax)
        with pytest.raises(ValueError, match="holds no sizes of updates"):
            plot_curve(curve(), ax, updates=True)


class TestHeight:
    @pytest.mark.parametrize("end", [[1e6, 1e30], [1e300, np.inf]])
    @pytest.mark.parametrize("shift", [0.0, -5.0])
    def test_a_blow_up_does_not_flatten_the_curve(self, ax, end, shift):
        losses = DESCENT + shift
        losses[-2:] = end
        plot_curve(curve(losses), ax)
        low, high = ax.get_ylim()
        assert low < losses[:-2].min() < losses[:-2].max() < high
        assert high - low < 3 * np.ptp(losses[:-2])
        ax.figure.draw_without_rendering()

    @pytest.mark.parametrize("loss", [0.0, 2.3, -7.0, 1e6])
    def test_a_flat_curve_has_room_around_it(self, ax, loss):
        plot_curve(curve(np.full(100, loss)), ax)
        low, high = ax.get_ylim()
        assert low < loss < high

    def test_losses_above_zero_have_no_ticks_below_and_no_common_factor(self, ax):
        plot_curve(curve((DESCENT - 0.5) * 1e6), ax)
        ax.figure.draw_without_rendering()
        assert not [one for one in ax.get_yticklabels() if one.get_text().startswith(("-", "\N{MINUS SIGN}"))]
        assert ax.yaxis.get_offset_text().get_text() == ""

    def test_curves_far_apart_have_a_logarithmic_scale(self, ax):
        low, high = Sweep("bn=True", curve()), Sweep("bn=False", curve(40 * DESCENT))
        plot_sweeps([low, high], ax=ax)
        assert ax.get_yscale() == "log"
        assert 0.2 < ax.get_ylim()[0] < 0.5
        assert 80 < ax.get_ylim()[1] < 200
        assert "log scale" in ax.get_ylabel()
        # There is no logarithm of what lies below 0.
        for other in (2 * DESCENT, 40 * DESCENT - 100):
            ax.clear()
            plot_sweeps([low, Sweep("other", curve(other))], ax=ax)
            assert ax.get_yscale() == "linear"


class TestTrials:
    def test_they_have_a_panel_of_their_own(self, ax):
        unusable = [(0.1, float("nan")), (1e-2, float("inf"))]
        plot_curve(curve(), ax, trials=[*TRIALS, *unusable], objective="val_loss", declared=(1e-5, 1))
        below = panel(ax)
        assert below.get_ylabel() == "val_loss"
        np.testing.assert_array_equal(line(below, "_trials").get_xydata(), TRIALS)
        assert len(lines(below, "declared, 1e-05 to 1")) == 2
        assert not lines(below, "_best")
        assert ax.get_ylim()[1] < 3  # the losses' axis is not theirs
        assert (below.get_xlabel(), ax.get_xlabel()) == ("learning rate (log scale)", "")
        ax.figure.draw_without_rendering()
        assert below.get_window_extent().y1 < ax.get_window_extent().y0
        assert below.get_xlim() == ax.get_xlim()

    @pytest.mark.parametrize(("direction", "best"), [("min", (1e-2, 0.3)), ("max", (2e-3, 0.5))])
    def test_the_best_is_marked_and_the_style_is_left_alone(self, ax, direction, best):
        before = dict(matplotlib.rcParams)
        plot_curve(curve(), ax, trials=TRIALS, objective="score", direction=direction)
        assert dict(matplotlib.rcParams) == before
        better = {"min": "lower", "max": "higher"}[direction]
        assert panel(ax).get_ylabel() == f"score\n{better} is better"
        np.testing.assert_array_equal(line(panel(ax), "_best").get_xydata(), [best])
        assert f"best: {best[1]} at {best[0]}" in notes(ax)

    @pytest.mark.parametrize(("direction", "marker"), [("min", "^"), ("max", "v")])
    def test_good_scores_can_be_told_apart_beside_failed_ones(self, ax, direction, marker):
        sign = 1 if direction == "min" else -1
        good = [(1e-3 * (1 + i), sign * (0.4 + 0.01 * i)) for i in range(6)]
        failed = [(0.5, sign * 2.3), (0.6, sign * 2.302), (0.7, sign * 1e6)]
        plot_curve(curve(), ax, trials=[*good, *failed], direction=direction)
        below = panel(ax)
        assert np.ptp(below.get_ylim()) < 3 * 0.05
        assert len(line(below, "_trials").get_xdata()) == 6
        outliers = line(below, "off the scale")
        assert outliers.get_marker() == marker
        assert outliers.get_xdata().tolist() == [0.5, 0.6, 0.7]
        assert "off the scale" in legend(ax)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_best_is_no_outlier(self, ax, sign):
        trials = [(1e-3 * (1 + i), sign * (0.4 + 0.001 * i)) for i in range(10)] + [(0.5, sign * 0.01)]
        plot_curve(curve(), ax, trials=trials, direction="min" if sign == 1 else "max")
        low, high = panel(ax).get_ylim()
        assert low < sign * 0.01 < high
        assert len(line(panel(ax), "_trials").get_xdata()) == 11

    def test_they_have_look_and_shade_of_their_sweep(self, ax):
        sweeps = [Sweep("adam", curve(), RANGE), Sweep("sgd", curve(), LRRange(0.01, 0.1))]
        plot_sweeps(sweeps, [TRIALS, [(1e-2, 0.4)]], ax=ax)
        handles = dict(zip(legend(ax), ax.get_legend().legend_handles, strict=True))
        assert list(handles) == ["adam, 0.001 to 0.03", "sgd, 0.01 to 0.1"]
        drawn = lines(panel(ax), "_trials")
        for points, (name, handle), shade in zip(drawn, handles.items(), panel(ax).patches, strict=True):
            assert points.get_color() == line(ax, name).get_color() == handle.get_color()
            assert points.get_marker() == handle.get_marker()
            assert line(ax, name).get_linestyle() == handle.get_linestyle()
            assert matplotlib.colors.same_color(shade.get_facecolor()[:3], points.get_color())
        # Colours alone tell nothing to some readers, and nothing in print.
        assert len({one.get_marker() for one in drawn}) == 2


class TestSweeps:
    def test_one_is_drawn_as_a_curve(self, ax):
        plot_sweeps([Sweep("adam", curve(), RANGE, declared=(1e-6, 10.0))], ax=ax)
        alone = plot_curve(curve(), lr_range=RANGE, declared=(1e-6, 10.0))
        assert legend(ax) == legend(alone)
        assert (ax.get_xlim(), ax.get_ylim()) == (alone.get_xlim(), alone.get_ylim())
        for drawn, expected in zip(ax.lines, alone.lines, strict=True):
            np.testing.assert_array_equal(drawn.get_xydata(), expected.get_xydata())

    def test_each_has_a_name_and_a_bar(self, ax):
        sweeps = [
            Sweep("adam", curve(), RANGE, declared=(1e-6, 10.0)),
            Sweep("sgd", curve(DESCENT + 0.2), LRRange(1e-2, 0.1), declared=(1e-6, 10.0)),
        ]
        plot_sweeps(sweeps, ax=ax)
        assert legend(ax) == ["adam, 0.001 to 0.03", "sgd, 0.01 to 0.1", "declared, 1e-06 to 10"]
        first, second = ax.patches
        assert (first.get_x(), second.get_x()) == pytest.approx((1e-3, 1e-2))
        # Bars below one another, in their curves' colours.
        assert first.get_y() > second.get_y() + second.get_height()
        assert matplotlib.colors.same_color(first.get_facecolor()[:3], line(ax, legend(ax)[0]).get_color())
        assert [one.get_xdata()[0] for one in lines(ax, "_suggested")] == [
            one.lr_range.suggested for one in sweeps
        ]

    def test_a_blow_up_is_marked(self, ax):
        losses = np.concatenate([DESCENT[:80], [np.nan] * 20])
        plot_sweeps([Sweep("adam", curve(losses), RANGE), Sweep("sgd", curve(), RANGE)], ax=ax)
        assert line(ax, "the loss blows up").get_xdata() == pytest.approx([RATES[79]])

    def test_what_a_sweep_lacks_is_said(self, ax):
        usual = LRRange(1e-3, 3e-2, dataclasses.replace(EVIDENCE, descent_end=None))
        sweeps = [
            Sweep("adam", curve(batch_size=8), RANGE),
            Sweep("sgd", reason="the model costs $5 and failed"),
            Sweep("rmsprop", curve(batch_size=64), reason="the curve is flat"),
            Sweep("lion", curve(np.full(100, np.nan)), reason="the first loss is NaN"),
        ]
        plot_sweeps(sweeps, ax=ax)
        for words in (
            "The bars along the top are the ranges to search, each at the batch size of its sweep",
            "sgd: no curve: the model costs $5 and failed",
            "rmsprop: no range: the curve is flat",
        ):
            assert words in notes(ax)
        assert legend(ax) == ["adam, 0.001 to 0.03", "rmsprop"]
        ax.clear()
        plot_sweeps([Sweep(name, curve(), usual) for name in ("one", "two")], ax=ax)
        assert "two: the curve shows only where" in notes(ax)

    @pytest.mark.parametrize(
        ("sweeps", "words"),
        [
            ([], "There are no sweeps"),
            ([Sweep("adam", reason="it failed", declared=(1e-4, 1.0))], "There is no curve: it failed"),
            ([Sweep("adam")], "There is no curve."),
            ([Sweep("adam", LRCurve(np.empty(0), np.empty(0)))], "There is no curve."),
            ([Sweep(f"model {i}", reason="it failed") for i in range(30)], "and more of this kind"),
        ],
    )
    def test_nothing_to_draw_is_no_error(self, ax, sweeps, words):
        plot_sweeps(sweeps, ax=ax)
        assert words in notes(ax)
        inside(ax)

    def test_titles(self, ax):
        def title(*sweeps, project=None):
            return plot_sweeps(sweeps, ax=ax, project=project).get_title()

        one = Sweep("learning-rate sweep", curve(), learning_rate="head_lr")
        assert title(one) == "head_lr"
        trained = dataclasses.replace(one, curve=curve(optimizer="SGD", batch_size=16))
        assert title(trained, project="digits") == "digits: head_lr, SGD, batch size 16"
        sgd = dataclasses.replace(trained, name="optimizer=sgd", setting={"optimizer": "sgd"})
        assert title(sgd) == "head_lr, optimizer=sgd, SGD, batch size 16"
        other = dataclasses.replace(one, curve=curve(optimizer="Adam", batch_size=16), learning_rate="lr")
        assert title(sgd, other, sgd, project="digits") == "digits: head_lr, lr, batch size 16"
        assert title(Sweep("mine", curve())) == "mine"


class TestSearch:
    def test_of_one_sweep(self, ax):
        sweep = Sweep("learning-rate sweep", curve(), RANGE, declared=(1e-4, 1.0), learning_rate="lr")
        drawn = plot_search([sweep], [TRIALS], objective="val_loss", direction="min", project="p", ax=ax)
        assert drawn is ax
        assert ax.child_axes == []
        np.testing.assert_array_equal(line(ax, "trials").get_xydata(), TRIALS)
        np.testing.assert_array_equal(line(ax, "_best").get_xydata(), [(1e-2, 0.3)])
        assert {"range to search, 0.001 to 0.03", "trials", "declared, 0.0001 to 1"} < set(legend(ax))
        assert ax.get_title() == "p: lr"
        # The sweep went far beyond: its curve is in another picture.
        assert ax.get_xlim()[0] > 1e-5

    def test_of_several(self, ax):
        names = ("adam", "sgd", "no sweep", "unused")
        sweeps = [Sweep(name, curve(), reason="the curve is flat") for name in names]
        sweeps[0] = Sweep("adam", curve(), RANGE)
        plot_search(sweeps, [TRIALS, [(0.1, 0.9)], [(0.2, 0.7)], []], direction="max", ax=ax)
        drawn = lines(ax, "_trials")
        assert [len(one.get_xdata()) for one in drawn] == [3, 1, 1]
        assert len({one.get_marker() for one in drawn}) == 3
        assert legend(ax) == ["adam, 0.001 to 0.03", "sgd", "no sweep"]
        np.testing.assert_array_equal(line(ax, "_best").get_xydata(), [(0.1, 0.9)])
        assert "sgd: no range: the curve is flat" in notes(ax)

    @pytest.mark.parametrize("sweeps", [[], [Sweep("one", curve(), RANGE)]])
    def test_without_trials(self, ax, sweeps):
        plot_search(sweeps, [()] * len(sweeps), ax=ax)
        assert "No trial has finished." in notes(ax)
        inside(ax)


class TestLayout:
    def test_something_that_is_no_axes(self):
        for wrong in (3, Figure(), [None]):
            with pytest.raises(TypeError, match=r"ax must be a matplotlib Axes or None, got .*plt\.subplots"):
                plot_curve(curve(), wrong)

    def test_words_are_seen_on_a_dark_background(self):
        with plt.style.context("dark_background"):
            ax = Figure(layout="constrained").add_subplot()
            plot_curve(curve(), ax, lr_range=RANGE, declared=(1e-6, 1.0), trials=TRIALS, direction="min")
        drawn = [*panel(ax).texts, *ax.get_legend().get_texts(), line(panel(ax), "_trials")]
        assert {matplotlib.colors.to_hex(one.get_color()) for one in drawn} == {"#ffffff"}

    @pytest.mark.parametrize("layout", [None, "constrained", "tight"])
    @pytest.mark.parametrize(("size", "count"), [((3, 3), 9), ((6.4, 4.8), 1)])
    def test_all_of_it_is_inside_the_figure(self, layout, size, count):
        sweep = Sweep("learning-rate sweep", curve(), LRRange(1e-3, 3e-2, EVIDENCE), "no", (1e-6, 1.0), "lr")
        ax = Figure(figsize=size, layout=layout).add_subplot()
        plot_sweeps([sweep] * count, [TRIALS] * count, direction="max", project="digits", ax=ax)
        inside(ax)

    def test_axes_among_others_get_no_sentences(self):
        axes = Figure().subplots(1, 2)
        places = [one.get_position().bounds for one in axes]
        plot_curve(curve(), axes[0], lr_range=LRRange(1e-3, 3e-2, EVIDENCE))
        assert [one.get_position().bounds for one in axes] == places
        assert notes(axes[0]) == ""
        assert "range to search, 0.001 to 0.03" in legend(axes[0])

    def test_a_long_reason_with_terminal_colours_fits(self, ax):
        reason = "ValueError:\n\x1b[1mInput 0 of\x1b[0m\x07 layer is wrong. " + "Detected at node $5. " * 100
        for sweep in (Sweep("adam", curve(), reason=reason), Sweep("adam", reason=reason)):
            ax.clear()
            plot_sweeps([sweep], ax=ax)
            assert ": ValueError: Input 0 of layer is wrong." in notes(ax)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                inside(ax)

    def test_long_names_are_broken_and_not_cut_off(self, ax):
        name = "a_rather_long_name_" * 4 + "end"
        plot_sweeps([Sweep(f"{name}={i}", curve(), RANGE) for i in range(2)], project=name, ax=ax)
        inside(ax)
        assert [one.replace(" ", "") for one in legend(ax)] == [f"{name}={i},0.001to0.03" for i in range(2)]
        assert ax.get_legend().get_window_extent().x1 < ax.figure.bbox.width + 1
        # Of many sweeps the legend names some.
        ax.clear()
        plot_sweeps([Sweep(f"model {i} of those", curve(), RANGE) for i in range(40)], ax=ax)
        inside(ax)
        assert legend(ax)[-1].endswith("more")
