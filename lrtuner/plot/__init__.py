"""Pictures of LR range tests: the curve, the range read off it, and the trials of the search that followed.

matplotlib is imported only where something is drawn, and the user's style (rcParams) is left alone.
"""

from lrtuner.plot.layout import png, save_picture
from lrtuner.plot.pictures import plot_curve, plot_search, plot_sweeps
from lrtuner.plot.series import Bounds, DrawnSweep, Trials

__all__ = [
    "Bounds",
    "DrawnSweep",
    "Trials",
    "plot_curve",
    "plot_search",
    "plot_sweeps",
    "png",
    "save_picture",
]
