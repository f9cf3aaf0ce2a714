"""What TensorBoard shows of a search's sweeps, where the user logs the search to it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import keras

from lrtuner import messages
from lrtuner.results import ALONE, Sweep


def write_sweeps(callbacks: Any, sweeps: Sequence[Sweep], *, only_missing: bool = False) -> None:
    """Write sweeps as runs beside those of the trials: loss and learning rate of each batch, and the picture.

    A run is called `lr_sweep`, or `lr_sweep/SETTING` of several. What can't be written is warned of.

    Args:
        callbacks: What the user passes to `search` as `callbacks`; all but TensorBoard's are passed over.
        sweeps: The sweeps. Those without a curve are left out.
        only_missing: Whether to leave out those that have a run already.
    """
    boards = [one for one in callbacks or () if isinstance(one, keras.callbacks.TensorBoard)]
    for directory, sweep in itertools.product({str(one.log_dir) for one in boards}, sweeps):
        try:
            import tensorflow as tf

            setting = "" if sweep.name == ALONE else "/" + re.sub(r"[^\w.=-]+", "_", sweep.name)
            is_there = tf.io.gfile.exists(f"{directory}/lr_sweep{setting}")
            if sweep.curve is None or (only_missing and is_there):
                continue
            writer = tf.summary.create_file_writer(f"{directory}/lr_sweep{setting}")
            with writer.as_default():
                for step, rate in enumerate(sweep.curve.learning_rates):
                    tf.summary.scalar("learning_rate", rate, step=step)
                    tf.summary.scalar("loss", sweep.curve.losses[step], step=step)
                tf.summary.image("picture", tf.io.decode_png(sweep._repr_png_())[None], step=0)
            writer.close()
        except Exception as error:
            messages.warn(f"The sweep could not be written for TensorBoard: {error!r}")
