"""Tables on the screen, in Markdown."""

from __future__ import annotations

from typing import Any


def print_head(*columns: str) -> None:
    """Print the names of the columns, and the line below them."""
    print_row(*columns)
    print("|" + "---|" * len(columns))


def print_row(*cells: Any) -> None:
    """Print one row."""
    print("| " + " | ".join(map(str, cells)) + " |")
