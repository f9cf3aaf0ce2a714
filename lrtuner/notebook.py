"""What notebooks show of curves, ranges, sweeps and searches.

A notebook is a kernel of IPython's, as in Jupyter or Colab; IPython in a terminal is none. IPython is never
imported here: where there is a kernel, it is there.
"""

from __future__ import annotations

import base64
import functools
import html
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lrtuner.values import bounds_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrtuner.search.record import Sweep

Shown = TypeVar("Shown", str, bytes)

# Seconds from one state of a progress line to the next.
_INTERVAL = 0.2


def in_kernel() -> bool:
    """Return whether this process is the kernel of a notebook."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_shell is not None and getattr(get_shell(), "kernel", None) is not None


# --- How an object shows itself -----------------------------------------------------------------------------


def plain_if_it_fails(method: Callable[[Any], str]) -> Callable[[Any], str]:
    """Make a `__repr__` fall back on Python's own, as for an object that is not set up yet."""

    @functools.wraps(method)
    def shown(self: Any) -> str:
        try:
            return method(self)
        except Exception:
            return object.__repr__(self)

    return shown


def nothing_if_it_fails(method: Callable[[Any], Shown | None]) -> Callable[[Any], Shown | None]:
    """Make a method such as `_repr_png_` return None, for which a notebook shows the `repr`."""

    @functools.wraps(method)
    def shown(self: Any) -> Shown | None:
        try:
            return method(self)
        except Exception:
            return None

    return shown


def picture(draw: Callable[[Axes], object]) -> bytes:
    """Return a picture as PNG.

    Args:
        draw: Draws on the axes that it is given.
    """
    from lrtuner.plot import png

    return png(draw)


def sweeps_as_html(sweeps: Sequence[Sweep], png: bytes) -> str:
    """Return a table of sweeps, with their picture below.

    Args:
        sweeps: The sweeps, at least one.
        png: The picture.
    """
    rows = "".join(_row(sweep) for sweep in sweeps)
    head = "".join(f"<th>{name}</th>" for name in ("sweep", "declared", "range", "note"))
    image = base64.b64encode(png).decode()
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f'<img alt="The sweeps, their ranges and the trials" src="data:image/png;base64,{image}">'
    )


def _row(sweep: Sweep) -> str:
    note = sweep.reason or sweep.caveat
    ends = [
        sweep.declared,
        None if sweep.lr_range is None else (sweep.lr_range.min_lr, sweep.lr_range.max_lr),
    ]
    cells = [sweep.name, *("none" if two is None else bounds_in_words(*two) for two in ends), note]
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


# --- What a cell shows while it runs ------------------------------------------------------------------------


def show(lines: Sequence[str], draw: Callable[[Axes], object]) -> None:
    """Print lines and show a picture in the cell that runs.

    Args:
        lines: The lines.
        draw: Draws the picture. Where that fails, there is none.
    """
    from IPython.display import display

    for line in lines:
        print(line)
    try:
        png = picture(draw)
    except Exception:
        # The search has said so when it could not save its picture.
        return
    display({"image/png": png, "text/plain": "The learning-rate sweeps"}, raw=True)


class ProgressLine:
    """A progress bar's place in a notebook: one line that changes, and not a line for each state.

    Args:
        target: Batches in the sweep.
    """

    def __init__(self, target: int) -> None:
        from IPython.display import display

        self._target = target
        self._last = 0.0
        self._values: dict[str, float] = {}
        self._line = display(self._content(0), raw=True, display_id=True)

    def update(
        self, current: int, values: Sequence[tuple[str, float]] = (), finalize: bool | None = None
    ) -> None:
        """Show a state, as `keras.utils.Progbar` does.

        Args:
            current: Batches so far.
            values: Names and numbers of what is shown beside.
            finalize: Whether this is the last state.
        """
        self._values.update(values)
        now = time.monotonic()
        if finalize or now - self._last >= _INTERVAL:
            self._last = now
            self._line.update(self._content(current), raw=True)

    def _content(self, current: int) -> dict[str, str]:
        values = "".join(f" - {name}: {value:.4g}" for name, value in self._values.items())
        return {"text/plain": f"{current}/{self._target} batches{values}"}
