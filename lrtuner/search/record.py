"""What a search remembers of its sweeps, and how that is written so that damage is noticed.

KerasTuner, which takes seconds to load, is imported where a function needs it: a record is read without it.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import LRRange
from lrtuner.notebook import nothing_if_it_fails, picture, plain_if_it_fails
from lrtuner.search.settings import Setting, SettingSpace
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.values import check_keys

if TYPE_CHECKING:
    import keras_tuner as kt

STATE_VERSION = 1

# KerasTuner's hyperparameters.
_KINDS = {"Boolean", "Choice", "Fixed", "Float", "Int"}
# The name of a sweep that nothing sets apart from others.
ALONE = "learning-rate sweep"


@dataclasses.dataclass
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
    hyperparameters: kt.HyperParameters = dataclasses.field(repr=False)
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

    @property
    def caveat(self) -> str:
        """What to know before trusting the range, as one clause; empty where there is nothing to say."""
        evidence = None if self.lr_range is None else self.lr_range.evidence
        return "" if evidence is None else evidence.caveat

    @plain_if_it_fails
    def __repr__(self) -> str:
        batches = "no curve" if self.curve is None else f"{len(self.curve)} batches"
        found = f"no range: {self.reason}" if self.lr_range is None else repr(self.lr_range)
        return f"Sweep({self.name!r}, {batches}, {found})"

    @nothing_if_it_fails
    def _repr_png_(self) -> bytes | None:
        from lrtuner.plot import plot_sweeps

        return picture(lambda ax: plot_sweeps([self], ax=ax))

    def __getattr__(self, name: str) -> Any:
        # Those of a sweep that was read from a file are built when somebody asks for them.
        config = vars(self).get("_hyperparameters_config")
        if name != "hyperparameters" or config is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        import keras_tuner as kt

        # KerasTuner changes the config of conditional hyperparameters while it reads it.
        self.hyperparameters = kt.HyperParameters.from_config(copy.deepcopy(config))
        return self.hyperparameters

    def to_config(self) -> dict[str, Any]:
        """Return the sweep as a dict for JSON."""
        built = vars(self).get("hyperparameters")
        return {
            "name": self.name,
            "hyperparameters": self._hyperparameters_config if built is None else built.get_config(),
            "curve": None if self.curve is None else self.curve.to_config(),
            "lr_range": None if self.lr_range is None else self.lr_range.to_config(),
            "reason": self.reason,
            "declared": None if self.declared is None else list(self.declared),
            "narrowed": None if self.narrowed is None else list(self.narrowed),
            "outcome": self.outcome,
            "relation": self.relation.to_config(),
            "learning_rate": self.learning_rate,
            "setting": self.setting,
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sweep:
        """Build the sweep that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {field.name for field in dataclasses.fields(cls)}, cls.__name__)
        hyperparameters = config["hyperparameters"]
        kinds = {entry["class_name"] for entry in hyperparameters["space"]}
        if not kinds <= _KINDS:
            raise ValueError(f"There are no hyperparameters of the kinds {sorted(kinds - _KINDS)}.")
        sweep = cls(
            name=config["name"],
            hyperparameters=hyperparameters,
            curve=None if config["curve"] is None else LRCurve.from_config(config["curve"]),
            lr_range=None if config["lr_range"] is None else LRRange.from_config(config["lr_range"]),
            reason=config["reason"],
            declared=_bounds(config["declared"]),
            narrowed=_bounds(config["narrowed"]),
            outcome=config["outcome"],
            relation=Relation.from_config(config["relation"]),
            learning_rate=config["learning_rate"],
            setting=dict(config["setting"]),
            batch_size=config["batch_size"],
        )
        del sweep.hyperparameters
        vars(sweep)["_hyperparameters_config"] = hyperparameters
        return sweep


def _bounds(config: Any) -> tuple[float, float] | None:
    return None if config is None else (float(config[0]), float(config[1]))


@dataclasses.dataclass(kw_only=True)
class SearchRecord:
    """What a search must find again when it goes on in a new process.

    Attributes:
        search_may_begin: Whether the search needs no sweep before its next trial.
        options: The options of the sweeps, see `SweepOptions.to_config`.
        declarations: How each learning rate is declared, by name, see `Declaration.to_config`.
        narrowed_to: The same of the narrowed learning rates.
        setting_space: The hyperparameters that move the range; None before the first sweep has found them.
        sweeps: The finished sweeps.
        objective: Name of the search's objective.
        direction: "min" or "max" where lower or higher values of it are better; None if it is unknown.
    """

    search_may_begin: bool
    options: dict[str, Any]
    declarations: dict[str, Any]
    narrowed_to: dict[str, Any]
    setting_space: SettingSpace | None
    sweeps: list[Sweep]
    objective: str
    direction: str | None

    def to_config(self) -> dict[str, Any]:
        """Return the record as a dict for JSON."""
        return {
            "search_may_begin": self.search_may_begin,
            "options": self.options,
            "declarations": self.declarations,
            "narrowed_to": self.narrowed_to,
            "setting_space": None if self.setting_space is None else self.setting_space.to_config(),
            "sweeps": [sweep.to_config() for sweep in self.sweeps],
            "objective": self.objective,
            "direction": self.direction,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SearchRecord:
        """Build the record that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {field.name for field in dataclasses.fields(cls)}, cls.__name__)
        setting_space = config["setting_space"]
        return cls(
            search_may_begin=config["search_may_begin"],
            options=config["options"],
            declarations=config["declarations"],
            narrowed_to=config["narrowed_to"],
            setting_space=None if setting_space is None else SettingSpace.from_config(setting_space),
            sweeps=[Sweep.from_config(sweep) for sweep in config["sweeps"]],
            objective=config["objective"],
            direction=config["direction"],
        )

    def of_other_branches(self) -> kt.HyperParameters:
        """Return the hyperparameters that only branches declare that the first sweep's model did not take."""
        import keras_tuner as kt

        found = kt.HyperParameters()
        if self.setting_space is not None and self.sweeps:
            first = self.sweeps[0].hyperparameters
            found.merge(
                [entry for entry in first.space if not self.setting_space.declares(entry.name, first.values)]
            )
        return found

    @classmethod
    def read(cls, path: str) -> SearchRecord:
        """Read a file that holds what `encode` returned.

        Args:
            path: The file.

        Raises:
            ValueError: The file is of another version, or is not as it was written.
        """
        try:
            content = json.loads(Path(path).read_bytes())
            version, checksum = content["version"], content["checksum"]
            if isinstance(version, int) and version != STATE_VERSION and isinstance(checksum, str):
                raise _OtherVersionError
            if version != STATE_VERSION or checksum != _checksum(content["state"]):
                raise ValueError("its checksum does not fit")
            return cls.from_config(content["state"])
        except _OtherVersionError:
            raise ValueError(
                f"The state file {path!r} was written by another version of lrtuner: install that one, or "
                "begin afresh with overwrite=True or a new project_name."
            ) from None
        except (ValueError, TypeError, KeyError, LookupError, RecursionError) as error:
            raise ValueError(
                f"The state file {path!r} is damaged ({error}). Put it back from a copy, or begin afresh "
                "with overwrite=True or a new project_name."
            ) from error


def encode(config: dict[str, Any]) -> str:
    """Return the contents of a state file: a record's config as JSON, with a version and a checksum."""
    return json.dumps(
        {"version": STATE_VERSION, "checksum": _checksum(config), "state": config}, allow_nan=False, indent=1
    )


def _checksum(config: Any) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


class _OtherVersionError(Exception):
    pass
