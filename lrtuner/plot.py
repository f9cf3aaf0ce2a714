"""Pictures of a curve, of a search's sweeps with its trials, and of the trials alone; what notebooks show.

matplotlib is imported only where something is drawn, and lays everything out. The user's style is left alone.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
import textwrap
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.curve.smoothing import FloatArray, running_medians
from lrtuner.messages import bounds_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bounds = tuple[float, float]
# The learning rate and the score of each.
Trials = Sequence[tuple[float, float]]

# Okabe and Ito's colours, which colour-blind readers can tell apart too (https://jfly.uni-koeln.de/color/),
# the strongest first. Black is left out, so that a colour is seen on any background.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Lines and markers tell the sweeps apart where there is no colour. Triangles are for what is off the scale.
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
_MARKERS = "osDPph"
# The losses' scale is logarithmic where the highest is more than so many times the lowest, and all losses
# together span more than so many times what those of one sweep do.
_FAR_APART = 10.0
# Scores are shown that lie so many times as far from the best as the best of them do, this share of all.
# Evenly spread ones lie within 2.5 times.
_FAR_OFF, _GOOD = 5.0, 0.4
# Height of the bar that marks a sweep's range where there are several, and the most that all bars may take.
_BAR, _BARS = 0.035, 0.35
# Shares of the axes' height for the losses and for the trials below them.
_LOSSES, _TRIALS = 0.64, 0.3
# Over more decades than this the ticks between them are a grey fringe, and take half of the time to draw.
_MINOR_DECADES = 4
# These come last in a legend.
_LAST = ("declared", "the loss blows up", "off the scale")
# What a reason or a user's name holds is text: dollar signs are no formula.
_SMALL: dict[str, Any] = {"fontsize": "small", "parse_math": False}
# Terminal colours, and what no font has.
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x1f\x7f]")


# --- The pictures -------------------------------------------------------------------------------------------


def plot_curve(
    curve: LRCurve,
    ax: Axes | LRRange | None = None,
    *,
    lr_range: LRRange | None = None,
    declared: Bounds | None = None,
    trials: Trials = (),
    objective: str | None = None,
    direction: str | None = None,
    title: str | None = None,
    updates: bool = False,
) -> Axes:
    """Draw a sweep: its losses as points, the smoothed curve as a line, and the range as a shade.

    A sentence below the axes says what the range was read from. Where the loss blows up, the rates from
    there on are hatched.

    Args:
        curve: The sweep.
        ax: Axes to draw on; those of a new figure by default. The range may stand here too. Where there are
            trials, they get the lower third. A figure of these axes alone that has no layout engine gets
            matplotlib's constrained layout; in others without one, no sentences are written.
        lr_range: Range to shade.
        declared: Smallest and largest learning rate that the user declared, marked by dashed lines.
        trials: Learning rate and score of the trials that followed, drawn in a panel below the curve. Scores
            that are not finite are left out; those far below the good ones are triangles at the edge.
        objective: What the scores are, for their axis.
        direction: "max" or "min" where higher or lower scores are better. Then the best trial is marked, and
            the axis says which end is better.
        title: Title of the picture. By default it says what is known of the training.
        updates: Whether to draw `curve.updates` too: how far each batch moved the weights, as a share of
            their size. Some 1% to 5% are usual where plain SGD learns well.

    Returns:
        The axes of the curve.

    Raises:
        TypeError: `ax` is no matplotlib axes.
        ValueError: `updates` are asked for, and the curve has none.
    """
    if isinstance(ax, LRRange):
        ax, lr_range = None, ax
    if updates and curve.updates is None:
        raise ValueError("The curve holds no sizes of updates: it was recorded without them.")
    sweep = types.SimpleNamespace(
        name="", curve=curve, lr_range=lr_range, reason=None, declared=declared, learning_rate="", setting={}
    )
    if title is None:
        title = ", ".join(["Learning-rate sweep", *_training_in_words([sweep])])
    return _draw([sweep], [trials], ax, title, objective, direction, updates=updates)


def plot_sweeps(
    sweeps: Sequence[Any],
    trials: Sequence[Trials] | None = None,
    *,
    ax: Axes | None = None,
    project: str | None = None,
    objective: str | None = None,
    direction: str | None = None,
) -> Axes:
    """Draw sweeps over one another, a colour and a line style each, with their ranges as bars along the top.

    A single sweep is drawn as by `plot_curve`. What a sweep lacks is said in words below the axes.

    Args:
        sweeps: Each an `lrtuner.Sweep`, or something with its attributes.
        trials: For each sweep its trials, as for `plot_curve`. They have its colour where there are several.
        ax: As for `plot_curve`.
        project: Name of the project, for the title.
        objective: As for `plot_curve`.
        direction: As for `plot_curve`.

    Returns:
        The axes of the curves.

    Raises:
        TypeError: `ax` is no matplotlib axes.
    """
    return _draw(sweeps, trials or [()] * len(sweeps), ax, _title(sweeps, project), objective, direction)


def plot_search(
    sweeps: Sequence[Any],
    trials: Sequence[Trials],
    *,
    ax: Axes | None = None,
    project: str | None = None,
    objective: str | None = None,
    direction: str | None = None,
) -> Axes:
    """Draw the score of each trial over its learning rate, with the ranges that were searched.

    Args:
        sweeps: As for `plot_sweeps`.
        trials: As for `plot_sweeps`.
        ax: As for `plot_curve`.
        project: As for `plot_sweeps`.
        objective: As for `plot_curve`.
        direction: As for `plot_curve`.

    Returns:
        The axes drawn on.

    Raises:
        TypeError: `ax` is no matplotlib axes.
    """
    return _draw(sweeps, trials, ax, _title(sweeps, project), objective, direction, has_curves=False)


def png(draw: Callable[[Axes], object]) -> bytes:
    """Return a picture as PNG. It needs no display and leaves no figure behind in pyplot.

    Args:
        draw: Draws on the axes that it is given, for example `lambda ax: plot_curve(curve, ax)`.
    """
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    _make_taller(axes)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def sweeps_as_html(sweeps: Sequence[Any], draw: Callable[[Axes], object]) -> str:
    """Return what a notebook shows of a search: a table of its sweeps, and their picture below.

    Args:
        sweeps: Each an `lrtuner.Sweep`.
        draw: As for `png`.
    """
    rows = [("sweep", "declared", "range", "note")]
    for one in sweeps:
        ends = one.lr_range and (one.lr_range.min_lr, one.lr_range.max_lr)
        bounds = ["none" if two is None else bounds_in_words(*two) for two in (one.declared, ends)]
        rows.append((one.name, *bounds, one.reason or one.caveat))
    cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return (
        f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
        '<img alt="The sweeps, their ranges and the trials" src="data:image/png;base64,'
        f'{base64.b64encode(png(draw)).decode()}">'
    )


# --- Axes, and what stands around them ----------------------------------------------------------------------


def _draw(
    sweeps: Sequence[Any],
    trials: Sequence[Trials],
    ax: Any,
    title: str,
    objective: str | None,
    direction: str | None,
    *,
    has_curves: bool = True,
    updates: bool = False,
) -> Axes:
    import matplotlib.axes

    axes = ax
    if ax is None:
        # pyplot, so that notebooks show the figure by themselves.
        import matplotlib.pyplot as plt

        axes = plt.subplots(layout="constrained")[1]
    elif not isinstance(ax, matplotlib.axes.Axes):
        raise TypeError(
            f"ax must be a matplotlib Axes or None, got {ax!r} of type {type(ax).__name__}. Use "
            "ax=plt.subplots()[1], say."
        )
    scored = [_finite_pairs(one) for one in trials]
    has_trials = any(map(len, scored))
    lower = _panel_below(axes) if has_curves and has_trials else axes
    _set_rates(axes, sweeps, np.concatenate([*scored, np.empty((0, 2))])[:, 0], has_curves=has_curves)
    _draw_ranges(axes, sweeps)
    if has_curves:
        _draw_losses(axes, sweeps)
    if has_trials:
        _draw_trials(lower, sweeps, scored, objective or "score", direction)
    for panel in {axes, lower}:
        _draw_declared(panel, sweeps)
    if lower is not axes:
        _shade_ranges(lower, sweeps)
    if has_curves and len(sweeps) == 1 and _has_curve(sweeps[0]) and sweeps[0].curve.blow_up is not None:
        _mark_blow_up(axes, sweeps[0].curve)
    if updates:
        _draw_updates(axes, sweeps[0].curve)
    lower.set_xlabel("learning rate (log scale)")
    notes = _notes(sweeps, has_curves=has_curves) if has_curves or has_trials else ["No trial has finished."]
    is_empty = not has_trials and not (has_curves and any(map(_has_curve, sweeps)))
    _surround(axes, lower, title, notes, is_empty=is_empty)
    if ax is None:
        _make_taller(axes)
    return axes  # type: ignore[no-any-return]


def _set_rates(axes: Any, sweeps: Sequence[Any], tried: FloatArray, *, has_curves: bool) -> None:
    """Make the learning-rate axis as long as all that is drawn, with a little room."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    rates = [*tried]
    for one in sweeps:
        rates += [rate for rate in one.declared or () if rate > 0]
        rates += [one.lr_range.min_lr, one.lr_range.max_lr] if one.lr_range else []
        rates += [*one.curve.learning_rates[[0, -1]]] if has_curves and one.curve else []
    if rates:
        low, high = np.log10([min(rates), max(rates)])
        room = 0.03 * (high - low) or 0.5
        axes.set_xlim(10 ** (low - room), 10 ** (high + room))
        if high - low > _MINOR_DECADES:
            axes.xaxis.set_minor_locator(NullLocator())


