#!/usr/bin/env python3
"""Measure what LRRangeOracle adds to each call of the oracle that it wraps.

    python examples/benchmarks/oracle_scale.py --trials 10000 --workers 64

No model is trained. A wrapped and a bare random-search oracle are driven through the same search by 64
simulated workers: each asks for a trial, reports a metric and ends the trial. The wrapped one has a range for
each of three optimizers and for each batch size, and moves every trial into its own. Both take the same steps
in turns, so that whatever else the machine does slows both down alike. KerasTuner's own work grows with the
number of trials, since it writes its whole state at each step; what is added must not. The command fails if
the wrapper adds more than 5% to the mean step.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from typing import Any

import numpy as np
from bench import command
from bench.late import Late, lrtuner
from bench.late import keras_tuner as kt

protocol = Late("lrtuner.search.protocol")
settings_room = Late("lrtuner.search.settings")

# KerasTuner's own steps vary by about as much from run to run.
MOST_ADDED = 0.05


def bare_oracle(directory: str, name: str, trials: int) -> Any:
    """Make an oracle of KerasTuner's with a space of four hyperparameters."""
    hyperparameters = kt.HyperParameters()
    hyperparameters.Float("learning_rate", 1e-6, 10.0, sampling="log")
    hyperparameters.Int("units", 8, 512)
    hyperparameters.Choice("optimizer", ["SGD", "Adam", "RMSprop"])
    hyperparameters.Choice("batch_size", [16, 64, 256])
    oracle = kt.oracles.RandomSearchOracle(
        "val_loss", max_trials=trials, seed=1, hyperparameters=hyperparameters
    )
    oracle._set_project_dir(directory, name)
    oracle.verbose = 0
    return oracle


def wrapped_oracle(directory: str, name: str, trials: int) -> Any:
    """Wrap such an oracle, and tell it that its workers run sweeps."""
    oracle = lrtuner.LRRangeOracle(bare_oracle(directory, name, trials))
    oracle.expect_sweeps()
    return oracle


def is_sweep(trial: Any) -> bool:
    """Return whether a worker is asked for a sweep."""
    return bool(protocol.is_sweep(trial.hyperparameters))


def answer(trial: Any) -> None:
    """Keep beside the trial's hyperparameters what its sweep has found."""
    optimizer = trial.hyperparameters.values["optimizer"]
    # A descent that ends, and a blow-up, at the rates that are usual for the optimizer.
    rates = np.geomspace(1e-7, 10.0, 100)
    scaled = rates / (1.0 if optimizer == "SGD" else 0.1)
    losses = 2.0 - 1.5 / (1.0 + (3e-3 / scaled) ** 2) + np.minimum(scaled / 0.5, 20.0) ** 4
    training = lrtuner.Training(optimizer=optimizer, batch_size=64, batches_per_epoch=100, epochs=10)
    curve = lrtuner.LRCurve(rates, losses, training=training)
    settings = settings_room.SettingSpace(("optimizer",), batch_size="batch_size")
    protocol.put(trial.hyperparameters, protocol.Answer(curve=curve, settings=settings))


def finish_sweeps(oracle: Any, workers: list[str]) -> Any:
    """Let every worker ask, and the first end the sweeps, one of each optimizer.

    Returns:
        The first trial of the search itself.
    """
    first = True
    while is_sweep(trial := oracle.create_trial(workers[0])):
        for worker in workers[1:] if first else ():
            assert oracle.create_trial(worker).status == "IDLE"
        first = False
        answer(trial)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert [one.lr_range is not None for one in oracle.sweeps] == [True] * 3
    return trial


class Search:
    """Drives one oracle, a call at a time, and times each."""

    def __init__(self, oracle: Any, workers: list[str], begun: Any) -> None:
        self.oracle = oracle
        self.workers = workers
        self.running = {workers[0]: begun}
        self.seconds: list[float] = []

    def step(self, number: int) -> None:
        """Let the worker whose turn it is end its trial and ask for the next."""
        worker = self.workers[number % len(self.workers)]
        begin = time.perf_counter()
        if worker in self.running:
            trial = self.running.pop(worker)
            self.oracle.update_trial(trial.trial_id, {"val_loss": float(number)})
            trial.status = "COMPLETED"
            self.oracle.end_trial(trial)
        trial = self.oracle.create_trial(worker)
        # What a chief looks at to see whether it may end.
        at_work = len(self.oracle.ongoing_trials), len(self.oracle.tuner_ids)
        self.seconds.append(time.perf_counter() - begin)
        assert max(at_work) <= len(self.workers)
        if trial.status == "RUNNING":
            self.running[worker] = trial


def run(trials: int, workers: list[str], directory: str) -> tuple[np.ndarray, np.ndarray]:
    """Drive a bare and a wrapped oracle in turns.

    Returns:
        Milliseconds of each step, of the bare and of the wrapped one.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        wrapped = wrapped_oracle(directory, "wrapped", trials)
        begun = finish_sweeps(wrapped, workers)
    bare = bare_oracle(directory, "bare", trials)
    # Both begin with one trial under way.
    searches = [Search(bare, workers, bare.create_trial(workers[0])), Search(wrapped, workers, begun)]
    for number in range(trials + len(workers)):
        # Whoever goes first alternates.
        for search in searches[:: 1 if number % 2 else -1]:
            search.step(number)
    done = [len(search.oracle.trials) for search in searches]
    assert done == [trials] * 2, done
    bare_ms, wrapped_ms = (np.array(search.seconds) * 1e3 for search in searches)
    return bare_ms, wrapped_ms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    command.import_from_checkout()
    # As on a chief, which has all sweeps run before the first trial.
    os.environ.update(KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_TUNER_ID="chief")
    with tempfile.TemporaryDirectory() as directory:
        workers = [f"worker{number}" for number in range(options.workers)]
        bare, wrapped = run(options.trials, workers, directory)
    print(
        f"{options.trials} trials, {options.workers} workers; a step is update_trial, end_trial and "
        "create_trial"
    )
    print(f"{'trials so far':>16} {'bare, ms':>10} {'wrapped, ms':>12} {'added':>8}")
    for part in np.array_split(np.arange(len(bare)), 5):
        low, high = np.median(bare[part]), np.median(wrapped[part])
        print(f"{part[0]:>7} - {part[-1]:>6} {low:10.3f} {high:12.3f} {high / low - 1:8.1%}")
    added = wrapped.mean() / bare.mean() - 1
    print(f"all: mean {bare.mean():.3f} ms bare, {wrapped.mean():.3f} ms wrapped, added {added:.1%}")
    if added > MOST_ADDED:
        raise SystemExit(f"The wrapper adds {added:.1%} to the mean step: at most {MOST_ADDED:.0%}.")


if __name__ == "__main__":
    main()
