"""Where things stand in a picture: its panels, the title and the legend above, the sentences below."""

from __future__ import annotations

import io
import itertools
import math
import os
import pathlib
import textwrap
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# All lengths are in points, of which an inch has 72.
_POINTS = 72
# Size of all text but the title and the axes' labels.
SMALL = "small"
# From one line of text to the next, in font sizes: matplotlib's own.
LINE = 1.2
# The legend's lines stand this far apart, and a swatch takes so much of a line, in font sizes.
_LEGEND_GAP = 0.3
_SWATCH = 4.0
# What labels and ticks take beside and below axes, in font sizes.
_LABELS = 5.5
# They hold numbers of this width.
_USUAL_LABEL = "0.25"
# The most that may be taken of the height: by the legend before it leaves out what it may, and what it must
# not; by what is said below the axes of one sweep, and of several; and by all that is added around the axes.
_LEGEND_SHARE = 0.2
_LONGEST_SHARE = 0.45
_CAPTION_SHARE, _CAPTIONS_SHARE = 0.16, 0.25
_ADDED_SHARE = 0.6
# The heights of the losses and of the trials below them.
_PANELS = (2, 1)
# A new figure with both is so many times as high as one with the losses alone.
_TALLER = 1.3
_TRIALS_PANEL = "trials below axes"
# What a reason or a user's name holds is text: dollar signs are no formula.
PLAIN: dict[str, Any] = {"parse_math": False}


def save_picture(path: str | os.PathLike[str], draw: Callable[[Axes], object]) -> None:
    """Draw a picture and save it as PNG.

    It needs no display and leaves no figure behind in pyplot. The file appears whole or not at all: a
    picture that was there before is replaced in one move.

    Args:
        path: Where to save it; its folder must exist.
        draw: Draws on the axes that it is given, for example `lambda ax: plot_curve(curve, ax=ax)`.

    Raises:
        OSError: The file can't be written.
    """
    figure = _drawn(draw)
    target = pathlib.Path(path)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        figure.savefig(temporary, format="png")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def png(draw: Callable[[Axes], object]) -> bytes:
    """Return a picture as PNG. It needs no display and leaves no figure behind in pyplot.

    Args:
        draw: Draws on the axes that it is given.
    """
    content = io.BytesIO()
    _drawn(draw).savefig(content, format="png")
    return content.getvalue()


def _drawn(draw: Callable[[Axes], object]) -> Figure:
    """Return a figure that pyplot doesn't know, drawn on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    if any(str(axes.get_label()).startswith(_TRIALS_PANEL) for axes in figure.axes):
        _make_taller(figure)
    return figure


def axes_to_draw_on(ax: Axes | None, *, has_panel: bool = False) -> Axes:
    """Return the axes, or those of a new figure where there are none.

    Args:
        ax: The axes, or None.
        has_panel: Whether the axes will get a panel below, for which a new figure is made taller.

    Raises:
        TypeError: `ax` is no matplotlib axes.
    """
    if ax is None:
        # pyplot, so that notebooks show the figure by themselves.
        import matplotlib.pyplot as plt

        figure, ax = plt.subplots(layout="constrained")
        if has_panel:
            _make_taller(figure)
    import matplotlib.axes

    if not isinstance(ax, matplotlib.axes.Axes):
        raise TypeError(
            f"ax must be a matplotlib Axes or None, got {ax!r} of type {type(ax).__name__}. Use "
            "ax=plt.subplots()[1], say."
        )
    return ax


def _make_taller(figure: Figure) -> None:
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, _TALLER * height)


def panel_below(axes: Axes) -> Axes:
    """Split the axes; return the lower part, which has the same rates. One that is there is emptied."""
    figure = axes.figure
    label = f"{_TRIALS_PANEL} {id(axes)}"
    for other in figure.axes:
        if other.get_label() == label:
            other.clear()
            other.set_label(label)
            return other
    place = axes.get_subplotspec()
    if place is None:
        # Axes that stand in no grid.
        left, bottom, width, height = axes.get_position().bounds
        lower = height * _PANELS[1] / sum(_PANELS)
        axes.set_position((left, bottom + 1.1 * lower, width, height - 1.1 * lower))
        return figure.add_axes((left, bottom, width, lower), sharex=axes, label=label)
    grid = place.subgridspec(2, 1, height_ratios=_PANELS, hspace=0.05)
    axes.set_subplotspec(grid[0])
    return figure.add_subplot(grid[1], sharex=axes, label=label)


def set_height(
    axes: Axes,
    low: float,
    high: float,
    bottom: float,
    top: float,
    *,
    words_below: bool = False,
    is_log: bool = False,
) -> None:
    """Show `low` to `high`, leaving the shares `bottom` and `top` of the height empty.

    Args:
        axes: The axes.
        low: Lowest value.
        high: Highest value.
        bottom: Share to leave empty below.
        top: Share to leave empty above.
        words_below: Whether words stand in the room below, which then is as high as they need.
        is_log: Whether to make a logarithmic scale, of values above 0.
    """
    from matplotlib.ticker import FuncFormatter

    height = (high - low) / (1.0 - bottom - top)
    if is_log:
        ratio = (high / low) ** (1.0 / (1.0 - bottom - top))
        axes.set_yscale("log")
        axes.set_ylim(low / ratio**bottom, high * ratio**top)
    elif math.isfinite(height):
        start = low - bottom * height
        if low >= 0 and not words_below:
            # A cross-entropy has no values below 0: only half a marker is.
            start = max(start, -0.02 * height)
        axes.set_ylim(start, high + top * height)
    # Plain numbers: matplotlib's common factor ("1e6") would stand where the range is labelled.
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "" if value < 0 <= low else f"{value:.6g}"))


def text_colour(axes: Axes) -> Any:
    """Return the colour of the axes' own words, which is seen on any background."""
    return axes.xaxis.label.get_color()


