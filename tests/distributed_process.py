"""One process of a distributed search, as `distributed_process.py '{"directory": ..., ...}'`."""

import json
import os
import signal
import sys
import time
import types

import keras
import keras_tuner as kt
from searches import (
    FIT,
    RATE,
    X,
    Y,
    build_branches,
    build_choice,
    build_model,
    is_swept,
    random_search,
)

import lrtuner

options = json.loads(sys.argv[1])
keras.utils.set_random_seed(11)
NAME = os.environ["KERASTUNER_TUNER_ID"]
# From the curve alone: with what is usual for SGD some of these short trainings diverge on torch.
RULE = "curve_alone"

if NAME == "chief":
    # KerasTuner's chief looks every 20 s whether its workers are done, and does nothing else then.
    from keras_tuner.src.distribute import oracle_chief

    oracle_chief.time = types.SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.1)))


def log(event):
    """Append to what the processes of a search have done, with the time."""
    with open(os.path.join(options["directory"], "events"), "a") as file:
        file.write(json.dumps([time.time(), NAME, event]) + "\n")


def number_of_sweep():
    """Return which of the sweeps of all processes begins here: "sweep 0" for the first."""
    number = 0
    while True:
        try:
            os.close(os.open(os.path.join(options["directory"], f"sweep {number}"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            number += 1
        else:
            return f"sweep {number}"


def wait_for(event):
    """Wait for "sweep 1" of any process, or long enough to know that it won't come."""
    end = time.monotonic() + 60
    while event and not os.path.exists(os.path.join(options["directory"], event)):
        if time.monotonic() > end:
            raise RuntimeError(f"There was no {event}.")
        time.sleep(0.05)


class Recorded(kt.HyperModel):
    """Writes down what it trains, and fails as the options say."""

    def build(self, hp):
        if options.get("branches"):
            return build_branches(hp)
        return (build_choice if options.get("optimizers") else build_model)(hp)

    def fit(self, _, model, *args, **kwargs):
        sweep = is_swept(model)
        log("sweep" if sweep else "trial")
        if sweep:
            number = number_of_sweep()
            if options.get("die") == number:
                os.kill(os.getpid(), signal.SIGKILL)
            wait_for(options.get("wait_for", {}).get(number))
            if options.get("raises"):
                raise OSError("the data is gone")
        results = model.fit(*args, **kwargs)
        log("end")
        return results


if options.get("tuner"):
    arguments = {"Hyperband": {"max_epochs": 3}, "GridSearch": {"max_trials": 4}}
    tuner = getattr(lrtuner, options["tuner"])(
        Recorded(),
        objective="val_loss",
        directory=options["directory"],
        project_name="project",
        steps=60,
        rule=RULE,
        **arguments.get(options["tuner"], {"max_trials": 4}),
    )
else:
    oracle = lrtuner.LRRangeOracle(
        random_search(options.get("trials", 4)),
        steps=60,
        rule=RULE,
        lease=options.get("lease", 600),
    )
    hypermodel = Recorded()
    door = lrtuner.Tuner
    if options.get("stock"):
        door, hypermodel = kt.Tuner, lrtuner.LRRangeHyperModel(hypermodel)
    tuner = door(oracle, hypermodel, directory=options["directory"], project_name="project")

tuner.search(X, Y, **FIT)

if NAME == "chief":
    lr_range = tuner.oracle.lr_range
    axes = tuner.oracle.plot_sweeps()
    tried = [trial.hyperparameters.values for _, trial in sorted(tuner.oracle.trials.items())]
    print(
        "RESULT",
        json.dumps(
            {
                "lr_range": lr_range and [lr_range.min_lr, lr_range.max_lr],
                "rates": [
                    values[f"{values['optimizer']}_lr" if options.get("branches") else RATE]
                    for values in tried
                ],
                "statuses": [trial.status for trial in tuner.oracle.trials.values()],
                "sweeps": len(tuner.oracle.sweeps),
                "ranges": {
                    sweep.setting.get("optimizer"): sweep.lr_range
                    and [sweep.lr_range.min_lr, sweep.lr_range.max_lr]
                    for sweep in tuner.oracle.sweeps
                },
                "optimizers": [values.get("optimizer") for values in tried],
                "reason": tuner.oracle.sweeps[-1].reason,
                "plotted": len(axes.lines) > 0,
            }
        ),
    )
elif not options.get("stock"):
    for name in ("lr_range", "sweeps", "plot_sweeps", "trials"):
        try:
            getattr(tuner.oracle, name)
        except RuntimeError as error:
            print("SENTENCE", error)
