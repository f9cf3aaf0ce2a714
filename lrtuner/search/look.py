"""What a sweep has to know of the user's models, seen by building a few of them at other values."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner as kt
from keras_tuner.engine import hyperparameters as hp_types

from lrtuner.errors import LearningRateError, UnusableModelError
from lrtuner.search.protocol import Order, put
from lrtuner.search.settings import Setting, SettingSpace, setting_combinations, setting_key
from lrtuner.space.entries import entry_bounds, spread_values
from lrtuner.space.learning_rate import is_named_like_learning_rate
from lrtuner.space.relation import IDENTITY, Relation
from lrtuner.sweep.data import has_raw_inputs
from lrtuner.sweep.model import compiled_with, optimizers_of, peak_rate

# At most so many models are built before a sweep. One of hundreds of layers takes a second.
MOST_BUILDS = 8

# Tried before other hyperparameters: what chooses optimizers, then what adds normalisation.
_LIKELY = re.compile("optim|momentum|nesterov|solver", re.IGNORECASE)
_LIKELY_NORMALISER = re.compile("norm|bn|scal", re.IGNORECASE)
_OPTIMIZERS = {
    name.lower()
    for name, one in vars(keras.optimizers).items()
    if isinstance(one, type) and issubclass(one, keras.optimizers.Optimizer)
}
# Layers that bring the inputs of the whole model to scale, and those that bring their own.
_SCALING = {"Normalization", "Rescaling"}
_NORMALISERS = re.compile("(?<!Spectral)Normalization$|^Rescaling$")
# The peak of a warm-up schedule is met to about a percent.
_RATE_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a build has shown.

    Attributes:
        entries: The hyperparameters that it has declared and that are active, by name.
        values: Their values.
        compiled: The class and the momentum of each optimizer, or None where the model is not compiled.
        rates: The rates of the optimizers.
        normalisers: Class names of the layers that bring their inputs to one scale.
    """

    entries: Mapping[str, Any]
    values: Mapping[str, Any]
    compiled: Hashable
    rates: Sequence[float]
    normalisers: frozenset[str]