def _panel_below(axes: Any) -> Any:
    """Give the lower part of the axes' place to a panel, which has the same rates and goes with the axes."""
    from matplotlib.transforms import Bbox

    def upper_part(panel: Any, _: Any) -> Bbox:
        left, bottom, width, height = panel.get_position(original=True).bounds
        return Bbox.from_bounds(left, bottom + (1 - _LOSSES) * height, width, _LOSSES * height)

    # Whom the tight layout asks for the axes' place.
    upper_part.get_subplotspec = axes.get_subplotspec  # type: ignore[attr-defined]
    axes.set_axes_locator(upper_part)
    axes.tick_params(labelbottom=False)
    below = (0, 1 - 1 / _LOSSES, 1, _TRIALS / _LOSSES)
    return axes.inset_axes(below, sharex=axes, label="trials", zorder=0)


def _make_taller(axes: Any) -> None:
    if any(panel.get_label() == "trials" for panel in axes.child_axes):
        width, height = axes.get_figure().get_size_inches()
        axes.get_figure().set_size_inches(width, 1.3 * height)


def _surround(axes: Any, lower: Any, title: str, notes: list[str], *, is_empty: bool) -> None:
    """Put title and legend above the axes, and sentences below the lower ones, or inside of empty ones."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    figure = axes.get_figure()
    is_alone = isinstance(figure, Figure) and figure.axes == [axes] and axes.get_subplotspec() is not None
    if is_alone and figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    has_room = figure.get_layout_engine() is not None
    # How many letters of small text fit beside one another, and how many lines below; 70 points are labels'.
    small, points = 0.833 * float(rcParams["font.size"]), 72 / figure.dpi
    width = int((axes.bbox.width * points / 0.775 - 70) / (0.56 * small))
    height = int(axes.bbox.height * points / (1.25 * small))
    if is_empty:
        axes.set_yticks([])
        words = _wrapped(notes, width, height // 2)
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", **_SMALL)
    elif has_room:
        words, place = _wrapped(notes, width, max(height // 4, 2)), ("axes fraction", lower.xaxis.label)
        style = {"textcoords": "offset points", "va": "top", **_SMALL}
        lower.annotate(words, (0, 0), xycoords=place, xytext=(0, -4), **style)
    # Some 16 lines are the axes' own.
    lines = _put_legend(axes, width, max(height - 16, 2), is_above=has_room)
    title = _wrapped([title], int(width / 1.45), 2 if has_room else 1)
    axes.set_title(title, pad=6 + (1.4 * lines + 0.6) * small, parse_math=False)


def _put_legend(axes: Any, width: int, most: int, *, is_above: bool) -> int:
    """Put a legend above the axes, or inside where nothing makes room above; return its lines above."""
    legend: dict[str, Any] = {}
    for panel in (axes, *axes.child_axes):
        legend.update(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    names = sorted(legend, key=lambda name: name.startswith(_LAST))
    if not names:
        return 0
    columns = max(min(width // (max(map(len, names)) + 7), len(names)), 1)
    handles = [legend[name] for name in names[: most * columns]]
    names, left_out = names[: len(handles)], len(names) - len(handles)
    names[-1] += f", and {left_out} more" if left_out else ""
    names = [_wrapped([name], width - 7, 3) for name in names]
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.3, "ncols": columns}
    place = above if is_above else {"loc": "best"}
    drawn = axes.legend(handles, names, fontsize="small", frameon=not is_above, labelspacing=0.3, **place)
    for text in drawn.get_texts():
        text.set_parse_math(False)
    lines = [sum(name.count("\n") + 1 for name in column) for column in np.array_split(names, columns)]
    return max(lines) if is_above else 0


def _wrapped(texts: Sequence[str], width: int, most: int) -> str:
    """Return texts in lines, at most so many; each has its share of them, but two at least."""
    each = max(most // max(len(texts), 1), 2)
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(text, max(width, 8), max_lines=each, placeholder=" ...")
    if len(lines) > most:
        lines[most - 1 :] = ["and more of this kind ..."]
    return "\n".join(lines)


# --- Curves and ranges --------------------------------------------------------------------------------------


def _draw_ranges(axes: Any, sweeps: Sequence[Any]) -> None:
    """Shade the range of a single sweep; draw those of several as bars along the top."""
    is_alone, bar = len(sweeps) == 1, _bars(sweeps) / max(len(sweeps), 1)
    if is_alone:
        _shade_ranges(axes, sweeps)
    for index, one in enumerate(sweeps):
        if one.lr_range is not None:
            suggested, top = one.lr_range.suggested, 1 - bar * index - 0.01
            style = {"color": _ink(axes), "marker": "v", "label": f"suggested rate, {suggested:.2g}"}
            if not is_alone:
                ends = (one.lr_range.min_lr, one.lr_range.max_lr)
                style = {"color": _COLOURS[index % 6], "marker": _MARKERS[index % 6], "label": "_suggested"}
                axes.axvspan(
                    *ends, top - 0.8 * bar, top, color=style["color"], alpha=0.4, lw=0, label="_range"
                )
            height = 1.0 if is_alone else top - 0.4 * bar
            place = {"transform": axes.get_xaxis_transform(), "clip_on": False, "linestyle": "none"}
            axes.plot([suggested], [height], markersize=6, **place, **style)


def _shade_ranges(axes: Any, sweeps: Sequence[Any]) -> None:
    for index, one in enumerate(sweeps):
        if one.lr_range is not None:
            ends = one.lr_range.min_lr, one.lr_range.max_lr
            name = f"range to search, {_between(*ends)}" if len(sweeps) == 1 else "_range"
            style = {"color": _COLOURS[index % 6], "alpha": max(0.15 / len(sweeps), 0.05)}
            axes.axvspan(*ends, linewidth=0, zorder=0, label=name, **style)


def _draw_declared(axes: Any, sweeps: Sequence[Any]) -> None:
    declared = {one.declared for one in sweeps if one.declared is not None}
    name = f"declared, {_between(*next(iter(declared)))}" if len(declared) == 1 else "declared bounds"
    for rate in sorted({rate for bounds in declared for rate in bounds if rate > 0}):
        style = {"color": _ink(axes), "linestyle": "--", "linewidth": 0.9, "alpha": 0.6}
        axes.axvline(rate, zorder=1, label=name, **style)


def _draw_losses(axes: Any, sweeps: Sequence[Any]) -> None:
    """Draw the losses of all sweeps, and what they blow up to."""
    is_alone = len(sweeps) == 1
    drawn = [(index, one) for index, one in enumerate(sweeps) if _has_curve(one)]
    spans = [_loss_limits(one.curve) for _, one in drawn] or [(0.0, 1.0)]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    smallest = min(high - low for low, high in spans)
    is_log = low > 0 and high > _FAR_APART * low and high - low > _FAR_APART * smallest
    _set_height(axes, low, high, 0.05, 0.05 + _bars(sweeps), is_log)
    axes.set_ylabel("training loss (log scale)" if is_log else "training loss")
    for index, one in drawn:
        rates, losses, smoothed = one.curve.learning_rates, one.curve.losses, one.curve.smoothed()
        end = len(rates) if one.curve.blow_up is None else one.curve.blow_up
        points = {"color": _COLOURS[index % 6], "alpha": 0.5}
        line = {"color": _COLOURS[index % 6], "linestyle": _LINES[index % 6], "linewidth": 2}
        name = "loss of one batch" if is_alone else "_losses"
        size = np.clip(30 / len(rates) ** 0.5, 2.5, 5)
        axes.plot(rates[:end], losses[:end], "o", markersize=size, mew=0, label=name, **points)
        # Crosses: nothing is read from these.
        axes.plot(rates[end:], losses[end:], "x", markersize=4, label="_after", **points)
        if is_alone:
            axes.plot(rates, smoothed, label="smoothed", **line)
            if one.lr_range is not None and one.lr_range.evidence is not None:
                _draw_evidence(axes, one.lr_range.evidence)
            continue
        axes.plot(rates, smoothed, marker=_MARKERS[index % 6], markevery=[], label=_name(one), **line)
        shown = np.flatnonzero(smoothed <= axes.get_ylim()[1])
        if end < len(rates) and len(shown):
            mark = {"color": _COLOURS[index % 6], "markersize": 8, "markeredgecolor": axes.get_facecolor()}
            end_point = rates[shown[-1]], smoothed[shown[-1]]
            axes.plot(*end_point, "X", linestyle="none", label="the loss blows up", **mark)


def _draw_evidence(axes: Any, evidence: Evidence) -> None:
    """Mark the rates that a range was read from."""
    for rate, style, what, colour in (
        (evidence.usual, (0, (1, 3)), "usual for the optimizer", _ink(axes)),
        (evidence.descent_end, ":", "descent nearly done", _COLOURS[0]),
        (evidence.edge, "-.", "loss rises", _COLOURS[0]),
    ):
        if rate is not None:
            name = f"{what}, {rate:.2g}"
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.2, zorder=1, label=name)


def _mark_blow_up(axes: Any, curve: LRCurve) -> None:
    """Hatch the rates from which on a single sweep's loss has blown up."""
    start = curve.learning_rates[curve.blow_up]
    axes.axvline(start, color=_ink(axes), linewidth=1.2, zorder=1, label="_blow-up")
    style = {"facecolor": "none", "edgecolor": _ink(axes), "alpha": 0.35, "hatch": "///", "linewidth": 0}
    name = f"blown up from {start:.2g} on: not used"
    axes.axvspan(start, axes.get_xlim()[1], zorder=0.5, label=name, **style)


