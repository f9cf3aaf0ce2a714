"""The sweeps that a search has yet to run: who runs each, and until when it is waited for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras_tuner as kt

from lrtuner.search.settings import Setting, setting_key


@dataclasses.dataclass(eq=False)
class Job:
    """One sweep that is due.

    Attributes:
        learning_rate: Name of the hyperparameter that it narrows; None before it is known.
        setting: What sets it apart from the other sweeps; None for the first one, which finds the settings.
        hyperparameters: The values to sweep at.
        instead: The values to sweep at if those give no curve; None if there are none.
        defaults: The values to sweep at if no model can be trained at those; None if they are the same.
        trial: The trial under way, or the last one.
        worker: Who runs it, or None.
        lease_ends: When it is given to another worker, on the monotonic clock.
        begun: How often it was given away.
        ended: How often it has ended.
        fell_back: Why it is run at the defaults, in words; None as long as it is not.
    """

    learning_rate: str | None
    setting: Setting | None
    hyperparameters: kt.HyperParameters
    instead: kt.HyperParameters | None = None
    defaults: kt.HyperParameters | None = None
    trial: Any = None
    worker: str | None = None
    lease_ends: float = math.inf
    begun: int = 0
    ended: int = 0
    fell_back: str | None = None


class Jobs:
    """The sweeps that are due, in order. Not synchronized: the oracle holds its lock in every call.

    Args:
        prefix: What the ids of their trials begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._due: list[Job] = []
        # Each run has an id of its own, which tells a late result from the one that is waited for.
        self._by_trial: dict[str, Job | None] = {}

    def __len__(self) -> int:
        return len(self._due)

    def add(self, job: Job) -> None:
        """Add a sweep, unless the same is due already."""
        if job.setting is None or all(
            other.learning_rate != job.learning_rate
            or other.setting is None
            or setting_key(other.setting) != setting_key(job.setting)
            for other in self._due
        ):
            self._due.append(job)

    def running(self) -> dict[str, Any]:
        """Return the trials under way, by worker."""
        return {job.worker: job.trial for job in self._due if job.worker is not None}

    def of_worker(self, worker: str, now: float) -> Job | None:
        """Return the sweep that a worker has a lease for."""
        return next((job for job in self._due if job.worker == worker and now < job.lease_ends), None)

    def of_trial(self, trial_id: str) -> Job | None:
        """Return the sweep that a trial was begun for, or None where it has been concluded."""
        return self._by_trial.get(trial_id)

    def late(self, now: float) -> list[Job]:
        """Return the sweeps whose lease has run out."""
        return [job for job in self._due if job.worker is not None and now >= job.lease_ends]

    def free(self, now: float) -> Job | None:
        """Return the next sweep that nobody runs, or whose lease has run out."""
        return next((job for job in self._due if job.worker is None or now >= job.lease_ends), None)

    def give(self, job: Job, worker: str, lease_ends: float) -> Any:
        """Return a new trial of a sweep, for a worker to run until its lease ends."""
        trial_id = f"{self._prefix}_{len(self._by_trial)}"
        job.trial = kt.engine.trial.Trial(job.hyperparameters.copy(), trial_id=trial_id, status="RUNNING")
        job.worker, job.lease_ends = worker, lease_ends
        job.begun += 1
        self._by_trial[trial_id] = job
        return job.trial

    def conclude(self, job: Job) -> None:
        """Remove a finished sweep; late results of its trials are ignored."""
        self._due.remove(job)
        self._by_trial = {
            trial_id: None if other is job else other for trial_id, other in self._by_trial.items()
        }
