"""What lrtuner's oracle and tuners touch of KerasTuner beneath its public names.

Whoever reads a new version of KerasTuner need look at three places: this module; `replace_entry` and
`remove_entry` in `lrtuner.space.entries`; and the methods that `LRRangeOracle` and `Tuner` override under the
names that KerasTuner gives them (`_set_project_dir`, `_populate_initial_space`).
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner as kt

# Methods that KerasTuner's oracles call on themselves.
POPULATE_SPACE = "populate_space"
SAVE = "save"
SAVE_TRIAL = "_save_trial"
NEXT_COMBINATION = "_get_next_combination"

# The name of the objective that KerasTuner puts in the place of none.
_NO_OBJECTIVE = "default_objective"


def intercept(oracle: kt.Oracle, name: str, around: Callable[..., Any]) -> None:
    """Make every call of an oracle's method, its own calls included, go through a function.

    KerasTuner's oracles propose and save themselves from inside of their own calls and offer no hook there,
    so an attribute of the instance is the only place to stand.

    Args:
        oracle: The oracle.
        name: The method's name.
        around: Called in its place, as `around(original, *arguments)`.

    Raises:
        TypeError: The method is intercepted already.
    """
    original = getattr(oracle, name)
    if hasattr(original, "is_intercepted"):
        raise TypeError(
            f"This {type(oracle).__name__} is wrapped in an LRRangeOracle already, which changes how it "
            "proposes and saves: use that LRRangeOracle, or make a new oracle to wrap."
        )

    def intercepted(*arguments: Any, **keywords: Any) -> Any:
        return around(original, *arguments, **keywords)

    intercepted.is_intercepted = True  # type: ignore[attr-defined]
    setattr(oracle, name, intercepted)


def is_own_way(original: Any, name: str) -> bool:
    """Return whether a class of the user's overrides a method of `keras_tuner.Oracle`.

    Args:
        original: The bound method.
        name: Its name.
    """
    return getattr(original, "__func__", None) is not getattr(kt.Oracle, name)


def is_chief() -> bool:
    """Return whether this process is, or this thread plays, the chief of a distributed search.

    KerasTuner says so in the environment, and its own tests change the environment for single threads. So ask
    while the tuner is made, and keep the answer.
    """
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def is_distributed() -> bool:
    """Return whether this process takes part in a distributed search."""
    return "KERASTUNER_ORACLE_IP" in os.environ


def is_worker(tuner: kt.Tuner) -> bool:
    """Return whether a tuner asks a chief for its trials."""
    return bool(tuner._is_worker())


def tuner_file(tuner: kt.Tuner) -> str:
    """Return the path of the file that KerasTuner keeps for a tuner."""
    return str(tuner._get_tuner_fname())


def set_project(oracle: kt.Oracle, directory: Any, project_name: str) -> None:
    """Tell an oracle its project directory."""
    oracle._set_project_dir(directory, project_name)


def has_project(oracle: kt.Oracle) -> bool:
    """Return whether a tuner has told the oracle its project directory."""
    return getattr(oracle, "_project_name", None) is not None


def project_directory(oracle: kt.Oracle) -> str:
    """Return the path of an oracle's project directory."""
    # KerasTuner's own property looks for the directory each time, and this is asked for in every call.
    return os.path.join(str(oracle._directory), oracle._project_name)


def retry_queue(oracle: kt.Oracle) -> list[str]:
    """Return the ids of the trials that an oracle will run again."""
    return list(oracle._retry_queue)


def set_retry_queue(oracle: kt.Oracle, trial_ids: list[str]) -> None:
    """Say which trials an oracle will run again."""
    oracle._retry_queue = trial_ids


def most_collisions(oracle: kt.Oracle) -> int:
    """Return how often an oracle proposes what was tried before it takes the space for exhausted."""
    return int(oracle._max_collisions)


def was_tried(oracle: kt.Oracle, values: Mapping[str, Any]) -> bool:
    """Return whether a trial of the oracle has had the same values."""
    return oracle._compute_values_hash(values) in oracle._tried_so_far


def repeats_a_failure(oracle: kt.Oracle, values: Mapping[str, Any]) -> bool:
    """Return whether a Bayesian search proposes again, within a percent, the values of a failed trial.

    Its Gaussian process does not learn from failed trials. It would propose the same until the search dies.
    """
    if not isinstance(oracle, kt.oracles.BayesianOptimizationOracle):
        return False
    failed = [trial for trial in oracle.trials.values() if trial.status in ("FAILED", "INVALID")]
    return any(
        all(_is_alike(value, trial.hyperparameters.values.get(name)) for name, value in values.items())
        for trial in failed
    )


def _is_alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.01)
    return bool(one == other)


def first_proposal(oracle: kt.Oracle) -> dict[str, Any]:
    """Return the values that an oracle would now propose for its first trial, and leave the oracle as it is.

    Empty for a class that is not KerasTuner's: whether its whole state can be put back is not known.
    """
    searches_at_random = (
        kt.oracles.RandomSearchOracle,
        kt.oracles.BayesianOptimizationOracle,
        kt.oracles.HyperbandOracle,
    )
    if type(oracle) not in searches_at_random:
        return {}
    state = copy.deepcopy(oracle.get_state())
    # `set_state` makes new ones of these. The user may hold the space, or have set a Gaussian process.
    kept = {name: value for name, value in vars(oracle).items() if name in ("hyperparameters", "gpr")}
    try:
        response = type(oracle).populate_space(oracle, "0")
    finally:
        oracle.set_state(state)
        vars(oracle).update(kept)
    return dict(response.get("values") or {})


def random_proposal(oracle: kt.oracles.BayesianOptimizationOracle) -> dict[str, Any]:
    """Return what the oracle proposes before it has enough trials to learn from."""
    return dict(oracle._random_populate_space())


def combinations_asked(oracle: kt.Oracle) -> int | None:
    """Return how many different trials an oracle is to begin, a Hyperband for its first bracket.

    None for a grid, which ends when it is through, and where there is no limit.
    """
    if isinstance(oracle, kt.oracles.GridSearchOracle):
        return None
    if isinstance(oracle, kt.oracles.HyperbandOracle):
        return int(oracle._get_size(oracle._get_num_brackets() - 1, 0))
    return None if oracle.max_trials is None else int(oracle.max_trials)


def objective_names(oracle: kt.Oracle) -> tuple[str, ...]:
    """Return the names of the metrics that an oracle looks at."""
    several = getattr(oracle.objective, "objectives", [oracle.objective])
    return tuple(str(objective.name) for objective in several)


def tensorboard_hparams(space: kt.HyperParameters) -> list[Any]:
    """Return the hyperparameters of a space as TensorBoard's, as KerasTuner writes them for each trial.

    Args:
        space: The space; inactive hyperparameters are returned, too.
    """
    from keras_tuner.src.engine import tuner_utils
    from tensorboard.plugins.hparams import api

    found: list[Any] = []
    for entry in space.space:
        alone = kt.HyperParameters()
        alone.merge([type(entry).from_config({**entry.get_config(), "conditions": []})])
        found += tuner_utils.convert_hyperparams_to_hparams(alone, api)
    return found


def has_objective(oracle: kt.Oracle) -> bool:
    """Return whether the user gave the search an objective."""
    return bool(oracle.objective.name != _NO_OBJECTIVE)
