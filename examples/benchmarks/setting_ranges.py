#!/usr/bin/env python3
"""Measure which settings of a search need a learning-rate range of their own.

    python examples/benchmarks/setting_ranges.py             # measure and score: 25 minutes on one core
    python examples/benchmarks/setting_ranges.py --quick     # 4 settings, coarse rates: half a minute
    python examples/benchmarks/setting_ranges.py score       # score again what was measured
    python examples/benchmarks/setting_ranges.py --real      # real searches, with and without lrtuner

An interrupted run goes on where it stopped. README.md in this folder says how it is measured, what the
columns mean, and what was found.
"""

from __future__ import annotations

import argparse
import pathlib

from bench import command, store
from bench.late import Late
from setting import measuring, scoring, searches, strategies
from setting.space import SETS

# It is built on KerasTuner, which takes seconds to load.
real = Late("setting.real")


def parse() -> tuple[argparse.Namespace, list[str], pathlib.Path]:
    """Return the options, the names of the data sets, and the folder of the measurements."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--sets", help=f"comma-separated names of data sets, of {', '.join(SETS)}; default: all"
    )
    parser.add_argument("--real", action="store_true", help="run real searches instead")
    parser.add_argument("--trials", type=int, default=20, help="of a real search")
    parser.add_argument("--seeds", type=int, default=1, help="real searches of each kind on each data set")
    options = parser.parse_args()
    names = command.names(options.sets, list(SETS), "data sets", parser)
    command.import_from_checkout()
    return options, names, command.folder(options, "setting_ranges")


def run_real(options: argparse.Namespace, names: list[str], folder: pathlib.Path) -> None:
    """Run real searches, and score them."""
    if options.command != "score":
        store.measure(folder, real.jobs(folder, names, options.trials, options.seeds))
    if options.command != "measure":
        real.score(folder, names, options.trials)


def main() -> None:
    options, names, folder = parse()
    if options.real:
        run_real(options, names, folder / "real")
        return
    if options.command != "score":
        store.measure(folder / "settings", measuring.jobs(names, options.quick))
    if options.command != "measure":
        known, shared = strategies.load(folder / "settings", names)
        if not known:
            raise SystemExit(f"No setting has been measured in {folder}: run `measure` first.")
        scoring.score_ranges(known, shared)
        if not options.quick:
            scoring.score_effects(known)
            scoring.score_powers(known, shared)
        searches.score_searches(known, shared)


if __name__ == "__main__":
    main()
