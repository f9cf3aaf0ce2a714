"""What each rule's ranges are worth, as tables. README.md says what the columns mean."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from bench import store
from bench.table import print_head, print_row
from bench.truth import FULL, Range, Truth

from quality.measuring import SWEEP_LENGTHS, MeasuredTask
from quality.others import OTHERS
from quality.picture import save_picture
from quality.rule import GIVEN, Rule, cases
from quality.tasks import CALIBRATION, HELD_OUT, PRETRAINED, half_of

HALF_TITLES = {HELD_OUT: "held-out", CALIBRATION: "calibration", PRETRAINED: "pretrained"}
PICTURED_LENGTH = 300


class Columns(NamedTuple):
    """What one range is worth, or several on average."""

    any: float  # contains a good rate
    best: float  # contains the best rate of the grid
    good: float  # P(a draw from the range is good)
    good_in_full: float  # the same for the full space
    regret: float  # expected score of the best of three draws
    width: float  # decades; NaN for no range
    fail: float  # no range

    @property
    def speed_up(self) -> float:
        """How much more often a draw is good than one from the full space; NaN where none is."""
        return self.good / self.good_in_full if self.good_in_full else np.nan

    @classmethod
    def mean(cls, columns: Iterable[Columns]) -> Columns:
        """Return the mean of each column."""
        return cls(*(float(value) for value in np.mean(list(columns), axis=0)))


def rate(truth: Truth, bounds: Range | None) -> Columns:
    """Return what a range is worth; `None` stands for the full space, and counts as not covering."""
    good_in_full, regret_in_full = truth.draws(*FULL)
    if bounds is None:
        return Columns(0, 0, good_in_full, good_in_full, regret_in_full, np.nan, 1)
    low, high = bounds
    good, regret = truth.draws(low, high)
    best = low - 1e-6 <= truth.best <= high + 1e-6  # rounding aside
    return Columns(truth.any_good(low, high), best, good, good_in_full, regret, high - low, 0)


class Subject(NamedTuple):
    """A task whose ranges are rated."""

    measured: MeasuredTask
    truth: Truth

    def rate(self, rule: Rule, length: int | str) -> list[Columns]:
        """Rate the ranges that a rule reads off the sweeps of this length."""
        # A rule may meet infinite losses.
        with np.errstate(all="ignore"):
            return [rate(self.truth, rule.ask(case)) for case in cases(self.measured, length)]


def load(folder: pathlib.Path, names: list[str]) -> list[Subject]:
    """Read what was measured of these tasks."""
    found = store.read(folder, MeasuredTask.from_config)
    return [Subject(measured, Truth(measured.truth)) for measured in found if measured.task in names]


def score(subjects: list[Subject], given: list[Rule], per_task: bool, picture: pathlib.Path) -> None:
    """Print a table for each half, and save a picture of the first: held out, if there is one."""
    pictured = False
    for half, title in HALF_TITLES.items():
        mine = [s for s in subjects if half_of(s.measured.task) == half]
        if hopeless := [s.measured.task for s in mine if not s.truth.can_be_learned]:
            print(f"\nNo rate ends better than chance, left out: {', '.join(hopeless)}.")
        mine = [s for s in mine if s.truth.can_be_learned]
        if not mine:
            continue
        print(f"\n## {half}: {len(mine)} tasks\n")
        points = _score_half(mine, [*OTHERS, *given], per_task)
        if not pictured:
            save_picture(picture, f"{title} tasks, one sweep of {PICTURED_LENGTH} batches", points)
            pictured = True
    if pictured:
        print(f"\nPicture: {picture}")


def _score_half(
    subjects: list[Subject], rules: list[Rule], per_task: bool
) -> list[tuple[Rule, float, float]]:
    """Print the table, and return speed-up and coverage of each rule for the picture."""
    print_head("rule", "N", "any", "best", "speed-up", "regret", "width", "fail")
    points = []
    for rule in rules:
        for length in SWEEP_LENGTHS:
            rated = {s.measured.task: s.rate(rule, length) for s in subjects}
            # Each task counts the same, however many sweeps it has.
            mean = Columns.mean(map(Columns.mean, rated.values()))
            _print_columns(rule.name, length, mean, [c.width for rows in rated.values() for c in rows])
            if per_task and rule.origin == GIVEN:
                for task, rows in rated.items():
                    _print_columns(f"- {task}", length, Columns.mean(rows), [c.width for c in rows])
            if length == PICTURED_LENGTH:
                points.append((rule, mean.speed_up, mean.best))
    return points


def _print_columns(label: str, length: int | str, mean: Columns, widths: list[float]) -> None:
    speed_up = "-" if np.isnan(mean.speed_up) else f"x{mean.speed_up:.2f}"
    width = f"{np.nanmedian(widths):.2f}" if np.isfinite(widths).any() else "-"
    shares = [f"{mean.any:.0%}", f"{mean.best:.0%}"]
    print_row(label, length, *shares, speed_up, f"{mean.regret:.3f}", width, f"{mean.fail:.0%}")