def size_of(axes: Axes) -> tuple[float, float]:
    """Return the width and the height of axes, as they will be once a layout engine has placed them."""
    figure = axes.figure
    width, height = (side * _POINTS / figure.dpi for side in (axes.bbox.width, axes.bbox.height))
    if figure.get_layout_engine() is None:
        return width, height
    margins = figure.subplotpars
    return (
        _without_margins(width, margins.right - margins.left, _beyond_usual_labels(axes)),
        _without_margins(height, margins.top - margins.bottom),
    )


def _beyond_usual_labels(axes: Axes) -> float:
    """Return how much wider the numbers beside the axes, or beside those above or below, are than most."""
    widest = text_width(_USUAL_LABEL, "medium")
    usual = widest
    for panel in axes.get_shared_x_axes().get_siblings(axes):
        if not math.isclose(panel.get_position().x0, axes.get_position().x0):
            continue
        low, high = sorted(panel.get_ylim())
        shown = [place for place in panel.get_yticks() if low <= place <= high]
        labels = panel.yaxis.get_major_formatter().format_ticks(shown)
        widest = max([widest, *(text_width(label, "medium") for label in labels if label)])
    return widest - usual


def _without_margins(length: float, share: float, more: float = 0.0) -> float:
    """Return the length of a side once an engine has left no margins but for the labels.

    Args:
        length: The side now.
        share: The part of the figure that it takes.
        more: What the labels take beyond what is usual.
    """
    return max(length / share - _LABELS * font_size("medium") - more, 0.5 * length)


def font_size(size: str) -> float:
    """Return a named font size in points, as the user's style has it."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=size).get_size_in_points())


def text_width(text: str, size: str) -> float:
    """Return the width of a line of text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)[0])


def wrapped(text: str, width: float, size: str, most: int | None = None) -> list[str]:
    """Return a text in lines of a width, as many as fit or at most so many."""
    if not text.strip():
        return []
    # Lines differ in their share of wide letters, by less than this.
    characters = 0.93 * width * len(text) / max(text_width(text, size), 1.0)
    return textwrap.wrap(text, max(int(characters), 8), max_lines=most, placeholder=" ...")


# --- Above the axes -----------------------------------------------------------------------------------------


class Legend(NamedTuple):
    """What a legend explains, in its order, and what of it goes first where there is no room."""

    handles: Sequence[Artist]
    spare: Sequence[Artist]


def put_on_top(axes: Axes, legend: Legend, title: str, labels: float) -> float:
    """Put the title and below it the legend above the axes, where there is no curve to hide.

    Args:
        axes: The axes.
        legend: What the legend explains.
        title: The title.
        labels: Height of what stands between the legend and the axes.

    Returns:
        The height that is taken beyond that of a title of one line.
    """
    width, _ = size_of(axes)
    height = labels + _put_legend(axes, legend, width, labels)
    lines = wrapped(title, width, "large", most=3)
    if lines:
        axes.set_title("\n".join(lines), pad=6.0 + height, **PLAIN)
    return height + LINE * font_size("large") * max(len(lines) - 1, 0)


