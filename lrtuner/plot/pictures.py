"""The pictures: a curve, the sweeps of a search with its trials, and the trials alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange
from lrtuner.plot import drawing, layout, words
from lrtuner.plot.series import Bounds, DrawnSweep, Objective, Series, Trials, finite_pairs, gather, pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curve(
    curve: LRCurve,
    lr_range: LRRange | None = None,
    *,
    declared: Bounds | None = None,
    trials: Trials | None = None,
    objective: str | None = None,
    direction: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a sweep: its losses as points, the smoothed curve as a line, and the range as a shade.

    A sentence below the axes says what the range was read from. Where the loss blows up, the rates from
    there on are hatched.

    Args:
        curve: The sweep.
        lr_range: Range to shade.
        declared: Smallest and largest learning rate that the user declared, marked by dashed lines.
        trials: Learning rate and score of the trials that followed, drawn in a panel below the curve. Scores
            that are not finite are left out; outliers are drawn as triangles at the edge.
        objective: What the scores are, for their axis.
        direction: "max" or "min" where higher or lower scores are better. Then the best trial is marked, and
            the axis says which end is better.
        title: Title of the picture. By default it says what is known of the training.
        ax: Axes to draw on; those of a new figure by default. Where there are trials, they get its lower
            third.

    Returns:
        The axes of the curve.

    Raises:
        TypeError: `curve`, `lr_range` or `ax` is not what it must be.
        ValueError: `declared` or `trials` holds no pairs of numbers, or `direction` is unknown.
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
        declared = pair(declared, "declared")
    scored = Objective.checked(objective, direction)
    series = Series.of_curve(curve, lr_range, declared, finite_pairs(trials))
    axes = layout.axes_to_draw_on(ax, has_panel=len(series.trials) > 0)
    _draw_sweeps(axes, [series], scored, words.curve_title(curve) if title is None else title)
    return axes


def plot_sweeps(
    sweeps: Sequence[DrawnSweep],
    *,
    trials: Sequence[Trials] | None = None,
    objective: str | None = None,
    direction: str | None = None,
    project: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw sweeps over one another, a colour and a line style each, with their ranges as bars along the top.

    A single sweep is drawn as by `plot_curve`. What a sweep lacks is said in words below the axes.

    Args:
        sweeps: The sweeps, any number of them.
        trials: For each sweep its trials, as for `plot_curve`. They have its colour where there are several.
        objective: As for `plot_curve`.
        direction: As for `plot_curve`.
        project: Name of the project, for the title.
        title: Title of the picture. By default it names the project, the hyperparameter and, of a single
            sweep, its setting.
        ax: As for `plot_curve`.

    Returns:
        The axes of the curves.

    Raises:
        TypeError: `sweeps` holds something that is no sweep, or `ax` is no matplotlib axes.
        ValueError: `trials` holds no pairs of numbers for each sweep, or `direction` is unknown.
    """
    sweeps, series = gather(sweeps, trials)
    scored = Objective.checked(objective, direction)
    axes = layout.axes_to_draw_on(ax, has_panel=any(len(one.trials) for one in series))
    _draw_sweeps(axes, series, scored, words.sweeps_title(sweeps, project) if title is None else title)
    return axes


def plot_search(
    sweeps: Sequence[DrawnSweep],
    trials: Sequence[Trials],
    *,
    objective: str | None = None,
    direction: str | None = None,
    project: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the score of each trial over its learning rate, with the ranges that were searched.

    Args:
        sweeps: The sweeps, any number of them.
        trials: For each sweep the learning rate and the score of its trials, as for `plot_curve`.
        objective: As for `plot_curve`.
        direction: As for `plot_curve`.
        project: As for `plot_sweeps`.
        title: As for `plot_sweeps`.
        ax: Axes to draw on; those of a new figure by default.

    Returns:
        The axes drawn on.

    Raises:
        TypeError: `sweeps` holds something that is no sweep, or `ax` is no matplotlib axes.
        ValueError: `trials` holds no pairs of numbers for each sweep, or `direction` is unknown.
    """
    sweeps, series = gather(sweeps, trials)
    scored = Objective.checked(objective, direction)
    # The curves are in another picture; their rates may go far beyond those of the trials.
    series = [one.without_curve() for one in series]
    axes = layout.axes_to_draw_on(ax)
    drawing.prepare_rates(axes, series)
    has_trials = any(len(one.trials) for one in series)
    if has_trials:
        drawing.prepare_scores(axes, series, scored)
    handles = drawing.trial_handles(series, scored, axes) if has_trials else []
    declared = drawing.draw_declared(axes, series)
    legend = layout.Legend([*handles, *drawing.draw_ranges(axes, series), *declared], declared)
    title = words.sweeps_title(sweeps, project) if title is None else title
    height = _surround(axes, axes, legend, title, series, words.search_notes(series, scored))
    if has_trials:
        drawing.draw_trials(axes, series, scored, height, drawing.bars_share(series))
    else:
        axes.set_yticks([])
    return axes


def _draw_sweeps(axes: Axes, series: list[Series], objective: Objective, title: str) -> None:
    """Draw the curves and, where there are trials, a panel of theirs below."""
    alone = len(series) == 1
    has_trials = any(len(one.trials) for one in series)
    lower = layout.panel_below(axes) if has_trials else axes
    drawing.prepare_rates(axes, series)
    curves = drawing.draw_losses(axes, series)
    handles = drawing.draw_ranges(axes, series)
    if alone:
        handles += drawing.draw_evidence(axes, series[0]) + drawing.mark_blow_up(axes, series[0])
    declared = drawing.draw_declared(axes, series)
    if has_trials:
        axes.set_xlabel("")
        axes.tick_params(labelbottom=False)
        drawing.prepare_rates(lower, series)
        drawing.prepare_scores(lower, series, objective)
        drawing.draw_declared(lower, series)
        if alone:
            drawing.draw_ranges(lower, series)
        handles += drawing.trial_handles(series, objective, lower)
    # The axes say by themselves what a single curve is.
    legend = layout.Legend([*curves, *handles, *declared], [*(curves if alone else ()), *declared])
    height = _surround(axes, lower, legend, title, series, words.sweep_notes(series))
    if has_trials:
        drawing.draw_trials(lower, series, objective, height)


def _surround(
    upper: Axes, lower: Axes, legend: layout.Legend, title: str, series: list[Series], notes: list[str]
) -> float:
    """Put title and legend above the upper axes, and sentences below the lower, or inside if it is empty.

    Returns:
        The height that is left to the lower axes.
    """
    labels = drawing.label_range(upper, series[0]) if len(series) == 1 else 0.0
    above = layout.put_on_top(upper, legend, title, labels)
    is_empty = upper is lower and not any(one.has_curve or len(one.trials) for one in series)
    if is_empty:
        layout.write_inside(lower, notes)
    below = 0.0 if is_empty else layout.put_below(lower, notes)
    return layout.make_room(upper, lower, above, below)