def _draw_updates(axes: Any, curve: LRCurve) -> None:
    """Draw how far each batch moved the weights, on a scale at the right."""
    twin = axes.inset_axes((0, 0, 1, 1), sharex=axes, facecolor="none", zorder=1, label="updates")
    twin.xaxis.set_visible(False)
    twin.yaxis.tick_right()
    twin.yaxis.set_label_position("right")
    twin.set_yscale("log")
    twin.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g}%")
    twin.set_ylabel("step of a batch, in % of the weights' size", fontsize="small")
    style = {"color": _ink(axes), "linewidth": 0.8, "alpha": 0.7, "label": "step of a batch (right)"}
    twin.plot(curve.learning_rates, curve.updates, **style)


def _loss_limits(curve: LRCurve) -> Bounds:
    """Return the lowest and highest loss to show, so that a blow-up does not flatten the rest.

    That is what the losses span up to their minimum, and half as much again where they rise beyond it
    afterwards. The level that a dead net's loss has after a blow-up is shown, if it is near.
    """
    end = len(curve) if curve.blow_up is None else curve.blow_up
    finite, after = curve.losses[np.isfinite(curve.losses)], curve.losses[end:]
    calm = finite[: np.isfinite(curve.losses[:end]).sum() or None]
    # A loss that only ever rises has its minimum at the start: the first quarter shows its level.
    until = max(int(np.argmin(running_medians(calm))) + 1, len(calm) // 4, 5)
    # The lowest median is that of two batches more. Spikes may be one loss in ten before the level is lost.
    low, high = float(calm[: until + 2].min()), float(np.percentile(calm[:until], 90))
    reach = 0.5 * (high - low)
    low = float(np.min(after, initial=low, where=after > low - reach))
    return low, high + (reach if finite.max() > high else 0.0)


def _set_height(axes: Any, low: float, high: float, bottom: float, top: float, is_log: bool = False) -> None:
    """Show `low` to `high`, leaving shares of the height empty below and above."""
    if not high > low:
        half = 0.1 * abs(low) or 0.5
        low, high = low - half, high + half
    if is_log:
        axes.set_yscale("log")
        ratio = (high / low) ** (1 / (1 - bottom - top))
        axes.set_ylim(low / ratio**bottom, high * ratio**top)
    elif math.isfinite(high - low):
        height = (high - low) / (1 - bottom - top)
        axes.set_ylim(low - bottom * height, high + top * height)
    # Plain numbers, since matplotlib's common factor ("1e6") would stand in the legend. A loss that is never
    # below 0 has no ticks there.
    axes.yaxis.set_major_formatter(lambda value, _: "" if value < 0 <= low else f"{value:.6g}")


def _bars(sweeps: Sequence[Any]) -> float:
    """Return the share of the height that the bars of several sweeps' ranges take."""
    return 0.0 if len(sweeps) < 2 else min(_BAR * len(sweeps), _BARS)


def _ink(axes: Any) -> Any:
    """Return the colour of the axes' own words, which is seen on any background."""
    return axes.xaxis.label.get_color()


# --- Trials -------------------------------------------------------------------------------------------------


def _draw_trials(
    axes: Any, sweeps: Sequence[Any], trials: Sequence[FloatArray], objective: str, direction: str | None
) -> None:
    """Draw the score of each trial over its rate, and mark the best."""
    everything = np.concatenate(trials)
    low, high = _score_limits(everything[:, 1], direction)
    is_panel, is_alone = axes.get_label() == "trials", len(sweeps) == 1
    _set_height(axes, low, high, 0.1, 0.1 if is_panel else 0.1 + _bars(sweeps))
    better = {"max": "\nhigher is better", "min": "\nlower is better"}.get(direction or "", "")
    has_room = axes.bbox.height > 1.2 * axes.get_figure().dpi
    axes.set_ylabel(_wrapped([objective], 20, 3) + (better if has_room else ""), **_SMALL)
    for index, (one, pairs) in enumerate(zip(sweeps, trials, strict=True)):
        marker, style = _MARKERS[index % 6], {"markersize": 5, "fillstyle": "none", "linestyle": "none"}
        style["color"] = _ink(axes) if is_alone else _COLOURS[index % 6]
        if not is_alone and not (is_panel and _has_curve(one)) and (len(pairs) or one.lr_range):
            axes.plot([], [], marker=marker, label=_name(one), **style)
        rates, scores = pairs.T
        above, below = scores > high, scores < low
        for which, shape, name in (
            (~(above | below), marker, "trials" if is_alone and not is_panel else "_trials"),
            (above, "^", "off the scale"),
            (below, "v", "off the scale"),
        ):
            if which.any():
                axes.plot(rates[which], np.clip(scores[which], low, high), marker=shape, label=name, **style)
    if direction in ("min", "max"):
        best = int(np.argmax(everything[:, 1] * (1 if direction == "max" else -1)))
        owner = int(np.repeat(np.arange(len(trials)), list(map(len, trials)))[best])
        rate, score = everything[best]
        style = {"color": _COLOURS[owner % 6], "markeredgecolor": _ink(axes), "markeredgewidth": 0.8}
        axes.plot([rate], [score], "*", markersize=13, zorder=3, label="_best", **style)
        side, shift = ("left", 9) if rate < math.sqrt(math.prod(axes.get_xlim())) else ("right", -9)
        place = {"xytext": (shift, 0), "textcoords": "offset points", "ha": side, "va": "center", "zorder": 3}
        words = f"best: {score:.4g} at {rate:.2g}" if has_room else ""
        axes.annotate(words, (rate, score), **place, **_SMALL)


def _score_limits(scores: FloatArray, direction: str | None) -> Bounds:
    """Return the lowest and highest score to show, so that the good ones can be told apart."""
    low, good, good_too, high = map(float, np.quantile(scores, [0, _GOOD, 1 - _GOOD, 1]))
    if direction == "min" and good > low:
        return low, float(scores[scores <= low + _FAR_OFF * (good - low)].max())
    if direction == "max" and good_too < high:
        return float(scores[scores >= high - _FAR_OFF * (high - good_too)].min()), high
    return low, high


# --- Words --------------------------------------------------------------------------------------------------


def _between(low: float, high: float) -> str:
    return f"{low:.2g} to {high:.2g}"


def _name(sweep: Any) -> str:
    found = sweep.lr_range
    return str(sweep.name) if found is None else f"{sweep.name}, {_between(found.min_lr, found.max_lr)}"


def _title(sweeps: Sequence[Any], project: str | None) -> str:
    """Name the project, the hyperparameters, a single sweep's setting, and what all were trained with."""
    names = list(dict.fromkeys(one.learning_rate for one in sweeps if one.learning_rate))
    if len(sweeps) == 1:
        names += [f"{name}={value}" for name, value in sweeps[0].setting.items()]
        names = names or [sweeps[0].name]
    return ": ".join(part for part in (project, ", ".join([*names, *_training_in_words(sweeps)])) if part)


def _training_in_words(sweeps: Sequence[Any]) -> list[str]:
    """Say which optimizer and batch size all of the sweeps have."""
    trainings = [one.curve.training for one in sweeps if one.curve is not None and one.curve.training]
    sizes = {one.batch_size and f"batch size {one.batch_size}" for one in trainings}
    shared = [each.pop() for each in ({one.optimizer for one in trainings}, sizes) if len(each) == 1]
    return [word for word in shared if word]


def _notes(sweeps: Sequence[Any], *, has_curves: bool) -> list[str]:
    """Say why a single sweep has its range, and of each what it lacks or what to know before trusting it."""
    if not sweeps:
        return ["There are no sweeps."]
    notes = []
    if len(sweeps) > 1 and any(one.lr_range is not None for one in sweeps):
        sizes = {one.curve.training.batch_size for one in sweeps if one.curve and one.curve.training}
        each = ", each at the batch size of its sweep" if len(sizes - {None}) > 1 else ""
        notes = [f"The bars along the top are the ranges to search{each}, with a mark at the suggested rate."]
    for one in sweeps:
        evidence = None if one.lr_range is None else one.lr_range.evidence
        which = "" if len(sweeps) == 1 else f"{one.name}: "
        lacks = "no curve" if has_curves and not _has_curve(one) else "no range" if not one.lr_range else ""
        if lacks == "no curve" or (lacks and one.reason):
            reason = " ".join(_UNPRINTABLE.sub(" ", one.reason or "").split())
            notes.append(f"{which or 'There is '}{lacks}{f': {reason}' if reason else '.'}")
        elif evidence is not None and has_curves:
            words = [evidence.loss_in_words()] if len(sweeps) == 1 else []
            words += [f"{which or 'Note: '}{evidence.caveat}."] if evidence.caveat else []
            notes += [" ".join(words)] if words else []
    return notes


# --- Numbers ------------------------------------------------------------------------------------------------


def _finite_pairs(trials: Trials) -> FloatArray:
    """Return the trials that can be drawn: shape `(n, 2)`, the learning rates positive."""
    pairs = np.array(list(trials), dtype=np.float64).reshape(-1, 2)
    return pairs[np.isfinite(pairs).all(axis=1) & (pairs[:, 0] > 0)]


def _has_curve(sweep: Any) -> bool:
    return sweep.curve is not None and bool(np.isfinite(sweep.curve.losses).any())
