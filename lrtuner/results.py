"""What a search has found: its sweeps, its trials, and the files of its project that tell of them.

Keras and KerasTuner, which take seconds to load, are imported where a function needs them: a project is read
without them.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import glob
import json
import math
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lrtuner import messages
from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange
from lrtuner.curve.rules import batch_size_shift, next_range
from lrtuner.search.codec import decode, encode
from lrtuner.search.settings import Setting, SettingSpace, setting_key
from lrtuner.space.relation import IDENTITY, Relation

# What lrtuner remembers of a search, in its project directory.
STATE_FILE = "lr_range.json"
STATE_VERSION = 1
# The sweeps, with the trials.
PICTURE_FILE = "lr_sweeps.png"
# The trials alone; drawn when somebody looks at a search afterwards.
TRIALS_PICTURE_FILE = "lr_search.png"
# The name of a sweep that nothing sets apart from others.
ALONE = "learning-rate sweep"


@dataclasses.dataclass(repr=False)
class Sweep:
    """One learning-rate sweep of a search, as `oracle.sweeps` lists them.

    >>> for sweep in lrtuner.LRRangeOracle(objective="val_loss", max_trials=20).sweeps:
    ...     print(sweep.name, sweep.lr_range or sweep.reason)

    Attributes:
        name: What sets this sweep apart from the others.
        hyperparameters: The `keras_tuner.HyperParameters` that the swept model was built with.
        curve: The recorded `LRCurve`, or `None` if nothing was recorded.
        lr_range: The `LRRange` read off the curve, or `None` if there is none.
        reason: Why there is no range or why it was not used, in words; `None` if all went well.
        declared: The lowest and the highest learning rate that the user declared; `None` before it is known.
        narrowed: The lowest and the highest learning rate that are left of them; `None` without a range.
        outcome: What the search does now, in words; None where there is no range, and `reason` says why.
        relation: How the hyperparameter's values turn into learning rates; `IDENTITY` if they are the rates.
        learning_rate: Name of the hyperparameter that was swept.
        setting: The values that set this sweep apart; empty if one sweep serves the whole search.
        batch_size: Rows in the largest batch of the sweep, or `None` if they can't be told.
    """

    name: str
    hyperparameters: Any
    curve: LRCurve | None = None
    lr_range: LRRange | None = None
    reason: str | None = None
    declared: tuple[float, float] | None = None
    narrowed: tuple[float, float] | None = None
    outcome: str | None = None
    relation: Relation = IDENTITY
    learning_rate: str = ""
    setting: Setting = dataclasses.field(default_factory=dict)
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.hyperparameters, dict):
            # As a file holds them. They are built when somebody asks for them.
            self._config = vars(self).pop("hyperparameters")

    def __getattr__(self, name: str) -> Any:
        if name != "hyperparameters" or "_config" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        import keras_tuner as kt

        # KerasTuner changes the config of conditional hyperparameters while it reads it.
        self.hyperparameters = kt.HyperParameters.from_config(copy.deepcopy(self._config))
        return self.hyperparameters

    @property
    def caveat(self) -> str:
        """What to know before trusting the range, as one clause; empty where there is nothing to say."""
        evidence = None if self.lr_range is None else self.lr_range.evidence
        return "" if evidence is None else evidence.caveat

    def __repr__(self) -> str:
        batches = "no curve" if self.curve is None else f"{len(self.curve)} batches"
        found = f"no range: {self.reason}" if self.lr_range is None else repr(self.lr_range)
        return f"Sweep({self.name!r}, {batches}, {found})"

    def _repr_png_(self) -> bytes:
        from lrtuner.plot import plot_sweeps, png

        return png(lambda ax: plot_sweeps([self], ax=ax))


@dataclasses.dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended with a score.

    Attributes:
        trial_id: KerasTuner's id of it.
        hyperparameters: Its values, by name.
        score: Its objective.
    """

    trial_id: str
    hyperparameters: Mapping[str, Any]
    score: float


