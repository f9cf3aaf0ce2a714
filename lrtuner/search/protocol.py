"""Everything that the oracle and those who run its sweeps say to each other.

All of it is written and read here alone. KerasTuner carries the values of a trial's hyperparameters over each
of its transports, within one process and by gRPC between a chief and its workers, and carries little else. So
every message is one more value, under a reserved key:

| from | to | key | what |
|---|---|---|---|
| oracle | tuner | `lrtuner/sweep` | this trial is a sweep: a `SweepTask` |
| tuner | oracle | `lrtuner/report` or `lrtuner/error` | what came of it: a `SweepAnswer` |
| hypermodel | oracle | `lrtuner/runs_sweeps` | sent with the search space: this tuner will run sweeps |
| worker | chief | `lrtuner/fatal` | an error on the worker that ends the search |
| chief | worker | `lrtuner/fatal` | an error that has ended the search |

Trials whose id begins with `lr_sweep` are lrtuner's own. KerasTuner numbers its trials, so none of them does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import weakref
from collections.abc import Iterator
from typing import Any

import keras_tuner as kt

from lrtuner.search.settings import SettingSpace
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.sweep.report import SweepReport

_NAMESPACE = "lrtuner/"
TASK_KEY = _NAMESPACE + "sweep"
REPORT_KEY = _NAMESPACE + "report"
ERROR_KEY = _NAMESPACE + "error"
RUNNER_KEY = _NAMESPACE + "runs_sweeps"
FATAL_KEY = _NAMESPACE + "fatal"

# The trial of a sweep is called lr_sweep_0, lr_sweep_1 and so on.
SWEEP_PREFIX = "lr_sweep"
_WAITING_ID = SWEEP_PREFIX + "_wait"
# A worker asks for the trial of this id and its own name every few seconds. So the chief knows that the
# worker lives, and the answer brings the worker the error that has ended the search, if one has.
_NEWS_PREFIX = SWEEP_PREFIX + "_news/"

NO_TRAINING = (
    "the tuner ended its trial without training through HyperModel.fit and model.fit: train with "
    "self.hypermodel.fit(hp, model, ...), or call fit on the model that self.hypermodel.build(hp) returns"
)
# Lines of an error that are shown; some libraries print their data in it.
_MOST_LINES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepTask:
    """The order to run a sweep, from the oracle to whoever trains.

    Attributes:
        min_lr: First learning rate of the ramp.
        max_lr: Last learning rate of the ramp.
        steps: Batches in the sweep, or None for the default.
        learning_rate: Name of the hyperparameter to sweep, or None where the training code will declare it.
        learning_rates: Names of all learning rates where the user named several, otherwise empty. The search
            space may lack some, which only a branch of the build function declares.
        others_count: Whether the learning rates that other branches declare are to be swept, too; not where
            the user named one.
        settings: The hyperparameters that move the range, or None where this sweep is to find them.
        is_first: Whether this is the search's first sweep, which looks at what each setting declares.
        scales: Whether to look for the hyperparameter that is the batch size.
        number: Which sweep of the search this is, counted from 1.
        epochs: Epochs in one full training where the oracle sets them, as Hyperband does.
        objective_is_named: Whether the search has an objective. Without one, KerasTuner takes nothing but a
            number for the result of a training.
        objectives: Names of the metrics that the search looks at.
        may_fall_back: Whether the sweep is run once more, at the default values, should it fail.
    """

    min_lr: float
    max_lr: float
    steps: int | None
    learning_rate: str | None
    learning_rates: tuple[str, ...]
    others_count: bool
    settings: SettingSpace | None
    is_first: bool
    scales: bool
    number: int
    epochs: int | None
    objective_is_named: bool
    objectives: tuple[str, ...] = ()
    may_fall_back: bool = False

    def write_to(self, hyperparameters: kt.HyperParameters) -> None:
        """Make a sweep of the trial that will have these hyperparameters."""
        settings = None if self.settings is None else self.settings.to_config()
        hyperparameters.values[TASK_KEY] = json.dumps({**vars(self), "settings": settings})

    @classmethod
    def of(cls, hyperparameters: kt.HyperParameters) -> SweepTask | None:
        """Return the order among a trial's hyperparameters, or None where the trial is no sweep."""
        if not is_sweep(hyperparameters):
            return None
        config = json.loads(hyperparameters.values[TASK_KEY])
        settings = config["settings"]
        config["settings"] = None if settings is None else SettingSpace.from_config(settings)
        for name in ("learning_rates", "objectives"):
            config[name] = tuple(config[name])
        return cls(**config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepAnswer:
    """What came of a sweep, from whoever has trained to the oracle.

    Attributes:
        report: The sweep's curve and what is known of the training, or None where the sweep failed.
        relation: How the hyperparameter's values turn into learning rates.
        settings: The hyperparameters that move the range, or None where the sweep failed.
        learning_rate: Name of the hyperparameter that was swept, or None where the sweep failed.
        error: Why there is no report, in words, or None where there is one.
    """

    report: SweepReport | None = None
    relation: Relation = IDENTITY
    settings: SettingSpace | None = None
    learning_rate: str | None = None
    error: str | None = None

    @property
    def learning_rates(self) -> tuple[str, ...]:
        """The learning rates that the sweep has found, the one that was swept first."""
        branches = () if self.settings is None else self.settings.learning_rates
        swept = () if self.learning_rate is None else (self.learning_rate,)
        return tuple(dict.fromkeys((*swept, *branches)))

    def write_to(self, hyperparameters: kt.HyperParameters) -> None:
        """Put the answer among the hyperparameters of the sweep's trial."""
        if self.report is None or self.settings is None:
            hyperparameters.values[ERROR_KEY] = self.error
            return
        config = {
            **self.report.to_config(),
            "relation": self.relation.to_config(),
            "settings": self.settings.to_config(),
            "learning_rate": self.learning_rate,
        }
        hyperparameters.values[REPORT_KEY] = json.dumps(config, allow_nan=False)

    @classmethod
    def of(cls, trial: Any) -> SweepAnswer:
        """Return the answer of a sweep's trial that has ended; a report that can't be read is an error."""
        values = trial.hyperparameters.values
        if REPORT_KEY not in values:
            return cls(error=values.get(ERROR_KEY) or _error_in(trial.message) or NO_TRAINING)
        try:
            config = json.loads(values[REPORT_KEY])
            relation = Relation.from_config(config.pop("relation"))
            settings = SettingSpace.from_config(config.pop("settings"))
            learning_rate = config.pop("learning_rate")
            report = SweepReport.from_config(config)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return cls(error=f"the sweep's report can't be read: {type(error).__name__}: {error}")
        return cls(report=report, relation=relation, settings=settings, learning_rate=learning_rate)


def is_sweep(hyperparameters: kt.HyperParameters) -> bool:
    """Return whether the trial of these hyperparameters is a sweep."""
    return TASK_KEY in hyperparameters.values


def is_swept(hyperparameters: kt.HyperParameters) -> bool:
    """Return whether the sweep of these hyperparameters has a report already."""
    return REPORT_KEY in hyperparameters.values


def error_text(error: BaseException) -> str:
    """Return an error in words: its class and its message, which is cut where it is long."""
    return _shortened(f"{type(error).__name__}: {error}")


def _error_in(message: str | None) -> str:
    """Return the error that a trial's message tells of: of a traceback, what follows its last frame."""
    lines = (message or "").strip().splitlines()
    frames = [index for index, line in enumerate(lines) if line.startswith(("Traceback", '  File "'))]
    if frames:
        # A frame's lines are indented, the error is not; what follows its first line may be either.
        rest = lines[frames[-1] + 1 :]
        lines = rest[next((index for index, line in enumerate(rest) if line[:1].strip()), 0) :]
    return _shortened("\n".join(lines))


def _shortened(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], "..."])


