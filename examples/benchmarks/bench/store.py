"""Files of what was measured, one for each thing to measure: an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.late import keras, tensorflow

# Name of the file, and what measures its contents: a dataclass.
Job = tuple[str, Callable[[], Any]]


def write(file: pathlib.Path, record: Any) -> None:
    """Write a record. The file appears in one piece or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(dataclasses.asdict(record)))
    part.replace(file)


def read(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """All records of a folder, in the order of their names."""
    for file in sorted(folder.glob("*.json")):
        yield json.loads(file.read_text())


def measure(folder: pathlib.Path, jobs: list[Job]) -> None:
    """Measure what has no file yet, on one core, and say how far it is."""
    # Small models gain nothing from threads, and figures should not depend on what else the machine does.
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    for number, (name, job) in enumerate(jobs, 1):
        file = folder / f"{name}.json"
        if file.exists():
            continue
        before = time.perf_counter()
        write(file, job())
        keras.backend.clear_session()
        now = time.perf_counter()
        print(
            f"{number:3d}/{len(jobs)} {name:32s} {now - before:6.1f} s  {now - begun:7.1f} s in all",
            flush=True,
        )
