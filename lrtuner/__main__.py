"""`python -m lrtuner show DIRECTORY` prints what a search found, from its project directory."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import lrtuner
from lrtuner.messages import bounds_in_words, warn
from lrtuner.plot import png
from lrtuner.results import PICTURE_FILE, TRIALS_PICTURE_FILE, SearchResults, Sweep, load, write_file
from lrtuner.search.codec import encode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 where there is nothing to show.

    Args:
        arguments: Those of the command line by default.
    """
    parser = argparse.ArgumentParser(prog="python -m lrtuner", description="Look at what a search found.")
    parser.add_argument("--version", action="version", version=lrtuner.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print what a search found, from its project directory")
    show.add_argument("directory", metavar="DIRECTORY", help="the tuner's directory/project_name")
    show.add_argument("--trials", type=int, default=10, metavar="N", help="how many of the best trials (10)")
    show.add_argument("--no-pictures", action="store_true", help="leave the pictures as they are")
    show.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    try:
        results = load(given.directory)
    except (OSError, ValueError) as error:
        print(f"lrtuner show: {error}", file=sys.stderr)
        return 2
    pictures = [] if given.no_pictures else _draw(results, given.directory)
    document = _document(results, max(given.trials, 0), pictures)
    print(json.dumps(document, indent=1) if given.json else "\n".join(_lines(results, document)))
    return 0


def _draw(results: SearchResults, directory: str) -> list[str]:
    """Draw the sweeps and, where there are any, the trials; return the paths of what could be drawn."""
    drawn, pictures = [], {PICTURE_FILE: results.plot_sweeps}
    if results.trials:
        pictures[TRIALS_PICTURE_FILE] = results.plot_search
    for name, draw in pictures.items():
        path = os.path.join(directory, name)
        try:
            write_file(path, png(draw))
            drawn.append(path)
        except Exception as error:
            # A directory that may only be read has all the rest to show.
            warn(f"The picture {path!r} could not be drawn: {type(error).__name__}: {error}")
    return drawn


def _document(results: SearchResults, most_trials: int, pictures: list[str]) -> dict[str, Any]:
    found, sweeps = results.lr_range, []
    for sweep in results.sweeps:
        advice, steps = results.advice(sweep), 0 if sweep.curve is None else len(sweep.curve)
        more = {"steps": steps, "caveat": sweep.caveat, "search_next": None}
        if advice is not None:
            more["search_next"] = [advice.better.min_lr, advice.better.max_lr]
        # The hyperparameters of a sweep's model are a whole search space.
        names = [field.name for field in dataclasses.fields(sweep) if field.name != "hyperparameters"]
        config = {name: encode(getattr(sweep, name)) for name in names}
        sweeps.append({**config, **more})
    return {
        "project": results.project,
        "objective": results.objective,
        "direction": results.direction,
        "lr_range": found and [found.min_lr, found.max_lr],
        "sweeps": sweeps,
        "finished_trials": len(results.trials),
        "trials": [dataclasses.asdict(trial) for trial in results.trials[:most_trials]],
        "pictures": pictures,
    }


def _lines(results: SearchResults, document: dict[str, Any]) -> list[str]:
    """Put the document into words."""
    counts = f"learning-rate sweeps: {len(results.sweeps)}, finished trials: {len(results.trials)}"
    lines = [f"{results.project}, {counts}"]
    for sweep, told in zip(results.sweeps, document["sweeps"], strict=True):
        label = f" for {sweep.name}" if sweep.setting or sweep.name == sweep.learning_rate else ""
        lines += ["", f"Sweep of {told['steps']} batches{label}:", f"  {_outcome(sweep)}"]
        lines += [f"  Note: {sweep.caveat}."] if sweep.caveat else []
        if told["search_next"]:
            better = bounds_in_words(*told["search_next"])
            lines.append(f"  The best trials lie at an edge of the learning rates: search {better} next.")
    if document["trials"]:
        order = "the best first" if results.direction else "in the order of the search"
        lines += ["", f"Trials, {order} ({results.objective or 'the objective is unknown'}):"]
    for trial in document["trials"]:
        values = [
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in trial["hyperparameters"].items()
        ]
        lines.append(f"  {trial['trial_id']:>4}  {trial['score']:<8.4g}  {', '.join(values)}")
    return [*lines, "", *(f"Picture: {path}" for path in document["pictures"])]


def _outcome(sweep: Sweep) -> str:
    """Say what a sweep has found, in values of its hyperparameter as the search does."""
    declared, narrowed = (
        bounds and bounds_in_words(*sorted(map(sweep.relation.value, bounds)))
        for bounds in (sweep.declared, sweep.narrowed)
    )
    name = " ".join(filter(None, (sweep.learning_rate or "learning rate", declared)))
    if narrowed:
        return f"{name} -> {narrowed}"
    return (
        f"{name}, not narrowed: {sweep.reason}"
        if sweep.lr_range is None
        else str(sweep.outcome or sweep.reason)
    )


if __name__ == "__main__":
    sys.exit(main())
