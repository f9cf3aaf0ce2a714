"""What is drawn inside of the axes: curves, ranges, what was declared, blow-ups, and trials.

Each function returns what the legend has to explain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrtuner.curve.smoothing import FloatArray
from lrtuner.plot import words
from lrtuner.plot.layout import (
    LINE,
    PLAIN,
    SMALL,
    font_size,
    set_height,
    size_of,
    text_colour,
    text_width,
    wrapped,
)
from lrtuner.plot.series import (
    Bounds,
    Look,
    Objective,
    Series,
    are_far_apart,
    is_beyond,
    loss_limits,
    not_flat,
    rate_limits,
    score_limits,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from lrtuner.curve.lr_range import LRRange

# Empty room above and below what is drawn, as shares of the axes' height.
_ROOM = 0.05
# Height of the bar that marks a sweep's range where there are several, and the most that all bars may take.
_BAR = 0.035
_BARS = 0.35
# A smoothed curve that goes beyond the picture by this share of its height has left it for good: what a fit
# to losses that blow up does afterwards says nothing.
_FAR_OUT = 0.15
# Sizes of markers, in points: a trial, and the best of all. A batch's is between the two, smaller the more
# there are: the third number, divided by the root of their number.
_TRIAL, _BEST = 5.0, 13.0
_BATCH, _BATCHES = (2.5, 5.0), 30.0
# Over more decades than this the ticks between them are a grey fringe, and take half of the time to draw.
_MINOR_DECADES = 4


def prepare_rates(axes: Axes, series: Sequence[Series]) -> None:
    """Make the learning-rate axis."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xlabel("learning rate (log scale)")
    limits = rate_limits(series)
    if limits is None:
        return
    axes.set_xlim(*limits)
    if math.log10(limits[1] / limits[0]) > _MINOR_DECADES:
        axes.xaxis.set_minor_locator(NullLocator())


# --- Curves -------------------------------------------------------------------------------------------------


def draw_losses(axes: Axes, series: Sequence[Series]) -> list[Artist]:
    """Draw the losses of all sweeps, and what they blow up to."""
    alone = len(series) == 1
    spans = [span for one in series if (span := loss_limits(one)) is not None]
    if not spans:
        axes.set_yticks([])
        axes.set_ylabel("training loss")
        return []
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    is_log = are_far_apart(spans)
    axes.set_ylabel("training loss (log scale)" if is_log else "training loss")
    set_height(axes, low, high, _ROOM, _ROOM + bars_share(series), is_log=is_log)
    handles: list[Artist] = []
    for one in series:
        handles += _draw_curve(axes, one, low, high, alone=alone)
    if not alone and any(one.blow_up is not None and one.has_curve for one in series):
        handles.append(_handle("the loss blows up", marker="X", color=text_colour(axes), markersize=7))
    return handles


def _draw_curve(axes: Axes, one: Series, low: float, high: float, *, alone: bool) -> list[Artist]:
    if not one.has_curve:
        return []
    colour, line, marker = one.look
    end = len(one.losses) if one.blow_up is None else one.blow_up
    rates = one.learning_rates
    size = float(np.clip(_BATCHES / math.sqrt(len(rates)), *_BATCH))
    points: dict[str, Any] = {"linestyle": "none", "color": colour, "markeredgewidth": 0, "alpha": 0.5}
    axes.plot(rates[:end], one.losses[:end], marker="o", markersize=size, label="_losses", **points)
    reach = _FAR_OUT * (high - low)
    far = (one.smoothed > high + reach) | (one.smoothed < low - reach)
    # The first point outside is kept: the line has to leave the picture.
    after = np.cumsum(far) > far
    smoothed = np.where(after, np.nan, one.smoothed)
    label = "smoothed" if alone else _name(one)
    (drawn,) = axes.plot(rates, smoothed, color=colour, linestyle=line, linewidth=2.0, label=label)
    if end < len(rates):
        # Crosses: nothing is read from these.
        axes.plot(
            rates[end:],
            one.losses[end:],
            linestyle="none",
            marker="x",
            markersize=4,
            color=text_colour(axes) if alone else colour,
            alpha=0.6,
            label="_after",
        )
    if not alone and one.blow_up is not None:
        _mark_the_end(axes, one, smoothed, high)
    if not alone:
        # The middle of its range and its trials have a marker of the sweep's own.
        style = {"linestyle": line, "linewidth": 2.0, "marker": marker, "markersize": _TRIAL}
        return [_handle(label, color=colour, **style)]
    return [_handle("loss of one batch", marker="o", markersize=4, color=colour, alpha=0.6), drawn]


