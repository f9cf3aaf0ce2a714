#!/usr/bin/env python3
"""Say which measurement the figures of the documents come from, and check them against what it printed.

    python examples/benchmarks/figures.py

A comment `<!-- from NAME -->` stands before each table or paragraph whose figures are measured. What the
benchmark printed lies in `results/NAME.txt`, which begins with its command. Each row of such a table, but for
its first cell, and each decimal number of such a paragraph must occur there.
"""

from __future__ import annotations

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCUMENTS = ("README.md", "examples/README.md", "examples/benchmarks/README.md")
MARK = re.compile(r"<!-- from (\w+) -->\n+(.+?)(?=\n\n|\Z)", re.S)


def figures(block: str) -> list[str]:
    """Return what a table or a paragraph takes from its measurement."""
    if not block.startswith("|"):
        return re.findall(r"(?<![\w.])x?\d*\.\d+", block)
    rows = [row.split("|", 2)[2] for row in block.splitlines()[2:]]
    return [re.sub(r"\s+", " ", row.replace("**", "")).strip() for row in rows]


def sources() -> list[tuple[str, str, list[str]]]:
    """Return of each mark where it stands, its measurement's command, and the figures that are not in it."""
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        for mark in MARK.finditer(text):
            printed = re.sub(" +", " ", (HERE / "results" / f"{mark[1]}.txt").read_text())
            line = text.count("\n", 0, mark.start(2)) + 1
            missing = [one for one in figures(mark[2]) if one not in printed]
            found.append((f"{document}:{line}", printed.splitlines()[0], missing))
    return found


if __name__ == "__main__":
    for place, command, missing in sources():
        print(f"{place}: {command}", *(f"\n  not there: {one}" for one in missing), sep="")
