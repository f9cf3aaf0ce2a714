"""The titles of pictures, and the sentences below them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lrtuner.curve.curve import LRCurve
from lrtuner.curve.lr_range import Evidence, LRRange
from lrtuner.plot.series import DrawnSweep, Objective, Series

# Terminal colours, and control characters that no font has.
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")


def rate(value: float) -> str:
    """Write a learning rate."""
    return f"{value:.2g}"


def between(low: float, high: float) -> str:
    """Write two learning rates."""
    return f"{rate(low)} to {rate(high)}"


# --- Titles -------------------------------------------------------------------------------------------------


def curve_title(curve: LRCurve) -> str:
    """Return the title of a curve: what is known of the training that was swept."""
    training = curve.training
    known = [] if training is None or training.optimizer is None else [training.optimizer]
    if training is not None and training.batch_size is not None:
        known.append(f"batch size {training.batch_size}")
    return ", ".join(["Learning-rate sweep", *known])


def sweeps_title(sweeps: Sequence[DrawnSweep], project: str | None) -> str:
    """Return the title of a project's sweeps: project, hyperparameter, and of a single sweep its setting."""
    names = list(dict.fromkeys(sweep.learning_rate for sweep in sweeps if sweep.learning_rate))
    if len(sweeps) == 1:
        names += [f"{name}={value}" for name, value in sweeps[0].setting.items()]
        names = names or [sweeps[0].name]
    return ": ".join(part for part in (project, ", ".join(names)) if part)


# --- Sentences ----------------------------------------------------------------------------------------------


def why_this_range(evidence: Evidence) -> str:
    """Say in a sentence or two what a range was read from."""
    words = evidence.loss_in_words()
    if evidence.descent_end is not None:
        usual = "" if evidence.usual is None else f" and the optimizer's usual rate, {rate(evidence.usual)}"
        words += f" The range follows from this{usual}."
    return f"{words} Note: {evidence.caveat}." if evidence.caveat else words


def sweep_notes(series: Sequence[Series]) -> list[str]:
    """Say why a single sweep has its range, and of each what it lacks or what to know before trusting it."""
    if not series:
        return ["There are no sweeps."]
    notes = [_sweep_note(one, alone=len(series) == 1) for one in series]
    return [*_bars_note(series), *(note for note in notes if note)]


def _bars_note(series: Sequence[Series]) -> list[str]:
    if len(series) == 1 or all(one.lr_range is None for one in series):
        return []
    differ = len({one.batch_size for one in series} - {None}) > 1
    each = ", each at the batch size of its sweep" if differ else ""
    return [f"The bars along the top are the ranges to search{each}."]


def _sweep_note(one: Series, *, alone: bool) -> str:
    evidence = None if one.lr_range is None else one.lr_range.evidence
    if one.has_curve and (one.lr_range is not None or one.reason is None):
        if evidence is None:
            return ""
        if alone:
            return why_this_range(evidence)
        return f"{one.name}: {evidence.caveat}." if evidence.caveat else ""
    return ("There is " if alone else f"{one.name}: ") + _lacking("range" if one.has_curve else "curve", one)


def _lacking(what: str, one: Series) -> str:
    # Keras' errors hold terminal colours, and pages of text.
    return f"no {what}: {_UNPRINTABLE.sub('', one.reason)}" if one.reason else f"no {what}."


def search_notes(series: Sequence[Series], objective: Objective) -> list[str]:
    """Say which trial was best, and which of the sweeps had no range."""
    trials = np.concatenate([one.trials for one in series]) if series else np.empty((0, 2))
    if not len(trials):
        return ["No trial has finished."]
    notes = []
    best = objective.best(trials[:, 1])
    if best is not None:
        at, score = trials[best]
        which = f"The best of {len(trials)} trials" if len(trials) > 1 else "The only trial"
        notes.append(f"{which}: {objective.name} {score:.4g} at a learning rate of {rate(at)}.")
    notes += _bars_note(series)
    for one in series:
        if one.lr_range is None and one.reason:
            notes.append(("There is " if len(series) == 1 else f"{one.name}: ") + _lacking("range", one))
    return notes


def range_words(lr_range: LRRange) -> str:
    """Write a range."""
    return between(lr_range.min_lr, lr_range.max_lr)
