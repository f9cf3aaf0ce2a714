"""Files of the project directory: their names, and how they are written so that a crash leaves them whole."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

# KerasTuner's own file of a search.
ORACLE_FILE = "oracle.json"
# What lrtuner remembers of it.
STATE_FILE = "lr_range.json"
# The sweeps, with the trials.
PICTURE_FILE = "lr_sweeps.png"
# The trials alone; drawn when somebody looks at a search afterwards.
TRIALS_PICTURE_FILE = "lr_search.png"


def is_json(path: str) -> bool:
    """Return whether a file holds JSON."""
    try:
        json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return False
    return True


def check_writable(directory: Any, project_name: str) -> None:
    """Raise before any training if the project directory can't be written.

    Args:
        directory: What the user gave the tuner as `directory`.
        project_name: And as `project_name`.

    Raises:
        ValueError: The directory is not on a disk of this machine.
        OSError: The directory can't be made, or no file can be made in it.
    """
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


def write_atomically(path: str, content: str, *, durable: bool = False) -> None:
    """Write a file so that a crash of the process leaves the old file or the new one, never a half.

    Args:
        path: The file.
        content: Its text.
        durable: Also survive a power failure (fsync, a few milliseconds).

    Raises:
        OSError: The file can't be written.
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