class Advice(NamedTuple):
    """Where to search next.

    Attributes:
        searched: The learning rates that were searched.
        better: Those to search next.
    """

    searched: LRRange
    better: LRRange


@dataclasses.dataclass(kw_only=True, repr=False)
class SearchResults:
    """What a search has found: its sweeps and its finished trials. `lrtuner.load` returns it.

    Attributes:
        project: Name of the project, or `None` before a tuner has one.
        sweeps: List of `Sweep`, finished ones only. Each has its `curve`, its `lr_range` or the `reason` why
            it has none, its `setting`, and the learning rates that were `declared` and those `narrowed` to.
        trials: The finished trials, the best first where the direction is known. Each has a `trial_id`, its
            `hyperparameters` by name, and a `score`.
        objective: Name of what the scores are, or `None` where it is unknown.
        direction: "min" or "max" where lower or higher scores are better, `None` where it is unknown.
        learning_rates: Names of the hyperparameters that are learning rates.
        settings: Which hyperparameters move the range.
    """

    project: str | None
    sweeps: list[Sweep]
    trials: list[FinishedTrial]
    objective: str | None
    direction: str | None
    learning_rates: Sequence[str]
    settings: SettingSpace

    def __post_init__(self) -> None:
        if self.direction is not None:
            sign = -1.0 if self.direction == "max" else 1.0
            self.trials = sorted(
                self.trials,
                key=lambda trial: sign * trial.score if math.isfinite(trial.score) else math.inf,
            )

    @property
    def lr_range(self) -> LRRange | None:
        """The learning-rate range that the sweep found, or `None` where there is none.

        Of several sweeps the smallest range that holds all of theirs. Where they are of several
        hyperparameters, such as `adam_lr` and `sgd_lr`, there is no such range: see `sweeps` for each.
        """
        found = [sweep for sweep in self.sweeps if sweep.lr_range is not None]
        ranges = [sweep.lr_range for sweep in found if sweep.lr_range is not None]
        if len(ranges) == 1 or len({sweep.learning_rate for sweep in found}) != 1:
            return ranges[0] if len(ranges) == 1 else None
        return LRRange(min(one.min_lr for one in ranges), max(one.max_lr for one in ranges))

    def __repr__(self) -> str:
        end = ")" if self.lr_range is None else f", {self.lr_range!r})"
        return f"SearchResults({self.project!r}, sweeps: {len(self.sweeps)}, trials: {len(self.trials)}{end}"

    def _repr_html_(self) -> str | None:
        from lrtuner.plot import sweeps_as_html

        return sweeps_as_html(self.sweeps, self.plot_sweeps) if self.sweeps else None

    # --- The trials of a sweep ------------------------------------------------------------------------------

    def trials_of(self, sweep: Sweep) -> list[FinishedTrial]:
        """Return the finished trials that a sweep's range was for."""
        setting = setting_key(sweep.setting)
        return [
            trial
            for trial in self.trials
            if sweep.learning_rate in trial.hyperparameters
            and setting_key(self.settings.setting_of(trial.hyperparameters)) == setting
        ]

    def scored_rates(self, sweep: Sweep) -> list[tuple[float, float]]:
        """Return the learning rate and the score of each finished trial of a sweep's setting."""
        return [
            (sweep.relation.rate(trial.hyperparameters[sweep.learning_rate]), float(trial.score))
            for trial in self.trials_of(sweep)
        ]

    def advice(self, sweep: Sweep) -> Advice | None:
        """Return where to search next, if a sweep's best trials lie at an edge of what was searched.

        Where ranges move with the batch size, each trial's rate counts as what it would be at the sweep's.

        Args:
            sweep: One of `sweeps`.

        Returns:
            What was searched and what to search next, or None if this was right or too few trials have
            finished to tell.
        """
        trials = self.scored_rates(sweep)
        low, high = sweep.narrowed or (0.0, 0.0)
        if not trials or self.direction is None or not 0 < low < high:
            return None
        rates, scores = zip(*trials, strict=True)
        sizes = [trial.hyperparameters.get(self.settings.batch_size or "") for trial in self.trials_of(sweep)]
        if sweep.batch_size is not None:
            shifts = [0.0 if size is None else batch_size_shift(size, sweep.batch_size) for size in sizes]
            rates = tuple(rate / 10.0**shift for rate, shift in zip(rates, shifts, strict=True))
        searched = LRRange(low, high)
        better = next_range(rates, scores, searched, maximize=self.direction == "max")
        return None if better is None else Advice(searched, better)

    # --- Pictures -------------------------------------------------------------------------------------------

    def plot_sweeps(self, ax: Any = None) -> Any:
        """Draw the sweeps and the trials: see `LRRangeOracle.plot_sweeps` for result and errors."""
        from lrtuner.plot import plot_sweeps

        if not self.sweeps:
            raise RuntimeError(
                "No sweep has finished yet: call plot_sweeps after tuner.search(...) has begun."
            )
        return plot_sweeps(self.sweeps, trials=self._trials(), ax=ax, **self._about())

    def plot_search(self, ax: Any = None) -> Any:
        """Draw the trials over their rates: see `LRRangeOracle.plot_search` for result and errors."""
        from lrtuner.plot import plot_search

        if not any(self._trials()):
            raise RuntimeError(
                "No trial with a sweep has finished yet: call plot_search after tuner.search(...)."
            )
        return plot_search(self.sweeps, self._trials(), ax=ax, **self._about())

    def _trials(self) -> list[list[tuple[float, float]]]:
        return [self.scored_rates(sweep) for sweep in self.sweeps]

    def _about(self) -> dict[str, Any]:
        return {"project": self.project, "objective": self.objective, "direction": self.direction}


