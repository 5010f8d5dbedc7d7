"""Evidently's page for a drift report: the same histograms, thresholds and verdicts.

Evidently gets cells instead of numbers: bins of its own move with the current window, so that no threshold
can be known beforehand.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fivestage.monitoring.distances import Binning, WindowCounts, bin_column
from fivestage.monitoring.drift import VOLUME, DriftReport


def write_drift_page(
    report: DriftReport, reference: WindowCounts, current: WindowCounts, path: Path
) -> tuple[str, ...]:
    """Save Evidently's page, and return what drifted by its own account, named as in the report."""
    from evidently import DataDefinition, Dataset, Report

    binnings = [bin_column(reference.frame[name]) for name in reference.frame]
    now, was = (pd.DataFrame({b.column: _labels(w, b) for b in binnings}) for w in (current, reference))
    definition = DataDefinition(categorical_columns=list(now))
    datasets = [Dataset.from_pandas(frame, data_definition=definition) for frame in (now, was)]
    page = Report(_metrics(report, binnings, now, was, current.days), include_tests=True).run(*datasets)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save_html(str(path))
    failed = {
        test.metric_config.params.get("column", VOLUME)
        for test in page.tests_results
        if test.status.value != "SUCCESS"
    }
    return tuple(name for name in [*now, VOLUME] if name in failed)


def _metrics(
    report: DriftReport, binnings: list[Binning], now: pd.DataFrame, was: pd.DataFrame, days: int
) -> list[Any]:
    """A plot a column with values, and tests of the missing and the unseen where there are any."""
    from evidently.metrics import InListValueCount, MissingValueCount, RowCount, ValueDrift
    from evidently.tests import gt, lt

    rows = report.rows_a_day_reference * days
    times = float(np.exp(report.volume.threshold))
    metrics: list[Any] = [RowCount(tests=[gt(rows / times), lt(rows * times)])]
    for binning, column in zip(binnings, report.columns, strict=False):
        name, found = column.column, column.changes
        if now[name].notna().any() and was[name].notna().any():
            metrics.append(
                ValueDrift(column=name, method="jensenshannon", threshold=found["distance"].threshold)
            )
        if now[name].isna().any() or was[name].isna().any():
            low, high = (column.missing_reference + sign * found["missing"].threshold for sign in (-1, 1))
            metrics.append(MissingValueCount(column=name, share_tests=[gt(low), lt(high)]))
        unseen = sorted({_sortable(binning)[cell] for cell in binning.unseen} & set(now[name].dropna()))
        if unseen:
            metrics.append(
                InListValueCount(column=name, values=unseen, share_tests=[lt(found["outside"].threshold)])
            )
    return metrics


def _labels(window: WindowCounts, binning: Binning) -> pd.Series:
    """Each row's cell by name, or None."""
    names = np.array([*_sortable(binning), None], dtype=object)
    return pd.Series(names[binning.codes(window.frame[binning.column])])


def _sortable(binning: Binning) -> list[str]:
    """Names of the cells; Evidently draws them in the order of the alphabet."""
    if binning.edges is None:
        return list(binning.labels)
    return [f"{cell:02d}: {label}" for cell, label in enumerate(binning.labels)]
