"""Pictures of LR range tests: the curve, the range read off it, and the trials of the search that followed.

matplotlib is imported only where something is drawn, and the user's style (rcParams) is left alone.
"""

from __future__ import annotations

import math
import os
import pathlib
import re
import textwrap
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from lrtuner.curve import LRCurve
from lrtuner.lr_range import LRRange
from lrtuner.smoothing import FloatArray, running_medians

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Bounds = tuple[float, float]
Trials = Sequence[tuple[float, float]]

# Okabe and Ito's colours, which colour-blind readers can tell apart too (https://jfly.uni-koeln.de/color/),
# the strongest first.  Not the user's own cycle: a picture with trials needs black to be free.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_TRIAL_COLOUR = "#222222"

# Heights as shares of the axes': the bar that marks a sweep's range where there are several, a line of notes,
# and the most that all bars or all notes may take.
_BAR = 0.035
_NOTE = 0.05
_MOST = 0.35
# Characters in a line of notes or of the legend, those that a line's swatch takes there, and lines in a note.
_LINE = 78
_SWATCH = 6
_LINES = round(_MOST / _NOTE)
# Terminal colours, and control characters that no font has.
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")
# Empty room above and below what is drawn.
_ROOM = 0.05
# A smoothed curve that goes beyond the picture by this share of its height has left it for good: what a fit
# to losses that blow up does afterwards says nothing.
_FAR_OUT = 0.15


class Sweep(Protocol):
    """What `plot_sweeps` reads of a sweep."""

    @property
    def name(self) -> str:
        """What the legend calls it."""

    @property
    def curve(self) -> LRCurve | None:
        """The losses; None where the sweep failed."""

    @property
    def lr_range(self) -> LRRange | None:
        """The range read off the curve, if any."""

    @property
    def reason(self) -> str | None:
        """Why there is no range, if there is none."""

    @property
    def declared(self) -> Bounds | None:
        """Smallest and largest learning rate that the user declared, if known."""


class _Series(NamedTuple):
    """One sweep, ready to draw."""

    name: str
    colour: str
    learning_rates: FloatArray
    losses: FloatArray  # NaN where not finite
    smoothed: FloatArray
    lr_range: LRRange | None
    reason: str | None
    declared: Bounds | None
    trials: FloatArray  # shape (n, 2): learning rate and score