def without_reserved(hyperparameters: kt.HyperParameters) -> kt.HyperParameters:
    """Return a copy of hyperparameters without lrtuner's own values."""
    hyperparameters = hyperparameters.copy()
    for key in reserved_values(hyperparameters):
        del hyperparameters.values[key]
    return hyperparameters


@contextlib.contextmanager
def reserved_set_aside(hyperparameters: kt.HyperParameters) -> Iterator[None]:
    """Take lrtuner's own values out of hyperparameters while the user's code has them."""
    reserved = reserved_values(hyperparameters)
    for key in reserved:
        del hyperparameters.values[key]
    try:
        yield
    finally:
        hyperparameters.values.update(reserved)


def reserved_values(hyperparameters: kt.HyperParameters) -> dict[str, Any]:
    """Return lrtuner's own values among those of hyperparameters."""
    return {key: value for key, value in hyperparameters.values.items() if key.startswith(_NAMESPACE)}


# --- Trials of lrtuner's own --------------------------------------------------------------------------------


def is_own_trial(trial_id: str | None) -> bool:
    """Return whether a trial of that id is lrtuner's own: a sweep, or a message."""
    return trial_id is not None and trial_id.startswith(SWEEP_PREFIX)


def waiting_trial() -> Any:
    """Return the trial for a tuner that has to ask again, since a sweep is under way elsewhere."""
    return _own_trial(_WAITING_ID, "IDLE")


