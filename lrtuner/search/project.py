"""The project directory: what is written there, and what is mended there after a crash."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.search import messages, protocol
from lrtuner.search.files import ORACLE_FILE, PICTURE_FILE, STATE_FILE, is_json, write_atomically
from lrtuner.search.record import SearchRecord, encode
from lrtuner.search_results import SearchResults


class Project:
    """The files of a search, lrtuner's and KerasTuner's.

    Args:
        wrapped: The user's oracle, which knows the directory once a tuner has told it.

    Attributes:
        keeps_pictures: Whether to draw pictures; there is no need where the directory is thrown away.
    """

    def __init__(self, wrapped: kt.Oracle) -> None:
        self._wrapped = wrapped
        self.keeps_pictures = True

    def _path(self, *names: str) -> str:
        return os.path.join(kerastuner.project_directory(self._wrapped), *names)

    # --- What is written ------------------------------------------------------------------------------------

    def has_record(self) -> bool:
        """Return whether the directory holds a record of sweeps."""
        return os.path.exists(self._path(STATE_FILE))

    def save_record(self, record: SearchRecord) -> None:
        """Write what the search must find again."""
        write_atomically(self._path(STATE_FILE), encode(record.to_config()), durable=True)

    def read_record(self) -> SearchRecord | None:
        """Return what an earlier run has written, or None if there was none.

        Raises:
            ValueError: The file is damaged or of a newer version.
        """
        return SearchRecord.read(self._path(STATE_FILE)) if self.has_record() else None

    def save_oracle(self, original: Callable[[], None]) -> None:
        """Write the wrapped oracle's state, so that a crash leaves no file half written.

        Args:
            original: The wrapped oracle's own way to save itself.
        """
        if kerastuner.is_own_way(original, kerastuner.SAVE):
            original()
        else:
            write_atomically(self._path(ORACLE_FILE), json.dumps(self._wrapped.get_state()))

    def save_trial(self, original: Callable[[Any], None], trial: Any) -> None:
        """Write a trial's state, so that a crash leaves no file half written.

        Args:
            original: The wrapped oracle's own way to save a trial.
            trial: The trial.
        """
        if kerastuner.is_own_way(original, kerastuner.SAVE_TRIAL):
            original(trial)
        else:
            path = self._path(f"trial_{trial.trial_id}", "trial.json")
            write_atomically(path, json.dumps(trial.get_state()))

    def save_picture(self, results: SearchResults) -> str:
        """Draw the sweeps, and the trials that have finished.

        Args:
            results: What the search has found so far.

        Returns:
            The picture's path, "none" if it can't be drawn, or empty if none is kept.
        """
        if not self.keeps_pictures:
            return ""
        path = self._path(PICTURE_FILE)
        try:
            from lrtuner.plot import save_picture

            save_picture(path, results.plot_sweeps)
        except Exception as error:
            # Whatever keeps matplotlib from drawing, the search needs no picture.
            messages.picture_not_drawn(error)
            return "none"
        return path

    @property
    def name(self) -> str | None:
        """The project's name, or None before a tuner has told it."""
        return os.path.basename(self._path()) if kerastuner.has_project(self._wrapped) else None

    def has_picture(self) -> bool:
        """Return whether the directory holds a picture of the sweeps."""
        return os.path.exists(self._path(PICTURE_FILE))

    def remove_leftovers(self) -> None:
        """Remove the directories that KerasTuner makes for any trial: a sweep leaves no checkpoint there."""
        for directory in Path(self._path()).glob(f"trial_{protocol.SWEEP_PREFIX}*"):
            shutil.rmtree(directory, ignore_errors=True)

    # --- What is mended -------------------------------------------------------------------------------------

    def reload_oracle(self) -> None:
        """Load the wrapped oracle, and mend what a crash has left half done.

        Raises:
            ValueError: A file of KerasTuner's is damaged and can't be done without.
        """
        try:
            self._wrapped.reload()
        except Exception as error:
            path = self._path(ORACLE_FILE)
            if not is_json(path):
                raise ValueError(
                    f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. Nothing "
                    "was changed. Put it back from a copy to go on. Or begin the search again and keep the "
                    f"finished sweep: leave {STATE_FILE} and delete everything else in "
                    f"{self._path()!r}. Or begin afresh: overwrite=True."
                ) from error
            damaged = [path for path in self._files("trial_*", "trial.json") if not is_json(path)]
            if not damaged:
                raise
            for path in damaged:
                _give_up_trial(path)
            self._wrapped.reload()
        self._check_ids()
        self._drop_trials_not_begun()
        self._drop_trials_not_to_repeat()
        for path in self._files("tuner*.json"):
            if not is_json(path):
                raise ValueError(
                    f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. "
                    "KerasTuner's own tuners keep nothing in it: write {} into it, or put back a copy."
                )

    def _files(self, *patterns: str) -> list[str]:
        return sorted(glob.glob(os.path.join(glob.escape(self._path()), *patterns)))

    def _check_ids(self) -> None:
        """Raise if a trial's id would lead out of the directory."""
        for trial_id, trial in self._wrapped.trials.items():
            # Hyperband's promoted trials name the one that they go on from.
            for name in (trial_id, trial.hyperparameters.values.get("tuner/trial_id", trial_id)):
                if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
                    raise ValueError(
                        f"A trial in {self._path()!r} has the id {name!r}, which is no id of KerasTuner's: "
                        "its trial.json was changed. Put it back from a copy, or begin afresh with "
                        "overwrite=True."
                    )

    def _drop_trials_not_begun(self) -> None:
        """Take out trials whose file was written but not the oracle's.

        The oracle will propose them again, under their number.
        """
        for trial_id in set(self._wrapped.trials) - set(self._wrapped.start_order):
            del self._wrapped.trials[trial_id]

    def _drop_trials_not_to_repeat(self) -> None:
        """Take out of the queue the trials that have ended, with a crash before the oracle noted it."""
        oracle = self._wrapped
        waiting = [
            oracle.trials[trial_id]
            for trial_id in kerastuner.retry_queue(oracle)
            if trial_id in oracle.trials
        ]
        kerastuner.set_retry_queue(
            oracle, [trial.trial_id for trial in waiting if trial.status in ("RUNNING", "INVALID")]
        )
        noted = set(oracle.end_order)
        oracle.end_order += [
            trial.trial_id
            for trial in waiting
            if trial.status in ("COMPLETED", "FAILED") and trial.trial_id not in noted
        ]


def _give_up_trial(path: str) -> None:
    """Put a failed trial, which no search draws on, in the place of a damaged file."""
    os.replace(path, f"{path}.damaged")
    messages.trial_is_given_up(path)
    trial_id = os.path.basename(os.path.dirname(path)).removeprefix("trial_")
    failed = kt.engine.trial.Trial(
        kt.HyperParameters(), trial_id=trial_id, status="FAILED", message="its file was damaged"
    )
    write_atomically(path, json.dumps(failed.get_state()))
