"""What lrtuner's oracle and tuners touch of KerasTuner beneath its public names.

Whoever reads a new version of KerasTuner need look at three places: this module; `replace_entry` and
`remove_entry` in `lrtuner.space.entries`; and the methods that `LRRangeOracle` and `Tuner` override under the
names that KerasTuner gives them (`_set_project_dir`, `_populate_initial_space`,
`_configure_tensorboard_dir`).
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner as kt
from keras_tuner.src.backend import io

from lrtuner.results import write_file


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


def is_chief() -> bool:
    """Return whether this process is, or this thread plays, the chief of a distributed search.

    KerasTuner says so in the environment, and its own tests change the environment for single threads. So ask
    while the tuner is made, and keep the answer.
    """
    return is_distributed() and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def is_distributed() -> bool:
    """Return whether this process takes part in a distributed search."""
    return "KERASTUNER_ORACLE_IP" in os.environ


def is_worker(tuner: kt.Tuner) -> bool:
    """Return whether a tuner asks a chief for its trials."""
    return bool(tuner._is_worker())


# --- Files --------------------------------------------------------------------------------------------------


def has_project(oracle: kt.Oracle) -> bool:
    """Return whether a tuner has told the oracle its project directory."""
    return getattr(oracle, "_project_name", None) is not None


def project_directory(oracle: kt.Oracle) -> str:
    """Return the path of an oracle's project directory."""
    # KerasTuner's own property looks for the directory each time, and this is asked for in every call.
    return os.path.join(str(oracle._directory), oracle._project_name)


def check_writable(directory: str) -> None:
    """Raise before any training if a project directory can't be written.

    Raises:
        OSError: It can't be made, or nothing can be made in it.
    """
    # A name of its own, since all processes of a distributed search look at once.
    probe = os.path.join(directory, f".{uuid.uuid4().hex}")
    try:
        io.makedirs(probe)
        io.rmtree(probe)
    except Exception as error:
        # TensorFlow's errors, for a URL such as gs://, are no OSErrors.
        raise OSError(
            f"The project directory {directory!r} can't be written ({error}): pass another `directory` to "
            "the tuner."
        ) from error


def remove_directories(pattern: str) -> None:
    """Remove all directories whose paths fit a pattern."""
    for path in io.glob(pattern):
        io.rmtree(path)


def save_oracle(oracle: kt.Oracle, original: Callable[[], None]) -> None:
    """Write an oracle's state in one step, where its class does not save in a way of its own."""
    if type(oracle).save is kt.Oracle.save:
        write_file(oracle._get_oracle_fname(), json.dumps(oracle.get_state()))
    else:
        original()


def save_trial(oracle: kt.Oracle, original: Callable[[Any], None], trial: Any) -> None:
    """Write a trial's state in one step, where the oracle's class does not save it in a way of its own."""
    if type(oracle)._save_trial is kt.Oracle._save_trial:
        path = os.path.join(oracle._get_trial_dir(trial.trial_id), "trial.json")
        write_file(path, json.dumps(trial.get_state()))
    else:
        original(trial)


def save_tuner(tuner: kt.Tuner) -> None:
    """Write a tuner's state in one step."""
    write_file(tuner._get_tuner_fname(), json.dumps(tuner.get_state()))


def reload(oracle: kt.Oracle) -> None:
    """Load an oracle's state, and its trials as far as it knows of them.

    KerasTuner writes a trial before the oracle. After a kill in between, the oracle would count a trial that
    it has not begun, and repeat one that it has scored.
    """
    oracle.reload()
    for trial_id in set(oracle.trials) - set(oracle.start_order):
        del oracle.trials[trial_id]
    for trial_id in list(oracle._retry_queue):
        if oracle.trials[trial_id].status in ("COMPLETED", "FAILED"):
            oracle._retry_queue.remove(trial_id)
            if trial_id not in oracle.end_order:
                oracle.end_order.append(trial_id)


# --- Proposals ----------------------------------------------------------------------------------------------


def most_collisions(oracle: kt.Oracle) -> int:
    """Return how often an oracle proposes what was tried before it takes the space for exhausted."""
    return int(oracle._max_collisions)


def may_ask_for_another(oracle: kt.Oracle, values: Mapping[str, Any]) -> bool:
    """Return whether a trial had the same values, and the oracle can be asked again for others.

    Only a random search can: Hyperband notes where it has put a proposal, and a Gaussian process would
    propose the same again.
    """
    is_random = isinstance(oracle, kt.oracles.RandomSearchOracle)
    return is_random and oracle._compute_values_hash(values) in oracle._tried_so_far


def repeats_a_failure(oracle: kt.Oracle, values: Mapping[str, Any]) -> bool:
    """Return whether a Bayesian search proposes again, within a percent, the values of a failed trial.

    Its Gaussian process does not learn from failed trials. It would propose the same until the search dies.
    """

    def is_alike(one: Any, other: Any) -> bool:
        if isinstance(one, float) and isinstance(other, float):
            return math.isclose(one, other, rel_tol=0.01)
        return bool(one == other)

    return isinstance(oracle, kt.oracles.BayesianOptimizationOracle) and any(
        all(is_alike(value, trial.hyperparameters.values.get(name)) for name, value in values.items())
        for trial in oracle.trials.values()
        if trial.status in ("FAILED", "INVALID")
    )


def first_values(oracle: kt.Oracle) -> dict[str, Any]:
    """Return the values that the first trial of a search that begins at random will have; else none."""
    if type(oracle).populate_space not in _BEGIN_AT_RANDOM:
        return {}
    kept = oracle._seed_state, set(oracle._tried_so_far)
    values = oracle._random_values()
    oracle._seed_state, oracle._tried_so_far = kept
    return values or {}


_BEGIN_AT_RANDOM = (
    kt.oracles.RandomSearchOracle.populate_space,
    kt.oracles.BayesianOptimizationOracle.populate_space,
    kt.oracles.HyperbandOracle.populate_space,
)


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
    return tuple(str(objective.name) for objective in _objectives(oracle))


def check_objective(oracle: kt.Oracle) -> None:
    """Raise if the direction of an objective is none of KerasTuner's.

    Raises:
        ValueError: It is neither "min" nor "max".
    """
    for objective in _objectives(oracle):
        if objective.direction not in ("min", "max"):
            raise ValueError(
                f"The direction of the objective {objective.name!r} must be 'min' or 'max', got "
                f"{objective.direction!r}: write keras_tuner.Objective({objective.name!r}, 'max'), say."
            )


def _objectives(oracle: kt.Oracle) -> list[Any]:
    return list(getattr(oracle.objective, "objectives", [oracle.objective]))