def _put_legend(axes: Axes, legend: Legend, width: float, labels: float) -> float:
    """Put a legend above the axes; return its height."""
    from matplotlib.transforms import ScaledTranslation

    whole = axes.figure.bbox.height * _POINTS / axes.figure.dpi
    handles = list(legend.handles)
    plan = _Plan.of([str(handle.get_label()) for handle in handles], width)
    for spare in legend.spare:
        if plan.height <= _LEGEND_SHARE * whole:
            break
        handles.remove(spare)
        plan = _Plan.of([str(handle.get_label()) for handle in handles], width)
    count = len(handles)
    while plan.height > _LONGEST_SHARE * whole and len(handles) > 1:
        del handles[-1]
        names = [str(handle.get_label()) for handle in handles]
        plan = _Plan.of([*names[:-1], f"{names[-1]}, and {count - len(handles)} more"], width)
    if not handles:
        return 0.0
    up = ScaledTranslation(0, labels / _POINTS, axes.figure.dpi_scale_trans)
    drawn = axes.legend(
        handles=handles,
        labels=plan.names,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.transAxes + up,
        ncols=plan.columns,
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.2,
        borderpad=0.2,
        columnspacing=1.2,
        handlelength=1.8,
        handletextpad=0.6,
        labelspacing=_LEGEND_GAP,
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)
    return plan.height


class _Plan(NamedTuple):
    """How a legend is laid out: its names in lines, the number of columns, and the height in points."""

    names: list[str]
    columns: int
    height: float

    @classmethod
    def of(cls, names: Sequence[str], width: float) -> _Plan:
        """Lay out a legend of these names in as many columns as fit side by side."""
        if not names:
            return cls([], 1, 0.0)
        size = font_size(SMALL)
        swatch = _SWATCH * size
        lines = [wrapped(name, width - swatch, SMALL) or [""] for name in names]
        widths = [max(text_width(line, SMALL) for line in name) + swatch for name in lines]
        heights = [len(name) * LINE + _LEGEND_GAP for name in lines]
        columns = len(names)
        # matplotlib fills one column after the other, as here.
        while columns > 1 and sum(column.max() for column in np.array_split(widths, columns)) > width:
            columns -= 1
        highest = max(float(column.sum()) for column in np.array_split(heights, columns))
        return cls(["\n".join(name) for name in lines], columns, size * (highest + 0.6))


# --- Below the axes -----------------------------------------------------------------------------------------


def put_below(axes: Axes, notes: Sequence[str]) -> float:
    """Put sentences below the axes, under the label of the rates; return their height."""
    width, _ = size_of(axes)
    size = font_size(SMALL)
    share = _CAPTION_SHARE if len(notes) == 1 else _CAPTIONS_SHARE
    most = max(int(share * axes.figure.bbox.height * _POINTS / axes.figure.dpi / (size * LINE)), 2)
    each = most if len(notes) == 1 else 2
    lines = list(itertools.chain.from_iterable(wrapped(note, width, SMALL, each) for note in notes))
    if not lines:
        return 0.0
    if len(lines) > most:
        lines = [*lines[: most - 1], "and more of this kind ..."]
    axes.annotate(
        "\n".join(lines),
        xy=(0.0, 0.0),
        xycoords=("axes fraction", axes.xaxis.label),
        xytext=(0.0, -0.6 * size),
        textcoords="offset points",
        horizontalalignment="left",
        verticalalignment="top",
        fontsize=SMALL,
        annotation_clip=False,
        **PLAIN,
    )
    return size * (LINE * len(lines) + 1.0)


def write_inside(axes: Axes, notes: Sequence[str]) -> None:
    """Write sentences in the middle of axes that are empty."""
    width, _ = size_of(axes)
    lines = itertools.chain.from_iterable(wrapped(note, width, SMALL, 6) for note in notes)
    axes.text(
        0.5,
        0.5,
        "\n".join(lines),
        transform=axes.transAxes,
        fontsize=SMALL,
        horizontalalignment="center",
        verticalalignment="center",
        **PLAIN,
    )


def make_room(upper: Axes, lower: Axes, above: float, below: float) -> float:
    """Shrink axes by the heights of what stands above and below them.

    In a figure that has a layout engine, the engine will. In others nothing around the user's axes moves.

    Returns:
        The height that is left to the lower axes, about.
    """
    figure = upper.figure
    added = above + below
    top, bottom = upper.get_position(), lower.get_position()
    whole = figure.bbox.height * _POINTS / figure.dpi
    if figure.get_layout_engine() is not None:
        margins = figure.subplotpars
        both = _without_margins((top.y1 - bottom.y0) * whole, margins.top - margins.bottom) - added
        return max(both, 0.2 * whole) * (1.0 if upper is lower else _PANELS[1] / sum(_PANELS))
    share = min(1.0, _ADDED_SHARE * (top.y1 - bottom.y0) * whole / max(added, 1.0)) / whole
    low, high = bottom.y0 + below * share, top.y1 - above * share
    scale = (high - low) / (top.y1 - bottom.y0)
    for axes in {upper, lower}:
        box = axes.get_position()
        axes.set_position((box.x0, low + (box.y0 - bottom.y0) * scale, box.width, box.height * scale))
    return size_of(lower)[1]
