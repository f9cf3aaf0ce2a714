import numpy as np
import pytest

from lrtuner import generators
from lrtuner.generators import SharedGenerators


def numbers(end):
    for number in range(end):
        yield np.array([number])


def taken(generator, count):
    return [int(next(generator)[0]) for _ in range(count)]


def test_training_begins_with_what_the_sweep_has_read():
    shared, source = SharedGenerators(), numbers(8)
    recorded = shared.for_sweep((source, "other"))
    assert recorded[1] == "other"
    assert taken(recorded[0], 5) == [0, 1, 2, 3, 4]
    training = shared.for_training({"x": source})["x"]
    assert taken(training, 3) == [0, 1, 2]
    # The reader of the sweep is told that it is over, and takes nothing more.
    assert list(recorded[0]) == []
    training.close()
    assert [int(batch[0]) for batch in shared.for_training((source,))[0]] == [3, 4, 5, 6, 7]


def test_a_sweep_after_a_training_reads_on_and_loses_nothing():
    shared, source = SharedGenerators(), numbers(20)
    assert taken(shared.for_sweep((source,))[0], 4) == [0, 1, 2, 3]
    assert taken(shared.for_training((source,))[0], 2) == [0, 1]
    # What the first sweep has read comes first, as it does for a training.
    second = shared.for_sweep((source,))[0]
    assert taken(second, 4) == [2, 3, 4, 5]
    # One that failed is run again on the same batches.
    assert taken(shared.for_sweep((source,))[0], 5) == [2, 3, 4, 5, 6]
    assert list(second) == []
    assert [int(batch[0]) for batch in shared.for_training((source,))[0]] == list(range(2, 20))


def test_without_a_sweep_arguments_stay_themselves():
    shared, source = SharedGenerators(), numbers(3)
    assert shared.for_training((source,))[0] is source
    shared.for_sweep((numbers(3),))
    assert shared.for_training((source,))[0] is source


def test_what_is_too_large_to_keep_is_said(monkeypatch):
    monkeypatch.setattr(generators, "KEPT_BYTES", 20)
    shared, source = SharedGenerators(), numbers(8)
    with pytest.warns(UserWarning, match="3 batches .* too many to keep"):
        taken(shared.for_sweep((source,))[0], 5)
    assert taken(shared.for_training((source,))[0], 3) == [5, 6, 7]
