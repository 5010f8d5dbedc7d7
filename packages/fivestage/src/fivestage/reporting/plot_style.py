"""Common plot style: SVG that takes its colours from the page's light or dark theme."""

import hashlib
import io
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.style import context

P = ParamSpec("P")

INK, QUIET, LINE, PAPER = "#24292f", "#6e7781", "#d0d7de", "#fefefe"
# Safe for colour blindness (Okabe and Ito 2008).
BLUE, RED, GREEN, AMBER = ("#0072b2", "#d55e00", "#009e73", "#e69f00")
SERIES = (BLUE, GREEN, AMBER, RED)
MARKERS = ("o", "s", "^", "D")
STYLE = str(Path(__file__).with_name("plots.mplstyle"))
CSS_NAMES = dict(
    zip(
        (INK, QUIET, LINE, PAPER, BLUE, RED, GREEN, AMBER),
        ("ink", "quiet", "line", "paper", "blue", "red", "green", "amber"),
        strict=True,
    )
)


def chart(
    width: float, height: float = 3.0
) -> Callable[[Callable[Concatenate[Figure, P], None]], Callable[P, Markup]]:
    """Decorate a function that draws on a figure of this size in inches, so that it returns SVG."""

    def decorate(draw: Callable[Concatenate[Figure, P], None]) -> Callable[P, Markup]:
        description = (draw.__doc__ or "").split("\n", maxsplit=1)[0]

        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> Markup:
            # SVG ids must be unique within a page.
            salt = hashlib.sha256(repr((draw.__name__, args, kwargs)).encode()).hexdigest()
            with context([STYLE, {"svg.hashsalt": salt}]):
                figure = Figure(figsize=(width, height))
                draw(figure, *args, **kwargs)
                return _inline(figure, description)

        return drawn

    return decorate


def _inline(figure: Figure, description: str) -> Markup:
    """Convert a figure to inline SVG with CSS variables as colours and a label for screen readers."""
    output = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(output, format="svg", metadata=no_metadata)
    svg = output.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # unreferenced, and not unique across plots
    for colour, name in CSS_NAMES.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    box = re.search(r'viewBox="[^"]*"', svg)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {namespaces} {box[0] if box else ""} role="img" aria-label="{description}">'
    return Markup(re.sub(r"<svg[^>]*>", opening, svg, count=1))  # noqa: S704 (our own)