def news_trial(trial_id: str, error: str | None) -> Any:
    """Return the trial that tells a worker whether the search goes on.

    Args:
        trial_id: The id that was asked for.
        error: The error that has ended the search, or None.
    """
    trial = _own_trial(trial_id, "RUNNING" if error is None else "STOPPED")
    if error is not None:
        trial.hyperparameters.values[FATAL_KEY] = error
    return trial


def fatal_trial(error: str) -> Any:
    """Return the trial whose end tells the chief that an error on a worker ends the search."""
    trial = _own_trial(news_id(), "FAILED")
    trial.hyperparameters.values[FATAL_KEY] = error
    return trial


def fatal_error(trial: Any) -> str | None:
    """Return the error that ends the search, if a trial brings one."""
    error = trial.hyperparameters.values.get(FATAL_KEY)
    return None if error is None else str(error)


def news_id(tuner_id: str = "") -> str:
    """Return the id of the trial by which a worker asks whether the search goes on."""
    return _NEWS_PREFIX + tuner_id


def asks_for_news(trial_id: str) -> str | None:
    """Return the name of the worker who asks for news under this id; None if it is no such id."""
    return trial_id.removeprefix(_NEWS_PREFIX) if trial_id.startswith(_NEWS_PREFIX) else None


def _own_trial(trial_id: str, status: str) -> Any:
    return kt.engine.trial.Trial(kt.HyperParameters(), trial_id=trial_id, status=status)


# --- Who runs sweeps ----------------------------------------------------------------------------------------

# A tuner that goes on with an old project never collects its search space, so nothing announces to the oracle
# that sweeps will be run. But a tuner of KerasTuner's own runs them only by way of such a hypermodel, which
# was made before it, in the same process.
_hypermodels: weakref.WeakSet[Any] = weakref.WeakSet()


def register_runner(hypermodel: Any) -> None:
    """Note that a hypermodel of this process runs sweeps."""
    _hypermodels.add(hypermodel)


def a_runner_exists() -> bool:
    """Return whether any hypermodel of this process runs sweeps."""
    return len(_hypermodels) > 0


def announce_runner(hyperparameters: kt.HyperParameters) -> None:
    """Say, among the hyperparameters that a tuner collects, that its sweeps will be run."""
    hyperparameters.values[RUNNER_KEY] = True


def announces_runner(hyperparameters: kt.HyperParameters) -> bool:
    """Return whether the tuner that has collected these hyperparameters runs sweeps."""
    return RUNNER_KEY in hyperparameters.values
