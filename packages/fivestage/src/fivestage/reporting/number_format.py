"""Numbers as people read them."""

import math
from datetime import date

from fivestage.reporting.results import Estimate

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
DIGEST = 12
METRICS = {  # in the order in which they are shown
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "coverage": "inside of the intervals",
    "open_coverage": "inside, and not on an edge",
    "width": "mean width of the intervals",
    "bias": f"bias (mean prediction {MINUS} what came)",
    "cost_per_1000": "cost per 1,000 decisions",
    "savings_share": "share of the possible savings",
    "action_rate": "share acted on",
    "rate": "rate of the label",
    "mean": "mean of the label",
    "rows": "rows",
}
_SHARES = {"savings_share", "action_rate", "rate", "accuracy", "coverage", "open_coverage"}
_SIZES = {"mae", "rmse", "width", "mean"}
_COUNTS = {"cost_per_1000", "rows"}


def metric_title(name: str) -> str:
    """What a metric is called on paper."""
    return METRICS.get(name, spaced(name))


def metric(name: str, value: float) -> str:
    """A metric's value: shares in percent, money and rows whole, the rest to three digits."""
    if not math.isfinite(value):
        return NONE
    if name in _SHARES:
        return percent(value)
    if name in _COUNTS:
        return count(value)
    if name in _SIZES:
        return compact(value)
    return f"{value:+.3f}".replace("-", MINUS) if name == "bias" else decimal(value)


def estimate(name: str, number: Estimate) -> str:
    """A metric's value and its interval, where it has one."""
    return metric(name, number.value) + interval(name, number, " ({} to {})")


def interval(name: str, number: Estimate, form: str = "{} to {}") -> str:
    """The interval alone; nothing where there is none or it has no width."""
    if not math.isfinite(number.low) or number.low == number.high:
        return ""
    return form.format(metric(name, number.low), metric(name, number.high))


def in_order(names: dict[str, Estimate] | dict[str, float]) -> list[str]:
    """Names of metrics in the order of METRICS, unknown ones last."""
    known = list(METRICS)
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def count(value: float) -> str:
    """A whole number with thousands apart."""
    return f"{value:,.0f}".replace("-", MINUS) if math.isfinite(value) else NONE


def decimal(value: float, digits: int = 3) -> str:
    """A number to some digits after the point."""
    return f"{value:,.{digits}f}".replace("-", MINUS) if math.isfinite(value) else NONE


def compact(value: float) -> str:
    """A number of unknown size to three significant digits."""
    if not math.isfinite(value):
        return NONE
    large = 999.5
    return count(value) if abs(value) >= large else f"{value:.3g}".replace("-", MINUS)


def percent(value: float) -> str:
    """A share in percent; all of it and nothing of it without a digit after the point."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.{0 if value in (0, 1) else 1}%}".replace("-", MINUS)


def seconds(value: float) -> str:
    """A duration."""
    minute = 60
    if not math.isfinite(value):
        return NONE
    if value < minute:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // minute} min {whole % minute:02d} s"


def day(value: date) -> str:
    """A date as 1 Oct 2013."""
    return f"{value.day} {value:%b %Y}"


def spaced(name: str) -> str:
    """A name of code as words."""
    return name.replace("_", " ")


def capital(text: str) -> str:
    """A sentence's first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def plural(number: int, singular: str, many: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


def short(digest: str) -> str:
    """The start of a digest; other words are left whole."""
    is_digest = len(digest) > DIGEST and all(letter in "0123456789abcdef" for letter in digest)
    return digest[:DIGEST] if is_digest else digest


def money(value: float, currency: str) -> str:
    """An amount with its currency."""
    return f"{count(value)} {currency}"