# --- Files --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class SearchRecord:
    """What a search must find again when it goes on in a new process.

    Attributes:
        search_may_begin: Whether the search needs no sweep before its next trial.
        learning_rates: Names of the learning rates.
        declarations: How each is declared, by name, as KerasTuner serializes hyperparameters.
        narrowed_to: The same of the narrowed learning rates.
        setting_space: The hyperparameters that move the range; None before the first sweep has found them.
        sweeps: The finished sweeps.
        objective: Name of the search's objective.
        direction: "min" or "max" where lower or higher values of it are better; None if it is unknown.
        version: Of the file's format.
    """

    search_may_begin: bool
    learning_rates: list[str]
    declarations: dict[str, Any]
    narrowed_to: dict[str, Any]
    setting_space: SettingSpace | None
    sweeps: list[Sweep]
    objective: str
    direction: str | None
    version: int = STATE_VERSION

    def write(self, path: str) -> None:
        """Write the record to a file."""
        write_file(path, json.dumps(encode(self), allow_nan=False, indent=1))

    @classmethod
    def read(cls, path: str) -> SearchRecord:
        """Read the file that `write` wrote.

        Raises:
            ValueError: The file is of another version, or damaged.
        """
        try:
            config = json.loads(read_file(path))
            if config["version"] != STATE_VERSION:
                raise ValueError("it was written by another version of lrtuner")
            return decode(cls, config)  # type: ignore[no-any-return]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"The file {path!r} can't be read ({type(error).__name__}: {error}). Put it back from a "
                "copy, or begin afresh with overwrite=True or a new project_name."
            ) from error


def files_at(path: str) -> Any:
    """Return functions that open, find, list and replace files: Python's, or TensorFlow's for a URL."""
    names = ("open", "exists", "glob", "replace", "makedirs")
    if "://" not in path:
        makedirs = functools.partial(os.makedirs, exist_ok=True)
        own: tuple[Any, ...] = (open, os.path.exists, glob.glob, os.replace, makedirs)
        return types.SimpleNamespace(**dict(zip(names, own, strict=True)))
    from tensorflow.io import gfile

    replace = functools.partial(gfile.rename, overwrite=True)
    own = (gfile.GFile, gfile.exists, gfile.glob, replace, gfile.makedirs)
    return types.SimpleNamespace(**dict(zip(names, own, strict=True)))


