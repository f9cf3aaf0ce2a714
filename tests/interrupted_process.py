"""Searches that are killed and begun again.

Run as `python interrupted_process.py '{"directory": ..., "moments": [...]}'`; with `"settings": true` it is a
Hyperband over an optimizer to choose, which has a sweep for each.

A moment is the number of the write in the project directory before which the process kills itself. Every run
is a fork of this process, which has imported everything but trained nothing. Prints a line of JSON for the
undisturbed search, then one for each moment.
"""

import gc
import json
import os
import signal
import sys

import keras
from searches import Trains, build_choice, is_swept, rates, search, tuner

import lrtuner

# KerasTuner collects garbage at each trial, and what the imports have made is none.
gc.freeze()
OPTIONS = json.loads(sys.argv[1])


def search_with_events(directory, kill_before_write=None):
    """Search in a fork; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            run(directory, kill_before_write)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(directory, kill_before_write):
    writes = 0

    def audit(event, arguments):
        nonlocal writes
        is_write = event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove") or (
            event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        )
        if is_write and str(arguments[0]).startswith(os.path.join(directory, "project")):
            writes += 1
            if writes == kill_before_write:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    note = open(os.path.join(directory, "events"), "a", buffering=1)  # noqa: SIM115

    def train(_, model, *args, **kwargs):
        note.write("sweep\n" if is_swept(model) else "trial\n")
        return model.fit(*args, **kwargs)

    keras.utils.set_random_seed(5)
    if OPTIONS.get("settings"):
        noted = lrtuner.Hyperband(
            Trains(lambda hp: build_choice(hp, ["sgd", "adam"]), train),
            objective="val_loss",
            max_epochs=3,
            seed=3,
            steps=60,
            rule="curve_alone",
            directory=directory,
            project_name="project",
        )
    else:
        noted = tuner(directory, Trains(train=train))
    search(noted)
    lr_range, sweeps = noted.oracle.lr_range, noted.oracle.sweeps
    noted.oracle.plot_sweeps()
    result = {
        "writes": writes,
        "lr_range": [lr_range.min_lr, lr_range.max_lr],
        "batches": [len(sweep.curve) for sweep in sweeps],
        "ranges": {sweep.name: [sweep.lr_range.min_lr, sweep.lr_range.max_lr] for sweep in sweeps},
        "names": [
            f"optimizer={trial.hyperparameters.values['optimizer']}"
            if OPTIONS.get("settings")
            else sweeps[0].name
            for _, trial in sorted(noted.oracle.trials.items())
        ],
        "rates": rates(noted),
        "statuses": [trial.status for trial in noted.oracle.trials.values()],
        "files": sorted(os.listdir(noted.project_dir)),
    }
    with open(os.path.join(directory, "result"), "w") as file:
        json.dump(result, file)


def outcome(directory, kill_before_write=None):
    code = search_with_events(directory, kill_before_write)
    events = []
    if os.path.exists(os.path.join(directory, "events")):
        with open(os.path.join(directory, "events")) as file:
            events = file.read().split()
    result = {"code": code, "events": events}
    if code == 0:
        with open(os.path.join(directory, "result")) as file:
            result.update(json.load(file))
    return result


def main():
    def fresh(name):
        path = os.path.join(OPTIONS["directory"], name)
        os.mkdir(path)
        return path

    reference = outcome(fresh("reference"))
    print(json.dumps(reference), flush=True)
    for index, moment in enumerate(OPTIONS["moments"]):
        directory = fresh(f"moment{index}")
        killed = outcome(directory, kill_before_write=moment)
        state = os.path.join(directory, "project", "lr_range.json")
        kept = {}
        if os.path.exists(state):
            with open(state) as file:
                kept = {one["name"]: one["lr_range"] for one in json.load(file)["sweeps"]}
        again = outcome(directory)
        print(json.dumps({"moment": moment, "killed": killed, "kept": kept, "again": again}), flush=True)


main()
