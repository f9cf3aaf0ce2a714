"""What a search prints, warns of and logs.

Errors say what they have to where they are raised. What a sweep has come to is also logged, whatever is
printed: by the logger "lrtuner" of Python's `logging`, at level INFO.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrtuner.curve.lr_range import LRRange
    from lrtuner.results import Sweep
    from lrtuner.space.narrowing import Narrowing

_LOGGER = logging.getLogger("lrtuner")
# Code between the user and a warning: the user never called it in person.
_PACKAGES = ("lrtuner", "keras_tuner", "keras")


def warn(message: str) -> None:
    """Warn at the line of the user's code that led here.

    That is the nearest caller outside of lrtuner, KerasTuner and Keras, however many of their functions lie
    between.

    Args:
        message: The warning's text, a whole sentence.
    """
    # For Python, level 1 is the line in this function that warns, and level 2 is its caller.
    level, frame = 2, inspect.currentframe()
    frame = frame and frame.f_back
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def bounds_in_words(low: float, high: float) -> str:
    """Write two learning rates, the lowest and the highest, as messages do."""
    return f"{low:.3g} to {high:.3g}"


# --- The end of a sweep -------------------------------------------------------------------------------------


def sweep_ended(
    sweep: Sweep,
    narrowed: Narrowing | None,
    *,
    label: str,
    held: Mapping[str, float],
    picture: str,
    verbose: int,
) -> None:
    """Log and print what a sweep has changed, or warn that it changes nothing.

    Args:
        sweep: The sweep.
        narrowed: What narrowing did to the hyperparameter; None if the sweep found no range.
        label: What sets the sweep apart from others; empty if there are none.
        held: The values of the other learning rates during the sweep, by name.
        picture: Path of the sweeps' picture; empty if there is none.
        verbose: 0 prints nothing; the log and warnings get it all the same.
    """
    of_which = f" for {label}" if label else ""
    where = f" Picture: {picture}" if picture else ""
    if narrowed is None:
        line = (
            f"The learning-rate sweep{of_which} found no range, so the declared space stays as it is: "
            f"{(sweep.reason or '').rstrip('.')}.{where}"
        )
        _LOGGER.info(line)
        warn(line)
        return
    caveat = f"; {sweep.caveat}" if sweep.caveat else ""
    remarks = f" {narrowed.remark}" if narrowed.remark else ""
    remarks += "".join(f" {name} was held at {rate:.3g}." for name, rate in held.items())
    line = (
        f"Learning-rate sweep of {len(sweep.curve or ())} batches{of_which}: {narrowed.name} declared as "
        f"{bounds_in_words(*narrowed.declared)}, narrowed to {bounds_in_words(*narrowed.narrowed)}"
        f"{caveat}.{remarks}{where}"
    )
    # Before a warning, which a filter may turn into an error.
    _LOGGER.info(line)
    if narrowed.note:
        warn(narrowed.note)
    if verbose:
        print(line)


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
                f"The sweeps found different ranges: {each}. {name} is narrowed to the smallest range that "
                "holds all of them. KerasTuner's own tuners draw from all of it in every trial. lrtuner's "
                "tuners keep each trial in the range that was found for its own values."
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
        print(f"{holds}, so the search ends after {left:g} of {asked} trials.")


# --- Whenever -----------------------------------------------------------------------------------------------


def sweeps_hold(sweeps: Sequence[Sweep], *, verbose: int) -> None:
    """Print what the sweeps of an earlier run have found."""
    outcomes = [sweep.outcome for sweep in sweeps if sweep.outcome]
    if verbose and outcomes:
        hold = "sweep of an earlier run holds" if len(outcomes) == 1 else "sweeps of an earlier run hold"
        print(f"The learning-rate {hold}: {' '.join(outcomes)}")


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
