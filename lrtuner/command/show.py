"""`python -m lrtuner show`: what a search found, read from its files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lrtuner.command import CommandError, print_json
from lrtuner.loading import load
from lrtuner.plot import save_picture
from lrtuner.search.files import PICTURE_FILE, TRIALS_PICTURE_FILE
from lrtuner.search.record import Sweep
from lrtuner.search_results import SearchResults
from lrtuner.values import bounds_in_words
from lrtuner.warn import warn


def show(given: argparse.Namespace) -> int:
    """Print the sweeps and the best trials of a search, and draw its pictures anew.

    Args:
        given: `directory`, `trials`, `no_pictures` and `json`.

    Returns:
        The exit status, 0.

    Raises:
        CommandError: The directory holds no search with a sweep, or its files can't be read.
    """
    try:
        results = load(given.directory)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    pictures = [] if given.no_pictures else _draw(results, given.directory)
    if given.json:
        print_json(_document(results, given.trials, pictures))
    else:
        print("\n".join(_lines(results, given.trials, pictures)))
    return 0


def _draw(results: SearchResults, directory: str) -> list[str]:
    """Draw the sweeps and, where there are any, the trials; return the paths of what could be drawn."""
    pictures = {PICTURE_FILE: results.plot_sweeps}
    if any(map(results.scored_rates, results.sweeps)) or results.settings_not_swept():
        pictures[TRIALS_PICTURE_FILE] = results.plot_search
    drawn = []
    for name, draw in pictures.items():
        path = os.path.join(directory, name)
        try:
            save_picture(path, draw)
        except Exception as error:
            # A directory that may only be read has all the rest to show.
            warn(f"The picture {path!r} could not be drawn: {type(error).__name__}: {error}")
        else:
            drawn.append(path)
    return drawn


def _document(results: SearchResults, most_trials: int, pictures: list[str]) -> dict[str, Any]:
    found = results.lr_range
    return {
        "project": results.project,
        "objective": results.objective,
        "direction": results.direction,
        "lr_range": None if found is None else [found.min_lr, found.max_lr],
        "sweeps": [_sweep_document(results, sweep) for sweep in results.sweeps],
        "finished_trials": len(results.trials),
        "trials": [
            {
                "trial_id": trial.trial_id,
                "score": trial.score,
                "hyperparameters": dict(trial.hyperparameters),
            }
            for trial in results.trials[:most_trials]
        ],
        "pictures": pictures,
    }


def _sweep_document(results: SearchResults, sweep: Sweep) -> dict[str, Any]:
    advice = results.advice(sweep)
    better = None if advice is None else [advice.better.min_lr, advice.better.max_lr]
    # The hyperparameters of a sweep's model are a whole search space.
    config = {key: value for key, value in sweep.to_config().items() if key != "hyperparameters"}
    return {**config, "steps": _steps(sweep), "caveat": sweep.caveat, "search_next": better}


def _lines(results: SearchResults, most_trials: int, pictures: list[str]) -> list[str]:
    finished = f"{len(results.trials)} finished trial{'' if len(results.trials) == 1 else 's'}"
    sweeps = f"{len(results.sweeps)} learning-rate sweep{'' if len(results.sweeps) == 1 else 's'}"
    lines = [f"{results.project}: {sweeps}, {finished}", ""]
    for sweep in results.sweeps:
        lines += _sweep_lines(results, sweep)
    best = results.trials[:most_trials]
    if best:
        order = "the best first" if results.direction else "in the order of the search"
        lines += ["", f"Trials, {order} ({results.objective or 'the objective is unknown'}):"]
        names = list(dict.fromkeys(name for trial in best for name in trial.hyperparameters))
        rows = [[trial.trial_id, trial.score, *_values(trial.hyperparameters, names)] for trial in best]
        lines += _table([["trial", "score", *names], *rows])
    return [*lines, "", *(f"Picture: {path}" for path in pictures)] if pictures else lines


def _sweep_lines(results: SearchResults, sweep: Sweep) -> list[str]:
    """Say what a sweep has found, in a line or two."""
    label = f" for {sweep.name}" if sweep.setting or sweep.name == sweep.learning_rate else ""
    lines = [f"Sweep of {_steps(sweep)} batches{label}:"]
    name = sweep.learning_rate or "learning rate"
    declared = f"{name} {bounds_in_words(*sweep.declared)}" if sweep.declared else name
    if sweep.narrowed is not None:
        lines.append(f"  {declared} -> {bounds_in_words(*sweep.narrowed)}")
    elif sweep.lr_range is not None:
        lines.append(f"  {sweep.outcome}")
    else:
        lines.append(f"  {declared}, not narrowed: {sweep.reason}")
    if sweep.caveat:
        lines.append(f"  Note: {sweep.caveat}.")
    advice = results.advice(sweep)
    if advice is not None:
        better = advice.better
        lines.append(
            f"  The best trials lie at the edge: search {bounds_in_words(better.min_lr, better.max_lr)} next."
        )
    return lines


def _steps(sweep: Sweep) -> int:
    return 0 if sweep.curve is None else len(sweep.curve)


def _values(values: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [values.get(name, "-") for name in names]


def _table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return rows as lines, in columns."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
