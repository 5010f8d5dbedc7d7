"""Plots of the page, drawn with matplotlib and returned as SVG.

The first line of a plot's docstring is its description for screen readers.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from fivestage.contract.contract import Contract
from fivestage.evaluation.metrics import CalibrationPoint, Estimate
from fivestage.reporting import number_format as fmt
from fivestage.reporting import task_display
from fivestage.reporting.plot_style import AMBER, BLUE, GREEN, INK, MARKERS, PAPER, QUIET, RED, SERIES, chart
from fivestage.reporting.results import (
    AblationRow,
    CauseRow,
    DataSection,
    ModelSection,
    MonitoringSection,
    PeriodRow,
    PoliciesSection,
    Retraining,
)
from fivestage.reporting.sentences import WINDOWS

WIDE = 10.0  # inches: the full width of the page, at about 1.4 pixels per point
HALF = 4.9
ESTIMATED = ("roc_auc", "log_loss", "cost_per_1000")
LOW_IS_GOOD = ("log_loss", "mae", "rmse")
LINES = (BLUE, GREEN, AMBER, RED, INK, QUIET)
SHADES = {  # of the windows, by kind: colour, opacity
    "train": (BLUE, 0.06),
    "fold": (BLUE, 0.07),
    "holdout": (AMBER, 0.22),
    "test": (GREEN, 0.10),
}
COUNTS = FuncFormatter(lambda value, _: fmt.count(value))


@chart(WIDE, 2.7)
def label_rate(
    figure: Figure, data: DataSection, retrainings: Sequence[Retraining], contract: Contract
) -> None:
    """The label by week, with the windows of the temporal split shaded and retrainings marked."""
    axes: Any = figure.subplots()  # matplotlib accepts dates, but its type hints do not
    for window in data.windows:
        colour, alpha = SHADES[window.kind]
        axes.axvspan(window.start, window.end, color=colour, alpha=alpha, linewidth=0)
        if window.kind == "fold":
            axes.axvline(window.start, color=PAPER, linewidth=1.5)
    starts = {window.kind: window.start for window in reversed(data.windows)}  # the first of each kind
    for kind, name in WINDOWS.items():
        same = [window for window in data.windows if window.kind == kind]
        if same:
            end = starts.get("fold", same[-1].end) if kind == "train" else same[-1].end
            label, place = name + "s" * (len(same) > 1), (_middle(same[0].start, end), 1.01)
            over = axes.get_xaxis_transform()
            axes.annotate(label, place, xycoords=over, ha="center", va="bottom", fontsize=8.5, color=QUIET)
    middles = [_middle(week.start, week.start + timedelta(days=7)) for week in data.label_rate]
    names = dict.fromkeys(name for week in data.label_rate for name in week.shares)
    for name, colour in zip(names, LINES * len(names), strict=False):
        axes.plot(middles, [week.shares.get(name, 0.0) for week in data.label_rate], color=colour, label=name)
    if names:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.plot(middles, [week.rate for week in data.label_rate], color=INK, marker="o", markersize=3)
    for row, retraining in enumerate(retrainings):
        axes.axvline(retraining.at, color=RED, linestyle="--", linewidth=1.2)
        text = "retrained" if retraining.promoted else "retrained, refused"
        at = (-3, 4 + 10 * (row % 3))
        axes.annotate(
            text, (retraining.at, 0), at, textcoords="offset points", color=RED, fontsize=8, ha="right"
        )
    axes.set_xlim(min(middles) - timedelta(days=7), max(middles) + timedelta(days=7))
    _, unit = task_display.label_axis(contract)
    axes.set_ylabel(unit or "share of rows")
    if not unit:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1))


@chart(WIDE)
def ablation(figure: Figure, rows: Sequence[AblationRow], shown: Sequence[str], contract: Contract) -> None:
    """Metrics of the model as feature sets are added, with intervals."""
    figure.set_figheight(0.9 + 0.36 * len(rows))
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, name in zip(panels, shown, strict=True):
        _dots(axes, name, [row.metrics[name] for row in rows], [BLUE] * len(rows), labels=True)
        axes.set_title(
            task_display.metric_title(name, contract) + (" (lower is better)" if name in LOW_IS_GOOD else "")
        )
    _names(panels[0], [row.features for row in rows])


@chart(HALF, 3.5)
def calibration(figure: Figure, points: Sequence[CalibrationPoint], contract: Contract) -> None:
    """Reliability diagram: mean outcome against mean prediction by bin, with the diagonal.

    Bins hold about the same number of rows each (Murphy and Winkler 1977).
    """
    _, unit = task_display.label_axis(contract)
    axes = figure.subplots()
    values = [value for point in points for value in (point.predicted, point.observed)]
    least = min(values) if unit else 0.0
    margin = 0.08 * (max(values) - least)
    ends = (least - margin if unit else 0.0, max(values) + margin)
    axes.plot(ends, ends, color=QUIET, linestyle="--", linewidth=1)
    most = max(point.rows for point in points)
    names = list(dict.fromkeys(point.of for point in points))
    for name, colour in zip(names, LINES * len(names), strict=False):
        predicted, observed, rows = zip(
            *((one.predicted, one.observed, one.rows) for one in points if one.of == name), strict=True
        )
        axes.plot(predicted, observed, color=colour, linewidth=1, label=name)
        axes.scatter(predicted, observed, s=12 + 40 * np.array(rows) / most, color=colour, zorder=3)
    if len(names) > 1:
        axes.legend(loc="upper left")
    outcome = f"mean outcome ({unit})" if unit else "observed rate"
    axes.set(
        xlim=ends,
        ylim=ends,
        xlabel=f"mean prediction ({unit})" if unit else "mean prediction",
        ylabel=outcome,
    )
    if not unit:
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))


@chart(HALF, 3.5)
def cost_curve(figure: Figure, model: ModelSection, contract: Contract) -> None:
    """Cost per 1,000 decisions by decision rule, with the version's own rule marked.

    At a threshold t, rows with p >= t are acted on, and each decision costs what the contract says for
    its outcome (Elkan 2001).
    """
    axes = figure.subplots()
    at, cost = zip(*((one.threshold, one.cost_per_1000) for one in model.cost_curve), strict=True)
    axes.plot(at, cost, color=BLUE)
    here, currency = float(np.interp(model.threshold, at, cost)), contract.costs.currency
    axes.axvline(model.threshold, color=RED, linestyle="--", linewidth=1.2)
    axes.plot([model.threshold], [here], marker="o", color=RED)
    _, unit = task_display.label_axis(contract)
    mark = "as decided" if unit else f"act from {model.threshold:.3f}"
    text = f"{mark}:\n{fmt.money(here, currency)}"
    axes.annotate(text, (model.threshold, max(cost)), (6, 0), textcoords="offset points", color=RED, va="top")
    axis = f"shift of the planned value ({unit})" if unit else "probability from which to act"
    axes.set(xlabel=axis, ylabel=f"cost per 1,000 decisions, {currency}")
    axes.yaxis.set_major_formatter(COUNTS)


@chart(WIDE)
def slices(figure: Figure, model: ModelSection, shown: tuple[str, str], contract: Contract) -> None:
    """A metric and the cost by slice, with intervals; dashed: the whole test window; grey: few rows."""
    rows, least = model.slices, contract.gates.min_slice_rows
    figure.set_figheight(0.8 + 0.23 * len(rows))
    panels = figure.subplots(1, 2, sharey=True)
    colour_of = dict(zip(dict.fromkeys(row.column for row in rows), SERIES * len(rows), strict=False))
    colours = [QUIET if row.rows < least else colour_of[row.column] for row in rows]
    for axes, name in zip(panels, shown, strict=True):
        if name in model.test:
            axes.axvline(model.test[name].value, color=QUIET, linestyle="--", linewidth=1)
        _dots(axes, name, [row.metrics[name] for row in rows], colours)
        axes.set_title(task_display.metric_title(name, contract))
    _names(panels[0], [f"{fmt.spaced(row.column)} {row.value} ({row.rows:,})" for row in rows])


@chart(WIDE, 5.8)
def performance(
    figure: Figure, monitored: MonitoringSection, shown: tuple[str, str, str], contract: Contract
) -> None:
    """A metric, the bias and the cost of each period by version, with intervals; bad periods are shaded."""
    panels = figure.subplots(3, 1, sharex=True)
    versions = dict.fromkeys(period.version for period in monitored.periods)
    for axes, name in zip(panels, shown, strict=True):
        for period in monitored.periods:
            if period.bad:
                axes.axvspan(period.start, period.end, color=RED, alpha=0.10, linewidth=0)
        for retraining in monitored.retrainings:
            axes.axvline(retraining.at, color=RED, linestyle="--", linewidth=1.2)
        for index, version in enumerate(versions):
            mine = [
                (_middle(period.start, period.end), period.metrics[name])
                for period in monitored.periods
                if period.version == version and name in period.metrics
            ]
            _upright(axes, mine, SERIES[index % 3], MARKERS[index % len(MARKERS)], f"version {version}")
        axes.set_title(task_display.metric_title(name, contract))
    limit = contract.monitoring.max_bias
    panels[1].axhspan(-limit, limit, color=GREEN, alpha=0.10, linewidth=0)
    middles = [_middle(period.start, period.end) for period in monitored.periods]
    estimated = [period.estimated_cost for period in monitored.periods]
    panels[2].plot(middles, estimated, "_", color=QUIET, markersize=9, label="estimated before the labels")
    panels[2].xaxis.get_offset_text().set_visible(False)
    panels[2].yaxis.set_major_formatter(COUNTS)
    figure.legend(*panels[2].get_legend_handles_labels(), loc="outside upper right", ncols=len(versions) + 1)


@chart(WIDE, 2.6)
def estimates(figure: Figure, periods: Sequence[PeriodRow], contract: Contract) -> None:
    """Metrics of each period, estimated before its labels arrived and measured with them.

    The estimates are expectations under the calibrated predictions.
    """
    known = {name for period in periods for name in {*period.estimated} & {*period.metrics}}
    names = [name for name in ESTIMATED if name in known]
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        both = [
            (_middle(period.start, period.end), period.estimated[name].value, period.metrics[name])
            for period in periods
            if name in period.estimated and name in period.metrics
        ]
        inside = sum(one.low <= expected <= one.high for _, expected, one in both)
        _upright(axes, [(at, one) for at, _, one in both], BLUE, "o")
        expected = [value for _, value, _ in both]
        axes.plot([at for at, _, _ in both], expected, "_", color=RED, markersize=9, markeredgewidth=1.8)
        axes.yaxis.set_major_formatter(FuncFormatter(partial(_tick, name)))
        axes.set_title(
            f"{task_display.metric_title(name, contract)}\n{inside} of {len(both)} estimates in the interval"
        )
        _few_days(axes)


@chart(WIDE, 1.9)
def causes(figure: Figure, rows: Sequence[CauseRow]) -> None:
    """Daily values behind an alarm: the reference days, the band with 90% of them, and the period."""
    for axes, cause in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        if cause.first is None:
            axes.set_axis_off()
            continue
        days = np.datetime64(cause.first) + np.arange(cause.days)
        before = len(cause.usual)
        axes.axhspan(cause.low, cause.high, color=GREEN, alpha=0.12, linewidth=0)
        axes.plot(days[:before], cause.usual, color=QUIET, linewidth=1)
        axes.plot(days[before:], cause.now, color=RED, marker="o", markersize=3)
        axes.set_title(f"{fmt.spaced(cause.subject)}\n{cause.what}", fontsize=8)
        _few_days(axes)


@chart(WIDE, 3.0)
def policies(figure: Figure, section: PoliciesSection, contract: Contract) -> None:
    """Savings of each policy against never retraining: cumulative, and per 1,000 decisions with intervals."""
    currency = contract.costs.currency
    cumulative, total = figure.subplots(1, 2, width_ratios=(3, 2))
    others = [one for one in section.policies if any(one.by_day)]
    colours = [SERIES[number % len(SERIES)] for number in range(len(others))]
    for number, one in enumerate(others):
        days = np.datetime64(section.start) + np.arange(len(one.by_day))
        cumulative.plot(days, one.by_day, color=colours[number], linestyle=("-", "--")[number // 4])
    cumulative.axhline(0, color=QUIET, linewidth=1)
    cumulative.yaxis.set_major_formatter(COUNTS)
    cumulative.set_title(f"cumulative savings, {currency}")
    total.axvline(0, color=QUIET, linewidth=1)
    _dots(total, "cost_per_1000", [one.saved for one in others], colours, labels=True)
    total.set_title(f"savings per 1,000 decisions, {currency}")
    _names(total, [one.name for one in others])


def _dots(
    axes: Axes, name: str, numbers: Sequence[Estimate], colours: Sequence[str], *, labels: bool = False
) -> None:
    """Draw values with their intervals, one per row."""
    rows, values = range(len(numbers)), [number.value for number in numbers]
    low, high = ([getattr(number, end) for number in numbers] for end in ("low", "high"))
    axes.hlines(rows, low, high, colors=colours, linewidth=2.4, alpha=0.45)
    axes.scatter(values, rows, s=20, c=colours, zorder=3)
    for row, value in enumerate(values if labels else []):
        text = fmt.metric(name, value)
        axes.annotate(text, (value, row), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(partial(_tick, name)))
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.12)


def _upright(
    axes: Any, mine: Sequence[tuple[date, Estimate]], colour: str, marker: str, label: str = ""
) -> None:
    """Draw values with their intervals over time."""
    days, numbers = [at for at, _ in mine], [number for _, number in mine]
    style: dict[str, Any] = {"color": colour, "marker": marker, "label": label}
    axes.plot(days, [number.value for number in numbers], linewidth=0.8, **style)
    low, high = ([getattr(number, end) for number in numbers] for end in ("low", "high"))
    axes.vlines(days, low, high, colors=colour, linewidth=2.4, alpha=0.4)


def _few_days(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=2, maxticks=4)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_visible(False)


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _middle(start: date, end: date) -> date:
    return start + (end - start) / 2


def _tick(name: str, value: float, _place: object = None) -> str:
    if name == "savings_share":
        return f"{fmt.count(100 * value)}%"
    return fmt.decimal(value, 2) if name in ("roc_auc", "log_loss") else fmt.metric(name, value)