class Models:
    """The models of a search near the one that is to be swept.

    Args:
        build: The user's `build`.
        hyperparameters: The values of the sweep.
        model: The model that it has built, and that is to be swept.
        order: The sweep's order.
    """

    def __init__(
        self,
        build: Callable[[kt.HyperParameters], Any],
        hyperparameters: kt.HyperParameters,
        model: Any,
        order: Order,
    ) -> None:
        self._build = build
        self._hyperparameters = hyperparameters
        self._order = order
        self._start = dict(hyperparameters.values)
        self._model = model
        self._optimizers = optimizers_of(model)
        self._left = MOST_BUILDS
        self._seen: list[Seen] = []
        self._failed: list[dict[str, Any]] = []
        # All hyperparameters met so far, as they were declared first.
        self._entries = {entry.name: entry for entry in hyperparameters.space}
        self._known = {order.learning_rate, *order.learning_rates} - {None}
        self._is_raw = False
        self._normalising: list[str] = []

    def at(self, changes: Mapping[str, Any]) -> Seen | None:
        """Return what a build shows at the sweep's values with some changes.

        Args:
            changes: Values by name.

        Returns:
            What it shows; None where it fails, or too many models were built before.
        """
        values = {**self._start, **changes}
        for seen in self._seen:
            # What a build doesn't declare, it can't see.
            if all(seen.values[name] == values.get(name, one.default) for name, one in seen.entries.items()):
                return seen
        if not self._left or values in self._failed:
            return None
        self._left -= 1
        hyperparameters = kt.HyperParameters()
        hyperparameters.values = dict(values)
        put(hyperparameters, self._order)
        try:
            seen = _what_is_seen(self._build(hyperparameters), hyperparameters)
        except Exception:
            # Its own sweep, or trial, will say what is wrong.
            self._failed.append(values)
            return None
        finally:
            # Keras' models hold themselves until Python looks for cycles.
            gc.collect()
        self._seen.append(seen)
        for name, entry in seen.entries.items():
            self._entries.setdefault(name, entry)
        return seen

    def rates_at_start(self) -> frozenset[str]:
        """Return the learning rates that the model of the sweep's values declares."""
        seen = self.at({})
        return frozenset() if seen is None else self._rates_in(seen)

    def _is_rate(self, entry: Any) -> bool:
        return entry.name in self._known or is_named_like_learning_rate(entry)

    # --- How a rate follows a hyperparameter ----------------------------------------------------------------

    def followers(self, name: str) -> tuple[list[Any], Relation]:
        """Return the optimizers of the model whose rates follow a hyperparameter, and how they follow.

        Args:
            name: The hyperparameter.

        Returns:
            The optimizers, at least one. How the hyperparameter's values turn into their rates.

        Raises:
            LearningRateError: No rate follows the hyperparameter, or one both rises and falls with it.
        """
        value, rates = self._start.get(name), [peak_rate(optimizer) for optimizer in self._optimizers]
        if value is None:
            raise LearningRateError(f"the model that is swept does not declare {name!r}")
        same = [index for index, rate in enumerate(rates) if _is_same(rate, float(value))]
        if same and list(self._start.values()).count(value) > 1:
            # They may follow another hyperparameter, which has the same value.
            values = spread_values(self._hyperparameters, name)
            seen = self.at({name: values[0] if value == values[-1] else values[-1]})
            if seen is not None and len(seen.rates) == len(rates):
                same = [index for index in same if not _is_same(seen.rates[index], rates[index])]
        if same:
            return [self._optimizers[index] for index in same], IDENTITY
        if len(rates) == 1:
            return self._optimizers, self._relation(name, 0, rates[0])
        for index, rate in enumerate(rates):
            with contextlib.suppress(LearningRateError):
                return [self._optimizers[index]], self._relation(name, index, rate)
        raise LearningRateError(
            f"none of the model's {len(rates)} optimizers has a rate that follows {name!r}: pass it to one"
        )

    def _relation(self, name: str, index: int, rate: float) -> Relation:
        """Return how the rate of one of the optimizers follows a hyperparameter, from three models."""
        values = spread_values(self._hyperparameters, name)
        low, high = (self._rate_at(name, value, index) for value in (values[0], values[-1]))
        if _is_same(low, high):
            kind = type(self._optimizers[index]).__name__
            raise LearningRateError(
                f"the model is compiled with a rate of {low:.4g} whatever {name!r} is, as "
                f"compile({kind.lower()!r}) takes none: pass it, keras.optimizers.{kind}({name})"
            )
        built = self._rate_at(name, self._start[name], index)
        if not _is_same(rate, built):
            raise LearningRateError(
                f"the model is built for a learning rate of {built:.4g} but trains at {rate:.4g}: leave the "
                "rate to build, or declare and set it in HyperModel.fit as it is"
            )
        points = {values[0]: low, values[-1]: high}
        middle = values[len(values) // 2]
        if middle not in points:
            points[middle] = self._rate_at(name, middle, index)
        return Relation(*zip(*sorted(points.items()), strict=True))

    def _rate_at(self, name: str, value: Any, index: int) -> float:
        seen = self.at({name: value})
        if seen is None or index >= len(seen.rates):
            raise LearningRateError(
                f"how the learning rate follows {name!r} can't be seen, as build gives no compiled model for "
                f"{name}={value!r}: compile it in build, or declare the rate itself"
            )
        return seen.rates[index]

    def batch_size_name(self, batch_size: int | None) -> str | None:
        """Return the hyperparameter that is the batch size of `fit`, by its name, and moves no rate itself.

        Larger batches mean fewer of them in as many epochs, so the rate must grow. Measured on 108 settings:
        a range that grows with the square root of the batch size holds the good rates more often where the
        epochs are the same, and less often where the number of batches is.

        Args:
            batch_size: Rows in a batch of the sweep, or None where nobody knows.
        """
        for entry in self._hyperparameters.space:
            name, value = entry.name.lower(), self._hyperparameters.values.get(entry.name)
            if "batch" not in name or "norm" in name or value != batch_size or type(value) is not int:
                continue
            other = max(entry_bounds(entry), key=lambda end: abs(end - value))
            here, there = self.at({}), self.at({entry.name: other})
            # If the user scales the rate with the batch size, lrtuner's own law would come on top of that.
            if other != value and here and there and here.rates == there.rates != []:
                return str(entry.name)
        return None

    # --- Which hyperparameters move the range ---------------------------------------------------------------

    def settings(self, name: str, x: Any) -> SettingSpace:
        """Return the hyperparameters that choose how the model is compiled, and so move its range.

        What chooses the learning rate counts as well: a build function may declare `adam_lr` in one branch of
        an if and `sgd_lr` in the other. On raw inputs, what adds normalisation counts, too.

        What only other branches of the build function declare is registered among the hyperparameters of the
        sweep, so that the search space is whole before the first trial.

        Args:
            name: The learning rate.
            x: The training inputs.
        """
        self._known.add(name)
        given = self._order.settings
        known = {entry.name for entry in self._hyperparameters.space}
        # Some are left to see which hyperparameter is the batch size, and how the rate follows the value.
        value = self._start.get(name)
        is_rate = value is None or any(_is_same(peak_rate(one), float(value)) for one in self._optimizers)
        kept = 1 if is_rate else 3
        self._left -= kept
        if given is None:
            is_listed = any(map(self._may_choose, self._entries.values()))
            self._is_raw = is_listed and has_raw_inputs(self._model, x)
            names = self._choosing()
        else:
            names = list(given.names)
        settings = self._combinations(names)
        looked = [(setting, self.at(setting)) for setting in settings] if names else []
        self._left += kept
        groups: dict[Hashable, list[Setting]] = {}
        for setting, seen in looked if given is None else ():
            groups.setdefault(setting_key(setting) if seen is None else self._kind(seen), []).append(setting)
        built = [(setting, seen) for setting, seen in looked if seen is not None]
        declared = [(setting, seen or _most_like(setting, built)) for setting, seen in looked if built]
        # The settings in which a hyperparameter is declared, where others lack it.
        held = {
            key: [setting for setting, seen in declared if key in seen.entries]
            for key, entry in self._entries.items()
            if self._is_rate(entry) or key not in known
        }
        declared_in = {key: several for key, several in held.items() if 0 < len(several) < len(declared)}
        self._hyperparameters.merge([self._entries[key] for key in declared_in if key not in known])
        return SettingSpace(
            tuple(key for key in self._entries if key in names),
            tuple(tuple(group) for group in groups.values() if len(group) > 1),
            declared_in=declared_in,
            learning_rates=self._branch_rates([seen for _, seen in declared], declared_in),
        )

    def _choosing(self) -> list[str]:
        """Return the names of the hyperparameters that choose."""
        names = self._choosing_beside({}, [])
        more = list(names)
        while more and len(self._normalising) < 2:
            settings = self._combinations(names)
            # The settings' own models come before changes beside them.
            for setting in settings:
                self.at(setting)
            found = (self._choosing_beside(setting, names) for setting in settings)
            more = next(filter(None, found), [])
            names += more
        if len(self._normalising) > 1:
            # As one for each layer: a sweep for each of their combinations would be too many.
            names = [name for name in names if name not in self._normalising]
        return names

    def _choosing_beside(self, setting: Setting, names: Sequence[str]) -> list[str]:
        """Return hyperparameters that choose, beside a setting of those that are known to."""
        here = self.at(setting)
        if here is None:
            return []
        rest = [self._entries[name] for name in here.entries if name not in names]
        rest = sorted(filter(self._may_choose, rest), key=_likelihood)
        changes = {entry.name: self._other(entry, here) for entry in rest}
        changed = self.at({**setting, **changes})
        kind = None if changed is None else self._kind(changed)
        found: Setting = {}
        for name, value in changes.items():
            before = self.at({**setting, **found})
            if before is None or kind == self._kind(before):
                break
            after = self.at({**setting, **found, name: value})
            if after is not None and self._kind(after) != self._kind(before):
                found[name] = value
                if self._kind(after)[:2] == self._kind(before)[:2]:
                    self._normalising.append(name)
        return list(found)

    def _may_choose(self, entry: Any) -> bool:
        is_listed = isinstance(entry, (hp_types.Choice, hp_types.Boolean)) and len(entry.values) > 1
        return is_listed and not self._is_rate(entry)

    @staticmethod
    def _other(entry: Any, seen: Seen) -> Any:
        return [value for value in entry.values if value != seen.values[entry.name]][-1]

    def _combinations(self, names: Sequence[str]) -> list[Setting]:
        space = kt.HyperParameters()
        space.merge(list(self._entries.values()))
        return setting_combinations(space, names)

    def _kind(self, seen: Seen) -> tuple[Hashable, ...]:
        """Return what tells models apart whose ranges differ."""
        scaled = seen.normalisers & _SCALING or seen.normalisers
        return seen.compiled, self._rates_in(seen), scaled if self._is_raw else None

    def _rates_in(self, seen: Seen) -> frozenset[str]:
        """Return the learning rates that a build declares, or those of them that are searched.

        A rate that comes in addition to those searched, as for a second phase of training, changes nothing.
        """
        rates = frozenset(name for name, entry in seen.entries.items() if self._is_rate(entry))
        return rates & self._known or rates

    def _branch_rates(self, several: Sequence[Seen], declared_in: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the learning rates that are the only one of their branch, those given before the others.

        Which of two in one branch is the learning rate can't be told, unless one was given.
        """
        rates = [self._rates_in(seen) for seen in several] if self._order.others_count else []
        found = [name for name in self._entries if name in self._known & frozenset().union(*rates)]
        found += [name for held in rates if len(held) == 1 for name in held if name not in self._known]
        unique = tuple(dict.fromkeys(found))
        return unique if len(unique) > 1 and any(name in declared_in for name in unique) else ()


def _what_is_seen(model: Any, hyperparameters: kt.HyperParameters) -> Seen:
    """Return what a model and the hyperparameters that its build has declared show."""
    rates = []
    with contextlib.suppress(UnusableModelError):
        rates = [peak_rate(optimizer) for optimizer in optimizers_of(model)]
    layers = {kind.__name__ for layer in model._flatten_layers() for kind in type(layer).__mro__}
    active = filter(hyperparameters.is_active, hyperparameters.space)
    entries = {entry.name: entry for entry in active}
    return Seen(
        entries,
        {name: hyperparameters.values[name] for name in entries},
        compiled_with(model),
        rates if model.compiled else [],
        frozenset(filter(_NORMALISERS.search, layers)),
    )


def lists_optimizers(entry: Any) -> bool:
    """Return whether a hyperparameter chooses among optimizers by the names that Keras has for them."""
    values = entry.values if isinstance(entry, hp_types.Choice) else ()
    return sum(str(value).lower() in _OPTIMIZERS for value in values) > 1


def _likelihood(entry: Any) -> int:
    """Return the rank of a hyperparameter among those that may choose, by its name and values."""
    if _LIKELY.search(entry.name) or lists_optimizers(entry):
        return 0
    return 1 if _LIKELY_NORMALISER.search(entry.name) else 2


def _most_like(setting: Setting, built: Sequence[tuple[Setting, Seen]]) -> Seen:
    """Return what the setting most like another one declares, of those whose models were built."""
    return max(built[::-1], key=lambda pair: len(pair[0].items() & setting.items()))[1]


def _is_same(rate: float, other: float) -> bool:
    return abs(rate - other) <= _RATE_TOLERANCE * abs(other)
