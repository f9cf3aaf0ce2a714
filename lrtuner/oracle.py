"""The oracle that sweeps the learning rate first and then hands off to the user's own search.

One sweep serves a search whose settings all have the same range. Where some, such as the optimizer, move it,
each gets a sweep of its own: the space is narrowed to the union of the ranges, and what the wrapped oracle
proposes is moved into the range of its own setting before the trial is made.

This module has what KerasTuner calls, and the lock. What is done about sweeps is in
`lrtuner.search.sweeping`, what the user looks at afterwards in `lrtuner.findings`, and what a chief and its
workers tell each other in `lrtuner.search.protocol`.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.curve.rules import Rule
from lrtuner.findings import Findings
from lrtuner.notebook import nothing_if_it_fails, picture, plain_if_it_fails, sweeps_as_html
from lrtuner.proxy import oracle_to_wrap
from lrtuner.search import protocol
from lrtuner.search.files import check_writable
from lrtuner.search.options import OPTION_NAMES, SweepOptions
from lrtuner.search.presence import Presence
from lrtuner.search.sweeping import Sweeping


class LRRangeOracle(Findings):
    """Narrows the learning-rate space with a cheap sweep, then hands off to another oracle.

    First comes a sweep: a hundred batches of training or more, in which the learning rate rises from `min_lr`
    to `max_lr`. A tuner of KerasTuner's own gets it as its first trial. The good range is read off its loss
    curve, and the learning-rate hyperparameter is narrowed to it inside the bounds that the user declared.
    From then on every call goes to the wrapped oracle, which never hears of the sweep: its trials, their
    numbers, its seeds and `max_trials` are its own. Where a sweep fails or shows no range, the declared space
    stays as it is and a warning says why.

    Hyperparameters that choose the optimizer are found by building models, and each of their settings gets a
    sweep when a trial first needs it. The search stays one: it proposes over the union of the ranges, and a
    trial's rate lies in the range of its own setting. A range moves with the square root of the batch size
    where that is a hyperparameter.

    >>> oracle = lrtuner.LRRangeOracle(kt.oracles.BayesianOptimizationOracle("val_loss", max_trials=20))
    >>> tuner = lrtuner.Tuner(oracle, build_model)

    Attributes and methods that are not listed here are the wrapped oracle's, `trials` and `get_best_trials`
    among them.

    Args:
        oracle: The `keras_tuner.Oracle` that runs the search. Without one, `objective`, `max_trials`, `seed`
            and the other arguments of `keras_tuner.oracles.RandomSearchOracle` make one.
        learning_rate: String, the learning-rate hyperparameter's name. By default it is found:
            `learning_rate`, `lr`, or a name that ends or begins so. A list of strings where there are
            several, each of which gets a range of its own.
        min_lr: Float, the first rate of the sweep.
        max_lr: Float, the last rate of the sweep.
        steps: Int, batches in the sweep, at least 10. Defaults to one epoch, but at least 100 (small data is
            cycled) and at most 300; 300 where nobody knows how long an epoch is. Several sweeps share the
            batches of one training, where that leaves each at least 100.
        rule: How the range is read off the curve, see `suggest_range`.
        sweep_per: List of strings, the hyperparameters each of whose settings gets a sweep: a Choice, a
            Boolean or an Int with at most 8 values. By default those are found that choose the optimizer
            (its class or its momentum), and where the inputs are not scaled the one that adds normalisation;
            `[]` makes one sweep serve all.
        batch_size_scaling: Boolean, whether a range moves with the square root of the batch size, where a
            hyperparameter is the `batch_size` of `fit`: 10 times the batch, half a decade up (Krizhevsky
            2014, arXiv:1404.5997).
        lease: Float, seconds that a worker of a distributed search has for a sweep. Then the sweep is given
            to another worker, and whichever ends it first counts.
        **kwargs: Arguments of the `RandomSearchOracle` where `oracle` is left out.

    Attributes:
        oracle: The wrapped oracle.
        given_space: The `keras_tuner.HyperParameters` that it had when it was wrapped.
        sweeps: List of `Sweep`, finished ones only.
        lr_range: The `LRRange` that the sweep found, or `None`; the smallest one that holds all where several
            sweeps found one.
        run_sweep: Runs the trial of a sweep and ends it. lrtuner's own tuners set it while they search.
            Without it, `create_trial` returns sweeps as trials.

    Raises:
        TypeError: `oracle` is not an oracle or is wrapped already, keyword arguments come beside one, or an
            option is of the wrong type.
        ValueError: The bounds, the number of steps, the rule's name or the lease make no sense.
    """

    _OWN = Findings._OWN | {
        "_options",
        "given_space",
        "_presence",
        "_is_chief",
        "_sweeps_with_metrics",
        "run_sweep",
    }

    def __init__(
        self,
        oracle: kt.Oracle | None = None,
        *,
        learning_rate: str | Sequence[str] | None = None,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int | None = None,
        rule: str | Rule = "curve_and_optimizer",
        sweep_per: Sequence[str] | None = None,
        batch_size_scaling: bool = True,
        lease: float = 600.0,
        **kwargs: Any,
    ) -> None:
        # The base class is not initialised: all of its state is the wrapped oracle's.
        oracle = oracle_to_wrap(oracle, kwargs)
        self._options = SweepOptions(
            learning_rate=learning_rate,
            min_lr=min_lr,
            max_lr=max_lr,
            steps=steps,
            rule=rule,
            sweep_per=sweep_per,
            batch_size_scaling=batch_size_scaling,
            lease=lease,
        )
        self.oracle = oracle
        self.given_space = oracle.get_space()
        self._sweeping = Sweeping(oracle, self._options)
        self._presence = Presence()
        # Neither of the two is synchronized: every call into one that changes it holds this lock. A thread
        # that holds it never waits for KerasTuner's own lock of the wrapped oracle: whoever needs both has
        # that one first.
        self._lock = threading.RLock()
        self._is_chief = False
        self.run_sweep: Callable[[Any], None] | None = None
        # The sweeps whose training code has reported metrics by itself.
        self._sweeps_with_metrics: set[str] = set()
        # The wrapped oracle proposes and saves itself from inside of its own calls. All that comes here.
        sweeping, locked = self._sweeping, self._locked
        kerastuner.intercept(oracle, kerastuner.POPULATE_SPACE, locked(sweeping.propose))
        kerastuner.intercept(oracle, kerastuner.SAVE, locked(sweeping.save))
        kerastuner.intercept(oracle, kerastuner.SAVE_TRIAL, locked(sweeping.project.save_trial))
        if isinstance(oracle, kt.oracles.GridSearchOracle):
            kerastuner.intercept(oracle, kerastuner.NEXT_COMBINATION, locked(sweeping.next_combination))

    def _locked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that holds the lock while it calls another."""

        def locked(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return call(*args, **kwargs)

        return locked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._options, name) if name in OPTION_NAMES else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OPTION_NAMES:
            self._options.change(name, value)
        else:
            super().__setattr__(name, value)

    # --- What a tuner calls before the search ---------------------------------------------------------------

    def _set_project_dir(self, directory: Any, project_name: str) -> None:
        kerastuner.set_project(self.oracle, directory, project_name)
        check_writable(directory, project_name)
        # Asked once, here, where the tuner is made: not all of a chief's threads can tell.
        self._is_chief = kerastuner.is_chief()
        if self._is_chief:
            with self._lock:
                self._sweeping.schedule.all_come_first = True

    def expect_sweeps(self) -> None:
        """Tell the oracle that its tuner runs sweeps, whatever it does to collect the search space."""
        with self._lock:
            self._sweeping.schedule.has_runner = True

    def update_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Add new hyperparameters to the search space, see `keras_tuner.Oracle`.

        Raises:
            ValueError: The tuner that collects its space here would not run any sweep.
        """
        with self._lock:
            if protocol.announces_runner(hyperparameters):
                self._sweeping.schedule.has_runner = True
            elif kerastuner.has_project(self.oracle):
                self._sweeping.schedule.require_runner()
        self.oracle.update_space(hyperparameters)

    def check_space(self, hyperparameters: kt.HyperParameters) -> None:
        """Raise if what is to be swept is not declared as it must be.

        Args:
            hyperparameters: The search space.

        Raises:
            LearningRateError: A learning rate is not found, or can't be narrowed.
            ValueError: A hyperparameter of `sweep_per` has too many values for a sweep each, or is not found.
        """
        with self._lock:
            self._sweeping.names.check_space(hyperparameters)

    def check_declaration(self, hyperparameters: kt.HyperParameters, *, may_come_late: bool = False) -> None:
        """Warn if the learning rate is declared otherwise than when the sweep was run.

        Args:
            hyperparameters: What the hypermodel declares now.
            may_come_late: Whether a `fit` of the user's own may declare the learning rate yet.
        """
        with self._lock:
            self._sweeping.names.check_declaration(hyperparameters, may_come_late=may_come_late)

    def skip_sweeps(self, reason: str) -> None:
        """Go on in the declared space, without a sweep.

        Args:
            reason: Why, for the warning.
        """
        with self._lock:
            self._sweeping.skip(reason)

    # --- What a tuner calls during the search ---------------------------------------------------------------

    def create_trial(self, tuner_id: str) -> Any:
        """Return the wrapped oracle's next trial, once the sweeps that come before it are done.

        Args:
            tuner_id: String, who asks.

        Returns:
            A `Trial`, which is that of a sweep if nothing is there to run it, see `run_sweep`. While another
            tuner is still running a sweep that this search needs, the trial's status is "IDLE" and the tuner
            asks again.
        """
        trial = self._next_trial(tuner_id)
        while self.run_sweep is not None and protocol.is_sweep(trial.hyperparameters):
            self.run_sweep(trial)
            trial = self._next_trial(tuner_id)
        return trial

    def _next_trial(self, tuner_id: str) -> Any:
        """Return the trial of a sweep that is due, else the wrapped oracle's next trial."""
        trial = None
        if self._presence.error is None:
            with self._an_error_ends_the_search():
                trial = self._due_sweep(tuner_id)
                if trial is None:
                    trial = self.oracle.create_trial(tuner_id)
                    if trial.status == "IDLE":
                        # What it proposed may need a sweep first.
                        trial = self._due_sweep(tuner_id) or trial
        self._pause_if_idle(trial)
        with self._lock:
            if trial is None or self._presence.error is not None:
                return protocol.news_trial(protocol.news_id(), self._presence.error)
            if trial.status == "STOPPED":
                self._presence.dismiss(tuner_id)
                self._sweeping.finish()
        return trial

    def _due_sweep(self, tuner_id: str) -> Any:
        """Return the trial of a sweep, one that waits for a sweep, or None if no sweep is due."""
        with self._lock:
            trial = self._sweeping.next_trial(tuner_id, time.monotonic())
            if trial is not None:
                self._presence.call_back(tuner_id)
            return trial

    def _pause_if_idle(self, trial: Any) -> None:
        """Keep a tuner waiting that would ask again at once."""
        with self._lock:
            is_idle = trial is not None and trial.status == "IDLE" and len(self._sweeping.schedule) > 0
            pause = self._presence.pause() if is_idle else 0.0
        time.sleep(pause)

    def end_trial(self, *args: Any, **kwargs: Any) -> None:
        """End a trial of the wrapped oracle, or a sweep: read its range and narrow the space."""
        trial: Any = args[0] if args else kwargs.get("trial")
        if not protocol.is_own_trial(getattr(trial, "trial_id", None)):
            with self._an_error_ends_the_search():
                self.oracle.end_trial(*args, **kwargs)
            return
        error = protocol.fatal_error(trial)
        with self._an_error_ends_the_search(), self._lock:
            if error is not None:
                self._presence.end_search(error)
                return
            self._presence.hear(self._sweeping.schedule.worker_of(trial.trial_id))
            self._sweeping.end(trial)

    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Any:
        """Record a trial's metrics; a sweep has none."""
        if not protocol.is_own_trial(trial_id):
            return self.oracle.update_trial(trial_id, metrics, step=step)
        with self._lock:
            self._sweeps_with_metrics.add(trial_id)
        return self.get_trial(trial_id)

    def get_trial(self, trial_id: str) -> Any:
        """Return the trial of that id; a sweep's has no values of metrics.

        Workers ask here for news of the search, too. So a call under such an id is a sign of life.
        """
        if not protocol.is_own_trial(trial_id):
            return self.oracle.get_trial(trial_id)
        with self._lock:
            self._presence.hear(protocol.asks_for_news(trial_id))
            trial = protocol.news_trial(trial_id, self._presence.error)
            if trial_id in self._sweeps_with_metrics:
                # KerasTuner asks so whether a `run_trial` of the user's own needs to return anything.
                trial.metrics.register(self.objective.name, self.objective.direction)
        return trial

    # --- What a chief looks at to see whether it may end ----------------------------------------------------

    @property
    def ongoing_trials(self) -> dict[str, Any]:
        """Who runs what, the sweep included: a chief waits until nobody runs anything."""
        with self._lock:
            if self._presence.error is not None:
                return {}
            return {**self.oracle.ongoing_trials, **self._sweeping.schedule.running()}

    @property
    def tuner_ids(self) -> set[str]:
        """The tuners at work, those included that the wrapped oracle has not heard of yet.

        Raises:
            RuntimeError: An error has ended the search. A chief asks here whether it may shut its server
                down, and ends with the error instead once the other workers had the time to hear of it.
        """
        if self._presence.error is not None:
            time.sleep(self._presence.farewell())
            raise RuntimeError(f"The search was ended by an error: {self._presence.error}")
        ids: set[str] = self.oracle.tuner_ids
        with self._lock:
            return ids | self._presence.at_work()

    @contextlib.contextmanager
    def _an_error_ends_the_search(self) -> Iterator[None]:
        """On a chief, keep an error and end the search for all, in place of raising it.

        There the caller is a server thread, which would only tell the one worker that it serves.
        """
        try:
            yield
        except Exception as error:
            if not self._is_chief:
                raise
            traceback.print_exc()
            with self._lock:
                self._presence.end_search(f"{type(error).__name__}: {error}")

    # --- What a notebook shows ------------------------------------------------------------------------------

    @plain_if_it_fails
    def __repr__(self) -> str:
        sweeps = self.sweeps
        number = f"{len(sweeps) or 'no'} sweep{'' if len(sweeps) == 1 else 's'}"
        found = "" if self.lr_range is None else f", {self.lr_range!r}"
        return f"{type(self).__name__}({type(self.oracle).__name__}, {number}{found})"

    @nothing_if_it_fails
    def _repr_html_(self) -> str | None:
        sweeps = self.sweeps
        return sweeps_as_html(sweeps, picture(self.plot_sweeps)) if sweeps else None

    def sweep_lines(self) -> list[str]:
        """Return what was printed, or warned of, of each sweep that has ended in this process."""
        with self._lock:
            return list(self._sweeping.lines)

    # --- Files ----------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Load the sweeps of an earlier run from the project directory, once; a reload does so by itself.

        If KerasTuner begins its own search again, as after a crash before its first trial, the space that it
        has collected is narrowed as the finished sweep says.

        Raises:
            ValueError: The file is damaged or of a newer version.
        """
        with self._lock:
            self._sweeping.restore()

    def reload(self) -> None:
        """Load the wrapped oracle and the sweeps from the project directory.

        Raises:
            ValueError: A file in it is damaged or of a newer version, or the tuner runs no sweep and one is
                due.
        """
        with self._lock:
            self._sweeping.reload()
