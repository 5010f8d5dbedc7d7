"""The plots of the page, drawn by matplotlib; each returns SVG.

The first line of a plot's docstring is its description for a screen reader.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, PercentFormatter

from fivestage.reporting import number_format as fmt
from fivestage.reporting.plot_style import AMBER, BLUE, GREEN, INK, MARKERS, PAPER, QUIET, RED, SERIES, chart
from fivestage.reporting.results import (
    AblationRow,
    CalibrationPoint,
    CauseRow,
    CostPoint,
    DataSection,
    Estimate,
    PeriodRow,
    PoliciesSection,
    Retraining,
    Slice,
)

WIDE = 10.0  # inches: the full width of the page, where a point is then about 1.4 pixels
HALF = 4.9
MOST_COLUMNS = 24
MOST_FEATURES = 15
ESTIMATED = ("roc_auc", "log_loss", "cost_per_1000")
LOW_IS_GOOD = ("log_loss", "mae", "rmse")
LINES = (BLUE, GREEN, AMBER, RED, INK, QUIET)
_WINDOWS = {  # by kind: label, colour, opacity
    "train": ("training", BLUE, 0.06),
    "fold": ("fold", BLUE, 0.07),
    "holdout": ("evaluation", AMBER, 0.22),
    "test": ("test", GREEN, 0.10),
}


@chart
def label_rate(data: DataSection, retrainings: Sequence[Retraining], unit: str) -> Figure:
    """The label by week, with the windows of the temporal split shaded and retrainings marked."""
    figure = Figure(figsize=(WIDE, 2.7))
    axes = figure.subplots()
    folds = [window.start for window in data.windows if window.kind == "fold"]
    for window in data.windows:
        label, colour, alpha = _WINDOWS[window.kind]
        axes.axvspan(_at(window.start), _at(window.end), color=colour, alpha=alpha, linewidth=0)
        shown_end = min(folds) if folds and window.kind == "train" else window.end
        _above(axes, _middle(window.start, shown_end), label)
        if window.kind == "fold":
            axes.axvline(_at(window.start), color=PAPER, linewidth=1.5)
    middles = [_middle(week.start, week.start + timedelta(days=7)) for week in data.label_rate]
    names = dict.fromkeys(name for week in data.label_rate for name in week.shares)
    for place, name in enumerate(names):
        shares = [week.shares.get(name, 0.0) for week in data.label_rate]
        axes.plot(middles, shares, color=LINES[place % len(LINES)], label=name)
    if names:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.plot(middles, [week.rate for week in data.label_rate], color=INK, marker="o", markersize=3)
    for row, retraining in enumerate(retrainings):
        at = _at(retraining.at)
        axes.axvline(at, color=RED, linestyle="--", linewidth=1.2)
        text = "retrained" if retraining.promoted else "retrained, refused"
        axes.annotate(
            text,
            (at, 0),
            (-3, 4 + 10 * (row % 3)),
            textcoords="offset points",
            color=RED,
            fontsize=8,
            ha="right",
        )
    axes.set_xlim(min(middles) - 7, max(middles) + 7)
    axes.xaxis_date()
    if unit:
        axes.set(ylabel=unit)
        return figure
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@chart
def ablation(rows: Sequence[AblationRow], shown: Sequence[str]) -> Figure:
    """Metrics of the model on more and more feature sets, with intervals."""
    figure = Figure(figsize=(WIDE, 0.9 + 0.36 * len(rows)))
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, name in zip(panels, shown, strict=True):
        numbers = [row.metrics[name] for row in rows]
        _dots(axes, name, numbers, colours=[BLUE] * len(rows), labels=True)
        axes.set_title(fmt.metric_title(name) + (" (lower is better)" if name in LOW_IS_GOOD else ""))
    _names(panels[0], [row.features for row in rows])
    return figure


@chart
def calibration(points: Sequence[CalibrationPoint], unit: str) -> Figure:
    """Reliability diagram: mean outcome against mean prediction by bin, with the diagonal.

    Bins hold about the same number of rows each (Murphy and Winkler 1977).
    """
    figure = Figure(figsize=(HALF, 3.5))
    axes = figure.subplots()
    values = [value for point in points for value in (point.predicted, point.observed)]
    least = min(values) if unit else 0.0
    margin = 0.08 * (max(values) - least)
    ends = (least - margin if unit else 0.0, max(values) + margin)
    axes.plot(ends, ends, color=QUIET, linestyle="--", linewidth=1)
    most = max(point.rows for point in points)
    names = list(dict.fromkeys(point.of for point in points))
    for place, name in enumerate(names):
        mine = [point for point in points if point.of == name]
        colour = LINES[place % len(LINES)]
        predicted, observed = ([getattr(point, at) for point in mine] for at in ("predicted", "observed"))
        axes.plot(predicted, observed, color=colour, linewidth=1, label=name)
        axes.scatter(
            predicted, observed, s=[12 + 40 * one.rows / most for one in mine], color=colour, zorder=3
        )
    if len(names) > 1:
        axes.legend(loc="upper left")
    outcome = f"mean outcome ({unit})" if unit else "observed rate"
    axes.set(xlim=ends, ylim=ends, xlabel="mean prediction", ylabel=outcome)
    if not unit:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
    return figure


@chart
def cost_curve(
    points: Sequence[CostPoint], threshold: float, labels: tuple[str, str], currency: str
) -> Figure:
    """Cost per 1,000 decisions by decision rule, with the version's own rule marked.

    At a threshold t, rows with p >= t are acted on, and each decision costs what the contract says for
    its outcome (Elkan 2001).
    """
    figure = Figure(figsize=(HALF, 3.5))
    axes = figure.subplots()
    ordered = sorted(points, key=lambda point: point.threshold)
    at = [point.threshold for point in ordered]
    cost = [point.cost_per_1000 for point in ordered]
    axes.plot(at, cost, color=BLUE)
    here = float(np.interp(threshold, at, cost))
    axes.axvline(threshold, color=RED, linestyle="--", linewidth=1.2)
    axes.plot([threshold], [here], marker="o", color=RED)
    axis, mark = labels
    text = f"{mark.format(at=threshold)}\n{fmt.count(here)} {currency}"
    axes.annotate(text, (threshold, max(cost)), (6, 0), textcoords="offset points", color=RED, va="top")
    axes.set(xlabel=axis, ylabel=f"{currency} per 1,000 decisions")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.count(value)))
    return figure


@chart
def importance(values: dict[str, float]) -> Figure:
    """Permutation importance of the most important features.

    How much the loss rises when a feature's values are permuted among the rows (Breiman 2001).
    """
    ranked = sorted(values.items(), key=lambda item: -item[1])[:MOST_FEATURES]
    figure = Figure(figsize=(WIDE, 0.5 + 0.2 * len(ranked)))
    axes = figure.subplots()
    axes.barh(range(len(ranked)), [value for _, value in ranked], color=BLUE, height=0.6)
    axes.grid(visible=False, axis="y")
    _names(axes, [name for name, _ in ranked])
    return figure


@chart
def slices(
    rows: Sequence[Slice],
    overall: dict[str, Estimate],
    shown: tuple[str, str],
    currency: str,
    min_rows: int,
) -> Figure:
    """A metric and the cost by slice, with intervals; dashed: the whole test window; grey: few rows."""
    figure = Figure(figsize=(WIDE, 0.8 + 0.23 * len(rows)))
    panels = figure.subplots(1, 2, sharey=True)
    columns = list(dict.fromkeys(row.column for row in rows))
    colours = [
        QUIET if row.rows < min_rows else SERIES[columns.index(row.column) % len(SERIES)] for row in rows
    ]
    for axes, name in zip(panels, shown, strict=True):
        if name in overall:
            axes.axvline(overall[name].value, color=QUIET, linestyle="--", linewidth=1)
        _dots(axes, name, [row.metrics[name] for row in rows], colours=colours)
        axes.set_title(fmt.metric_title(name) + (f", {currency}" if name == "cost_per_1000" else ""))
    _names(panels[0], [f"{fmt.spaced(row.column)} {row.value} ({row.rows:,})" for row in rows])
    return figure


@chart
def drift(periods: Sequence[PeriodRow]) -> Figure:
    """Drift score of each column and period as a share of its limit; crosses are above the limit."""
    cells = {
        (at, one.column): (_share_of_limit(one.score, one.limit), one.drifted)
        for at, period in enumerate(periods)
        for one in period.drift
    }
    furthest: dict[str, float] = {}
    for (_, column), (share, _) in cells.items():
        furthest[column] = max(furthest.get(column, 0.0), share)
    return _heat(cells, sorted(furthest, key=lambda column: -furthest[column])[:MOST_COLUMNS], periods)


@chart
def slices_by_period(periods: Sequence[PeriodRow], max_bias: float) -> Figure:
    """Bias of each slice and period as a share of the limit; crosses have their whole interval above it."""
    cells = {}
    for at, period in enumerate(periods):
        for one in period.slices:
            if "bias" not in one.metrics:
                continue
            bias = one.metrics["bias"]
            beyond = min(abs(bias.low), abs(bias.high)) > max_bias and bias.low * bias.high > 0
            cells[at, f"{fmt.spaced(one.column)} {one.value}"] = (
                _share_of_limit(abs(bias.value), max_bias),
                beyond,
            )
    return _heat(cells, sorted({name for _, name in cells})[:MOST_COLUMNS], periods)


def _heat(
    cells: Mapping[tuple[int, str], tuple[float, bool]], names: Sequence[str], periods: Sequence[PeriodRow]
) -> Figure:
    """A cell for each period (by position) and name: its share of the limit, and whether it is crossed."""
    figure = Figure(figsize=(WIDE, 0.7 + 0.22 * len(names)))
    axes = figure.subplots()
    for (at, name), (share, crossed) in cells.items():
        if name not in names:
            continue
        row = names.index(name)
        colour = RED if crossed else BLUE
        alpha = 0.05 + 0.8 * min(share, 2.0) / 2.0
        axes.add_patch(Rectangle((at - 0.47, row - 0.44), 0.94, 0.88, color=colour, alpha=alpha))
        if crossed:
            axes.plot([at], [row], marker="x", color=INK, markersize=5, markeredgewidth=1.4)
    axes.set(xlim=(-0.5, len(periods) - 0.5))
    axes.set_xticks(range(len(periods)), [_short(period.start) for period in periods])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _names(axes, names)
    return figure


@chart
def performance(
    periods: Sequence[PeriodRow],
    retrainings: Sequence[Retraining],
    shown: tuple[str, str, str],
    max_bias: float,
    currency: str,
) -> Figure:
    """A metric, the bias and the cost of each period by version, with intervals; bad periods are shaded."""
    figure = Figure(figsize=(WIDE, 5.8))
    panels = figure.subplots(3, 1, sharex=True)
    middles = [_middle(period.start, period.end) for period in periods]
    versions = list(dict.fromkeys(period.version for period in periods))
    for axes, name in zip(panels, shown, strict=True):
        for period in periods:
            if period.bad:
                axes.axvspan(_at(period.start), _at(period.end), color=RED, alpha=0.10, linewidth=0)
        for retraining in retrainings:
            axes.axvline(_at(retraining.at), color=RED, linestyle="--", linewidth=1.2)
        for index, version in enumerate(versions):
            mine = [
                (middle, period.metrics[name])
                for middle, period in zip(middles, periods, strict=True)
                if period.version == version and name in period.metrics
            ]
            style: dict[str, Any] = {"color": SERIES[index % 3], "marker": MARKERS[index % len(MARKERS)]}
            _upright(axes, mine, style | {"label": f"version {version}"})
        axes.set_title(fmt.metric_title(name) + (f", {currency}" if name == "cost_per_1000" else ""))
    panels[1].axhspan(-max_bias, max_bias, color=GREEN, alpha=0.10, linewidth=0)
    estimated = [period.estimated_cost for period in periods]
    panels[2].plot(middles, estimated, "_", color=QUIET, markersize=9, label="estimated before the labels")
    panels[2].xaxis_date()
    panels[2].xaxis.get_offset_text().set_visible(False)
    panels[2].yaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.count(value)))
    figure.legend(*panels[2].get_legend_handles_labels(), loc="outside upper right", ncols=len(versions) + 1)
    return figure


@chart
def estimates(periods: Sequence[PeriodRow], currency: str) -> Figure:
    """Metrics of each period estimated before its labels arrived, and measured with them.

    The estimates are expectations under the calibrated predictions.
    """
    figure = Figure(figsize=(WIDE, 2.6))
    known = {name for period in periods for name in {*period.estimated} & {*period.metrics}}
    names = [name for name in ESTIMATED if name in known]
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    middles = [_middle(period.start, period.end) for period in periods]
    for axes, name in zip(panels, names, strict=True):
        both = [
            (middle, period.estimated[name], period.metrics[name])
            for middle, period in zip(middles, periods, strict=True)
            if name in period.estimated and name in period.metrics
        ]
        inside = sum(one.low <= estimated.value <= one.high for _, estimated, one in both)
        _upright(axes, [(at, one) for at, _, one in both], {"color": BLUE, "marker": "o"})
        expected = [estimated.value for _, estimated, _ in both]
        axes.plot([at for at, _, _ in both], expected, "_", color=RED, markersize=9, markeredgewidth=1.8)
        money = f", {currency}" if name == "cost_per_1000" else ""
        axes.yaxis.set_major_formatter(FuncFormatter(partial(_tick, name)))
        axes.set_title(f"{fmt.metric_title(name)}{money}\n{inside} of {len(both)} estimates in the interval")
        _few_days(axes)
        axes.xaxis.get_offset_text().set_visible(False)
    return figure


@chart
def causes(rows: Sequence[CauseRow]) -> Figure:
    """Daily values behind an alarm: the days before, the band that holds nine in ten of them, the period."""
    plotted = [cause for cause in rows if cause.days]
    figure = Figure(figsize=(WIDE, 1.9))
    for axes, cause in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        if cause not in plotted or cause.first is None:
            axes.set_axis_off()
            continue
        at = _at(cause.first) + np.arange(cause.days)
        before = len(cause.usual)
        axes.axhspan(cause.low, cause.high, color=GREEN, alpha=0.12, linewidth=0)
        axes.plot(at[:before], cause.usual, color=QUIET, linewidth=1)
        axes.plot(at[before:], cause.now, color=RED, marker="o", markersize=3)
        axes.set_title(f"{fmt.spaced(cause.subject)}\n{cause.what}", fontsize=8)
        _few_days(axes)
        axes.xaxis.get_offset_text().set_visible(False)
    return figure


@chart
def policies(section: PoliciesSection, currency: str) -> Figure:
    """Savings of each policy against never retraining: cumulative, and per 1,000 decisions with intervals."""
    figure = Figure(figsize=(WIDE, 3.0))
    cumulative, total = figure.subplots(1, 2, width_ratios=(3, 2))
    others = [one for one in section.years if any(one.by_day)]
    for number, one in enumerate(others):
        at = _at(section.start) + np.arange(len(one.by_day))
        cumulative.plot(
            at, one.by_day, color=SERIES[number % len(SERIES)], linestyle=("-", "--")[number // 4]
        )
    cumulative.axhline(0, color=QUIET, linewidth=1)
    cumulative.xaxis_date()
    cumulative.yaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.count(value)))
    cumulative.set_title(f"cumulative savings, {currency}")
    total.axvline(0, color=QUIET, linewidth=1)
    colours = [SERIES[number % len(SERIES)] for number in range(len(others))]
    _dots(total, "cost_per_1000", [one.saved for one in others], colours=colours, labels=True)
    total.set_title(f"savings per 1,000 decisions, {currency}")
    _names(total, [one.name for one in others])
    return figure


def _dots(
    axes: Axes, name: str, numbers: Sequence[Estimate], *, colours: Sequence[str], labels: bool = False
) -> None:
    for row, (number, colour) in enumerate(zip(numbers, colours, strict=True)):
        axes.plot([number.low, number.high], [row, row], color=colour, linewidth=2.4, alpha=0.45)
        axes.plot([number.value], [row], marker="o", color=colour)
        if labels:
            text, place = fmt.metric(name, number.value), (number.value, row)
            axes.annotate(text, place, (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(name, value)))
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.12)


def _upright(axes: Axes, mine: Sequence[tuple[float, Estimate]], style: dict[str, Any]) -> None:
    axes.plot([at for at, _ in mine], [number.value for _, number in mine], linewidth=0.8, **style)
    for at, number in mine:
        axes.plot([at, at], [number.low, number.high], color=style["color"], linewidth=2.4, alpha=0.4)


def _few_days(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=2, maxticks=4)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _above(axes: Axes, at: float, text: str) -> None:
    over = axes.get_xaxis_transform()
    axes.text(at, 1.01, text, transform=over, ha="center", va="bottom", fontsize=8.5, color=QUIET)


def _at(day: date) -> float:
    """Days since 1970, as matplotlib counts them."""
    return float((day - date(1970, 1, 1)).days)


def _middle(start: date, end: date) -> float:
    return (_at(start) + _at(end)) / 2


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"


def _share_of_limit(score: float, limit: float) -> float:
    """A score as a share of its limit; zero where it is unknown."""
    if not score > 0:
        return 0.0
    return score / limit if limit > 0 else 2.0


def _tick(name: str, value: float, _place: object = None) -> str:
    if name == "savings_share":
        return f"{fmt.count(100 * value)}%"
    return fmt.decimal(value, 2) if name in ("roc_auc", "log_loss") else fmt.metric(name, value)