def _mark_the_end(axes: Axes, one: Series, smoothed: FloatArray, high: float) -> None:
    """Put a cross where a curve ends because its loss blows up, or where it leaves the losses shown."""
    # The last point in the picture, and the next one if the line goes on beyond.
    shown = np.flatnonzero(smoothed <= high)
    if not len(shown):
        return
    last = shown[-1]
    rates, losses = np.log10(one.learning_rates[last : last + 2]), smoothed[last : last + 2]
    rate, loss = rates[0], losses[0]
    if losses[-1] > high:
        rate, loss = np.interp(high, losses, rates), high
    axes.plot(
        10.0**rate,
        loss,
        marker="X",
        markersize=8,
        color=one.look.colour,
        markeredgecolor=axes.get_facecolor(),
        label="_blow-up",
    )


def mark_blow_up(axes: Axes, one: Series) -> list[Artist]:
    """Hatch the rates from which on a single sweep's loss has blown up."""
    if one.blow_up is None or not one.has_curve:
        return []
    start = float(one.learning_rates[one.blow_up])
    colour = text_colour(axes)
    axes.axvline(start, color=colour, linewidth=1.2, zorder=1, label="_blow-up")
    label = f"blown up from {words.rate(start)} on: not used"
    return [
        axes.axvspan(
            start,
            axes.get_xlim()[1],
            facecolor="none",
            edgecolor=colour,
            alpha=0.35,
            hatch="///",
            linewidth=0,
            zorder=0.5,
            label=label,
        )
    ]


# --- Ranges -------------------------------------------------------------------------------------------------


def bars_share(series: Sequence[Series]) -> float:
    """Return the share of the height that the bars of several sweeps' ranges take."""
    return 0.0 if len(series) == 1 else min(_BAR * len(series), _BARS)


def draw_ranges(axes: Axes, series: Sequence[Series]) -> list[Artist]:
    """Shade the range of a single sweep; draw those of several as bars along the top."""
    if len(series) == 1:
        return _shade(axes, series[0])
    bar = bars_share(series) / max(len(series), 1)
    for index, one in enumerate(series):
        if one.lr_range is not None:
            # The legend names the range beside the curve, which has the same colour.
            top = 1.0 - bar * index - 0.01
            _draw_bar(axes, one.look, one.lr_range, top - 0.8 * bar, top)
    return []


def _draw_bar(axes: Axes, look: Look, lr_range: LRRange, bottom: float, top: float) -> None:
    """Draw a range between two shares of the height, in the sweep's style, with its suggested rate."""
    ends = lr_range.min_lr, lr_range.max_lr
    label = f"_range {words.range_words(lr_range)}"
    axes.axvspan(*ends, ymin=bottom, ymax=top, color=look.colour, alpha=0.4, linewidth=0, label=label)
    axes.plot(
        [ends[0], lr_range.suggested, ends[1]],
        [(bottom + top) / 2] * 3,
        transform=axes.get_xaxis_transform(),
        color=look.colour,
        linestyle=look.line,
        linewidth=1.2,
        marker=look.marker,
        markevery=[1],
        markersize=_TRIAL,
        label=label,
    )


def _shade(axes: Axes, one: Series) -> list[Artist]:
    from matplotlib.colors import to_rgba

    if one.lr_range is None:
        return []
    return [
        axes.axvspan(
            one.lr_range.min_lr,
            one.lr_range.max_lr,
            facecolor=to_rgba(one.look.colour, 0.15),
            edgecolor=to_rgba(one.look.colour, 0.6),
            linewidth=0.8,
            zorder=0,
            label="range to search",
        )
    ]


