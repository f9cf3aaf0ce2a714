"""What TensorBoard shows of a search's sweeps, where the user logs the search to it.

Each sweep is a run of its own below the directory of the user's callback, beside the runs of the trials:

| run | holds |
|---|---|
| `lr_sweep`, or `lr_sweep/SETTING` of several | `loss` and `learning_rate` of each batch, and the `picture` |
| `lr_sweep` | the search space after narrowing, for the HParams dashboard |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import keras_tuner as kt

from lrtuner import kerastuner
from lrtuner.notebook import picture
from lrtuner.plot import plot_sweeps
from lrtuner.search import messages
from lrtuner.search.record import ALONE, Sweep

_RUN = "lr_sweep"


class SweepLog:
    """Writes the sweeps of a search into the directories of the user's TensorBoard callbacks.

    What can't be written is warned of, and the search goes on.

    Args:
        callbacks: What the user passes to `search` as `callbacks`; other callbacks are passed over.
        sweeps: The sweeps that were finished before. Those that are there already are not written again.
    """

    def __init__(self, callbacks: Any, sweeps: Sequence[Sweep]) -> None:
        logs = [
            str(one.log_dir)
            for one in (callbacks if isinstance(callbacks, (list, tuple)) else [])
            if isinstance(one, keras.callbacks.TensorBoard)
        ]
        self._directories = list(dict.fromkeys(logs))
        self._written: set[str] = set()
        for path in self._runs(sweeps):
            self._try(self._look_for, path)

    def _runs(self, sweeps: Sequence[Sweep]) -> dict[str, Sweep]:
        return {f"{directory}/{run_of(sweep)}": sweep for directory in self._directories for sweep in sweeps}

    def add_sweeps(self, sweeps: Sequence[Sweep]) -> None:
        """Write the sweeps that are not written yet, as far as they have a curve."""
        for path, sweep in self._runs(sweeps).items():
            if path not in self._written:
                self._written.add(path)
                self._try(_write_sweep, path, sweep)

    def add_space(self, oracle: kt.Oracle) -> None:
        """Write the search space, once the metrics of the trials are known: HParams shows no others.

        Args:
            oracle: The oracle of a search that has ended, with a narrowed space.
        """
        metrics = {name for trial in oracle.trials.values() for name in trial.metrics.metrics}
        for directory in self._directories:
            path = f"{directory}/{_RUN}"
            # HParams reads the first one that it finds.
            if metrics and f"{path}/space" not in self._written:
                self._written.add(f"{path}/space")
                self._try(_write_space, path, oracle.get_space(), sorted(metrics))

    def _look_for(self, path: str) -> None:
        import tensorflow as tf

        if tf.io.gfile.exists(path):
            self._written.add(path)

    def _try(self, job: Callable[..., None], *arguments: Any) -> None:
        try:
            job(*arguments)
        except Exception as error:
            messages.not_in_tensorboard(error)


def run_of(sweep: Sweep) -> str:
    """Return the name of a sweep's run."""
    if sweep.name == ALONE:
        return _RUN
    setting = re.sub(r"[^\w.=-]+", "_", sweep.name)
    return f"{_RUN}/{setting}"


def _write_sweep(path: str, sweep: Sweep) -> None:
    import tensorflow as tf

    if sweep.curve is None:
        return
    png = picture(lambda ax: plot_sweeps([sweep], ax=ax))
    writer = tf.summary.create_file_writer(path)
    with writer.as_default():
        for step, (rate, loss) in enumerate(zip(sweep.curve.learning_rates, sweep.curve.losses, strict=True)):
            tf.summary.scalar("learning_rate", rate, step=step)
            tf.summary.scalar("loss", loss, step=step)
        tf.summary.image("picture", tf.io.decode_png(png)[None], step=0)
    writer.close()


def _write_space(path: str, space: kt.HyperParameters, metrics: Iterable[str]) -> None:
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    # As Keras' callback calls them, below the run of the trial.
    shown = [
        api.Metric(f"epoch_{name.removeprefix('val_')}", group="validation", display_name=name)
        if name.startswith("val_")
        else api.Metric(f"epoch_{name}", group="train", display_name=name)
        for name in metrics
    ]
    writer = tf.summary.create_file_writer(path)
    with writer.as_default():
        api.hparams_config(kerastuner.tensorboard_hparams(space), shown)
    writer.close()
