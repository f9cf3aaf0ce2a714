#!/usr/bin/env python3
"""Measure what a learning-rate range is worth, on tasks that were not used to make the rule.

    python examples/benchmarks/range_quality.py             # measure and score: about 4 hours on one core
    python examples/benchmarks/range_quality.py --quick     # a few tasks, coarse grid: half a minute
    python examples/benchmarks/range_quality.py score       # score again what was measured
    python examples/benchmarks/range_quality.py score --rule mymodule:myrule
    python examples/benchmarks/range_quality.py measure --tasks digits_cnn_adam,wine_raw_adam

An interrupted run goes on where it stopped. README.md in this folder says how it is measured, what a rule is,
what the columns mean, and what was found.
"""

from __future__ import annotations

import argparse
import functools
import pathlib

from bench import command, store
from quality import measuring, rule, scoring, tasks


def parse() -> tuple[argparse.Namespace, list[str], pathlib.Path, list[rule.Rule]]:
    """Return the options, the names of the tasks, the folder of the measurements, and the rules."""
    parser = command.parser(__doc__)
    parser.add_argument("--tasks", help="comma-separated names; default: all")
    parser.add_argument("--half", choices=tuple(scoring.HALF_TITLES), help="one half of the tasks")
    parser.add_argument(
        "--rule", action="append", help="module:callable, may be repeated; default: lrtuner:suggest_range"
    )
    parser.add_argument(
        "--picture", type=pathlib.Path, help="default: range_quality.png where the measurements are"
    )
    parser.add_argument(
        "--per-task", action="store_true", help="also a row for each task, for the given rules"
    )
    options = parser.parse_args()
    chosen = command.names(options.tasks, tasks.names(), "tasks", parser)
    if options.quick and not options.tasks:
        chosen = tasks.QUICK
    rules = []
    if options.command != "measure":
        command.import_from_checkout()
        try:
            rules = [one for spec in options.rule or ["lrtuner:suggest_range"] for one in rule.given(spec)]
        except ValueError as error:
            parser.error(str(error))
    return (
        options,
        [name for name in chosen if options.half in (None, tasks.half_of(name))],
        command.folder(options, "range_quality"),
        rules,
    )


def main() -> None:
    options, names, folder, rules = parse()
    if options.command != "score":
        jobs = [
            (name, functools.partial(measuring.measure, tasks.task(name), options.quick)) for name in names
        ]
        store.measure(folder / "tasks", jobs)
    if options.command != "measure":
        subjects = scoring.load(folder / "tasks", names)
        if not subjects:
            raise SystemExit(f"None of these tasks has been measured in {folder}: run `measure` first.")
        picture = options.picture or folder / "range_quality.png"
        scoring.score(subjects, rules, options.per_task, picture)


if __name__ == "__main__":
    main()