def label_range(axes: Axes, one: Series) -> float:
    """Write a range's ends and, if there is room, its suggested rate along the top; return the height."""
    if one.lr_range is None:
        return 0.0
    width, _ = size_of(axes)
    ends = one.lr_range.min_lr, one.lr_range.max_lr
    suggested = one.lr_range.suggested
    first, last = (math.log10(end) for end in axes.get_xlim())
    low, high = ((math.log10(at) - first) / (last - first) for at in ends)
    gap = font_size(SMALL)
    texts = [words.rate(at) for at in ends]

    def write(at: float, text: str, alignment: str) -> None:
        axes.annotate(
            text,
            xy=(at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0.0, 2.0),
            textcoords="offset points",
            horizontalalignment=alignment,
            verticalalignment="bottom",
            fontsize=SMALL,
            annotation_clip=False,
        )

    fits = low * width > text_width(texts[0], SMALL) and (1 - high) * width > text_width(texts[1], SMALL)
    if not fits:
        side = "left" if low < 1 - high else "right"
        write(axes.get_xlim()[0 if side == "left" else 1], f"range {' to '.join(texts)}", side)
        return LINE * font_size(SMALL) + 2.0
    write(ends[0], texts[0], "right")
    write(ends[1], texts[1], "left")
    for text in (f"suggested {words.rate(suggested)}", words.rate(suggested)):
        if text_width(text, SMALL) + 2 * gap < (high - low) * width:
            write(suggested, text, "center")
            axes.plot(
                [suggested],
                [1.0],
                transform=axes.get_xaxis_transform(),
                marker="v",
                markersize=4,
                color=text_colour(axes),
                clip_on=False,
                label="_suggested",
            )
            break
    return LINE * font_size(SMALL) + 2.0


def draw_declared(axes: Axes, series: Sequence[Series]) -> list[Artist]:
    """Mark what the user declared."""
    declared = {one.declared for one in series if one.declared is not None}
    rates = sorted({rate for bounds in declared for rate in bounds if rate > 0})
    label = "declared bounds"
    if len(declared) == 1:
        label = f"declared, {words.between(*next(iter(declared)))}"
    colour = text_colour(axes)
    lines: list[Artist] = [
        axes.axvline(rate, color=colour, alpha=0.6, linestyle="--", linewidth=0.9, zorder=1, label=label)
        for rate in rates
    ]
    return lines[:1]


def draw_evidence(axes: Axes, one: Series) -> list[Artist]:
    """Mark the rates that the range was read from."""
    evidence = None if one.lr_range is None else one.lr_range.evidence
    if evidence is None:
        return []
    marks = [(evidence.descent_end, ":", "descent nearly done"), (evidence.edge, "-.", "loss rises")]
    return [
        axes.axvline(
            rate,
            color=one.look.colour,
            linestyle=style,
            linewidth=1.2,
            zorder=1,
            label=f"{label}, {words.rate(rate)}",
        )
        for rate, style, label in marks
        if rate is not None
    ]


# --- Trials -------------------------------------------------------------------------------------------------


def prepare_scores(axes: Axes, series: Sequence[Series], objective: Objective) -> None:
    """Show the heights of the scores, so that the width of the numbers beside the axes is known."""
    scores = np.concatenate([one.trials[:, 1] for one in series])
    set_height(axes, *not_flat(*score_limits(scores, objective.direction)), _ROOM, _ROOM)


