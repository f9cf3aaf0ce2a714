"""Hypothesis profiles: HYPOTHESIS_PROFILE=benchmark looks at fifty times as many examples."""

import gc
import os

import hypothesis

hypothesis.settings.register_profile("default", max_examples=200, deadline=None)
hypothesis.settings.register_profile("benchmark", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_finish():
    """Take what the imports have made out of the garbage collector's sight: KerasTuner collects at each trial."""
    gc.collect()
    gc.freeze()