def plot_curve(
    curve: LRCurve,
    lr_range: LRRange | None = None,
    *,
    declared: Bounds | None = None,
    trials: Trials | None = None,
    objective: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a sweep: its losses as points, the smoothed curve as a line, and the range as a shade.

    Args:
        curve: The sweep.  Where it blows up it leaves the picture at the top.
        lr_range: Range to shade.
        declared: Smallest and largest learning rate that the user declared, marked by dashed lines.
        trials: Learning rate and score of the trials that followed, drawn over a second axis on the right.
            Scores that are not finite are left out; outliers are drawn as triangles at the edge.
        objective: What the scores are, for that axis.
        title: Title of the axes.
        ax: Axes to draw on; those of a new figure by default.

    Returns:
        The axes drawn on.

    Raises:
        TypeError: `curve`, `lr_range` or `ax` is not what it must be.
        ValueError: `declared` or `trials` holds no pairs of numbers.
    """
    if not isinstance(curve, LRCurve):
        raise TypeError(
            f"curve must be an LRCurve, got {curve!r} of type {type(curve).__name__}. Use "
            "LRCurve(learning_rates, losses)."
        )
    if lr_range is not None and not isinstance(lr_range, LRRange):
        raise TypeError(
            f"lr_range must be an LRRange or None, got {lr_range!r}. Use LRRange(min_lr, max_lr), or what "
            "suggest_range returns."
        )
    if declared is not None:
        declared = _pair(declared, "declared")
    pairs = _finite_pairs(trials)
    axes = _axes(ax)
    _draw(axes, [_series("", _COLOURS[0], curve, lr_range, None, declared, pairs)], objective, title)
    return axes


def plot_sweeps(
    sweeps: Sequence[Sweep],
    *,
    trials: Sequence[Trials] | None = None,
    objective: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw sweeps over one another, a colour each, with their ranges as bars along the top.

    A single sweep is drawn as by `plot_curve`.  What a sweep lacks is said in words on the axes.

    Args:
        sweeps: The sweeps, any number of them.
        trials: For each sweep its trials, as for `plot_curve`. They have its colour where there are several.
        objective: As for `plot_curve`.
        title: As for `plot_curve`.
        ax: As for `plot_curve`.

    Returns:
        The axes drawn on.

    Raises:
        TypeError: `sweeps` holds something that is no sweep, or `ax` is no matplotlib axes.
        ValueError: `trials` holds no pairs of numbers for each sweep.
    """
    sweeps = list(sweeps) if isinstance(sweeps, Iterable) else [sweeps]
    for sweep in sweeps:
        if not all(hasattr(sweep, name) for name in ("name", "curve", "lr_range", "reason", "declared")):
            raise TypeError(
                f"sweeps must be a list of lrtuner.Sweep, got {sweep!r} of type {type(sweep).__name__} in "
                "it. Use tuner.oracle.sweeps; for a curve use plot_curve."
            )
    if trials is None:
        trials = [()] * len(sweeps)
    groups = [_finite_pairs(one) for one in (trials if isinstance(trials, Iterable) else [trials])]
    if len(groups) != len(sweeps):
        raise ValueError(
            f"trials must hold a list for each of the {len(sweeps)} sweeps, got {len(groups)}. "
            "Pass an empty list for a sweep without any."
        )
    axes = _axes(ax)
    series = [
        _series(
            sweep.name,
            _COLOURS[index % len(_COLOURS)],
            sweep.curve,
            sweep.lr_range,
            sweep.reason,
            sweep.declared,
            groups[index],
        )
        for index, sweep in enumerate(sweeps)
    ]
    _draw(axes, series, objective, title)
    return axes


def save_picture(path: str | os.PathLike[str], draw: Callable[[Axes], object]) -> None:
    """Draw a picture and save it as PNG.

    It needs no display and leaves no figure behind in pyplot.  The file appears whole or not at all: a
    picture that was there before is replaced in one move.

    Args:
        path: Where to save it; its folder must exist.
        draw: Draws on the axes that it is given, for example `lambda ax: plot_curve(curve, ax=ax)`.

    Raises:
        OSError: The file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    target = pathlib.Path(path)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        figure.savefig(temporary, format="png")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _axes(ax: Axes | None) -> Axes:
    """Return the axes to draw on, those of a new figure where there are none."""
    if ax is None:
        # pyplot, so that notebooks show the figure by themselves.
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1]
    import matplotlib.axes

    if not isinstance(ax, matplotlib.axes.Axes):
        raise TypeError(
            f"ax must be a matplotlib Axes or None, got {ax!r} of type {type(ax).__name__}. Use "
            "ax=plt.subplots()[1], say."
        )
    return ax


def _series(
    name: str,
    colour: str,
    curve: LRCurve | None,
    lr_range: LRRange | None,
    reason: str | None,
    declared: Bounds | None,
    trials: FloatArray,
) -> _Series:
    if curve is None:
        rates = losses = smoothed = np.empty(0)
    else:
        rates, smoothed = curve.learning_rates, curve.smoothed()
        losses = np.where(np.isfinite(curve.losses), curve.losses, np.nan)
    return _Series(name, colour, rates, losses, smoothed, lr_range, reason, declared, trials)


def _finite_pairs(trials: Trials | None) -> FloatArray:
    """Return the pairs that can be drawn: shape `(n, 2)`, the learning rates positive."""
    trials = () if trials is None else trials
    if not isinstance(trials, Iterable):
        raise ValueError(f"trials must be a list of pairs, got {trials!r}. {_PAIRS['trials']}")
    pairs = np.array([_pair(pair, "trials") for pair in trials], dtype=np.float64).reshape(-1, 2)
    return pairs[np.isfinite(pairs).all(axis=1) & (pairs[:, 0] > 0)]


def _pair(pair: Any, what: str) -> Bounds:
    try:
        first, second = pair
        return float(first), float(second)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{what} must hold pairs of numbers, got {pair!r}. {_PAIRS[what]}") from e


_PAIRS = {
    "declared": "Pass the lowest and the highest declared learning rate.",
    "trials": "Pass (learning rate, score) for each trial.",
}


def _draw(axes: Axes, series: list[_Series], objective: str | None, title: str | None) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("learning rate (log scale)")
    axes.set_ylabel("loss (one batch)")
    rates = _rate_limits(series)
    if rates is not None:
        axes.set_xlim(*rates)

    alone = len(series) == 1
    notes = _notes(series)
    # Bars and notes have the top and the bottom to themselves.
    top = _ROOM + (0.0 if alone else min(_BAR * len(series), _MOST))
    bottom = _ROOM + min(_NOTE * len(notes), _MOST)
    spans = [span for one in series if (span := _loss_limits(one.losses)) is not None]
    handles: list[Artist] = []
    if spans:
        low, high = min(span[0] for span in spans), max(span[1] for span in spans)
        _set_height(axes, low, high, bottom, top)
        for one in series:
            handles += _draw_curve(axes, one, low, high, alone=alone)
    else:
        axes.set_yticks([])
    for index, one in enumerate(series):
        handles += _draw_range(axes, one, index, alone=alone)
    handles += _draw_declared(axes, series)
    if alone:
        handles += _draw_evidence(axes, series[0])
    has_trials = any(len(one.trials) for one in series)
    if has_trials:
        handles.append(_draw_trials(axes, series, objective, bottom, top))
    _write_notes(axes, notes, centred=not spans and not has_trials)

    # As many as fit side by side.
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = min(2 if len(handles) == 4 else 3, max(_LINE // (longest + _SWATCH), 1))
    if handles:
        # Above the axes, where there is no curve to hide.
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=columns,
            fontsize="small",
            frameon=False,
            borderaxespad=0.2,
            columnspacing=1.2,
        )
    if title:
        rows = math.ceil(len(handles) / columns)
        # A line of the legend is about 14 points high at matplotlib's default size.
        axes.set_title(title, pad=8 + 14 * rows)


def _rate_limits(series: list[_Series]) -> Bounds | None:
    """Return the ends of the learning-rate axis, with a little room; None where there is nothing to show."""
    rates: list[float] = []
    for one in series:
        rates += [*one.trials[:, 0]]
        rates += [*one.learning_rates[:1], *one.learning_rates[-1:]]
        if one.lr_range is not None:
            rates += [one.lr_range.min_lr, one.lr_range.max_lr]
        rates += [rate for rate in one.declared or () if rate > 0]
    if not rates:
        return None
    low, high = math.log10(min(rates)), math.log10(max(rates))
    room = 0.03 * (high - low) or 0.5
    return 10.0 ** (low - room), 10.0 ** (high + room)


def _loss_limits(losses: FloatArray) -> Bounds | None:
    """Return the lowest and highest loss to show, so that a blow-up does not flatten the rest.

    That is what the losses span up to their minimum, and half as much again where they rise beyond it
    afterwards.
    """
    finite = losses[np.isfinite(losses)]
    if len(finite) == 0:
        return None
    # A loss that only ever rises has its minimum at the start: the first quarter shows its level.
    until = max(int(np.argmin(running_medians(finite))) + 1, len(finite) // 4, 5)
    # The lowest median is that of two batches more.
    low = float(finite[: until + 2].min())
    # Spikes may be one loss in ten before the level is lost.
    high = float(np.percentile(finite[:until], 90))
    if finite.max() > high:
        high += 0.5 * (high - low)
    if not high > low:
        half = 0.1 * abs(low) or 0.5
        low, high = low - half, high + half
    return low, high


def _set_height(axes: Axes, low: float, high: float, bottom: float, top: float) -> None:
    """Show `low` to `high`, leaving the shares `bottom` and `top` of the height empty."""
    from matplotlib.ticker import AutoLocator, FuncFormatter

    # None where notes and bars are: a cross-entropy has no values below 0.
    room = 0.02 * (high - low)

    class Inside(AutoLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            ticks = np.asarray(super().tick_values(vmin, vmax))
            return ticks[(ticks >= low - room) & (ticks <= high + room)]

    height = (high - low) / (1.0 - bottom - top)
    if math.isfinite(height):
        axes.set_ylim(low - bottom * height, high + top * height)
    axes.yaxis.set_major_locator(Inside())
    # Plain numbers: matplotlib's common factor ("1e6") would stand where the legend is.
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _draw_curve(axes: Axes, one: _Series, low: float, high: float, *, alone: bool) -> Sequence[Artist]:
    if not np.isfinite(one.losses).any():
        return []
    label = "loss" if alone else one.name
    if not alone and one.lr_range is not None:
        label = f"{label}, {_words(one.lr_range)}"
    reach = _FAR_OUT * (high - low)
    far = (one.smoothed > high + reach) | (one.smoothed < low - reach)
    # The first point outside is kept: the line has to leave the picture.
    after = np.cumsum(far) > far
    axes.plot(
        one.learning_rates,
        one.losses,
        linestyle="none",
        marker="o",
        markersize=2.5,
        markeredgewidth=0,
        alpha=0.4,
        color=one.colour,
        label="_losses",
    )
    smoothed = np.where(after, np.nan, one.smoothed)
    (line,) = axes.plot(one.learning_rates, smoothed, color=one.colour, linewidth=2.0, label=label)
    return [line]


def _words(lr_range: LRRange) -> str:
    return f"{lr_range.min_lr:.2g} to {lr_range.max_lr:.2g}"


def _draw_range(axes: Axes, one: _Series, index: int, *, alone: bool) -> Sequence[Artist]:
    if one.lr_range is None:
        return []
    low, high = one.lr_range.min_lr, one.lr_range.max_lr
    label = f"range {_words(one.lr_range)}"
    if alone:
        shade = axes.axvspan(low, high, color=one.colour, alpha=0.15, linewidth=0, zorder=0, label=label)
        return [shade]
    # The legend names the range beside the curve, which has the same colour.
    top = 1.0 - _BAR * index - 0.01
    axes.axvspan(
        low,
        high,
        ymin=top - 0.8 * _BAR,
        ymax=top,
        color=one.colour,
        alpha=0.6,
        linewidth=0,
        label=f"_{label}",
    )
    return []


def _draw_declared(axes: Axes, series: list[_Series]) -> Sequence[Artist]:
    rates = sorted({rate for one in series for rate in one.declared or () if rate > 0})
    lines = [
        axes.axvline(rate, color="0.4", linestyle="--", linewidth=0.9, zorder=1, label="declared bounds")
        for rate in rates
    ]
    return lines[:1]


def _draw_evidence(axes: Axes, one: _Series) -> Sequence[Artist]:
    """Mark the rates that the range was read from."""
    evidence = None if one.lr_range is None else one.lr_range.evidence
    if evidence is None:
        return []
    marks = [(evidence.descent_end, ":", "descent nearly done"), (evidence.edge, "-.", "loss rises")]
    return [
        axes.axvline(
            rate, color=one.colour, linestyle=style, linewidth=1.0, zorder=1, label=f"{label}, {rate:.2g}"
        )
        for rate, style, label in marks
        if rate is not None
    ]


def _draw_trials(
    axes: Axes, series: list[_Series], objective: str | None, bottom: float, top: float
) -> Artist:
    from matplotlib.lines import Line2D

    right = axes.twinx()
    right.set_ylabel(objective or "score")
    low, high = _score_limits(np.concatenate([one.trials[:, 1] for one in series]))
    style: dict[str, Any] = {"linestyle": "none", "markersize": 5, "fillstyle": "none"}
    drawn = (low, high) if high > low else (low - (0.1 * abs(low) or 0.5), low + (0.1 * abs(low) or 0.5))
    for one in series:
        rates, scores = one.trials.T
        colour = _TRIAL_COLOUR if len(series) == 1 else one.colour
        for shown, heights, marker in (
            ((scores >= low) & (scores <= high), scores, "o"),
            (scores > high, np.full_like(scores, drawn[1]), "^"),
            (scores < low, np.full_like(scores, drawn[0]), "v"),
        ):
            if shown.any():
                label = "trials" if marker == "o" else "_outliers"
                right.plot(rates[shown], heights[shown], marker=marker, label=label, color=colour, **style)
    _set_height(right, *drawn, bottom, top)
    # In the legend they stand for those of all colours.
    return Line2D([], [], marker="o", label="trials", color=_TRIAL_COLOUR, **style)


def _score_limits(scores: FloatArray) -> Bounds:
    """Return the lowest and highest score to show: without outliers, which one diverged trial would be."""
    quarter, half, most = np.percentile(scores, [25, 50, 75])
    # Three times the distance between the quartiles is Tukey's fence for what is "far out".
    reach = 3 * (most - quarter)
    if not reach > 0:
        return float(scores.min()), float(scores.max())
    kept = scores[(scores >= quarter - reach) & (scores <= most + reach)]
    return float(kept.min(initial=half)), float(kept.max(initial=half))


def _notes(series: list[_Series]) -> list[str]:
    """Say in words, in lines that fit the axes, what the sweeps lack, or what a single one shows."""
    if not series:
        return ["no sweeps"]
    lines = []
    for one in series:
        drawn = bool(np.isfinite(one.losses).any())
        sweep = f"{one.name}: " if len(series) > 1 else ""
        if drawn and (one.lr_range is not None or one.reason is None):
            evidence = None if one.lr_range is None else one.lr_range.evidence
            if evidence is not None and evidence.caveat:
                lines += textwrap.wrap(f"{sweep or 'Note: '}{evidence.caveat}.", _LINE)
            if evidence is not None and len(series) == 1:
                lines += textwrap.wrap(str(evidence), _LINE)
            continue
        # Keras' errors hold terminal colours, and pages of text.
        reason = f": {_UNPRINTABLE.sub('', one.reason)}" if one.reason else ""
        lacking = f"{sweep}{'no range' if drawn else 'no curve'}{reason}"
        lines += textwrap.wrap(lacking, _LINE, max_lines=_LINES, placeholder=" ...")
    return lines


def _write_notes(axes: Axes, notes: list[str], *, centred: bool) -> None:
    if notes:
        axes.text(
            0.5 if centred else 0.02,
            0.5 if centred else 0.02,
            "\n".join(notes),
            transform=axes.transAxes,
            fontsize="small",
            horizontalalignment="center" if centred else "left",
            verticalalignment="center" if centred else "bottom",
            # A reason may hold any text, dollar signs included.
            parse_math=False,
            bbox={"facecolor": axes.get_facecolor(), "alpha": 0.7, "edgecolor": "none", "pad": 1},
        )
