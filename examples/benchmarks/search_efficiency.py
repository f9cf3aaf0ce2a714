#!/usr/bin/env python3
"""Measure whether a search with a sweep is sooner at a good result, all sweeps charged.

    python examples/benchmarks/search_efficiency.py             # measure and score: 90 minutes on one core
    python examples/benchmarks/search_efficiency.py --quick     # one task, one seed: half a minute
    python examples/benchmarks/search_efficiency.py score       # score again what was measured
    python examples/benchmarks/search_efficiency.py score --picture search_efficiency.png

Needs scikit-learn, scipy and optuna. An interrupted run goes on where it stopped. README.md in this folder
says how it is measured, and what was found.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib

from bench import command, store
from bench.late import Late
from efficiency import measuring
from efficiency.tasks import TASKS

scoring = Late("efficiency.scoring")
picture = Late("efficiency.picture")


def parse() -> tuple[argparse.Namespace, list[str], pathlib.Path]:
    """Return the options, the names of the tasks, and the folder of the measurements."""
    parser = command.parser(__doc__)
    parser.add_argument("--tasks", help=f"comma-separated names, of {', '.join(TASKS)}; default: all")
    parser.add_argument("--seeds", type=int, default=6, help="searches of each kind; default: 6")
    parser.add_argument("--picture", type=pathlib.Path, help="where to draw one; default: none")
    options = parser.parse_args()
    names = command.names(options.tasks, list(TASKS), "tasks", parser)
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    if options.command != "score" and not options.quick and importlib.util.find_spec("optuna") is None:
        parser.error("one arm is Optuna's search: pip install optuna")
    if options.quick:
        names, options.seeds = names[:1], 1
    command.import_from_checkout()
    return options, names, command.folder(options, "search_efficiency")


def main() -> None:
    options, names, folder = parse()
    if options.command != "score":
        store.measure(folder / "grids", measuring.grid_jobs(names, options.quick))
        jobs = measuring.search_jobs(folder / "grids", names, options.seeds, options.quick)
        store.measure(folder / "searches", jobs)
    if options.command != "measure":
        found = scoring.load(folder, names, options.seeds)
        if found is None:
            raise SystemExit(f"No search has been measured in {folder}: run `measure` first.")
        scoring.score(found)
        if options.picture:
            picture.save(options.picture, found)


if __name__ == "__main__":
    main()
