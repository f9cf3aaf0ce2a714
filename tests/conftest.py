"""Hypothesis profiles: HYPOTHESIS_PROFILE=benchmark looks at fifty times as many examples."""

import gc
import os

import hypothesis

hypothesis.settings.register_profile("default", max_examples=200, deadline=None)
hypothesis.settings.register_profile("benchmark", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def spare_the_collector():
    """Keep what lives by now from the garbage collector, which KerasTuner runs at each trial."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish():
    spare_the_collector()


def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or nextitem.parent is not item.parent:
        spare_the_collector()
