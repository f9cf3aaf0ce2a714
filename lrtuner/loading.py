"""A search, read from the files of its project, without the user's code and without KerasTuner."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lrtuner.search.files import ORACLE_FILE, STATE_FILE
from lrtuner.search.record import SearchRecord
from lrtuner.search.settings import SettingSpace
from lrtuner.search_results import FinishedTrial, SearchResults
from lrtuner.warn import warn


def load(directory: str | os.PathLike[str]) -> SearchResults:
    """Read what a search has found from its project directory.

    It needs none of the code that ran the search, and loads neither Keras nor KerasTuner. The search may be
    over, broken off or still running, but past its first sweep.

    >>> tuner = lrtuner.RandomSearch(
    ...     build_model, "val_loss", max_trials=2, directory="my_dir", project_name="my_project"
    ... )
    >>> tuner.search(x, y, validation_split=0.2, verbose=0)
    >>> results = lrtuner.load("my_dir/my_project")
    >>> results.sweeps[0].declared
    (1e-06, 10.0)
    >>> results.trials[0].score <= results.trials[1].score
    True
    >>> axes = results.plot_sweeps()

    Args:
        directory: The tuner's `directory` and `project_name`, as one path: "my_dir/my_project".

    Returns:
        The `SearchResults`: the sweeps, the finished trials, best first, and the objective. `hyperparameters`
        of a sweep, a `keras_tuner.HyperParameters`, are built when first asked for, which loads KerasTuner.

    Raises:
        FileNotFoundError: There is no such directory.
        NotADirectoryError: It is a file.
        ValueError: It is no project of KerasTuner's, the search ended no sweep, or the sweeps' file is
            damaged or of a newer version. A damaged file of a trial is left out with a warning.
    """
    project = Path(directory)
    if not project.exists():
        raise FileNotFoundError(
            f"There is no directory {str(project)!r}, seen from {os.getcwd()!r}: pass the tuner's directory "
            "and project_name as one path."
        )
    if not project.is_dir():
        raise NotADirectoryError(
            f"{str(project)!r} is a file: pass the project directory, which is {str(project.parent)!r}, say."
        )
    if not (project / STATE_FILE).exists():
        raise ValueError(_why_no_project(project))
    record = SearchRecord.read(str(project / STATE_FILE))
    if not record.sweeps:
        raise ValueError(
            f"The search in {str(project)!r} has no finished sweep: it was begun without lrtuner, or there "
            "was nothing to narrow. The warning that it gave says which."
        )
    listed = record.options.get("learning_rate")
    return SearchResults(
        project=project.resolve().name,
        sweeps=record.sweeps,
        trials=_finished_trials(project),
        objective=record.objective,
        direction=record.direction,
        learning_rates=listed if isinstance(listed, list) else list(record.declarations),
        settings=record.setting_space or SettingSpace(),
    )


def _why_no_project(directory: Path) -> str:
    """Say what a directory without sweeps is instead, and which path to pass."""
    if (directory / ORACLE_FILE).exists():
        return (
            f"{str(directory)!r} is a project of KerasTuner's in which lrtuner has ended no sweep: its "
            "search ran without lrtuner, or stopped before the sweep was over."
        )
    if any(directory.glob("trial_lr_sweep_*")):
        return (
            f"The search in {str(directory)!r} is in its first sweep, or was stopped in it: wait, or search "
            "again."
        )
    projects = sorted(str(path.parent) for path in directory.glob(f"*/{STATE_FILE}"))
    if not projects:
        return (
            f"{str(directory)!r} is no project of KerasTuner's, since there is no {ORACLE_FILE} in it: pass "
            "the tuner's directory and project_name as one path."
        )
    which = "one lies" if len(projects) == 1 else "several lie"
    return f"{str(directory)!r} is no project, but {which} in it: pass {' or '.join(map(repr, projects))}."


def _finished_trials(project: Path) -> list[FinishedTrial]:
    """Return the trials that have ended with a score, in KerasTuner's order."""
    found = [_finished_trial(path) for path in sorted(project.glob("trial_*/trial.json"))]
    return [trial for trial in found if trial is not None]


def _finished_trial(path: Path) -> FinishedTrial | None:
    """Return a trial that has ended with a score, or None where it has not."""
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        if state["status"] != "COMPLETED" or state["score"] is None:
            return None
        values = dict(state["hyperparameters"]["values"])
        return FinishedTrial(str(state["trial_id"]), values, float(state["score"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        warn(
            f"KerasTuner's file {str(path)!r} is damaged or is being written ({type(error).__name__}: "
            f"{error}): its trial is left out."
        )
        return None
