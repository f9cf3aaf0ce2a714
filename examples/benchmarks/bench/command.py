"""The command line that benchmarks share which first measure and then score."""

from __future__ import annotations

import argparse
import difflib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every such command takes."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("command", nargs="?", choices=("measure", "score", "all"), default="all")
    result.add_argument(
        "--data", type=pathlib.Path, help="where the measurements are kept; default: in runs/"
    )
    result.add_argument("--quick", action="store_true", help="a few of them, coarse, from one seed")
    return result


def folder(options: argparse.Namespace, name: str) -> pathlib.Path:
    """Return where the measurements are kept."""
    return options.data or ROOT / "runs" / (f"{name}_quick" if options.quick else name)


def names(chosen: str | None, known: list[str], what: str, parser: argparse.ArgumentParser) -> list[str]:
    """Return the names that an option lists, or all; end the command where one is unknown."""
    if chosen is None:
        return known
    listed = chosen.split(",")
    if unknown := [name for name in listed if name not in known]:
        near = difflib.get_close_matches(unknown[0], known, 5, 0.3)
        parser.error(
            f"unknown {what}: {', '.join(unknown)}; there are such as {', '.join(near or known[:5])}"
        )
    return listed


def import_from_checkout() -> None:
    """Let lrtuner of this checkout be imported, and rules in the working directory."""
    sys.path[:0] = [str(ROOT), "."]
