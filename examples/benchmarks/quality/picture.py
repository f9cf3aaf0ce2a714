"""The picture of coverage against speed-up."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from bench.late import Late

from quality.rule import GIVEN, NO_SWEEP, OTHER, Rule

matplotlib = Late("matplotlib")
plt = Late("matplotlib.pyplot")
ticker = Late("matplotlib.ticker")

# Marker, its size, its colour, and that of the label.
STYLES = {
    GIVEN: ("*", 13, "#D55E00", "#D55E00"),
    OTHER: ("o", 6, "#0072B2", "0.2"),
    NO_SWEEP: ("s", 6, "0.55", "0.2"),
}
# Where a label may stand, in points from its marker, the best place first.
PLACES = ((8, 0), (8, 8), (8, -8), (-8, 0), (-8, 8), (-8, -8), (0, 13), (0, -13), (0, 22))


def save_picture(file: pathlib.Path, title: str, points: list[tuple[Rule, float, float]]) -> None:
    """Draw speed-up and coverage of each rule."""
    matplotlib.use("Agg")
    figure, ax = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    ax.set(
        title=title,
        xlabel="how much more often a draw is good than one from 1e-6..10",
        ylabel="ranges that contain the best learning rate",
        xlim=(0.4, 0.4 + 1.2 * max(speed_up for _, speed_up, _ in points)),
        ylim=(0, 1.08),
    )
    ax.xaxis.set_major_formatter("x{x:g}")
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    ax.grid(alpha=0.3)
    # Given rules first: the others' labels make room.
    points = sorted(points, key=lambda point: point[0].origin != GIVEN)
    for rule, speed_up, best in points:
        marker, size, colour, _ = STYLES[rule.origin]
        ax.plot(speed_up, best, marker, color=colour, markersize=size, zorder=3)
    # The layout is settled by drawing once; from then on places are known in pixels.
    figure.canvas.draw()
    _label(ax, points)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _label(ax: Any, points: list[tuple[Rule, float, float]]) -> None:
    """Write each name beside its marker, where it hides no other marker and no name so far."""
    around = np.array([[-5, -5], [5, 5]])  # pixels that a marker takes
    taken = [ax.transData.transform((speed_up, best)) + around for _, speed_up, best in points]
    for k, (rule, speed_up, best) in enumerate(points):
        name = rule.name.replace("lrtuner:suggest_range", "lrtuner")
        text = ax.annotate(
            name, (speed_up, best), (8, 0), textcoords="offset points", fontsize=8.5, va="center"
        )
        text.set_color(STYLES[rule.origin][3])
        for dx, dy in PLACES:
            text.set(position=(dx, dy), ha="left" if dx > 0 else "right" if dx < 0 else "center")
            box = text.get_window_extent().get_points()
            others = taken[:k] + taken[k + 1 :]
            free = all((box[0] >= b[1]).any() or (box[1] <= b[0]).any() for b in others)
            if free and ax.bbox.x0 < box[0, 0] and box[1, 0] < ax.bbox.x1:
                break
        taken.append(box)
