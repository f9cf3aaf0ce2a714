"""What the oracle and the tuners of a search print or warn of.

Errors say what they have to where they are raised. What a sweep has come to is also logged, whatever is
printed: by the logger "lrtuner" of Python's `logging`, at level INFO.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lrtuner.curve.lr_range import LRRange
from lrtuner.search.record import Sweep
from lrtuner.space.narrowing import Narrowing
from lrtuner.values import bounds_in_words
from lrtuner.warn import warn

_LOGGER = logging.getLogger("lrtuner")
_FRESH_SWEEP = "For a new sweep choose a new project_name, or overwrite=True."


# --- The end of a sweep -------------------------------------------------------------------------------------


def sweep_ended(
    sweep: Sweep,
    narrowed: Narrowing | None,
    *,
    label: str,
    held: Mapping[str, Any],
    picture: str,
    verbose: int,
) -> str:
    """Log and print what a sweep has changed, or warn that it changes nothing.

    Args:
        sweep: The sweep.
        narrowed: What narrowing did to the hyperparameter; None if the sweep found no range.
        label: What sets the sweep apart from others; empty if there are none.
        held: The values of the other learning rates during the sweep, by name.
        picture: Path of the sweeps' picture; empty if none is kept.
        verbose: 0 prints nothing; the log and warnings get it all the same.

    Returns:
        The line that was logged.
    """
    of_which = f" for {label}" if label else ""
    if narrowed is None:
        line = (
            f"The learning-rate sweep{of_which} found no range, so the search goes on in the declared space: "
            f"{(sweep.reason or '').rstrip('.')}.{f' Picture: {picture}' if picture else ''}"
        )
        _LOGGER.info(line)
        warn(line)
        return line
    batches = 0 if sweep.curve is None else len(sweep.curve)
    caveat = f"; {sweep.caveat}" if sweep.caveat else ""
    remarks = f" {narrowed.remark}" if narrowed.remark else ""
    remarks += "".join(f" {name} was held at {rate:.3g}." for name, rate in held.items())
    remarks += f" Picture: {picture}" if picture else ""
    line = (
        f"Learning-rate sweep of {batches} batches{of_which}: {narrowed.name} declared as "
        f"{bounds_in_words(*narrowed.declared)}, narrowed to {bounds_in_words(*narrowed.narrowed)}"
        f"{caveat}.{remarks}"
    )
    # Before a warning, which a filter may turn into an error.
    _LOGGER.info(line)
    if narrowed.note:
        warn(narrowed.note)
    if verbose:
        print(line)
    return line


def ranges_are_joined(sweeps: Sequence[Sweep]) -> None:
    """Warn where one space for all settings holds rates that are good for some of them alone.

    Args:
        sweeps: All sweeps. Where one of them has no range, the space is as declared, which was said.
    """
    for name in dict.fromkeys(sweep.learning_rate for sweep in sweeps):
        ranges = {sweep.name: sweep.narrowed for sweep in sweeps if sweep.learning_rate == name}
        found = {setting: ends for setting, ends in ranges.items() if ends is not None}
        if len(set(found.values())) > 1 and len(found) == len(ranges):
            each = ", ".join(f"{bounds_in_words(*ends)} for {setting}" for setting, ends in found.items())
            warn(
                f"The settings have ranges of their own: {each}. {name} is narrowed to the smallest range "
                "that holds all of them, so a stock tuner also tries rates that suit another setting only. "
                "lrtuner's tuners keep each trial in the range of its own setting."
            )


def few_combinations(left: float, asked: int, *, is_hyperband: bool, verbose: int) -> None:
    """Say that narrowing has left fewer combinations of values than the search was to try.

    Args:
        left: How many are left.
        asked: How many the search was to try; of a Hyperband, how many it begins with.
        is_hyperband: Whether the search is a Hyperband, which then trains no model in full.
        verbose: 0 for silence, but a Hyperband warns all the same.
    """
    holds = f"The narrowed space holds {left:g} combination{'s' if left > 1 else ''} of values"
    if is_hyperband:
        warn(
            f"{holds}, and Hyperband begins with {asked}: the search will stop early and train no model for "
            "max_epochs. Declare more values, or use RandomSearch."
        )
    elif verbose:
        print(f"{holds}, so the search ends after as many trials, and not {asked}.")


def sweep_is_run_again(error: str | None, *, verbose: int) -> None:
    """Print that a sweep has failed and is tried once more."""
    if verbose:
        print(f"The learning-rate sweep failed and is run again: {error}")


def held_at_defaults(error: str) -> None:
    """Warn that a sweep was run at the default values, since it failed in the middle of the space."""
    warn(
        f"No model could be trained in the middle of the search space ({error}). For the learning-rate "
        "sweep, the other hyperparameters were held at their defaults."
    )


def lease_has_ended(worker: str, lease: float, *, verbose: int) -> None:
    """Print that a worker had its time for a sweep.

    Args:
        worker: The worker's name.
        lease: How long it had, in seconds.
        verbose: 0 for silence.
    """
    if verbose:
        print(f"{worker!r} did not end the learning-rate sweep in {lease:g} s.")


def no_sweep(reason: str) -> None:
    """Warn that the search goes on without a sweep."""
    warn(f"No learning-rate sweep: {reason.rstrip('.')}.")


def settings_not_declared(unknown: Sequence[str], declared: Sequence[str]) -> None:
    """Warn that `sweep_per` names hyperparameters that there are not.

    Args:
        unknown: Those.
        declared: All that there are.
    """
    warn(
        f"sweep_per names {unknown}, which the hypermodel has not declared: no sweeps are run for them. It "
        f"has declared {declared}."
    )


def names_not_declared_yet(missing: Sequence[str], declared: Sequence[str], *, verbose: int) -> None:
    """Print that the list of learning rates names hyperparameters that may still appear.

    Args:
        missing: Those.
        declared: All that there are.
        verbose: 0 for silence.
    """
    if verbose:
        print(
            f"learning_rate names {missing}, which no model built so far has declared: a sweep is run for "
            f"them once one does. Declared are {declared}."
        )


def names_never_declared(missing: Sequence[str], declared: Sequence[str]) -> None:
    """Warn, when the search is over, that the list of learning rates names what there never was.

    Args:
        missing: The hyperparameters that there are not.
        declared: All that there are.
    """
    warn(
        f"learning_rate names {missing}, which no model of this search has declared: nothing was swept for "
        f"them. Declared were {declared}."
    )


def rates_not_swept(names: Sequence[str], swept: Sequence[str], *, verbose: int) -> None:
    """Print that hyperparameters are named like a learning rate and are not narrowed.

    Args:
        names: Those.
        swept: The learning rates that are swept.
        verbose: 0 for silence.
    """
    if verbose:
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        print(
            f"{', '.join(names)} {are} searched as declared, without a sweep. If the first fit of a trial "
            f"uses {them}, list all learning rates for a range of each: learning_rate={[*swept, *names]}"
        )


# --- Going on with an earlier run ---------------------------------------------------------------------------


def sweeps_hold(sweeps: Sequence[Sweep], *, verbose: int) -> None:
    """Print what the sweeps of an earlier run have found."""
    outcomes = [sweep.outcome for sweep in sweeps if sweep.outcome]
    if verbose and outcomes:
        hold = "sweep of an earlier run holds" if len(outcomes) == 1 else "sweeps of an earlier run hold"
        print(f"The learning-rate {hold}. {' '.join(outcomes)}")


def options_have_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn if the sweeps of an earlier run were made with other options."""
    changed = [f"{key}={before.get(key)!r}" for key in now if now[key] != before.get(key)]
    if changed:
        warn(
            f"The sweep of this project was run with {', '.join(changed)}, other than now. It holds, and is "
            f"not repeated. {_FRESH_SWEEP}"
        )


