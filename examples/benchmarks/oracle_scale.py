"""What LRRangeOracle adds to each call of the oracle that it wraps, at 10,000 trials and 64 workers.

No model is trained. A wrapped and a bare random-search oracle are driven through the same search by 64
simulated workers: each asks for a trial, reports a metric and ends the trial. The wrapped one has a range for
each of three optimizers and for each batch size, and moves every trial into its own. Both take the same steps
in turns, so that whatever else the machine does slows both down alike. KerasTuner's own work grows with the
number of trials, since it writes its whole state at each step; what is added must not.

    python examples/benchmarks/oracle_scale.py --trials 10000 --workers 64
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import time

import keras_tuner as kt
import numpy as np

import lrtuner
from lrtuner.curve import Training
from lrtuner.oracle import REPORT_KEY, SETTINGS_KEY
from lrtuner.settings import SettingSpace
from lrtuner.sweep import SweepReport


def bare_oracle(directory, name, trials):
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


def wrapped_oracle(directory, name, trials):
    oracle = lrtuner.LRRangeOracle(bare_oracle(directory, name, trials))
    oracle.expect_sweeps()
    return oracle


def finish_sweeps(oracle, workers):
    """Let every worker ask, and the first end the sweeps, one of each optimizer."""
    settings = SettingSpace(("optimizer",), batch_size="batch_size").to_config()
    first = True
    while SETTINGS_KEY in (sweep := oracle.create_trial(workers[0])).hyperparameters.values:
        for worker in workers[1:] if first else ():
            assert oracle.create_trial(worker).status == "IDLE"
        first = False
        optimizer = sweep.hyperparameters.values["optimizer"]
        # A descent that ends, and a blow-up, at the rates that are usual for the optimizer.
        rates = np.geomspace(1e-7, 10.0, 100)
        scaled = rates / (1.0 if optimizer == "SGD" else 0.1)
        losses = 2.0 - 1.5 / (1.0 + (3e-3 / scaled) ** 2) + np.minimum(scaled / 0.5, 20.0) ** 4
        training = Training(optimizer=optimizer, batch_size=64, batches_per_epoch=100, epochs=10)
        report = SweepReport(curve=lrtuner.LRCurve(rates, losses, training=training)).to_config()
        report = {**report, "relation": None, "settings": settings}
        sweep.hyperparameters.values[REPORT_KEY] = json.dumps(report)
        sweep.status = "COMPLETED"
        oracle.end_trial(sweep)
    assert [one.lr_range is not None for one in oracle.sweeps] == [True] * 3
    return sweep


class Search:
    """Drives one oracle, a call at a time, and times each."""

    def __init__(self, oracle, workers):
        self.oracle = oracle
        self.workers = workers
        self.running = {}
        self.seconds = []

    def step(self, number):
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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    workers = [f"worker{number}" for number in range(options.workers)]
    # As on a chief, which has all sweeps run before the first trial.
    os.environ.update(KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_TUNER_ID="chief")

    with tempfile.TemporaryDirectory() as directory:
        with contextlib.redirect_stderr(io.StringIO()):
            wrapped = wrapped_oracle(directory, "wrapped", options.trials)
            begun = finish_sweeps(wrapped, workers)
        searches = [Search(bare_oracle(directory, "bare", options.trials), workers), Search(wrapped, workers)]
        # Both begin with one trial under way.
        searches[0].running[workers[0]] = searches[0].oracle.create_trial(workers[0])
        searches[1].running[workers[0]] = begun
        for number in range(options.trials + options.workers):
            # Whoever goes first alternates.
            for search in searches[:: 1 if number % 2 else -1]:
                search.step(number)
        trials = [len(search.oracle.trials) for search in searches]
    assert trials == [options.trials] * 2, trials

    bare, ours = (np.array(search.seconds) * 1e3 for search in searches)
    print(
        f"{options.trials} trials, {options.workers} workers; a step is update_trial, end_trial and "
        "create_trial"
    )
    print(f"{'trials so far':>16} {'bare, ms':>10} {'wrapped, ms':>12} {'added':>8}")
    for part in np.array_split(np.arange(len(bare)), 5):
        low, high = np.median(bare[part]), np.median(ours[part])
        print(f"{part[0]:>7} - {part[-1]:>6} {low:10.3f} {high:12.3f} {high / low - 1:8.1%}")
    print(
        f"all: mean {bare.mean():.3f} ms bare, {ours.mean():.3f} ms wrapped, added "
        f"{ours.mean() / bare.mean() - 1:.1%}"
    )


if __name__ == "__main__":
    main()