def draw_trials(
    axes: Axes, series: Sequence[Series], objective: Objective, height: float, top: float = 0.0
) -> None:
    """Draw the score of each trial over its rate, and mark the best.

    Args:
        axes: Axes of their own.
        series: The sweeps that the trials belong to.
        objective: What the scores are.
        height: Height of the axes, in points.
        top: Share of the height to leave empty at the top.
    """
    better = {"max": "higher is better", "min": "lower is better"}.get(objective.direction or "")
    label = wrapped(objective.name, 1.6 * height, SMALL, 3)
    axes.set_ylabel("\n".join([*label, *([better] if better else [])]), fontsize=SMALL, **PLAIN)
    everything = np.concatenate([one.trials for one in series])
    owners = np.repeat(np.arange(len(series)), [len(one.trials) for one in series])
    scores = everything[:, 1]
    limits = score_limits(scores, objective.direction)
    drawn = not_flat(*limits)
    for one in series:
        _draw_points(axes, one, limits, drawn, alone=len(series) == 1)
    # Room for the words beside the best, and for a marker everywhere.
    room = 1.5 * _TRIAL / height
    words_room = min(room + (LINE * font_size(SMALL) + 0.5 * _BEST) / height, 0.4)
    best = objective.best(scores)
    is_above = best is not None and objective.direction == "max"
    is_below = best is not None and not is_above
    set_height(
        axes,
        *drawn,
        words_room if is_below else room,
        (words_room if is_above else room) + top,
        words_below=is_below,
    )
    if best is not None:
        _mark_best(axes, series[owners[best]], everything[best], objective)


def _draw_points(axes: Axes, one: Series, limits: Bounds, drawn: Bounds, *, alone: bool) -> None:
    rates, scores = one.trials.T
    style: dict[str, Any] = {
        "linestyle": "none",
        "markersize": _TRIAL,
        "fillstyle": "none",
        "color": text_colour(axes) if alone else one.look.colour,
    }
    beyond = is_beyond(scores, limits)
    above, below = beyond & (scores > limits[1]), beyond & (scores < limits[0])
    for shown, heights, marker in (
        (~beyond, scores, one.look.marker),
        (above, np.full_like(scores, drawn[1]), "^"),
        (below, np.full_like(scores, drawn[0]), "v"),
    ):
        if shown.any():
            label = "_outliers" if marker in "^v" else "trials"
            axes.plot(rates[shown], heights[shown], marker=marker, label=label, **style)


def _mark_best(axes: Axes, one: Series, trial: FloatArray, objective: Objective) -> None:
    """Put a star on the best trial, with its rate and its score on the side where no other trial is."""
    rate, score = trial
    colour = text_colour(axes)
    axes.plot(
        [rate],
        [score],
        linestyle="none",
        marker="*",
        markersize=_BEST,
        markerfacecolor=one.look.colour,
        markeredgecolor=colour,
        markeredgewidth=0.8,
        zorder=3,
        label="_best",
    )
    first, last = (math.log10(end) for end in axes.get_xlim())
    place = (math.log10(rate) - first) / (last - first)
    up = 1 if objective.direction == "max" else -1
    axes.annotate(
        f"best: {score:.4g} at {words.rate(rate)}",
        xy=(rate, score),
        xytext=(0.0, up * 0.6 * _BEST),
        textcoords="offset points",
        horizontalalignment="left" if place < 0.25 else "right" if place > 0.75 else "center",
        verticalalignment="bottom" if up > 0 else "top",
        fontsize=SMALL,
        annotation_clip=False,
    )


# --- For all of them ----------------------------------------------------------------------------------------


def _handle(label: str, **style: Any) -> Artist:
    """Return what stands in the legend for things that are drawn in many ways."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"linestyle": "none", "label": label, **style})


def trial_handles(series: Sequence[Series], objective: Objective, axes: Axes) -> list[Artist]:
    """Return what the legend explains of the trials, but for sweeps that it names for their curves."""
    colour = text_colour(axes)
    handles = []
    if len(series) == 1 and not series[0].has_curve:
        handles.append(_handle("trial", marker="o", fillstyle="none", color=colour))
    for one in series if len(series) > 1 else ():
        if not one.has_curve and (len(one.trials) or one.lr_range is not None):
            style = {"marker": one.look.marker, "fillstyle": "none", "color": one.look.colour}
            handles.append(_handle(_name(one), **style))
    scores = np.concatenate([one.trials[:, 1] for one in series])
    if is_beyond(scores, score_limits(scores, objective.direction)).any():
        handles.append(_handle("off the scale", marker="^", fillstyle="none", color=colour))
    return handles


def _name(one: Series) -> str:
    return one.name if one.lr_range is None else f"{one.name}, {words.range_words(one.lr_range)}"