def declared_otherwise(before: str, now: str | None, *, is_renamed: bool, has_trials: bool) -> None:
    """Warn that the learning rate is declared otherwise than when its sweep was run.

    Args:
        before: The declaration then.
        now: The declaration now; None if there is none that can be narrowed.
        is_renamed: Whether it has another name now.
        has_trials: Whether the search has begun.
    """
    if is_renamed:
        held = (
            "The saved range applies to the old name only; the new one is searched over its full declared "
            "bounds."
        )
    elif has_trials:
        held = "The old declaration, narrowed, holds for this search."
    else:
        held = "The sweep holds: the new declaration is narrowed to its range."
    warn(
        f"The learning rate was declared as {before} when the sweep of this project was run, and now as "
        f"{now or 'nothing that can be narrowed'}. {held} {_FRESH_SWEEP}"
    )


def optimizer_has_changed(before: str, now: str) -> None:
    """Warn that a search goes on with another optimizer than that of its sweep.

    Args:
        before: The class of the optimizer that was swept.
        now: That of the model as it is built now.
    """
    warn(
        f"The sweep of this project was run with {before}, and the model is now compiled with {now}. The "
        f"sweep's range is kept, and may be wrong for {now}. {_FRESH_SWEEP}"
    )


def grid_cannot_go_on() -> None:
    """Warn that a grid search can't go on."""
    warn(
        "KerasTuner's GridSearch keeps no note of where it was, so it can't go on with a grid that was "
        "begun. Its trials can be looked at; to search choose a new project_name, or overwrite=True."
    )


def trial_is_given_up(path: str) -> None:
    """Warn that a trial's file is damaged."""
    warn(
        f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. Its trial counts as "
        "failed, the search keeps the others and goes on. To have it back, put the file back from a copy "
        "before the next run."
    )


def tuner_file_is_replaced(path: str) -> None:
    """Warn that a tuner's file is damaged, which holds nothing."""
    warn(
        f"KerasTuner's file {path!r} is damaged, as after a crash while it was written. It held nothing: the "
        "search goes on."
    )


# --- Whenever -----------------------------------------------------------------------------------------------


def picture_not_drawn(error: Exception) -> None:
    """Warn that there is no picture of the sweeps."""
    warn(f"The sweep's picture could not be drawn: {error!r}")


def not_in_tensorboard(error: Exception) -> None:
    """Warn that TensorBoard will not show a sweep."""
    warn(f"The sweep could not be written for TensorBoard: {error!r}")


def search_has_ended(error: str) -> None:
    """Print on a chief that an error has ended the search."""
    print(f"The search ends with an error: {error}", file=sys.stderr, flush=True)


def advice(label: str, searched: LRRange, better: LRRange, *, verbose: int) -> None:
    """Print where the next search should look.

    Args:
        label: What sets the sweep apart from others; empty if there are none.
        searched: The learning rates of this search.
        better: Those to search next.
        verbose: 0 for silence.
    """
    if verbose:
        edge = "upper" if better.max_lr > searched.max_lr else "lower"
        print(
            f"The best trials{f' of {label}' if label else ''} lie at the {edge} edge of the learning rates "
            f"searched, {bounds_in_words(searched.min_lr, searched.max_lr)}: search "
            f"{bounds_in_words(better.min_lr, better.max_lr)} next."
        )