def read_file(path: str) -> bytes:
    """Return the content of a file, which may be a URL that TensorFlow can read."""
    with files_at(path).open(path, "rb") as file:
        return bytes(file.read())


def write_file(path: str, content: str | bytes) -> None:
    """Write a file in one step, so that a kill leaves the old one or the new one."""
    temporary = f"{path}.tmp"
    # KerasTuner deletes the whole directory where a search is to overwrite an earlier one.
    files_at(path).makedirs(os.path.dirname(path))
    with files_at(path).open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    files_at(path).replace(temporary, path)


def load(directory: str | os.PathLike[str]) -> SearchResults:
    """Read what a search has found from its project directory.

    It needs none of the code that ran the search, and loads neither Keras nor KerasTuner, but for a URL. The
    search may be over, broken off or still running, but past its first sweep.

    >>> tuner = lrtuner.RandomSearch(
    ...     build_model, "val_loss", max_trials=2, directory="my_dir", project_name="my_project"
    ... )
    >>> tuner.search(x, y, validation_split=0.2, verbose=0)
    >>> results = lrtuner.load("my_dir/my_project")
    >>> results.sweeps[0].declared
    (1e-06, 10.0)
    >>> results.trials[0].score <= results.trials[1].score
    True
    >>> axes = results.plot_sweeps()

    Args:
        directory: The tuner's `directory` and `project_name`, as one path: "my_dir/my_project".

    Returns:
        The `SearchResults`: the sweeps, the finished trials, best first, and the objective. `hyperparameters`
        of a sweep, a `keras_tuner.HyperParameters`, are built when first asked for, which loads KerasTuner.

    Raises:
        FileNotFoundError: There is no such directory.
        ValueError: It is no project, the search ended no sweep, or the sweeps' file is damaged or of another
            version. A damaged file of a trial is left out with a warning.
    """
    project = os.fspath(directory)
    files, path = files_at(project), os.path.join(project, STATE_FILE)
    if not files.exists(project):
        raise FileNotFoundError(
            f"There is no directory {project!r}, seen from {os.getcwd()!r}: pass the tuner's directory and "
            "project_name as one path."
        )
    record = SearchRecord.read(path) if files.exists(path) else None
    if record is None or not record.sweeps:
        below = files.glob(os.path.join(glob.escape(project), "*", STATE_FILE))
        others = " or ".join(repr(os.path.dirname(one)) for one in sorted(below))
        raise ValueError(
            f"There is no finished sweep in {project!r}: "
            + (
                f"pass {others}."
                if others
                else "its search ran without lrtuner or is in its first sweep, or it is no project. Pass the "
                "tuner's directory and project_name as one path."
            )
        )
    return SearchResults(
        project=os.path.basename(os.path.abspath(project)),
        sweeps=record.sweeps,
        trials=_finished_trials(files, project),
        objective=record.objective,
        direction=record.direction,
        learning_rates=record.learning_rates,
        settings=record.setting_space or SettingSpace(),
    )


def _finished_trials(files: Any, project: str) -> list[FinishedTrial]:
    """Return the trials that have ended with a score, in KerasTuner's order."""
    found: list[FinishedTrial] = []
    for path in sorted(files.glob(os.path.join(glob.escape(project), "trial_*", "trial.json"))):
        try:
            state = json.loads(read_file(path))
            if state["status"] == "COMPLETED" and state["score"] is not None:
                values = dict(state["hyperparameters"]["values"])
                found.append(FinishedTrial(str(state["trial_id"]), values, float(state["score"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            messages.warn(
                f"KerasTuner's file {path!r} is damaged or half written ({error!r}): its trial is left out."
            )
    return found
