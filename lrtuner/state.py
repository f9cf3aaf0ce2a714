"""What a search keeps of its sweeps, and how it is written so that a crash or a damaged file is noticed."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import keras_tuner as kt

from lrtuner.curve import LRCurve, check_keys
from lrtuner.lr_range import LRRange
from lrtuner.settings import Setting
from lrtuner.space import Relation

STATE_VERSION = 2


@dataclasses.dataclass
class Sweep:
    """One learning-rate sweep of a search.

    Attributes:
        name: What sets this sweep apart from the others.
        hyperparameters: The `keras_tuner.HyperParameters` that the swept model was built with.
        curve: The recorded `LRCurve`, or `None` where nothing was recorded.
        lr_range: The `LRRange` read off the curve, or `None` where there is none.
        reason: Why there is no range or why it was not used, in words; `None` where all went well.
        declared: The lowest and the highest learning rate that the user declared; `None` before it is known.
        outcome: What the search does now, in words.
        relation: How the hyperparameter's values turn into learning rates; `None` where they are the rates.
        learning_rate: Name of the hyperparameter that was swept.
        setting: The values that set this sweep apart; empty where one sweep serves the whole search.
        batch_size: Rows in a batch of the sweep, or `None` where the data brought its own batches.
    """

    name: str
    hyperparameters: kt.HyperParameters = dataclasses.field(repr=False)
    curve: LRCurve | None = None
    lr_range: LRRange | None = None
    reason: str | None = None
    declared: tuple[float, float] | None = None
    outcome: str | None = None
    relation: Relation | None = None
    learning_rate: str = ""
    setting: Setting = dataclasses.field(default_factory=dict)
    batch_size: int | None = None

    def to_config(self) -> dict[str, Any]:
        """Returns the sweep as a dict for JSON."""
        return {
            "name": self.name,
            "hyperparameters": self.hyperparameters.get_config(),
            "curve": None if self.curve is None else self.curve.to_config(),
            "lr_range": None if self.lr_range is None else self.lr_range.to_config(),
            "reason": self.reason,
            "declared": None if self.declared is None else list(self.declared),
            "outcome": self.outcome,
            "relation": None if self.relation is None else dataclasses.asdict(self.relation),
            "learning_rate": self.learning_rate,
            "setting": self.setting,
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sweep:
        """Builds the sweep that `to_config` described.

        Raises:
            ValueError: `config` is not what `to_config` returns.
        """
        check_keys(config, {field.name for field in dataclasses.fields(cls)}, cls.__name__)
        declared = config["declared"]
        return cls(
            name=config["name"],
            # KerasTuner changes the config of conditional hyperparameters while it reads it.
            hyperparameters=kt.HyperParameters.from_config(copy.deepcopy(config["hyperparameters"])),
            curve=None if config["curve"] is None else LRCurve.from_config(config["curve"]),
            lr_range=None if config["lr_range"] is None else LRRange.from_config(config["lr_range"]),
            reason=config["reason"],
            declared=None if declared is None else (float(declared[0]), float(declared[1])),
            outcome=config["outcome"],
            relation=Relation.from_points(config["relation"]),
            learning_rate=config["learning_rate"],
            setting=dict(config["setting"]),
            batch_size=config["batch_size"],
        )


def is_json(path: str) -> bool:
    """Returns whether a file holds JSON."""
    try:
        json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return False
    return True


def check_writable(directory: Any, project_name: str) -> None:
    """Raises before any training where the project directory can't be written."""
    if "://" in str(directory):
        raise ValueError(
            f"The project directory {str(directory)!r} is not on a disk of this machine, where lrtuner keeps "
            "the sweep: pass a local `directory`, or use KerasTuner's own tuner."
        )
    path = Path(str(directory), project_name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(
            f"The project directory {str(path)!r} can't be written ({error}): pass another `directory` to "
            "the tuner."
        ) from error


def encode_state(state: dict[str, Any]) -> str:
    """Returns the contents of a state file: JSON with a version and a checksum."""
    return json.dumps(
        {"version": STATE_VERSION, "checksum": _checksum(state), "state": state}, allow_nan=False, indent=1
    )


def _checksum(state: Any) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def decode_state(path: str) -> dict[str, Any]:
    """Reads a state file.

    Args:
        path: The file.

    Returns:
        The state that was given to `encode_state`.

    Raises:
        ValueError: Where the file is of a newer version, or is not as it was written.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        version = content["version"]
        if isinstance(version, int) and version > STATE_VERSION and isinstance(content["checksum"], str):
            raise _NewerVersionError
        state = content["state"]
        if version != STATE_VERSION or content["checksum"] != _checksum(state):
            raise ValueError("its checksum does not fit")
        for sweep in state["sweeps"]:
            Sweep.from_config(sweep)
    except _NewerVersionError:
        raise ValueError(
            f"The state file {path!r} was written by a newer version of lrtuner: install that one, or begin "
            "afresh with overwrite=True or a new project_name."
        ) from None
    except (ValueError, TypeError, KeyError, LookupError, RecursionError) as error:
        raise ValueError(
            f"The state file {path!r} is damaged ({error}). Put it back from a copy, or begin afresh with "
            "overwrite=True or a new project_name."
        ) from error
    return state  # type: ignore[no-any-return]


class _NewerVersionError(Exception):
    pass


def write_atomically(path: str, content: str, *, durable: bool = False) -> None:
    """Writes a file so that the end of the process leaves the old or the new one, never a half.

    Args:
        path: The file.
        content: Its text.
        durable: Whether the same shall hold for the end of the machine, which takes milliseconds.
    """
    temporary = f"{path}.{os.getpid()}-{threading.get_ident()}.tmp"
    data = content.encode()
    try:
        # Unbuffered, since an oracle's state is written several times a trial.
        file = open(temporary, "wb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(temporary, "wb", buffering=0)  # noqa: SIM115
    with file:
        if file.write(data) != len(data):
            raise OSError(f"No room to write {temporary!r}: free some and run again.")
        if durable:
            os.fsync(file.fileno())
    os.replace(temporary, path)
