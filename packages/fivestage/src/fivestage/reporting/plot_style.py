"""One style for every plot: SVG that takes its colours from the page, light or dark."""

import hashlib
import io
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from matplotlib.figure import Figure
from matplotlib.style import context

P = ParamSpec("P")

INK = "#24292f"
QUIET = "#6e7781"
LINE = "#d0d7de"
PAPER = "#fefefe"
BLUE = "#0072b2"  # these four are distinct for colour-blind readers (Okabe and Ito 2008)
RED = "#d55e00"
GREEN = "#009e73"
AMBER = "#e69f00"
SERIES = (BLUE, GREEN, AMBER, RED)
MARKERS = ("o", "s", "^", "D")
_NAMES = {
    INK: "ink",
    QUIET: "quiet",
    LINE: "line",
    PAPER: "paper",
    BLUE: "blue",
    RED: "red",
    GREEN: "green",
    AMBER: "amber",
}
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "date.converter": "concise",
    "date.interval_multiples": True,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.color": LINE,
    "ytick.labelcolor": QUIET,
}


def chart(draw: Callable[P, Figure]) -> Callable[P, str]:
    """Decorate a function that draws a figure, so that it returns the figure's SVG.

    Args:
        draw: the function; the first line of its docstring describes the plot to a screen reader.

    Returns:
        The function, returning SVG for use inside of HTML. Equal arguments give equal SVG.
    """
    about = (draw.__doc__ or "").split("\n", maxsplit=1)[0]

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        salt = hashlib.sha256(
            repr((draw.__name__, args, kwargs)).encode()
        ).hexdigest()  # ids must differ in one page
        with context(_STYLE | {"svg.hashsalt": salt}):
            return _inline(draw(*args, **kwargs), about)

    return drawn


def _inline(figure: Figure, about: str) -> str:
    written = io.StringIO()
    figure.savefig(
        written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = written.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to them, and they repeat from plot to plot
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    box = re.search(r'viewBox="[^"]*"', svg)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {spaces} {box[0] if box else ""} role="img" aria-label="{about}">'
    return re.sub(r"<svg[^>]*>", opening, svg, count=1)
