"""Hypothesis profiles: HYPOTHESIS_PROFILE=benchmark looks at fifty times as many examples."""

import gc
import os

# Before NumPy and TensorFlow are imported, here or in the processes that tests start. oneDNN compiles its
# kernels anew for the shapes of each model, and the models here are trained for too few batches to gain by
# it. Threads of OpenBLAS and TensorFlow wait for one another, and take the time of what is tested beside.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import hypothesis
import matplotlib

# Half of the time of a picture is its ticks'. The pictures that searches leave are looked at in test_plot.py,
# which draws them whole.
matplotlib.rcParams.update(
    {"xtick.bottom": False, "xtick.labelbottom": False, "ytick.left": False, "ytick.labelleft": False}
)

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
