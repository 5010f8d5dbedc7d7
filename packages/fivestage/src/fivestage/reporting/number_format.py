"""Format numbers, dates and names for people; numbers that are not finite become a dash."""

import math
from collections.abc import Callable
from datetime import date

from fivestage.evaluation.metrics import Estimate

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
DIGEST = 12


def metric_title(name: str) -> str:
    """Return the display name of a metric."""
    return METRICS[name][0] if name in METRICS else spaced(name)


def metric(name: str, value: float) -> str:
    """Format a metric's value."""
    return METRICS[name][1](value) if name in METRICS else decimal(value)


def estimate(name: str, number: Estimate) -> str:
    """Format a metric's value and its interval."""
    return metric(name, number.value) + interval(name, number, " ({} to {})")


def interval(name: str, number: Estimate, form: str = "{} to {}") -> str:
    """Format an interval; empty if there is none, as for the number of rows."""
    if name == "rows" or not math.isfinite(number.low) or number.low == number.high:
        return ""
    return form.format(metric(name, number.low), metric(name, number.high))


def in_order(names: dict[str, Estimate] | dict[str, float]) -> list[str]:
    """Sort the names of metrics for a table; unknown ones come last."""
    return [*(name for name in METRICS if name in names), *(name for name in names if name not in METRICS)]


def count(value: float) -> str:
    """Format a whole number, such as 84,301."""
    return f"{value:,.0f}".replace("-", MINUS) if math.isfinite(value) else NONE


def decimal(value: float, digits: int = 3) -> str:
    """Format a number with a fixed number of decimal places."""
    return f"{value:,.{digits}f}".replace("-", MINUS) if math.isfinite(value) else NONE


def signed(value: float) -> str:
    """Format a number with its sign and three decimal places."""
    return f"{value:+.3f}".replace("-", MINUS) if math.isfinite(value) else NONE


def compact(value: float) -> str:
    """Format a number of unknown magnitude to three significant digits."""
    if not math.isfinite(value):
        return NONE
    large = 999.5
    return count(value) if abs(value) >= large else f"{value:.3g}".replace("-", MINUS)


def percent(value: float) -> str:
    """Format a share as a percentage with one decimal place, but 0% and 100% without."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.{0 if value in (0, 1) else 1}%}".replace("-", MINUS)


def seconds(value: float) -> str:
    """Format a duration, such as 4 min 21 s."""
    minute = 60
    if not math.isfinite(value):
        return NONE
    if value < minute:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // minute} min {whole % minute:02d} s"


def day(value: date) -> str:
    """Format a date, such as 1 Oct 2013."""
    return f"{value.day} {value:%b %Y}"


def spaced(name: str) -> str:
    """Replace the underscores of an identifier with spaces."""
    return name.replace("_", " ")


def capital(text: str) -> str:
    """Capitalise the first letter of a text."""
    return text[:1].upper() + text[1:]


def plural(number: int, singular: str, many: str = "") -> str:
    """Format a count with its noun, such as "1 row" or "2 rows"; by default the plural adds an s."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


def every(number: int, unit: str) -> str:
    """Format a frequency, such as "every day" or "every 7 days"."""
    return f"every {unit}" if number == 1 else f"every {plural(number, unit)}"


def short(digest: str) -> str:
    """Abbreviate a digest; return other text unchanged."""
    is_digest = len(digest) > DIGEST and all(letter in "0123456789abcdef" for letter in digest)
    return digest[:DIGEST] if is_digest else digest


def money(value: float, currency: str) -> str:
    """Format an amount with its currency."""
    return f"{count(value)} {currency}"


METRICS: dict[str, tuple[str, Callable[[float], str]]] = {  # name and format, in display order
    "roc_auc": ("ROC-AUC", decimal),
    "pr_auc": ("PR-AUC", decimal),
    "accuracy": ("accuracy", percent),
    "log_loss": ("log-loss", decimal),
    "brier": ("Brier score", decimal),
    "calibration_error": ("calibration error", decimal),
    "mae": ("MAE", compact),
    "rmse": ("RMSE", compact),
    "r2": ("R²", decimal),
    "coverage": ("interval coverage", percent),
    "open_coverage": ("interval coverage, ends excluded", percent),
    "width": ("mean interval width", compact),
    "bias": (f"bias (prediction {MINUS} outcome)", signed),
    "cost_per_1000": ("cost per 1,000 decisions", count),
    "savings_share": ("share of the achievable savings", percent),
    "action_rate": ("action rate", percent),
    "rate": ("label rate", percent),
    "mean": ("label mean", compact),
    "rows": ("rows", count),
}
