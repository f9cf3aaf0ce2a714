"""Files of what was measured, one for each thing to measure: an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bench.late import keras, tensorflow

Record = TypeVar("Record")
# Name of the file, and what measures its contents: a dataclass.
Job = tuple[str, Callable[[], Any]]


def write(file: pathlib.Path, record: Any) -> None:
    """Write a record. The file appears in one piece or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(dataclasses.asdict(record)))
    part.replace(file)


def read(folder: pathlib.Path, build: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """Yield all records of a folder, in the order of their names, as `build` makes them of their contents.

    Raises:
        SystemExit: Where a file has other contents.
    """
    for file in sorted(folder.glob("*.json")):
        try:
            record = build(json.loads(file.read_text()))
        except (KeyError, TypeError, ValueError) as error:
            raise SystemExit(
                f"{file} is damaged or of another version ({error!r}): delete it and measure again."
            ) from error
        yield record


def measure(folder: pathlib.Path, jobs: list[Job]) -> None:
    """Measure what has no file yet, on one core, and say how far it is."""
    # TensorFlow would warn that functions are compiled again and again: each model has its own.
    tensorflow.get_logger().setLevel("ERROR")
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
