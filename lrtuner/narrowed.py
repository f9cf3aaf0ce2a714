"""A narrowed search space for a tuner that is not lrtuner's."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.hypermodel import LRRangeHyperModel
from lrtuner.oracle import LRRangeOracle
from lrtuner.search import messages
from lrtuner.tuners import SWEEP_OPTIONS, Tuner


def narrowed_space(
    hypermodel: Any, *fit_args: Any, directory: str | os.PathLike[str] | None = None, **kwargs: Any
) -> kt.HyperParameters:
    """Sweep as a search would, and return the search space with the learning rate narrowed.

    It is for KerasTuner's own tuners, whose `hyperparameters` argument takes it. The bounds in it hold
    whatever the build function declares for the same name.

    >>> space = lrtuner.narrowed_space(build_model, x, y, batch_size=32, verbose=0)
    >>> tuner = kt.RandomSearch(build_model, objective="val_loss", max_trials=20, hyperparameters=space)

    Where several settings, such as the optimizers of a `Choice`, get a sweep each, their one learning rate is
    narrowed to the smallest range that holds the ranges of all. A warning says so: a stock tuner can't keep a
    trial in the range of its own setting, as lrtuner's tuners do. Learning rates with names of their own,
    such as `adam_lr` and `sgd_lr`, each get their own range. Where a hyperparameter is the batch size, which
    moves the range, the space holds the ranges of all batch sizes.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes `HyperParameters` and returns a
            compiled model.
        *fit_args: Training data, as for `model.fit`.
        directory: String, a project directory to keep the sweeps and their picture in, which `lrtuner.load`
            reads. A second call with it repeats no sweep. By default nothing is kept.
        **kwargs: Options of `LRRangeOracle`, such as `learning_rate` and `steps`, and arguments of
            `model.fit`.

    Returns:
        A `keras_tuner.HyperParameters` with all that the hypermodel declares: the learning rate narrowed, of
        the same kind and name, and everything else as declared. Where the sweep shows no range, the declared
        space, and a warning says why.

    Raises:
        RuntimeError: This process is part of a distributed search, whose workers sweep by themselves.
        TypeError: The hypermodel is wrapped already, or an option is of the wrong type.
        ValueError: No trial could train the model, the learning rate is not found, or an option makes no
            sense.
    """
    if kerastuner.is_distributed():
        raise RuntimeError(
            "narrowed_space sweeps in one process, and this one is part of a distributed search "
            "(KERASTUNER_ORACLE_IP is set): use lrtuner's tuners there, which share the sweep."
        )
    options = {name: kwargs.pop(name) for name in SWEEP_OPTIONS if name in kwargs}
    hypermodel = LRRangeHyperModel(hypermodel)
    oracle = LRRangeOracle(kt.oracles.RandomSearchOracle(max_trials=1), **options)
    # No trial follows that could need a sweep of its own setting.
    oracle._sweeping.schedule.all_come_first = True
    oracle._sweeping.project.keeps_pictures = directory is not None
    if "verbose" in kwargs:
        oracle.verbose = kwargs["verbose"]
    with tempfile.TemporaryDirectory(prefix="lrtuner-") as temporary:
        parent, name = os.path.split(os.path.abspath(temporary if directory is None else directory))
        tuner = Tuner(oracle, hypermodel, directory=parent, project_name=name)
        with tuner._running_sweeps(fit_args, kwargs):
            while (trial := oracle._due_sweep(tuner.tuner_id)) is not None:
                assert oracle.run_sweep is not None
                oracle.run_sweep(trial)
    messages.ranges_are_joined(oracle.sweeps)
    return oracle.get_space()
