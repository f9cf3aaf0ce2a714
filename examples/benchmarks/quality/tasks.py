"""All tasks of the benchmark by name, in those for calibration, held out, and pretrained."""

from __future__ import annotations

import functools

from bench.task import Task

from quality import drawn, everyday, handmade, pretrained, raw

CALIBRATION, HELD_OUT, PRETRAINED = "calibration", "heldout", "pretrained"
# A few that train fast and have little in common.
QUICK = [
    "digits_mlp_sgd",
    "wine_raw_adam",
    "huber_outliers_rms",
    "cancer_raw_adamw",
    "digits_small_mom",
    "tokens_bag_adam",
    "everyday_iris_mlp_mom",
    "drawn498_breast_cancer_adam",
]


@functools.cache
def halves() -> dict[str, dict[str, Task]]:
    """Return the tasks of each half by name. No data are made, and Keras is not imported."""
    calibration, held_out = everyday.tasks()
    groups = {
        CALIBRATION: [*handmade.TASKS, *raw.TASKS, *calibration, *map(drawn.task, range(400))],
        HELD_OUT: [*held_out, *map(drawn.task, range(400, 580))],
        PRETRAINED: pretrained.TASKS,
    }
    return {half: {task.name: task for task in group} for half, group in groups.items()}


def names(half: str | None = None) -> list[str]:
    """Return the names of one half, or of both."""
    return [name for one, group in halves().items() if half in (None, one) for name in group]


def half_of(name: str) -> str:
    """Return the half to which a task belongs."""
    return next(half for half, tasks in halves().items() if name in tasks)


def task(name: str) -> Task:
    """Return the task of this name."""
    return halves()[half_of(name)][name]
