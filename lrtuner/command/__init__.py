"""`python -m lrtuner`: `show` prints what a search found, `find` sweeps one model."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import lrtuner


class CommandError(Exception):
    """What the user gave can't be used; the message says why, and what to give."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit status: 0 where all went well, 1 where a sweep found no range, 2 after an error.
    """
    given = _parser().parse_args(arguments)
    try:
        # Each command is imported by itself: `find` loads Keras, which takes seconds.
        if given.command == "show":
            from lrtuner.command.show import show

            return show(given)
        from lrtuner.command.find import find

        return find(given)
    except CommandError as error:
        print(f"lrtuner {given.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever reads the output has seen enough. Python would complain when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        # Mostly of the user's functions. Python would end with 1, which stands for no range.
        traceback.print_exc()
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lrtuner", description=lrtuner.__doc__)
    parser.add_argument("--version", action="version", version=lrtuner.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print what a search found, from its project directory")
    show.add_argument("directory", metavar="DIRECTORY", help="the tuner's directory/project_name")
    show.add_argument(
        "--trials", type=_count, default=10, metavar="N", help="how many of the best trials (10)"
    )
    show.add_argument(
        "--no-pictures", action="store_true", help="leave the pictures in the directory as they are"
    )
    find = commands.add_parser("find", help="sweep the learning rate of one model")
    find.add_argument("model", metavar="MODULE:NAME", help="a function that returns a compiled model")
    find.add_argument(
        "--data", required=True, metavar="MODULE:NAME", help="a function that returns x, y or a dataset"
    )
    find.add_argument("--steps", type=int, metavar="N", help="batches in the sweep")
    find.add_argument("--min-lr", type=float, default=1e-7, metavar="RATE", help="first learning rate (1e-7)")
    find.add_argument("--max-lr", type=float, default=10.0, metavar="RATE", help="last learning rate (10)")
    find.add_argument("--batch-size", type=int, metavar="N", help="rows in a batch of arrays")
    find.add_argument("--picture", metavar="FILE", help="where to draw the curve, as PNG")
    for command in (show, find):
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number of trials, 0 or more, got {text!r}")
    return int(text)


def print_json(document: Any) -> None:
    """Print a document of strict JSON, in which NaN is "nan" and infinity "inf" or "-inf"."""
    print(json.dumps(_strict(document), allow_nan=False, indent=1))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
