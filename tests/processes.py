"""Processes of the tests' own that need not import TensorFlow again: forks of a server that has."""

import gc
import multiprocessing
import os
import runpy
import sys

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["keras", "keras_tuner", "lrtuner", "lrtuner.tuners", "lrtuner.plot"])


def start(program, *arguments, output, environment):
    """Start a Python program in a process; return the process.

    Args:
        program: Path of the program.
        *arguments: Its command line, as strings.
        output: Path of the file that gets all that it prints.
        environment: What its environment has beside this process's.
    """
    process = SERVER.Process(target=_run, args=(str(program), arguments, str(output), environment))
    process.start()
    return process


def _run(program, arguments, output, environment):
    # KerasTuner collects garbage at each trial, and what the imports have made is none.
    gc.freeze()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
